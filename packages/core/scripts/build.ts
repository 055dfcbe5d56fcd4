/**
 * Builds what is published: `node packages/core/scripts/build.ts [--no-types]`.
 *
 *   dist/mobula.mjs, .cjs   doors for `import` and `require`; testing and esbuild likewise
 *   dist/runtime.cjs        loads the one copy of the runtime that a process has
 *   dist/lib/*.cjs          bundles: the API, and one for each program the runtime starts
 *   dist/dashboard/         the dashboard's files, which the state service serves
 *   dist/types/             declarations for `import`, and the same ones for `require` in dist/types-cjs/
 *
 * Both doors and every worker must see one runtime, so the runtime is CommonJS, which `import` and `require` both load
 * at once, and is found by the package's own name, which keeps bundlers from making a second copy of it.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { Plugin } from "esbuild";
import { buildDashboard, dashboardPackages } from "../../dashboard/scripts/build.ts";
import { type BundleOptions, bundleFile, writeResolver } from "./bundle.ts";
import { reachableDeclarations } from "./declarations.ts";
import { lazyModules, looseModules, slowModules } from "./lazy-modules.ts";
import { type ProgramName, programNames, writeProgram } from "./programs.ts";
import { thirdPartyNotices } from "./third-party.ts";

const root = join(import.meta.dirname, "..");
const source = join(root, "src");
const out = join(root, `dist.building-${process.pid}`);
const lib = join(out, "lib");
const require = createRequire(import.meta.url);
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };

/** Shared by all copies of one version in a process: the doors, and the bundle a worker was started from. */
const RUNTIME_SYMBOL = `Symbol.for("mobula.runtime@${version}")`;

/** What the package exports, with the module that is behind each name. */
const doors = [
  { name: "mobula", member: "api", module: "api/mod.ts" },
  { name: "testing", member: "testing", module: "testing/mod.ts" },
];

async function main(): Promise<void> {
  const withTypes = !process.argv.includes("--no-types");
  rmSync(out, { recursive: true, force: true });
  mkdirSync(lib, { recursive: true });
  try {
    writeResolver(lib);
    await bundleLooseModules();
    await bundleRuntime();
    for (const name of programNames) await bundleProgram(name);
    await bundleCli();
    await bundleEsbuildPlugin();
    writeDoors();
    cpSync(await buildDashboard(), join(out, "dashboard"), { recursive: true });
    for (const name of dashboardPackages) bundledPackages.add(name);
    const licenses = thirdPartyNotices(join(root, "../.."), bundledPackages);
    writeFileSync(join(out, "THIRD-PARTY-LICENSES.txt"), licenses);
    writeFileSync(join(lib, "build-id"), contentHash(lib));
    if (withTypes) emitTypes();
    publish();
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

const bundledPackages = new Set<string>();

async function bundle(options: Omit<BundleOptions, "resolveDir">): Promise<void> {
  for (const name of await bundleFile({ ...options, resolveDir: source })) bundledPackages.add(name);
}

async function bundleLooseModules(): Promise<void> {
  for (const [name, path] of looseModules) {
    await bundle({ outfile: join(lib, path), entry: `export * from ${JSON.stringify(name)};\n` });
  }
  await bundle({ outfile: join(lib, "nats-client.cjs"), entry: 'export * from "./control/nats-client.ts";\n' });
}

/** One bundle for everything users import: parts that few need are evaluated when they are first asked for. */
async function bundleRuntime(): Promise<void> {
  const members = doors.map(({ member, module }) => {
    const loaded = `require("./${module}")`;
    return member === "api" ? `  api: noteOwnApi(${loaded}),` : `  get ${member}() { return ${loaded}; },`;
  });
  await bundle({
    outfile: join(lib, "runtime.main.cjs"),
    entry: `const { noteOwnApi } = require("./bin/own-api.ts");\nmodule.exports = {\n${members.join("\n")}\n};\n`,
    plugins: [lazyModules(slowModules)],
  });
}

async function bundleProgram(name: ProgramName): Promise<void> {
  const register = programShares(name)
    ? `import { register } from "mobula-build:register";\nimport * as api from "./api/mod.ts";\nregister(api);\n`
    : "";
  const entry = `${register}import "./bin/${name}.ts";\n`;
  const plugins = name === "worker" ? [registerModule(), withoutDriver()] : [registerModule()];
  const packages = await writeProgram({ folder: lib, name, entry, resolveDir: source, plugins });
  for (const bundled of packages) bundledPackages.add(bundled);
}

/**
 * What user code in workers imports as "mobula" is the worker's own copy; and the state service, a driver, sends classes of the API to
 * workers, which are to find them there.
 */
function programShares(name: ProgramName): boolean {
  return (name === "worker" || name === "state") && doors.length > 0;
}

function registerModule(): Plugin {
  return {
    name: "mobula-register",
    setup(setup) {
      setup.onResolve({ filter: /^mobula-build:register$/ }, ({ path }) => ({ path, namespace: "mobula-build" }));
      setup.onLoad({ filter: /./, namespace: "mobula-build" }, () => ({
        contents: `import { noteOwnApi } from "./bin/own-api.ts";
export function register(api) {
  // What users seldom import in a worker is read when they do; its own API stays the worker's.
  globalThis[${RUNTIME_SYMBOL}] = {
    api: noteOwnApi(api),
    get testing() {
      return require("node:module").createRequire(__filename)("./runtime.main.cjs").testing;
    },
  };
}`,
        resolveDir: source,
        loader: "js",
      }));
    },
  };
}

/** In a worker `init` refuses before it comes to the driver, which is a third of the API's code. */
function withoutDriver(): Plugin {
  return {
    name: "mobula-without-driver",
    setup(setup) {
      setup.onResolve({ filter: /\/driver\/mod\.ts$/ }, () => ({ path: "driver", namespace: "mobula-without" }));
      setup.onLoad({ filter: /./, namespace: "mobula-without" }, () => ({
        contents: `const refuse = () => { throw new Error("a worker has no driver"); };
export { refuse as startDriver, refuse as startInline };
export const STOPPED = "";
export const PLACE = Symbol();`,
        loader: "js",
      }));
    },
  };
}

async function bundleCli(): Promise<void> {
  await bundle({
    outfile: join(lib, "cli.main.cjs"),
    entry: `import "./bin/mobula.ts";\n`,
    plugins: [lazyModules(slowModules)],
  });
  const path = join(out, "cli.cjs");
  writeFileSync(
    path,
    `#!/usr/bin/env node
"use strict";
var problem = require("./guard.cjs")(process.versions.node, process.platform, process.arch);
if (problem !== undefined) {
  process.stderr.write(problem + "\\n");
  process.exitCode = 1;
} else {
  require("./lib/compile-cache.cjs");
  require("./lib/cli.main.cjs");
}
`,
  );
  chmodSync(path, 0o755);
}

/** The plugin runs inside the user's build, apart from any runtime, so it is a module of its own. */
async function bundleEsbuildPlugin(): Promise<void> {
  await bundle({ outfile: join(lib, "esbuild.main.cjs"), entry: `export * from "./esbuild/mod.ts";\n` });
  const names = exportNames(require(join(lib, "esbuild.main.cjs")) as object);
  writeFileSync(
    join(out, "esbuild.cjs"),
    `"use strict";\nrequire("./guard.cjs").check();\nmodule.exports = require("./lib/esbuild.main.cjs");\n`,
  );
  writeFileSync(
    join(out, "esbuild.mjs"),
    `import "./check.cjs";\nimport { createRequire } from "node:module";\nconst plugin = createRequire(import.meta.url)("./esbuild.cjs");\n${reexports("plugin", names)}`,
  );
}

function writeDoors(): void {
  cpSync(join(root, "doors/guard.cjs"), join(out, "guard.cjs"));
  writeFileSync(join(out, "check.cjs"), `"use strict";\nrequire("./guard.cjs").check();\n`);
  if (doors.length === 0) return;
  writeFileSync(
    join(out, "runtime.cjs"),
    `"use strict";
require("./guard.cjs").check();
var key = ${RUNTIME_SYMBOL};
// A worker's program holds the part users call; what it lacks comes from the bundle, as does everything elsewhere.
module.exports = globalThis[key] || (globalThis[key] = require("./lib/runtime.main.cjs"));
`,
  );
  const runtime = require(join(lib, "runtime.main.cjs")) as Record<string, object>;
  for (const { name, member } of doors) {
    const names = exportNames(runtime[member] ?? {});
    writeFileSync(
      join(out, `${name}.cjs`),
      `"use strict";\nrequire("./check.cjs");\n${findRuntime("__filename")}module.exports = runtime.${member};\n`,
    );
    writeFileSync(
      join(out, `${name}.mjs`),
      `import "./check.cjs";\nimport { createRequire } from "node:module";\n${findRuntime('typeof __filename === "string" ? __filename : import.meta.url')}const door = runtime.${member};\n${reexports("door", names)}`,
    );
  }
}

/**
 * Code that loads the runtime by the package's name. Copied into a bundle, it looks for the installed package from
 * where the bundle lies: the runtime starts other programs from files, so it cannot be inside a bundle.
 */
function findRuntime(here: string): string {
  return `var runtime;
try {
  runtime = (typeof createRequire === "function" ? createRequire : require("node:module").createRequire)(${here})("mobula/runtime");
} catch (error) {
  if (error.code !== "MODULE_NOT_FOUND" || !String(error.message).includes("mobula/runtime")) throw error;
  throw new Error(
    "this bundle contains mobula, which starts worker processes from its own files and cannot find them: install mobula where the bundle runs (npm install mobula@${version})",
    { cause: error },
  );
}
`;
}

function exportNames(module: object): string[] {
  return Object.keys(module)
    .filter((name) => name !== "default" && name !== "__esModule")
    .sort();
}

function reexports(from: string, names: string[]): string {
  return names.map((name) => `export const ${name} = ${from}.${name};\n`).join("");
}

function contentHash(folder: string): string {
  const hash = createHash("sha256");
  for (const file of readdirSync(folder).sort()) hash.update(file).update(readFileSync(join(folder, file)));
  return hash.digest("hex");
}

/** Emits the declarations that the doors reach, for `import`, and the same ones for `require`. */
function emitTypes(): void {
  const tsc = join(root, "../../node_modules/typescript/bin/tsc");
  const emitted = join(out, "types-all");
  execFileSync(process.execPath, [tsc, "-p", join(root, "tsconfig.build.json"), "--outDir", emitted], {
    stdio: "inherit",
  });
  for (const [path, text] of reachableDeclarations(emitted, ["api/mod.d.ts", "testing/mod.d.ts", "esbuild/mod.d.ts"])) {
    for (const folder of ["types", "types-cjs"]) {
      const target = join(out, folder, path);
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, text);
    }
  }
  rmSync(emitted, { recursive: true });
  mkdirSync(join(out, "types-cjs"), { recursive: true });
  writeFileSync(join(out, "types-cjs/package.json"), `{ "type": "commonjs" }\n`);
}

/** Swaps the finished folder in, so that a program that starts meanwhile sees the old build or the new one. */
function publish(): void {
  const target = join(root, "dist");
  const previous = join(root, `dist.previous-${process.pid}`);
  if (existsSync(target)) renameSync(target, previous);
  renameSync(out, target);
  rmSync(previous, { recursive: true, force: true });
}

/** npm links a package's program only if its file is there, which in a fresh clone it is not; `npx mobula` is to work all the same. */
function linkProgram(): void {
  const link = join(root, "../../node_modules/.bin/mobula");
  if (existsSync(link)) return;
  rmSync(link, { force: true });
  symlinkSync("../mobula/dist/cli.cjs", link);
}

await main();
linkProgram();
