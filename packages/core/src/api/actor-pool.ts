/**
 * `ActorPool` spreads calls over actors, one call at a time on each. An actor is free again as soon as its call has
 * finished, whether or not the result was taken; one that has died is dropped, so that it does not swallow what waits.
 */
import { assert } from "../base/assert.ts";
import { ActorDiedError, GetTimeoutError, InvalidOptionError, isError } from "../base/errors.ts";
import { core } from "./core-port.ts";
import { checkIterable, ItemSource, Wakeup } from "./item-source.ts";
import { milliseconds, readOptions } from "./option-checks.ts";
import type { ActorHandle, AnyActorHandle, ObjectRef } from "./types.ts";

/** How many calls `map` keeps ready for each actor besides the one that runs. */
const READY_PER_ACTOR = 1;

interface Call<H> {
  readonly start: (actor: H) => ObjectRef;
  outcome?: { readonly value: unknown } | { readonly error: unknown };
  taken: boolean;
  onSettled?: () => void;
}

/** Options of `getNext` and `getNextUnordered`. */
export interface GetNextOptions {
  /** Milliseconds after which it rejects with `GetTimeoutError`. Default: no limit. */
  readonly timeoutMs?: number;
}

/**
 * Spreads calls over actors, one at a time on each. An actor that has died is dropped from the pool.
 *
 * @typeParam H the handles' type.
 * @typeParam R what the calls that are submitted give: `new ActorPool<Handle, number>(handles)`; `map` infers its own.
 * @example
 * const pool = new ActorPool([worker.remote(), worker.remote()]);
 * for await (const page of pool.map((actor, url: string) => actor.fetch.remote(url), urls)) save(page);
 */
export class ActorPool<H extends AnyActorHandle = ActorHandle<unknown>, R = unknown> {
  readonly #idle: H[] = [];
  readonly #busy = new Set<H>();
  /** Not started: no actor was free. */
  #waiting: Call<H>[] = [];
  /** Submitted and not yet taken, in the order of submission. */
  readonly #results = new Set<Call<H>>();
  /** Finished and not yet taken, in the order of finishing. */
  readonly #finished = new Set<Call<H>>();
  #sleepers: (() => void)[] = [];
  #lastDeath: unknown;

  /** @throws InvalidOptionError when a handle is given twice. */
  constructor(handles: Iterable<H>) {
    for (const handle of handles) this.push(handle);
  }

  /** Adds an actor. */
  push(handle: H): void {
    if (this.#idle.includes(handle) || this.#busy.has(handle)) {
      throw new InvalidOptionError("ActorPool got an actor that is already in the pool");
    }
    this.#idle.push(handle);
    this.#dispatch();
  }

  /** Takes a free actor out of the pool; undefined when all are busy. */
  pop(): H | undefined {
    return this.#idle.pop();
  }

  /** Whether a call submitted now would start at once. */
  hasFree(): boolean {
    return this.#idle.length > 0;
  }

  /** Calls `fn(actor, value)` when an actor is free; the result is taken with `getNext` or `getNextUnordered`. */
  submit<V>(fn: (actor: H, value: V) => ObjectRef<R>, value: V): void {
    this.#results.add(this.#submit((actor) => fn(actor, value)));
  }

  /** Whether there are results still to be taken. */
  hasNext(): boolean {
    return this.#results.size > 0;
  }

  /**
   * The result of the oldest call not yet taken; throws its error.
   *
   * @throws GetTimeoutError when it takes longer; the result can be asked for again.
   * @throws InvalidOptionError when nothing was submitted.
   */
  async getNext(options?: GetNextOptions): Promise<R> {
    const { timeoutMs } = readOptions("getNext()", { timeoutMs: milliseconds(0) } as const, options);
    const [oldest] = this.#results;
    if (oldest === undefined) throw nothingSubmitted("getNext()");
    // Taken from the list before it is waited for, so that two callers get two results.
    this.#results.delete(oldest);
    this.#finished.delete(oldest);
    oldest.taken = true;
    if (oldest.outcome === undefined && !(await this.#sleep(timeoutMs, () => oldest.outcome !== undefined))) {
      this.#putBack(oldest);
      throw timedOut("getNext()", timeoutMs, this.#describe());
    }
    return this.#take(oldest);
  }

  /** As `getNext`, but the result that is ready first. */
  async getNextUnordered(options?: GetNextOptions): Promise<R> {
    const { timeoutMs } = readOptions("getNextUnordered()", { timeoutMs: milliseconds(0) } as const, options);
    if (this.#results.size === 0) throw nothingSubmitted("getNextUnordered()");
    let call = this.#firstFinished();
    const isReady = () => {
      call ??= this.#firstFinished();
      // Another caller may have taken the last one.
      return call !== undefined || this.#results.size === 0;
    };
    if (call === undefined) await this.#sleep(timeoutMs, isReady);
    if (call === undefined && this.#results.size === 0) throw nothingSubmitted("getNextUnordered()");
    if (call === undefined) throw timedOut("getNextUnordered()", timeoutMs, this.#describe());
    return this.#take(call);
  }

  /** Yields `fn(actor, value)` for each value, in order; takes values only as fast as the results are used. */
  map<V, S>(
    fn: (actor: H, value: V) => ObjectRef<S>,
    values: Iterable<V> | AsyncIterable<V>,
  ): AsyncGenerator<S, void, undefined> {
    checkIterable("ActorPool.map()", "values", values);
    return this.#map(fn, values, true);
  }

  /** As `map`, in the order of finishing. */
  mapUnordered<V, S>(
    fn: (actor: H, value: V) => ObjectRef<S>,
    values: Iterable<V> | AsyncIterable<V>,
  ): AsyncGenerator<S, void, undefined> {
    checkIterable("ActorPool.mapUnordered()", "values", values);
    return this.#map(fn, values, false);
  }

  async *#map<V, S>(
    fn: (actor: H, value: V) => ObjectRef<S>,
    values: Iterable<V> | AsyncIterable<V>,
    ordered: boolean,
  ): AsyncGenerator<S, void, undefined> {
    const wakeup = new Wakeup();
    const source = new ItemSource(values, () => wakeup.wake());
    const calls = new Set<Call<H>>();
    const finished: Call<H>[] = [];
    try {
      for (;;) {
        let end: { readonly error?: unknown } | undefined;
        // Read anew each time: actors can be added and taken while it runs.
        while (calls.size < Math.max(1, (this.#idle.length + this.#busy.size) * (1 + READY_PER_ACTOR))) {
          const polled = source.poll();
          if (polled.kind === "waiting") break;
          if (polled.kind !== "item") {
            end = polled.kind === "failed" ? { error: polled.error } : {};
            break;
          }
          const { item } = polled;
          const call = this.#submit((actor) => fn(actor, item), true);
          calls.add(call);
          const settled = () => {
            if (!ordered) finished.push(call);
            wakeup.wake();
          };
          if (call.outcome === undefined) call.onSettled = settled;
          else settled();
        }
        const [oldest] = calls;
        const ready = ordered ? (oldest?.outcome === undefined ? undefined : oldest) : finished.shift();
        if (ready?.outcome !== undefined) {
          calls.delete(ready);
          if ("error" in ready.outcome) throw ready.outcome.error;
          // `fn` made the ref of this call, so its value is an S.
          yield ready.outcome.value as S;
        } else if (calls.size === 0 && end !== undefined) {
          if ("error" in end) throw end.error;
          return;
        } else {
          await wakeup.changed();
        }
      }
    } finally {
      // Calls that run finish on their actors; those that have not started are dropped.
      this.#waiting = this.#waiting.filter((call) => !calls.has(call));
      await source.close();
    }
  }

  #submit(start: (actor: H) => ObjectRef, taken = false): Call<H> {
    const call: Call<H> = { start, taken };
    this.#waiting.push(call);
    this.#dispatch();
    return call;
  }

  #dispatch(): void {
    while (this.#idle.length > 0 && this.#waiting.length > 0) {
      const actor = this.#idle.shift();
      const call = this.#waiting.shift();
      if (actor !== undefined && call !== undefined) this.#run(actor, call);
    }
    // Only deaths empty a pool that has calls waiting and nothing to wait for; taking actors out with `pop` does not.
    if (this.#idle.length + this.#busy.size === 0 && this.#lastDeath !== undefined) {
      for (const call of this.#waiting.splice(0)) {
        this.#settle(call, {
          error: new ActorDiedError("every actor of the pool has died", { cause: this.#lastDeath }),
        });
      }
    }
  }

  #run(actor: H, call: Call<H>): void {
    let ref: ObjectRef;
    try {
      ref = call.start(actor);
    } catch (error) {
      // The program's function threw, or the call was refused: the actor was not involved.
      this.#idle.push(actor);
      this.#settle(call, { error });
      return;
    }
    this.#busy.add(actor);
    const settled = (outcome: Call<H>["outcome"] & object) => {
      core().release(ref);
      this.#busy.delete(actor);
      if ("error" in outcome && isError(outcome.error, "ACTOR_DIED")) this.#lastDeath = outcome.error;
      else this.#idle.push(actor);
      this.#settle(call, outcome);
      this.#dispatch();
    };
    core()
      .get(ref)
      .then(
        (value) => settled({ value }),
        (error: unknown) => settled({ error }),
      );
  }

  #settle(call: Call<H>, outcome: Call<H>["outcome"] & object): void {
    call.outcome = outcome;
    if (!call.taken) this.#finished.add(call);
    call.onSettled?.();
    for (const wake of this.#sleepers.splice(0)) wake();
  }

  #take(call: Call<H>): R {
    assert(call.outcome !== undefined, "a result is taken only when it is there");
    if ("error" in call.outcome) throw call.outcome.error;
    // Only calls of `submit` are taken here, and those give an R.
    return call.outcome.value as R;
  }

  #firstFinished(): Call<H> | undefined {
    const [call] = this.#finished;
    if (call === undefined) return undefined;
    call.taken = true;
    this.#finished.delete(call);
    this.#results.delete(call);
    return call;
  }

  /** After a timeout the call is again the oldest. */
  #putBack(call: Call<H>): void {
    const later = [...this.#results];
    this.#results.clear();
    call.taken = false;
    this.#results.add(call);
    for (const each of later) this.#results.add(each);
  }

  /** True when `isReady` came true, asked after each result; false when the time was over first. */
  async #sleep(timeoutMs: number | undefined, isReady: () => boolean): Promise<boolean> {
    const isOver = Symbol("over");
    let timer: NodeJS.Timeout | undefined;
    const over =
      timeoutMs === undefined
        ? undefined
        : new Promise<typeof isOver>((resolve) => {
            timer = setTimeout(() => resolve(isOver), timeoutMs);
          });
    try {
      for (;;) {
        const woken = new Promise<void>((resolve) => {
          this.#sleepers.push(resolve);
        });
        const first = await (over === undefined ? woken : Promise.race([woken, over]));
        if (isReady()) return true;
        if (first === isOver) return false;
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #describe(): string {
    return `${this.#busy.size} actors are busy, ${this.#idle.length} free, ${this.#waiting.length} calls wait for one`;
  }
}

function nothingSubmitted(call: string): Error {
  return new InvalidOptionError(`${call} has nothing to wait for; submit a call first (see hasNext)`);
}

function timedOut(call: string, timeoutMs: number | undefined, state: string): Error {
  return new GetTimeoutError(`${call} had no result after ${timeoutMs} ms; ${state}`);
}
