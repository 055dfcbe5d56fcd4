import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Plugin } from "esbuild";
import { bundleFile, writeResolver } from "./bundle.ts";
import { lazyModules, slowModules } from "./lazy-modules.ts";

export const programNames = [
  "node",
  "head",
  "state",
  "worker",
  "io-thread",
  "copy-thread",
  "network-thread",
  "gpu-sampler",
  "tidy",
] as const;
export type ProgramName = (typeof programNames)[number];

/** What a worker may never need: it starts more often than anything else. */
const unusedInWorkers = [
  "node:child_process",
  "node:sqlite",
  "node:timers/promises",
  "node:v8",
  "node:vm",
  "node:worker_threads",
];

export interface ProgramOptions {
  readonly folder: string;
  readonly name: ProgramName;
  readonly entry: string;
  readonly resolveDir: string;
  readonly plugins?: Plugin[];
}

/**
 * Writes the files of one program that the runtime starts: `<name>.main.cjs`, its bundle, and `<name>.cjs`, which runs
 * it with the help of what earlier processes have compiled. Returns the npm packages inside.
 */
export async function writeProgram(options: ProgramOptions): Promise<Set<string>> {
  const { folder, name, entry, resolveDir, plugins = [] } = options;
  const lazy = name === "worker" ? [...slowModules, ...unusedInWorkers] : [...slowModules, "node:sqlite"];
  const packages = await bundleFile({
    outfile: join(folder, `${name}.main.cjs`),
    entry,
    resolveDir,
    plugins: [...plugins, lazyModules(lazy)],
  });
  const bin = join(import.meta.dirname, "../src/bin");
  if (name.endsWith("-thread")) {
    await bundleFile({
      outfile: join(folder, "compile-cache.cjs"),
      entry: `import { useCompileCache } from "./cache-directory.ts";\nuseCompileCache();\n`,
      resolveDir: bin,
    });
    writeFileSync(join(folder, `${name}.cjs`), threadLauncher(name));
  } else {
    await bundleFile({
      outfile: join(folder, `${name}.cjs`),
      entry: `import { runBundle } from "./code-cache.ts";\nrunBundle(__filename.replace(/cjs$/, "main.cjs"));\n`,
      resolveDir: bin,
    });
  }
  writeFileSync(
    join(folder, "import.cjs"),
    `"use strict";\nmodule.exports = (specifier, options) => import(specifier, options);\n`,
  );
  writeResolver(folder);
  return packages;
}

function threadLauncher(name: ProgramName): string {
  return `"use strict";
require("./compile-cache.cjs");
require("./${name}.main.cjs");
`;
}
