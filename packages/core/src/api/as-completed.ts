/** `asCompleted` yields refs in the order in which they finish, each in constant time. */
import { setMaxListeners } from "node:events";
import { InvalidOptionError } from "../base/errors.ts";
import { core } from "./core-port.ts";
import { checkIterable, ItemSource, Wakeup } from "./item-source.ts";
import type { ObjectRef } from "./types.ts";

/** How many unfinished refs are taken from an async source, so that an endless one does not fill the memory. */
const PENDING_REFS_MAX = 1_000;

/**
 * Yields each ref when its object is ready or has failed; `get` then returns at once. The refs stay the caller's.
 * Leaving the loop stops waiting and cancels nothing, except that an `ObjectRefStream` given as the source is left too.
 *
 * @param refs an array or other iterable of refs, each once, or an async iterable that gives them over time.
 * @throws InvalidOptionError for something that is not a ref, or a ref given twice.
 * @example for await (const ref of asCompleted(refs)) console.log(await get(ref));
 */
export function asCompleted<T>(
  refs: Iterable<ObjectRef<T>> | AsyncIterable<ObjectRef<T>>,
): AsyncGenerator<ObjectRef<T>, void, undefined> {
  checkIterable("asCompleted()", "refs", refs);
  if (Symbol.asyncIterator in refs) return run(refs, PENDING_REFS_MAX);
  // Taken now, so that what the caller does to the array afterwards changes nothing.
  const taken = [...refs];
  taken.forEach(checkRef);
  if (new Set(taken).size < taken.length) {
    throw new InvalidOptionError("asCompleted() got the same ref twice; give each ref once");
  }
  return run(taken, Number.POSITIVE_INFINITY);
}

function checkRef(ref: unknown, index: number): void {
  if (core().isObjectRef(ref)) return;
  throw new InvalidOptionError(`asCompleted() got ${String(ref)} at [${index}]; it must be an ObjectRef`);
}

async function* run<T>(
  refs: Iterable<ObjectRef<T>> | AsyncIterable<ObjectRef<T>>,
  pendingMax: number,
): AsyncGenerator<ObjectRef<T>, void, undefined> {
  const wakeup = new Wakeup();
  const source = new ItemSource(refs, () => wakeup.wake());
  const left = new AbortController();
  setMaxListeners(0, left.signal);
  // Read from the front with an index: shifting a long array moves all of it.
  let finished: ObjectRef<T>[] = [];
  let taken = 0;
  let pending = 0;
  let broken: { readonly error: unknown } | undefined;

  const watch = (ref: ObjectRef<T>) => {
    pending++;
    core()
      .wait([ref], { fetchLocal: false, signal: left.signal })
      .then(
        () => finished.push(ref),
        (error: unknown) => {
          broken ??= { error };
        },
      )
      .then(() => wakeup.wake());
  };
  const fill = (): { readonly mayGrow: boolean; readonly failure?: { readonly error: unknown } } => {
    while (pending < pendingMax) {
      const polled = source.poll();
      if (polled.kind === "waiting") return { mayGrow: true };
      if (polled.kind === "ended") return { mayGrow: false };
      if (polled.kind === "failed") return { mayGrow: false, failure: { error: polled.error } };
      checkRef(polled.item, 0);
      watch(polled.item);
    }
    return { mayGrow: true };
  };

  try {
    for (;;) {
      const { mayGrow, failure } = fill();
      if (broken !== undefined) throw broken.error;
      const ref = finished[taken];
      if (ref !== undefined) {
        taken++;
        pending--;
        if (taken === finished.length) {
          finished = [];
          taken = 0;
        }
        yield ref;
      } else if (pending === 0 && !mayGrow) {
        if (failure !== undefined) throw failure.error;
        return;
      } else {
        await wakeup.changed();
      }
    }
  } finally {
    left.abort();
    await source.close();
  }
}
