export { HOOKS, type HostSettings, packHostSettings } from "./actor-host.ts";
export { installOutputTags, tagOutput } from "./output.ts";
export { mapClaims, runWorker, type WorkerProcessOptions } from "./worker.ts";
