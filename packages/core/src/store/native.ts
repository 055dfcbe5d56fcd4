/**
 * koffi, which calls functions of the C library. Finding its native part takes longer than loading it (koffi reads the
 * header of Node.js' own file, and several packages' descriptions), so a node that has found it tells its workers where.
 */
import { createRequire } from "node:module";

type Koffi = typeof import("koffi").default;

let loaded: Koffi | undefined;
let knownPath: string | undefined;

/** Loaded when first used: it takes milliseconds, and some processes never need it. */
export function koffi(): Koffi {
  if (!loaded) {
    const load = createRequire(import.meta.url);
    // What koffi adds to its native part are warnings of what is deprecated.
    loaded = (knownPath === undefined ? load("koffi") : load(knownPath)) as Koffi;
  }
  return loaded;
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
