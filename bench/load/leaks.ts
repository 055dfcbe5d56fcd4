/** What a run has left behind: measured while it rests, and once more when it is over. */
import { setTimeout as delay } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { listActors, nodes } from "mobula";
import type { Place } from "./place.ts";
import type { Used } from "./processes.ts";

/** An idle node gives back what V8 keeps after a burst, every half a minute at most. */
export const SETTLED_MS = 35_000;
/** Idle processes give back what they held within a second or so; a busy machine may take longer. */
const REST_MS_MAX = 20_000;
/** Heaps grow until their next collection; a leak grows on. */
const GROWTH_SHARE_MAX = 0.3;
const GROWTH_BYTES_MIN = 30 * 2 ** 20;
const OPEN_FILES_GROWTH_MAX = 5;
/** A thread that helps with large copies starts with the first and ends 10 s after the last: its loop and two pipes. */
const COPY_THREAD_FILES = 5;
/** Idle workers may wait for their next use: each has two pipes, two connections and a log file with the node. */
const FILES_PER_WORKER = 5;
/** For each worker that has handed tasks over, the node keeps a connection to each worker that ran one of them. */
const handoverFiles = (workers: number): number => workers ** 2;

/** What each process uses while nothing happens. */
export type Rest = ReadonlyMap<string, Used>;

/**
 * Waits until nothing is held any more, and measures.
 *
 * @param settleMs how long nothing happens before it measures.
 * @throws Error that says what is still there.
 */
export async function rest(place: Place, settleMs: number): Promise<Rest> {
  const deadline = performance.now() + REST_MS_MAX;
  for (;;) {
    collect();
    const held = (await place.unrest()) ?? (await whatIsHeld());
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
  return await place.used();
}

async function whatIsHeld(): Promise<string | undefined> {
  const actors = (await listActors({ allNamespaces: true })).filter(({ state }) => state !== "dead");
  if (actors.length > 0) return `${actors.length} actors live (${actors[0]?.className} is ${actors[0]?.state})`;
  for (const { name, nodeId, state, objectStore } of await nodes()) {
    const bytes = objectStore.usedBytes + objectStore.spilledBytes;
    if (state !== "dead" && bytes > 0) return `the object store of ${name ?? nodeId} holds ${bytes} bytes`;
  }
  return undefined;
}

/** @returns sentences; none when nothing has grown. */
export function growth(before: Rest, after: Rest): string[] {
  const found: string[] = [];
  // Who gives them tasks has a connection to each.
  const workers = Math.max(0, ...[...after.values()].map((used) => used.workers));
  for (const [who, to] of after) {
    const from = before.get(who);
    if (!from) continue;
    if (to.bytes - from.bytes > Math.max(GROWTH_BYTES_MIN, from.bytes * GROWTH_SHARE_MAX)) {
      found.push(`the ${who}'s memory grew from ${mib(from.bytes)} to ${mib(to.bytes)}`);
    }
    const files = to.files - from.files;
    const ofWorkers = Math.max(0, to.workers - from.workers) * FILES_PER_WORKER + handoverFiles(to.workers);
    if (files > OPEN_FILES_GROWTH_MAX + COPY_THREAD_FILES + workers + ofWorkers)
      found.push(`the ${who} has ${files} more open files`);
  }
  return found;
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

let gc: (() => void) | undefined;

function collect(): void {
  if (!gc) {
    setFlagsFromString("--expose-gc");
    gc = runInNewContext("gc") as () => void; // Defined by the flag.
  }
  gc();
}
