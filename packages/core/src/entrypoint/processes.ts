/**
 * All that a command has started. A worker leads a session of its own, in which a command and its children stay, whatever groups
 * they make; those that begin a session of their own are known by the mark that they inherit in their environment.
 */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { monotonicMs } from "../base/clock.ts";

/** How often is looked whether they have ended. */
const LOOK_MS = 25;
/** What was killed is gone after this, or hangs in the kernel. */
const KILLED_MS = 2_000;

/** @param mark `NAME=value`, as in their environment. */
function processesOf(mark: string): number[] {
  return process.platform === "linux" ? onLinux(mark) : elsewhere();
}

function onLinux(mark: string): number[] {
  return readdirSync("/proc").flatMap((name) => {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) return [];
    try {
      // After the name of the program, which may hold anything: state, parent, group, session.
      const [state, , , session] = textAfter(readFileSync(`/proc/${pid}/stat`, "latin1")).split(" ");
      if (state === "Z") return [];
      const isMine = Number(session) === process.pid || environmentOf(pid).includes(mark);
      return isMine ? [pid] : [];
    } catch {
      // It has ended, or is another user's.
      return [];
    }
  });
}

const textAfter = (stat: string): string => stat.slice(stat.lastIndexOf(")") + 2);

const environmentOf = (pid: number): string[] => readFileSync(`/proc/${pid}/environ`, "latin1").split("\0");

/** Without /proc: the children that stayed in this process' group. */
function elsewhere(): number[] {
  const listed = execFileSync("ps", ["-Ao", "pid=,pgid=,comm="], { encoding: "utf8" });
  return listed.split("\n").flatMap((line) => {
    const [pid, group, command] = line.trim().split(/\s+/);
    return Number(group) === process.pid && Number(pid) !== process.pid && command !== "ps" ? [Number(pid)] : [];
  });
}

function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
}

/** SIGTERM, and after the grace SIGKILL to what is left. Resolves when nothing is, or cannot be ended. */
export async function endProcesses(mark: string, graceMs: number): Promise<void> {
  signalAll(processesOf(mark), "SIGTERM");
  if (graceMs > 0 && (await areGone(mark, graceMs))) return;
  // They may start others while they are being killed.
  for (const untilMs = monotonicMs() + KILLED_MS; monotonicMs() < untilMs; await delay(LOOK_MS)) {
    const left = processesOf(mark);
    if (left.length === 0) return;
    signalAll(left, "SIGKILL");
  }
}

async function areGone(mark: string, withinMs: number): Promise<boolean> {
  for (const untilMs = monotonicMs() + withinMs; monotonicMs() < untilMs; await delay(LOOK_MS)) {
    if (processesOf(mark).length === 0) return true;
  }
  return processesOf(mark).length === 0;
}
