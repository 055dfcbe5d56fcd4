/**
 * koffi, which calls functions of the C library. Finding its native part takes longer than loading it (koffi reads the
 * header of Node.js' own file, and several packages' descriptions), so a node that has found it tells its workers where.
 */
import { createRequire } from "node:module";
import { assertInsideGate } from "./native-gate.ts";

type Koffi = typeof import("koffi").default;

let loaded: Koffi | undefined;
let knownPath: string | undefined;

/** Loaded when first used: it takes milliseconds, and some processes never need it. */
export function koffi(): Koffi {
  assertInsideGate();
  if (!loaded) {
    // What koffi adds to its native part are warnings of what is deprecated.
    loaded = knownPath === undefined ? (createRequire(import.meta.url)("koffi") as Koffi) : open(knownPath);
  }
  return loaded;
}

/** What `require` does with such a file, without the search for it. */
function open(path: string): Koffi {
  const module = { exports: {} };
  process.dlopen(module, path);
  return module.exports as Koffi;
}

/** Where this process has found the native part; undefined while it has not loaded it. */
export function nativePath(): string | undefined {
  if (!loaded) return undefined;
  knownPath ??= Object.keys(createRequire(import.meta.url).cache).find((path) => path.endsWith("/koffi.node"));
  return knownPath;
}

export function useNativePath(path: string): void {
  knownPath = path;
}
