/** What a job prints, in the terminal, until it has ended; goes on when the state service was started again meanwhile. */
import { constants } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import type { Row } from "../state/mod.ts";
import { type ApiPlace, getJson } from "./api-client.ts";
import { sseEvents } from "./sse.ts";

const AGAIN_MS = 500;
/** A state service that does not come back. */
const AWAY_MS = 60_000;

type JobRow = Row<"jobs">;
export const jobPath = (id: string): string => `/api/v1/jobs/${encodeURIComponent(id)}`;

export function jobOf(place: ApiPlace, id: string): Promise<JobRow> {
  return getJson<JobRow>(place, jobPath(id));
}

/** @param again where the API is when it was lost: another head may lead. @throws Error when there is no such job, or its output is lost. */
export async function followJob(first: ApiPlace, id: string, again: () => Promise<ApiPlace>): Promise<JobRow> {
  let place = first;
  let from = 0;
  let awaySinceMs: number | undefined;
  for (;;) {
    try {
      for await (const { event, data } of sseEvents(place, `${jobPath(id)}/logs/follow?from=${from}`)) {
        awaySinceMs = undefined;
        const said = JSON.parse(data);
        if (event === "end") return said as JobRow;
        if (event === "error") throw new OutputLost((said as { readonly message: string }).message);
        if (event !== "output") continue;
        const { text, next } = said as { readonly text: string; readonly next: number };
        process.stdout.write(text);
        from = next;
      }
    } catch (error) {
      if (error instanceof OutputLost || (error as { readonly status?: number }).status !== undefined) throw error;
      awaySinceMs ??= Date.now();
      if (Date.now() - awaySinceMs > AWAY_MS) throw error;
    }
    await delay(AGAIN_MS);
    if (awaySinceMs !== undefined) place = await again().catch(() => place);
  }
}

class OutputLost extends Error {}

/** As a shell has it: that of the command, 128 and the signal that ended it, 1 for what never ran to its end. */
export function exitCodeOf({ status, exitCode, message }: JobRow): number {
  if (status === "succeeded") return 0;
  if (status === "stopped") return 128 + constants.signals.SIGTERM;
  const signal = /was ended by (SIG\w+)/.exec(message ?? "")?.[1] as NodeJS.Signals | undefined;
  return exitCode ?? (signal ? 128 + constants.signals[signal] : 1);
}

/** Nothing when it succeeded. */
export function lastWords({ submissionId, status, message }: JobRow): string | undefined {
  if (status === "succeeded") return undefined;
  return `mobula: job ${submissionId} ${status === "stopped" ? "was stopped" : `has failed: ${message ?? "no reason is known"}`}`;
}
