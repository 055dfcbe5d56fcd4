/**
 * `map` runs a function over items on all workers. At most `concurrency` items are between being taken from the source
 * and being handed to the loop, finished ones included, so a slow loop slows the source and memory stays bounded.
 */
import { InvalidOptionError, isError } from "../base/errors.ts";
import { core } from "./core-port.ts";
import { checkIterable, ItemSource, Wakeup } from "./item-source.ts";
import { aBoolean, type Check, readOptions, refuse, wholeNumber } from "./option-checks.ts";
import { progressBar } from "./progress.ts";
import type { AnyFunction, ObjectRef, RemoteFunction, RemoteMethod, TaskOptions } from "./types.ts";

/** How many items are in flight when the program does not say: enough to keep short tasks flowing to every CPU. */
const ITEMS_PER_CPU = 8;
const ITEMS_MIN = 32;
/** Other code of the program may hold all pending tasks; then submitting is tried again, less and less often. */
const RETRY_DELAY_MS_MIN = 5;
const RETRY_DELAY_MS_MAX = 200;

/** How far `map` is. */
export interface MapProgress {
  /** Results that the loop has taken. */
  readonly done: number;
  /** Undefined when the source does not say how many items it has. */
  readonly total: number | undefined;
}

/** Options of `map`: those of its tasks, and its own. */
export interface MapOptions extends Omit<TaskOptions, "numReturns"> {
  /** How many items are in flight at once. Default: 8 for each CPU, at least 32. */
  readonly concurrency?: number;
  /** Results in the order of the items, or as they finish. Default true. */
  readonly ordered?: boolean;
  /** A bar on the terminal (a string is its label), or a function that is told. Default false. */
  readonly progress?: boolean | string | ((progress: MapProgress) => void);
}

/** What `map` goes through: values or refs of them, at hand or over time. */
export type Items<A> = Iterable<A | ObjectRef<A>> | AsyncIterable<A | ObjectRef<A>>;

/** The type of `map`. */
export interface MapFunction {
  /** With a remote function, or a method of an actor. */
  <A, R>(
    fn: RemoteFunction<(item: A) => R> | RemoteMethod<(item: A) => R>,
    items: Items<A>,
    options?: MapOptions,
  ): AsyncGenerator<Awaited<R>, void, undefined>;
  /** With a function. */
  <A, R>(fn: (item: A) => R, items: Items<A>, options?: MapOptions): AsyncGenerator<Awaited<R>, void, undefined>;
}

interface InFlight {
  readonly ref: ObjectRef;
  outcome?: { readonly value: unknown } | { readonly error: unknown };
}
type Submit = (item: unknown) => ObjectRef;

const progress: Check<Exclude<MapOptions["progress"], undefined>> = (value, at) => {
  if (typeof value === "boolean" || typeof value === "string") return value;
  // What it does with its argument is the program's affair.
  if (typeof value === "function") return value as (progress: MapProgress) => void;
  return refuse(at, value, "true, false, a label, or a function");
};
const mapTable = { concurrency: wholeNumber(1), ordered: aBoolean, progress } as const;

/**
 * Yields `fn(item)` for each item; items may be refs. The first error ends the loop with it. Leaving the loop early
 * cancels what is in flight. Waits where submitting directly would throw `PendingTasksExceededError`.
 *
 * @throws InvalidOptionError at the call.
 * @example for await (const page of map(parse, urls, { concurrency: 64, ordered: false })) save(page);
 */
export const map: MapFunction = (fn: unknown, items: Items<never>, options: MapOptions = {}) => {
  const { concurrency, ordered, progress, ...taskOptions } = options;
  if ("numReturns" in taskOptions) {
    throw new InvalidOptionError('map() has no option "numReturns"; return an array from the function instead');
  }
  checkIterable("map()", "items", items);
  const read = readOptions("map()", mapTable, { concurrency, ordered, progress });
  const submit = submitter(fn, taskOptions);
  const report = reporter(read.progress, items);
  return run(submit, items, read.concurrency, read.ordered ?? true, report) as AsyncGenerator<never, void, undefined>;
};

function submitter(fn: unknown, taskOptions: TaskOptions): Submit {
  const remoteFn = isRemote(fn) ? fn : typeof fn === "function" ? core().remote(fn as AnyFunction) : undefined;
  if (remoteFn === undefined) {
    throw new InvalidOptionError(`map() got ${String(fn)} as its function; it must be a function or remote(function)`);
  }
  const configured = Object.keys(taskOptions).length > 0 ? remoteFn.options(taskOptions) : remoteFn;
  return (item) => {
    // The declared signature is that of an unknown function; what it takes was checked where `map` was called.
    const ref: unknown = (configured.remote as (item: unknown) => unknown)(item);
    if (core().isObjectRef(ref)) return ref;
    throw new InvalidOptionError("map() got a generator; it must be a function with one result for each item");
  };
}

function isRemote(fn: unknown): fn is RemoteFunction {
  return (
    ((typeof fn === "object" && fn !== null) || typeof fn === "function") &&
    "remote" in fn &&
    typeof fn.remote === "function"
  );
}

interface Reporter {
  done(count: number): void;
  close(): void;
}

function reporter(progress: MapOptions["progress"], items: unknown): () => Reporter {
  const total = sizeOf(items);
  return () => {
    if (progress === undefined || progress === false) return { done() {}, close() {} };
    if (typeof progress === "function") return { done: (done) => progress({ done, total }), close() {} };
    const bar = progressBar(total, typeof progress === "string" ? progress : "map");
    return { done: (done) => bar.set(done), close: () => bar.close() };
  };
}

function sizeOf(items: unknown): number | undefined {
  if (Array.isArray(items) || ArrayBuffer.isView(items)) return (items as ArrayLike<unknown>).length;
  return items instanceof Set || items instanceof Map ? items.size : undefined;
}

async function* run(
  submit: Submit,
  items: Items<unknown>,
  concurrency: number | undefined,
  ordered: boolean,
  report: () => Reporter,
): AsyncGenerator<unknown, void, undefined> {
  const inFlightMax = concurrency ?? (await defaultConcurrency());
  const wakeup = new Wakeup();
  const source = new ItemSource<unknown>(items, () => wakeup.wake());
  const inFlight = new Set<InFlight>();
  const finished: InFlight[] = [];
  const progress = report();
  let done = 0;
  let refused: { readonly item: unknown } | undefined;
  let retryDelayMs = RETRY_DELAY_MS_MIN;
  let retryTimer: NodeJS.Timeout | undefined;

  /** Submits one item; false when the runtime has no room for it now. */
  const start = (item: unknown): boolean => {
    let ref: ObjectRef;
    try {
      ref = submit(item);
    } catch (error) {
      if (!isError(error, "PENDING_TASKS")) throw error;
      refused = { item };
      return false;
    }
    refused = undefined;
    retryDelayMs = RETRY_DELAY_MS_MIN;
    const entry: InFlight = { ref };
    inFlight.add(entry);
    const settle = (outcome: InFlight["outcome"] & object) => {
      entry.outcome = outcome;
      if (!ordered) finished.push(entry);
      wakeup.wake();
    };
    core()
      .get(ref)
      .then(
        (value) => settle({ value }),
        (error: unknown) => settle({ error }),
      );
    return true;
  };

  /** Takes items while there is room; says whether more may come. */
  const fill = (): { readonly mayGrow: boolean; readonly failure?: { readonly error: unknown } } => {
    while (inFlight.size < inFlightMax) {
      if (retryTimer !== undefined) return { mayGrow: true };
      if (refused !== undefined) {
        if (start(refused.item)) continue;
        retryLater();
        return { mayGrow: true };
      }
      const polled = source.poll();
      if (polled.kind === "waiting") return { mayGrow: true };
      if (polled.kind === "ended") return { mayGrow: false };
      if (polled.kind === "failed") return { mayGrow: false, failure: { error: polled.error } };
      start(polled.item);
    }
    return { mayGrow: true };
  };

  const retryLater = () => {
    retryTimer = setTimeout(() => {
      retryTimer = undefined;
      wakeup.wake();
    }, retryDelayMs);
    retryDelayMs = Math.min(retryDelayMs * 2, RETRY_DELAY_MS_MAX);
  };

  const takeFinished = (): InFlight | undefined => {
    if (!ordered) return finished.shift();
    const [oldest] = inFlight;
    return oldest?.outcome === undefined ? undefined : oldest;
  };

  try {
    for (;;) {
      const { mayGrow, failure } = fill();
      const entry = takeFinished();
      if (entry?.outcome !== undefined) {
        inFlight.delete(entry);
        core().release(entry.ref);
        if ("error" in entry.outcome) throw entry.outcome.error;
        progress.done(++done);
        yield entry.outcome.value;
        continue;
      }
      if (inFlight.size === 0 && !mayGrow) {
        if (failure !== undefined) throw failure.error;
        return;
      }
      await wakeup.changed();
    }
  } finally {
    clearTimeout(retryTimer);
    progress.close();
    const left = [...inFlight].map((entry) => entry.ref);
    // How the loop ended is what its caller hears; a cancel that fails (the connection is gone) would only hide it.
    await Promise.allSettled(left.map((ref) => core().cancel(ref)));
    core().release(...left);
    await source.close();
  }
}

async function defaultConcurrency(): Promise<number> {
  const { cpu = 1 } = await core().clusterResources();
  return Math.max(ITEMS_MIN, Math.ceil(cpu * ITEMS_PER_CPU));
}
