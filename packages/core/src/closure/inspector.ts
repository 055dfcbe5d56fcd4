/**
 * What only V8's inspector can tell about a function: where its text starts, the values of the variables it closes
 * over, what a bound function is bound to; and, for the rare cases that need it, an expression evaluated inside a
 * function's own scope.
 *
 * 1. A session to this very thread answers synchronously: the callback of `post` runs before `post` returns.
 * 2. `[[Scopes]]` gives copies of the scopes, innermost first. They hold values, not the variables themselves.
 * 3. Scripts' addresses and text need `Debugger.enable`, which is switched on only while they are read, because it
 *    makes everything else slower (17 ms the first time, 3 ms later).
 * 4. `evaluateInside` pauses the function at its first statement and ends the call there, so that nothing of it runs.
 */
import { type Debugger, url as inspectorUrl, type Runtime, Session } from "node:inspector";
import { SerializationError } from "../base/errors.ts";

/** The functions this room can look into. */
// biome-ignore lint/complexity/noBannedTypes: any callable, classes included, is what the room is about.
export type AnyFunction = Function;

export interface Script {
  readonly id: string;
  /** File URL or path as V8 knows it; empty for code that was evaluated. */
  readonly url: string;
  readonly source: string;
  readonly isModule: boolean;
}

export interface ScopeCopy {
  /** "Module", "Closure (outer)", "Block", "Script", "Catch", "Global", … */
  readonly description: string;
  readonly object: Readonly<Record<string, unknown>>;
}

export interface Inspected {
  readonly scriptId: string | undefined;
  readonly line: number;
  readonly column: number;
  readonly scopes: readonly ScopeCopy[];
}

/**
 * The value of a variable in a scope; undefined if it has no such variable, or one whose declaration has not run yet
 * (V8 throws when those are read).
 */
export function readVariable(scope: ScopeCopy | undefined, name: string): { readonly value: unknown } | undefined {
  if (!scope || !Object.hasOwn(scope.object, name)) return undefined;
  try {
    return { value: scope.object[name] };
  } catch {
    return undefined;
  }
}

/** Hands live values between the inspector's expressions, which can only reach globals, and this module. */
interface Desk {
  input: unknown;
  scopes: ArrayLike<ScopeCopy> | undefined;
  bound: { target: unknown; self: unknown; args: unknown } | undefined;
  args: readonly unknown[];
  result: unknown;
}

const desk: Desk = { input: undefined, scopes: undefined, bound: undefined, args: [], result: undefined };
const DESK = `globalThis[Symbol.for("mobula.closure.desk")]`;
const GROUP = "mobula";

let session: Session | undefined;
const scripts = new Map<string, Debugger.ScriptParsedEventDataType>();
const sources = new Map<string, Script>();

function connected(): Session {
  if (session) return session;
  const created = new Session();
  try {
    created.connect();
  } catch (cause) {
    throw new SerializationError(
      "functions cannot be captured: the inspector is not available (under --permission, add --allow-inspector); " +
        "export the function from a module instead",
      { cause },
    );
  }
  created.on("Debugger.scriptParsed", ({ params }) => scripts.set(params.scriptId, params));
  Object.defineProperty(globalThis, Symbol.for("mobula.closure.desk"), { value: desk, configurable: true });
  session = created;
  return created;
}

function post<R>(method: string, params: object): R {
  let failure: Error | null = null;
  let answer: unknown;
  connected().post(method, params, (error, result) => {
    failure = error;
    answer = result;
  });
  if (failure) throw failure;
  // The inspector protocol fixes the type of each method's answer; callers name it.
  return answer as R;
}

function remoteOf(value: unknown): string {
  connected();
  desk.input = value;
  const { result } = post<Runtime.EvaluateReturnType>("Runtime.evaluate", {
    expression: `${DESK}.input`,
    objectGroup: GROUP,
  });
  desk.input = undefined;
  if (result.objectId === undefined) throw new TypeError("only objects can be inspected");
  return result.objectId;
}

function internalsOf(objectId: string): Map<string, Runtime.RemoteObject> {
  const found = new Map<string, Runtime.RemoteObject>();
  const answer = post<Runtime.GetPropertiesReturnType>("Runtime.getProperties", { objectId, ownProperties: true });
  for (const property of answer.internalProperties ?? []) {
    if (property.value) found.set(property.name, property.value);
  }
  return found;
}

function release(): void {
  post("Runtime.releaseObjectGroup", { objectGroup: GROUP });
}

/** Where `fn` was written and copies of the scopes it sees, innermost first. */
export function inspectFunction(fn: AnyFunction): Inspected {
  try {
    const internals = internalsOf(remoteOf(fn));
    const location = internals.get("[[FunctionLocation]]")?.value as Debugger.Location | undefined;
    const scopes = internals.get("[[Scopes]]");
    if (scopes?.objectId !== undefined) {
      post("Runtime.callFunctionOn", {
        objectId: scopes.objectId,
        functionDeclaration: `function () { ${DESK}.scopes = this; }`,
      });
    }
    return {
      scriptId: location?.scriptId,
      line: location?.lineNumber ?? 0,
      column: location?.columnNumber ?? 0,
      scopes: Array.from(desk.scopes ?? []),
    };
  } finally {
    desk.scopes = undefined;
    release();
  }
}

/** What a bound function is bound to; undefined if `fn` is not bound. */
export function inspectBound(
  fn: AnyFunction,
): { target: AnyFunction; self: unknown; args: readonly unknown[] } | undefined {
  try {
    const internals = internalsOf(remoteOf(fn));
    const target = internals.get("[[TargetFunction]]");
    const args = internals.get("[[BoundArgs]]");
    const self = internals.get("[[BoundThis]]");
    if (!target || !args || !self) return undefined;
    const argument = (remote: Runtime.RemoteObject): Runtime.CallArgument => {
      if (remote.objectId !== undefined) return { objectId: remote.objectId };
      if (remote.unserializableValue !== undefined) return { unserializableValue: remote.unserializableValue };
      return remote.type === "undefined" ? {} : { value: remote.value };
    };
    post("Runtime.callFunctionOn", {
      objectId: target.objectId,
      functionDeclaration: `function (self, args) { ${DESK}.bound = { target: this, self, args }; }`,
      arguments: [argument(self), argument(args)],
    });
    const bound = desk.bound;
    if (typeof bound?.target !== "function") return undefined;
    return { target: bound.target, self: bound.self, args: Array.from(bound.args as ArrayLike<unknown>) };
  } finally {
    desk.bound = undefined;
    release();
  }
}

let isDebuggerOn = false;

/** Runs `work` while the debugger is on; it stays on until the current turn ends, for the next one who needs it. */
function withDebugger<R>(work: () => R): R {
  if (!isDebuggerOn) {
    post("Debugger.enable", {});
    isDebuggerOn = true;
    queueMicrotask(() => {
      isDebuggerOn = false;
      post("Debugger.disable", {});
    });
  }
  return work();
}

/** The script a function came from; undefined if V8 has forgotten it. */
export function scriptOf(scriptId: string): Script | undefined {
  const known = sources.get(scriptId);
  if (known) return known;
  return withDebugger(() => {
    // Scripts compiled since the debugger was switched on have been announced by now.
    const parsed = scripts.get(scriptId);
    if (!parsed) return undefined;
    const { scriptSource } = post<Debugger.GetScriptSourceReturnType>("Debugger.getScriptSource", { scriptId });
    const script = {
      id: scriptId,
      // A `//# sourceURL` of a revived unit says which file the text was written in.
      url: parsed.url,
      source: scriptSource,
      isModule: parsed.isModule ?? false,
    };
    sources.set(scriptId, script);
    return script;
  });
}

/** File URLs of every module that V8 has compiled in this process. */
export function loadedModuleUrls(): string[] {
  withDebugger(() => undefined);
  const urls = [...scripts.values()].filter((script) => script.isModule && script.url.startsWith("file:"));
  return urls.map((script) => script.url);
}

/** Stands for every argument: reading, iterating or calling it gives more of the same, so no default is evaluated. */
const anything: unknown = new Proxy(() => anything, {
  get: (_target, key) => (key === Symbol.iterator ? () => [].values() : anything),
  ownKeys: () => [],
  getOwnPropertyDescriptor: () => undefined,
});

/**
 * Evaluates `expression` at the start of `fn`, where its `this` and the real variables around it can be reached, and
 * ends the call before its first statement. Undefined when that cannot be done: someone else is debugging this
 * process (they would see the pause), or `fn` never pauses.
 */
export function evaluateInside(
  fn: AnyFunction,
  how: "call" | "next",
  expression: string,
): { value: unknown } | undefined {
  return inspectorUrl() === undefined && canPause() ? pauseInside(fn, how, expression) : undefined;
}

let pausesWork: boolean | undefined;

/** Tried once on a function of ours, so that no function of the program runs where pausing does not work. */
function canPause(): boolean {
  if (pausesWork === undefined) {
    let hasRun = false;
    const probe = (): void => {
      hasRun = true;
    };
    pausesWork = pauseInside(probe, "call", "1")?.value === 1 && !hasRun;
  }
  return pausesWork;
}

function pauseInside(fn: AnyFunction, how: "call" | "next", expression: string): { value: unknown } | undefined {
  let found: { value: unknown } | undefined;
  const onPaused = ({ params }: { params: Debugger.PausedEventDataType }): void => {
    try {
      const callFrameId = params.callFrames[0]?.callFrameId;
      const answer = post<Debugger.EvaluateOnCallFrameReturnType>("Debugger.evaluateOnCallFrame", {
        callFrameId,
        objectGroup: GROUP,
        expression: `${DESK}.result = (${expression})`,
      });
      if (!answer.exceptionDetails) found = { value: desk.result };
    } finally {
      // The termination takes effect where the function stands, and `Runtime.evaluate` below absorbs it.
      connected().post("Runtime.terminateExecution", () => undefined);
    }
  };
  const live = connected();
  try {
    return withDebugger(() => {
      const { breakpointId } = post<{ breakpointId: string }>("Debugger.setBreakpointOnFunctionCall", {
        objectId: remoteOf(fn),
      });
      live.on("Debugger.paused", onPaused);
      try {
        desk.input = fn;
        desk.args = Array.from({ length: fn.length + 8 }, () => anything);
        const call = `${DESK}.input(...${DESK}.args)`;
        live.post("Runtime.evaluate", { expression: how === "next" ? `${call}.next()` : call }, () => undefined);
        return found;
      } finally {
        live.off("Debugger.paused", onPaused);
        post("Debugger.removeBreakpoint", { breakpointId });
      }
    });
  } finally {
    desk.input = undefined;
    desk.args = [];
    desk.result = undefined;
    release();
  }
}
