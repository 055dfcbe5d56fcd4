/**
 * Unpacks the zip file in which a working directory comes. It may have been made by anybody who may submit jobs, on any system: names
 * that lead out of the folder, things that are no files, and files that grow without end are refused before they do harm.
 */
import { createWriteStream } from "node:fs";
import { chmod, mkdir, symlink } from "node:fs/promises";
import { dirname, isAbsolute, join, normalize } from "node:path";
import { Transform } from "node:stream";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import type { Entry, ZipFile } from "yauzl";
import { InvalidOptionError } from "../base/errors.ts";

export interface UnpackLimits {
  readonly files: number;
  readonly bytes: number;
}

/** More than a checkout with its packages has. */
const LIMITS: UnpackLimits = { files: 500_000, bytes: 16 * 2 ** 30 };
const LINK_BYTES_MAX = 4_096;

/** The kinds of files in the upper half of a zip's attributes, as Unix has them. */
const KIND_MASK = 0o170000;
const FOLDER = 0o040000;
const FILE = 0o100000;
const LINK = 0o120000;

/**
 * @param folder exists and is empty.
 * @throws InvalidOptionError when the file is no zip, or holds what must not be.
 */
export async function unpack(zipPath: string, folder: string, limits: UnpackLimits = LIMITS): Promise<void> {
  const zip = await openZip(zipPath);
  const unpacking = new Unpacking(folder, limits);
  try {
    for await (const entry of zip.eachEntry()) await unpacking.take(zip, entry);
  } catch (error) {
    const { syscall, message } = error as NodeJS.ErrnoException;
    // What the system says (no room, no rights) is no fault of the file.
    if (error instanceof InvalidOptionError || syscall !== undefined) throw error;
    throw new InvalidOptionError(`the package cannot be unpacked: ${message}`, { cause: error });
  } finally {
    zip.close();
  }
  await unpacking.makeLinks();
}

async function openZip(path: string): Promise<ZipFile> {
  const { openPromise } = await import("yauzl");
  try {
    return await openPromise(path, {
      autoClose: false,
      lazyEntries: true,
      validateEntrySizes: true,
      strictFileNames: true,
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall !== undefined) throw error;
    throw new InvalidOptionError(`the package is no zip file: ${(error as Error).message}`, { cause: error });
  }
}

class Unpacking {
  private readonly folder: string;
  private readonly limits: UnpackLimits;
  private readonly links = new Map<string, string>();
  private files = 0;
  private bytes = 0;

  constructor(folder: string, limits: UnpackLimits) {
    this.folder = folder;
    this.limits = limits;
  }

  async take(zip: ZipFile, entry: Entry): Promise<void> {
    if (++this.files > this.limits.files)
      throw new InvalidOptionError(`the package has more than ${this.limits.files} files`);
    const path = inside(entry.fileName);
    if (entry.isEncrypted()) throw new InvalidOptionError(`${entry.fileName} in the package is encrypted`);
    const mode = entry.externalFileAttributes >>> 16;
    const kind = mode & KIND_MASK;
    if (entry.fileName.endsWith("/") || kind === FOLDER) {
      await mkdir(join(this.folder, path), { recursive: true });
      return;
    }
    if (kind === LINK) {
      if (entry.uncompressedSize > LINK_BYTES_MAX) throw new InvalidOptionError(`${entry.fileName} is too long a link`);
      const target = (await buffer(await zip.openReadStreamPromise(entry))).toString();
      checkLink(path, target);
      this.links.set(path, target);
      return;
    }
    if (kind !== FILE && kind !== 0) throw new InvalidOptionError(`${entry.fileName} in the package is no file`);
    const file = join(this.folder, path);
    await mkdir(dirname(file), { recursive: true });
    // Exclusive: of two entries with one name the second would change what is there.
    const out = createWriteStream(file, { flags: "wx", mode: 0o666 });
    await pipeline(await zip.openReadStreamPromise(entry), this.counting(), out);
    if ((mode & 0o111) !== 0) await chmod(file, 0o777 & ~process.umask());
  }

  /** Counts what comes, and not what the file says of itself. */
  private counting(): Transform {
    return new Transform({
      transform: (chunk: Uint8Array, _encoding, done) => {
        this.bytes += chunk.length;
        if (this.bytes <= this.limits.bytes) done(null, chunk);
        else done(new InvalidOptionError(`the package holds more than ${this.limits.bytes} bytes`));
      },
    });
  }

  /** Last, so that no file is written through one. */
  async makeLinks(): Promise<void> {
    for (const [path, target] of this.links) {
      const link = join(this.folder, path);
      await mkdir(dirname(link), { recursive: true });
      await symlink(target, link);
    }
  }
}

/** yauzl refuses names that are absolute or go up; this says the same of what is left after that. */
function inside(name: string): string {
  const path = normalize(name);
  if (isAbsolute(path) || path === ".." || path.startsWith("../") || path.includes("\0")) {
    throw new InvalidOptionError(`${name} in the package leads out of its folder`);
  }
  return path;
}

function checkLink(path: string, target: string): void {
  const reached = normalize(join(dirname(path), target));
  if (target === "" || isAbsolute(target) || reached === ".." || reached.startsWith("../") || target.includes("\0")) {
    throw new InvalidOptionError(`the link ${path} in the package leads out of its folder, to ${target}`);
  }
}
