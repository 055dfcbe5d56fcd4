/**
 * Runs a bundle with the compiled form of what ran of it in earlier processes.
 *
 * The compile cache of Node.js holds what V8 compiles when a file is loaded, which is little more than its top level:
 * every function that a start runs would be compiled again in every process. This cache is written a second after the
 * start, so it holds the functions that have run by then. Some processes look again later, and when they end,
 * whether they have compiled much more, and write that: what most programs use is soon in it.
 *
 * V8 itself refuses data of another version, other flags or another length of source; the name of the file stands for
 * the build, a checksum for the bytes, which V8 would run whatever they are. It is written aside and renamed, so that
 * nobody reads half of it. `import()` does not work in code that is run so: `import.cjs` in the same folder does it.
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { Script } from "node:vm";
import { crc32 } from "node:zlib";
import { CODE_CACHE_VARIABLE, ENDING } from "./code-cache-names.ts";

/** When the cache is written: it takes some milliseconds, which a start would feel. */
const SAVE_AFTER_MS = 1_000;
const LOOK_AGAIN_AFTER_MS = 10_000;
/** One process in so many looks again, and writes what is larger than before by this factor. */
const ONE_IN = 8;
const WORTH_WRITING = 1.01;
const CHECKSUM_BYTES = 4;

type Wrapper = (exports: object, require: NodeJS.Require, module: object, filename: string, dirname: string) => void;

/** Runs the bundle at `path`, which is CommonJS, as `require` would. */
export function runBundle(path: string): void {
  const { [CODE_CACHE_VARIABLE]: cachePath } = process.env;
  // Programs that this one starts have caches of their own, or none.
  delete process.env[CODE_CACHE_VARIABLE];
  const file = cachePath === undefined ? undefined : readCache(cachePath);
  const cachedData = file && wholeData(file);
  const source = readFileSync(path, "utf8");
  const script = new Script(`(function (exports, require, module, __filename, __dirname) {${source}\n})`, {
    filename: path,
    cachedData,
  });
  const module = { exports: {} };
  // The wrapper above is such a function.
  const run = script.runInThisContext() as Wrapper;
  run.call(module.exports, module.exports, createRequire(path), module, path, dirname(path));
  if (cachePath === undefined) return;
  const isUsed = cachedData !== undefined && script.cachedDataRejected !== true;
  const cache = {
    script,
    path: cachePath,
    usedBytes: isUsed ? cachedData.length : 0,
    refused: isUsed ? undefined : file,
  };
  if (!isUsed) setTimeout(() => save(cache), SAVE_AFTER_MS).unref();
  if (Math.random() >= 1 / ONE_IN) return;
  setTimeout(() => save(cache), LOOK_AGAIN_AFTER_MS).unref();
  process.once(ENDING, () => save(cache));
}

interface Cache {
  readonly script: Script;
  readonly path: string;
  /** What this process started with. */
  readonly usedBytes: number;
  /** What lay there and V8 could not use. */
  readonly refused: Buffer | undefined;
}

function readCache(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined; // Nobody has written it yet.
  }
}

/** What V8 wrote, if it is as it was written. */
function wholeData(file: Buffer): Buffer | undefined {
  const bytes = file.length - CHECKSUM_BYTES;
  if (bytes <= 0) return undefined;
  const data = file.subarray(0, bytes);
  return crc32(data) === file.readUInt32LE(bytes) ? data : undefined;
}

function save({ script, path, usedBytes, refused }: Cache): void {
  const data = script.createCachedData();
  // Another process may have been first.
  const there = readCache(path);
  const isOurs = there !== undefined && !(refused && there.equals(refused));
  if (data.length <= Math.max(usedBytes, isOurs ? there.length : 0) * WORTH_WRITING) return;
  const checksum = Buffer.alloc(CHECKSUM_BYTES);
  checksum.writeUInt32LE(crc32(data));
  const bytes = Buffer.concat([data, checksum]);
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const file = openSync(temporary, "wx", 0o600);
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
      // Renamed before its bytes were on the disk, a power failure could leave a file of zeros.
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
    removeOlder(path);
  } catch {
    // A full or read-only disk: the next process tries again, and starts without until then.
    rmSync(temporary, { force: true });
  }
}

/** Of one program of one installation only the newest build is kept: names begin with what they share. */
function removeOlder(path: string): void {
  const name = basename(path);
  const shared = name.slice(0, name.indexOf("-") + 1);
  for (const other of readdirSync(dirname(path))) {
    if (other !== name && other.startsWith(shared)) rmSync(join(dirname(path), other), { force: true });
  }
}
