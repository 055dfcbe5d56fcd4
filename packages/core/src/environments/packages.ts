/**
 * Packages: the files of a program by what they hold. A package is a list (`code/manifest.ts`), named by its hash, and files in
 * the cache for code, named by theirs; so equal files are kept, and sent to another machine, once.
 */

import { createHash } from "node:crypto";
import { closeSync, constants, copyFileSync, openSync, readFileSync, readSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { RuntimeEnvError } from "../base/errors.ts";
import {
  type CodeCache,
  decodeManifest,
  type Entry,
  encodeManifest,
  type FileEntry,
  give,
  hashOf,
  isFile,
  KnownFiles,
  type Manifest,
  onDisk,
} from "../code/mod.ts";
import type { Content, ProgramFile } from "./program-files.ts";

export interface PackageName {
  readonly hash: string;
  /** Of the list. */
  readonly bytes: number;
}

/** Read into memory up to here, copied beyond. */
const SMALL_BYTES = 4 * 2 ** 20;
const CHUNK_BYTES = 2 ** 20;
const PLATFORM = `${process.platform}-${process.arch}`;

export class Packages {
  readonly cache: CodeCache;
  private readonly known: KnownFiles;

  constructor(cache: CodeCache) {
    this.cache = cache;
    this.known = new KnownFiles(join(cache.folder, "known-files.json"));
  }

  /** Keeps the files as they are now. @throws OutOfDiskError. */
  pack(files: readonly ProgramFile[]): PackageName {
    const entries = files.map((file): Entry => {
      const path = `/${file.path}`;
      if ("target" in file) return { path, target: `/${file.target}` };
      const { isExecutable } = file;
      return { path, isExecutable, ...this.keep(file.content) };
    });
    this.known.save();
    return this.note({ platform: PLATFORM, entries });
  }

  private keep(content: Content): { readonly hash: string; readonly size: number } {
    const { cache } = this;
    if (!("from" in content) || content.stats.size <= SMALL_BYTES) {
      if ("from" in content) {
        const hash = this.known.hash(content.from, content.stats);
        if (hash !== undefined && cache.has(hash)) return { hash, size: content.stats.size };
      }
      const bytes = "from" in content ? readFileSync(content.from) : content.read();
      const hash = hashOf(bytes);
      cache.write(hash, bytes);
      if ("from" in content) this.known.remember(content.from, content.stats, hash);
      return { hash, size: bytes.length };
    }
    const { from, stats } = content;
    const known = this.known.hash(from, stats);
    if (known !== undefined && cache.has(known)) return { hash: known, size: stats.size };
    const copy = cache.temporary();
    try {
      onDisk(cache.folder, stats.size, () => copyFileSync(from, copy, constants.COPYFILE_FICLONE));
      // Of the copy: the file may change meanwhile.
      const { size } = statSync(copy);
      const hash = hashOfFile(copy);
      if (cache.has(hash)) return { hash, size };
      cache.adopt(hash, copy, size);
      this.known.remember(from, stats, hash);
      return { hash, size };
    } finally {
      rmSync(copy, { force: true });
    }
  }

  /** A part of a package as a package of its own. */
  note(manifest: Manifest): PackageName {
    const list = encodeManifest(manifest);
    const hash = hashOf(list);
    this.cache.write(hash, list);
    give(this.cache.folder, hash);
    this.cache.touch([hash, ...manifest.entries.filter(isFile).map((entry) => entry.hash)]);
    return { hash, bytes: list.length };
  }

  /** What is in it, if all of that is on this machine. */
  find(hash: string): Manifest | undefined {
    const list = hash === "" ? undefined : this.cache.read(hash);
    if (!list) return undefined;
    const manifest = decodeManifest(list);
    return manifest.entries.every((entry) => !isFile(entry) || this.cache.has(entry.hash)) ? manifest : undefined;
  }

  /** Puts a file where a program finds it. @throws RuntimeEnvError when it is not there any more. */
  async place({ hash, size, isExecutable }: FileEntry, to: string): Promise<void> {
    if (await this.cache.place(hash, size, isExecutable, to)) return;
    throw new RuntimeEnvError(`file ${hash8(hash)} of a package is no longer in ${this.cache.folder}: try again`);
  }

  /** The text of a file of the package; undefined when it has none of this path. */
  text(manifest: Manifest, path: string): string | undefined {
    const entry = manifest.entries.find((one) => one.path === `/${path}`);
    if (!entry || !isFile(entry)) return undefined;
    const bytes = this.cache.read(entry.hash);
    if (!bytes)
      throw new RuntimeEnvError(`${path} of package ${hash8(entry.hash)} is no longer in ${this.cache.folder}`);
    return bytes.toString("utf8");
  }
}

export const hash8 = (hash: string): string => hash.slice(0, 8);

function hashOfFile(path: string): string {
  const fd = openSync(path, "r");
  try {
    const hash = createHash("sha256");
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    for (let bytes = readSync(fd, chunk); bytes > 0; bytes = readSync(fd, chunk)) hash.update(chunk.subarray(0, bytes));
    return hash.digest("hex");
  } finally {
    closeSync(fd);
  }
}
