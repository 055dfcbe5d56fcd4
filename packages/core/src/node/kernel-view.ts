/** What Linux knows of a process whose program does not answer: stopped, in native code, or waiting in the kernel. */
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { monotonicMs } from "../base/clock.ts";
import { describeProcess } from "../owner/mod.ts";
import type { KernelView, ThreadView } from "../wire/inspection.ts";

/** Its threads are watched for so long, to see which of them compute. */
const WATCHED_MS = 100;
const KIB = 1_024;
const CHILDREN_NAMED_MAX = 5;
const BUSY_PERCENT = 10;

/** Places of the kernel where a thread waits, in words that follow "it waits". */
const PLACES: readonly (readonly [RegExp, string])[] = [
  [/futex/, "for another thread, as `Atomics.wait` and locks of native code do"],
  [/^(do_wait|wait4|kernel_wait)/, "for a child process, as `execSync` does"],
  [/pipe_(read|wait)|anon_pipe/, "for a pipe, from which nothing comes"],
  [/pipe_write/, "for room in a pipe that nobody reads"],
  [/(unix_stream|sk_wait|tcp_|inet_)/, "for a socket"],
  [/nanosleep/, "for time to pass"],
  [/^(do_)?(sys_)?poll|do_select/, "for one of several files or sockets"],
  [/(io_schedule|wait_on_page|folio_wait|blk_|ext4|xfs|btrfs|nfs|fuse|rpc_)/, "for a disk or a file system"],
  [/swap/, "for memory that is swapped out"],
  [/(do_signal_stop|ptrace_stop|freezer|refrigerator)/, "until it may go on: it is stopped"],
];

const EVENT_LOOP = /^(ep_poll|do_epoll_wait|epoll_wait)/;

export async function kernelView(pid: number): Promise<KernelView> {
  const before = ranNanoseconds(pid);
  const startedAt = monotonicMs();
  await delay(WATCHED_MS);
  const watchedNs = (monotonicMs() - startedAt) * 1e6;
  const ran = ranNanoseconds(pid);
  const threads = [...ran].map(([id, nanoseconds]): ThreadView => {
    const of = `${pid}/task/${id}`;
    const cpuPercent = Math.min(100, Math.round(((nanoseconds - (before.get(id) ?? nanoseconds)) / watchedNs) * 100));
    const stat = procText(`${of}/stat`);
    return {
      id,
      name: procText(`${of}/comm`).trimEnd(),
      state: stat.slice(stat.lastIndexOf(")") + 2).charAt(0),
      waitsIn: placeIn(procText(`${of}/wchan`)),
      cpuPercent,
    };
  });
  const status = procText(`${pid}/status`);
  const residentBytes = kibOf(status, "VmRSS");
  const swappedBytes = kibOf(status, "VmSwap");
  return { sentences: [...sentencesOf(pid, threads, swappedBytes)], threads, residentBytes, swappedBytes };
}

function* sentencesOf(pid: number, threads: readonly ThreadView[], swappedBytes: number | null): Generator<string> {
  const main = threads.find(({ id }) => id === pid);
  if (!main) {
    yield `Process ${pid} has ended, or this system does not say what it does.`;
    return;
  }
  const children = childrenOf(pid);
  const isStopped = main.state === "T" || main.state === "t";
  if (isStopped || main.state === "Z") yield describeProcess(pid) ?? "";
  else if (main.cpuPercent >= BUSY_PERCENT)
    yield `Its main thread computes (${main.cpuPercent} % of a processor): in native code that JavaScript called, or it collects garbage.`;
  else if (main.state === "R") yield "Its main thread could run and gets no processor: the machine is overloaded.";
  else yield `Its main thread waits ${inWords(main, children.length > 0)}.`;
  if (children.length > 0) yield `It has started ${children.join(", ")}.`;
  const busy = threads.filter((one) => one !== main && one.cpuPercent >= BUSY_PERCENT);
  for (const { name, cpuPercent } of busy.slice(0, 5))
    yield `Its thread "${name}" computes (${cpuPercent} % of a processor).`;
  if (swappedBytes) yield `${Math.round(swappedBytes / 2 ** 20)} MiB of its memory are swapped out.`;
}

function inWords({ waitsIn, state }: ThreadView, hasChildren: boolean): string {
  // In its own event loop it would have answered.
  if (EVENT_LOOP.test(waitsIn)) {
    return hasChildren
      ? "within a call, most likely for a program that it has started, as `execSync` does"
      : "within a call that has an event loop of its own";
  }
  const words = PLACES.find(([place]) => place.test(waitsIn))?.[1];
  if (words) return words;
  if (waitsIn !== "") return `in the kernel, in ${waitsIn}`;
  return state === "D" ? "for a disk or a network file system" : "for something that the kernel does not name";
}

function childrenOf(pid: number): readonly string[] {
  const ids = procText(`${pid}/task/${pid}/children`).split(" ").filter(Boolean);
  const named = ids.slice(0, CHILDREN_NAMED_MAX).map((id) => `${procText(`${id}/comm`).trimEnd()} (pid ${id})`);
  return ids.length > CHILDREN_NAMED_MAX ? [...named, `${ids.length - CHILDREN_NAMED_MAX} more`] : named;
}

function ranNanoseconds(pid: number): ReadonlyMap<number, number> {
  const ran = new Map<number, number>();
  for (const id of threadsOf(pid)) ran.set(id, Number.parseInt(procText(`${pid}/task/${id}/schedstat`), 10) || 0);
  return ran;
}

function threadsOf(pid: number): readonly number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number);
  } catch {
    return [];
  }
}

/** A thread that runs waits nowhere. */
const placeIn = (wchan: string): string => (wchan === "0" ? "" : wchan.trim());

function kibOf(status: string, field: string): number | null {
  const [, kib] = new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status) ?? [];
  return kib === undefined ? null : Number(kib) * KIB;
}

/** Empty for what is gone, or may not be read. */
function procText(path: string): string {
  try {
    return readFileSync(`/proc/${path}`, "latin1");
  } catch {
    return "";
  }
}
