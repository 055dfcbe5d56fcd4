/**
 * Starting processes, workers from a V8 startup snapshot.
 *
 * A snapshot is the heap of a process that has already loaded its program; a process that starts from it skips reading,
 * parsing and running that code. It belongs to one exact Node.js binary, so it is built on the user's machine:
 *
 * 1. `workerCommand()` looks for a snapshot and gives the plain command when there is none.
 * 2. `prepareSnapshot()` builds a missing one in the background, tries it out, and publishes it by renaming it into a
 *    folder of the user's own. Two builders at once publish one file each or the same one; both are whole.
 * 3. The file's name carries its size and checksum, because Node.js crashes on a damaged snapshot instead of refusing
 *    it. The size is looked at before each use, the checksum by `prepareSnapshot()`, which runs once a node: reading
 *    megabytes would cost a start more than the snapshot saves. A file that does not match its name is deleted and
 *    built again, and whoever sees a process die of one calls `discardSnapshot()` and starts plainly.
 *
 * `MOBULA_SNAPSHOT=on` turns this on; not when running from the sources of a checkout, where there is no bundle. It is
 * off by default, because of a fault in Node.js 24.21: in a process that started from a snapshot, a worker thread that
 * loads streams (`node:net`, `node:v8`, `node:http`) ends the whole process with a failed assertion, and tasks may use
 * libraries that start threads.
 */
import { type ExecFileOptions, execFile } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import {
  closeSync,
  fsyncSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { constants, setPriority } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { crc32 } from "node:zlib";
import { cacheDirectory } from "./cache-directory.ts";
import { entryPath, isSource, SNAPSHOT_PROBE_ANSWER, SNAPSHOT_PROBE_VARIABLE } from "./entries.ts";

/** The node starts once and needs less code: from a snapshot it would start no sooner, and be 4 MB larger. */
export type SnapshotProgram = "worker";

export interface ProcessCommand {
  readonly execPath: string;
  /** Options of Node.js, then the program's path; the caller appends the program's own arguments. */
  readonly args: string[];
  readonly fromSnapshot: boolean;
}

export interface CommandOptions {
  /** Further options of Node.js, for example the driver's `inheritedExecArgv()` and heap limits. */
  readonly nodeOptions?: readonly string[];
}

/** Building takes about 0.3 s; a machine that needs longer than this is better served by plain starts. */
const BUILD_TIMEOUT_MS = 60_000;
/** Snapshots that no process has used for this long belong to removed packages or replaced Node.js versions. */
const UNUSED_MAX_MS = 30 * 24 * 60 * 60 * 1000;
/** A temporary file this old was left by a builder that was killed. */
const TEMPORARY_MAX_MS = 10 * 60 * 1000;

const execute = promisify(execFile);

/** How to start a worker: from a snapshot where one is ready, plainly otherwise. */
export function workerCommand(options: CommandOptions = {}): ProcessCommand {
  const entry = entryPath("worker");
  const nodeOptions = [...entry.execArgv, ...(options.nodeOptions ?? [])];
  const blob = needsModuleHooks(nodeOptions) ? undefined : findSnapshot("worker");
  const args =
    blob === undefined ? [...nodeOptions, entry.path] : ["--snapshot-blob", blob, ...nodeOptions, entry.path];
  return { execPath: process.execPath, args, fromSnapshot: blob !== undefined };
}

/** How to start the node process. */
export function nodeCommand(options: CommandOptions = {}): ProcessCommand {
  const { path, execArgv } = entryPath("node");
  return {
    execPath: process.execPath,
    args: [...execArgv, ...(options.nodeOptions ?? []), path],
    fromSnapshot: false,
  };
}

/** `--import` and loaders are silently skipped by a process that starts from a snapshot, so such a process starts plainly. */
function needsModuleHooks(nodeOptions: readonly string[]): boolean {
  const hook = /^--(import|loader|experimental-loader)(=|$)/;
  const fromEnvironment = (process.env.NODE_OPTIONS ?? "").split(/\s+/);
  return nodeOptions.some((option) => hook.test(option)) || fromEnvironment.some((option) => hook.test(option));
}

const found = new Map<SnapshotProgram, string>();

/** The path of a snapshot for `name` that has the size it should have, or undefined. */
function findSnapshot(name: SnapshotProgram): string | undefined {
  const known = found.get(name);
  // A cleaner may have emptied the folder since; a start must not fail for that.
  if (known !== undefined && isFile(known)) return known;
  found.delete(name);
  const key = snapshotKey(name);
  const directory = key === undefined ? undefined : cacheDirectory();
  if (key === undefined || directory === undefined) return undefined;
  const prefix = `${name}-${key}-`;
  for (const file of readdirSync(directory)) {
    if (!file.startsWith(prefix) || !file.endsWith(".blob")) continue;
    const path = join(directory, file);
    if (hasSize(path, file)) {
      found.set(name, path);
      touch(path);
      return path;
    }
    rmSync(path, { force: true });
  }
  return undefined;
}

/** Deletes the snapshot of `name`: a process that started from it did not live. */
export function discardSnapshot(name: SnapshotProgram): void {
  const path = findSnapshot(name);
  found.delete(name);
  if (path !== undefined) rmSync(path, { force: true });
}

export interface PrepareOptions {
  /** Called once when it cannot be built. */
  readonly onFailure?: (reason: unknown) => void;
  /** Ends the building at once; nothing is left of it. */
  readonly signal?: AbortSignal;
}

const building = new Map<SnapshotProgram, Promise<string | undefined>>();

/**
 * Builds the snapshot of `name` unless there is one, and resolves to its path. Resolves to undefined where snapshots
 * are off or cannot be built: a failure is not an error, since every process can start plainly. The work is done in
 * processes of the lowest priority.
 */
export function prepareSnapshot(name: SnapshotProgram, options: PrepareOptions = {}): Promise<string | undefined> {
  const running = building.get(name);
  if (running !== undefined) return running;
  const promise = build(name, options.signal)
    .catch((reason: unknown) => {
      if (options.signal?.aborted !== true) options.onFailure?.(reason);
      return undefined;
    })
    .finally(() => building.delete(name));
  building.set(name, promise);
  return promise;
}

async function build(name: SnapshotProgram, signal: AbortSignal | undefined): Promise<string | undefined> {
  signal?.throwIfAborted();
  const existing = findSnapshot(name);
  if (existing !== undefined) {
    if (checksum(readFileSync(existing)) === namedIn(existing)?.checksum) return existing;
    discardSnapshot(name);
  }
  const key = snapshotKey(name);
  const directory = key === undefined ? undefined : cacheDirectory();
  if (key === undefined || directory === undefined) return undefined;
  sweep(directory);
  const bundle = bundlePath(name);
  const temporary = join(directory, `${name}-${key}.${randomUUID()}.tmp`);
  const config = `${temporary}.json.tmp`;
  const { NODE_OPTIONS: _options, ...env } = process.env;
  try {
    // Without the code cache of Node.js' own modules the file is 5 MB smaller. Every process holds the whole file in
    // memory of its own, and reading it costs more than compiling the few functions that a worker uses.
    writeFileSync(config, JSON.stringify({ builder: bundle, withoutCodeCache: true }), { flag: "wx", mode: 0o600 });
    await run(["--snapshot-blob", temporary, "--build-snapshot-config", config], { env, signal });
    const probe = await run(["--snapshot-blob", temporary, bundle], {
      env: { ...env, [SNAPSHOT_PROBE_VARIABLE]: "1" },
      signal,
    });
    if (probe.stdout !== SNAPSHOT_PROBE_ANSWER) {
      throw new Error(`the snapshot built for ${name} does not start: ${probe.stdout}${probe.stderr}`);
    }
    const bytes = readFileSync(temporary);
    const file = openSync(temporary, "r");
    try {
      // Renamed before its bytes were on the disk, a power failure could leave a file of zeros under the final name.
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, join(directory, `${name}-${key}-${bytes.length}-${checksum(bytes)}.blob`));
  } finally {
    rmSync(temporary, { force: true });
    rmSync(config, { force: true });
  }
  return findSnapshot(name);
}

function run(args: readonly string[], options: ExecFileOptions): Promise<{ stdout: string; stderr: string }> {
  const running = execute(process.execPath, args, {
    ...options,
    encoding: "utf8",
    timeout: BUILD_TIMEOUT_MS,
    killSignal: "SIGKILL",
  });
  try {
    if (running.child.pid !== undefined) setPriority(running.child.pid, constants.priority.PRIORITY_LOW);
  } catch (error) {
    // It has ended already, or the system does not allow it: then it only takes more from others for a moment.
    if (!isSystemError(error)) throw error;
  }
  return running;
}

/** The bundle itself, not the launcher beside it that turns the compile cache on. */
function bundlePath(name: SnapshotProgram): string {
  return entryPath(name).path.replace(/\.cjs$/, ".main.cjs");
}

/**
 * Everything a snapshot depends on: the Node.js binary (also between builds of one version), the program's text, and
 * its place, because paths computed while it loads are frozen with it.
 */
function snapshotKey(name: SnapshotProgram): string | undefined {
  if (isSource || process.env.MOBULA_SNAPSHOT !== "on") return undefined;
  const bundle = realpathSync(bundlePath(name));
  const program = statSync(bundle);
  const binary = statSync(process.execPath);
  return createHash("sha256")
    .update(JSON.stringify([process.version, process.arch, process.platform, process.versions.v8]))
    .update(JSON.stringify([realpathSync(process.execPath), binary.size, binary.mtimeMs]))
    .update(JSON.stringify([bundle, program.size, program.mtimeMs, buildId(bundle)]))
    .digest("hex")
    .slice(0, 24);
}

function buildId(bundle: string): string {
  return readFileSync(join(dirname(bundle), "build-id"), "utf8");
}

function hasSize(path: string, file: string): boolean {
  const status = lstatSync(path, { throwIfNoEntry: false });
  return status?.isFile() === true && status.uid === process.getuid?.() && status.size === namedIn(file)?.bytes;
}

/** What the name of a snapshot says of its content. */
function namedIn(file: string): { readonly bytes: number; readonly checksum: string } | undefined {
  const match = /-(\d+)-([0-9a-f]{8})\.blob$/.exec(file);
  return match === null ? undefined : { bytes: Number(match[1]), checksum: match[2] ?? "" };
}

function checksum(bytes: Uint8Array): string {
  return crc32(bytes).toString(16).padStart(8, "0");
}

function isFile(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

/** Marks a snapshot as used, so that `sweep` keeps it; a folder that became read-only only loses that mark. */
function touch(path: string): void {
  try {
    utimesSync(path, new Date(), new Date());
  } catch (error) {
    if (!isSystemError(error)) throw error;
  }
}

function sweep(directory: string): void {
  const now = Date.now();
  for (const file of readdirSync(directory)) {
    const maxMs = file.endsWith(".blob") ? UNUSED_MAX_MS : file.endsWith(".tmp") ? TEMPORARY_MAX_MS : undefined;
    const path = join(directory, file);
    const status = maxMs === undefined ? undefined : statSync(path, { throwIfNoEntry: false });
    if (maxMs !== undefined && status !== undefined && now - status.mtimeMs > maxMs) rmSync(path, { force: true });
  }
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "code" in error;
}
