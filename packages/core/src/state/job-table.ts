/** Jobs whose drivers are connected, and those that were: they are told apart by their absence. */
import type { JobDetails } from "../wire/queries.ts";
import type { EventLog } from "./event-log.ts";
import type { JobRow } from "./rows.ts";

const ENDED_MAX = 10_000;

export class JobTable {
  private readonly note: (event: Parameters<EventLog["add"]>[0]) => void;
  private readonly running = new Map<string, JobRow>();
  /** The oldest first. */
  private readonly ended = new Map<string, JobRow>();

  constructor(note: JobTable["note"]) {
    this.note = note;
  }

  /** @param isWhole all nodes have answered: who is not among them has left. */
  seen(jobs: readonly JobDetails[], isWhole: boolean, nowMs: number): void {
    const now = new Set<string>();
    for (const { jobId, name, namespace, metadata, nodeId, driverPid, sinceMs } of jobs) {
      now.add(jobId);
      this.ended.delete(jobId);
      this.running.set(jobId, {
        ...{
          jobId,
          submissionId: null,
          kind: "driver",
          status: "running",
          name,
          entrypoint: name,
          message: null,
          errorType: null,
        },
        ...{
          nodeId,
          driverPid,
          exitCode: null,
          attempt: 0,
          metadata,
          namespace,
          startedAtMs: sinceMs,
          endedAtMs: null,
        },
      });
    }
    if (!isWhole) return;
    for (const [jobId, row] of this.running) {
      if (now.has(jobId)) continue;
      this.running.delete(jobId);
      this.ended.set(jobId, { ...row, status: "succeeded", message: "its driver has left", endedAtMs: nowMs });
      this.note({
        atMs: nowMs,
        severity: "info",
        kind: "job-ended",
        message: `the driver of ${row.name ?? jobId} has left`,
        subjects: [jobId],
      });
      if (this.ended.size > ENDED_MAX) for (const oldest of this.ended.keys()) if (this.ended.delete(oldest)) break;
    }
  }

  /** The newest first. */
  rows(): readonly JobRow[] {
    return [...this.ended.values(), ...this.running.values()].reverse();
  }
}
