/** A task runs far longer than others of its function did. */
import { taskIdHex } from "../../base/ids.ts";
import type { LiveTask } from "../../wire/queries.ts";
import type { Detector, Finding, Observation } from "./detector.ts";
import { countText, spanText } from "./words.ts";

/** With fewer nothing is known of how long it takes. */
const ENDED_MIN = 20;
/** Times the time within which 95 of 100 end. */
const TIMES_P95 = 5;
/** What is over sooner need not be spoken of. */
const RUNS_MS = 10_000;
/** An owner that is busy may leave out an answer or two. */
const REMEMBERED_MS = 60_000;

export class Stragglers implements Detector {
  readonly kind = "straggler";
  readonly pace = "tasks";
  readonly raiseAfterMs = 5_000;
  readonly clearAfterMs = 5_000;

  private lastLookMs = Number.NEGATIVE_INFINITY;
  /** By task: it has run since then at most, by this machine's clock; owners on others may be ahead or behind. */
  private seen = new Map<string, { readonly sinceMs: number; readonly lastMs: number }>();

  *look({ atMs, live, runTimes }: Observation): Generator<Finding> {
    // A worker runs the oldest of those that it was sent.
    const first = new Map<string, LiveTask>();
    for (const task of live.tasks) {
      if (task.kind !== "task" || task.state !== "running" || task.sentAtMs === undefined) continue;
      const workerId = task.worker?.[0] ?? `${task.owner} ${task.seq}`;
      if ((first.get(workerId)?.sentAtMs ?? Number.POSITIVE_INFINITY) > task.sentAtMs) first.set(workerId, task);
    }
    const seen = new Map([...this.seen].filter(([, { lastMs }]) => atMs - lastMs < REMEMBERED_MS));
    const long: { readonly task: LiveTask; readonly taskId: string; readonly ranMs: number }[] = [];
    for (const task of first.values()) {
      const { sentAtMs = atMs, owner, seq, attempt, jobId } = task;
      const taskId = taskIdHex(owner, seq, jobId);
      const run = `${taskId} ${attempt}`;
      const { sinceMs } = seen.get(run) ?? { sinceMs: this.lastLookMs };
      seen.set(run, { sinceMs, lastMs: atMs });
      const ranMs = atMs - Math.max(sentAtMs, sinceMs);
      if (ranMs > RUNS_MS) long.push({ task, taskId, ranMs });
    }
    this.seen = seen;
    this.lastLookMs = atMs;
    if (long.length === 0) return;
    const known = new Map(runTimes().flatMap((row) => (row.kind === "task" ? [[row.name, row] as const] : [])));
    for (const { task, taskId, ranMs } of long) {
      const { name, worker } = task;
      const { counts, p95RunMs = null } = known.get(name) ?? {};
      const ended = (counts?.finished ?? 0) + (counts?.failed ?? 0);
      if (p95RunMs === null || ended < ENDED_MIN || ranMs < p95RunMs * TIMES_P95) continue;
      const [workerId, nodeId, pid] = worker ?? [];
      yield {
        key: taskId,
        severity: "warning",
        message: `task ${name} (${taskId}) runs for ${spanText(ranMs)} in process ${pid ?? "unknown"}; 95 of 100 of the ${countText(ended)} before it took less than ${spanText(p95RunMs)}`,
        remedy: `look at what it does (mobula stack ${pid ?? taskId}); give the function a timeoutMs with maxRetries, split its largest inputs, or cancel it`,
        subjects: [
          taskId,
          name,
          ...(workerId === undefined ? [] : [workerId]),
          ...(nodeId === undefined ? [] : [nodeId]),
        ],
      };
    }
  }
}
