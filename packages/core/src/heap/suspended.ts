/**
 * Async functions that wait, out of a heap snapshot. Asynchronous code has no stack while it waits, but V8 keeps each such
 * function as an object (a generator), and the promise that it awaits holds it:
 *
 * 1. promise -> reaction -> a native function -> its context -> the generator that awaits the promise;
 * 2. a generator holds the promise of its own result, so the generator that awaits that one is who called it;
 * 3. `then`, `Promise.all` and the like are native functions too, with a promise of their own behind them;
 * 4. a reaction holds the AsyncContextFrame, in whose table stands the execution on whose behalf it was made (Node.js 24).
 *
 * What nothing holds is not there: a function that awaits a promise that nobody can settle any more has been collected.
 */
import type { FunctionPlace, HeapGraph } from "./graph.ts";

export interface SuspendedFunction {
  /** Of V8, by which its inspector finds the object again. */
  readonly objectId: number;
  readonly name: string;
  /** As V8 names the script; empty when that is not known. */
  readonly url: string;
  /** Of the function; where in it it waits, the inspector says. */
  readonly place: FunctionPlace | undefined;
}

/** The innermost first: each is awaited by the next. */
export interface SuspendedChain {
  readonly functions: readonly SuspendedFunction[];
  /** Of V8: the execution of Mobula that it belongs to. */
  readonly executionId: number | undefined;
}

const REACTION = "system / PromiseReaction";
const CAPABILITY = "system / PromiseCapability";
const REQUEST = "system / AsyncGeneratorRequest";
const FRAMES = "AsyncContextFrame";
/** Fields of `Running` in worker/running.ts, by which an execution is known. */
const EXECUTION_FIELDS = ["connection", "around", "name"];
/** From one function to the one that awaits it: `then` of `all` of `race` and so on. */
const STEPS_MAX = 2_000;
const CHAIN_MAX = 200;

export function suspendedIn(graph: HeapGraph): readonly SuspendedChain[] {
  const generators = new Set<number>();
  const reactions: number[] = [];
  for (let node = 0; node < graph.nodes; node++) {
    if (isGenerator(graph, node)) generators.add(node);
    else if (graph.nameOf(node) === REACTION) reactions.push(node);
  }
  const reactionOf = new Map<number, number>();
  for (const reaction of reactions)
    for (const waiting of waitingIn(graph, reaction)) if (generators.has(waiting)) reactionOf.set(waiting, reaction);
  // One without a reaction runs, has ended, or is a generator that nobody awaits.
  const suspended = [...generators].filter((node) => reactionOf.has(node));
  const awaitedBy = new Map(suspended.map((node) => [node, callerOf(graph, node, generators)] as const));
  const callers = new Set(awaitedBy.values());
  return suspended
    .filter((node) => !callers.has(node))
    .map((innermost) => {
      const chain: number[] = [];
      for (
        let at: number | undefined = innermost;
        at !== undefined && chain.length < CHAIN_MAX;
        at = awaitedBy.get(at)
      ) {
        if (chain.includes(at)) break;
        chain.push(at);
      }
      let execution: number | undefined;
      for (const node of chain) execution ??= executionOf(graph, reactionOf.get(node));
      return {
        functions: chain.map((node) => describe(graph, node)),
        executionId: execution === undefined ? undefined : graph.idOf(execution),
      };
    });
}

/** The generators that go on when this reaction runs: in the contexts of its native functions. */
function* waitingIn(graph: HeapGraph, reaction: number): Generator<number> {
  for (const handler of targets(graph, reaction)) {
    if (graph.typeOf(handler) !== "closure" || graph.placeOf(handler)) continue;
    const context = graph.follow(handler, "context");
    const waiting = context === undefined ? undefined : graph.follow(context, "extension");
    if (waiting !== undefined) yield waiting;
  }
}

/** Who awaits what this one gives, directly or through native functions. */
function callerOf(graph: HeapGraph, from: number, generators: ReadonlySet<number>): number | undefined {
  const seen = new Set<number>();
  const open = promisesOf(graph, from);
  for (let node = open.shift(); node !== undefined && seen.size < STEPS_MAX; node = open.shift()) {
    if (seen.has(node)) continue;
    seen.add(node);
    if (generators.has(node)) {
      if (node !== from) return node;
      continue;
    }
    open.push(...onwards(graph, node));
  }
  return undefined;
}

/** Of an async function its promise; of an async generator those of the values that were asked of it. */
function promisesOf(graph: HeapGraph, generator: number): number[] {
  return targets(graph, generator).flatMap((node) => {
    if (isPromise(graph, node)) return [node];
    return graph.nameOf(node) === REQUEST ? targets(graph, node).filter((one) => isPromise(graph, one)) : [];
  });
}

/** From a promise towards who awaits it: only over what V8 itself has made for that. */
function onwards(graph: HeapGraph, node: number): readonly number[] {
  if (isPromise(graph, node)) {
    const reactions = graph.follow(node, "reactions_or_result");
    return reactions !== undefined && graph.nameOf(reactions) === REACTION ? [reactions] : [];
  }
  const isSettled = (one: number): boolean => isPromise(graph, one) || graph.nameOf(one) === CAPABILITY;
  const isNative = (one: number): boolean => graph.typeOf(one) === "closure" && !graph.placeOf(one);
  switch (graph.nameOf(node)) {
    case REACTION:
      return targets(graph, node).filter((one) => isSettled(one) || isNative(one) || graph.nameOf(one) === REACTION);
    case CAPABILITY:
      return targets(graph, node).filter(isSettled);
  }
  if (graph.typeOf(node) === "closure") {
    const context = graph.follow(node, "context");
    return context === undefined ? [] : [context];
  }
  // The context of a native function: what goes on in it, or what it will settle.
  return targets(graph, node).filter((one) => isSettled(one) || isGenerator(graph, one));
}

const isGenerator = (graph: HeapGraph, node: number): boolean =>
  graph.typeOf(node) === "object" && graph.follow(node, "parameters_and_registers") !== undefined;

const isPromise = (graph: HeapGraph, node: number): boolean =>
  graph.typeOf(node) === "object" && graph.follow(node, "reactions_or_result") !== undefined;

/** The context of native code stands within that of all JavaScript, which leads everywhere. */
const LEADS_AWAY = new Set<string | number>(["__proto__", "map", "native_context", "previous"]);

function targets(graph: HeapGraph, node: number): number[] {
  const [first, end] = graph.edgesOf(node);
  const all: number[] = [];
  for (let edge = first; edge < end; edge++)
    if (graph.edgeTypeOf(edge) !== "weak" && !LEADS_AWAY.has(graph.edgeNameOf(edge))) all.push(graph.toOf(edge));
  return all;
}

function executionOf(graph: HeapGraph, reaction: number | undefined): number | undefined {
  if (reaction === undefined) return undefined;
  const frame = targets(graph, reaction).find((node) => graph.nameOf(node) === FRAMES);
  const table = frame === undefined ? undefined : graph.follow(frame, "table");
  if (table === undefined) return undefined;
  return targets(graph, table).find(
    (node) =>
      graph.typeOf(node) === "object" && EXECUTION_FIELDS.every((field) => graph.follow(node, field) !== undefined),
  );
}

function describe(graph: HeapGraph, generator: number): SuspendedFunction {
  const made = graph.follow(generator, "function");
  const shared = made === undefined ? undefined : graph.follow(made, "shared");
  const script = shared === undefined ? undefined : graph.follow(shared, "script");
  return {
    objectId: graph.idOf(generator),
    name: made === undefined ? "" : graph.nameOf(made),
    url: script === undefined ? "" : urlOf(graph, script),
    place: made === undefined ? undefined : graph.placeOf(made),
  };
}

/** A `sourceURL` in the text of a script, which has no name in V8's own words, goes before its name; a source map's is none. */
function urlOf(graph: HeapGraph, script: number): string {
  const [first, end] = graph.edgesOf(script);
  for (let edge = first; edge < end; edge++) {
    if (graph.edgeTypeOf(edge) !== "hidden" || graph.typeOf(graph.toOf(edge)) !== "string") continue;
    const url = graph.nameOf(graph.toOf(edge));
    if (url !== "" && !/^data:|\.map$/.test(url)) return url;
  }
  const name = graph.follow(script, "name");
  return name === undefined ? "" : graph.nameOf(name);
}
