/** What this machine offers, with what the configuration says instead. */
import { availableParallelism } from "node:os";
import { InvalidOptionError } from "../base/errors.ts";
import { type Resources, type ResourceUnits, toUnits } from "../base/resources.ts";
import type { NodeConfig } from "./config.ts";
import { findGpus } from "./gpu.ts";
import { MemorySampler } from "./memory-sample.ts";

/** Part of the memory that the object store may use unless it is told otherwise. */
const STORE_PART = 0.3;

export interface Machine {
  readonly total: ResourceUnits;
  readonly gpuIds: readonly string[];
  readonly objectStoreBytes: number;
}

export function describeMachine(
  config: Pick<NodeConfig, "resources" | "objectStoreBytes">,
  log: (message: string) => void,
  /** Around all that the node runs, see worker-limits.ts. */
  cgroup?: string,
): Machine {
  const { resources } = config;
  for (const [name, amount] of Object.entries(resources)) {
    if (!Number.isFinite(amount) || amount < 0) {
      throw new InvalidOptionError(`resources.${name} is ${amount}; it must be a number of at least 0`);
    }
  }
  const gpuIds = findGpus({ declared: resources.gpu, env: process.env, log });
  const memoryBytes = new MemorySampler(cgroup).sample().totalBytes;
  const objectStoreBytes = config.objectStoreBytes ?? Math.floor(memoryBytes * STORE_PART);
  const total: Resources = {
    cpu: availableParallelism(),
    memory: Math.max(0, memoryBytes - objectStoreBytes),
    ...resources,
    gpu: gpuIds.length,
  };
  return { total: toUnits(total), gpuIds, objectStoreBytes };
}
