/**
 * The errors a program can see. One base class; `code` is stable and crosses processes; `kind` tells the caller what
 * to do next. A message says what happened, to which id, and the next step.
 */

export type ErrorKind = "invalid" | "unavailable" | "exhausted" | "lost" | "cancelled" | "task" | "internal";

export class MobulaError extends Error {
  readonly code: string;
  /**
   * `invalid` fix the call · `unavailable` retry later · `exhausted` ask for less or add capacity · `lost` make it
   * again · `cancelled` · `task` user code threw, see `cause` · `internal` a bug of Mobula.
   */
  readonly kind: ErrorKind;

  constructor(code: string, kind: ErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.kind = kind;
  }
}

// `name` lives on the prototype, as for built-in errors, so that it is not an own property of every instance.
Object.defineProperty(MobulaError.prototype, "name", { value: "MobulaError", configurable: true, writable: true });

type ErrorClass<C extends string, K extends ErrorKind> = {
  new (message: string, options?: ErrorOptions): MobulaError & { readonly code: C; readonly kind: K };
  readonly code: C;
};

const byCode = new Map<string, new (message: string, options?: ErrorOptions) => MobulaError>();

function define<C extends string, K extends ErrorKind>(name: string, code: C, kind: K): ErrorClass<C, K> {
  const named = {
    [name]: class extends MobulaError {
      static readonly code = code;
      declare readonly code: C;
      declare readonly kind: K;
      constructor(message: string, options?: ErrorOptions) {
        super(code, kind, message, options);
      }
    },
  }[name] as unknown as ErrorClass<C, K>;
  Object.defineProperty(named.prototype, "name", { value: name, configurable: true, writable: true });
  byCode.set(code, named);
  return named;
}

/** User code threw; `cause` is the user's error, its class, fields and own `cause` kept. */
export const TaskError = define("TaskError", "TASK_FAILED", "task");
export const TaskCancelledError = define("TaskCancelledError", "TASK_CANCELLED", "cancelled");
export const TaskTimeoutError = define("TaskTimeoutError", "TASK_TIMEOUT", "unavailable");
export const GetTimeoutError = define("GetTimeoutError", "GET_TIMEOUT", "unavailable");
export const WorkerDiedError = define("WorkerDiedError", "WORKER_DIED", "lost");
export const OutOfMemoryError = define("OutOfMemoryError", "OUT_OF_MEMORY", "exhausted");
export const ActorDiedError = define("ActorDiedError", "ACTOR_DIED", "lost");
export const ActorUnavailableError = define("ActorUnavailableError", "ACTOR_UNAVAILABLE", "unavailable");
export const PendingCallsExceededError = define("PendingCallsExceededError", "PENDING_CALLS", "exhausted");
export const ObjectLostError = define("ObjectLostError", "OBJECT_LOST", "lost");
export const OwnerDiedError = define("OwnerDiedError", "OWNER_DIED", "lost");
export const ObjectStoreFullError = define("ObjectStoreFullError", "STORE_FULL", "exhausted");
export const OutOfDiskError = define("OutOfDiskError", "DISK_FULL", "exhausted");
/** A value or captured variable cannot be shipped; the message holds its path, its type and what to do. */
export const SerializationError = define("SerializationError", "NOT_SERIALIZABLE", "invalid");
export const DeadlockError = define("DeadlockError", "DEADLOCK", "invalid");
export const PendingTasksExceededError = define("PendingTasksExceededError", "PENDING_TASKS", "exhausted");
export const InfeasibleError = define("InfeasibleError", "INFEASIBLE", "invalid");
export const InvalidOptionError = define("InvalidOptionError", "INVALID_OPTION", "invalid");
export const NameTakenError = define("NameTakenError", "NAME_TAKEN", "invalid");
export const ActorNotFoundError = define("ActorNotFoundError", "ACTOR_NOT_FOUND", "invalid");
export const NodeNotFoundError = define("NodeNotFoundError", "NODE_NOT_FOUND", "invalid");
export const PlacementGroupRemovedError = define("PlacementGroupRemovedError", "GROUP_REMOVED", "lost");
export const RefReleasedError = define("RefReleasedError", "REF_RELEASED", "invalid");
export const NotInitializedError = define("NotInitializedError", "NOT_INITIALIZED", "invalid");
export const AlreadyInitializedError = define("AlreadyInitializedError", "ALREADY_INITIALIZED", "invalid");
export const ConnectionLostError = define("ConnectionLostError", "CONNECTION_LOST", "unavailable");
export const VersionMismatchError = define("VersionMismatchError", "VERSION_MISMATCH", "invalid");
export const AuthenticationError = define("AuthenticationError", "AUTHENTICATION", "invalid");
export const QueueFullError = define("QueueFullError", "QUEUE_FULL", "exhausted");
export const QueueEmptyError = define("QueueEmptyError", "QUEUE_EMPTY", "unavailable");
/** A state that our own code promised never to reach. */
export const InternalError = define("InternalError", "INTERNAL", "internal");

export type TaskError = InstanceType<typeof TaskError>;
export type SerializationError = InstanceType<typeof SerializationError>;

/** Builds the error class that `code` names; how errors cross processes. Unknown codes give a plain MobulaError. */
export function errorFromCode(code: string, kind: ErrorKind, message: string, options?: ErrorOptions): MobulaError {
  const known = byCode.get(code);
  return known ? new known(message, options) : new MobulaError(code, kind, message, options);
}

/** True for an error of Mobula with this code, whichever copy of the package made it. */
export function isError(error: unknown, code: string): error is MobulaError {
  return error instanceof Error && (error as { code?: unknown }).code === code && "kind" in error;
}
