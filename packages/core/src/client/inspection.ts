/**
 * What this process says of itself to its node, which asks by the inspector of V8: so it is answered in a synchronous loop
 * too, on top of whatever runs. It costs nothing until then.
 */
import { close, url } from "node:inspector";
import { monotonicMs } from "../base/clock.ts";
import type { ProgramView, RunningView, StackFrame, WaitView } from "../wire/mod.ts";
import { currentExecution, type Execution } from "./execution.ts";
import { frameAt, framesOf } from "./frames.ts";
import type { OpenWait, OpenWaits } from "./open-waits.ts";

/** Under which the node finds it, see node/inspection.ts. */
const HOOK = Symbol.for("mobula.inspection");
const FRAMES_MAX = 200;
const LISTED_MAX = 50;
const IDS_MAX = 5;

/** What runs, with when it began to (by {@link monotonicMs}), and how many waits of it are pending. */
export interface RunningExecution extends Execution {
  readonly startedAt: number;
  readonly waits: number;
}

type ProgramPlace = Pick<StackFrame, "line" | "column">;

export interface InspectedProgram {
  readonly waits: () => Iterable<OpenWait> & Pick<OpenWaits, "size">;
  running(): readonly RunningExecution[];
}

export function answerInspection(program: InspectedProgram): void {
  const look = (): string => {
    const holder = {};
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = FRAMES_MAX;
    Error.captureStackTrace(holder, look);
    Error.stackTraceLimit = limit;
    return JSON.stringify(viewOf(program, framesOf(holder)));
  };
  const places = (all: readonly (ProgramPlace & { readonly url: string })[]): string =>
    JSON.stringify(all.map(({ url, line, column }) => frameAt(url, line, column)));
  Object.defineProperty(globalThis, HOOK, { configurable: true, value: { look, places, close: () => close() } });
}

/** With a debugger, which is the program's own affair. */
const DEBUGGED = /(^|\s)--inspect(-brk|-wait)?(=|\s|$)/;

/** At the end of a process: V8 was seen to crash when it is torn down while somebody profiles it. */
export function endInspection(): void {
  const options = [...process.execArgv, process.env.NODE_OPTIONS ?? ""].join(" ");
  if (!DEBUGGED.test(options) && url() !== undefined) close();
}

function viewOf(program: InspectedProgram, frames: ProgramView["stack"]): ProgramView {
  const running = program.running();
  const waits = program.waits();
  const execution = currentExecution();
  // The first is what the node has evaluated.
  const stack = frames.slice(1);
  return {
    stack,
    current: stack.length > 0 && execution ? nameOf(execution) : null,
    running: running.slice(0, LISTED_MAX).map(runningView),
    runningTotal: running.length,
    waits: [...first(waits, LISTED_MAX)].map(waitView),
    waitsTotal: waits.size,
    handles: counted(process.getActiveResourcesInfo()),
  };
}

const nameOf = ({ name, taskId, actorId }: Execution) => ({ name, taskId, actorId: actorId ?? null });

const runningView = (running: RunningExecution): RunningView => ({
  ...nameOf(running),
  forMs: running.startedAt === 0 ? null : monotonicMs() - running.startedAt,
  waits: running.waits,
});

const waitView = ({ waited, sinceMs, execution, site }: OpenWait): WaitView => ({
  call: waited.call,
  sinceMs,
  taskId: execution?.taskId ?? null,
  refs: waited.refs,
  missing: waited.missing(),
  ids: waited.ids(IDS_MAX),
  at: site ? framesOf(site).filter(({ of }) => of === "program") : [],
});

function* first<T>(items: Iterable<T>, count: number): Generator<T> {
  let left = count;
  for (const item of items) {
    if (left-- === 0) return;
    yield item;
  }
}

function counted(names: readonly string[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}
