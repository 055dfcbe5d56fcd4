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
  const registration = client.run(() => registrationOf(client, name, method, numReturns));
  return {
    remote: (...args) => client.run(() => call(client, handle, registration, method, numReturns, args)),
    options(overrides) {
      if (!mergeOverrides) throw new TypeError("method options are not available here");
      const merged = mergeOverrides(overrides, method, handle);
      return bindMethod(client, handle, name, merged.meta, merged.numReturns);
    },
  };
}

/** Methods registered with a client, by their settings: handles of one class share them. */
const registrations = new WeakMap<Client, WeakMap<MethodMeta, Map<string, number>>>();

function registrationOf(client: Client, name: string, method: MethodMeta, numReturns: number): number {
  let ofClient = registrations.get(client);
  if (!ofClient) {
    ofClient = new WeakMap();
    registrations.set(client, ofClient);
  }
  let ofMethod = ofClient.get(method);
  if (!ofMethod) {
    ofMethod = new Map();
    ofClient.set(method, ofMethod);
  }
  const key = `${name} ${numReturns}`;
  const known = ofMethod.get(key);
  if (known !== undefined) return known;
  const id = client.takeRegistration();
  ofMethod.set(key, id);
  client.port.method({
    id,
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
  return id;
}

function call(
  client: Client,
  handle: Handle,
  registration: number,
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
  const encoded = client.values.encodeArgs(args);
  const seq = client.takeSeqs(numReturns);
  client.countSubmission(seq);
  client.port.call(seq, state.num, registration, encoded.args, encoded.deps, encoded.nested);
  if (method.isGenerator) {
    const stream = client.trackStream(seq, method.streamBufferItems);
    // Its completion, which does not keep the stream itself: one that the program drops is given up, and ends.
    if (maxPendingCalls >= 0) countPending(client, state, stream.completed());
    return stream;
  }
  const first = client.track(seq);
  first.isCall = true;
  if (maxPendingCalls >= 0) countPending(client, state, first);
  if (numReturns === 1) return first;
  return trackMore(client, first, numReturns);
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
