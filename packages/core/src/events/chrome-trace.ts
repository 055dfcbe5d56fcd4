/**
 * Batches of events as Chrome's trace format ("JSON object format", which Perfetto and chrome://tracing open).
 *
 * Every process of every node is a process of the trace (trace-processes.ts). A worker's rows hold what it ran; attempts
 * that overlap (concurrent actors) get rows of their own. Each arrow leads from the submission, in the row "submits" of the process that called, to the
 * run. The stages before the run are in the slice's arguments, and, when they took a millisecond or more, slices of the
 * owner's row "waiting" (asynchronous ones, since thousands wait at once).
 *
 * @source "Trace Event Format", Google: events X (complete), s/f (flow), b/e (asynchronous), M (metadata).
 */
import { nodeTag, nodeTagOf, type ProcessId } from "../base/ids.ts";
import {
  attemptsOf,
  type EventBatch,
  type RecordedAttempt,
  readBatch,
  seenIn,
  submitterOf,
  taskIdOf,
} from "./event-batch.ts";
import { FIRST_RUN_ROW, SUBMIT_ROW, TraceProcesses } from "./trace-processes.ts";

export interface TimelineSource {
  readonly batches: readonly Uint8Array[];
  /** Batches that made room for newer ones. */
  readonly droppedBatches: number;
  /** The process that asks: called "driver". */
  readonly driver: ProcessId;
  readonly driverPid: number;
  /** By their tags. */
  readonly nodeNames: ReadonlyMap<string, string>;
}

/** Stages shorter than this are in the slice's arguments only. */
const STAGE_SHOWN_MS = 1;
/** Characters gathered before they are handed out. */
const CHUNK_CHARS = 64 * 1024;

/** An attempt that ran, with what its batch says of it. */
export interface TracedRun
  extends Omit<RecordedAttempt, "name" | "parent" | "parentTask" | "worker" | "actor" | "error"> {
  readonly name: string;
  readonly parent: string | undefined;
  readonly error: string | undefined;
  readonly taskId: string;
  /** The tag of its owner's node. */
  readonly ownerNode: string;
  readonly ownerPid: number;
  readonly workerId: string;
  readonly workerNode: string;
  readonly workerPid: number;
}

export interface TraceOptions {
  /** Called "driver", as is every process that only submits, and in no function; undefined: none is known. */
  readonly driver?: { readonly node: string; readonly pid: number };
  readonly nodeNames: ReadonlyMap<string, string>;
  /** What the file says of itself, by when the first attempt was submitted; null when there is none. */
  describe(startedAt: string | null): Record<string, unknown>;
}

interface Placed {
  readonly attempt: TracedRun;
  startMs: number;
  endMs: number;
  row: number;
}

/** The file, in pieces. */
export function* timelineChunks(source: TimelineSource): Generator<string> {
  const contents = source.batches.map(readBatch);
  const runs = contents.flatMap((content) => [...runsOf(content)]);
  const { driver, driverPid: pid, nodeNames } = source;
  yield* traceChunks(runs, {
    driver: { node: nodeTagOf(driver), pid },
    nodeNames,
    describe: (startedAt) => describe(source, contents, runs, startedAt),
  });
}

/** The same of runs from elsewhere. */
export function* traceChunks(
  runs: readonly TracedRun[],
  { driver, nodeNames, describe }: TraceOptions,
): Generator<string> {
  const processes = new TraceProcesses(runs, nodeNames, driver);
  const placed = place(runs, processes);
  const originMs = placed.reduce((least, { attempt }) => Math.min(least, attempt.submittedAtMs), Number.MAX_VALUE);
  const startedAt = originMs < Number.MAX_VALUE ? new Date(originMs).toISOString() : null;
  let text = `{"displayTimeUnit":"ms","otherData":${JSON.stringify(describe(startedAt))},"traceEvents":[\n`;
  let separator = "";
  for (const event of events(placed, processes, originMs)) {
    text += separator + JSON.stringify(event);
    separator = ",\n";
    if (text.length < CHUNK_CHARS) continue;
    yield text;
    text = "";
  }
  yield `${text}\n]}\n`;
}

function describe(
  { droppedBatches }: TimelineSource,
  contents: readonly EventBatch[],
  runs: readonly TracedRun[],
  startedAt: string | null,
): Record<string, unknown> {
  const seen = contents.reduce((sum, content) => sum + seenIn(content), 0);
  const recorded = runs.length;
  const sampling =
    recorded === seen
      ? `all ${seen} attempts are in this file`
      : `${recorded} of ${seen} attempts are in this file: above 2,000 a second in one process only a sample is kept, with all that failed or took 50 ms, of the newest ones, and without those that never ran`;
  return {
    startedAt,
    attempts: seen,
    recorded,
    sampling,
    droppedBatches,
  };
}

/** Those that ran: the others were in no worker. */
function* runsOf(batch: EventBatch): Generator<TracedRun> {
  const { names, workers, errors } = batch;
  for (const attempt of attemptsOf(batch)) {
    const worker = workers[attempt.worker];
    const submitter = submitterOf(batch, attempt);
    if (!worker || !submitter) continue;
    yield {
      ...attempt,
      name: names[attempt.name] ?? "",
      parent: names[attempt.parent],
      error: errors[attempt.error],
      taskId: taskIdOf(batch, attempt),
      ownerNode: nodeTagOf(submitter.processId),
      ownerPid: submitter.pid,
      workerId: worker.workerId,
      workerNode: nodeTag(worker.nodeId),
      workerPid: worker.pid,
    };
  }
}

/** Gives every attempt its start and its row. */
function place(attempts: readonly TracedRun[], processes: TraceProcesses): Placed[] {
  const byWorker = new Map<string, Placed[]>();
  for (const attempt of attempts) {
    const endMs = attempt.finishedAtMs;
    // Results of short runs arrive together; a run cannot have begun before it was sent.
    const startMs = Math.max(endMs - attempt.runMicros / 1000, Math.min(attempt.sentAtMs, endMs));
    const item: Placed = { attempt, startMs, endMs, row: FIRST_RUN_ROW };
    const others = byWorker.get(attempt.workerId);
    if (others) others.push(item);
    else byWorker.set(attempt.workerId, [item]);
  }
  const rows = new Map<number, number>();
  const placed: Placed[] = [];
  for (const [, items] of byWorker) {
    items.sort((a, b) => a.endMs - b.endMs || a.attempt.seq - b.attempt.seq);
    for (const [at, item] of items.entries()) {
      // How long a lost attempt had run is not known: at most since it was sent, or since what ran before it ended.
      if (item.attempt.outcome !== "lost" && item.attempt.outcome !== "preempted") continue;
      item.startMs = Math.max(Math.min(item.attempt.sentAtMs, item.endMs), items[at - 1]?.endMs ?? 0);
    }
    separate(items);
    const [first] = items;
    if (!first) continue;
    const pid = processes.numberOf(first.attempt.workerNode, first.attempt.workerPid);
    // Workers that share a process (inline) have rows below each other.
    const firstRow = rows.get(pid) ?? FIRST_RUN_ROW;
    rows.set(pid, firstRow + spread(items, firstRow));
    placed.push(...items);
  }
  return placed;
}

/** What ran one after the other does not overlap: each ends, at the latest, where the next began. */
function separate(items: readonly Placed[]): void {
  let nextStartMs = Number.POSITIVE_INFINITY;
  for (let at = items.length - 1; at >= 0; at--) {
    const item = items[at];
    if (!item?.attempt.isSerial) continue;
    if (item.endMs > nextStartMs) {
      const runMs = item.endMs - item.startMs;
      item.endMs = nextStartMs;
      item.startMs = nextStartMs - runMs;
    }
    nextStartMs = item.startMs;
  }
}

/** Puts what overlaps into rows of its own; returns how many were used. */
function spread(items: readonly Placed[], firstRow: number): number {
  const freeFromMs: number[] = [];
  for (const item of [...items].sort((a, b) => a.startMs - b.startMs)) {
    let lane = freeFromMs.findIndex((freeMs) => freeMs <= item.startMs);
    if (lane < 0) lane = freeFromMs.length;
    freeFromMs[lane] = item.endMs;
    item.row = firstRow + lane;
  }
  return freeFromMs.length;
}

function* events(placed: readonly Placed[], processes: TraceProcesses, originMs: number): Generator<object> {
  const micros = (ms: number): number => Math.round((ms - originMs) * 1000);
  for (const { attempt, row } of placed) processes.uses(attempt, row);
  yield* processes.names();
  let id = 0;
  for (const { attempt, startMs, endMs, row } of placed) {
    id++;
    const { name, submittedAtMs, readyAtMs, sentAtMs, outcome } = attempt;
    const owner = processes.numberOf(attempt.ownerNode, attempt.ownerPid);
    const worker = processes.numberOf(attempt.workerNode, attempt.workerPid);
    const cat = attempt.kind === "task" ? "task" : "call";
    const submitted = micros(submittedAtMs);
    const start = micros(startMs);
    yield { ph: "X", pid: owner, tid: SUBMIT_ROW, ts: submitted, dur: 1, cat: "submit", name };
    yield { ph: "s", pid: owner, tid: SUBMIT_ROW, ts: submitted, id, cat: "flow", name: "submitted" };
    yield { ph: "f", bp: "e", pid: worker, tid: row, ts: start, id, cat: "flow", name: "submitted" };
    yield {
      ph: "X",
      pid: worker,
      tid: row,
      ts: start,
      dur: Math.max(1, micros(endMs) - start),
      cat,
      name,
      ...(outcome !== "ok" && { cname: "terrible" }),
      args: {
        outcome,
        attempt: attempt.attempt,
        task: attempt.taskId,
        submittedBy: attempt.ownerPid,
        ...(attempt.parent !== undefined && { submittedIn: attempt.parent }),
        ...(attempt.error !== undefined && { error: attempt.error }),
        waitedForArgumentsMs: rounded(readyAtMs - submittedAtMs),
        queuedMs: rounded(sentAtMs - readyAtMs),
        sentBeforeRunMs: rounded(startMs - sentAtMs),
        ranMs: rounded(attempt.runMicros / 1000),
      },
    };
    const stages: readonly [string, number, number][] = [
      ["waits for arguments", submittedAtMs, readyAtMs],
      ["queued", readyAtMs, sentAtMs],
      ["sent, not started", sentAtMs, startMs],
    ];
    for (const [stage, fromMs, toMs] of stages) {
      if (toMs - fromMs < STAGE_SHOWN_MS) continue;
      const shared = { pid: owner, tid: SUBMIT_ROW, id, cat: stage, name: `${name}: ${stage}` };
      yield { ph: "b", ts: micros(fromMs), ...shared };
      yield { ph: "e", ts: micros(toMs), ...shared };
    }
  }
}

const rounded = (ms: number): number => Math.max(0, Math.round(ms * 1000) / 1000);
