/** The processes of a member of a cluster: found by a mark that everything it starts inherits in its environment. */
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { ConnectionLostError } from "../base/errors.ts";
import { namesIn } from "../node/mod.ts";

const VARIABLE = "MOBULA_CLUSTER_MEMBER";
const POLL_MS = 5;
/** An orderly end may take actors 30 s. */
const SIGNAL_MS = 45_000;
const ENDING: ReadonlySet<NodeJS.Signals> = new Set(["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGABRT"]);

/** What a member's process tells does not keep this one alive; a call that waits for it does. */
export async function awaited<T>(told: Promise<T>): Promise<T> {
  const alive = setInterval(() => {}, SIGNAL_MS);
  try {
    return await told;
  } finally {
    clearInterval(alive);
  }
}

export const marked = (mark: string): Readonly<Record<string, string>> => ({ [VARIABLE]: mark });

/** Those that live, in ascending order. Empty where there is no /proc. */
export function processesOf(mark: string): number[] {
  const found: number[] = [];
  const text = `${VARIABLE}=${mark}\0`;
  for (const name of namesIn("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    try {
      if (readFileSync(`/proc/${pid}/environ`, "latin1").includes(text) && stateOf(pid) !== "Z") found.push(pid);
    } catch (error) {
      // It ended while we looked, or belongs to somebody else.
      if (!["ENOENT", "ESRCH", "EACCES", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    }
  }
  return found;
}

/**
 * Sends a signal to all that `find` finds, also to what they start meanwhile. Resolves when it has taken effect: they have
 * ended, stand still, or go on.
 *
 * @throws ConnectionLostError when it has not within 45 s.
 */
export async function signalAll(find: () => readonly number[], signal: NodeJS.Signals): Promise<void> {
  const sent = new Set<number>();
  for (const deadline = performance.now() + SIGNAL_MS; ; await delay(POLL_MS)) {
    const waiting = find().filter((pid) => !hasTakenEffect(pid, signal, sent));
    for (const pid of waiting) {
      // Twice would be another thing to say: "at once".
      if (sent.has(pid)) continue;
      send(pid, signal);
      sent.add(pid);
    }
    if (waiting.length === 0) return;
    if (performance.now() > deadline) {
      throw new ConnectionLostError(`${signal} has had no effect on processes ${waiting.join(", ")} within 45 s`);
    }
  }
}

function hasTakenEffect(pid: number, signal: NodeJS.Signals, sent: ReadonlySet<number>): boolean {
  if (signal === "SIGSTOP") return isStopped(pid);
  if (signal === "SIGCONT") return sent.has(pid) && !isStopped(pid);
  // Found, so it lives. What does not end a process is done when it is sent.
  return !ENDING.has(signal) && sent.has(pid);
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

export const isStopped = (pid: number): boolean => stateOf(pid) === "T";

/** "R", "S", "T", "Z" and so on; undefined when it is gone. */
function stateOf(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    return text.charAt(text.lastIndexOf(")") + 2);
  } catch {
    return undefined;
  }
}
