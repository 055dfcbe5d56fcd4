/** What the kernel says about a process and everything it started. Linux only. */
import { readdirSync, readFileSync } from "node:fs";

export interface TreeMemory {
  readonly processes: number;
  /** Sum of proportional set sizes: shared pages are divided among those that map them. */
  readonly pssBytes: number;
}

/** `root` and all its descendants that are alive. */
export function processTree(root: number): number[] {
  const childrenOf = new Map<number, number[]>();
  for (const entry of readdirSync("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    const stat = readOrGone(`/proc/${pid}/stat`);
    if (stat === undefined) continue;
    // The command may contain spaces and parentheses; the fields after its last ")" are state and parent.
    const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
    const siblings = childrenOf.get(parent);
    if (siblings === undefined) childrenOf.set(parent, [pid]);
    else siblings.push(pid);
  }
  const tree = [root];
  for (const pid of tree) tree.push(...(childrenOf.get(pid) ?? []));
  return tree;
}

/** A process that cannot be confused with a later one of the same number. */
export interface ProcessIdentity {
  readonly pid: number;
  /** In the kernel's clock ticks since boot. */
  readonly startTime: string;
}

/** Undefined when the process is gone. */
export function identify(pid: number): ProcessIdentity | undefined {
  const stat = readOrGone(`/proc/${pid}/stat`);
  // Field 22; the fields after the command start with the third.
  const startTime = stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  return startTime === undefined ? undefined : { pid, startTime };
}

/** Kills those that still are what they were. */
export function killProcesses(identities: readonly ProcessIdentity[]): void {
  for (const { pid, startTime } of identities) {
    if (identify(pid)?.startTime !== startTime) continue;
    try {
      process.kill(pid, "SIGKILL");
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
    }
  }
}

export function treeMemory(root: number): TreeMemory {
  let pssBytes = 0;
  let processes = 0;
  for (const pid of processTree(root)) {
    const rollup = readOrGone(`/proc/${pid}/smaps_rollup`);
    if (rollup === undefined) continue;
    processes += 1;
    pssBytes += kibibytes(rollup, "Pss") * 1024;
  }
  return { processes, pssBytes };
}

/** Private memory of one process, the object store's shared pages not included. */
export function anonymousBytes(pid: number): number {
  const status = readOrGone(`/proc/${pid}/status`);
  return status === undefined ? 0 : kibibytes(status, "RssAnon") * 1024;
}

function kibibytes(text: string, field: string): number {
  const match = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(text);
  if (match === null) throw new Error(`the kernel reports no ${field}`);
  return Number(match[1]);
}

/** Undefined when the process ended between being listed and being read (a zombie has no memory map either). */
function readOrGone(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ESRCH"))
      return undefined;
    throw error;
  }
}
