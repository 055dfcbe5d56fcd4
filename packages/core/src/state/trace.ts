/** The attempts that are kept as a file that Perfetto and Chrome open. */
import { type NodeId, nodeTag, nodeTagOf, type ProcessId } from "../base/ids.ts";
import { type AttemptOutcome, type TracedRun, traceChunks } from "../events/mod.ts";
import type { TaskRow } from "./rows.ts";

const OUTCOMES: Partial<Record<TaskRow["state"], AttemptOutcome>> = {
  finished: "ok",
  failed: "error",
  lost: "lost",
  preempted: "preempted",
  cancelled: "cancelled",
};

/**
 * @param isAll whether these are all that are kept.
 * @param nodeNames by the tags of nodes.
 */
export function traceOf(
  rows: readonly TaskRow[],
  isAll: boolean,
  nodeNames: ReadonlyMap<string, string>,
): Generator<string> {
  const runs = rows.flatMap((row, at) => runOf(row, rows.length - at) ?? []);
  const what = isAll
    ? "all attempts that are kept are in this file"
    : `the newest ${rows.length} attempts are in this file`;
  const sampling = `${what}; above 2,000 a second in one process only a sample is kept, with all that failed or took 50 ms`;
  return traceChunks(runs, { nodeNames, describe: (startedAt) => ({ startedAt, recorded: runs.length, sampling }) });
}

/** Undefined of one that never ran. */
function runOf(row: TaskRow, seq: number): TracedRun | undefined {
  const { taskId, name, kind, attempt, state, ownerPid, workerId, workerPid, nodeId, actorId, error } = row;
  const { submittedAtMs, readyAtMs, sentAtMs, finishedAtMs, ranMs } = row;
  const outcome = OUTCOMES[state];
  if (
    !outcome ||
    workerId === null ||
    workerPid === null ||
    nodeId === null ||
    sentAtMs === null ||
    finishedAtMs === null
  )
    return undefined;
  return {
    ...{
      name,
      parent: undefined,
      error: error ?? undefined,
      taskId,
      // Ids of tasks begin with that of their owner.
      ownerNode: nodeTagOf(taskId as string as ProcessId),
      ownerPid,
      workerId,
      workerNode: nodeTag(nodeId as NodeId),
      workerPid,
      kind,
      outcome,
      seq,
      attempt,
    },
    // Calls of one actor may overlap, by its concurrency.
    isSerial: actorId === null,
    ...{
      submittedAtMs,
      readyAtMs: readyAtMs ?? submittedAtMs,
      sentAtMs,
      finishedAtMs,
      runMicros: (ranMs ?? 0) * 1_000,
    },
  };
}
