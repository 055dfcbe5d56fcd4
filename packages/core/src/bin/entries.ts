/**
 * Where the programs lie that the runtime starts, and how each of them begins.
 *
 * The same code runs in two layouts. In a checkout it is `src/bin/<name>.ts`, which Node runs by stripping types; in
 * the published package it is `dist/lib/<name>.cjs`, one bundle a program. Every bundle lies in that one folder, so a
 * program finds its neighbours beside itself in both layouts.
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheDirectory, useCompileCache } from "./cache-directory.ts";
import { CODE_CACHE_VARIABLE } from "./code-cache-names.ts";

export type EntryName =
  | "node"
  | "head"
  | "state"
  | "worker"
  | "io-thread"
  | "copy-thread"
  | "network-thread"
  | "gpu-sampler"
  | "tidy";

export interface EntryProgram {
  /** Absolute path of the file to run, for `spawn(process.execPath, [...execArgv, path])` or `new Worker(path, { execArgv })`. */
  readonly path: string;
  /** Options of Node.js that the file needs. */
  readonly execArgv: string[];
}

/** The export condition under which `import "mobula"` means this checkout's sources instead of the built package. */
const SOURCE_CONDITION = "mobula-source";

/** True in a checkout that runs its TypeScript directly, false in the built package. */
const isSource: boolean = import.meta.url.endsWith(".ts");

/** The folder of the package: two up both from `src/bin` and from `dist/lib`. */
export const packageFolder = (): string => fileURLToPath(new URL("../..", import.meta.url));

export const packageManifest = (): { readonly version: string; readonly description: string } =>
  JSON.parse(readFileSync(join(packageFolder(), "package.json"), "utf8")) as ReturnType<typeof packageManifest>;

/** The program `name` in the layout this code itself runs in. */
export function entryPath(name: EntryName): EntryProgram {
  return {
    path: fileURLToPath(new URL(isSource ? `./${name}.ts` : `./${name}.cjs`, import.meta.url)),
    execArgv: isSource ? [`--conditions=${SOURCE_CONDITION}`] : [],
  };
}

/** A process to start: `spawn(execPath, args)`. */
export interface ProcessCommand {
  readonly execPath: string;
  /** Options of Node.js, then the program's path. */
  readonly args: readonly string[];
}

/** How to start a program as a process, with options of Node.js: the driver's {@link inheritedExecArgv}, heap limits. */
export function processCommand(name: EntryName, nodeOptions: readonly string[] = []): ProcessCommand {
  const { path, execArgv } = entryPath(name);
  return { execPath: process.execPath, args: [...execArgv, ...nodeOptions, path] };
}

/** The file that keeps the compiled code of a program when it is started with these options; see code-cache.ts. */
export function codeCachePath(name: EntryName, nodeOptions: readonly string[]): string | undefined {
  const directory = isSource ? undefined : cacheDirectory();
  if (directory === undefined) return undefined;
  const { path } = entryPath(name);
  build ??= readFileSync(join(dirname(path), "build-id"), "utf8").slice(0, BUILD_CHARS);
  // V8 takes code only from a process with the same options.
  const start = hash(JSON.stringify([path, nodeOptions, process.env.NODE_OPTIONS]));
  return join(directory, "code", `${start}-${build}-${process.version}-${process.arch}.cache`);
}

export const codeCacheEnvironment = (path: string | undefined): Readonly<Record<string, string>> =>
  path === undefined ? {} : { [CODE_CACHE_VARIABLE]: path };

let build: string | undefined;
const BUILD_CHARS = 16;

/** FNV-1a: tells names apart, without loading `node:crypto`. */
function hash(text: string): string {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  return (value >>> 0).toString(16).padStart(8, "0");
}

/** Runs an entry program's `main`. A rejection has no handler here on purpose: it ends the process with the error. */
export function runEntry(main: () => void | Promise<void>): void {
  useCompileCache();
  void main();
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
