/** Actor handles: one object for each handle, its methods made once for each class. */

import { InvalidOptionError, RefReleasedError } from "../base/errors.ts";
import type { ActorId } from "../base/ids.ts";
import { STREAM_BUFFER_ITEMS } from "../base/limits.ts";
import { pack, unpack } from "../wire/mod.ts";
import type { Client } from "./client.ts";

/** Settings of one method that travel with a handle. */
export interface MethodMeta {
  readonly isGenerator: boolean;
  /** What its calls are called where they are shown. */
  readonly name: string | undefined;
  readonly group: string;
  /** -1 for ever. */
  readonly maxRetries: number;
  readonly retryDelayMs: number;
  readonly timeoutMs: number;
  readonly streamBufferItems: number;
  /** Packed rule for exceptions to retry; empty for none. */
  readonly retry: Uint8Array;
}

/** What every handle of an actor knows of it. */
export interface HandleMeta {
  /** As it travels: MessagePack. */
  readonly plain: Uint8Array;
  readonly className: string;
  /** How many calls may run at once, over all groups. */
  readonly concurrency: number;
  readonly groups: readonly string[];
  readonly maxPendingCalls: number;
  /** Of methods that are not listed: functions in the actor's fields. */
  readonly assumed: MethodMeta;
  readonly methods: ReadonlyMap<string, MethodMeta>;
  /** Handles of this meta inherit from it. */
  readonly prototype: Handle;
}

interface PlainMeta {
  readonly className: string;
  readonly concurrency: number;
  readonly groups: readonly string[];
  readonly maxPendingCalls: number;
  readonly maxTaskRetries: number;
  readonly methods: readonly (readonly [string, MethodMeta])[];
}

const METAS_MAX = 1_000;
const metas = new Map<string, HandleMeta>();

export interface HandleState {
  readonly client: Client;
  readonly num: number;
  readonly actorId: ActorId;
  readonly meta: HandleMeta;
  isReleased: boolean;
  /** Unfinished calls through this handle; counted only where `maxPendingCalls` limits them. */
  pendingCalls: number;
}

/** All names of a handle belong to the actor's methods, so what the runtime knows of it is behind a symbol. */
const STATE = Symbol("mobula.handle");

export class Handle {
  declare readonly [STATE]: HandleState;

  static make(client: Client, num: number, actorId: ActorId, meta: HandleMeta): Handle {
    const handle = Object.create(meta.prototype) as Handle;
    const state: HandleState = { client, num, actorId, meta, isReleased: false, pendingCalls: 0 };
    // Not enumerable, so that printing a handle shows its class and id and not the runtime.
    Object.defineProperty(handle, STATE, { value: state });
    return handle;
  }

  static newMeta(meta: PlainMeta): HandleMeta {
    return Handle.metaFrom(pack(meta));
  }

  /** The same bytes give the same meta, so its methods are made once. */
  static metaFrom(bytes: Uint8Array): HandleMeta {
    const key = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
    const known = metas.get(key);
    if (known) return known;
    const plain = unpack(bytes) as PlainMeta;
    const prototype = Object.create(anyMethod) as Handle;
    const methods = new Map(plain.methods);
    const assumed = { ...ASSUMED_METHOD, maxRetries: plain.maxTaskRetries };
    const meta: HandleMeta = { ...plain, methods, assumed, plain: Uint8Array.from(bytes), prototype };
    for (const [name, method] of methods) {
      Object.defineProperty(prototype, name, {
        configurable: true,
        get(this: Handle) {
          const bound = boundMethod(this, name, method);
          Object.defineProperty(this, name, { value: bound, configurable: true });
          return bound;
        },
      });
    }
    if (metas.size >= METAS_MAX) metas.clear();
    metas.set(key, meta);
    return meta;
  }

  [Symbol.dispose](): void {
    this[STATE].client.releaseHandle(this);
  }

  get [Symbol.toStringTag](): string {
    return "ActorHandle";
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    const { meta, actorId } = this[STATE];
    return `ActorHandle(${meta.className}, ${actorId})`;
  }
}

export const handleState = (handle: Handle): HandleState => handle[STATE];

/** @throws RefReleasedError when the handle was released, or belongs to an earlier `init`. */
export function usableHandle(handle: Handle): HandleState {
  const state = handle[STATE];
  if (state.isReleased) throw new RefReleasedError(`the handle of actor ${state.actorId} was released`);
  if (state.client.isClosed) {
    throw new RefReleasedError(`the handle of actor ${state.actorId} belongs to an earlier init()`);
  }
  return state;
}

/** What a handle says for methods that its class does not show before it runs: function-valued fields. */
const anyMethod = new Proxy(Object.create(Handle.prototype) as Handle, {
  get(target, key, receiver) {
    if (typeof key !== "string" || key === "then" || key in target) return Reflect.get(target, key, receiver);
    if (!(receiver instanceof Handle) || receiver[STATE] === undefined) return undefined;
    return boundMethod(receiver, key, receiver[STATE].meta.assumed);
  },
});

const ASSUMED_METHOD: MethodMeta = {
  isGenerator: false,
  name: undefined,
  group: "",
  maxRetries: 0,
  retryDelayMs: 0,
  timeoutMs: 0,
  streamBufferItems: STREAM_BUFFER_ITEMS,
  retry: new Uint8Array(0),
};

export interface BoundMethod {
  remote(...args: readonly unknown[]): unknown;
  options(overrides: unknown): BoundMethod;
}

function boundMethod(handle: Handle, name: string, method: MethodMeta): BoundMethod {
  return handle[STATE].client.bindMethod(handle, name, method, 1);
}

/** @throws InvalidOptionError unless `value` is a handle. */
export function expectHandle(value: unknown, call: string): Handle {
  if (value instanceof Handle) return value;
  throw new InvalidOptionError(`${call} takes an actor handle`);
}
