/** Server-sent events: what a page shows, each second while somebody looks. */
import type { Context } from "hono";
import { streamSSE } from "hono/streaming";
import { InvalidOptionError } from "../base/errors.ts";
import type { Env } from "./http.ts";
import type { EventRow } from "./rows.ts";
import type { StateService } from "./service.ts";

const EVERY_MS = 1_000;
const DEFAULT_TOPICS = ["overview", "events"];
const TOPICS = [...DEFAULT_TOPICS, "progress"];
/** Who does not read so many events behind is not told of the oldest of them; the list has them. */
const EVENTS_UNSENT_MAX = 1_000;

/** @throws InvalidOptionError for a topic that is none, or progress of no job. */
export function streamTopics(context: Context<Env>, service: StateService): Response {
  const topics = context.req.query("topics")?.split(",") ?? DEFAULT_TOPICS;
  const unknown = topics.find((topic) => !TOPICS.includes(topic));
  if (unknown !== undefined)
    throw new InvalidOptionError(`there is no topic "${unknown}"; there are ${TOPICS.join(", ")}`);
  const job = context.req.query("job") ?? "";
  if (topics.includes("progress") && !/^[0-9a-f]{8}$/.test(job))
    throw new InvalidOptionError(`the topic progress is of a job: "${job}" is no id of one`);
  const asked: readonly (readonly [topic: string, ask: () => Promise<object>])[] = [
    ["overview", () => service.overview()],
    ["progress", () => service.progressOf(job)],
  ];
  return streamSSE(context, async (stream) => {
    const events: EventRow[] = [];
    const stop = topics.includes("events")
      ? service.eventLog.listen((event) => {
          events.push(event);
          if (events.length > EVENTS_UNSENT_MAX) events.shift();
        })
      : undefined;
    stream.onAbort(() => stop?.());
    while (!stream.aborted) {
      for (const [topic, ask] of asked.filter(([one]) => topics.includes(one))) {
        try {
          await stream.writeSSE({ event: topic, data: JSON.stringify(await ask()) });
        } catch (error) {
          await stream.writeSSE({ event: "problem", data: JSON.stringify({ message: (error as Error).message }) });
        }
      }
      for (const event of events.splice(0))
        await stream.writeSSE({ event: "event", id: event.eventId, data: JSON.stringify(event) });
      await stream.sleep(EVERY_MS);
    }
    stop?.();
  });
}
