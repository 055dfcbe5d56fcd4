/** Processes of ours that are nobody's child here: whether one runs, and ending it. */

import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { monotonicMs } from "../base/clock.ts";
import { isAlive, processStart } from "./session-folder.ts";

export interface RunningProcess {
  readonly pid: number;
  /** With the pid it names the process for good. */
  readonly started: string | null;
}

const POLL_MS = 20;
/** Actors have 30 s for their shutdown hooks. */
const STOP_TIMEOUT_MS = 40_000;
const KILL_TIMEOUT_MS = 3_000;

export function isRunning({ pid, started }: RunningProcess): boolean {
  const now = processStart(pid);
  if (now !== undefined) return started === null || started === now;
  return process.platform !== "linux" && isAlive(pid);
}

/** What a file in the user's own folder says of a process that stands by itself; undefined when it does not run. */
export function readAddressFile<T extends RunningProcess>(file: string): T | undefined {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  const running = JSON.parse(text) as T; // Written whole by writeAddressFile, and renamed into place.
  return isRunning(running) ? running : undefined;
}

export function writeAddressFile(file: string, running: RunningProcess): void {
  writeFileSync(`${file}.${process.pid}`, JSON.stringify(running), { mode: 0o600 });
  renameSync(`${file}.${process.pid}`, file);
}

/** Ends it, in order unless `atOnce`; resolves when it has ended. */
export async function endProcessOf(running: RunningProcess, atOnce: boolean): Promise<void> {
  process.kill(running.pid, "SIGTERM");
  // Two different signals: equal ones can become one on the way.
  if (atOnce) process.kill(running.pid, "SIGINT");
  if (await ended(running, atOnce ? KILL_TIMEOUT_MS : STOP_TIMEOUT_MS)) return;
  process.kill(running.pid, "SIGKILL");
  await ended(running, KILL_TIMEOUT_MS);
}

async function ended(running: RunningProcess, timeoutMs: number): Promise<boolean> {
  // It is nobody's child here, so there is no event to wait for.
  for (const deadline = monotonicMs() + timeoutMs; isRunning(running); ) {
    if (monotonicMs() > deadline) return false;
    await delay(POLL_MS);
  }
  return true;
}
