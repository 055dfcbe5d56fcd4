/**
 * Loading a module is not broken off by a cancel: what is broken runs no `finally`, and a module that was left halfway is
 * half loaded for as long as the process lives.
 */
import Module from "node:module";
import { shielded } from "./guard.ts";

/** Their first use loads modules of Node.js. */
const LAZY_GLOBALS = ["performance", "crypto", "navigator"];

type Load = (this: unknown, ...args: unknown[]) => unknown;

/** Call once, before anything of the program runs. */
export function shieldLoading(): void {
  const loader = Module as unknown as { _load: Load };
  const load = loader._load;
  loader._load = function (...args) {
    return shielded(() => load.apply(this, args));
  };
  for (const name of LAZY_GLOBALS) {
    const lazy = Object.getOwnPropertyDescriptor(globalThis, name);
    const get = lazy?.get;
    if (!get || !lazy.configurable) continue;
    const first = function (this: unknown): unknown {
      const value = shielded(() => get.call(this));
      Object.defineProperty(globalThis, name, lazy);
      return value;
    };
    Object.defineProperty(globalThis, name, { ...lazy, get: first });
  }
}
