/**
 * The list of files that modules of a program need, with the hash of what each holds. It is named by its own hash, and comes
 * from another machine: nothing in it may lead out of the folder in which it is laid out.
 */
import { hash } from "node:crypto";
import { InternalError } from "../base/errors.ts";
import { pack, unpack } from "../wire/mod.ts";

/** Absolute, where the program runs. */
export type Path = string;
/** SHA-256, hex. */
export type Hash = string;

export interface FileEntry {
  readonly path: Path;
  readonly hash: Hash;
  readonly size: number;
  readonly isExecutable: boolean;
}
/** A symbolic link to another path of the program. */
export interface LinkEntry {
  readonly path: Path;
  readonly target: Path;
}
/** A folder where the program finds this package: every machine has its own. */
export interface RuntimeEntry {
  readonly path: Path;
  readonly isRuntime: true;
}
export type Entry = FileEntry | LinkEntry | RuntimeEntry;

export interface Manifest {
  /** Of the machine from which it comes: native addons are for one only. */
  readonly platform: string;
  /** By path, in order. */
  readonly entries: readonly Entry[];
}

const FORMAT = 1;
const PATH_CHARS_MAX = 4096;
const ENTRIES_MAX = 1_000_000;

export const isFile = (entry: Entry): entry is FileEntry => "hash" in entry;
export const hashOf = (bytes: Uint8Array): Hash => hash("sha256", bytes, "hex");

type Written =
  | readonly [path: string]
  | readonly [path: string, target: string]
  | readonly [string, Uint8Array, number, boolean];

export function encodeManifest({ platform, entries }: Manifest): Uint8Array {
  const written = entries.map((entry): Written => {
    if (isFile(entry)) return [entry.path, Buffer.from(entry.hash, "hex"), entry.size, entry.isExecutable];
    return "target" in entry ? [entry.path, entry.target] : [entry.path];
  });
  return pack([FORMAT, platform, written]);
}

/** @throws InternalError when it is not one, or one that leads out of its folder. */
export function decodeManifest(bytes: Uint8Array): Manifest {
  const [format, platform, written] = unpack(bytes) as [unknown, unknown, unknown];
  if (format !== FORMAT || typeof platform !== "string" || !Array.isArray(written) || written.length > ENTRIES_MAX) {
    throw new InternalError("a list of a program's files is of another version, or damaged");
  }
  const entries = written.map(entryFrom);
  checkNesting(entries);
  return { platform, entries };
}

function entryFrom(written: unknown): Entry {
  const [path, second, size, isExecutable] = (Array.isArray(written) ? written : []) as unknown[];
  checkPath(path);
  if (second === undefined) return { path, isRuntime: true };
  if (typeof second === "string") {
    checkPath(second);
    return { path, target: second };
  }
  if (!(second instanceof Uint8Array) || second.length !== 32 || !Number.isSafeInteger(size) || (size as number) < 0) {
    throw new InternalError(`the list of a program's files says nothing valid of ${path}`);
  }
  return { path, hash: Buffer.from(second).toString("hex"), size: size as number, isExecutable: isExecutable === true };
}

function checkPath(path: unknown): asserts path is Path {
  const isSound =
    typeof path === "string" &&
    path.length <= PATH_CHARS_MAX &&
    path.startsWith("/") &&
    !path.includes("\0") &&
    path
      .slice(1)
      .split("/")
      .every((part) => part !== "" && part !== "." && part !== "..");
  if (!isSound)
    throw new InternalError(`a path among a program's files was refused: ${JSON.stringify(path)?.slice(0, 200)}`);
}

/** Nothing lies inside a file, or behind a link: what is written there could land anywhere. */
export function checkNesting(entries: Iterable<Entry>, known?: { has(path: Path): boolean }): void {
  const paths = new Set<Path>();
  const all = [...entries];
  for (const { path } of all) paths.add(path);
  for (const { path } of all) {
    for (let end = path.lastIndexOf("/"); end > 0; end = path.lastIndexOf("/", end - 1)) {
      const above = path.slice(0, end);
      if (paths.has(above) || known?.has(above)) {
        throw new InternalError(
          `a path among a program's files was refused: ${path} lies in ${above}, which is no folder`,
        );
      }
    }
  }
}
