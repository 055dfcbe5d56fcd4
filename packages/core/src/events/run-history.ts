/**
 * What the last attempts took, for explanations of what has finished: the newest of all, and the newest slow ones, in
 * typed arrays. They are found by a search, because people ask seldom and tasks end often.
 */
import type { NodeId } from "../base/ids.ts";
import { type FinishedAttempt, SLOW_MICROS } from "./event-recorder.ts";

const NEWEST = 4_096;
const SLOWEST_KEPT = 1_024;
const FAILED_KEPT = 1_024;
const FIELDS = 8;
/** In place of a shape, of a call of an actor. */
const NO_SHAPE = -1;

/** Of the worker that ran it. */
export interface RunWorker {
  readonly nodeId: NodeId;
  readonly pid: number;
}

export interface FinishedRun {
  readonly name: string;
  readonly nodeId: NodeId;
  /** Of the leases by which its worker was found; none of a call of an actor. */
  readonly shape: number | undefined;
  readonly attempt: number;
  readonly workerPid: number;
  readonly waitedForArgumentsMs: number;
  readonly queuedMs: number;
  readonly ranMs: number;
  readonly finishedAtMs: number;
  /** How it ended, when that was not well; words that follow "it". */
  readonly failure: string | undefined;
}

class RunRing {
  private readonly numbers: Float64Array;
  private readonly names: string[] = [];
  private readonly nodes: NodeId[] = [];
  private readonly failures: (string | undefined)[] = [];
  private readonly size: number;
  private next = 0;

  constructor(size: number) {
    this.size = size;
    this.numbers = new Float64Array(size * FIELDS);
  }

  add(
    task: FinishedAttempt,
    { nodeId, pid }: RunWorker,
    shape: number | undefined,
    runMicros: number,
    finishedAtMs: number,
    failure?: string,
  ): void {
    const { numbers, next } = this;
    const at = next * FIELDS;
    const readyMs = (task.readyAfterMicros ?? 0) / 1000;
    numbers[at] = task.seq;
    numbers[at + 1] = task.attempt;
    numbers[at + 2] = pid;
    numbers[at + 3] = readyMs;
    numbers[at + 4] = task.sentAtMs - task.submittedAtMs - readyMs;
    numbers[at + 5] = runMicros / 1000;
    numbers[at + 6] = finishedAtMs;
    numbers[at + 7] = shape ?? NO_SHAPE;
    this.names[next] = task.name;
    this.nodes[next] = nodeId;
    if (failure !== undefined || this.failures.length > 0) this.failures[next] = failure;
    this.next = (next + 1) % this.size;
  }

  /** The newest first. */
  *find(seq: number): Generator<FinishedRun> {
    const { numbers, size } = this;
    for (let back = 1; back <= size; back++) {
      const slot = (this.next - back + size) % size;
      const name = this.names[slot];
      const nodeId = this.nodes[slot];
      if (name === undefined || nodeId === undefined) return;
      if (numbers[slot * FIELDS] !== seq) continue;
      const fields = numbers.subarray(slot * FIELDS + 1, (slot + 1) * FIELDS);
      const [attempt = 0, workerPid = 0, waitedForArgumentsMs = 0, queuedMs = 0, ranMs = 0, finishedAtMs = 0] = fields;
      const shape = fields[6] === NO_SHAPE ? undefined : fields[6];
      const times = { waitedForArgumentsMs, queuedMs, ranMs, finishedAtMs };
      yield { name, nodeId, shape, attempt, workerPid, ...times, failure: this.failures[slot] };
    }
  }
}

export class RunHistory {
  private readonly newest = new RunRing(NEWEST);
  private readonly slow = new RunRing(SLOWEST_KEPT);
  /** Others make no room of these: what was tried before is what people ask for. */
  private readonly failed = new RunRing(FAILED_KEPT);

  add(
    task: FinishedAttempt,
    worker: RunWorker,
    shape: number | undefined,
    runMicros: number,
    finishedAtMs: number,
    failure?: string,
  ): void {
    const ring = failure !== undefined ? this.failed : runMicros >= SLOW_MICROS ? this.slow : this.newest;
    ring.add(task, worker, shape, runMicros, finishedAtMs, failure);
  }

  /** The attempts of this task that are remembered, the last one last. */
  find(seq: number): readonly FinishedRun[] {
    const runs = [this.newest, this.slow, this.failed].flatMap((ring) => [...ring.find(seq)]);
    return runs.sort((a, b) => a.attempt - b.attempt || a.finishedAtMs - b.finishedAtMs);
  }
}
