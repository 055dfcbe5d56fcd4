/** Pending `get`s and `wait`s: who waits for which objects. */
import type { Seq } from "../base/ids.ts";
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

/** Waiters by object. */
export class WaiterTable<W> {
  private readonly waiters = new Map<Seq, W | W[]>();

  get size(): number {
    return this.waiters.size;
  }

  /** True when nobody waited for the object before. */
  add(seq: Seq, waiter: W): boolean {
    const known = this.waiters.get(seq);
    if (known === undefined) {
      this.waiters.set(seq, waiter);
      return true;
    }
    if (Array.isArray(known)) known.push(waiter);
    else this.waiters.set(seq, [known, waiter]);
    return false;
  }

  has(seq: Seq): boolean {
    return this.waiters.has(seq);
  }

  of(seq: Seq): readonly W[] {
    const known = this.waiters.get(seq);
    if (known === undefined) return [];
    return Array.isArray(known) ? [...known] : [known];
  }

  take(seq: Seq): readonly W[] {
    const known = this.waiters.get(seq);
    if (known === undefined) return [];
    this.waiters.delete(seq);
    return Array.isArray(known) ? known : [known];
  }

  /** Removes one waiter; true when nobody waits any more. */
  remove(seq: Seq, waiter: W): boolean {
    const known = this.waiters.get(seq);
    if (known === undefined) return false;
    if (!Array.isArray(known)) {
      if (known !== waiter) return false;
      this.waiters.delete(seq);
      return true;
    }
    const at = known.indexOf(waiter);
    if (at >= 0) known.splice(at, 1);
    if (known.length > 0) return false;
    this.waiters.delete(seq);
    return true;
  }

  takeAll(): readonly W[] {
    const all = [...this.waiters.values()].flat() as W[];
    this.waiters.clear();
    return all;
  }
}
