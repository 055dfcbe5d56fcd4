export { ActorHost, HOOKS } from "./actor-host.ts";
export { OwnerConnection } from "./connection.ts";
export { type HostSettings, packHostSettings } from "./hosted-actor.ts";
export { keepWatch } from "./interrupt-watch.ts";
export { installOutputTags, tagOutput } from "./output.ts";
export { failExecution, type Surroundings } from "./running.ts";
export { TaskRunner } from "./task-runner.ts";
export { Waits } from "./waits.ts";
export { runWorker } from "./worker.ts";
