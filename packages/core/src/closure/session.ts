/**
 * What one submission has captured so far: which code it needs, and which scope instances it shares.
 */
import { SerializationError } from "../base/errors.ts";
import type { EncodeSession } from "../codec/custom.ts";
import { type CodeUnit, IMPORT_NAME } from "./code-unit.ts";
import { type AnyFunction, evaluateInside, inspectFunction, readVariable, type ScopeCopy } from "./inspector.ts";
import type { Layer } from "./layer.ts";
import { asUrl, ImportedBinding } from "./modules.ts";

/** A program bundled into one file would otherwise travel whole with its first function. */
const CAPTURED_FUNCTIONS_MAX = 200;
const CAPTURED_SOURCE_BYTES_MAX = 1024 * 1024;

/** One scope at run time, seen by one or more captured functions. */
export interface ScopeInstance {
  /** The layers that hold its variables, by name. */
  readonly layers: Map<string, Layer>;
}

/** A function that can be called to reach the variables around it. */
export interface Insider {
  readonly fn: AnyFunction;
  /** A generator runs only when asked for its first value. */
  readonly how: "call" | "next";
}

/** One function's view of a scope. */
export interface Sighting {
  readonly fn: AnyFunction;
  readonly url: string;
  readonly scopes: readonly ScopeCopy[];
  /** Which of the scopes. */
  readonly index: number;
  /** Variables that the function uses and that may be assigned to. */
  readonly names: readonly string[];
  /** The function itself, or for a class a method of it, that uses `name`. */
  insider(name: string): Insider | undefined;
}

interface Seen {
  readonly sighting: Sighting;
  readonly instance: ScopeInstance;
  write: ((value: unknown) => void) | undefined;
}

export class CaptureSession {
  readonly units = new Map<string, CodeUnit>();
  /** Hashes of units whose text has been written into the submission. */
  readonly embedded = new Set<string>();
  /** Addresses of modules that the receiver imports. */
  readonly modules = new Set<string>();
  /** Files, as the value names them, whose functions may import more at the receiver, as they could from the file. */
  readonly origins = new Set<string>();
  /** Names of the variables that may be assigned to, each as often as there are variables of that name. */
  readonly variables: string[] = [];
  /** Objects that variables hold which nothing assigns to, with such a variable's name. */
  readonly objects = new Map<object, string>();
  #sourceBytes = 0;
  readonly #singletons = new Map<string, ScopeInstance>();
  readonly #sightings = new Map<string, Seen[]>();

  useUnit(unit: CodeUnit, name: string): void {
    if (this.units.has(unit.hash)) return;
    this.units.set(unit.hash, unit);
    if (unit.text.includes(IMPORT_NAME)) this.origins.add(asUrl(unit.url));
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

  noteValues(names: readonly string[], values: readonly unknown[]): void {
    for (const [index, value] of values.entries()) {
      if (typeof value !== "object" || value === null || value instanceof ImportedBinding) continue;
      this.objects.set(value, names[index] ?? "");
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
   * The scope of a sighting.
   *
   * V8 shows copies of scopes, without identity. Scopes whose copies differ are different. For equal ones the truth
   * is found by writing a mark into a variable from inside one function and looking for it from the other.
   */
  instance(sighting: Sighting): ScopeInstance {
    const scope = sighting.scopes[sighting.index];
    const keys = Object.keys(scope?.object ?? {});
    const key = `${sighting.url}|${sighting.scopes.length - sighting.index}|${keys.join()}`;
    let seen = this.#sightings.get(key);
    if (!seen) {
      seen = [];
      this.#sightings.set(key, seen);
    }
    for (const one of seen) {
      const other = one.sighting.scopes[one.sighting.index];
      const isEqual = keys.every((name) =>
        Object.is(readVariable(other, name)?.value, readVariable(scope, name)?.value),
      );
      if (isEqual && this.#isSame(one, sighting)) return one.instance;
    }
    const instance = { layers: new Map<string, Layer>() };
    seen.push({ sighting, instance, write: undefined });
    return instance;
  }

  #isSame(seen: Seen, sighting: Sighting): boolean {
    const there = seen.write ? { write: seen.write, name: seen.sighting.names[0] ?? "" } : writerInto(seen.sighting);
    if (there) {
      seen.write = there.write;
      return isMarkSeen(there.write, there.name, seen.sighting, sighting);
    }
    const here = writerInto(sighting);
    if (here) return isMarkSeen(here.write, here.name, sighting, seen.sighting);
    const nameOf = (fn: AnyFunction): string => fn.name || "an anonymous function";
    throw new SerializationError(
      `${nameOf(sighting.fn)} and ${nameOf(seen.sighting.fn)} may share the variable ${sighting.names.join(", ")}, ` +
        "which cannot be told here (this process is being debugged, or neither can be paused); pass them in separate " +
        "submissions, or keep the variable in an object that both use",
    );
  }
}

/** Writes into the first of the variables that a sighting uses. */
function writerInto(sighting: Sighting): { write: (value: unknown) => void; name: string } | undefined {
  const [name] = sighting.names;
  const insider = name === undefined ? undefined : sighting.insider(name);
  if (name === undefined || !insider) return undefined;
  const found = evaluateInside(insider.fn, insider.how, `(value) => { ${name} = value; }`);
  // The expression is a function of one parameter.
  return found && { write: found.value as (value: unknown) => void, name };
}

/** Whether what is written through one sighting is seen through the other; the variable is as before afterwards. */
function isMarkSeen(write: (value: unknown) => void, name: string, from: Sighting, to: Sighting): boolean {
  const mark = {};
  try {
    write(mark);
  } catch (error) {
    // A constant: nothing is lost when each function has its own copy.
    if (error instanceof TypeError) return false;
    throw error;
  }
  try {
    return readVariable(inspectFunction(to.fn).scopes[to.index], name)?.value === mark;
  } finally {
    write(readVariable(from.scopes[from.index], name)?.value);
  }
}

const sessions = new WeakMap<EncodeSession, CaptureSession>();
let collecting: Set<CaptureSession> | undefined;

export function captureSession(session: EncodeSession): CaptureSession {
  let found = sessions.get(session);
  if (!found) {
    found = new CaptureSession();
    sessions.set(session, found);
  }
  collecting?.add(found);
  return found;
}

/** Runs `work` and tells in which sessions it captured something. */
export function collectSessions<T>(work: () => T): { result: T; captured: ReadonlySet<CaptureSession> } {
  const outer = collecting;
  const captured = new Set<CaptureSession>();
  collecting = captured;
  try {
    return { result: work(), captured };
  } finally {
    collecting = outer;
    if (outer) for (const one of captured) outer.add(one);
  }
}
