/** How `mobula stack` shows a process. */
import { relative } from "node:path";
import type { InspectedStack, KernelView, ProgramView, RunningView, StackFrame, WaitView } from "../wire/inspection.ts";
import type { SuspendedCode } from "./suspended-code.ts";
import { table, wrap } from "./text-table.ts";

export interface StackTextOptions {
  /** Of refs that are waited for: what is known of them. */
  readonly why: ReadonlyMap<string, string>;
  /** With the frames that are not the program's. */
  readonly isFull: boolean;
  readonly columns: number;
  /** Where code waits follows. */
  readonly isAsync?: boolean;
  /** Files below it are named from there. */
  readonly cwd: string;
}

/** So many stacks of code that waits are shown. */
const SUSPENDED_MAX = 20;
/** So many executions of a process are shown. */
const RUNNING_MAX = 10;

/** What `--async` has found in the heap; after {@link stackLines}. */
export function suspendedLines(code: SuspendedCode, options: Omit<StackTextOptions, "why">): string[] {
  const { stacks, inexact, stillMs } = code;
  const all: StackTextOptions = { ...options, why: new Map() };
  const own = options.isFull ? stacks : stacks.filter(({ frames }) => frames.some(({ of }) => of === "program"));
  const lines = said(
    own.length === 0
      ? "no async function of the program waits: what nothing can wake any more has been collected"
      : `${own.length === 1 ? "one async function waits" : `${own.length} async functions wait`}, the innermost first`,
    "  ",
    all,
  );
  for (const { frames, taskId, count } of own.slice(0, SUSPENDED_MAX)) {
    const times = count > 1 ? `${count} times, ` : "";
    lines.push(...said(`${times}${taskId === null ? "of no task" : `of task ${taskId}`}`, "    ", all));
    for (const frame of options.isFull ? frames : frames.filter(({ of }) => of === "program"))
      lines.push(...frameLine(frame, "      ", all));
  }
  if (own.length > SUSPENDED_MAX) lines.push(`    and ${own.length - SUSPENDED_MAX} more (--json has all)`);
  if (inexact > 0) lines.push(...said(`of ${inexact} functions the line is where they begin`, "  ", all));
  lines.push(`  it stood still for ${(stillMs / 1_000).toFixed(1)} s`);
  return lines;
}

export function stackLines(stack: InspectedStack, options: StackTextOptions): string[] {
  const { role, pid, nodeName, program, kernel, atMs } = stack;
  const who = `${role === "driver" ? "driver" : "worker"} ${pid} on ${nodeName}`;
  if (program) return programLines(who, program, atMs, options);
  if (!kernel) return [`${who}: nothing is known`];
  return [...said(`${who} does not answer: ${kernel.why}`, "", options), ...kernelLines(kernel, options)];
}

function programLines(who: string, program: ProgramView, atMs: number, options: StackTextOptions): string[] {
  const { stack, current, running, runningTotal, waits, waitsTotal, handles } = program;
  const own = waits.filter(({ taskId }) => taskId === null);
  const lines: string[] = [];
  if (current) {
    const known = running.find(({ taskId }) => taskId === current.taskId);
    lines.push(...said(`${who} runs ${current.name}${forTime(known?.forMs ?? null)}`, "", options));
    lines.push(`  task ${current.taskId}`);
  } else if (stack.length > 0) lines.push(`${who} computes`);
  else if (running.length === 0 && own.length === 0) lines.push(`${who}: nothing runs in it`);
  else lines.push(`${who}: nothing is on its stack`);
  lines.push(...frameLines(stack, options));
  const others = running.filter(({ taskId }) => taskId !== current?.taskId);
  for (const one of others.slice(0, RUNNING_MAX)) {
    const mine = waits.filter(({ taskId }) => taskId === one.taskId);
    lines.push(...awaitingLines(one, mine, handles, atMs, options));
  }
  const ofCurrent = current ? waits.filter(({ taskId }) => taskId === current.taskId) : [];
  for (const wait of [...ofCurrent, ...own]) lines.push(...waitLines(wait, atMs, options));
  const more = runningTotal - (current ? 1 : 0) - Math.min(others.length, RUNNING_MAX);
  if (more > 0) lines.push(`  ${more} more run in it`);
  if (waitsTotal > waits.length) lines.push(`  ${waitsTotal - waits.length} more waits are pending`);
  return lines;
}

/** Asynchronous code has no stack while it waits. */
function awaitingLines(
  running: RunningView,
  waits: readonly WaitView[],
  handles: ProgramView["handles"],
  atMs: number,
  options: StackTextOptions,
): string[] {
  const { name, taskId, forMs } = running;
  const lines = said(`${name} has begun${forTime(forMs)} and waits`, "  ", options);
  lines.push(`    task ${taskId}`);
  for (const wait of waits) lines.push(...waitLines(wait, atMs, options));
  if (waits.length > 0) return lines;
  const open = Object.entries(handles).map(([kind, count]) => `${count} ${kind}`);
  const has = open.length === 0 ? "nothing that could wake it" : open.join(", ");
  lines.push(
    ...said(
      `for no ref: for a promise of its own${options.isAsync ? "" : " (--async says where)"}. Its event loop has ${has}`,
      "    ",
      options,
    ),
  );
  return lines;
}

function waitLines(wait: WaitView, atMs: number, options: StackTextOptions): string[] {
  const { call, sinceMs, refs, missing, ids, at } = wait;
  const what = call === "stream" ? "the next ref of a stream" : `${call}() of ${refs} ${refs === 1 ? "ref" : "refs"}`;
  const some = call !== "stream" && missing < refs ? `, ${missing} of which are missing` : "";
  const lines = said(`${what}${some},${forTime(atMs - sinceMs)}`, "    ", options);
  for (const frame of at) lines.push(...frameLine(frame, "      ", options));
  for (const id of ids) {
    lines.push(`      ${id}`);
    const why = options.why.get(id);
    if (why !== undefined) lines.push(...said(why, "        ", options));
  }
  if (missing > ids.length && ids.length > 0) lines.push(`      and ${missing - ids.length} more`);
  return lines;
}

function frameLines(stack: readonly StackFrame[], options: StackTextOptions): string[] {
  const shown = options.isFull ? stack : stack.filter(({ of }) => of === "program");
  const lines: string[] = [];
  for (let at = 0; at < shown.length; ) {
    const frame = shown[at] as StackFrame;
    let same = 1;
    while (isSame(shown[at + same], frame)) same++;
    lines.push(...frameLine(frame, "    ", options));
    if (same > 1) lines.push(`      ${same - 1} more of it`);
    at += same;
  }
  const hidden = stack.length - shown.length;
  if (hidden > 0) lines.push(`    ${hidden} ${hidden === 1 ? "frame" : "frames"} of Node.js and Mobula (--full)`);
  return lines;
}

const isSame = (one: StackFrame | undefined, other: StackFrame): boolean =>
  one !== undefined &&
  one.name === other.name &&
  one.file === other.file &&
  one.line === other.line &&
  one.column === other.column;

function frameLine(frame: StackFrame, indent: string, { columns, cwd }: StackTextOptions): string[] {
  const { name, file, line, column, isAsync } = frame;
  const below = file.startsWith("/") ? relative(cwd, file) : file;
  const path = below.startsWith("..") ? file : below;
  const place = path === "" ? "(no file)" : `${path}:${line}:${column}`;
  const at = `${indent}at ${isAsync ? "async " : ""}${name === "" ? "(anonymous)" : name}`;
  return at.length + place.length + 1 <= columns ? [`${at} ${place}`] : [at, `${indent}   ${place}`];
}

function kernelLines({ sentences, threads, residentBytes }: KernelView, options: StackTextOptions): string[] {
  const lines = sentences.flatMap((sentence) => said(sentence, "  ", options));
  if (residentBytes !== null) lines.push(`  It has ${Math.round(residentBytes / 2 ** 20)} MiB in memory.`);
  const shown = options.isFull ? threads : threads.filter(({ cpuPercent }, at) => at === 0 || cpuPercent > 0);
  if (threads.length > shown.length) lines.push(`  ${threads.length - shown.length} other threads wait (--full)`);
  if (shown.length === 0) return lines;
  const rows = shown.map(({ id, name, state, cpuPercent, waitsIn }) => [
    String(id),
    name,
    state,
    cpuPercent === 0 ? "" : `${cpuPercent} %`,
    waitsIn,
  ]);
  return [...lines, "", ...table([["THREAD", "NAME", "STATE", "CPU", "WAITS IN"], ...rows], options.columns)];
}

function forTime(ms: number | null): string {
  if (ms === null) return "";
  const seconds = ms / 1_000;
  if (seconds < 120) return ` for ${seconds.toFixed(1)} s`;
  if (seconds < 7_200) return ` for ${Math.round(seconds / 60)} min`;
  return ` for ${(seconds / 3_600).toFixed(1)} h`;
}

function said(text: string, indent: string, { columns }: StackTextOptions): string[] {
  return wrap(text, Math.max(30, columns - indent.length)).map((line) => indent + line);
}
