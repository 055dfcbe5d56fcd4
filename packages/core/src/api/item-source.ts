/**
 * Pulls items from an iterable or async iterable without ever blocking: `poll` says what is there now, and `onChange`
 * is called when asking again is worth while. At most one item is asked for ahead.
 */
import { InvalidOptionError } from "../base/errors.ts";

export type Polled<T> =
  | { readonly kind: "item"; readonly item: T }
  | { readonly kind: "waiting" }
  | { readonly kind: "ended" }
  | { readonly kind: "failed"; readonly error: unknown };

const WAITING = { kind: "waiting" } as const;
const ENDED = { kind: "ended" } as const;

export class ItemSource<T> {
  readonly #onChange: () => void;
  readonly #sync: Iterator<T> | undefined;
  readonly #async: AsyncIterator<T> | undefined;
  #next: Polled<T> | undefined;
  #end: Polled<T> | undefined;

  constructor(items: Iterable<T> | AsyncIterable<T>, onChange: () => void) {
    this.#onChange = onChange;
    if (isAsyncIterable(items)) this.#async = items[Symbol.asyncIterator]();
    else this.#sync = items[Symbol.iterator]();
  }

  poll(): Polled<T> {
    if (this.#end !== undefined) return this.#end;
    if (this.#sync !== undefined) return this.#pollSync(this.#sync);
    const next = this.#next;
    if (next === undefined) {
      this.#ask();
      return WAITING;
    }
    if (next.kind === "item") this.#next = undefined;
    return next;
  }

  /** Tells the iterable that nobody will ask again, as leaving a `for` loop does. */
  async close(): Promise<void> {
    if (this.#end !== undefined) return;
    this.#end = ENDED;
    if (this.#sync !== undefined) this.#sync.return?.();
    else await this.#async?.return?.();
  }

  #pollSync(iterator: Iterator<T>): Polled<T> {
    try {
      const next = iterator.next();
      if (next.done !== true) return { kind: "item", item: next.value };
      this.#end = ENDED;
    } catch (error) {
      this.#end = { kind: "failed", error };
    }
    return this.#end;
  }

  #ask(): void {
    this.#next = WAITING;
    const answered = (polled: Polled<T>) => {
      if (this.#end !== undefined) return;
      if (polled.kind === "item") this.#next = polled;
      else this.#end = polled;
      this.#onChange();
    };
    this.#async?.next().then(
      (next) => answered(next.done === true ? ENDED : { kind: "item", item: next.value }),
      (error: unknown) => answered({ kind: "failed", error }),
    );
  }
}

function isAsyncIterable<T>(items: Iterable<T> | AsyncIterable<T>): items is AsyncIterable<T> {
  return Symbol.asyncIterator in items;
}

/** Refuses what cannot be iterated, at the call and not at the first step of the loop. */
export function checkIterable(call: string, name: string, value: unknown): void {
  const isIterable =
    typeof value === "string" ||
    (typeof value === "object" && value !== null && (Symbol.iterator in value || Symbol.asyncIterator in value));
  if (!isIterable) {
    throw new InvalidOptionError(
      `${call} got ${String(value)} for its ${name}; it must be an iterable or async iterable`,
    );
  }
}

/** Lets one loop sleep until something it may act on has happened. */
export class Wakeup {
  #resolve: (() => void) | undefined;
  #isPending = false;

  wake(): void {
    this.#isPending = true;
    this.#resolve?.();
    this.#resolve = undefined;
  }

  /** Resolves at once if something happened since the last time. */
  async changed(): Promise<void> {
    if (!this.#isPending) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#resolve = resolve;
      await promise;
    }
    this.#isPending = false;
  }
}
