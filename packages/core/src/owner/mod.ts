export type { ActorCreation } from "./actors.ts";
export { guardKey, OwnerClaims, WorkerClaims } from "./claims.ts";
export type { OwnerEffects, ProgramEffects } from "./effects.ts";
export { OwnerEngine } from "./engine.ts";
export { keepBytes } from "./kept-bytes.ts";
export type { ProgramValue } from "./objects.ts";
export type {
  MethodTemplate,
  NestedRef,
  Template,
  WorkerLink,
} from "./records.ts";
export { OwnerRuntime } from "./runtime.ts";
