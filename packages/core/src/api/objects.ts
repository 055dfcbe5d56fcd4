/** `put`, `create`, `get`, `wait`, `cancel`, `release`: what programs do with refs. */
import { InvalidOptionError } from "../base/errors.ts";
import { callSite, expectHandle, Handle, handleState, Ref, RefStream } from "../client/mod.ts";
import { describeBytes } from "../store/mod.ts";
import { client } from "./current.ts";
import {
  normalizeCancelOptions,
  normalizeGetOptions,
  normalizeKillOptions,
  normalizePutOptions,
  normalizeWaitOptions,
} from "./options.ts";
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

export const put = ((value: unknown, options?: unknown) => {
  const current = client();
  if (options !== undefined) normalizePutOptions(options);
  return current.put(value) as unknown as ObjectRef;
}) as PutFunction;

export const putAsync = (async (value: unknown, options?: unknown) => {
  const current = client();
  if (options !== undefined) normalizePutOptions(options);
  return (await current.putAsync(value)) as unknown as ObjectRef;
}) as PutAsyncFunction;

export const create: CreateFunction = (bytes) => {
  if (!Number.isSafeInteger(bytes) || bytes < 1) {
    throw new InvalidOptionError(`create() takes a whole number of bytes, at least 1, and got ${describeGiven(bytes)}`);
  }
  return new WritableObjectImpl(client(), bytes, callSite());
};

const describeGiven = (bytes: unknown): string =>
  typeof bytes === "number" && Number.isFinite(bytes) && bytes > 0 ? describeBytes(bytes) : String(bytes);

let lastWait = 0;

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

export const cancel = (async (target: unknown, options?: unknown) => {
  const current = client();
  const settings = normalizeCancelOptions(options);
  if (target instanceof RefStream) {
    await current.cancel(target, settings);
    return;
  }
  const ref = expectRef(target, "cancel()");
  ref.check(current);
  if (settings.force && ref.isCall) {
    throw new InvalidOptionError("cancel({ force: true }) is for tasks; a call of an actor is ended with kill(handle)");
  }
  await current.cancel(ref, settings);
}) as CancelFunction;

export const release: ReleaseFunction = (...refs) => {
  for (const each of refs) {
    const ref = expectRef(each, "release()");
    ref.client.release(ref);
  }
};

export const isObjectRef = ((value: unknown) => value instanceof Ref) as unknown as IsObjectRefFunction;

export const kill: KillFunction = async (target, options) => {
  const current = client();
  const { noRestart } = normalizeKillOptions(options);
  const handle = expectHandle(target, "kill()");
  await current.port.query("kill-actor", { actorId: handleState(handle).actorId, noRestart });
};

export const explain: ExplainFunction = async (target) => {
  const subject: unknown = target;
  if (subject instanceof Ref || subject instanceof RefStream || subject instanceof Handle)
    return client().explain(subject);
  throw new InvalidOptionError(`explain() takes a ref, a stream or an actor handle, and got ${nameOf(subject)}`);
};
