/**
 * Unpacks the zip file in which a working directory comes. It may have been made by anybody who may submit jobs, on any system: links
 * that lead out of the folder, and files that grow without end are refused before they do harm (environments/zip.ts refuses the rest).
 */
import { createWriteStream } from "node:fs";
import { chmod, mkdir, symlink } from "node:fs/promises";
import { dirname, isAbsolute, join, normalize } from "node:path";
import { InvalidOptionError } from "../base/errors.ts";
import { Zip, type ZipEntry } from "../environments/mod.ts";

export interface UnpackLimits {
  readonly files: number;
  readonly bytes: number;
}

/** More than a checkout with its packages has. */
const LIMITS: UnpackLimits = { files: 500_000, bytes: 16 * 2 ** 30 };
const LINK_BYTES_MAX = 4_096;

/**
 * @param folder exists and is empty.
 * @throws InvalidOptionError when the file is no zip, or holds what must not be.
 */
export async function unpack(zipPath: string, folder: string, limits: UnpackLimits = LIMITS): Promise<void> {
  using zip = new Zip(zipPath, "the package");
  const { entries } = zip;
  if (entries.length > limits.files) {
    throw new InvalidOptionError(`the package has more than ${limits.files} files`);
  }
  // No file is larger than its entry says, or it is refused.
  if (entries.reduce((sum, { bytes }) => sum + bytes, 0) > limits.bytes) {
    throw new InvalidOptionError(`the package holds more than ${limits.bytes} bytes`);
  }
  for (const entry of entries) await unpackOne(entry, folder);
  // Last, so that no file is written through one.
  for (const entry of entries) if (entry.kind === "link") await makeLink(entry, folder);
}

async function unpackOne(entry: ZipEntry, folder: string): Promise<void> {
  const at = join(folder, entry.path);
  if (entry.kind === "link") return;
  if (entry.kind === "folder") {
    await mkdir(at, { recursive: true });
    return;
  }
  await mkdir(dirname(at), { recursive: true });
  // Exclusive: of two entries with one name the second would change what is there.
  await entry.writeTo(createWriteStream(at, { flags: "wx", mode: 0o666 }));
  if (entry.isExecutable) await chmod(at, 0o777 & ~process.umask());
}

async function makeLink(entry: ZipEntry, folder: string): Promise<void> {
  const { path, bytes } = entry;
  if (bytes > LINK_BYTES_MAX) throw new InvalidOptionError(`${path} is too long a link`);
  const target = entry.read().toString("utf8");
  const reached = normalize(join(dirname(path), target));
  if (target === "" || isAbsolute(target) || reached === ".." || reached.startsWith("../") || target.includes("\0")) {
    throw new InvalidOptionError(`the link ${path} in the package leads out of its folder, to ${target}`);
  }
  const at = join(folder, path);
  await mkdir(dirname(at), { recursive: true });
  await symlink(target, at);
}
