/**
 * The errors a program can see. One base class; `code` is stable and crosses processes; `kind` tells the caller what
 * to do next. A message says what happened, to which id, and the next step.
 */

/**
 * What the caller can do: `invalid` fix the call · `unavailable` retry later · `exhausted` ask for less or add capacity ·
 * `lost` make it again · `cancelled` nothing · `task` user code threw, see `cause` · `internal` a bug of Mobula.
 */
export type ErrorKind = "invalid" | "unavailable" | "exhausted" | "lost" | "cancelled" | "task" | "internal";

/** The base class of every error that Mobula throws. Test for one with `isError(error, "TASK_FAILED")`. */
export class MobulaError extends Error {
  /** Never changes, also between versions: `"OBJECT_LOST"`. */
  readonly code: string;
  /** What the caller can do, see {@link ErrorKind}. */
  readonly kind: ErrorKind;

  constructor(code: string, kind: ErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.kind = kind;
  }
}

// `name` lives on the prototype, as for built-in errors, so that it is not an own property of every instance.
Object.defineProperty(MobulaError.prototype, "name", { value: "MobulaError", configurable: true, writable: true });

/** The type of each error class: its `code` can be read from the class too. */
export type MobulaErrorClass<C extends string, K extends ErrorKind> = {
  new (message: string, options?: ErrorOptions): MobulaError & { readonly code: C; readonly kind: K };
  readonly code: C;
};

const byCode = new Map<string, new (message: string, options?: ErrorOptions) => MobulaError>();

function define<C extends string, K extends ErrorKind>(name: string, code: C, kind: K): MobulaErrorClass<C, K> {
  const named = {
    [name]: class extends MobulaError {
      static readonly code = code;
      declare readonly code: C;
      declare readonly kind: K;
      constructor(message: string, options?: ErrorOptions) {
        super(code, kind, message, options);
      }
    },
  }[name] as unknown as MobulaErrorClass<C, K>;
  Object.defineProperty(named.prototype, "name", { value: name, configurable: true, writable: true });
  byCode.set(code, named);
  return named;
}

/** User code threw; `cause` is the user's error, its class, fields and own `cause` kept. */
export const TaskError = define("TaskError", "TASK_FAILED", "task");
/** The task was cancelled, or the task that submitted it was. */
export const TaskCancelledError = define("TaskCancelledError", "TASK_CANCELLED", "cancelled");
/** An attempt of a task, or a call of an actor, took longer than its `timeoutMs`. It is not retried. */
export const TaskTimeoutError = define("TaskTimeoutError", "TASK_TIMEOUT", "unavailable");
/** A `get` took longer than its `timeoutMs`; the message says what it waited for and why. The task goes on. */
export const GetTimeoutError = define("GetTimeoutError", "GET_TIMEOUT", "unavailable");
/**
 * The process that ran the task ended; the message has its exit code or signal and the last lines of its stderr.
 * Thrown when `maxRetries` is used up. `process.exit()` in a task counts too.
 */
export const WorkerDiedError = define("WorkerDiedError", "WORKER_DIED", "lost");
/** The memory monitor, V8's heap limit or the kernel ended the process; the message says who used how much. */
export const OutOfMemoryError = define("OutOfMemoryError", "OUT_OF_MEMORY", "exhausted");
/**
 * The actor has ended and does not come back: killed, exited, out of scope, its constructor threw, or its restarts are
 * used up. The message says which.
 */
export const ActorDiedError = define("ActorDiedError", "ACTOR_DIED", "lost");
/**
 * The actor died during the call and is being restarted; whether the call took effect is not known. See
 * `maxTaskRetries`.
 */
export const ActorUnavailableError = define("ActorUnavailableError", "ACTOR_UNAVAILABLE", "unavailable");
/** The actor's `maxPendingCalls` is reached; thrown at the call. */
export const PendingCallsExceededError = define("PendingCallsExceededError", "PENDING_CALLS", "exhausted");
/** No copy of the object is left, and the task that made it cannot be run again; the message says why. */
export const ObjectLostError = define("ObjectLostError", "OBJECT_LOST", "lost");
/** The process that owned the object or was to create the actor ended first. */
export const OwnerDiedError = define("OwnerDiedError", "OWNER_DIED", "lost");
/** The object store had no room within `putTimeoutMs`; the message names who holds the most, by call site. */
export const ObjectStoreFullError = define("ObjectStoreFullError", "STORE_FULL", "exhausted");
/** The disk is full or failed while objects were written to it. */
export const OutOfDiskError = define("OutOfDiskError", "DISK_FULL", "exhausted");
/** A value or captured variable cannot be shipped; the message holds its path, its type and what to do. */
export const SerializationError = define("SerializationError", "NOT_SERIALIZABLE", "invalid");
/** Actors or tasks wait for each other in a cycle, which the message names. Rejects the `get` that closes the cycle. */
export const DeadlockError = define("DeadlockError", "DEADLOCK", "invalid");
/** `maxPendingTasks` is reached; thrown at the call. `map()` waits instead. */
export const PendingTasksExceededError = define("PendingTasksExceededError", "PENDING_TASKS", "exhausted");
/** The machine can never meet the demand; the message says what it has. Comes after `infeasibleTimeoutMs`. */
export const InfeasibleError = define("InfeasibleError", "INFEASIBLE", "invalid");
/** An unknown or wrong option or argument; thrown at the call, with what was given and what is allowed. */
export const InvalidOptionError = define("InvalidOptionError", "INVALID_OPTION", "invalid");
/** An actor with this name lives in the namespace; rejects the calls of the new one. See `getIfExists`. */
export const NameTakenError = define("NameTakenError", "NAME_TAKEN", "invalid");
/** No actor with this name or id lives in the namespace. */
export const ActorNotFoundError = define("ActorNotFoundError", "ACTOR_NOT_FOUND", "invalid");
/** No node has this id. Needs a cluster. */
export const NodeNotFoundError = define("NodeNotFoundError", "NODE_NOT_FOUND", "invalid");
/** The placement group was removed. Needs a cluster. */
export const PlacementGroupRemovedError = define("PlacementGroupRemovedError", "GROUP_REMOVED", "lost");
/** A ref or handle was used after its release, or after the `shutdown` of the `init` it belongs to. */
export const RefReleasedError = define("RefReleasedError", "REF_RELEASED", "invalid");
/** Mobula is not running in this process: `await init()` first. */
export const NotInitializedError = define("NotInitializedError", "NOT_INITIALIZED", "invalid");
/** `init` was called twice, or inside a task or actor. */
export const AlreadyInitializedError = define("AlreadyInitializedError", "ALREADY_INITIALIZED", "invalid");
/** The node or the process at the other end is gone, or there is none to join. */
export const ConnectionLostError = define("ConnectionLostError", "CONNECTION_LOST", "unavailable");
/** The node, or the state it reads, is of another version of Mobula. */
export const VersionMismatchError = define("VersionMismatchError", "VERSION_MISMATCH", "invalid");
/** The token is missing or wrong. */
export const AuthenticationError = define("AuthenticationError", "AUTHENTICATION", "invalid");
/** A module of the program could not be had where it was to be imported; the message names it and where it was looked for. */
export const ModuleUnavailableError = define("ModuleUnavailableError", "MODULE_UNAVAILABLE", "unavailable");
/**
 * What the program's `runtimeEnv` brings could not be made ready, or its setup module failed; the message has the command
 * and the last lines of its output.
 */
export const RuntimeEnvError = define("RuntimeEnvError", "RUNTIME_ENV", "task");
/** A `Queue` had no room, at once (`block: false`) or in time. */
export const QueueFullError = define("QueueFullError", "QUEUE_FULL", "exhausted");
/** A `Queue` had too few items, at once (`block: false`) or in time. */
export const QueueEmptyError = define("QueueEmptyError", "QUEUE_EMPTY", "unavailable");
/** A state that our own code promised never to reach. */
export const InternalError = define("InternalError", "INTERNAL", "internal");

/** An instance of the class. */
export type TaskError = InstanceType<typeof TaskError>;
/** An instance of the class. */
export type SerializationError = InstanceType<typeof SerializationError>;

/** @internal Builds the error class that `code` names; how errors cross processes. Unknown codes give a plain MobulaError. */
export function errorFromCode(code: string, kind: ErrorKind, message: string, options?: ErrorOptions): MobulaError {
  const known = byCode.get(code);
  return known ? new known(message, options) : new MobulaError(code, kind, message, options);
}

/** True for an error of Mobula with this code, whichever copy of the package made it. */
export function isError(error: unknown, code: string): error is MobulaError {
  return error instanceof Error && (error as { code?: unknown }).code === code && "kind" in error;
}
