/**
 * Records the attempts of one owner, pure but for what it calls back.
 *
 * 1. Up to {@link EVENTS_PER_SECOND} every attempt is recorded. Above, every n-th, with n taken from the rate of the last
 *    tenth of a second; failed and slow ones are recorded whatever the rate.
 * 2. Numbers go into one typed array; when it is full, or the owner's runtime says so, they leave as a batch.
 */
import { type AttemptOutcome, FIELD, FIELDS, kindOf, packBatch } from "./event-batch.ts";

export const EVENTS_PER_SECOND = 2_000;
const WINDOW_MS = 100;
const EVENTS_PER_WINDOW = (EVENTS_PER_SECOND * WINDOW_MS) / 1000;
/** Slow attempts are few by nature; a burst of failed ones must not fill the memory of the node. */
const ALWAYS_PER_WINDOW = EVENTS_PER_WINDOW;
export const SLOW_MICROS = 50_000;
const EVENTS_PER_BATCH = 2_048;

/** What the owner knows of the attempt that ended. */
export interface FinishedAttempt {
  readonly name: string;
  readonly seq: number;
  readonly attempt: number;
  readonly isCall: boolean;
  readonly isSerial: boolean;
  readonly submittedAtMs: number;
  /** From submission until the arguments were there. */
  readonly readyAfterMicros: number;
  readonly sentAtMs: number;
}

export interface AttemptWorker {
  readonly workerId: string;
  readonly pid: number;
}

export interface EventRecorderOptions {
  /** Of this process. */
  readonly pid: number;
  readonly send: (batch: Uint8Array) => void;
}

export class EventRecorder {
  private readonly options: EventRecorderOptions;
  private numbers: Float64Array | undefined;
  private count = 0;
  private seen = 0;
  private readonly names = new Map<string, number>();
  private readonly workers = new Map<string, { readonly index: number; readonly pid: number }>();
  private windowEndsAtMs = 0;
  private seenInWindow = 0;
  private keptInWindow = 0;
  private alwaysInWindow = 0;
  private stride = 1;

  constructor(options: EventRecorderOptions) {
    this.options = options;
  }

  /** Something has not left yet. */
  get hasUnsent(): boolean {
    return this.seen > 0;
  }

  record(
    task: FinishedAttempt,
    worker: AttemptWorker,
    runMicros: number,
    finishedAtMs: number,
    outcome: AttemptOutcome,
  ): void {
    if (finishedAtMs >= this.windowEndsAtMs) this.nextWindow(finishedAtMs);
    this.seen++;
    const turn = this.seenInWindow++;
    if (turn % this.stride === 0 && this.keptInWindow < EVENTS_PER_WINDOW) this.keptInWindow++;
    else if ((outcome !== "ok" || runMicros >= SLOW_MICROS) && this.alwaysInWindow < ALWAYS_PER_WINDOW) {
      this.alwaysInWindow++;
    } else return;
    this.write(task, worker, runMicros, finishedAtMs, outcome);
  }

  private nextWindow(nowMs: number): void {
    // After a pause nothing is known of the rate: everything is recorded until the window's budget is used.
    const isNext = nowMs < this.windowEndsAtMs + WINDOW_MS;
    this.stride = isNext ? Math.max(1, Math.ceil(this.seenInWindow / EVENTS_PER_WINDOW)) : 1;
    this.windowEndsAtMs = nowMs + WINDOW_MS;
    this.seenInWindow = 0;
    this.keptInWindow = 0;
    this.alwaysInWindow = 0;
  }

  private write(
    task: FinishedAttempt,
    worker: AttemptWorker,
    runMicros: number,
    finishedAtMs: number,
    outcome: AttemptOutcome,
  ): void {
    this.numbers ??= new Float64Array(EVENTS_PER_BATCH * FIELDS);
    const { numbers } = this;
    const at = this.count * FIELDS;
    numbers[at + FIELD.name] = this.nameIndex(task.name);
    numbers[at + FIELD.worker] = this.workerIndex(worker);
    numbers[at + FIELD.kind] = kindOf(outcome, task.isCall, task.isSerial, task.attempt);
    numbers[at + FIELD.seq] = task.seq;
    numbers[at + FIELD.submittedAtMs] = task.submittedAtMs;
    numbers[at + FIELD.readyAtMs] = task.submittedAtMs + task.readyAfterMicros / 1000;
    numbers[at + FIELD.sentAtMs] = task.sentAtMs;
    numbers[at + FIELD.finishedAtMs] = finishedAtMs;
    numbers[at + FIELD.runMicros] = runMicros;
    if (++this.count === EVENTS_PER_BATCH) this.flush();
  }

  private nameIndex(name: string): number {
    let index = this.names.get(name);
    if (index === undefined) {
      index = this.names.size;
      this.names.set(name, index);
    }
    return index;
  }

  private workerIndex({ workerId, pid }: AttemptWorker): number {
    let known = this.workers.get(workerId);
    if (!known) {
      known = { index: this.workers.size, pid };
      this.workers.set(workerId, known);
    }
    return known.index;
  }

  /** Sends what is there, also when all of it was left out by sampling: the count of it matters. */
  flush(): void {
    if (!this.hasUnsent) return;
    const { numbers = new Float64Array(0), count, seen } = this;
    const batch = packBatch(
      {
        pid: this.options.pid,
        seen,
        names: [...this.names.keys()],
        workers: [...this.workers].map(([id, { pid }]) => [id, pid] as const),
      },
      numbers.subarray(0, count * FIELDS),
    );
    this.count = 0;
    this.seen = 0;
    this.names.clear();
    this.workers.clear();
    this.options.send(batch);
  }
}
