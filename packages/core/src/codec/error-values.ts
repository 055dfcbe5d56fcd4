/**
 * Errors as values: what user code threw must arrive, whatever it was. Where a part of an error cannot be shipped, the
 * part is left out and the rest goes: losing the whole error would hide why a task failed.
 */
import { types } from "node:util";
import { MobulaError } from "../base/errors.ts";
import { decode, encode } from "./codec.ts";
import type { DecodeContext } from "./decoder.ts";
import type { EncodeContext } from "./encoder.ts";
import type { ByteSource } from "./input.ts";
import type { Packed } from "./packed.ts";

/** Causes below causes are followed this far. */
const CAUSES_MAX = 20;

/**
 * Packs anything that was thrown, `undefined` included. Class, fields, stack and causes are kept; a class that cannot
 * be shipped becomes the built-in error class it derives from, with its name, and a field that cannot is left out.
 */
export function encodeError(thrown: unknown, context: EncodeContext = {}): Packed {
  const named = { root: "error", ...context };
  try {
    return encode(thrown, named);
  } catch (error) {
    if (!(error instanceof MobulaError)) throw error;
    return encode(shippable(thrown, named, 0), named);
  }
}

/** The inverse of {@link encodeError}. */
export function decodeError(source: Uint8Array | ByteSource, context: DecodeContext = {}): unknown {
  return decode(source, context);
}

function canShip(value: unknown, context: EncodeContext): boolean {
  try {
    encode(value, context);
    return true;
  } catch {
    return false;
  }
}

/** The value itself where that works, else the nearest thing that does. */
function shippable(value: unknown, context: EncodeContext, depth: number): unknown {
  if (canShip(value, context)) return value;
  if (!types.isNativeError(value)) return describe(value);
  return simplified(value, context, depth);
}

/** What is left of something thrown that is neither shippable nor an error. */
function describe(value: unknown): Error {
  const error = new Error(
    `${typeof value === "function" ? "a function" : Object.prototype.toString.call(value)} was thrown, which cannot be shipped`,
  );
  error.name = "UnshippableError";
  return error;
}

function simplified(error: Error, context: EncodeContext, depth: number): Error {
  const copy = new (builtInClass(error))(String(error.message));
  const name: unknown = error.name;
  if (typeof name === "string" && name !== copy.name) set(copy, "name", name, false);
  set(copy, "stack", typeof error.stack === "string" ? error.stack : String(error), false);
  for (const key of Object.getOwnPropertyNames(error)) {
    const descriptor = Object.getOwnPropertyDescriptor(error, key);
    if (!descriptor || key === "message" || key === "stack" || key === "name") continue;
    if (key === "cause" || key === "errors") {
      if (depth >= CAUSES_MAX) continue;
      const value: unknown = descriptor.value;
      const simple = Array.isArray(value)
        ? value.map((one) => shippable(one, context, depth + 1))
        : shippable(value, context, depth + 1);
      set(copy, key, simple, false);
    } else if ("value" in descriptor && canShip(descriptor.value, context)) {
      set(copy, key, descriptor.value, descriptor.enumerable === true);
    }
  }
  return copy;
}

function set(target: object, key: string, value: unknown, enumerable: boolean): void {
  Object.defineProperty(target, key, { value, enumerable, writable: true, configurable: true });
}

const BUILT_IN: readonly ErrorConstructor[] = [EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError];

function builtInClass(error: Error): ErrorConstructor {
  return BUILT_IN.find((one) => error instanceof one) ?? Error;
}
