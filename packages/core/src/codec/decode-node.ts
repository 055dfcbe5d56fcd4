/**
 * Extension types and nodes: everything that is not plain MessagePack.
 */
import { types } from "node:util";
import { type ErrorKind, errorFromCode } from "../base/errors.ts";
import type { Decoder } from "./decoder.ts";
import {
  DEPTH_LIMIT,
  EXT_BACK_REFERENCE,
  EXT_BIGINT,
  EXT_BUFFER,
  EXT_BYTES,
  EXT_INVALID_DATE,
  EXT_SYMBOL,
  EXT_TIMESTAMP,
  EXT_UNDEFINED,
  EXT_UTF16,
  malformed,
  NODE_ARRAY,
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
  VIEW_KIND_MASK,
  VIEW_LENGTH_TRACKING,
  VIEW_RESIZABLE,
} from "./format.ts";
import { exactCopy } from "./input.ts";
import { define, PROPERTY_HIDDEN } from "./properties.ts";
import type { AnyClass } from "./serializers.ts";
import { WELL_KNOWN_SYMBOLS } from "./symbols.ts";
import { makeView } from "./views.ts";

/** Reads an extension value; its length has been read, its type comes next. */
export function readExt(decoder: Decoder, length: number): unknown {
  const { bytes, view } = decoder;
  const type = view.getUint8(decoder.skip(1));
  const at = decoder.skip(length);
  switch (type) {
    case EXT_UNDEFINED:
      return undefined;
    case EXT_BACK_REFERENCE:
      return decoder.backReference(length === 1 ? view.getUint8(at) : view.getUint32(at));
    case EXT_BIGINT:
      return readBigint(bytes.subarray(at, at + length));
    case EXT_UTF16:
      if (length % 2 !== 0) throw malformed(`a UTF-16 string of ${length} bytes`);
      return bytes.toString("utf16le", at, at + length);
    case EXT_BYTES: {
      if (length < 1) throw malformed("a view without a kind");
      const kind = view.getUint8(at);
      if (kind > VIEW_KIND_MASK) throw malformed(`a view of kind ${kind} inband`);
      return decoder.born(makeView(kind, exactCopy(bytes, at + 1, at + length), 0, length - 1));
    }
    case EXT_BUFFER:
      return readBuffer(decoder, at, length);
    case EXT_SYMBOL:
      return readSymbol(bytes, at, length);
    case EXT_INVALID_DATE:
      return decoder.born(new Date(Number.NaN));
    case EXT_TIMESTAMP:
      return decoder.born(readTimestamp(view, at, length));
    default:
      throw malformed(`extension type ${type} means nothing here`);
  }
}

function readBigint(bytes: Buffer): bigint {
  const [first] = bytes;
  if (first === undefined) return 0n;
  if (first < 0x80) return BigInt(`0x${bytes.toString("hex")}`);
  const inverted = Buffer.from(bytes.map((byte) => ~byte));
  return ~BigInt(`0x${inverted.toString("hex")}`);
}

function readSymbol(bytes: Buffer, at: number, length: number): symbol {
  if (length % 2 !== 1) throw malformed(`a symbol of ${length} bytes`);
  const name = bytes.toString("utf16le", at + 1, at + length);
  if (bytes[at] === 0) return Symbol.for(name);
  const symbol = WELL_KNOWN_SYMBOLS.named(name);
  if (!symbol) throw malformed(`there is no Symbol.${name} here`);
  return symbol;
}

function readTimestamp(view: DataView, at: number, length: number): Date {
  if (length === 4) return new Date(view.getUint32(at) * 1000);
  if (length === 8) {
    const high = view.getUint32(at);
    const seconds = (high & 3) * 2 ** 32 + view.getUint32(at + 4);
    return new Date(seconds * 1000 + Math.floor((high >>> 2) / 1_000_000));
  }
  if (length === 12) {
    const seconds = Number(view.getBigInt64(at + 4));
    return new Date(seconds * 1000 + Math.floor(view.getUint32(at) / 1_000_000));
  }
  throw malformed(`a timestamp of ${length} bytes`);
}

function readBuffer(decoder: Decoder, at: number, length: number): unknown {
  const { view } = decoder;
  const flags = length > 0 ? view.getUint8(at) : 0;
  const isResizable = (flags & VIEW_RESIZABLE) !== 0;
  if (length !== (isResizable ? 29 : 21)) throw malformed(`a note of ${length} bytes for a buffer`);
  const buffer = decoder.segment(view.getUint32(at + 1), isResizable ? Number(view.getBigUint64(at + 21)) : undefined);
  const byteOffset = Number(view.getBigUint64(at + 5));
  const byteLength = Number(view.getBigUint64(at + 13));
  if (byteOffset + byteLength > buffer.byteLength) throw malformed("a view reaches past its buffer");
  const followsLength = (flags & VIEW_LENGTH_TRACKING) !== 0;
  return decoder.born(makeView(flags & VIEW_KIND_MASK, buffer, byteOffset, followsLength ? undefined : byteLength));
}

/** Reads a node; its array header has been read, its marker comes next. */
export function readNode(decoder: Decoder, length: number, depth: number): unknown {
  if (depth > DEPTH_LIMIT) throw malformed("it is nested too deeply");
  const kind = decoder.bytes[decoder.skip(3) + 2] as number;
  if (LENGTHS[kind] !== length) throw malformed(`a node of kind ${kind} with ${length} elements`);
  switch (kind) {
    case NODE_ARRAY: {
      const array: unknown[] = decoder.born([]);
      decoder.content((at) => decoder.elements(array, decoder.arrayLength(), at), depth);
      return array;
    }
    case NODE_OBJECT: {
      const object = decoder.born({});
      decoder.content((at) => readProperties(decoder, object, at), depth);
      return object;
    }
    case NODE_NULL_OBJECT: {
      const object: object = decoder.born(Object.create(null) as object);
      decoder.content((at) => readProperties(decoder, object, at), depth);
      return object;
    }
    case NODE_MAP: {
      const map = decoder.born(new Map<unknown, unknown>());
      decoder.content((at) => readEntries(decoder, map, at), depth);
      return map;
    }
    case NODE_SET: {
      const set = decoder.born(new Set<unknown>());
      decoder.content((at) => {
        const size = decoder.countedLength();
        for (let i = 0; i < size; i++) set.add(decoder.read(at + 1));
      }, depth);
      return set;
    }
    case NODE_SPARSE_ARRAY: {
      const array: unknown[] = decoder.born([]);
      array.length = decoder.number();
      decoder.content((at) => readProperties(decoder, array, at), depth);
      return array;
    }
    case NODE_REGEXP:
      return readRegExp(decoder);
    case NODE_BOXED: {
      const slot = decoder.expect();
      const primitive = decoder.read(depth + 1);
      if (primitive === null || primitive === undefined) throw malformed("a boxed nothing");
      return decoder.arrive(slot, Object(primitive));
    }
    case NODE_URL:
      return decoder.born(new URL(decoder.text()));
    case NODE_URL_SEARCH_PARAMS:
      return decoder.born(new URLSearchParams(decoder.text()));
    case NODE_ERROR:
      return readError(decoder, depth);
    case NODE_RUNTIME_ERROR:
      return readRuntimeError(decoder, depth);
    case NODE_DOM_EXCEPTION: {
      const message = decoder.text();
      const error = decoder.born(new DOMException(message, decoder.text()));
      readStack(decoder, error);
      decoder.content((at) => readProperties(decoder, error, at), depth);
      return error;
    }
    case NODE_INSTANCE: {
      const slot = decoder.expect();
      const prototype = readPrototype(decoder, depth);
      const instance: object = decoder.arrive(slot, Object.create(prototype) as object);
      decoder.content((at) => readProperties(decoder, instance, at), depth);
      return instance;
    }
    case NODE_EXTENDED:
      return readExtended(decoder, depth);
    case NODE_CUSTOM:
      return readCustom(decoder, depth);
    case NODE_REGISTERED:
      return readRegistered(decoder, depth);
    default:
      throw malformed(`nodes of kind ${kind} mean nothing here`);
  }
}

const LENGTHS: Readonly<Record<number, number>> = {
  [NODE_ARRAY]: 2,
  [NODE_OBJECT]: 2,
  [NODE_NULL_OBJECT]: 2,
  [NODE_MAP]: 2,
  [NODE_SET]: 2,
  [NODE_SPARSE_ARRAY]: 3,
  [NODE_INSTANCE]: 3,
  [NODE_EXTENDED]: 4,
  [NODE_REGEXP]: 3,
  [NODE_BOXED]: 2,
  [NODE_URL]: 2,
  [NODE_URL_SEARCH_PARAMS]: 2,
  [NODE_ERROR]: 4,
  [NODE_RUNTIME_ERROR]: 5,
  [NODE_DOM_EXCEPTION]: 5,
  [NODE_CUSTOM]: 5,
  [NODE_REGISTERED]: 5,
};

/** A map of enumerable properties, or a list of key, value and flags. */
function readProperties(decoder: Decoder, target: object, depth: number): void {
  const size = decoder.mapSize();
  if (size >= 0) {
    decoder.properties(target, size, depth, true);
    return;
  }
  const count = decoder.countedLength();
  if (count % 3 !== 0) throw malformed("a list of properties that is not in threes");
  for (let i = 0; i < count; i += 3) {
    const key = decoder.read(depth + 1);
    const value = decoder.read(depth + 1);
    const flags = decoder.number();
    if (typeof key === "number" && Array.isArray(target)) target[key] = value;
    else if (typeof key === "string" || typeof key === "symbol")
      define(target, key, value, (flags & PROPERTY_HIDDEN) === 0);
    else throw malformed(`a property under a ${typeof key}`);
  }
}

function readEntries(decoder: Decoder, map: Map<unknown, unknown>, depth: number): void {
  const size = decoder.countedLength();
  if (size % 2 !== 0) throw malformed("a map with a key and no value");
  for (let i = 0; i < size; i += 2) {
    const key = decoder.read(depth + 1);
    map.set(key, decoder.read(depth + 1));
  }
}

function readRegExp(decoder: Decoder): RegExp {
  const source = decoder.text();
  return decoder.born(new RegExp(source, decoder.text()));
}

function readStack(decoder: Decoder, error: Error): void {
  const stack = decoder.read(0);
  // V8 gives errors the stack of where they are made; the one that matters is where they were thrown.
  define(error, "stack", typeof stack === "string" ? stack : undefined, false);
}

/** Makes an error without collecting the stack of this place, which would take longer than all the rest. */
function withoutStack<E extends Error>(make: () => E): E {
  const limit = Error.stackTraceLimit;
  // In a program that froze its intrinsics the limit cannot be set; the error is the same, only slower.
  Reflect.set(Error, "stackTraceLimit", 0);
  try {
    return make();
  } finally {
    Reflect.set(Error, "stackTraceLimit", limit);
  }
}

const ERRORS: Readonly<Record<string, () => Error>> = {
  Error: () => new Error(),
  EvalError: () => new EvalError(),
  RangeError: () => new RangeError(),
  ReferenceError: () => new ReferenceError(),
  SyntaxError: () => new SyntaxError(),
  TypeError: () => new TypeError(),
  URIError: () => new URIError(),
  AggregateError: () => {
    const error = new AggregateError([]);
    // Its list comes with the other properties.
    Reflect.deleteProperty(error, "errors");
    return error;
  },
};

function readError(decoder: Decoder, depth: number): Error {
  const name = decoder.text();
  const make = Object.hasOwn(ERRORS, name) ? ERRORS[name] : undefined;
  // A built-in error that this engine does not have is still an error.
  const error = decoder.born(withoutStack(make ?? (() => new Error())));
  readStack(decoder, error);
  decoder.content((at) => readProperties(decoder, error, at), depth);
  return error;
}

function readRuntimeError(decoder: Decoder, depth: number): Error {
  const code = decoder.text();
  // The kinds are a closed set only within one version; a new one is passed on as it is.
  const kind = decoder.text() as ErrorKind;
  const error = decoder.born(withoutStack(() => errorFromCode(code, kind, "")));
  readStack(decoder, error);
  decoder.content((at) => readProperties(decoder, error, at), depth);
  return error;
}

/** A class or a prototype: what instances inherit from. */
function readPrototype(decoder: Decoder, depth: number): object {
  const value = decoder.read(depth + 1);
  const prototype: unknown = typeof value === "function" ? value.prototype : value;
  if (typeof prototype !== "object" || prototype === null) throw malformed("an instance of something that is no class");
  return prototype;
}

function readExtended(decoder: Decoder, depth: number): unknown {
  const slot = decoder.expect();
  const isOwnClass = decoder.bytes[decoder.pos] !== 0xc0;
  const prototype = isOwnClass ? readPrototype(decoder, depth) : decoder.read(depth);
  decoder.reserve(slot);
  // Its value is at the same depth, so that a class costs no level; two classes around one value do not exist.
  if (decoder.isNode(NODE_EXTENDED)) throw malformed("it is nested too deeply, a class around a class");
  const inner = decoder.read(depth);
  if (typeof inner !== "object" || inner === null) throw malformed("an extended nothing");
  if (isOwnClass && typeof prototype === "object") Object.setPrototypeOf(inner, prototype);
  decoder.content((at) => readProperties(decoder, inner, at), depth);
  return inner;
}

function readCustom(decoder: Decoder, depth: number): unknown {
  const { customizer } = decoder.context;
  const slot = decoder.expect();
  const tag = decoder.number();
  const leaf = customizer?.leaf && decoder.leaf(customizer, tag);
  if (leaf) return decoder.arrive(slot, leaf);
  const head = decoder.plain();
  const early = readList(decoder, depth);
  if (!customizer) throw malformed(`a value with tag ${tag}, and nothing here that understands tags`);
  const begun = decoder.foreign(() => customizer.begin(tag, head, early));
  decoder.arrive(slot, begun.value);
  decoder.content((at) => {
    const children = readList(decoder, at);
    if (begun.finish) decoder.foreign(() => begun.finish?.(children));
  }, depth);
  return begun.value;
}

function readList(decoder: Decoder, depth: number): unknown[] {
  const length = decoder.countedLength();
  const list: unknown[] = [];
  for (let i = 0; i < length; i++) list.push(decoder.read(depth + 1));
  return list;
}

function readRegistered(decoder: Decoder, depth: number): unknown {
  const slot = decoder.expect();
  const [type, serialize, deserialize, data] = decoder.complete(() => [
    decoder.read(depth + 1),
    decoder.read(depth + 1),
    decoder.read(depth + 1),
    decoder.read(depth + 1),
  ]);
  if (typeof type !== "function" || typeof serialize !== "function" || typeof deserialize !== "function") {
    throw malformed("a registered serializer without its functions");
  }
  const { serializers } = decoder.context;
  // The registry checks the rest; the casts only say what a class and the two functions look like to it.
  const known = type as unknown as AnyClass;
  if (serializers && !serializers.find(known)) {
    serializers.register(known, {
      serialize: serialize as (instance: unknown) => unknown,
      deserialize: deserialize as (data: unknown) => unknown,
    });
  }
  return decoder.arrive(
    slot,
    decoder.foreign(() => {
      const value: unknown = deserialize(data);
      if (types.isPromise(value))
        throw new TypeError(`the deserializer of ${type.name} is asynchronous; it must return the instance`);
      return value;
    }),
  );
}
