export { HOOKS, type HostSettings, packHostSettings } from "./actor-host.ts";
export { mapClaims, runWorker, type WorkerProcessOptions } from "./worker.ts";
