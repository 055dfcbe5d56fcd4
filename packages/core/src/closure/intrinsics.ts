/**
 * Objects and functions that every Node.js process has of its own: `Math.max`, `Array.prototype`, members of built-in
 * modules. They travel as the path that leads to them.
 */
import { builtinModules } from "node:module";
import { inspect, types } from "node:util";
import { InternalError } from "../base/errors.ts";

/**
 * `global`, a built-in module's name, or `hidden` for what only an expression reaches; then one step per property:
 * its name (`@@iterator` for a well-known symbol), after `get ` or `set ` where the step takes an accessor's function.
 */
export type IntrinsicPath = readonly string[];

/** What esbuild and tsx call `__name`; they leave calls of it in functions' texts. */
export const esbuildName = (target: object, value: string): object =>
  Object.defineProperty(target, "name", { value, configurable: true });

const hiddenRoots: Readonly<Record<string, unknown>> = {
  esbuildName,
  AsyncFunction: (async () => undefined).constructor,
  GeneratorFunction: function* () {}.constructor,
  AsyncGeneratorFunction: async function* () {}.constructor,
  TypedArray: Object.getPrototypeOf(Uint8Array),
  ArrayIterator: Object.getPrototypeOf([][Symbol.iterator]()),
  MapIterator: Object.getPrototypeOf(new Map()[Symbol.iterator]()),
  SetIterator: Object.getPrototypeOf(new Set()[Symbol.iterator]()),
  StringIterator: Object.getPrototypeOf(""[Symbol.iterator]()),
  AsyncIterator: Object.getPrototypeOf(Object.getPrototypeOf(async function* () {}.prototype)),
};

/** Globals whose getters warn, open files or make something anew. */
const SKIPPED_GLOBALS = new Set(["localStorage", "sessionStorage", "global", "globalThis", "process"]);

/**
 * What Node.js and the language put on `globalThis`; anything else there was put by the program. Read from a fresh
 * list rather than from `globalThis`, which the program may have changed before this module was loaded.
 */
const NODE_GLOBALS = (
  "AbortController AbortSignal Blob BroadcastChannel Buffer ByteLengthQueuingStrategy CloseEvent CompressionStream " +
  "CountQueuingStrategy Crypto CryptoKey CustomEvent DOMException DecompressionStream ErrorEvent Event EventSource " +
  "EventTarget File FormData Headers MessageChannel MessageEvent MessagePort Navigator Performance PerformanceEntry " +
  "PerformanceMark PerformanceMeasure PerformanceObserver PerformanceObserverEntryList PerformanceResourceTiming " +
  "QuotaExceededError ReadableByteStreamController ReadableStream ReadableStreamBYOBReader ReadableStreamBYOBRequest " +
  "ReadableStreamDefaultController ReadableStreamDefaultReader Request Response Storage SubtleCrypto TextDecoder " +
  "TextDecoderStream TextEncoder TextEncoderStream TransformStream TransformStreamDefaultController URL URLPattern " +
  "URLSearchParams WebAssembly WebSocket WritableStream WritableStreamDefaultController WritableStreamDefaultWriter " +
  "atob btoa clearImmediate clearInterval clearTimeout console crypto fetch global localStorage navigator " +
  "performance process queueMicrotask sessionStorage setImmediate setInterval setTimeout structuredClone gc"
).split(" ");

/** Globals that are objects with members, not functions. */
const NAMESPACES = ["Atomics", "Intl", "JSON", "Math", "Reflect", "WebAssembly", "console", "performance"];

const LANGUAGE_GLOBALS = (
  "AggregateError Array ArrayBuffer AsyncDisposableStack Atomics BigInt BigInt64Array BigUint64Array Boolean DataView " +
  "Date DisposableStack Error EvalError FinalizationRegistry Float16Array Float32Array Float64Array Function Infinity " +
  "Int16Array Int32Array Int8Array Intl Iterator JSON Map Math NaN Number Object Promise Proxy RangeError " +
  "ReferenceError Reflect RegExp Set SharedArrayBuffer String SuppressedError Symbol SyntaxError TypeError URIError " +
  "Uint16Array Uint32Array Uint8Array Uint8ClampedArray WeakMap WeakRef WeakSet decodeURI decodeURIComponent " +
  "encodeURI encodeURIComponent escape eval globalThis isFinite isNaN parseFloat parseInt undefined unescape"
).split(" ");

const standardGlobals: ReadonlySet<string> = new Set([...NODE_GLOBALS, ...LANGUAGE_GLOBALS]);

/** True for a global that a worker has of its own. */
export function isStandardGlobal(name: string): boolean {
  return standardGlobals.has(name);
}

const paths = new Map<object, IntrinsicPath>();
let haveObjects = false;
let haveFunctions = false;

function keyText(key: string | symbol): string | undefined {
  if (typeof key === "string") return key;
  const name = key.description?.replace("Symbol.", "");
  return name !== undefined && Reflect.get(Symbol, name) === key ? `@@${name}` : undefined;
}

function isContainer(value: unknown): value is object {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}

function add(value: unknown, path: IntrinsicPath, depth: number): void {
  if (!isContainer(value) || paths.has(value) || value === globalThis || types.isProxy(value)) return;
  paths.set(value, path);
  if (depth === 0) return;
  for (const key of Reflect.ownKeys(value)) {
    const text = keyText(key);
    const property = Reflect.getOwnPropertyDescriptor(value, key);
    if (text === undefined || !property || key === "constructor") continue;
    if ("value" in property) {
      const isNested = typeof property.value === "function" || key === "prototype";
      if (isNested) add(property.value, [...path, text], depth - 1);
    } else {
      if (property.get) add(property.get, [...path, `get ${text}`], 0);
      if (property.set) add(property.set, [...path, `set ${text}`], 0);
    }
  }
}

/** The few objects that are neither functions nor prototypes: `Math`, `console`, built-in modules. */
function addObjects(): void {
  haveObjects = true;
  for (const name of NAMESPACES) {
    const value: unknown = Reflect.getOwnPropertyDescriptor(globalThis, name)?.value;
    if (isContainer(value)) paths.set(value, ["global", name]);
  }
  paths.set(globalThis, ["global"]);
  paths.set(process, ["global", "process"]);
  for (const [name, members] of loadedBuiltins()) {
    if (!paths.has(members)) paths.set(members, [name]);
  }
}

/** Everything that can be reached; it takes some milliseconds, and waits until a native function turns up. */
function addFunctions(): void {
  haveFunctions = true;
  for (const name of standardGlobals) {
    if (!SKIPPED_GLOBALS.has(name)) addMembers(Reflect.get(globalThis, name), ["global", name]);
  }
  // `Intl` and `WebAssembly` hold classes one level down.
  for (const name of ["Intl", "WebAssembly"]) {
    const holder: unknown = Reflect.get(globalThis, name);
    if (!isContainer(holder)) continue;
    for (const key of Object.getOwnPropertyNames(holder)) addMembers(Reflect.get(holder, key), ["global", name, key]);
  }
  for (const [name, value] of Object.entries(hiddenRoots)) addMembers(value, ["hidden", name]);
  for (const key of Object.getOwnPropertyNames(process)) {
    const property = Reflect.getOwnPropertyDescriptor(process, key);
    if (typeof property?.value === "function") add(property.value, ["global", "process", key], 1);
  }
  // A function of a built-in module can only be met if that module is loaded; loading others would cost time and warn.
  for (const [name, members] of loadedBuiltins()) {
    for (const key of Object.getOwnPropertyNames(members)) {
      const property = Reflect.getOwnPropertyDescriptor(members, key);
      if (property && "value" in property) add(property.value, [name, key], 2);
    }
  }
}

/** `value` and what it holds; `value` may be known already as an object. */
function addMembers(value: unknown, path: IntrinsicPath): void {
  if (!isContainer(value)) return;
  const known = paths.get(value);
  if (known) paths.delete(value);
  add(value, path, 2);
}

/** Public built-in modules that are loaded, by address. */
function loadedBuiltins(): [string, object][] {
  // Undocumented, but there since Node.js 0.x; its entries look like "NativeModule fs". Internal bindings are listed
  // too, some under the name of a module that is not loaded: asking for that would load it.
  const { moduleLoadList } = process as { moduleLoadList?: readonly string[] };
  const prefix = "NativeModule ";
  const modules = moduleLoadList?.filter((entry) => entry.startsWith(prefix)) ?? [];
  const loaded = new Set(modules.map((entry) => entry.slice(prefix.length)));
  return builtinModules.flatMap((name): [string, object][] => {
    const bare = name.replace("node:", "");
    if (!loaded.has(bare) || bare.startsWith("_")) return [];
    const members: unknown = process.getBuiltinModule(name);
    return isContainer(members) ? [[`node:${bare}`, members]] : [];
  });
}

/** The path to an object that is neither a function nor a prototype, if every process has it. Quick. */
export function intrinsicObjectPath(value: object): IntrinsicPath | undefined {
  if (!haveObjects) addObjects();
  return paths.get(value);
}

/** The path to any object or function that every process has. */
export function intrinsicPath(value: object): IntrinsicPath | undefined {
  if (!haveObjects) addObjects();
  if (!haveFunctions) addFunctions();
  return paths.get(value);
}

/** The inverse: what this process has under `path`. */
export function intrinsicAt(path: IntrinsicPath): unknown {
  const [root = "", ...steps] = path;
  let at: unknown = root === "global" ? globalThis : root === "hidden" ? hiddenRoots : process.getBuiltinModule(root);
  for (const step of steps) {
    const accessor = step.startsWith("get ") ? "get" : step.startsWith("set ") ? "set" : undefined;
    const text = accessor ? step.slice(4) : step;
    const key = text.startsWith("@@") ? (Reflect.get(Symbol, text.slice(2)) as symbol) : text;
    if (!isContainer(at)) break;
    at = accessor ? Reflect.getOwnPropertyDescriptor(at, key)?.[accessor] : Reflect.get(at, key);
  }
  if (at === undefined) {
    throw new InternalError(`this Node.js (${process.version}) has no ${inspect(path)}; use one version everywhere`);
  }
  return at;
}
