export { describeResources } from "./explain.ts";
export { LeaseEngine, type LeaseEngineOptions } from "./lease-engine.ts";
export { runtimeEnvKey, type SchedulerCommand, type SchedulerEvent, type StopReason } from "./protocol.ts";
export { type Allocation, type GpuShare, ResourcePool } from "./resource-pool.ts";
