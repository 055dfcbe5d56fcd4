export { ACTOR_PREFIXES, JOB_PREFIX } from "./actor-state.ts";
export { createControl } from "./control.ts";
export { CONTROL_HOME, type Home, holderOf } from "./homes.ts";
export {
  type ActorWorkerRequest,
  CONTROL_MESSAGES,
  CONTROL_QUERIES,
  type Control,
  type ControlEffects,
  type ControlMessage,
  type ControlOptions,
  type JobInfo,
  type ObjectHolds,
} from "./interface.ts";
export type { StateStore } from "./kv.ts";
export { isAboutKv, KvQuestions } from "./kv-questions.ts";
export { persistThrough } from "./kv-rules.ts";
export { campaign, type Leadership } from "./leadership.ts";
export { hasSecrets, isReplicated, openReplicatedLog, withoutSecrets } from "./log-location.ts";
export { createMembers, type Member, type Members, type MembersEffects, NODE_PREFIX, nodeInfo } from "./members.ts";
export type { ReplicatedLog } from "./replicated-log.ts";
export { createRouter, type Router } from "./router.ts";
export { backupOf, checkBackup, importState, writeBackup } from "./state-backup.ts";
export { openLogState } from "./state-log.ts";
export { createMemoryState } from "./state-memory.ts";
export { entriesHeld, prepareState, stateId } from "./state-schema.ts";
export { openSqliteState } from "./state-sqlite.ts";
