/** Who did what through the API: every request that may change something is an event, and a line in the service's log. */
import type { IncomingMessage } from "node:http";
import type { Context, Next } from "hono";
import type { Asker, EventLog } from "./event-log.ts";
import type { Env } from "./http.ts";

/** Looking into a process changes nothing, and yet it is somebody's program that stands still for it. */
const READS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);
const WHAT: readonly (readonly [RegExp, string, string])[] = [
  [/^POST \/api\/(v1\/)?jobs\/?$/, "job-submitted", "submitted a job"],
  [/^POST \/api\/(v1\/)?jobs\/([^/]+)\/stop$/, "job-stopped", "stopped job $2"],
  [/^DELETE \/api\/(v1\/)?jobs\/([^/]+)$/, "job-deleted", "deleted job $2"],
  [/^PUT \/api\/packages\/(.+)$/, "package-uploaded", "uploaded the package $1"],
  [/^POST \/api\/v1\/stack$/, "process-inspected", "looked at the stack of a process"],
  [/^POST \/api\/v1\/profile$/, "process-inspected", "profiled a process"],
];

export async function audit(
  context: Context<Env>,
  next: Next,
  events: EventLog,
  log: (line: string) => void,
): Promise<void> {
  const { req } = context;
  if (READS.has(req.method)) return next();
  const by = `${req.header("authorization") === undefined ? "browser" : "token"} at ${addressOf(context)}`;
  const asker: Asker = { by, isNoted: false };
  await events.askers.run(asker, next);
  const asked = `${req.method} ${req.path}`;
  const found = WHAT.find(([pattern]) => pattern.test(asked));
  const what = found ? asked.replace(found[0], found[2]) : `asked for ${asked}`;
  const { res } = context;
  const message = `${by} ${what}: ${res.ok ? "done" : `refused (${res.status})`}`;
  log(`audit: ${message}`);
  // Whoever did it may have said it in more words.
  if (asker.isNoted && res.ok) return;
  const kind = found?.[1] ?? "request";
  events.add({ atMs: Date.now(), severity: "info", kind, message, subjects: [], by });
}

/** As Node.js' adapter has it. */
function addressOf(context: Context<Env>): string {
  const { incoming } = context.env as { readonly incoming?: IncomingMessage };
  return incoming?.socket.remoteAddress ?? "an unknown address";
}
