export { type ActorCreation, ActorTable, actorKey } from "./actors.ts";
export { guardKey, type MapClaims, OwnerClaims, WorkerClaims } from "./claims.ts";
export type { OwnerEffects, ProgramEffects, TaskOutcome } from "./effects.ts";
export { OwnerEngine } from "./engine.ts";
export { keepBytes } from "./kept-bytes.ts";
export type { ProgramValue } from "./objects.ts";
export type {
  ClaimTable,
  MethodTemplate,
  NestedRef,
  Template,
  WorkerLink,
} from "./records.ts";
export { TaskRecord } from "./records.ts";
export { OwnerRuntime, type OwnerRuntimeOptions } from "./runtime.ts";
