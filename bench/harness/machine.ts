import { readFileSync, statfsSync } from "node:fs";
import { availableParallelism, cpus, release, totalmem } from "node:os";

export interface Machine {
  readonly cpu: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly os: string;
  readonly node: string;
  /** Runnable processes averaged over a minute, before the run: above 1 the figures are doubtful. */
  readonly loadBefore: number;
}

export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    os: `${process.platform} ${release()}`,
    node: process.version,
    loadBefore: Number(readFileSync("/proc/loadavg", "utf8").split(" ")[0]),
  };
}

/** The same store for every side: 4 GiB, or what a small machine can spare. */
export function storeBytes(): number {
  const shm = statfsSync("/dev/shm");
  return Math.floor(Math.min(4 * 2 ** 30, totalmem() * 0.3, shm.bavail * shm.bsize * 0.8));
}
