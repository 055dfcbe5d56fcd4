/**
 * Errors with something in them that cannot be shipped. That part is left out and named, and the rest goes: losing the
 * whole error would hide why a task failed.
 */
import { inspect, types } from "node:util";
import { problemOf } from "./custom.ts";
import { formatPath } from "./path.ts";

/** Ends without an error when the value can be shipped; `path` is what the value is called in the error otherwise. */
export type TryToShip = (value: unknown, path: string) => void;

export interface ShippableError {
  readonly error: unknown;
  /** What is missing in it: `error.request, a socket (Socket)`. */
  readonly leftOut: readonly string[];
}

/** Causes below causes are followed this far. */
const CAUSES_MAX = 20;

/**
 * Of something thrown that cannot be shipped, the nearest thing that can: the same class, message, stack, fields and
 * causes, without those that stand in the way. A class that does becomes the built-in one that it derives from, with its
 * name. What is no error becomes one that describes it.
 */
export function shippableError(thrown: unknown, tryToShip: TryToShip): ShippableError {
  const copier = new Copier(tryToShip);
  const error = copier.nearest(thrown, "error", 0);
  // Parts that can each be shipped may still be too much together.
  const obstacle = copier.obstacle(error, "error");
  if (obstacle !== undefined) return { error: description(thrown), leftOut: [obstacle] };
  return { error, leftOut: copier.leftOut };
}

class Copier {
  readonly leftOut: string[] = [];
  private readonly tryToShip: TryToShip;
  /** Errors may lead back to themselves, and several to the same one. */
  private readonly copies = new Map<Error, Error>();

  constructor(tryToShip: TryToShip) {
    this.tryToShip = tryToShip;
  }

  /** Why the value cannot be shipped; undefined when it can. */
  obstacle(value: unknown, path: string): string | undefined {
    try {
      this.tryToShip(value, path);
      return undefined;
    } catch (error) {
      const problem = problemOf(error);
      return problem ? `${problem.path}, ${problem.type}` : `${path} (${String(error)})`;
    }
  }

  nearest(value: unknown, path: string, depth: number): unknown {
    const obstacle = this.obstacle(value, path);
    if (obstacle === undefined) return value;
    if (types.isNativeError(value)) return this.copies.get(value) ?? this.copy(value, path, depth);
    this.leftOut.push(obstacle);
    return description(value);
  }

  private copy(error: Error, path: string, depth: number): Error {
    const copy = new (builtInClass(error))(String(error.message));
    this.copies.set(error, copy);
    set(copy, "stack", stackOf(error), false);
    for (const key of Object.getOwnPropertyNames(error)) {
      if (key === "message" || key === "stack") continue;
      this.copyField(copy, error, key, formatPath(path, undefined, [key]), depth);
    }
    this.giveClass(copy, error, path);
    return copy;
  }

  /** After its fields, since errors of the runtime are known by theirs. */
  private giveClass(copy: Error, error: Error, path: string): void {
    const builtIn = Object.getPrototypeOf(copy) as Error;
    Object.setPrototypeOf(copy, Object.getPrototypeOf(error));
    const obstacle = this.obstacle(copy, path);
    if (obstacle === undefined) return;
    Object.setPrototypeOf(copy, builtIn);
    // A class that gives its errors no name of their own shows in the name of its constructor only.
    const name: unknown = error.name === builtIn.name ? error.constructor?.name : error.name;
    if (typeof name === "string" && name !== "") set(copy, "name", name, false);
    this.leftOut.push(`its class ${String(name)} (${obstacle})`);
  }

  private copyField(copy: Error, error: Error, key: string, path: string, depth: number): void {
    const isEnumerable = Object.prototype.propertyIsEnumerable.call(error, key);
    let value: unknown;
    try {
      value = Reflect.get(error, key);
    } catch (reason) {
      this.leftOut.push(`${path}, which cannot be read (${String(reason)})`);
      return;
    }
    // Node.js gives its own errors hidden functions, which come with their class.
    if (!isEnumerable && typeof value === "function") return;
    if (key !== "cause" && key !== "errors") {
      const obstacle = this.obstacle(value, path);
      if (obstacle === undefined) set(copy, key, value, isEnumerable);
      else this.leftOut.push(obstacle);
      return;
    }
    if (depth >= CAUSES_MAX) {
      this.leftOut.push(`${path}, which is too far down`);
      return;
    }
    const causes = Array.isArray(value)
      ? value.map((one: unknown, index) => this.nearest(one, `${path}[${index}]`, depth + 1))
      : this.nearest(value, path, depth + 1);
    set(copy, key, causes, isEnumerable);
  }
}

/** What is left of something that is no error. */
function description(value: unknown): Error {
  const error = new Error(types.isNativeError(value) ? String(value.message) : inspect(value, { depth: 2 }));
  error.name = "UnshippableError";
  if (types.isNativeError(value)) set(error, "stack", stackOf(value), false);
  return error;
}

function stackOf(error: Error): string {
  const stack: unknown = error.stack;
  return typeof stack === "string" ? stack : String(error);
}

function set(target: object, key: string, value: unknown, enumerable: boolean): void {
  Object.defineProperty(target, key, { value, enumerable, writable: true, configurable: true });
}

const BUILT_IN: readonly ErrorConstructor[] = [EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError];

function builtInClass(error: Error): ErrorConstructor {
  return BUILT_IN.find((one) => error instanceof one) ?? Error;
}
