/**
 * Records the attempts of one owner, pure but for what it calls back.
 *
 * 1. Every attempt is counted, by function, where it was submitted, and outcome.
 * 2. Up to {@link EVENTS_PER_SECOND} every attempt is recorded. Above, every n-th, with n taken from the rate of the last
 *    tenth of a second; those that did not end well and slow ones are recorded whatever the rate.
 * 3. Numbers go into one typed array; when it is full, or the owner's runtime says so, they leave as a batch.
 */
import type { ActorId, JobId, NodeId, ProcessId } from "../base/ids.ts";
import {
  ATTEMPT_OUTCOMES,
  type AttemptKind,
  type AttemptOutcome,
  type BatchParent,
  FIELD,
  FIELDS,
  type PutTally,
  packBatch,
  packWhat,
  packWhere,
  type Tally,
} from "./event-batch.ts";
import { StringTable } from "./string-table.ts";

export const EVENTS_PER_SECOND = 2_000;
const WINDOW_MS = 100;
const EVENTS_PER_WINDOW = (EVENTS_PER_SECOND * WINDOW_MS) / 1000;
/** Slow attempts are few by nature; a burst of failed ones must not fill the memory of the node. */
const ALWAYS_PER_WINDOW = EVENTS_PER_WINDOW;
export const SLOW_MICROS = 50_000;
const EVENTS_PER_BATCH = 2_048;
/** A batch leaves when it counts so many functions: with them its tables have room for all names. */
const TALLIES_PER_BATCH = 4_096;
const ERROR_CHARS_MAX = 300;
/** Functions with less in them are not worth a word. */
const LARGE_CODE_BYTES = 64 * 1024;
const LARGE_CODES_MAX = 100;
const PUT_SITES_MAX = 100;

/** What the owner knows of the attempt that ended. */
export interface FinishedAttempt {
  readonly name: string;
  /** The function or method, of which `name` is made together with `className`. */
  readonly code: object | undefined;
  readonly className: string | undefined;
  /** In which it was submitted; without a name: in no function of this process. */
  readonly parent: (BatchParent & { readonly name: string | undefined }) | undefined;
  readonly seq: number;
  readonly attempt: number;
  readonly kind: AttemptKind;
  readonly isSerial: boolean;
  readonly actorId: ActorId | undefined;
  readonly submittedAtMs: number;
  /** From submission until the arguments were there; undefined when they were not. */
  readonly readyAfterMicros: number | undefined;
  /** What counts is that of an attempt with a worker. */
  readonly sentAtMs: number;
}

export interface AttemptWorker {
  readonly workerId: string;
  readonly nodeId: NodeId;
  readonly pid: number;
}

export interface EventRecorderOptions {
  readonly owner: ProcessId;
  /** Of this process. */
  readonly pid: number;
  readonly job: () => JobId | undefined;
  readonly send: (batch: Uint8Array) => void;
}

interface Counter extends Tally {
  readonly counts: number[];
  runMicros: number;
  readonly code: object | undefined;
  readonly className: string | undefined;
}

export class EventRecorder {
  private readonly options: EventRecorderOptions;
  private numbers: Float64Array | undefined;
  private count = 0;
  private job: JobId | undefined;
  private readonly names = new StringTable();
  private readonly actors = new StringTable<ActorId>();
  private readonly errors = new StringTable();
  private readonly workerIds = new StringTable();
  private workers: AttemptWorker[] = [];
  /** Of each its place in `parents`, plus one. */
  private readonly parentIndices = new Map<BatchParent, number>();
  private parentOf: Uint16Array | undefined;
  private counters: Counter[] = [];
  private readonly byCode = new Map<object | undefined, Counter[]>();
  /** Neighbours are mostly of one function. */
  private last: Counter | undefined;
  private readonly largeCode = new Map<string, { times: number; bytes: number }>();
  private readonly putSites = new Map<string, { times: number; bytes: number }>();
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
    return this.counters.length > 0 || this.putSites.size > 0;
  }

  /**
   * @param worker undefined for an attempt that never ran.
   * @param error says why it did not end well; asked only when that is kept.
   */
  record(
    task: FinishedAttempt,
    worker: AttemptWorker | undefined,
    runMicros: number,
    finishedAtMs: number,
    outcome: AttemptOutcome,
    error?: () => string,
  ): void {
    const job = this.options.job();
    if (job !== this.job) {
      this.flush();
      this.job = job;
    }
    const counter = this.counterOf(task);
    const outcomeIndex = outcome === "ok" ? 0 : ATTEMPT_OUTCOMES.indexOf(outcome);
    counter.counts[outcomeIndex] = (counter.counts[outcomeIndex] ?? 0) + 1;
    if (outcomeIndex <= 1) counter.runMicros += runMicros;
    if (finishedAtMs >= this.windowEndsAtMs) this.nextWindow(finishedAtMs);
    const turn = this.seenInWindow++;
    if (turn % this.stride === 0 && this.keptInWindow < EVENTS_PER_WINDOW) this.keptInWindow++;
    else if ((outcome !== "ok" || runMicros >= SLOW_MICROS) && this.alwaysInWindow < ALWAYS_PER_WINDOW) {
      this.alwaysInWindow++;
    } else return;
    this.write(task, counter, worker, runMicros, finishedAtMs, outcome, error);
  }

  /** A function was packed with what it captured; leaves with the next batch. */
  codePacked(name: string, bytes: number): void {
    if (bytes < LARGE_CODE_BYTES) return;
    const known = this.largeCode.get(name);
    if (known) {
      known.times++;
      known.bytes += bytes;
    } else if (this.largeCode.size < LARGE_CODES_MAX) this.largeCode.set(name, { times: 1, bytes });
  }

  /** Small values were put at a place of the program. */
  putsSeen({ site, times, bytes }: PutTally): void {
    const known = this.putSites.get(site);
    if (known) {
      known.times += times;
      known.bytes += bytes;
    } else if (this.putSites.size < PUT_SITES_MAX) this.putSites.set(site, { times, bytes });
  }

  private counterOf(task: FinishedAttempt): Counter {
    const { code, className } = task;
    const parent = task.parent?.name ?? null;
    const { last } = this;
    if (last && last.code === code && last.className === className && last.parent === parent) return last;
    let counters = this.byCode.get(code);
    if (!counters) {
      // Full tables leave before anything of this attempt is in them.
      if (this.counters.length >= TALLIES_PER_BATCH) this.flush();
      counters = [];
      this.byCode.set(code, counters);
    }
    let counter = counters.find((known) => known.className === className && known.parent === parent);
    if (!counter) {
      const counts = ATTEMPT_OUTCOMES.map(() => 0);
      counter = { name: task.name, kind: task.kind, parent, counts, runMicros: 0, code, className };
      counters.push(counter);
      this.counters.push(counter);
    }
    this.last = counter;
    return counter;
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
    { name, parent, kind }: Counter,
    worker: AttemptWorker | undefined,
    runMicros: number,
    finishedAtMs: number,
    outcome: AttemptOutcome,
    error: (() => string) | undefined,
  ): void {
    this.numbers ??= new Float64Array(EVENTS_PER_BATCH * FIELDS);
    const { numbers, names } = this;
    const { actorId, submittedAtMs, readyAfterMicros } = task;
    const at = this.count * FIELDS;
    const parentIndex = parent === null ? -1 : names.indexOf(parent);
    const actorIndex = actorId === undefined ? -1 : this.actors.indexOf(actorId);
    const errorIndex = error === undefined ? -1 : this.errors.indexOf(firstLine(error()));
    numbers[at + FIELD.what] = packWhat(names.indexOf(name), parentIndex, outcome, kind, task.isSerial, task.attempt);
    numbers[at + FIELD.where] = packWhere(worker ? this.workerIndex(worker) : -1, actorIndex, errorIndex);
    numbers[at + FIELD.seq] = task.seq;
    numbers[at + FIELD.submittedAtMs] = submittedAtMs;
    numbers[at + FIELD.readyAtMs] =
      readyAfterMicros === undefined ? Number.NaN : submittedAtMs + readyAfterMicros / 1000;
    numbers[at + FIELD.sentAtMs] = worker ? task.sentAtMs : Number.NaN;
    numbers[at + FIELD.finishedAtMs] = finishedAtMs;
    numbers[at + FIELD.runMicros] = runMicros;
    if (task.parent) this.noteParent(task.parent);
    if (++this.count === EVENTS_PER_BATCH) this.flush();
  }

  /** Of the attempt that is written. */
  private noteParent(parent: BatchParent): void {
    let index = this.parentIndices.get(parent);
    if (index === undefined) {
      index = this.parentIndices.size + 1;
      this.parentIndices.set(parent, index);
    }
    this.parentOf ??= new Uint16Array(EVENTS_PER_BATCH);
    this.parentOf[this.count] = index;
  }

  private workerIndex({ workerId, nodeId, pid }: AttemptWorker): number {
    const index = this.workerIds.indexOf(workerId);
    if (index === this.workers.length) this.workers.push({ workerId, nodeId, pid });
    return index;
  }

  /** Sends what is there, also when all of it was left out by sampling: the counts of it matter. */
  flush(): void {
    if (!this.hasUnsent) return;
    const { numbers = new Float64Array(0), count, counters, workers, options, parentIndices, parentOf } = this;
    const batch = packBatch({
      owner: options.owner,
      pid: options.pid,
      job: this.job ?? options.job() ?? ("" as JobId),
      names: this.names.take(),
      workers,
      actors: this.actors.take(),
      errors: this.errors.take(),
      tallies: counters,
      code: [...this.largeCode].map(([name, { times, bytes: packed }]) => ({ name, times, bytes: packed })),
      puts: [...this.putSites].map(([site, { times, bytes }]) => ({ site, times, bytes })),
      columns: numbers.subarray(0, count * FIELDS),
      ...(parentOf && { parents: { table: [...parentIndices.keys()], of: parentOf.subarray(0, count) } }),
    });
    this.count = 0;
    this.parentIndices.clear();
    this.parentOf = undefined;
    this.largeCode.clear();
    this.putSites.clear();
    this.workerIds.take();
    this.workers = [];
    this.counters = [];
    this.byCode.clear();
    this.last = undefined;
    options.send(batch);
  }
}

function firstLine(text: string): string {
  const end = text.indexOf("\n");
  const line = end < 0 ? text : text.slice(0, end);
  return line.length > ERROR_CHARS_MAX ? `${line.slice(0, ERROR_CHARS_MAX - 1)}…` : line;
}
