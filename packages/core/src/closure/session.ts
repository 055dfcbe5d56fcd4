/**
 * What one submission has captured so far: which code it needs, and which scope instances it shares.
 */
import { SerializationError } from "../base/errors.ts";
import type { EncodeSession } from "../codec/custom.ts";
import type { CodeUnit } from "./code-unit.ts";
import { type AnyFunction, evaluateInside, inspectFunction, type ScopeCopy } from "./inspector.ts";
import type { Layer } from "./layer.ts";

/** A program bundled into one file would otherwise travel whole with its first function. */
export const CAPTURED_FUNCTIONS_MAX = 200;
export const CAPTURED_SOURCE_BYTES_MAX = 1024 * 1024;

/** One scope at run time, seen by one or more captured functions. */
export interface ScopeInstance {
  /** The layers that hold its variables, by name. */
  readonly layers: Map<string, Layer>;
}

interface Sighting {
  readonly instance: ScopeInstance;
  readonly fn: AnyFunction;
  readonly how: "call" | "next";
  readonly copy: Readonly<Record<string, unknown>>;
  /** Variables that were captured from it, and so can be written by `evaluateInside`. */
  readonly names: readonly string[];
  write: ((value: unknown) => void) | undefined;
}

export class CaptureSession {
  readonly units = new Map<string, CodeUnit>();
  /** Addresses of modules that the receiver imports. */
  readonly modules = new Set<string>();
  #sourceBytes = 0;
  readonly #singletons = new Map<string, ScopeInstance>();
  readonly #sightings = new Map<string, Sighting[]>();

  useUnit(unit: CodeUnit, name: string): void {
    if (this.units.has(unit.hash)) return;
    this.units.set(unit.hash, unit);
    this.#sourceBytes += unit.text.length;
    if (this.units.size > CAPTURED_FUNCTIONS_MAX || this.#sourceBytes > CAPTURED_SOURCE_BYTES_MAX) {
      throw new SerializationError(
        `capturing ${name} would take along more than ${CAPTURED_FUNCTIONS_MAX} functions or ` +
          `${CAPTURED_SOURCE_BYTES_MAX / 1024 / 1024} MiB of source: the program looks bundled into one file; build it ` +
          "with the esbuild plugin of mobula/esbuild, which makes task modules entries of their own, or export the " +
          "function from a module of its own",
      );
    }
  }

  /** The scope of a module's top level, of which there is one. */
  topLevel(script: string): ScopeInstance {
    let instance = this.#singletons.get(script);
    if (!instance) {
      instance = { layers: new Map() };
      this.#singletons.set(script, instance);
    }
    return instance;
  }

  /**
   * The scope that `fn` sees at `index`, counted from the outside, in which it uses the variables `names`.
   *
   * V8 shows copies of scopes, without identity. Scopes whose copies differ are different. For equal ones the truth
   * is found by writing a mark into a variable from inside one function and looking for it from the other.
   */
  instance(
    fn: AnyFunction,
    how: "call" | "next",
    url: string,
    scopes: readonly ScopeCopy[],
    index: number,
    names: readonly string[],
  ): ScopeInstance {
    const copy = (scopes[index] as ScopeCopy).object;
    const keys = Object.keys(copy);
    const key = `${url}|${scopes.length - index}|${keys.join()}`;
    let sightings = this.#sightings.get(key);
    if (!sightings) {
      sightings = [];
      this.#sightings.set(key, sightings);
    }
    for (const sighting of sightings) {
      const isEqual = keys.every((name) => Object.is(sighting.copy[name], copy[name]));
      if (isEqual && this.#isSame(sighting, fn, index)) return sighting.instance;
    }
    const instance = { layers: new Map<string, Layer>() };
    sightings.push({ instance, fn, how, copy, names, write: undefined });
    return instance;
  }

  #isSame(sighting: Sighting, fn: AnyFunction, index: number): boolean {
    const [name] = sighting.names;
    if (name === undefined) return false;
    sighting.write ??= evaluateInside(sighting.fn, sighting.how, `(value) => { ${name} = value; }`)?.value as
      | Sighting["write"]
      | undefined;
    if (!sighting.write) {
      throw new SerializationError(
        `${fn.name || "a function"} and ${sighting.fn.name || "a function"} may share the variable ${name}, which ` +
          "cannot be told while this process is being debugged; pass them in separate submissions, or keep the " +
          "variable in an object that both use",
      );
    }
    const mark = {};
    const before = sighting.copy[name];
    try {
      sighting.write(mark);
    } catch (error) {
      // A constant: nothing is lost when each function has its own copy.
      if (error instanceof TypeError) return false;
      throw error;
    }
    try {
      return inspectFunction(fn).scopes[index]?.object[name] === mark;
    } finally {
      sighting.write(before);
    }
  }
}

const sessions = new WeakMap<EncodeSession, CaptureSession>();

export function captureSession(session: EncodeSession): CaptureSession {
  let found = sessions.get(session);
  if (!found) {
    found = new CaptureSession();
    sessions.set(session, found);
  }
  return found;
}
