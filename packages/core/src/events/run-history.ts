/**
 * What the last attempts took, for explanations of what has finished: the newest of all, and the newest slow ones, in
 * typed arrays. They are found by a search, because people ask seldom and tasks end often.
 */
import { type FinishedAttempt, SLOW_MICROS } from "./event-recorder.ts";

const NEWEST = 4_096;
const SLOWEST_KEPT = 1_024;
const FIELDS = 7;

export interface FinishedRun {
  readonly name: string;
  readonly attempt: number;
  readonly workerPid: number;
  readonly waitedForArgumentsMs: number;
  readonly queuedMs: number;
  readonly ranMs: number;
  readonly finishedAtMs: number;
}

class RunRing {
  private readonly numbers: Float64Array;
  private readonly names: string[] = [];
  private readonly size: number;
  private next = 0;

  constructor(size: number) {
    this.size = size;
    this.numbers = new Float64Array(size * FIELDS);
  }

  add(task: FinishedAttempt, workerPid: number, runMicros: number, finishedAtMs: number): void {
    const { numbers, next } = this;
    const at = next * FIELDS;
    const readyMs = task.readyAfterMicros / 1000;
    numbers[at] = task.seq;
    numbers[at + 1] = task.attempt;
    numbers[at + 2] = workerPid;
    numbers[at + 3] = readyMs;
    numbers[at + 4] = task.sentAtMs - task.submittedAtMs - readyMs;
    numbers[at + 5] = runMicros / 1000;
    numbers[at + 6] = finishedAtMs;
    this.names[next] = task.name;
    this.next = (next + 1) % this.size;
  }

  /** The newest first. */
  find(seq: number): FinishedRun | undefined {
    for (let back = 1; back <= this.size; back++) {
      const slot = (this.next - back + this.size) % this.size;
      const name = this.names[slot];
      if (name === undefined) return undefined;
      const [found, attempt = 0, workerPid = 0, waitedForArgumentsMs = 0, queuedMs = 0, ranMs = 0, finishedAtMs = 0] =
        this.numbers.subarray(slot * FIELDS, (slot + 1) * FIELDS);
      if (found !== seq) continue;
      return { name, attempt, workerPid, waitedForArgumentsMs, queuedMs, ranMs, finishedAtMs };
    }
    return undefined;
  }
}

export class RunHistory {
  private readonly newest = new RunRing(NEWEST);
  private readonly slow = new RunRing(SLOWEST_KEPT);

  add(task: FinishedAttempt, workerPid: number, runMicros: number, finishedAtMs: number): void {
    (runMicros >= SLOW_MICROS ? this.slow : this.newest).add(task, workerPid, runMicros, finishedAtMs);
  }

  /** The last attempt of this task, if it is remembered. */
  find(seq: number): FinishedRun | undefined {
    const newest = this.newest.find(seq);
    const slow = this.slow.find(seq);
    if (!newest || !slow) return newest ?? slow;
    return newest.finishedAtMs > slow.finishedAtMs ? newest : slow;
  }
}
