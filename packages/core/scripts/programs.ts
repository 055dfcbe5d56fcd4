import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Plugin } from "esbuild";
import { bundleFile, writeResolver } from "./bundle.ts";
import { routeDynamicImports } from "./dynamic-imports.ts";
import { lazyModules, slowModules } from "./lazy-modules.ts";

export const programNames = ["node", "worker", "io-thread", "copy-thread", "tidy"] as const;
export type ProgramName = (typeof programNames)[number];

/** Programs that are frozen into a startup snapshot, where `import()` and some built-in modules need a detour. */
const snapshotPrograms: ReadonlySet<ProgramName> = new Set(["worker"]);
/** Building a snapshot ends in a crash when one of these is loaded in it. */
const notInSnapshots = ["node:sqlite", "node:http", "node:https", "node:http2", "node:tls"];

/** What a worker may never need: it starts more often than anything else. */
const unusedInWorkers = ["node:child_process", "node:timers/promises", "node:v8", "node:vm", "node:worker_threads"];

function lazyIn(name: ProgramName): string[] {
  return name === "worker" ? [...slowModules, ...unusedInWorkers, ...notInSnapshots] : [...slowModules, "node:sqlite"];
}

const importHeader = `const __mobulaImport = (specifier, options) => require("node:module").createRequire(__filename)("./import.cjs")(specifier, options);`;

export interface ProgramOptions {
  readonly folder: string;
  readonly name: ProgramName;
  readonly entry: string;
  readonly resolveDir: string;
  readonly plugins?: Plugin[];
}

/**
 * Writes the files of one program that the runtime starts: `<name>.main.cjs`, its bundle, from which a snapshot can be
 * built, and `<name>.cjs`, which a plain start runs. Returns the npm packages inside.
 */
export async function writeProgram(options: ProgramOptions): Promise<Set<string>> {
  const { folder, name, entry, resolveDir, plugins = [] } = options;
  const outfile = join(folder, `${name}.main.cjs`);
  const inSnapshot = snapshotPrograms.has(name);
  const packages = await bundleFile({
    outfile,
    entry,
    resolveDir,
    header: inSnapshot ? importHeader : "",
    plugins: [...plugins, lazyModules(lazyIn(name))],
  });
  if (inSnapshot) writeFileSync(outfile, routeDynamicImports(readFileSync(outfile, "utf8"), "__mobulaImport"));
  await bundleFile({
    outfile: join(folder, "compile-cache.cjs"),
    entry: `import { useCompileCache } from "./cache-directory.ts";\nuseCompileCache();\n`,
    resolveDir: join(import.meta.dirname, "../src/bin"),
  });
  writeFileSync(join(folder, `${name}.cjs`), launcher(name));
  writeFileSync(join(folder, "import.cjs"), trampoline);
  writeResolver(folder);
  return packages;
}

function launcher(name: ProgramName): string {
  return `"use strict";
require("./compile-cache.cjs");
require("./${name}.main.cjs");
`;
}

const trampoline = `"use strict";
// A program in a snapshot has no module of its own, which import() needs; this one is loaded from its file.
module.exports = (specifier, options) => import(specifier, options);
`;
