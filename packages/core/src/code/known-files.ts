/**
 * What files held when they were last read, so that packages are not read again in each run. A file is known by its size, its
 * times and its inode. One that has changed a moment before it was read may change again without its times showing it, and is
 * not remembered.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, type Stats, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Hash, Path } from "./manifest.ts";

type Known = readonly [size: number, modifiedMs: number, changedMs: number, inode: number, hash: Hash];

const SETTLED_MS = 2_000;
const FILES_MAX = 200_000;

export class KnownFiles {
  private readonly file: string | undefined;
  private readonly files: Map<Path, Known>;
  private hasChanged = false;

  /** @param file where it is kept from run to run; undefined: nowhere. */
  constructor(file: string | undefined) {
    this.file = file;
    this.files = new Map(file === undefined ? [] : read(file));
  }

  hash(path: Path, { size, mtimeMs, ctimeMs, ino }: Stats): Hash | undefined {
    const known = this.files.get(path);
    if (known?.[0] !== size || known[1] !== mtimeMs || known[2] !== ctimeMs || known[3] !== ino) return undefined;
    return known[4];
  }

  remember(path: Path, { size, mtimeMs, ctimeMs, ino }: Stats, hash: Hash): void {
    if (this.files.get(path)?.[4] === hash && this.files.get(path)?.[2] === ctimeMs) return;
    if (Date.now() - Math.max(mtimeMs, ctimeMs) < SETTLED_MS) return;
    this.files.delete(path);
    this.files.set(path, [size, mtimeMs, ctimeMs, ino, hash]);
    this.hasChanged = true;
  }

  save(): void {
    if (this.file === undefined || !this.hasChanged) return;
    this.hasChanged = false;
    const kept = [...this.files].slice(-FILES_MAX);
    const temporary = `${this.file}.${process.pid}.tmp`;
    try {
      mkdirSync(dirname(this.file), { recursive: true, mode: 0o700 });
      writeFileSync(temporary, JSON.stringify(kept), { mode: 0o600 });
      renameSync(temporary, this.file);
    } catch {
      // A full or read-only disk: the next run reads the files again.
      rmSync(temporary, { force: true });
    }
  }
}

function read(file: string): [Path, Known][] {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as [Path, Known][];
  } catch {
    return []; // Nobody has written it yet.
  }
}

export const statOf = (path: Path): Stats | undefined => statSync(path, { throwIfNoEntry: false });
