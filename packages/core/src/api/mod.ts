/** What programs import. */
import type { Client } from "../client/mod.ts";
import { clusterResources, runtimeContext } from "./actors.ts";
import { installCore } from "./core-port.ts";
import { findCurrent, setCurrent } from "./current.ts";
import { cancel, get, isObjectRef, kill, put, release, wait } from "./objects.ts";
import { remote } from "./remote.ts";

installCore({
  remote,
  get,
  put,
  wait,
  cancel,
  release,
  kill,
  isObjectRef,
  runtimeContext,
  clusterResources,
  isDriverProcess: () => findCurrent()?.isDriver ?? true,
  tellBar: (bar) => findCurrent()?.client.tellBar(bar),
});

/** @internal Called by a worker's program once its client exists. */
export function useWorkerClient(client: Client): void {
  setCurrent({ client, isDriver: false });
}

export * from "../base/errors.ts";
export type { Problem as SerializationProblem } from "../codec/mod.ts";
export { ActorPool, type GetNextOptions } from "./actor-pool.ts";
export {
  availableResources,
  clusterResources,
  exitActor,
  getActor,
  listActors,
  nodes,
  runtimeContext,
} from "./actors.ts";
export { asCompleted } from "./as-completed.ts";
export { onRestart, onShutdown, onStart } from "./hooks.ts";
export { init, isInitialized, shutdown } from "./init.ts";
export {
  checkJobEnvironment,
  JobEnvironment,
  JobSupervisor,
  readJobOutput,
  removeJobOutput,
} from "./job-supervisor.ts";
export { type Items, type MapFunction, type MapOptions, type MapProgress, map } from "./map.ts";
export { cancel, create, explain, get, isObjectRef, kill, put, putAsync, release, wait } from "./objects.ts";
export { getPlacementGroup, PlacementGroupHandle, placementGroup } from "./placement.ts";
export { type ProgressBar, progressBar } from "./progress.ts";
export { Queue, QueueActor, type QueueOptions, type QueueWaitOptions } from "./queue.ts";
export { remote } from "./remote.ts";
export { inspectSerializability, registerSerializer, type SerializabilityReport } from "./serializers.ts";
export type * from "./types.ts";
