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
let haveGlobals = false;
let haveBuiltins = false;

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

function addGlobals(): void {
  haveGlobals = true;
  for (const name of standardGlobals) {
    if (SKIPPED_GLOBALS.has(name)) continue;
    const property = Reflect.getOwnPropertyDescriptor(globalThis, name);
    // Lazy globals (fetch's classes) are added with the built-in modules, when something unknown turns up.
    if (property && "value" in property) add(property.value, ["global", name], 2);
  }
  // `Intl` and `WebAssembly` hold classes one level down.
  for (const name of ["Intl", "WebAssembly"]) {
    const holder: unknown = Reflect.get(globalThis, name);
    if (!isContainer(holder)) continue;
    for (const key of Object.getOwnPropertyNames(holder)) {
      add(Reflect.get(holder, key), ["global", name, key], 2);
    }
  }
  paths.set(globalThis, ["global"]);
  paths.set(process, ["global", "process"]);
  for (const [name, value] of Object.entries(hiddenRoots)) add(value, ["hidden", name], 2);
  const loaded = loadedBuiltins();
  for (const name of builtinModules) {
    if (loaded.has(name.replace("node:", "")) && !name.startsWith("_")) paths.set(builtin(name), [address(name)]);
  }
}

/** Names of the built-in modules that are loaded. */
function loadedBuiltins(): Set<string | undefined> {
  // Undocumented, but there since Node.js 0.x; its entries look like "NativeModule fs".
  const { moduleLoadList } = process as { moduleLoadList?: readonly string[] };
  return new Set(moduleLoadList?.map((entry) => entry.split(" ").at(-1)));
}

const address = (name: string): string => (name.startsWith("node:") ? name : `node:${name}`);

function builtin(name: string): object {
  return process.getBuiltinModule(name) as object;
}

function addBuiltins(): void {
  haveBuiltins = true;
  for (const name of NODE_GLOBALS) {
    if (!SKIPPED_GLOBALS.has(name)) add(Reflect.get(globalThis, name), ["global", name], 2);
  }
  // Members of `process` that are functions: `process.hrtime`, `process.cwd`.
  for (const key of Object.getOwnPropertyNames(process)) {
    const property = Reflect.getOwnPropertyDescriptor(process, key);
    if (typeof property?.value === "function") add(property.value, ["global", "process", key], 1);
  }
  // A function of a built-in module can only be met if that module is loaded; loading others would cost time and warn.
  const loaded = loadedBuiltins();
  for (const name of builtinModules) {
    if (!loaded.has(name.replace("node:", "")) || name.startsWith("_")) continue;
    const members = builtin(name);
    if (!paths.has(members)) paths.set(members, [address(name)]);
    for (const key of Object.getOwnPropertyNames(members)) {
      const property = Reflect.getOwnPropertyDescriptor(members, key);
      if (property && "value" in property) add(property.value, [address(name), key], 2);
    }
  }
}

/** The path to `value` if it is an object or function that every process has; `isRare` looks everywhere. */
export function intrinsicPath(value: object, isRare = false): IntrinsicPath | undefined {
  if (!haveGlobals) addGlobals();
  const path = paths.get(value);
  if (path || !isRare || haveBuiltins) return path;
  addBuiltins();
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
