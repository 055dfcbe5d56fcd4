import { createRequire } from "node:module";
import type { Plugin } from "esbuild";

const require = createRequire(import.meta.url);

/** Modules that take milliseconds to load, and that a start may not need. */
export const slowModules = ["acorn", "node:crypto", "node:zlib", "node:inspector", "node:fs/promises", "node:tls"];

/** Packages that lie beside the bundles as files of their own, so that a process which never uses them never reads them. */
export const looseModules: ReadonlyMap<string, string> = new Map([["acorn", "./acorn.cjs"]]);

/**
 * Loads the named modules when one of their exports is first used, not when the bundle starts: a process that never
 * uses them starts sooner.
 */
export function lazyModules(names: readonly string[]): Plugin {
  const lazy = new Set(names);
  return {
    name: "mobula-lazy-modules",
    setup(setup) {
      setup.onResolve({ filter: /./ }, ({ path }) => (lazy.has(path) ? { path, namespace: "mobula-lazy" } : undefined));
      setup.onLoad({ filter: /./, namespace: "mobula-lazy" }, ({ path }) => ({
        contents: lazyModule(path),
        loader: "js",
      }));
    },
  };
}

function lazyModule(name: string): string {
  const exported = Object.keys(require(name) as object).filter((key) => key !== "default" && key !== "__esModule");
  return `let loaded;
const load = () => (loaded ??= require("node:module").createRequire(__filename)(${JSON.stringify(looseModules.get(name) ?? name)}));
for (const key of ${JSON.stringify(exported)}) Object.defineProperty(exports, key, { enumerable: true, get: () => load()[key] });
`;
}
