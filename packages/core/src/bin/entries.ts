/**
 * Where the programs lie that the runtime starts, and how each of them begins.
 *
 * The same code runs in two layouts. In a checkout it is `src/bin/<name>.ts`, which Node runs by stripping types; in
 * the published package it is `dist/lib/<name>.cjs`, one bundle a program. Every bundle lies in that one folder, so a
 * program finds its neighbours beside itself in both layouts.
 */
import { fileURLToPath } from "node:url";
import { startupSnapshot } from "node:v8";
import { useCompileCache } from "./cache-directory.ts";

export type EntryName = "node" | "worker" | "io-thread" | "copy-thread" | "tidy";

export interface EntryProgram {
  /** Absolute path of the file to run, for `spawn(process.execPath, [...execArgv, path])` or `new Worker(path, { execArgv })`. */
  readonly path: string;
  /** Options of Node.js that the file needs. */
  readonly execArgv: string[];
}

/** The export condition under which `import "mobula"` means this checkout's sources instead of the built package. */
const SOURCE_CONDITION = "mobula-source";

/** True in a checkout that runs its TypeScript directly, false in the built package. */
export const isSource: boolean = import.meta.url.endsWith(".ts");

/** The program `name` in the layout this code itself runs in. */
export function entryPath(name: EntryName): EntryProgram {
  return {
    path: fileURLToPath(new URL(isSource ? `./${name}.ts` : `./${name}.cjs`, import.meta.url)),
    execArgv: isSource ? [`--conditions=${SOURCE_CONDITION}`] : [],
  };
}

/** What a program is told by the environment when a freshly built snapshot is being tried out. */
export const SNAPSHOT_PROBE_VARIABLE = "MOBULA_SNAPSHOT_PROBE";
export const SNAPSHOT_PROBE_ANSWER = "mobula-snapshot-works";

/**
 * Runs an entry program's `main`: at once, or, when the program is being frozen into a V8 startup snapshot, each time
 * a process starts from that snapshot.
 *
 * Module-level code runs when the snapshot is built. What differs between processes (pid, environment, arguments,
 * clocks, random seeds, open files, loaded native libraries) must therefore be read in `main` or later.
 * `process.argv` is the same in both cases: `[node, path of the program, ...arguments]`.
 */
export function runEntry(main: () => void | Promise<void>): void {
  if (!startupSnapshot.isBuildingSnapshot()) {
    useCompileCache();
    void main();
    return;
  }
  startupSnapshot.setDeserializeMainFunction(() => {
    if (process.env[SNAPSHOT_PROBE_VARIABLE] === "1") {
      process.stdout.write(SNAPSHOT_PROBE_ANSWER);
      return;
    }
    useCompileCache();
    // A rejection has no handler here on purpose: it ends the process with the error, as in a plain start.
    void main();
  });
}

/** Options that decide how user modules are found and loaded, and that take their value as `--x=v` or as the next argument. */
const inheritedOptions: ReadonlySet<string> = new Set([
  "--conditions",
  "-C",
  "--require",
  "-r",
  "--import",
  "--loader",
  "--experimental-loader",
]);
/** The same kind of options, without a value. */
const inheritedFlags: ReadonlySet<string> = new Set([
  "--preserve-symlinks",
  "--experimental-transform-types",
  "--enable-source-maps",
  "--no-warnings",
]);

/**
 * The part of a program's Node.js options that its workers need to load the same modules: export conditions and
 * preloaded loaders such as `tsx`. Debugging ports, evaluation, test and memory options are the program's own.
 */
export function inheritedExecArgv(execArgv: readonly string[] = process.execArgv): string[] {
  const kept: string[] = [];
  for (let index = 0; index < execArgv.length; index++) {
    const argument = execArgv[index] ?? "";
    const name = argument.split("=", 1)[0] ?? argument;
    if (inheritedFlags.has(argument)) {
      kept.push(argument);
    } else if (inheritedOptions.has(name)) {
      kept.push(argument);
      const next = execArgv[index + 1];
      if (name === argument && next !== undefined) {
        kept.push(next);
        index++;
      }
    }
  }
  return kept;
}
