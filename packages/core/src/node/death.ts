/** From how a process ended to why: its own exit, a signal, or one of the three ways in which memory ends a worker. */
import type { WorkerId } from "../base/ids.ts";
import type { WorkerDeath } from "../wire/messages.ts";

export interface ExitFacts {
  readonly workerId: WorkerId;
  readonly pid: number;
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderrTail: string;
  /** Set when the node ended it on purpose. */
  readonly intended?: string | undefined;
  /** Set when the memory monitor ended it: its words. */
  readonly monitorWords?: string | undefined;
  /** Set when the kernel ended it for a limit of its own: the words. */
  readonly limitWords?: string | undefined;
  /** Memory of its own when it was last looked at. */
  readonly lastBytes?: number | undefined;
  /** How often the kernel's killer has struck since the last look. */
  readonly kernelKills: number;
}

/** V8 prints one of these before it aborts (exit code 134, or the signal itself). */
const HEAP_LIMIT = /FATAL ERROR:.*(heap out of memory|invalid table size|Allocation failed|out of memory)/i;

export function describeDeath(facts: ExitFacts): WorkerDeath {
  const { workerId, pid, exitCode, signal, stderrTail, intended } = facts;
  const outOfMemory = facts.monitorWords ?? outOfMemoryWords(facts);
  return {
    workerId,
    pid,
    exitCode,
    signal,
    stderrTail,
    ...(outOfMemory !== undefined ? { outOfMemory } : {}),
    ...(intended !== undefined ? { intended } : {}),
  };
}

function outOfMemoryWords(facts: ExitFacts): string | undefined {
  const used = facts.lastBytes === undefined ? "" : `; it used ${formatBytes(facts.lastBytes)} when last looked at`;
  if ((facts.exitCode === 134 || facts.signal === "SIGABRT") && HEAP_LIMIT.test(facts.stderrTail)) {
    return `worker ${facts.pid} reached the heap limit of V8${used}. Use less memory at a time, or raise the limit with runtimeEnv.nodeOptions ["--max-old-space-size=<MiB>"]`;
  }
  if (facts.signal !== "SIGKILL" || facts.intended !== undefined) return undefined;
  if (facts.limitWords !== undefined) return facts.limitWords;
  if (facts.kernelKills > 0) {
    return `worker ${facts.pid} was ended by the kernel because the machine (or its container) was out of memory${used}. Use less memory at a time, or run fewer tasks at once by giving them memory: <bytes>`;
  }
  return undefined;
}

/** "exit code 3", "signal SIGKILL": for messages. */
export const describeExit = (exitCode: number | null, signal: string | null): string =>
  signal !== null ? `signal ${signal}` : `exit code ${exitCode ?? "unknown"}`;

export function formatBytes(bytes: number): string {
  if (bytes >= 2 ** 30) return `${(bytes / 2 ** 30).toFixed(2)} GiB`;
  return `${Math.round(bytes / 2 ** 20)} MiB`;
}
