/** The error of a task whose worker died. */
import type { FailureRecord, WorkerDeath } from "../wire/mod.ts";
import type { Lease, TaskRecord } from "./records.ts";

export function lostFailure(task: TaskRecord, lease: Lease, death: WorkerDeath | undefined): FailureRecord {
  const where = `worker ${lease.link.address.workerId} (pid ${lease.link.address.pid})`;
  const attempts = task.failures > 0 ? `, after ${task.failures + 1} attempts` : "";
  if (death?.outOfMemory) {
    return {
      code: "OUT_OF_MEMORY",
      kind: "exhausted",
      message: `${task.name} was ended on ${where}${attempts}: ${death.outOfMemory}`,
    };
  }
  const how = death ? describeDeath(death) : "its connection was lost";
  return {
    code: "WORKER_DIED",
    kind: "lost",
    message: `${task.name} was running on ${where} when that died${attempts}: ${how}`,
  };
}

function describeDeath(death: WorkerDeath): string {
  if (death.lostWith !== undefined) return `its node, ${death.lostWith}, died`;
  const how = death.signal ? `signal ${death.signal}` : `exit code ${death.exitCode ?? "unknown"}`;
  const why = death.intended ? ` (ended on purpose: ${death.intended})` : "";
  const tail = death.stderrTail.trim();
  return `${how}${why}${tail ? `\n${tail}` : ""}`;
}
