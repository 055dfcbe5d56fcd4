/** `mobula stack --async`: asynchronous code that waits, found in a snapshot of the heap. */
import { type SuspendedChain, suspendedIn } from "../heap/mod.ts";
import { inspect } from "../state/mod.ts";
import type { FoundProcess, StackFrame, SuspendedPlaces } from "../wire/inspection.ts";
import type { Asks } from "./cli-ask.ts";
import { readHeap, tellProgress } from "./heap-snapshots.ts";

export interface SuspendedStack {
  /** The innermost first: each is awaited by the next. */
  readonly frames: readonly StackFrame[];
  /** On whose behalf; null: of none, or that is not known. */
  readonly taskId: string | null;
  /** So many wait at the same lines for the same task. */
  readonly count: number;
}

export interface SuspendedCode {
  readonly stacks: readonly SuspendedStack[];
  /** Functions of which only is known where they begin: there was no time to ask for all. */
  readonly inexact: number;
  readonly stillMs: number;
}

/** So many are described. */
const FUNCTIONS_MAX = 1_000;

export async function suspendedCode(ask: Asks, target: FoundProcess, isForced: boolean): Promise<SuspendedCode> {
  const onProgress = tellProgress(`${target.role} ${target.pid} on ${target.nodeName}`);
  const { graph, stillMs, inspection } = await readHeap(ask, target, { isForced, onProgress });
  const chains = upTo(suspendedIn(graph), FUNCTIONS_MAX);
  const functions = new Map(chains.flatMap((chain) => chain.functions.map((one) => [one.objectId, one] as const)));
  const executions = [...new Set(chains.flatMap(({ executionId }) => executionId ?? []))];
  // The program's own come first: of the last ones there may be no time to ask.
  const asked = [...functions.values()].sort((a, b) => Number(isRuntime(a.url)) - Number(isRuntime(b.url)));
  const bytes = await inspect(ask, target, "suspended", {
    snapshot: inspection,
    functions: asked.map(({ objectId, url, place = NOWHERE }) => ({ objectId, url, ...place })),
    executions,
  });
  const places = JSON.parse(bytes.toString()) as SuspendedPlaces; // As node/suspended-places.ts gives it.
  const frames = new Map(
    asked.map(({ objectId, name }, at) => [objectId, { ...(places.frames[at] as StackFrame), name }] as const),
  );
  const taskIds = new Map(executions.map((id, at) => [id, places.taskIds[at] ?? null] as const));
  const stacks = chains.map((chain) => ({
    frames: chain.functions.map(({ objectId }, at) => ({
      ...(frames.get(objectId) as StackFrame), // All of them were asked for.
      ...(at > 0 && { isAsync: true as const }),
    })),
    taskId: taskIds.get(chain.executionId ?? 0) ?? null,
    count: 1,
  }));
  return {
    stacks: counted(stacks),
    inexact: asked.length - places.exact,
    stillMs: stillMs + places.stillMs,
  };
}

const NOWHERE = { line: 0, column: 0 };

const isRuntime = (url: string): boolean => url.startsWith("node:") || url.startsWith(OWN_FOLDER);
const OWN_FOLDER = new URL("../", import.meta.url).href;

function upTo(chains: readonly SuspendedChain[], functionsMax: number): readonly SuspendedChain[] {
  let functions = 0;
  const end = chains.findIndex((chain) => {
    functions += chain.functions.length;
    return functions > functionsMax;
  });
  return end < 0 ? chains : chains.slice(0, end);
}

/** Those that say the same are one, with a count; the most frequent first. */
function counted(stacks: readonly SuspendedStack[]): readonly SuspendedStack[] {
  const byText = new Map<string, SuspendedStack>();
  for (const stack of stacks) {
    const key = JSON.stringify([stack.taskId, stack.frames]);
    const known = byText.get(key);
    byText.set(key, known ? { ...known, count: known.count + 1 } : stack);
  }
  return [...byText.values()].sort((a, b) => b.count - a.count);
}
