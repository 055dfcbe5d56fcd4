/** Where a load runs: this machine, or a cluster on it. */
import { existsSync, readdirSync } from "node:fs";
import { dirname } from "node:path";
import { init, nodes, shutdown } from "mobula";
import type { Faults } from "./faults.ts";
import { descendants, isReady, openFiles, ownBytes, type Used } from "./processes.ts";

const STORE_BYTES = 128 * 2 ** 20;

export interface Place {
  /** Which may be killed at this moment. */
  workers(): readonly number[];
  /** More than dying workers. */
  readonly faults?: Faults;
  /** What each process that lasts uses. */
  used(): Promise<ReadonlyMap<string, Used>>;
  /** What of it is not as it should be while it rests. */
  unrest(): Promise<string | undefined>;
  /** How late the head's loop was at most in the last minute or two, in milliseconds; undefined while there is no head. */
  readonly headLag?: () => Promise<number | undefined>;
  stop(): Promise<void>;
  /** Where its state service can be opened, if it has one. */
  readonly dashboardUrl?: string | undefined;
  /** What of it is still there. */
  left(): readonly string[];
}

export async function startMachine(): Promise<Place> {
  const { address, dashboardUrl } = await init({ objectStoreBytes: STORE_BYTES });
  const node = descendants().find(({ program }) => program === "node");
  if (!node) throw new Error("there is no node process");
  const workers = (): number[] =>
    descendants()
      .filter(({ program }) => program === "worker")
      .map(({ pid }) => pid);
  return {
    dashboardUrl,
    // Three that die in a row before they are ready are taken for workers that cannot start, and rightly.
    workers: () => workers().filter(isReady),
    used: async () => {
      const [{ events } = { events: { keptBytes: 0 } }] = await nodes();
      // Events are kept on purpose, up to a bound that a run of minutes does not reach.
      const bytes = ownBytes(node.pid) - events.keptBytes;
      const files = openFiles(node.pid);
      return new Map([
        ["driver", driverUse()],
        ["node", { bytes, files, workers: workers().length }],
      ]);
    },
    unrest: async () => undefined,
    stop: () => shutdown(),
    left: () => [
      ...processesLeft(),
      // The address of an embedded node is its socket in the folder of the run.
      ...(existsSync(dirname(address)) ? [dirname(address)] : []),
      ...sharedMemoryOf([node.pid]),
    ],
  };
}

export const driverUse = (): Used => ({
  bytes: process.memoryUsage().heapUsed,
  files: openFiles(process.pid),
  workers: 0,
});

export const processesLeft = (): string[] => descendants().map(({ pid, program }) => `process ${pid} (${program})`);

/** It is named after the process of its node. */
export const sharedMemoryOf = (nodePids: readonly number[]): string[] =>
  readdirSync("/dev/shm").filter(
    (name) => name.startsWith("mobula") && nodePids.some((pid) => name.includes(`-${pid}-`)),
  );
