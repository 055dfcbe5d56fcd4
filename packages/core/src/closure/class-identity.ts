/**
 * One class is one class in a process, however often and in whichever submission it arrives; and a class that comes
 * home is the class that left. Functions that are only called have no such identity: every submission has its own.
 */
import { randomBytes } from "../base/random.ts";
import type { AnyFunction } from "./inspector.ts";

// Made when first needed: most processes send no class.
let processToken: string | undefined;
let issued = 0;
const ids = new WeakMap<AnyFunction, string>();
const classes = new Map<string, WeakRef<AnyFunction>>();
const forget = new FinalizationRegistry<string>((id) => {
  if (classes.get(id)?.deref() === undefined) classes.delete(id);
});

/** The identity under which `fn` travels; undefined if it is not used as a class. */
export function classIdOf(fn: AnyFunction, isClass: boolean): string | undefined {
  if (!isClass) return undefined;
  const known = ids.get(fn);
  if (known !== undefined) return known;
  processToken ??= randomBytes(9).toString("base64url");
  const id = `${processToken}.${issued++}`;
  registerClass(id, fn);
  return id;
}

export function registerClass(id: string, fn: AnyFunction): void {
  ids.set(fn, id);
  classes.set(id, new WeakRef(fn));
  forget.register(fn, id);
}

/** The class that this process has under `id`. */
export function classWithId(id: string): AnyFunction | undefined {
  return classes.get(id)?.deref();
}
