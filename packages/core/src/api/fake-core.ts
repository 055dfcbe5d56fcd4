/**
 * A small core in memory for tests of the helpers: tasks and actors run in this thread, every ref that was made and
 * not released is counted, and a test decides when a task ends by what the task awaits.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import {
  ActorDiedError,
  GetTimeoutError,
  PendingTasksExceededError,
  TaskCancelledError,
  TaskError,
} from "../base/errors.ts";
import type { CoreApi } from "./core-port.ts";
import type { AnyClass, AnyFunction, ObjectRef } from "./types.ts";

class FakeRef {
  readonly id: string;
  readonly abort = new AbortController();
  readonly result: Promise<unknown>;
  readonly reject: (error: unknown) => void;
  settled = false;

  constructor(id: string, run: (signal: AbortSignal) => Promise<unknown>) {
    this.id = id;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.result = promise;
    this.reject = reject;
    promise.then(
      () => {
        this.settled = true;
      },
      () => {
        this.settled = true;
      },
    );
    run(this.abort.signal).then(resolve, reject);
  }
  [Symbol.dispose](): void {}
}

interface FakeActor {
  instance: Record<string, (...args: unknown[]) => unknown>;
  readonly calls: Set<FakeRef>;
  readonly tails: Map<string, Promise<unknown>>;
  dead: boolean;
}

export interface FakeCore extends CoreApi {
  /** Refs made and neither released nor dropped with their actor. */
  readonly live: Set<ObjectRef>;
  readonly cancelled: Set<ObjectRef>;
  running: number;
  runningMax: number;
  submitted: number;
  /** More tasks than this at once are refused. */
  pendingMax: number;
  readonly optionsSeen: unknown[];
}

export function fakeCore(): FakeCore {
  const context = new AsyncLocalStorage<AbortSignal>();
  const actors = new WeakMap<object, FakeActor>();
  let refsMade = 0;

  const newRef = (run: (signal: AbortSignal) => Promise<unknown>): ObjectRef => {
    const ref = new FakeRef(`ref${++refsMade}`, run) as unknown as ObjectRef;
    fake.live.add(ref);
    return ref;
  };
  const inside = (ref: unknown): FakeRef => ref as FakeRef;
  const isRef = (value: unknown): value is ObjectRef => value instanceof FakeRef;
  const resolved = (args: unknown[]) => Promise.all(args.map((arg) => (isRef(arg) ? inside(arg).result : arg)));

  const task = (fn: AnyFunction, args: unknown[]): ObjectRef => {
    if (fake.running >= fake.pendingMax) throw new PendingTasksExceededError("too many pending tasks");
    fake.submitted++;
    fake.running++;
    fake.runningMax = Math.max(fake.runningMax, fake.running);
    return newRef(async (signal) => {
      try {
        // A turn later, as in a worker: never inside the call of `.remote()`.
        await new Promise((resolve) => setImmediate(resolve));
        const values = await resolved(args);
        return await context.run(signal, () => (fn as (...args: unknown[]) => unknown)(...values));
      } catch (cause) {
        throw new TaskError(`${fn.name} failed`, { cause });
      } finally {
        fake.running--;
      }
    });
  };

  const remoteFunction = (fn: AnyFunction, options: unknown): unknown => {
    if (options !== undefined) fake.optionsSeen.push(options);
    return {
      remote: (...args: unknown[]) => task(fn, args),
      options: (overrides: unknown) => remoteFunction(fn, overrides),
    };
  };

  /** One call after another, except for methods with a concurrency group, which run at once. */
  const actorHandle = (
    Class: AnyClass,
    options: { methods?: Record<string, unknown> } | undefined,
    args: unknown[],
  ) => {
    const actor: FakeActor = {
      instance: Reflect.construct(Class, args) as FakeActor["instance"],
      calls: new Set(),
      tails: new Map(),
      dead: false,
    };
    const call = (method: string, callArgs: unknown[]): ObjectRef => {
      const run = async (signal: AbortSignal) => {
        const values = await resolved(callArgs);
        return context.run(signal, () => actor.instance[method]?.(...values));
      };
      const ref = newRef((signal) => {
        if (actor.dead) return Promise.reject(new ActorDiedError("the actor is dead"));
        if (options?.methods?.[method] !== undefined) return run(signal);
        const previous = actor.tails.get("") ?? Promise.resolve();
        const next = previous
          .then(() => run(signal))
          .catch((cause: unknown) => Promise.reject(new TaskError("failed", { cause })));
        actor.tails.set(
          "",
          next.catch(() => {}),
        );
        return next;
      });
      actor.calls.add(inside(ref));
      return ref;
    };
    const handle = new Proxy(
      {},
      {
        get: (_, method) =>
          typeof method === "string" ? { remote: (...callArgs: unknown[]) => call(method, callArgs) } : undefined,
      },
    );
    actors.set(handle, actor);
    return handle;
  };

  const fake = {
    live: new Set<ObjectRef>(),
    cancelled: new Set<ObjectRef>(),
    running: 0,
    runningMax: 0,
    submitted: 0,
    pendingMax: Number.POSITIVE_INFINITY,
    optionsSeen: [] as unknown[],
    remote(target: AnyFunction | AnyClass, options?: { methods?: Record<string, unknown> }) {
      if (!/^class\b/.test(target.toString())) return remoteFunction(target as AnyFunction, options);
      return { remote: (...args: unknown[]) => actorHandle(target as AnyClass, options, args) };
    },
    async get(ref: unknown, options?: { timeoutMs?: number }) {
      if (Array.isArray(ref)) return Promise.all(ref.map((each) => inside(each).result));
      if (options?.timeoutMs === undefined) return inside(ref).result;
      const late = new Promise((_, reject) => {
        setTimeout(() => reject(new GetTimeoutError("late")), options.timeoutMs).unref();
      });
      return Promise.race([inside(ref).result, late]);
    },
    put: (value: unknown) => newRef(async () => value),
    async wait(refs: readonly unknown[], options?: { signal?: AbortSignal }) {
      const aborted = new Promise<never>((_, reject) => {
        options?.signal?.addEventListener("abort", () => reject(options.signal?.reason));
      });
      await Promise.race([
        aborted,
        ...refs.map((ref) =>
          inside(ref).result.then(
            () => {},
            () => {},
          ),
        ),
      ]);
      return {
        ready: refs.filter((ref) => inside(ref).settled),
        pending: refs.filter((ref) => !inside(ref).settled),
      };
    },
    async cancel(ref: ObjectRef) {
      fake.cancelled.add(ref);
      inside(ref).abort.abort();
      inside(ref).reject(new TaskCancelledError("cancelled"));
    },
    release(...refs: readonly ObjectRef[]) {
      for (const ref of refs) fake.live.delete(ref);
    },
    async kill(handle: object) {
      const actor = actors.get(handle);
      if (actor === undefined) return;
      actor.dead = true;
      for (const ref of actor.calls) ref.reject(new ActorDiedError("killed"));
    },
    isObjectRef: isRef,
    runtimeContext: () => ({ signal: context.getStore() ?? new AbortController().signal }),
    clusterResources: async () => ({ cpu: 2 }),
    isDriverProcess: () => true,
    tellBar() {},
  };
  // The fake keeps the shapes of the calls that the helpers make; its types are those of the real core.
  return fake as unknown as FakeCore;
}
