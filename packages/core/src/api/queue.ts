/**
 * `Queue` is a first-in-first-out queue in an actor, shared by whoever has it: pass it to tasks and actors. Callers
 * that must wait do so inside the actor, in the order in which they came; puts and gets wait in concurrency groups of
 * their own, so that many blocked readers never keep a writer out.
 */
import { InvalidOptionError, QueueEmptyError, QueueFullError } from "../base/errors.ts";
import { core } from "./core-port.ts";
import { aBoolean, milliseconds, readOptions, wholeNumber } from "./option-checks.ts";
import type { ActorHandle, ActorOptions, ObjectRef } from "./types.ts";

/** How many callers may wait inside the actor for room, and as many for items; more wait outside. */
const WAITING_CALLS_MAX = 10_000;

interface Waiter {
  /** Does it if it can be done now. */
  readonly tryNow: () => boolean;
  readonly resolve: (done: boolean) => void;
}

/** @hidden The actor behind a {@link Queue}. Items travel in arrays, so that an item that is a ref stays one. */
export class QueueActor<T> {
  readonly #maxSize: number;
  // Items before the head are gone; they are cut off in one go when they are half of the array.
  #items: T[] = [];
  #head = 0;
  readonly #putters: Waiter[] = [];
  readonly #getters: Waiter[] = [];

  constructor(maxSize: number) {
    this.#maxSize = maxSize;
  }

  size(): number {
    return this.#items.length - this.#head;
  }

  /** All of `items` or none; false when there was no room in time. */
  async put(items: readonly T[], timeoutMs: number | null): Promise<boolean> {
    return this.#when(this.#putters, timeoutMs, () => {
      if (this.#maxSize > 0 && this.size() + items.length > this.#maxSize) return false;
      for (const item of items) this.#items.push(item);
      return true;
    });
  }

  /** Exactly `count` items, or null when there were not as many in time. */
  async get(count: number, timeoutMs: number | null): Promise<readonly T[] | null> {
    let taken: readonly T[] | null = null;
    await this.#when(this.#getters, timeoutMs, () => {
      if (this.size() < count) return false;
      taken = this.#take(count);
      return true;
    });
    return taken;
  }

  /** Whatever is there. */
  drain(): readonly T[] {
    const taken = this.#take(this.size());
    this.#serve();
    return taken;
  }

  #take(count: number): readonly T[] {
    const taken = this.#items.slice(this.#head, this.#head + count);
    this.#head += count;
    if (this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return taken;
  }

  /** Does `tryNow` when it is this caller's turn and it succeeds; false after `timeoutMs` or when cancelled. */
  async #when(queue: Waiter[], timeoutMs: number | null, tryNow: () => boolean): Promise<boolean> {
    // A caller that is cancelled must not take an item with it.
    const { signal } = core().runtimeContext();
    if (signal.aborted) return false;
    if (queue.length === 0 && tryNow()) {
      this.#serve();
      return true;
    }
    if (timeoutMs === 0) return false;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const waiter: Waiter = { tryNow, resolve };
    const giveUp = () => {
      const index = queue.indexOf(waiter);
      if (index < 0) return;
      queue.splice(index, 1);
      resolve(false);
      // Whoever stood behind may want less.
      this.#serve();
    };
    queue.push(waiter);
    const timer = timeoutMs === null ? undefined : setTimeout(giveUp, timeoutMs);
    signal.addEventListener("abort", giveUp);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", giveUp);
    }
  }

  /** Serves those that wait, in order, until neither the first getter nor the first putter can be served. */
  #serve(): void {
    while (serveFirst(this.#getters) || serveFirst(this.#putters));
  }
}

function serveFirst(queue: Waiter[]): boolean {
  const [first] = queue;
  if (first === undefined || !first.tryNow()) return false;
  queue.shift();
  first.resolve(true);
  return true;
}

/** Options of a `Queue`: those of its actor, and its own. */
export interface QueueOptions extends Omit<ActorOptions, "concurrencyGroups" | "methods" | "maxConcurrency"> {
  /** How many items it holds; 0 for no limit. Default 0. */
  readonly maxSize?: number;
}
/** How long putting into a queue or taking from it waits. */
export interface QueueWaitOptions {
  /** Wait for room or for an item. Default true. */
  readonly block?: boolean;
  /** Milliseconds to wait at most; default: no limit. */
  readonly timeoutMs?: number;
}

const waitTable = { block: aBoolean, timeoutMs: milliseconds(0) } as const;

/**
 * A first-in-first-out queue for tasks and actors, kept by an actor of its own: pass it as an argument. Ends with its
 * last holder, or by `shutdown()`.
 *
 * @example const queue = new Queue<string>({ maxSize: 100 }); produce.remote(queue); const first = await queue.get();
 */
// No private members, so that an instance can travel to other processes: it is its handle and a number.
export class Queue<T> {
  /** How many items it holds; 0 for no limit. */
  readonly maxSize: number;
  /** The actor that keeps the items. */
  readonly actor: ActorHandle<QueueActor<T>>;

  /** @throws InvalidOptionError for a wrong `maxSize` or option of the actor. */
  constructor(options: QueueOptions = {}) {
    const { maxSize, ...actorOptions } = options;
    this.maxSize = readOptions("Queue()", { maxSize: wholeNumber(0) } as const, { maxSize }).maxSize ?? 0;
    this.actor = core()
      .remote(QueueActor<T>, {
        ...actorOptions,
        concurrencyGroups: { put: WAITING_CALLS_MAX, get: WAITING_CALLS_MAX },
        methods: { put: { concurrencyGroup: "put" }, get: { concurrencyGroup: "get" } },
      })
      .remote(this.maxSize);
  }

  /**
   * Adds an item at the end.
   *
   * @throws QueueFullError when there is no room, in time or at once without `block`.
   */
  async put(item: T, options?: QueueWaitOptions): Promise<void> {
    await putItems(this, [item], "put()", options);
  }

  /**
   * Adds all items one after the other with none of others between them, or none of them.
   *
   * @throws QueueFullError; InvalidOptionError for more items than the queue can ever hold.
   */
  async putAll(items: Iterable<T>, options?: QueueWaitOptions): Promise<void> {
    const all = [...items];
    if (this.maxSize > 0 && all.length > this.maxSize) {
      throw new InvalidOptionError(`putAll() got ${all.length} items; the queue holds at most ${this.maxSize}`);
    }
    if (all.length > 0) await putItems(this, all, "putAll()", options);
  }

  /**
   * Takes the first item.
   *
   * @throws QueueEmptyError when there is no item, in time or at once without `block`.
   */
  async get(options?: QueueWaitOptions): Promise<T> {
    const [item] = await getItems(this, 1, "get()", options);
    // One was asked for and one came; T may itself include undefined.
    return item as T;
  }

  /**
   * Takes exactly `count` items, in order; without `count` all that are there now, maybe none.
   *
   * @throws QueueEmptyError when there are fewer, in time or at once without `block`.
   */
  async getAll(count?: number, options?: QueueWaitOptions): Promise<T[]> {
    if (count !== undefined) {
      wholeNumber(0)(count, { call: "getAll()", option: "count" });
      return count === 0 ? [] : [...(await getItems(this, count, "getAll()", options))];
    }
    readOptions("getAll()", waitTable, options);
    return [...(await call(this.actor.drain.remote()))];
  }

  /** How many items are in it now. */
  async size(): Promise<number> {
    return call(this.actor.size.remote());
  }

  /** Whether there is no item now. */
  async isEmpty(): Promise<boolean> {
    return (await this.size()) === 0;
  }

  /** Whether there is no room now. */
  async isFull(): Promise<boolean> {
    return this.maxSize > 0 && (await this.size()) >= this.maxSize;
  }

  /** Ends the actor; the items in it are gone and whoever waits gets `ActorDiedError`. */
  async shutdown(): Promise<void> {
    await core().kill(this.actor);
  }
}

async function putItems<T>(
  queue: Queue<T>,
  items: readonly T[],
  name: string,
  options: QueueWaitOptions | undefined,
): Promise<void> {
  const timeoutMs = waitMs(name, options);
  if (await call(queue.actor.put.remote(items, timeoutMs))) return;
  throw new QueueFullError(
    `${name} found no room for ${items.length} in a queue of ${queue.maxSize}${within(timeoutMs)}`,
  );
}

async function getItems<T>(
  queue: Queue<T>,
  count: number,
  name: string,
  options: QueueWaitOptions | undefined,
): Promise<readonly T[]> {
  const timeoutMs = waitMs(name, options);
  const items = await call(queue.actor.get.remote(count, timeoutMs));
  if (items !== null) return items;
  const found = count === 1 ? "nothing" : `fewer than ${count}`;
  throw new QueueEmptyError(`${name} found ${found} in the queue${within(timeoutMs)}`);
}

function waitMs(name: string, options: QueueWaitOptions | undefined): number | null {
  const { block = true, timeoutMs } = readOptions(name, waitTable, options);
  return block ? (timeoutMs ?? null) : 0;
}

function within(timeoutMs: number | null): string {
  return timeoutMs === null || timeoutMs === 0 ? "" : ` within ${timeoutMs} ms`;
}

/** The result of a call whose ref nobody else has. */
async function call<R>(ref: ObjectRef<R>): Promise<R> {
  try {
    return await core().get(ref);
  } finally {
    core().release(ref);
  }
}
