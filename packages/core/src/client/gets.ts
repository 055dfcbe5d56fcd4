/** Pending `get`s: who waits for which objects. */
import type { Seq } from "../base/ids.ts";
import type { Waited } from "./open-waits.ts";
import type { Ref } from "./refs.ts";

/** One `get`: fills its results as values arrive; the first error rejects it. */
export class PendingGet {
  readonly results: unknown[];
  remaining: number;
  isSettled = false;
  private readonly resolve: (values: unknown[]) => void;
  private readonly reject: (error: unknown) => void;
  readonly refs: readonly Ref[];

  constructor(refs: readonly Ref[], resolve: (values: unknown[]) => void, reject: (error: unknown) => void) {
    this.refs = refs;
    this.results = new Array(refs.length);
    this.remaining = refs.length;
    this.resolve = resolve;
    this.reject = reject;
  }

  fulfil(index: number, value: unknown): void {
    this.results[index] = value;
    if (--this.remaining > 0 || this.isSettled) return;
    this.isSettled = true;
    this.resolve(this.results);
  }

  fail(error: unknown): void {
    if (this.isSettled) return;
    this.isSettled = true;
    this.reject(error);
  }
}

export interface GetWaiter {
  readonly get: PendingGet;
  readonly index: number;
}

/** Refs of one get whose numbers follow each other, as those of tasks submitted in a loop do. */
interface Run {
  readonly get: PendingGet;
  readonly first: number;
  readonly end: number;
  /** Index of the first in the get. */
  readonly base: number;
  /** 1 for each that has arrived. */
  readonly arrived: Uint8Array;
  missing: number;
}

/** From this length on a run is kept as one entry: a get of a million refs must not cost a million of them. */
export const RUN_LENGTH_MIN = 64;

const NONE: readonly GetWaiter[] = Object.freeze([]);

/** Pending gets by object. */
export class GetTable {
  private readonly waiters = new Map<Seq, GetWaiter | GetWaiter[]>();
  private runs: Run[] = [];

  /** True when the owner must be asked: nobody waited for the object before. */
  add(seq: Seq, waiter: GetWaiter): boolean {
    const known = this.waiters.get(seq);
    if (known === undefined) {
      this.waiters.set(seq, waiter);
      return this.runOf(seq) === undefined;
    }
    if (Array.isArray(known)) known.push(waiter);
    else this.waiters.set(seq, [known, waiter]);
    return false;
  }

  addRun(first: Seq, length: number, get: PendingGet, base: number): void {
    this.runs.push({ get, first, end: first + length, base, arrived: new Uint8Array(length), missing: length });
  }

  has(seq: Seq): boolean {
    return this.waiters.has(seq) || this.runOf(seq) !== undefined;
  }

  private runOf(seq: Seq): Run | undefined {
    for (const run of this.runs)
      if (seq >= run.first && seq < run.end && run.arrived[seq - run.first] === 0) return run;
    return undefined;
  }

  /** Everybody who waits for the object; they wait no more. */
  take(seq: Seq): readonly GetWaiter[] {
    const known = this.waiters.get(seq);
    let taken: readonly GetWaiter[] = NONE;
    if (known !== undefined) {
      this.waiters.delete(seq);
      taken = Array.isArray(known) ? known : [known];
    }
    for (let run = this.runOf(seq); run; run = this.runOf(seq)) {
      run.arrived[seq - run.first] = 1;
      if (--run.missing === 0) this.runs.splice(this.runs.indexOf(run), 1);
      taken = [...taken, { get: run.get, index: run.base + seq - run.first }];
    }
    return taken;
  }

  /** The get is over; returns the objects that nobody waits for any more. */
  forget(get: PendingGet): readonly Seq[] {
    const left = this.runs.filter((run) => run.get === get);
    this.runs = this.runs.filter((run) => run.get !== get);
    const candidates = new Set<Seq>();
    for (const run of left) {
      for (let seq = run.first; seq < run.end; seq++)
        if (run.arrived[seq - run.first] === 0) candidates.add(seq as Seq);
    }
    for (const { seq } of get.refs) {
      const known = this.waiters.get(seq);
      if (known === undefined) continue;
      const others = (Array.isArray(known) ? known : [known]).filter((waiter) => waiter.get !== get);
      if (others.length > 0) this.waiters.set(seq, others);
      else {
        this.waiters.delete(seq);
        candidates.add(seq);
      }
    }
    return [...candidates].filter((seq) => !this.has(seq));
  }

  takeAll(): readonly PendingGet[] {
    const gets = new Set<PendingGet>(this.runs.map((run) => run.get));
    for (const known of this.waiters.values())
      for (const waiter of Array.isArray(known) ? known : [known]) gets.add(waiter.get);
    this.waiters.clear();
    this.runs = [];
    return [...gets];
  }
}

/** So many of the refs of a wait are looked at for whoever asks what is missing. */
export const LOOKED_AT_MAX = 10_000;

export class WaitedGet implements Waited {
  readonly call = "get";
  private readonly get: PendingGet;
  private readonly table: GetTable;

  constructor(get: PendingGet, table: GetTable) {
    this.get = get;
    this.table = table;
  }

  get refs(): number {
    return this.get.refs.length;
  }

  missing(): number {
    return this.get.remaining;
  }

  ids(max: number): readonly string[] {
    const ids: string[] = [];
    for (const ref of this.get.refs.slice(0, LOOKED_AT_MAX)) {
      if (ids.length === max) break;
      if (this.table.has(ref.seq)) ids.push(ref.id);
    }
    return ids;
  }
}
