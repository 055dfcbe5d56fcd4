/** What a run has left behind: measured while it rests, and once more when it is over. */
import { existsSync, readdirSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { listActors, nodes } from "mobula";
import { descendants, openFiles, ownBytes } from "./processes.ts";

/** An idle node gives back what V8 keeps after a burst, every half a minute at most. */
export const SETTLED_MS = 35_000;
/** Idle processes give back what they held within a second or so; a busy machine may take longer. */
const REST_MS_MAX = 20_000;
/** Heaps grow until their next collection; a leak grows on. */
const GROWTH_SHARE_MAX = 0.3;
const GROWTH_BYTES_MIN = 30 * 2 ** 20;
const OPEN_FILES_GROWTH_MAX = 5;
/** Idle workers may wait for their next use: each has two pipes, two connections and a log file with the node. */
const FILES_PER_WORKER = 5;
/** For each worker that has handed tasks over, the node keeps a connection to each worker that ran one of them. */
const handoverFiles = (workers: number): number => workers ** 2;

export interface Rest {
  readonly driverBytes: number;
  readonly nodeBytes: number;
  readonly driverFiles: number;
  readonly nodeFiles: number;
  readonly workers: number;
}

/**
 * Waits until nothing is held any more, and measures.
 *
 * @param settleMs how long nothing happens before it measures.
 * @throws Error that says what is still there.
 */
export async function rest(settleMs: number): Promise<Rest> {
  const deadline = performance.now() + REST_MS_MAX;
  for (;;) {
    collect();
    const held = await whatIsHeld();
    if (held === undefined) break;
    if (performance.now() > deadline) throw new Error(`${held}, ${REST_MS_MAX / 1000} s after the last use`);
    await delay(100);
  }
  await delay(settleMs);
  // What finalisers let go of is garbage for the next collection.
  for (let round = 0; round < 3; round++) {
    collect();
    await delay(20);
  }
  const processes = descendants();
  const node = processes.find(({ program }) => program === "node");
  if (!node) throw new Error("there is no node process");
  const [{ events } = { events: { keptBytes: 0 } }] = await nodes();
  return {
    driverBytes: process.memoryUsage().heapUsed,
    // Events are kept on purpose, up to a bound that a run of minutes does not reach.
    nodeBytes: ownBytes(node.pid) - events.keptBytes,
    driverFiles: openFiles(process.pid),
    nodeFiles: openFiles(node.pid),
    workers: processes.filter(({ program }) => program === "worker").length,
  };
}

async function whatIsHeld(): Promise<string | undefined> {
  const actors = (await listActors({ allNamespaces: true })).filter(({ state }) => state !== "dead");
  if (actors.length > 0) return `${actors.length} actors live (${actors[0]?.className} is ${actors[0]?.state})`;
  const bytes = (await nodes()).reduce(
    (total, { objectStore }) => total + objectStore.usedBytes + objectStore.spilledBytes,
    0,
  );
  return bytes > 0 ? `the object store holds ${bytes} bytes` : undefined;
}

/** @returns sentences; none when nothing has grown. */
export function growth(before: Rest, after: Rest): string[] {
  const found: string[] = [];
  for (const who of ["driver", "node"] as const) {
    const [from, to] = [before[`${who}Bytes`], after[`${who}Bytes`]];
    if (to - from > Math.max(GROWTH_BYTES_MIN, from * GROWTH_SHARE_MAX)) {
      found.push(`the ${who}'s memory grew from ${mib(from)} to ${mib(to)}`);
    }
    const files = after[`${who}Files`] - before[`${who}Files`];
    const ofWorkers = Math.max(0, after.workers - before.workers) * FILES_PER_WORKER;
    const ofHandovers = who === "node" ? handoverFiles(after.workers) : 0;
    if (files > OPEN_FILES_GROWTH_MAX + ofWorkers + ofHandovers) found.push(`the ${who} has ${files} more open files`);
  }
  return found;
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** Of a run: its processes, its folder, and shared memory that is named after its node. */
export interface Traces {
  readonly folder: string;
  readonly nodePid: number;
}

export function tracesOf(address: string): Traces {
  const node = descendants().find(({ program }) => program === "node");
  if (!node) throw new Error("there is no node process");
  // The address of an embedded node is its socket in the folder of the run.
  return { folder: dirname(address), nodePid: node.pid };
}

/** What of it is still there. */
export function left({ folder, nodePid }: Traces): string[] {
  return [
    ...descendants().map(({ pid, program }) => `process ${pid} (${program})`),
    ...(existsSync(folder) ? [folder] : []),
    ...readdirSync("/dev/shm").filter((name) => name.startsWith("mobula") && name.includes(`-${nodePid}-`)),
  ];
}

let gc: (() => void) | undefined;

function collect(): void {
  if (!gc) {
    setFlagsFromString("--expose-gc");
    gc = runInNewContext("gc") as () => void; // Defined by the flag.
  }
  gc();
}
