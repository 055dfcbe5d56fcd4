/** Calls of actors' methods: settings become a registered method once, calls are submitted with it. */
import { PendingCallsExceededError } from "../base/errors.ts";
import type { Client } from "./client.ts";
import { type BoundMethod, type Handle, type HandleState, type MethodMeta, usableHandle } from "./handles.ts";
import type { Ref } from "./refs.ts";

/** Merges per-call overrides into a method's settings; set by the api room, which knows the options. */
export type MethodOverrides = (
  overrides: unknown,
  base: MethodMeta,
  handle: Handle,
) => { readonly meta: MethodMeta; readonly numReturns: number };

let mergeOverrides: MethodOverrides | undefined;

export function setMethodOverrides(merge: MethodOverrides): void {
  mergeOverrides = merge;
}

export function bindMethod(
  client: Client,
  handle: Handle,
  name: string,
  method: MethodMeta,
  numReturns: number,
): BoundMethod {
  const key = keyOf(name, method, numReturns);
  const register = (): Registration => registrationOf(client, key, name, method, numReturns);
  let registration = client.run(register);
  return {
    remote: (...args) =>
      client.run(() => {
        if (registration.key !== key) registration = register();
        return call(client, handle, registration.id, name, method, numReturns, args);
      }),
    options(overrides) {
      if (!mergeOverrides) throw new TypeError("method options are not available here");
      const merged = mergeOverrides(overrides, method, handle);
      return bindMethod(client, handle, name, merged.meta, merged.numReturns);
    },
  };
}

/** What is registered for a method is named by all that it says, so that the same settings are registered once. */
function keyOf(name: string, method: MethodMeta, numReturns: number): string {
  let keys = keysOfMethods.get(method);
  if (!keys) {
    keys = new Map();
    keysOfMethods.set(method, keys);
  }
  const call = `${numReturns} ${name}`;
  let key = keys.get(call);
  if (key === undefined) {
    key = JSON.stringify([call, { ...method, retry: Buffer.from(method.retry).toString("latin1") }]);
    keys.set(call, key);
  }
  return key;
}

const keysOfMethods = new WeakMap<MethodMeta, Map<string, string>>();

/** A number under which the owner, and each worker that was sent a call with it, know a method and its settings. */
interface Registration {
  readonly id: number;
  /** Of the settings that have the number now. */
  key: string;
}

/** Settings that a program makes for each call, such as what is left until a deadline, must not add up. */
const REGISTRATIONS_MAX = 1_000;
const registrations = new WeakMap<Client, Map<string, Registration>>();

function registrationOf(
  client: Client,
  key: string,
  name: string,
  method: MethodMeta,
  numReturns: number,
): Registration {
  let byKey = registrations.get(client);
  if (!byKey) {
    byKey = new Map();
    registrations.set(client, byKey);
  }
  const known = byKey.get(key);
  if (known) return known;
  const oldest = byKey.size < REGISTRATIONS_MAX ? undefined : byKey.values().next().value;
  if (oldest) byKey.delete(oldest.key);
  const registration = oldest ?? { id: client.takeRegistration(), key };
  registration.key = key;
  byKey.set(key, registration);
  client.port.method({
    id: registration.id,
    name,
    displayName: method.name ?? "",
    numReturns,
    isStream: method.isGenerator,
    streamBufferItems: method.streamBufferItems,
    group: method.group,
    maxRetries: method.maxRetries,
    retryDelayMs: method.retryDelayMs,
    timeoutMs: method.timeoutMs,
    retry: method.retry,
  });
  return registration;
}

function call(
  client: Client,
  handle: Handle,
  registration: number,
  name: string,
  method: MethodMeta,
  numReturns: number,
  args: readonly unknown[],
): unknown {
  const state = usableHandle(handle);
  const { maxPendingCalls, className } = state.meta;
  if (maxPendingCalls >= 0 && state.pendingCalls >= maxPendingCalls) {
    throw new PendingCallsExceededError(
      `${state.pendingCalls} calls of actor ${className} are pending, which is its maxPendingCalls`,
    );
  }
  const tracing = client.tracingNow;
  const sent = tracing ? tracing.submit(method.name ?? `${className}.${name}`, args, client.jobId) : args;
  const encoded = client.values.encodeArgs(sent);
  const seq = client.takeSeqs(numReturns);
  client.countSubmission(seq);
  client.port.call(seq, state.num, registration, encoded.args, encoded.deps, encoded.nested);
  if (method.isGenerator) {
    const stream = client.trackStream(seq, method.streamBufferItems);
    stream.completed().isCall = true;
    // Its completion, which does not keep the stream itself: one that the program drops is given up, and ends.
    if (maxPendingCalls >= 0) countPending(client, state, stream.completed());
    return stream;
  }
  const first = client.track(seq);
  first.isCall = true;
  if (maxPendingCalls >= 0) countPending(client, state, first);
  if (numReturns === 1) return first;
  const refs = trackMore(client, first, numReturns);
  for (const ref of refs) ref.isCall = true;
  return refs;
}

/** The call is one more that is pending, until `end` has a value or an error. */
function countPending(client: Client, state: HandleState, end: Ref): void {
  state.pendingCalls++;
  client.onReady(end, () => state.pendingCalls--);
}

/** The other refs of a call with several returns. */
export function trackMore(client: Client, first: Ref, numReturns: number): Ref[] {
  const refs = [first];
  for (let index = 1; index < numReturns; index++) refs.push(client.track((first.seq + index) as Ref["seq"]));
  return refs;
}
