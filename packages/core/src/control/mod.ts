export { createControl } from "./control.ts";
export {
  type ActorWorkerRequest,
  CONTROL_MESSAGES,
  CONTROL_QUERIES,
  type Control,
  type ControlEffects,
  type ControlMessage,
  type ControlOptions,
  type ControlStats,
  type JobInfo,
  type JoinedProcess,
} from "./interface.ts";
export type { CommitOutcome, StateChange, StateEntry, StateStore } from "./kv.ts";
export { persistThrough } from "./kv-rules.ts";
export { createMemoryState } from "./state-memory.ts";
export { openSqliteState, type SqliteStateOptions } from "./state-sqlite.ts";
