export type { ActorCreation } from "./actors.ts";
export { type Awaited, awaitedFor, missingAmong } from "./awaited.ts";
export { guardBase, guardKeyFrom, interruptTask, OwnerClaims, WorkerClaims } from "./claims.ts";
export { Copies } from "./copies.ts";
export type { OwnerEffects, ProgramEffects } from "./effects.ts";
export { OwnerEngine } from "./engine.ts";
export { adopt, cancelUnheld, type Handover } from "./handover.ts";
export type { InheritedLease } from "./inheritance.ts";
export { keepBytes } from "./kept-bytes.ts";
export { DEPUTY_SEQS_FROM, type ExpectedValue, type ProgramValue } from "./objects.ts";
export { describeProcess } from "./process-state.ts";
export type {
  MethodTemplate,
  NestedRef,
  TaskOrigin,
  Template,
  WorkerLink,
} from "./records.ts";
export { OwnerRuntime } from "./runtime.ts";
export {
  LOG_HEADER_BYTES,
  readLog,
  SubmissionLog,
  saysWhoDelivers,
  type TakenLog,
  WatchedLog,
} from "./submission-log.ts";
