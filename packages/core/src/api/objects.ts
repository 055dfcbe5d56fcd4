/** `put`, `create`, `get`, `wait`, `cancel`, `release`: what programs do with refs. */
import { InvalidOptionError } from "../base/errors.ts";
import { askedBy, callSite, expectHandle, Handle, handleState, Ref, RefStream } from "../client/mod.ts";
import { describeBytes } from "../store/mod.ts";
import type { Explanation } from "../wire/mod.ts";
import { client } from "./current.ts";
import {
  normalizeCancelOptions,
  normalizeGetOptions,
  normalizeKillOptions,
  normalizePutOptions,
  normalizeWaitOptions,
} from "./options.ts";
import { PlacementGroupHandle } from "./placement.ts";
import type {
  CancelFunction,
  CreateFunction,
  ExplainFunction,
  GetFunction,
  IsObjectRefFunction,
  KillFunction,
  ObjectRef,
  PutAsyncFunction,
  PutFunction,
  ReleaseFunction,
  WaitFunction,
} from "./types.ts";
import { WritableObjectImpl } from "./writable-object.ts";

const nameOf = (value: unknown): string =>
  value instanceof Promise ? "a promise" : Array.isArray(value) ? "an array" : value === null ? "null" : typeof value;

function expectRef(value: unknown, call: string): Ref {
  if (value instanceof Ref) return value;
  const hint = value instanceof Handle ? "an actor handle: get the result of one of its methods" : nameOf(value);
  throw new InvalidOptionError(`${call} takes refs, and got ${hint}`);
}

// The public types say what each call takes and gives; the code below works on the one class behind all refs.
/**
 * The value of a ref, or of several: an array or tuple of refs gives an array or tuple of values, in order. Each `get`
 * gives a value of its own; arrays of 64 KiB and more are views of the stored object, private when they are written to.
 *
 * Inside a task it gives the task's CPU to others while it waits.
 *
 * @throws TaskError with the user's error as `cause`; GetTimeoutError, WorkerDiedError, ActorDiedError, ObjectLostError
 * and others for what became of the object; the first error of several refs rejects.
 * @throws RefReleasedError, InvalidOptionError at the call.
 * @example const [a, b] = await get([first, second] as const, { timeoutMs: 10_000 });
 */
export const get = ((target: unknown, options?: unknown) => {
  const current = client();
  const settings = options === undefined ? undefined : normalizeGetOptions(options);
  const limits = settings && {
    ...(settings.timeoutMs !== undefined && { timeoutMs: settings.timeoutMs }),
    ...(settings.signal && { signal: settings.signal }),
  };
  if (target instanceof Ref) {
    target.check(current);
    return current.get(target, limits);
  }
  if (!Array.isArray(target)) expectRef(target, "get()");
  const refs = (target as unknown[]).map((each) => expectRef(each, "get()"));
  return current.getAll(refs, limits);
}) as GetFunction;

/**
 * Stores a value and gives its ref. It is copied before this returns. When memory is full it waits, blocking, for at
 * most `putTimeoutMs` (10 s), and then uses the disk.
 *
 * With `copies` other nodes keep it too, which takes longer than this call: `wait` says when all of them do.
 *
 * @throws SerializationError for a value that cannot be shipped; ObjectStoreFullError when the disk is used up too;
 * InvalidOptionError for a ref.
 * @example const matrix = put(new Float64Array(1_000_000)); await get(rows.map((row) => work.remote(matrix, row)));
 */
export const put = ((value: unknown, options?: unknown) => {
  const current = client();
  const copies = options === undefined ? 1 : normalizePutOptions(options).copies;
  return current.put(value, copies) as unknown as ObjectRef;
}) as PutFunction;

/**
 * As `put`, but waits for room without blocking the thread, and for all copies when it is to make several.
 *
 * @example const model = await putAsync(weights, { copies: 2 }); // On two nodes now: one may be killed.
 */
export const putAsync = (async (value: unknown, options?: unknown) => {
  const current = client();
  const copies = options === undefined ? 1 : normalizePutOptions(options).copies;
  return (await current.putAsync(value, copies)) as unknown as ObjectRef;
}) as PutAsyncFunction;

/**
 * An object that is written in place, without any copy: write to `view`, then `seal()`.
 *
 * @param bytes a whole number of at least 1.
 * @throws ObjectStoreFullError as `put`; InvalidOptionError.
 * @example using target = create(800_000_000); fill(target.view); const ref = target.seal();
 */
export const create: CreateFunction = (bytes) => {
  if (!Number.isSafeInteger(bytes) || bytes < 1) {
    throw new InvalidOptionError(`create() takes a whole number of bytes, at least 1, and got ${describeGiven(bytes)}`);
  }
  return new WritableObjectImpl(client(), bytes, callSite());
};

const describeGiven = (bytes: unknown): string =>
  typeof bytes === "number" && Number.isFinite(bytes) && bytes > 0 ? describeBytes(bytes) : String(bytes);

let lastWait = 0;

/**
 * Says which refs are ready, that is, have a value or an error, as soon as `numReturns` of them are; a stream is ready
 * when it has a next ref or has ended. Fetches no value and throws no task's error.
 *
 * @param waitables an array, each once.
 * @throws InvalidOptionError for an empty array, something twice, or something that is neither ref nor stream.
 * @example const { ready, pending } = await wait(refs, { numReturns: 2, timeoutMs: 1_000 });
 */
export const wait = (async (items: unknown, options?: unknown) => {
  const current = client();
  if (!Array.isArray(items)) throw new InvalidOptionError(`wait() takes an array, and got ${nameOf(items)}`);
  // A mark on each item finds duplicates without a set: a program may wait for each of thousands in turn.
  const mark = ++lastWait;
  for (const item of items) {
    const known = item instanceof RefStream ? item : expectRef(item, "wait()");
    if (known.waitMark === mark) throw new InvalidOptionError("wait() got the same ref twice");
    known.waitMark = mark;
  }
  const { numReturns, timeoutMs, signal } = normalizeWaitOptions(options, items.length);
  return current.wait(items as (Ref | RefStream)[], numReturns, {
    ...(timeoutMs !== undefined && { timeoutMs }),
    ...(signal && { signal }),
  });
}) as unknown as WaitFunction;

/**
 * Ends a task, a call of an actor, or a stream; its ref rejects with `TaskCancelledError` at once. What has not started
 * is dropped. What runs gets its `signal` aborted, and its synchronous code is interrupted, without harm to its process
 * or its actor; what follows an `await` has to heed the signal. Does nothing to what has finished.
 *
 * @throws InvalidOptionError for `force` on a call of an actor: use `kill`.
 */
export const cancel = (async (target: unknown, options?: unknown) => {
  const current = client();
  const settings = normalizeCancelOptions(options);
  const known = target instanceof RefStream ? target : expectRef(target, "cancel()");
  if (known instanceof Ref) known.check(current);
  if (settings.force && known.isCall) {
    throw new InvalidOptionError("cancel({ force: true }) is for tasks; a call of an actor is ended with kill(handle)");
  }
  await current.cancel(known, settings);
}) as CancelFunction;

/** Lets go of refs now, instead of when they are collected. With an object's last ref its memory is free. */
export const release: ReleaseFunction = (...refs) => {
  for (const each of refs) {
    const ref = expectRef(each, "release()");
    ref.client.release(ref);
  }
};

/** Whether a value is a ref. */
export const isObjectRef = ((value: unknown) => value instanceof Ref) as unknown as IsObjectRefFunction;

/**
 * Ends an actor at once, without its `[onShutdown]`. Calls that it has not answered reject with `ActorDiedError`. With
 * `noRestart: false` it counts as a crash, after which it may be restarted. Resolves when it has taken
 * effect, also for an actor that has ended before.
 */
export const kill: KillFunction = async (target, options) => {
  const current = client();
  const { noRestart } = normalizeKillOptions(options);
  const handle = expectHandle(target, "kill()");
  await current.port.query("kill-actor", { actorId: handleState(handle).actorId, noRestart, ...askedBy() });
};

/**
 * Why something waits, failed or was slow, in sentences with numbers.
 *
 * Of a placement group it says which nodes were considered, and why each was not chosen.
 *
 * @param target a ref, a stream, an actor's handle or a placement group.
 * @example console.log((await explain(ref)).sentences.join("\n"));
 */
export const explain: ExplainFunction = async (target) => {
  const subject: unknown = target;
  if (subject instanceof Ref || subject instanceof RefStream || subject instanceof Handle)
    return client().explain(subject);
  if (subject instanceof PlacementGroupHandle) {
    return (await client().port.query("why-group", { groupId: subject.id })) as Explanation;
  }
  throw new InvalidOptionError(
    `explain() takes a ref, a stream, an actor handle or a placement group, and got ${nameOf(subject)}`,
  );
};
