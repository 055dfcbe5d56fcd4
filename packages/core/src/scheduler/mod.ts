export { type GpuHolding, LeaseEngine, type LeaseEngineOptions } from "./lease-engine.ts";
export type { SchedulerCommand, SchedulerEvent, StopReason } from "./protocol.ts";
export { runtimeEnvKey } from "./protocol.ts";
export { ResourcePool } from "./resource-pool.ts";
