/**
 * Every public type, without any code: what programs write, what they get back, and how one follows from the other.
 *
 * The inference goes in three steps: the signatures of a function ({@link Signatures}), its parameters with a ref
 * allowed in the place of each value ({@link Arguments}), and its result as refs ({@link Returned}).
 */
import type { ActorId, JobId, NodeId, WorkerId } from "../base/ids.ts";
import type { Resources } from "../base/resources.ts";
import type { ConsideredNode, Explanation, VerdictCount } from "../wire/explanation.ts";
import type { ActorInfo, NodeInfo } from "../wire/queries.ts";

export type {
  ActorId,
  ActorInfo,
  ConsideredNode,
  Explanation,
  JobId,
  NodeId,
  NodeInfo,
  Resources,
  VerdictCount,
  WorkerId,
};

// `never` parameters accept every function, also in strict mode, and none of them can be called by mistake.
/** Any function that can become a task. */
export type AnyFunction = (...args: never[]) => unknown;
/** A class that can be constructed; abstract ones cannot become actors. */
export type AnyClass = new (...args: never[]) => object;
/** A class of errors, as `retryExceptions` takes it. */
export type ErrorClass = abstract new (...args: never[]) => Error;

// ── refs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** @hidden Exists in types only: what a ref is of. */
export declare const refOf: unique symbol;

/**
 * Stands for a value that exists, is being computed, or will be. It is neither a promise nor the value: pass it, return
 * it, store it, and `await get(ref)` where the value is needed. Disposing it releases it, as `release(ref)` does.
 */
export interface ObjectRef<out T = unknown> extends Disposable {
  /** @hidden */
  readonly [refOf]: T;
  /** 28 bytes in hex: the task that makes the object and its place among the task's results. */
  readonly id: string;
}

/**
 * The refs that a generator produces, in order, while it runs. The producer pauses when it is `streamBufferItems`
 * ahead. An error is the last ref, which rejects. Leaving `for await` early cancels the producer.
 */
export interface ObjectRefStream<out T = unknown> extends AsyncIterable<ObjectRef<T>>, Disposable {
  /** The id of the stream's own object: 28 bytes in hex. */
  readonly id: string;
  /** The next ref; leaves the stream open, unlike leaving `for await`. */
  next(): Promise<IteratorResult<ObjectRef<T>, undefined>>;
  /** Iterates values instead of refs; throws the producer's error. */
  values(): AsyncIterable<T>;
  /** Resolves when the producer has ended and rejects when it failed. */
  completed(): ObjectRef<void>;
  /** Ends the producer, as `cancel(stream)` does. */
  cancel(): Promise<void>;
  /** Iterates the refs. */
  [Symbol.asyncIterator](): AsyncIterator<ObjectRef<T>, undefined>;
}

/** An object that is written in place, in the store. Disposing it before `seal` aborts it. */
export interface WritableObject extends Disposable {
  /** Memory in the store, to write to. */
  readonly view: Uint8Array<ArrayBuffer>;
  /** Makes the object readable by others. Writing to `view` afterwards changes nothing that is stored. */
  seal(): ObjectRef<Uint8Array<ArrayBuffer>>;
  /** Gives the memory back. Does nothing after `seal`. */
  abort(): void;
}

// ── from a function to its remote form ───────────────────────────────────────────────────────────────────────────────

/**
 * What may stand for a parameter of type T: the value, or a ref of it. A parameter that is itself a ref cannot be given
 * directly, since a ref in an argument's place is resolved before the call: put it into an array or object.
 */
export type Argument<T> = Exclude<T, ObjectRef> | ObjectRef<T>;
/** What a call takes for parameters A: each as {@link Argument}. */
export type Arguments<A extends readonly unknown[]> = { [K in keyof A]: Argument<A[K]> };

type IsAny<T> = 0 extends 1 & T ? true : false;
type IsNever<T> = [T] extends [never] ? true : false;

/** What the iteration of a generator yields; never when R is not one. Arrays and other iterables are plain values. */
type Yielded<R> =
  IsAny<R> extends true
    ? never
    : [R] extends [Generator<infer Y, unknown, never>]
      ? Y
      : [R] extends [AsyncGenerator<infer Y, unknown, never>]
        ? Y
        : [R] extends [IterableIterator<infer Y, unknown, never>]
          ? Y
          : [R] extends [AsyncIterableIterator<infer Y, unknown, never>]
            ? Y
            : never;

type IsStream<R> = IsNever<R> extends true ? false : IsNever<Yielded<R>> extends true ? IsEndlessStream<R> : true;
// A generator that yields nothing (`AsyncGenerator<never>`) is still a stream.
type IsEndlessStream<R> =
  IsAny<R> extends true
    ? false
    : [R] extends [AsyncGenerator<never, unknown, never> | Generator<never, unknown, never>]
      ? true
      : false;

type TupleOf<T, N extends number, Built extends readonly T[] = readonly []> = Built["length"] extends N
  ? Built
  : TupleOf<T, N, readonly [...Built, T]>;

// A mapped type keeps a tuple a tuple only over a type parameter, hence the helper.
type SplitTuple<V, Slots extends readonly unknown[]> = {
  readonly [K in keyof Slots]: ObjectRef<K extends keyof V ? V[K] : never>;
};

/** Refs of the parts of V: exactly N of them; a part that V does not have is a ref that can only reject. */
type SplitRefs<V, N extends number> = number extends N
  ? readonly ObjectRef[]
  : IsAny<V> extends true
    ? TupleOf<ObjectRef<V>, N>
    : V extends readonly unknown[]
      ? number extends V["length"]
        ? TupleOf<ObjectRef<V[number]>, N>
        : SplitTuple<V, TupleOf<unknown, N>>
      : TupleOf<ObjectRef<never>, N>;

/** What a call gives for a function that returns R, with `numReturns: N`. */
export type Returned<R, N extends number = 1> =
  IsStream<R> extends true
    ? ObjectRefStream<Yielded<R>>
    : IsNever<R> extends true
      ? [N] extends [1]
        ? ObjectRef<never>
        : TupleOf<ObjectRef<never>, N>
      : [N] extends [1]
        ? ObjectRef<Awaited<R>>
        : SplitRefs<Awaited<R>, N>;

type RemoteSignature<A extends readonly unknown[], R, N extends number> = (...args: Arguments<A>) => Returned<R, N>;

// A pattern with more signatures than the function has gives `unknown[]` for the missing ones, or does not match.
type OptionalSignature<A extends readonly unknown[], R, N extends number> = [unknown[]] extends [A]
  ? unknown
  : RemoteSignature<A, R, N>;

/** Overloads are kept, up to four; a generic function keeps its types when it is given as `fn<number>`. */
type Signatures<F, N extends number> = F extends {
  (...args: infer A1): infer R1;
  (...args: infer A2): infer R2;
  (...args: infer A3): infer R3;
  (...args: infer A4): infer R4;
}
  ? OptionalSignature<A1, R1, N> &
      OptionalSignature<A2, R2, N> &
      OptionalSignature<A3, R3, N> &
      RemoteSignature<A4, R4, N>
  : F extends { (...args: infer A1): infer R1; (...args: infer A2): infer R2; (...args: infer A3): infer R3 }
    ? OptionalSignature<A1, R1, N> & OptionalSignature<A2, R2, N> & RemoteSignature<A3, R3, N>
    : F extends { (...args: infer A1): infer R1; (...args: infer A2): infer R2 }
      ? OptionalSignature<A1, R1, N> & RemoteSignature<A2, R2, N>
      : // The constraint is needed for functions whose rest parameter is a read-only array.
        F extends (...args: infer A extends readonly unknown[]) => infer R
        ? RemoteSignature<A, R, N>
        : never;

/** The type of `.remote` for a function of type F. */
export type RemoteCall<F, N extends number = 1> = Signatures<F, N>;

/** A function that runs in a worker. Immutable: `options` gives another one. */
export interface RemoteFunction<F extends AnyFunction = AnyFunction, N extends number = 1> {
  /**
   * Submits a task and returns at once; never throws for what the task does.
   *
   * @throws SerializationError for an argument or captured value that cannot be shipped; PendingTasksExceededError.
   */
  readonly remote: RemoteCall<F, N>;
  /** The same function with some options changed. */
  options<M extends number = N>(overrides: TaskOptions<M>): RemoteFunction<F, M>;
}

/** A method of an actor, as a handle has it. */
export interface RemoteMethod<F extends AnyFunction = AnyFunction, N extends number = 1> {
  /**
   * Calls the method and returns a ref at once.
   *
   * @throws PendingCallsExceededError when the actor's `maxPendingCalls` is reached; SerializationError.
   */
  readonly remote: RemoteCall<F, N>;
  /** The same method with some options changed. */
  options<M extends number = N>(overrides: MethodOptions<M>): RemoteMethod<F, M>;
}

/** A class whose instances live in workers. */
export interface RemoteClass<C extends AnyClass = AnyClass> {
  /** Creates an actor and returns its handle at once. */
  readonly remote: (...args: Arguments<ConstructorParameters<C>>) => ActorHandle<InstanceType<C>>;
  /** The same class with some options changed. */
  options(overrides: ActorOptions<InstanceType<C>>): RemoteClass<C>;
}

// `then` is left out so that a handle is never taken for a promise; symbols are hooks, not calls.
type MethodName<I> = {
  [K in keyof I]-?: K extends "then"
    ? never
    : K extends string
      ? IsAny<I[K]> extends true
        ? never
        : IsNever<NonNullable<I[K]>> extends true
          ? never
          : NonNullable<I[K]> extends AnyFunction
            ? K
            : never
      : never;
}[keyof I];

/** @hidden Exists in types only: what a handle is of. */
export declare const handleOf: unique symbol;

/** What every handle has, whatever its class. Disposing the last handle of an actor ends it. */
export interface AnyActorHandle extends Disposable {
  /** @hidden */
  readonly [handleOf]: unknown;
}

/** Reaches an actor of class I (the instance type): its public methods, each with `.remote(...)` and `.options(...)`. */
export type ActorHandle<I> = AnyActorHandle & {
  readonly [handleOf]: I;
} & { readonly [K in MethodName<I>]: RemoteMethod<Extract<NonNullable<I[K]>, AnyFunction>> };

// ── options ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A program's folder that workers start in. */
export interface WorkingDir {
  /** A folder, a .zip, or the address of a package that was given to the head. */
  readonly path: string;
  /** What to leave out, in the words of `.gitignore`; beside what `.gitignore` files there say. `!x` keeps what they leave out. */
  readonly excludes?: readonly string[];
  /** A folder with more bytes is refused. Default 500 MiB. */
  readonly bytesMax?: number;
}

/** Packages that npm installs, once for each machine. */
export interface NpmInstall {
  /** The folder with package.json and package-lock.json. Default: the working folder. */
  readonly path?: string;
  /** In place of a folder: packages with exact versions. */
  readonly dependencies?: Readonly<Record<string, string>>;
  /** Whether packages may run their install scripts. Default false. */
  readonly allowScripts?: boolean;
  /** With the packages that are only needed for development. Default false. */
  readonly dev?: boolean;
}

/** A module whose default export, a function, each worker calls once before its first task or actor. */
export interface SetupModule {
  /** Its path in the working folder, or a package. */
  readonly module: string;
  /** Default 60,000. */
  readonly timeoutMs?: number;
}

/**
 * What a worker's process is started with, and what has to be on its machine first. It is made ready beside running work; what
 * fails rejects with a `RuntimeEnvError`. A task's or an actor's own is merged over its job's: `env` variable by variable, the rest
 * replaced. With `address: "inline"` there is none: a call that asks for any of it throws
 * an `InvalidOptionError`, and so does `init`.
 */
export interface RuntimeEnv {
  /** Environment variables, added to those of the node. */
  readonly env?: Readonly<Record<string, string>>;
  /**
   * The program's folder (or a .zip): it is packed once, without what `.gitignore` names, brought to each machine that needs it,
   * and workers start in a copy that they share and should not write to. Modules and packages are found there first. Default: the
   * node's folder, as it is.
   */
  readonly workingDir?: string | WorkingDir;
  /** Options of Node.js, for example `["--max-old-space-size=8192"]`. */
  readonly nodeOptions?: readonly string[];
  /** `true`: what package.json and package-lock.json in the working folder say; a string: in that folder. `false` takes the job's back. */
  readonly npm?: boolean | string | NpmInstall;
  /** See {@link SetupModule}. */
  readonly setup?: string | SetupModule;
  /** How long making it ready may take, from when it begins. Default 600,000. */
  readonly timeoutMs?: number;
}

/** A value of a label: `"v"`, `"!v"`, `"in(a,b)"` or `"!in(a,b)"`. */
export type LabelSelector = Readonly<Record<string, string>>;

/**
 * Where something runs: `"default"` near large arguments, packed until a node is half in use and spread beyond; `"spread"` round
 * the nodes; one node, which `soft` (default false) prefers while it lives and could ever take it; a bundle of a placement group.
 */
export type SchedulingStrategy =
  | "default"
  | "spread"
  | { readonly nodeId: string; readonly soft?: boolean }
  | { readonly placementGroup: PlacementGroup; readonly bundleIndex?: number; readonly captureChildTasks?: boolean };

/** Which thrown errors are tried again: none, all, those of these classes, or those the function says yes to. */
export type RetryExceptions = boolean | readonly ErrorClass[] | ((error: unknown) => boolean);

/** Where and with what something runs; the same for tasks and actors. */
export interface PlacementOptions {
  /** GPUs; a fraction shares one device, above 1 it must be whole. Default 0. */
  readonly numGpus?: number;
  /** Bytes. Default 0: not counted. Where a node keeps limits by cgroup, what uses more is ended with an `OutOfMemoryError`. */
  readonly memory?: number;
  /** Amounts of the node's custom resources, in steps of 0.0001. */
  readonly resources?: Resources;
  /** Default `"default"`. */
  readonly schedulingStrategy?: SchedulingStrategy;
  /** Labels that the node must have: one selector, or several tried in order. */
  readonly labelSelector?: LabelSelector | readonly LabelSelector[];
  /** Added to that of `init`, or of the task that submits. */
  readonly runtimeEnv?: RuntimeEnv;
  /**
   * Opens a debugger in its worker, which only what has this option shares. It listens on 127.0.0.1 of its machine; a line on the
   * program's stderr says where to attach. With `"brk"` the worker waits for one, and pauses before it calls the function, or makes the
   * actor. What it submits itself does not inherit it. Default false.
   */
  readonly inspect?: boolean | "brk";
}

/** Options of a task, for `remote(fn, options)` and `.options(overrides)`. */
export interface TaskOptions<N extends number = 1> extends PlacementOptions {
  /** Shown in logs, the timeline and errors; default the function's name. */
  readonly name?: string;
  /** CPUs held while the task runs, in steps of 0.0001. Default 1. */
  readonly numCpus?: number;
  /** n > 1: the function returns n values and the call n refs. Default 1. */
  readonly numReturns?: N;
  /** How often a task is run again after a system failure (its worker died); -1 for ever. Default 3. */
  readonly maxRetries?: number;
  /** Which errors of the function itself are retried, within `maxRetries`. Default false. */
  readonly retryExceptions?: RetryExceptions;
  /** Milliseconds before a retry. Default 0. */
  readonly retryDelayMs?: number;
  /** Milliseconds from the start of an attempt until it is ended by force; it is not retried. Default: no limit. */
  readonly timeoutMs?: number;
  /** The worker restarts after this many calls of the function; 0 never. Default 0, and 1 when `numGpus` > 0. */
  readonly maxCalls?: number;
  /** How many items a generator may be ahead of its reader. Default 16. */
  readonly streamBufferItems?: number;
  /**
   * -1000..1000; higher goes first within a job, and after `preemptAfterMs` of waiting ends tasks of lower priority of other jobs that
   * may run again. Default 0.
   */
  readonly priority?: number;
}

/** Options of a method's calls, for `ActorOptions.methods` and `.options(overrides)`. */
export interface MethodOptions<N extends number = 1> {
  /** Shown in logs, the timeline and errors; default the class and the method, `Class.method`. */
  readonly name?: string;
  /** n > 1: the method returns n values and the call n refs. Default 1. */
  readonly numReturns?: N;
  /** How often a call is repeated when the actor died during it; -1 for ever. Default: the actor's. */
  readonly maxTaskRetries?: number;
  /** Which errors of the method itself are retried, within `maxTaskRetries`. Default false. */
  readonly retryExceptions?: RetryExceptions;
  /** Milliseconds before a retry. Default 0. */
  readonly retryDelayMs?: number;
  /** Milliseconds after which the call rejects; the actor is not interrupted. Default: no limit. */
  readonly timeoutMs?: number;
  /** One of the actor's `concurrencyGroups`. Default: its own concurrency, `maxConcurrency`. */
  readonly concurrencyGroup?: string;
  /** How many items a generator method may be ahead of its reader. Default 16. */
  readonly streamBufferItems?: number;
}

/** Options of an actor, for `remote(Class, options)` and `.options(overrides)`. */
export interface ActorOptions<I = unknown> extends PlacementOptions {
  /** Others find the actor by this name, see `getActor`. */
  readonly name?: string;
  /** Default: the job's. */
  readonly namespace?: string;
  /** When the name is taken, gives a handle to that actor instead of an error. Needs `name`. Default false. */
  readonly getIfExists?: boolean;
  /** `"owner"` ends with its last handle; `"detached"` lives until it is killed. Default `"owner"`. */
  readonly lifetime?: "owner" | "detached";
  /** CPUs held while the actor lives. Default 0. */
  readonly numCpus?: number;
  /** How often the actor is made again when its process died; -1 for ever. Default 0. */
  readonly maxRestarts?: number;
  /** Default of `maxTaskRetries` of its methods: 0. */
  readonly maxTaskRetries?: number;
  /** How many calls run at once. Default 1. */
  readonly maxConcurrency?: number;
  /** Groups of methods with a concurrency of their own: `{ io: 4 }`. */
  readonly concurrencyGroups?: Readonly<Record<string, number>>;
  /** Options of single methods. */
  readonly methods?: unknown extends I
    ? Readonly<Record<string, Omit<MethodOptions, "numReturns">>>
    : { readonly [K in MethodName<I>]?: Omit<MethodOptions, "numReturns"> };
  /**
   * How many calls of one caller may be pending; more throw `PendingCallsExceededError`. A call that gives a stream is
   * pending until its generator has ended. -1: no limit. Default -1.
   */
  readonly maxPendingCalls?: number;
  /** A process of its own, or one shared by many small actors. Default `"process"`. */
  readonly isolation?: "process" | "shared";
  /** How many actors share a process, with `isolation: "shared"`. Default 2000. */
  readonly maxActorsPerWorker?: number;
  /**
   * -1000..1000; the actor waits for what it holds before those of the job that have a lower one, and after `preemptAfterMs` tasks of
   * lower priority of other jobs that may run again end for it. Not with `isolation: "shared"`. Default 0.
   */
  readonly priority?: number;
}

/** Options of `init`. An unknown one is an `InvalidOptionError`. */
export interface InitOptions {
  /**
   * `"local"` embedded, `"auto"` a standing node of this machine, `"inline"` this thread, `"host:port"` the cluster whose
   * head listens there. Default: `MOBULA_ADDRESS`, else `"local"`.
   */
  readonly address?: "local" | "auto" | "inline" | (string & {});
  /** What the node offers; `memory` in bytes. Default: what the machine or its cgroup has. */
  readonly resources?: Resources & { readonly cpu?: number; readonly gpu?: number; readonly memory?: number };
  /** Bytes of memory for objects, at least 1 MiB. Default: 30 % of memory. */
  readonly objectStoreBytes?: number;
  /** Where objects go that do not fit into memory. Default: the run's own temporary folder. */
  readonly spillDirectory?: string;
  /** Bytes on disk; 0 turns spilling off. Default: no limit but the disk's. */
  readonly spillBytesMax?: number;
  /** Where names of actors are looked up. Default: anonymous and the job's own. */
  readonly namespace?: string;
  /** For people. Default: the program's path; in a submitted job its name and the job's. */
  readonly jobName?: string;
  /** For people and tools: kept with the job. Default: none. */
  readonly metadata?: Readonly<Record<string, string>>;
  /**
   * What the job may use at once in the whole cluster, `{ cpu: 16, gpu: 4 }`; memory in bytes. A resource that is not named has no
   * limit. What goes beyond it waits. Needs a cluster.
   */
  readonly quota?: Resources;
  /** Workers' output appears in the driver. Default true. */
  readonly logToDriver?: boolean;
  /** What workers are started with, unless a task or actor says otherwise. */
  readonly runtimeEnv?: RuntimeEnv;
  /** Labels of this node. Needs a cluster. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Milliseconds after which demand that no node can ever meet is an `InfeasibleError`. Default 10_000. */
  readonly infeasibleTimeoutMs?: number;
  /**
   * Milliseconds that a task of this program waits without room on any node before running tasks of lower `priority` of other programs are
   * ended for it, if they may run again (`maxRetries`). They lose no retry by it. `Infinity`: never. Default 2_000.
   */
  readonly preemptAfterMs?: number;
  /** Milliseconds that `put` waits for room in memory before it uses the disk. Default 10_000. */
  readonly putTimeoutMs?: number;
  /** What happens when memory runs out: an idle worker is ended, or the largest, or the one with the newest work. */
  readonly memoryMonitor?: {
    /** Share of memory in use above which a worker is ended, above 0 and at most 1. Default 0.95. */
    readonly threshold?: number;
    /** Milliseconds between looks; sooner when memory is about to run out. Default 250. */
    readonly intervalMs?: number;
    /** Bytes. Counts the memory of workers only, against this, instead of everything against the machine's memory. */
    readonly limitBytes?: number;
  };
  /** How many submitted tasks may be unfinished; more throw `PendingTasksExceededError`. Default 1_000_000. */
  readonly maxPendingTasks?: number;
  /** A second `init` gives the same context instead of an error. Default false. */
  readonly ignoreReinit?: boolean;
  /** Of a cluster. Default: `MOBULA_TOKEN`, or the first line of the file that `MOBULA_TOKEN_FILE` names. */
  readonly token?: string;
  /**
   * For a cluster that uses TLS: paths of PEM files, read again when they change. `ca` signs the certificates of the others, and
   * `serverName` is the name in them, if that is not the host that is dialled. Default: `MOBULA_TLS_CERT`, `MOBULA_TLS_KEY`,
   * `MOBULA_TLS_CA` and `MOBULA_TLS_SERVER_NAME`. A node of the driver's own listens too, so it needs a certificate and its key.
   */
  readonly tls?: {
    readonly cert?: string;
    readonly key?: string;
    readonly ca?: string;
    readonly serverName?: string;
  };
  /**
   * Spans of OpenTelemetry for what is submitted and what runs, in one trace from here through tasks and actors. The program brings
   * `@opentelemetry/api` along, and an SDK that a module registers: `setup` is its path (or package), and it is imported here and once in
   * each worker, before code of this program. Without `setup` workers get the modules that this program was started with by
   * `--import`, on this machine. Default: `MOBULA_TRACING`, which is `1` or such a path; else false.
   *
   * @example await init({ tracing: { setup: "./instrumentation.mjs" } });
   */
  readonly tracing?: boolean | { readonly setup?: string };
}

/** Options of `get`. */
export interface GetOptions {
  /** Milliseconds after which it rejects with `GetTimeoutError`. Default: no limit. */
  readonly timeoutMs?: number;
  /** Aborting it rejects with its reason. */
  readonly signal?: AbortSignal;
}
/** Options of `wait`; when its `timeoutMs` has passed it gives what is ready, instead of rejecting. */
export interface WaitOptions extends GetOptions {
  /** How many must be ready. Default 1. */
  readonly numReturns?: number;
  /** Also bring the values to this machine; on one machine they are there. Default true. */
  readonly fetchLocal?: boolean;
}
/** Options of `cancel`. */
export interface CancelOptions {
  /** Kill the task's worker; refused for actor calls. Default false. */
  readonly force?: boolean;
  /** Also what the task itself submitted. Default true. */
  readonly recursive?: boolean;
}
/** Options of `put`. */
export interface PutOptions {
  /**
   * How many nodes are to keep it, this one included: as long as one of them lives it is not lost, and when one dies another
   * takes its place. Where there are fewer nodes all of them keep it, and a warning says so. Default 1.
   */
  readonly copies?: number;
}

// ── contexts and placement ───────────────────────────────────────────────────────────────────────────────────────────

/** A running `init`. Disposing it is `shutdown`. */
export interface Context extends AsyncDisposable {
  /** Where the node is: the path of its socket, or `"inline"`. */
  readonly address: string;
  /**
   * A link to the dashboard, good for one browser; each time that it is read another one. Undefined inline, where MOBULA_DASHBOARD is
   * `off`, and in a cluster whose head is elsewhere (`mobula dashboard` makes one there).
   */
  readonly dashboardUrl: string | undefined;
  readonly jobId: JobId;
  readonly nodeId: NodeId;
  readonly namespace: string;
  /** Writes what ran when, in Chrome's trace format (opens in Perfetto). */
  timeline(file: string): Promise<void>;
}

/** What runs now, as `runtimeContext()` gives it. */
export interface RuntimeContext<Self extends object = object> {
  readonly jobId: JobId;
  /** 24 bytes in hex. None in the driver. */
  readonly taskId?: string;
  /** Inside an actor. */
  readonly actorId?: ActorId;
  /** Inside an actor: its own handle, to be passed on. It does not keep the actor alive; one that others have of it does. */
  readonly self?: ActorHandle<Self>;
  readonly nodeId: NodeId;
  /** Null in the driver. */
  readonly workerId: WorkerId | null;
  /** Which attempt of the task this is; counts from 0. */
  readonly attempt: number;
  readonly namespace: string;
  /** What the task or actor holds; memory in bytes. */
  readonly resources: Resources;
  /** Ids of its GPUs, as `CUDA_VISIBLE_DEVICES` takes them. */
  readonly accelerators: { readonly gpu: readonly string[] };
  /** Aborted on cancel, timeout and shutdown. */
  readonly signal: AbortSignal;
  /** Whether the actor was made again after its process died. */
  readonly wasRestarted: boolean;
  /** That it runs in, if it does. */
  readonly placementGroup?: PlacementGroup;
}

/** Options of `placementGroup`. */
export interface PlacementGroupOptions {
  /** Bundles on few nodes or on many, if possible or without exception. */
  readonly strategy?: "PACK" | "SPREAD" | "STRICT_PACK" | "STRICT_SPREAD";
  /** Others find the group by this name, see `getPlacementGroup`. */
  readonly name?: string;
  /** `"owner"` ends with the job, `"detached"` when it is removed. */
  readonly lifetime?: "owner" | "detached";
  /** One selector, or several tried in order. */
  readonly labelSelector?: LabelSelector | readonly LabelSelector[];
  /** A label key, for example `"rack"`: one value if the group fits, else the fewest. */
  readonly topology?: string;
  /**
   * -1000..1000; higher goes first, and after `preemptAfterMs` of waiting ends tasks of lower priority of other jobs that may run again,
   * if the whole group has room then. Default 0.
   */
  readonly priority?: number;
}
/** Resources reserved together, on one or several nodes. */
export interface PlacementGroup {
  readonly id: string;
  /** What was asked for, in order. */
  readonly bundles: readonly Resources[];
  /** A ref that is ready when the resources are reserved. */
  ready(): ObjectRef<void>;
  /** Whether the resources were reserved within so many milliseconds. */
  wait(timeoutMs: number): Promise<boolean>;
  /** Gives the resources back; resolves when they are free. */
  remove(): Promise<void>;
}

// ── the public functions, as types ───────────────────────────────────────────────────────────────────────────────────

/** The values of several refs: a tuple for a tuple, an array for an array. */
export type Unwrapped<R extends readonly unknown[]> = {
  -readonly [K in keyof R]: R[K] extends ObjectRef<infer T> ? T : never;
};

/** The type of `remote`. */
export interface RemoteFunctionFactory {
  /** A class whose instances live in workers. */
  <C extends AnyClass>(classToHost: C, options?: ActorOptions<InstanceType<C>>): RemoteClass<C>;
  /** A function that runs in workers. */
  <F extends AnyFunction, N extends number = 1>(fn: F, options?: TaskOptions<N>): RemoteFunction<F, N>;
}

/** The type of `get`. */
export interface GetFunction {
  /** The value of one ref. */
  <T>(ref: ObjectRef<T>, options?: GetOptions): Promise<T>;
  /** The values of several refs, in order. */
  <const R extends readonly ObjectRef[]>(refs: R, options?: GetOptions): Promise<Unwrapped<R>>;
}

/** What `wait`, `cancel` and `explain` take. */
export type Waitable = ObjectRef | ObjectRefStream;
/** What `wait` gives: the very objects that were given, each list in their order. */
export interface WaitResult<W> {
  /** At most `numReturns` of those that have a value or have failed. */
  readonly ready: W[];
  /** The others. */
  readonly pending: W[];
}
/** The type of `wait`. */
export type WaitFunction = <W extends Waitable>(
  waitables: readonly W[],
  options?: WaitOptions,
) => Promise<WaitResult<W>>;

/** The type of `put`. */
export type PutFunction = <T>(value: [T] extends [ObjectRef] ? never : T, options?: PutOptions) => ObjectRef<T>;
/** The type of `putAsync`. */
export type PutAsyncFunction = <T>(
  value: [T] extends [ObjectRef] ? never : T,
  options?: PutOptions,
) => Promise<ObjectRef<T>>;
/** The type of `create`. */
export type CreateFunction = (bytes: number) => WritableObject;
/** The type of `cancel`. */
export type CancelFunction = (target: Waitable, options?: CancelOptions) => Promise<void>;
/** The type of `release`. */
export type ReleaseFunction = (...refs: readonly ObjectRef[]) => void;
/** The type of `isObjectRef`. */
export type IsObjectRefFunction = (value: unknown) => value is ObjectRef;
/** The type of `kill`. */
export type KillFunction = (handle: AnyActorHandle, options?: { readonly noRestart?: boolean }) => Promise<void>;
/** The type of `getActor`. */
export type GetActorFunction = <I>(name: string, options?: { readonly namespace?: string }) => Promise<ActorHandle<I>>;
/** The type of `listActors`. */
export type ListActorsFunction = (options?: { readonly allNamespaces?: boolean }) => Promise<readonly ActorInfo[]>;
/** The type of `explain`. */
export type ExplainFunction = (target: Waitable | AnyActorHandle | PlacementGroup) => Promise<Explanation>;
/** The type of `runtimeContext`. */
export type RuntimeContextFunction = <Self extends object = object>() => RuntimeContext<Self>;
