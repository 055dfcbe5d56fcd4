/**
 * Variables that travel: a layer is one lexical scope at the receiver, holding some names and lying inside another
 * layer or directly in the file's root. Code is evaluated inside it by direct `eval`, which V8 caches, so that code
 * and layers are compiled once however often they arrive.
 */
import { assert } from "../base/assert.ts";
import { DEFER_NAME, IMPORT_NAME } from "./code-unit.ts";
import { asUrl, importFrom, incoming } from "./modules.ts";

/** Evaluates a script inside a scope; `this` in the script is the `this` of the call, further arguments `arguments`. */
export type Evaluate = (script: string, ...args: unknown[]) => unknown;

/** A scope in the graph of values that a submission writes. */
export class Layer {
  readonly names: readonly string[];
  /** Address of the file in which the variables were written. */
  readonly url: string;
  /** The enclosing layer; for a linked layer, the layer that holds each name. */
  readonly parents: readonly Layer[];
  readonly isLinked: boolean;
  /** The variables' values now, in the order of `names`. */
  readonly values: () => readonly unknown[];

  constructor(
    names: readonly string[],
    url: string,
    parents: readonly Layer[],
    isLinked: boolean,
    values: () => readonly unknown[],
  ) {
    this.names = names;
    this.url = url;
    this.parents = parents;
    this.isLinked = isLinked;
    this.values = values;
  }

  /** Whether `other` is this layer or encloses it. */
  contains(other: Layer): boolean {
    for (let at: Layer | undefined = this; at; at = at.isLinked ? undefined : at.parents[0]) {
      if (at === other) return true;
    }
    return false;
  }
}

/** A layer at the receiver. */
export class LiveLayer extends Layer {
  readonly evaluate: Evaluate;
  readonly fill: (values: readonly unknown[]) => void;

  constructor(
    names: readonly string[],
    url: string,
    parents: readonly LiveLayer[],
    isLinked: boolean,
    evaluate: Evaluate,
    fill: (values: readonly unknown[]) => void,
    values: () => readonly unknown[],
  ) {
    super(names, url, parents, isLinked, values);
    this.evaluate = evaluate;
    this.fill = fill;
  }
}

// Indirect, so that nothing of this module is in scope. `arguments` rather than a parameter: a parameter's name would
// hide a captured variable of the same name.
// biome-ignore lint/security/noGlobalEval: evaluating code that arrives is what this room is for.
const makeRoot = globalThis.eval(
  `"use strict"; (function () { const ${IMPORT_NAME} = arguments[0], ${DEFER_NAME} = arguments[1]; ` +
    "return function () { return eval(arguments[0]); }; })",
) as (importer: unknown, defer: Defer) => Evaluate;

type Defer = (work: () => unknown, done?: (value: unknown) => void) => void;

const roots = new Map<string, Evaluate>();

/** The outermost scope of the code written in `url`. */
export function rootOf(url: string): Evaluate {
  const here = incoming(asUrl(url));
  let root = roots.get(here);
  if (!root) {
    root = makeRoot(importFrom(here), defer);
    roots.set(here, root);
  }
  return root;
}

const layerScripts = new Map<string, string>();

/** Makes a scope with `names`, all undefined until `fill`. */
export function openLayer(names: readonly string[], parent: LiveLayer | undefined, url: string): LiveLayer {
  const key = names.join();
  let script = layerScripts.get(key);
  if (script === undefined) {
    script =
      `(() => { let ${key}; return [function () { return eval(arguments[0]); }, ` +
      `function () { [${key}] = arguments[0]; }, () => [${key}]]; })()`;
    layerScripts.set(key, script);
  }
  const evaluateOutside = parent?.evaluate ?? rootOf(url);
  const [evaluate, fill, values] = evaluateOutside(script) as [Evaluate, LiveLayer["fill"], LiveLayer["values"]];
  return new LiveLayer(names, url, parent ? [parent] : [], false, evaluate, fill, values);
}

// biome-ignore lint/security/noGlobalEval: evaluating code that arrives is what this room is for.
const linkedRoot = globalThis.eval(
  `(function () { const ${IMPORT_NAME} = arguments[1], ${DEFER_NAME} = arguments[2]; with (arguments[0]) { ` +
    `return (function () { "use strict"; return function () { return eval(arguments[0]); }; })(); } })`,
) as (variables: object, importer: unknown, defer: Defer) => Evaluate;

/**
 * A scope whose names are variables of other layers, which do not lie inside each other. Slower than a lexical scope;
 * needed when functions that were already written share different variables with one more.
 */
export function linkLayers(names: readonly string[], parents: readonly LiveLayer[], url: string): LiveLayer {
  const variables: object = Object.create(null);
  for (const [index, name] of names.entries()) {
    const parent = parents[index];
    assert(parent, `a linked layer has no layer for ${name}`);
    // The script gives exactly these two functions.
    const [get, set] = parent.evaluate(`[() => ${name}, function () { ${name} = arguments[0]; }]`) as [
      () => unknown,
      (value: unknown) => void,
    ];
    Object.defineProperty(variables, name, { get, set });
  }
  const evaluate = linkedRoot(variables, importFrom(incoming(asUrl(url))), defer);
  const values = () => names.map((name) => Reflect.get(variables, name));
  return new LiveLayer(names, url, parents, true, evaluate, () => undefined, values);
}

// ── static initialisers wait until everything that arrived with their class is filled in ──────────────────────────

let unfinished = 0;
let waiting: (() => void)[] = [];
let isResetScheduled = false;

/** Tells that a function was made and its variables are still to come. */
export function beginArrival(): void {
  unfinished++;
  if (isResetScheduled) return;
  isResetScheduled = true;
  // Decoding is synchronous: whatever is unfinished afterwards belongs to values whose decoding failed.
  queueMicrotask(() => {
    isResetScheduled = false;
    unfinished = 0;
    waiting = [];
  });
}

export function finishArrival(): void {
  if (unfinished > 0) unfinished--;
  if (unfinished > 0) return;
  const ready = waiting;
  waiting = [];
  for (const work of ready) work();
}

function defer(work: () => unknown, done?: (value: unknown) => void): void {
  const run = (): void => {
    const value = work();
    done?.(value);
  };
  if (unfinished > 0) waiting.push(run);
  else run();
}
