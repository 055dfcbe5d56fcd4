/**
 * Files by the hash of what they hold, on the disk of a machine, for all nodes of one user. They are written aside and renamed,
 * so that two processes that write the same one do each other no harm, and looked through when they are read: what does not
 * have its hash is thrown away. The ones that nobody has used for longest go when there are too many.
 */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { OutOfDiskError } from "../base/errors.ts";
import { randomBytes } from "../base/random.ts";
import { hashFile } from "./hash-file.ts";
import { type Hash, hashOf } from "./manifest.ts";

const FOLDER = "files";
/** What is left when some are thrown away. */
const KEPT_PART = 0.9;
const ABANDONED_MS = 3_600_000;

export class CodeCache {
  readonly folder: string;
  private readonly bytesMax: number;
  /** At least so many bytes; undefined until they were counted. */
  private bytes: number | undefined;
  /** Written by this process, and not placed yet: they need not be looked through. */
  private readonly fresh = new Set<Hash>();
  /** Which it has made: none of them is removed. */
  private readonly folders = new Set<string>();

  constructor(folder: string, bytesMax: number) {
    this.folder = folder;
    this.bytesMax = bytesMax;
  }

  has(hash: Hash): boolean {
    return existsSync(this.pathOf(hash));
  }

  /** Undefined when it is not there, or not as it should be. */
  read(hash: Hash): Buffer | undefined {
    let bytes: Buffer;
    try {
      bytes = readFileSync(this.pathOf(hash));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
    if (hashOf(bytes) === hash) return bytes;
    this.remove(hash);
    return undefined;
  }

  /** @throws OutOfDiskError. */
  write(hash: Hash, bytes: Uint8Array): void {
    if (this.has(hash)) return;
    const temporary = this.temporary();
    try {
      this.onDisk(bytes.length, () => writeFileSync(temporary, bytes, { mode: 0o400 }));
      this.rename(hash, temporary, bytes.length);
    } catch (error) {
      // Of a full disk every byte counts.
      rmSync(temporary, { force: true });
      throw error;
    }
  }

  /** A file to write into, for {@link adopt}. */
  temporary(): string {
    const folder = join(this.folder, FOLDER);
    this.makeFolder(folder);
    return join(folder, `${process.pid}.${randomBytes(6).toString("hex")}.tmp`);
  }

  /** Takes over a file that holds what has this hash. */
  adopt(hash: Hash, temporary: string, size: number): void {
    chmodSync(temporary, 0o400);
    this.rename(hash, temporary, size);
  }

  private rename(hash: Hash, temporary: string, size: number): void {
    const path = this.pathOf(hash);
    this.makeFolder(dirname(path));
    this.onDisk(size, () => renameSync(temporary, path));
    this.fresh.add(hash);
    if (this.bytes !== undefined) this.bytes += size;
  }

  private makeFolder(path: string): void {
    if (this.folders.has(path)) return;
    this.onDisk(0, () => mkdirSync(path, { recursive: true, mode: 0o700 }));
    this.folders.add(path);
  }

  /**
   * Puts the file where a program finds it: it is the same file, which nobody should write to. False when it is not there,
   * or not as it should be.
   */
  async place(hash: Hash, size: number, isExecutable: boolean, to: string): Promise<boolean> {
    const path = this.pathOf(hash);
    if (!this.fresh.delete(hash) && !(await this.isWhole(path, hash))) return false;
    this.onDisk(size, () => {
      try {
        // Others have the same file, which has one mode.
        if (isExecutable) throw Object.assign(new Error("its mode is another"), { code: "EXDEV" });
        linkSync(path, to);
      } catch (error) {
        const { code = "" } = error as NodeJS.ErrnoException;
        if (!["EXDEV", "EPERM", "EMLINK", "ENOTSUP", "EOPNOTSUPP"].includes(code)) throw error;
        copyFileSync(path, to);
        chmodSync(to, isExecutable ? 0o500 : 0o400);
      }
    });
    return true;
  }

  private async isWhole(path: string, hash: Hash): Promise<boolean> {
    try {
      if ((await hashFile(path)) === hash) return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
      throw error;
    }
    this.remove(hash);
    return false;
  }

  remove(hash: Hash): void {
    rmSync(this.pathOf(hash), { force: true });
  }

  /** These were used: they are the last to go. */
  touch(hashes: Iterable<Hash>): void {
    const now = new Date();
    for (const hash of hashes) {
      try {
        utimesSync(this.pathOf(hash), now, now);
      } catch (error) {
        // Another process has thrown it away; where it was used it is a file of its own.
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      }
    }
  }

  /** Throws away what was not used for longest, if there is too much. */
  trim(): void {
    if (this.bytes !== undefined && this.bytes <= this.bytesMax) return;
    const files = this.list();
    this.bytes = files.reduce((sum, { size }) => sum + size, 0);
    if (this.bytes <= this.bytesMax) return;
    files.sort((a, b) => a.usedMs - b.usedMs);
    for (const { path, size } of files) {
      if (this.bytes <= this.bytesMax * KEPT_PART) return;
      rmSync(path, { force: true });
      this.bytes -= size;
    }
  }

  private list(): { path: string; size: number; usedMs: number }[] {
    const found: { path: string; size: number; usedMs: number }[] = [];
    const top = join(this.folder, FOLDER);
    for (const entry of readdirSync(top, { withFileTypes: true, recursive: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      const status = statSync(path, { throwIfNoEntry: false });
      if (!status) continue;
      // What a process that died has left half written.
      if (path.endsWith(".tmp") && Date.now() - status.mtimeMs > ABANDONED_MS) rmSync(path, { force: true });
      else found.push({ path, size: status.size, usedMs: status.mtimeMs });
    }
    return found;
  }

  pathOf(hash: Hash): string {
    return join(this.folder, FOLDER, hash.slice(0, 2), hash);
  }

  /** @throws OutOfDiskError in place of what the system says. */
  private onDisk(bytes: number, work: () => void): void {
    onDisk(this.folder, bytes, work);
  }
}

/** @throws OutOfDiskError when the disk of `folder` is full. */
export function onDisk(folder: string, bytes: number, work: () => void): void {
  try {
    work();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "ENOSPC" && code !== "EDQUOT") throw error;
    throw new OutOfDiskError(
      `the disk is full on which this node keeps programs (${folder}; ${bytes} bytes were to be written): free some of it, ` +
        `or name another folder in MOBULA_CACHE_DIR (${message})`,
      { cause: error },
    );
  }
}
