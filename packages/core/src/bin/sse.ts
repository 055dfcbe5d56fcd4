/** Server-sent events of the API, one after the other, until the service ends them. */
import { type ApiPlace, askApi } from "./api-client.ts";

export interface ServerSentEvent {
  readonly event: string;
  readonly data: string;
}

/** A stream has no end of its own; a day is longer than anybody looks. */
const STREAM_MS = 24 * 60 * 60_000;

/** @throws ApiError; Error when the service cannot be reached, or ends. */
export async function* sseEvents(place: ApiPlace, path: string): AsyncGenerator<ServerSentEvent> {
  const response = await askApi(place, path, { timeoutMs: STREAM_MS });
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const fields = text.slice(0, end).split("\n");
      text = text.slice(end + 2);
      const field = (name: string): string[] =>
        fields.flatMap((line) => (line.startsWith(`${name}:`) ? line.slice(name.length + 1).replace(/^ /, "") : []));
      yield { event: field("event")[0] ?? "message", data: field("data").join("\n") };
    }
  }
}
