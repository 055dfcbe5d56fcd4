/**
 * The folder of one run: its sockets, and whatever else must not outlive it. A run that ended in order removes its own;
 * the next run removes those of runs that were killed. A folder names its process by pid and start time, so that a pid
 * used again by somebody else is not taken for the run.
 */
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

const SESSION_PREFIX = "session-";
const OWNER_FILE = "owner.json";
/** A folder without an owner file may be one that is just being made. */
const NAMELESS_GRACE_MS = 60_000;

/** Makes a session's folder (mode 0700) under `baseDirectory`, which is made as well. */
export function createSessionDirectory(baseDirectory: string): string {
  mkdirSync(baseDirectory, { recursive: true, mode: 0o700 });
  const directory = mkdtempSync(join(baseDirectory, SESSION_PREFIX));
  chmodSync(directory, 0o700);
  writeFileSync(
    join(directory, OWNER_FILE),
    JSON.stringify({ pid: process.pid, started: startOf(process.pid) ?? null }),
    { mode: 0o600 },
  );
  return directory;
}

/**
 * Removes the session folders of this user's dead runs and returns their paths. Folders of other users, links, and
 * whatever else lies there are left alone. A folder that cannot be removed is left for the next run.
 */
export function sweepDeadSessions(baseDirectory: string): readonly string[] {
  const removed: string[] = [];
  for (const name of namesIn(baseDirectory)) {
    if (!name.startsWith(SESSION_PREFIX)) continue;
    const path = join(baseDirectory, name);
    try {
      if (!isDead(path)) continue;
      rmSync(path, { recursive: true, force: true });
      removed.push(path);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // Gone through another sweep at the same time, or not ours to remove: neither concerns this run.
      if (code !== "ENOENT" && code !== "EACCES" && code !== "EPERM" && code !== "ENOTEMPTY" && code !== "EBUSY")
        throw error;
    }
  }
  return removed;
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

function isDead(path: string): boolean {
  const status = lstatSync(path);
  if (!status.isDirectory() || status.uid !== process.getuid?.()) return false;
  const owner = readOwner(path);
  if (!owner) return Date.now() - status.mtimeMs > NAMELESS_GRACE_MS;
  if (!isProcessAlive(owner.pid)) return true;
  const started = startOf(owner.pid);
  return owner.started !== null && started !== undefined && started !== owner.started;
}

function readOwner(path: string): { readonly pid: number; readonly started: string | null } | undefined {
  let text: string;
  try {
    text = readFileSync(join(path, OWNER_FILE), "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  const owner: unknown = text === "" ? undefined : parse(text);
  if (typeof owner !== "object" || owner === null || !("pid" in owner) || typeof owner.pid !== "number")
    return undefined;
  return { pid: owner.pid, started: "started" in owner && typeof owner.started === "string" ? owner.started : null };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // A half-written file: the run died while making it, and the folder's age decides.
    return undefined;
  }
}

/** False when no such process exists or it is only a zombie, whose memory is gone already. */
export function isProcessAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  const state = statOf(pid)?.[0];
  return state !== "Z" && state !== "X";
}

/** The kernel's start time of a process, in clock ticks since boot; undefined where there is no /proc. */
const startOf = (pid: number): string | undefined => statOf(pid)?.[19];

/** Fields of /proc/<pid>/stat from the state on; the command's name before it may hold spaces and parentheses. */
function statOf(pid: number): readonly string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    // No /proc, or the process has just gone: the caller has what kill(pid, 0) said.
    return undefined;
  }
}
