/**
 * The folder of one node's run: sockets, logs, spilled objects. It lies in a folder of the user's own (mode 0700), is
 * removed at the end of an orderly run, and otherwise by whoever notices: the driver whose node died, or the next run.
 *
 * `owner.json` names the process that the run belongs to, by pid and start time, and the id of its node. `pids` lists the node's workers, a
 * line each, so that those of a node that was killed can be ended too.
 */

import {
  appendFileSync,
  chmodSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { basename, join } from "node:path";
import { InvalidOptionError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import { randomBytes } from "../base/random.ts";
import { leave } from "./cgroup-tree.ts";
import { procStat } from "./proc-stat.ts";

const PREFIX = "session-";
const OWNER_FILE = "owner.json";
const PIDS_FILE = "pids";
const LOG_FOLDER = "logs";
/** Of the file that a process writes to which outlives its launcher. */
const STDERR_SUFFIX = ".stderr";
/** The logs of so many standing processes that ended by themselves are kept. */
const BROKEN_KEPT = 5;
const TOKEN_FILE = "cluster-token";
const DASHBOARD_FILE = "dashboard.json";
const CGROUP_FILE = "cgroup";
/** The kernel's limit for the path of a socket is 107 bytes on Linux and 103 on macOS. */
const SOCKET_PATH_BYTES_MAX = 103;
/** Longest name of a socket in a session's folder, with the slash: "/w-" and a worker's id. */
const SOCKET_NAME_BYTES = 19;
/** A folder without an owner may be one that is just being made. */
const NAMELESS_GRACE_MS = 60_000;
const PROBE_TIMEOUT_MS = 500;

export const socketPathOf = (sessionDir: string): string => join(sessionDir, "node.sock");
export const logFolderOf = (sessionDir: string): string => join(sessionDir, LOG_FOLDER);

/** This user's folder for runs, made if need be: the first of the usual temporary folders that can be written. */
export function baseFolder(candidates: readonly string[] = [tmpdir(), "/tmp", "/dev/shm"]): string {
  const problems: string[] = [];
  for (const parent of new Set(candidates)) {
    const path = join(parent, `mobula-${userInfo().uid}`);
    const problem = openBase(path);
    if (problem === undefined) return path;
    problems.push(`${path}: ${problem}`);
  }
  throw new InvalidOptionError(
    `no folder for temporary files can be used (${problems.join("; ")}); set TMPDIR to a writable folder with a short path`,
  );
}

function openBase(path: string): string | undefined {
  if (Buffer.byteLength(path) + PREFIX.length + 9 + SOCKET_NAME_BYTES > SOCKET_PATH_BYTES_MAX) {
    return "the path is too long for sockets";
  }
  try {
    makeOnce(path);
    const status = lstatSync(path);
    if (!status.isDirectory()) return "it is not a folder";
    // Somebody else's folder under our name could be used to read the token.
    if (status.uid !== userInfo().uid) return `it belongs to user ${status.uid}`;
    if ((status.mode & 0o077) !== 0) chmodSync(path, 0o700);
    // What the mode says is not what a read-only file system allows.
    const probe = join(path, `probe-${randomBytes(4).toString("hex")}`);
    mkdirSync(probe);
    rmSync(probe, { recursive: true });
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Not `recursive`, which never returns where the parent exists and yet nothing can be made in it, as in /proc. */
function makeOnce(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

/** Makes a session's folder, owned by this process until {@link claimSession}. */
export function createSession(base: string): string {
  const path = join(base, PREFIX + randomBytes(4).toString("hex"));
  mkdirSync(path, { mode: 0o700 });
  mkdirSync(logFolderOf(path), { mode: 0o700 });
  claimSession(path);
  return path;
}

/** The file for what a process writes that outlives its launcher. */
export const openStderr = (sessionDir: string, name: string): number =>
  openSync(join(logFolderOf(sessionDir), name + STDERR_SUFFIX), "a", 0o600);

/** From now on the run lives as long as this process. @param nodeId of the node that it is. */
export function claimSession(path: string, nodeId?: NodeId): void {
  const owner = { pid: process.pid, started: processStart(process.pid) ?? null, nodeId };
  const file = join(path, OWNER_FILE);
  // Renamed into place: whoever sweeps at this moment reads the old owner or the new one.
  writeFileSync(`${file}.new`, JSON.stringify(owner), { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/** A state service of this user on this machine. */
export interface DashboardPlace {
  readonly url: string;
  readonly tokenFile: string;
  /** Of a program's own node, which ends with the program. */
  readonly isEmbedded: boolean;
}

export interface FoundDashboard extends DashboardPlace {
  readonly sessionDir: string;
  readonly owner: Owner;
}

/** Where the state service of this run answers over HTTP, for the command line. */
export function keepDashboard(path: string, place: DashboardPlace): void {
  writeFileSync(join(path, DASHBOARD_FILE), JSON.stringify(place), { mode: 0o600 });
}

/** Those of runs that live; the newest first. */
export function dashboardsIn(base: string): readonly FoundDashboard[] {
  const files = newestFirst(base).filter((path) => basename(path).startsWith(PREFIX));
  return files.flatMap((path) => {
    const [line] = readLines(join(path, DASHBOARD_FILE));
    const owner = readOwner(path);
    const isLiving =
      owner !== undefined && (owner.started ?? undefined) === processStart(owner.pid) && isAlive(owner.pid);
    // Written by keepDashboard.
    return line !== undefined && isLiving ? { ...(JSON.parse(line) as DashboardPlace), sessionDir: path, owner } : [];
  });
}

/** Where a node that was given its cluster's token as text keeps it, for itself and its processes. */
export function keepToken(path: string, token: string): string {
  const file = join(path, TOKEN_FILE);
  writeFileSync(file, `${token}\n`, { mode: 0o600 });
  return file;
}

/** The folder of its workers' cgroups, so that those of a node that was killed can be removed too. */
export function keepCgroup(path: string, folder: string): void {
  writeFileSync(join(path, CGROUP_FILE), folder, { mode: 0o600 });
}

export function recordWorker(path: string, pid: number): void {
  appendFileSync(join(path, PIDS_FILE), `${pid} ${processStart(pid) ?? "-"}\n`, { mode: 0o600 });
}

/** The workers of a run that live. */
export function workersOf(path: string): number[] {
  return readLines(join(path, PIDS_FILE)).flatMap((line) => {
    const [pid, started] = line.split(" ");
    const now = processStart(Number(pid));
    return now !== undefined && now === started ? [Number(pid)] : [];
  });
}

/** Which node the run is now: it may have begun anew since it was started. */
export const nodeOf = (path: string): NodeId | undefined => readOwner(path)?.nodeId;

/** Kills what is left of a run whose node is dead, and removes its folder. Safe to repeat, also at the same time. */
export function removeSession(path: string): void {
  killRest(path);
  for (const folder of readLines(join(path, CGROUP_FILE))) leave(folder);
  rmSync(path, { recursive: true, force: true, maxRetries: 3 });
}

/** The same for a run that nobody has ended: what a process of its own wrote last is kept, as nobody else has read it. */
export function removeBrokenSession(path: string): void {
  const logs = logFolderOf(path);
  if (namesIn(logs).some((name) => name.endsWith(STDERR_SUFFIX))) {
    const kept = brokenLogsOf(join(path, ".."));
    mkdirSync(kept, { recursive: true, mode: 0o700 });
    move(logs, join(kept, basename(path)));
    const oldest = newestFirst(kept).slice(BROKEN_KEPT);
    for (const folder of oldest) rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  }
  removeSession(path);
}

/** Where the logs of the last standing process are that ended by itself, or was killed; undefined when there was none. */
export const lastBrokenLogs = (base: string): string | undefined => newestFirst(brokenLogsOf(base))[0];

const brokenLogsOf = (base: string): string => join(base, "broken");

function newestFirst(folder: string): string[] {
  const aged = namesIn(folder).flatMap((name) => {
    const path = join(folder, name);
    const status = lstatSync(path, { throwIfNoEntry: false });
    return status ? [{ path, changedMs: status.ctimeMs }] : [];
  });
  return aged.sort((a, b) => b.changedMs - a.changedMs).map(({ path }) => path);
}

/** Somebody else may have moved it at the same time. */
function move(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (!["ENOENT", "ENOTEMPTY", "EEXIST"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}

/** The same for this process' own run, which goes on: its logs, its claim and its token stay. */
export function emptySession(path: string): void {
  killRest(path);
  for (const name of readdirSync(path)) {
    if ([OWNER_FILE, LOG_FOLDER, TOKEN_FILE].includes(name)) continue;
    rmSync(join(path, name), { recursive: true, force: true, maxRetries: 3 });
  }
}

function killRest(path: string): void {
  const workers = new Map<number, string | undefined>();
  for (const line of readLines(join(path, PIDS_FILE))) {
    const [pid, started] = line.split(" ");
    workers.set(Number(pid), started);
  }
  for (const [pid, started] of workers) killIfSame(pid, started);
  if (workers.size > 0) killOrphans(workers);
}

function killIfSame(pid: number, started: string | undefined): void {
  if (!Number.isInteger(pid) || pid <= 1 || started === undefined) return;
  const now = processStart(pid);
  // Without start times (no /proc) a pid may be somebody else's by now, so nothing is killed.
  if (now === undefined || now !== started) return;
  for (const target of [-pid, pid]) killOne(target);
}

/**
 * Ends what workers had started and left behind when they died. A worker leads a session of its own, and as long as
 * anything of it lives the kernel gives its number to nobody else.
 */
function killOrphans(workers: ReadonlyMap<number, string | undefined>): void {
  for (const name of namesIn("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const fields = procStat(pid);
    const leader = Number(fields?.[3]);
    const started = workers.get(leader);
    if (started === undefined || pid === leader) continue;
    // A living leader is a new process that got the number after all of the old session had ended.
    const now = processStart(leader);
    if (now === undefined || now === started) killOne(pid);
  }
}

function killOne(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Removes what dead runs of this user left under `base`; returns the folders. Others' are left alone. */
export async function sweepSessions(base: string): Promise<string[]> {
  const removed: string[] = [];
  for (const name of namesIn(base)) {
    if (!name.startsWith(PREFIX)) continue;
    const path = join(base, name);
    try {
      if (!(await isDead(path))) continue;
      removeBrokenSession(path);
      removed.push(path);
    } catch (error) {
      // Another sweep at the same time, or not ours to remove: the next run tries again.
      if (!["ENOENT", "EACCES", "EPERM", "ENOTEMPTY", "EBUSY"].includes((error as NodeJS.ErrnoException).code ?? "")) {
        throw error;
      }
    }
  }
  return removed;
}

async function isDead(path: string): Promise<boolean> {
  const status = lstatSync(path);
  if (!status.isDirectory() || status.uid !== userInfo().uid) return false;
  const owner = readOwner(path);
  if (!owner) return Date.now() - status.mtimeMs > NAMELESS_GRACE_MS;
  const started = processStart(owner.pid);
  if (started !== undefined && (owner.started === null || owner.started === started)) return false;
  if (started === undefined && process.platform !== "linux" && isAlive(owner.pid)) return false;
  // Its pid may belong to another container that shares the folder: a node that answers is not dead.
  return !(await answers(socketPathOf(path)));
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    const end = (result: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result);
    };
    const timer = setTimeout(() => end(true), PROBE_TIMEOUT_MS);
    socket.once("connect", () => end(true));
    socket.once("error", () => end(false));
  });
}

interface Owner {
  readonly pid: number;
  readonly started: string | null;
  readonly nodeId?: NodeId;
}

function readOwner(path: string): Owner | undefined {
  try {
    const owner = JSON.parse(readFileSync(join(path, OWNER_FILE), "utf8")) as Partial<Owner>;
    if (typeof owner.pid !== "number") return undefined;
    return { ...owner, pid: owner.pid, started: typeof owner.started === "string" ? owner.started : null };
  } catch {
    // No file, or half of one: the folder's age decides.
    return undefined;
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return procStat(pid)?.[0] !== "Z";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** A process's start time in clock ticks since boot: with its pid it names it for good. Undefined: gone, or no /proc. */
export function processStart(pid: number): string | undefined {
  const fields = procStat(pid);
  return fields?.[0] === "Z" ? undefined : fields?.[19];
}

function readLines(path: string): string[] {
  try {
    return readFileSync(path, "utf8").split("\n").filter(Boolean);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** None when there is no such folder (any more). */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
