/** The attempts that are kept as a file that Perfetto and Chrome open. */
import { type NodeId, nodeTag, nodeTagOf, OWNER_HEX, type ProcessId } from "../base/ids.ts";
import { type AttemptOutcome, type TracedRun, traceChunks } from "../events/mod.ts";
import type { TaskRow } from "./rows.ts";

const OUTCOMES: Partial<Record<TaskRow["state"], AttemptOutcome>> = {
  finished: "ok",
  failed: "error",
  lost: "lost",
  preempted: "preempted",
  cancelled: "cancelled",
};

/** Some of the attempts that are kept, without a gap; the newest first. */
export interface TracePiece {
  readonly rows: readonly TaskRow[];
  /** How many there are in all. */
  readonly kept: number;
  /** It begins with the newest. */
  readonly isFirst: boolean;
  /** Where the next one begins, which is older; null: these are the oldest. */
  readonly next: string | null;
}

/** @param nodeNames by the tags of nodes. */
export function traceOf(piece: TracePiece, nodeNames: ReadonlyMap<string, string>): Generator<string> {
  const { rows, kept, isFirst, next } = piece;
  const runs = rows.flatMap((row, at) => runOf(row, rows.length - at) ?? []);
  const what = !isFirst
    ? `${rows.length} of ${kept} attempts that are kept are in this file`
    : next === null
      ? "all attempts that are kept are in this file"
      : `the newest ${rows.length} attempts are in this file`;
  const sampling = `${what}; above 2,000 a second in one process only a sample is kept, with all that failed or took 50 ms`;
  // To the fraction of a millisecond, as times in the file are: pieces are put together by it.
  const originMs = runs.reduce((least, { submittedAtMs }) => Math.min(least, submittedAtMs), Number.MAX_VALUE);
  return traceChunks(runs, {
    nodeNames,
    describe: (startedAt) => ({
      startedAt,
      ...(startedAt !== null && { originMs }),
      ...{ recorded: runs.length, sampling, kept, next },
    }),
  });
}

/** Ids begin with those of processes; as for what makes an actor, see chrome-trace.ts. */
function ownerNodeOf({ taskId, kind, parentId }: TaskRow): string | undefined {
  if (kind !== "actor-creation") return nodeTagOf(taskId as string as ProcessId);
  return parentId?.length === OWNER_HEX ? nodeTagOf(parentId as ProcessId) : undefined;
}

/** Undefined of one that never ran. */
function runOf(row: TaskRow, seq: number): TracedRun | undefined {
  const { taskId, name, kind, attempt, state, ownerPid, workerId, workerPid, nodeId, actorId, error } = row;
  const { submittedAtMs, readyAtMs, sentAtMs, finishedAtMs, ranMs } = row;
  const outcome = OUTCOMES[state];
  if (
    !outcome ||
    submittedAtMs === null ||
    ownerPid === null ||
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
      parent: row.parentName ?? undefined,
      error: error ?? undefined,
      taskId,
      ownerNode: ownerNodeOf(row) ?? nodeTag(nodeId as NodeId),
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
