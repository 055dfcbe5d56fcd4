/**
 * Everything that is not a number, a string, an ordinary array or an ordinary object: how each is made into a node.
 */
import { types } from "node:util";
import { errorFromCode, MobulaError } from "../base/errors.ts";
import { builtInConstructorName, classOf, intrinsicName, isObjectPrototype } from "./classes.ts";
import type { CustomNode } from "./custom.ts";
import type { Encoder } from "./encoder.ts";
import {
  EXT_INVALID_DATE,
  EXT_TIMESTAMP,
  NODE_BOXED,
  NODE_CUSTOM,
  NODE_DOM_EXCEPTION,
  NODE_ERROR,
  NODE_EXTENDED,
  NODE_INSTANCE,
  NODE_MAP,
  NODE_NULL_OBJECT,
  NODE_OBJECT,
  NODE_REGEXP,
  NODE_REGISTERED,
  NODE_RUNTIME_ERROR,
  NODE_SET,
  NODE_SPARSE_ARRAY,
  NODE_URL,
  NODE_URL_SEARCH_PARAMS,
  VIEW_ARRAY_BUFFER,
} from "./format.ts";
import { DETACHED, refuseByClass, refuseByLook, SHARED_MEMORY } from "./obstacles.ts";
import { mapKeyStep, mapValueStep, namedStep, setStep } from "./path.ts";
import {
  hasExtraProperties,
  isDense,
  listIndexed,
  listProperties,
  type Property,
  writeProperties,
} from "./properties.ts";
import type { Serializer } from "./serializers.ts";
import { viewKind } from "./views.ts";

/** How a built-in value writes itself, without its number; `knownKeys` are own properties that its form already holds. */
interface BuiltIn {
  readonly write: (depth: number) => void;
  /** The built-in prototype, if the value's own is that. */
  readonly isExact: boolean;
  /** Own properties that must be written besides. */
  readonly extra: readonly Property[];
}

export function writeOther(encoder: Encoder, value: object, depth: number): void {
  const prototype: object | null = Object.getPrototypeOf(value);
  const { serializers } = encoder.context;
  if (serializers && serializers.size > 0 && prototype) {
    const type = classOf(prototype);
    const serializer = type && serializers.find(type);
    if (type && serializer) {
      writeRegistered(encoder, value, type, serializer, depth);
      return;
    }
  }
  const builtIn = asBuiltIn(encoder, value, prototype, depth);
  if (builtIn === REFUSED) return;
  if (builtIn) {
    writeBuiltIn(encoder, value, prototype, builtIn, depth);
    return;
  }
  const words = refuseByLook(value);
  if (words) {
    encoder.refuse(words, depth);
    return;
  }
  if (prototype === null || isObjectPrototype(prototype)) {
    const properties = types.isArgumentsObject(value)
      ? Object.keys(value).map((key): Property => ({ key, isEnumerable: true }))
      : listProperties(encoder, value, depth);
    if (!properties) return;
    encoder.node(prototype === null ? NODE_NULL_OBJECT : NODE_OBJECT, 2);
    encoder.content((at) => writeProperties(encoder, value, properties, at), depth);
    return;
  }
  writeInstance(encoder, value, prototype, depth);
}

const REFUSED = Symbol("refused");

/** Recognises a value by its internal slots, whatever its class. */
function asBuiltIn(
  encoder: Encoder,
  value: object,
  prototype: object | null,
  depth: number,
): BuiltIn | typeof REFUSED | undefined {
  const exact = (name: string): boolean => prototype !== null && intrinsicName(prototype) === name;
  const plain = (name: string, write: (depth: number) => void): BuiltIn | typeof REFUSED => {
    const extra = hasExtraProperties(value, KNOWN_KEYS[name] ?? 0)
      ? listProperties(encoder, value, depth, SKIPPED[name])
      : [];
    return extra ? { write, isExact: exact(name), extra } : REFUSED;
  };
  if (Array.isArray(value)) {
    const write = (at: number): void => writeArray(encoder, value, at);
    return { write, isExact: exact("Array"), extra: [] };
  }
  if (ArrayBuffer.isView(value)) return viewAsBuiltIn(encoder, value, depth);
  if (types.isArrayBuffer(value)) {
    if (value.detached) {
      encoder.refuse(DETACHED, depth);
      return REFUSED;
    }
    return plain("ArrayBuffer", () =>
      encoder.buffers.write(encoder.out, value, 0, value.byteLength, VIEW_ARRAY_BUFFER, undefined),
    );
  }
  if (types.isSharedArrayBuffer(value)) {
    encoder.refuse(SHARED_MEMORY, depth);
    return REFUSED;
  }
  if (types.isMap(value)) return plain("Map", (at) => writeMap(encoder, value, at));
  if (types.isSet(value)) return plain("Set", (at) => writeSet(encoder, value, at));
  if (types.isDate(value)) return plain("Date", () => writeDate(encoder, value));
  if (types.isRegExp(value)) {
    return plain("RegExp", () => {
      encoder.node(NODE_REGEXP, 3);
      encoder.string(value.source);
      encoder.string(value.flags);
    });
  }
  // Before native errors, which V8 counts DOMException among.
  if (value instanceof DOMException) return domExceptionAsBuiltIn(encoder, value, prototype, depth);
  if (types.isNativeError(value)) return errorAsBuiltIn(encoder, value, prototype, depth);
  if (types.isBoxedPrimitive(value)) {
    const write = (at: number): void => {
      encoder.node(NODE_BOXED, 2);
      encoder.write(unbox(value), at + 1);
    };
    return { write, isExact: exact(Object.prototype.toString.call(unbox(value)).slice(8, -1)), extra: [] };
  }
  if (value instanceof URL) {
    const write = (): void => {
      encoder.node(NODE_URL, 2);
      encoder.string(value.href);
    };
    return { write, isExact: prototype === URL.prototype, extra: [] };
  }
  if (value instanceof URLSearchParams) {
    const write = (): void => {
      encoder.node(NODE_URL_SEARCH_PARAMS, 2);
      encoder.string(value.toString());
    };
    return { write, isExact: prototype === URLSearchParams.prototype, extra: [] };
  }
  return undefined;
}

/** Own properties that every value of the kind has. */
const KNOWN_KEYS: Readonly<Record<string, number>> = { RegExp: 1 };
const SKIPPED: Readonly<Record<string, ReadonlySet<string>>> = { RegExp: new Set(["lastIndex"]) };

function unbox(value: object): unknown {
  if (types.isNumberObject(value)) return Number.prototype.valueOf.call(value);
  if (types.isStringObject(value)) return String.prototype.valueOf.call(value);
  if (types.isBooleanObject(value)) return Boolean.prototype.valueOf.call(value);
  if (types.isBigIntObject(value)) return BigInt.prototype.valueOf.call(value);
  return Symbol.prototype.valueOf.call(value);
}

/** A built-in value as it is, or wrapped with its class and the properties that its form has no place for. */
function writeBuiltIn(
  encoder: Encoder,
  value: object,
  prototype: object | null,
  builtIn: BuiltIn,
  depth: number,
): void {
  if (builtIn.isExact && builtIn.extra.length === 0) {
    builtIn.write(depth);
    return;
  }
  if (!builtIn.isExact && prototype !== null) {
    const words = refuseByClass(prototype, true);
    if (words) {
      encoder.refuse(words, depth);
      return;
    }
  }
  encoder.node(NODE_EXTENDED, 4);
  if (builtIn.isExact) encoder.write(null, depth + 1);
  else writePrototype(encoder, value, prototype, depth);
  builtIn.write(depth);
  encoder.content((at) => writeProperties(encoder, value, builtIn.extra, at), depth);
}

/** The class, or, for an object made with Object.create(other), the other object itself. */
function writePrototype(encoder: Encoder, value: object, prototype: object | null, depth: number): void {
  encoder.writeEarly(value, depth, () => {
    const type = prototype && classOf(prototype);
    encoder.at(depth, namedStep(type ? ".constructor" : ".__proto__"));
    encoder.write(type ?? prototype, depth + 1);
  });
}

function writeInstance(encoder: Encoder, value: object, prototype: object, depth: number): void {
  const words = refuseByClass(prototype, false);
  if (words) {
    encoder.refuse(words, depth);
    return;
  }
  const properties = listProperties(encoder, value, depth);
  if (!properties) return;
  encoder.node(NODE_INSTANCE, 3);
  writePrototype(encoder, value, prototype, depth);
  encoder.content((at) => writeProperties(encoder, value, properties, at), depth);
}

/** An array that has holes, extra properties, or a class of its own. */
function writeArray(encoder: Encoder, value: readonly unknown[], depth: number): void {
  if (Object.getPrototypeOf(value) !== Array.prototype && isDense(value)) {
    encoder.content((at) => encoder.elements(value, value.length, at), depth);
    return;
  }
  const properties = listProperties(encoder, value, depth, SKIPPED_IN_ARRAYS);
  if (!properties) return;
  if (value.length <= HOLEY_ARRAY_MAX && properties.every((one) => typeof one.key === "string" && isIndex(one.key))) {
    encoder.content((at) => encoder.elements(value, value.length, at), depth);
    return;
  }
  encoder.node(NODE_SPARSE_ARRAY, 3);
  encoder.out.number(value.length);
  encoder.content((at) => writeProperties(encoder, value, properties, at, true), depth);
}

const SKIPPED_IN_ARRAYS: ReadonlySet<string> = new Set(["length"]);
/** Holes of an array up to this length are written one by one. */
const HOLEY_ARRAY_MAX = 64;
const isIndex = (key: string): boolean => String(Number(key) >>> 0) === key;

function viewAsBuiltIn(encoder: Encoder, value: ArrayBufferView, depth: number): BuiltIn | typeof REFUSED {
  const { buffer } = value;
  if (!types.isArrayBuffer(buffer)) {
    encoder.refuse(SHARED_MEMORY, depth);
    return REFUSED;
  }
  if (buffer.detached) {
    encoder.refuse(DETACHED, depth);
    return REFUSED;
  }
  const { kind, exact } = viewKind(value);
  const write = (): void => encoder.buffers.write(encoder.out, buffer, value.byteOffset, value.byteLength, kind, value);
  // As in structured clone, extra properties of ordinary typed arrays are not looked for: listing them would take
  // longer than shipping the array.
  const extra = exact ? [] : listIndexed(encoder, value, depth);
  return extra ? { write, isExact: exact, extra } : REFUSED;
}

function writeMap(encoder: Encoder, map: ReadonlyMap<unknown, unknown>, depth: number): void {
  encoder.node(NODE_MAP, 2);
  encoder.content((at) => {
    encoder.out.arrayHeader(map.size * 2);
    let index = 0;
    // Copied first: a getter or serializer that changes the map must not change the announced number.
    for (const [key, item] of [...map]) {
      if (typeof key === "object" || typeof key === "function") encoder.at(at, mapKeyStep(index));
      encoder.write(key, at + 1);
      if (typeof item !== "number" && typeof item !== "string") encoder.at(at, mapValueStep(key, index));
      encoder.write(item, at + 1);
      index++;
    }
  }, depth);
}

function writeSet(encoder: Encoder, set: ReadonlySet<unknown>, depth: number): void {
  encoder.node(NODE_SET, 2);
  encoder.content((at) => {
    encoder.out.arrayHeader(set.size);
    let index = 0;
    for (const item of [...set]) {
      if (typeof item !== "number" && typeof item !== "string") encoder.at(at, setStep(index));
      encoder.write(item, at + 1);
      index++;
    }
  }, depth);
}

/** MessagePack's timestamp: seconds, and nanoseconds below a second. */
function writeDate(encoder: Encoder, date: Date): void {
  const { out } = encoder;
  const ms = Date.prototype.getTime.call(date);
  if (Number.isNaN(ms)) {
    out.ext1(EXT_INVALID_DATE, 0);
    return;
  }
  const seconds = Math.floor(ms / 1000);
  const nanoseconds = (ms - seconds * 1000) * 1_000_000;
  if (seconds >= 0 && seconds < 2 ** 34) {
    out.extHeader(EXT_TIMESTAMP, 8);
    out.uint32(nanoseconds * 4 + Math.floor(seconds / 2 ** 32));
    out.uint32(seconds >>> 0);
  } else {
    out.extHeader(EXT_TIMESTAMP, 12);
    out.uint32(nanoseconds);
    out.uint32(Math.floor(seconds / 2 ** 32) >>> 0);
    out.uint32(seconds >>> 0);
  }
}

const SKIPPED_IN_ERRORS: ReadonlySet<string> = new Set(["stack"]);
const SKIPPED_IN_RUNTIME_ERRORS: ReadonlySet<string> = new Set(["stack", "code", "kind"]);

function writeStack(encoder: Encoder, error: { readonly stack?: string }): void {
  const stack: unknown = error.stack;
  encoder.write(typeof stack === "string" ? stack : null, 0);
}

function errorAsBuiltIn(
  encoder: Encoder,
  error: Error,
  prototype: object | null,
  depth: number,
): BuiltIn | typeof REFUSED {
  const isRuntimeError =
    error instanceof MobulaError && Object.getPrototypeOf(errorFromCode(error.code, error.kind, "")) === prototype;
  const listed = listProperties(encoder, error, depth, isRuntimeError ? SKIPPED_IN_RUNTIME_ERRORS : SKIPPED_IN_ERRORS);
  if (!listed) return REFUSED;
  // Node.js gives its own errors a hidden toString.
  const properties = listed.filter((one) => one.isEnumerable || typeof readOwn(error, one.key) !== "function");
  if (isRuntimeError) {
    const write = (at: number): void => {
      encoder.node(NODE_RUNTIME_ERROR, 5);
      encoder.string(error.code);
      encoder.string(error.kind);
      writeStack(encoder, error);
      encoder.content((inner) => writeProperties(encoder, error, properties, inner), at);
    };
    return { write, isExact: true, extra: [] };
  }
  // Node.js makes its own errors (code ERR_…) with hidden classes that name a built-in one as their constructor.
  const own = builtInConstructorName(error);
  let base = own;
  for (let at = prototype; base === undefined && at !== null; at = Object.getPrototypeOf(at)) base = intrinsicName(at);
  const write = (at: number): void => {
    encoder.node(NODE_ERROR, 4);
    encoder.string(base ?? "Error");
    writeStack(encoder, error);
    encoder.content((inner) => writeProperties(encoder, error, properties, inner), at);
  };
  return { write, isExact: own !== undefined, extra: [] };
}

const readOwn = (holder: object, key: string | symbol): unknown => Object.getOwnPropertyDescriptor(holder, key)?.value;

function domExceptionAsBuiltIn(
  encoder: Encoder,
  error: DOMException,
  prototype: object | null,
  depth: number,
): BuiltIn | typeof REFUSED {
  const properties = listProperties(encoder, error, depth, SKIPPED_IN_ERRORS);
  if (!properties) return REFUSED;
  const write = (at: number): void => {
    encoder.node(NODE_DOM_EXCEPTION, 5);
    encoder.string(error.message);
    encoder.string(error.name);
    writeStack(encoder, error);
    encoder.content((inner) => writeProperties(encoder, error, properties, inner), at);
  };
  return { write, isExact: prototype === DOMException.prototype, extra: [] };
}

function writeRegistered(encoder: Encoder, value: object, type: object, serializer: Serializer, depth: number): void {
  encoder.at(depth, namedStep(".serialize()"));
  const data = serializer.serialize(value);
  encoder.node(NODE_REGISTERED, 5);
  encoder.writeComplete(value, depth, () => {
    encoder.at(depth, namedStep(".constructor"));
    encoder.write(type, depth + 1);
    encoder.at(depth, namedStep(".serialize"));
    encoder.write(serializer.serialize, depth + 1);
    encoder.at(depth, namedStep(".deserialize"));
    encoder.write(serializer.deserialize, depth + 1);
    encoder.at(depth, namedStep(".serialize()"));
    encoder.write(data, depth + 1);
  });
}

/** What a customizer described: tag, head, the values that come first, the values that may lead back. */
export function writeCustomNode(encoder: Encoder, value: object, node: CustomNode, depth: number): void {
  const { out } = encoder;
  const early = node.early ?? [];
  const children = node.children ?? [];
  encoder.node(NODE_CUSTOM, 5);
  out.number(node.tag);
  encoder.plain(node.head);
  out.arrayHeader(early.length);
  if (early.length > 0) {
    encoder.writeEarly(value, depth, () => {
      for (const [index, one] of early.entries()) {
        const name = node.earlyNames?.[index];
        encoder.at(depth, name === undefined ? EARLY_STEP : namedStep(name));
        encoder.write(one, depth + 1);
      }
    });
  }
  if (children.length === 0) {
    out.arrayHeader(0);
    return;
  }
  encoder.content((at) => {
    out.arrayHeader(children.length);
    for (const [index, one] of children.entries()) {
      const name = node.childNames?.[index];
      encoder.at(at, name === undefined ? index : namedStep(name));
      encoder.write(one, at + 1);
    }
  }, depth);
}

const EARLY_STEP = namedStep(".<base>");
