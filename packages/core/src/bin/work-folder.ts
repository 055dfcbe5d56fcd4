/** A folder as a package: a zip file whose name says what is in it, so that what was uploaded once is not uploaded again. */
import { createHash } from "node:crypto";
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { Zip, ZipDeflate } from "fflate";
import { filesOfFolder } from "../environments/mod.ts";

const BYTES_MAX = 1 * 2 ** 30;
/** The same files give the same bytes whenever they are packed. */
const MTIME = new Date("2000-01-01T00:00:00");
const UNIX = 3;
const LEVEL = 1;

export interface PackedFolder {
  /** `gcs://….zip` */
  readonly uri: string;
  readonly bytes: number;
  readonly files: number;
}

/** @param zipPath is written. @throws InvalidOptionError when the folder cannot be packed. */
export function packFolder(folder: string, excludes: readonly string[], zipPath: string): PackedFolder {
  const files = filesOfFolder(folder, { excludes, bytesMax: BYTES_MAX });
  const out = openSync(zipPath, "wx", 0o600);
  const sum = createHash("sha256");
  let bytes = 0;
  try {
    const zip = new Zip((error, chunk) => {
      if (error) throw error;
      sum.update(chunk);
      for (let at = 0; at < chunk.length; ) at += writeSync(out, chunk, at);
      bytes += chunk.length;
    });
    const add = (path: string, mode: number, content: Uint8Array): void => {
      const file = new ZipDeflate(path, { level: LEVEL });
      file.mtime = MTIME;
      file.os = UNIX;
      file.attrs = mode << 16;
      zip.add(file);
      file.push(content, true);
    };
    for (const file of files) {
      if ("target" in file) add(file.path, 0o120777, Buffer.from(targetFrom(file.path, file.target)));
      else add(file.path, file.isExecutable ? 0o100755 : 0o100644, contentOf(file.content));
    }
    zip.end();
  } finally {
    closeSync(out);
  }
  return { uri: `gcs://mobula_${sum.digest("hex").slice(0, 40)}.zip`, bytes, files: files.length };
}

const contentOf = (content: { readonly from: string } | { read(): Buffer }): Uint8Array =>
  "from" in content ? readFileSync(content.from) : content.read();

/** A link leads on from where it lies; its target is given from the top. */
const targetFrom = (path: string, target: string): string => "../".repeat(path.split("/").length - 1) + target;
