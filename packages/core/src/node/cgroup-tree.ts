/**
 * The cgroups of one node, below a place that it was given:
 *
 *     <place>/mobula-node/                     the node, its head, whoever has started them: no limits
 *     <place>/mobula-workers-<pid>-<start>/    of the node whose process that is; several nodes can share a place
 *       worker-<id>/                           one for each worker
 *       job-<id>/worker-<id>/                  of jobs that have a limit of their own
 *
 * All of it is removed with the node; what one leaves that was killed, whoever tidies up after it, or the next node there.
 */
import { closeSync, constants, mkdirSync, openSync, readdirSync, rmdirSync, writeSync } from "node:fs";
import { join } from "node:path";
import { monotonicMs } from "../base/clock.ts";
import { type CgroupPlace, type Controller, NODE_GROUP, processesIn, readText } from "./cgroup-place.ts";
import { procStat } from "./proc-stat.ts";

const WORKERS_PREFIX = "mobula-workers-";
/** Processes that start meanwhile are in it again. */
const MOVES_MAX = 20;
/** For processes that were killed to be gone. */
const REMOVE_STEP_MS = 5;
const REMOVE_MS = 500;

/** Makes `<place>/mobula-node` and moves all that is in the place there, so that it can have limits; then the node's own folder. */
export function enter({ folder, controllers }: CgroupPlace): string {
  for (const name of workersFolders(folder)) if (!ownerLives(name)) removeGroup(join(folder, name));
  const workers = join(folder, `${WORKERS_PREFIX}${process.pid}-${startOf(process.pid)}`);
  try {
    makeGroup(join(folder, NODE_GROUP));
    moveAll(folder, join(folder, NODE_GROUP));
    enable(folder, controllers);
    makeGroup(workers);
    enable(workers, controllers);
    return workers;
  } catch (error) {
    leave(workers);
    throw error;
  }
}

/**
 * Removes a node's folder with all that is in it, processes included, and when it was the last one the place is as before.
 * Safe to repeat. @param keepsPlace the node begins anew in it.
 */
export function leave(workers: string, keepsPlace = false): void {
  removeGroup(workers);
  const folder = join(workers, "..");
  const node = join(folder, NODE_GROUP);
  if (keepsPlace || workersFolders(folder).length > 0 || readText(join(node, "cgroup.procs")) === undefined) return;
  const enabled = (readText(join(folder, "cgroup.subtree_control")) ?? "").split(" ").filter(Boolean);
  try {
    for (const name of enabled) write(join(folder, "cgroup.subtree_control"), `-${name}`);
    moveAll(node, folder);
    rmdirSync(node);
  } catch (error) {
    // Another node that has just begun uses it; or the place is gone.
    if (!["EBUSY", "ENOENT", "ENODEV", "ENOTEMPTY"].includes(codeOf(error))) throw error;
  }
}

export function makeGroup(folder: string): void {
  try {
    mkdirSync(folder);
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
  }
}

export function enable(folder: string, controllers: readonly Controller[]): void {
  write(join(folder, "cgroup.subtree_control"), controllers.map((name) => `+${name}`).join(" "));
}

/** Ends what is left in it and removes it, with those below it. What cannot end in time stays. */
export function removeGroup(folder: string): void {
  for (const deadline = monotonicMs() + REMOVE_MS; !tryRemove(folder); ) {
    killAll(folder);
    if (monotonicMs() > deadline) return;
    // Called at the very end of a process, or before it does anything else.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, REMOVE_STEP_MS);
  }
}

/** False while processes are in it. */
export function tryRemove(folder: string): boolean {
  for (const name of foldersIn(folder)) if (!tryRemove(join(folder, name))) return false;
  try {
    rmdirSync(folder);
    return true;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return true;
    if (codeOf(error) === "EBUSY") return false;
    throw error;
  }
}

/** Of what it holds, and of all below it. */
export function killAll(folder: string): void {
  try {
    write(join(folder, "cgroup.kill"), "1");
  } catch (error) {
    if (!["ENOENT", "ENODEV", "EACCES"].includes(codeOf(error))) throw error;
    // Kernels before 5.14 have no such file.
    for (const name of foldersIn(folder)) killAll(join(folder, name));
    for (const pid of processesIn(folder)) {
      if (pid > 1 && pid !== process.pid) endOne(pid);
    }
  }
}

/** False when the process has ended. */
export function move(pid: number, folder: string): boolean {
  try {
    write(join(folder, "cgroup.procs"), String(pid));
    return true;
  } catch (error) {
    if (codeOf(error) === "ESRCH") return false;
    throw error;
  }
}

/** One write of the kernel's file, which has to be there. */
export function write(path: string, text: string): void {
  const fd = openSync(path, constants.O_WRONLY | constants.O_TRUNC);
  try {
    writeSync(fd, text);
  } finally {
    closeSync(fd);
  }
}

export const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? "";

function moveAll(from: string, to: string): void {
  for (let round = 0; round < MOVES_MAX; round++) {
    const pids = processesIn(from);
    if (pids.length === 0) return;
    for (const pid of pids) move(pid, to);
  }
}

function endOne(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if (codeOf(error) !== "ESRCH") throw error;
  }
}

const startOf = (pid: number): string | undefined => procStat(pid)?.[19];

function ownerLives(name: string): boolean {
  const [pid, start] = name.slice(WORKERS_PREFIX.length).split("-");
  return start !== undefined && startOf(Number(pid)) === start && procStat(Number(pid))?.[0] !== "Z";
}

const workersFolders = (folder: string): string[] =>
  foldersIn(folder).filter((name) => name.startsWith(WORKERS_PREFIX));

function foldersIn(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return [];
    throw error;
  }
}
