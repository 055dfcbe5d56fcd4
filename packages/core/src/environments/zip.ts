/** Reads a zip archive: what Python's, npm's and the system's tools write, without encryption and below 4 GiB. */
import { inflateRawSync } from "node:zlib";
import { InvalidOptionError } from "../base/errors.ts";

export interface ZipEntry {
  /** Without a slash at either end. */
  readonly path: string;
  readonly isExecutable: boolean;
  readonly isLink: boolean;
  readonly bytes: number;
  read(): Buffer;
}

const END = 0x06054b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
const END_BYTES = 22;
const COMMENT_BYTES_MAX = 0xffff;
const STORED = 0;
const DEFLATED = 8;
const ENCRYPTED = 1;
const FILE_TYPE = 0xf000;
const LINK = 0xa000;
const MADE_BY_UNIX = 3;

/** The files of an archive. @param name for errors. @throws InvalidOptionError when it is none that can be read. */
export function readZip(archive: Buffer, name: string): ZipEntry[] {
  const refuse = (why: string): never => {
    throw new InvalidOptionError(`${name} is no zip archive that can be used: ${why}`);
  };
  let end = archive.length - END_BYTES;
  const lowest = Math.max(0, end - COMMENT_BYTES_MAX);
  while (end >= lowest && archive.readUInt32LE(end) !== END) end--;
  if (end < lowest) refuse("it has no directory at its end");
  const count = archive.readUInt16LE(end + 10);
  let at = archive.readUInt32LE(end + 16);
  if (count === 0xffff || at === 0xffffffff) refuse("it is larger than 4 GiB or has more than 65,534 files");
  const entries: ZipEntry[] = [];
  try {
    for (let index = 0; index < count; index++) {
      if (archive.readUInt32LE(at) !== CENTRAL) refuse(`its directory is damaged at byte ${at}`);
      const flags = archive.readUInt16LE(at + 8);
      const method = archive.readUInt16LE(at + 10);
      const packedBytes = archive.readUInt32LE(at + 20);
      const bytes = archive.readUInt32LE(at + 24);
      const nameBytes = archive.readUInt16LE(at + 28);
      const madeBy = archive.readUInt8(at + 5);
      const mode = madeBy === MADE_BY_UNIX ? archive.readUInt16LE(at + 40) : 0;
      const local = archive.readUInt32LE(at + 42);
      const written = archive.toString("utf8", at + 46, at + 46 + nameBytes);
      at += 46 + nameBytes + archive.readUInt16LE(at + 30) + archive.readUInt16LE(at + 32);
      if (written.endsWith("/")) continue;
      const path = safePath(written) ?? refuse(`"${written}" leads out of it`);
      if (flags & ENCRYPTED) refuse(`${path} is encrypted`);
      if (method !== STORED && method !== DEFLATED) refuse(`${path} is compressed by method ${method}`);
      entries.push({
        ...{ path, bytes, isExecutable: (mode & 0o100) !== 0, isLink: (mode & FILE_TYPE) === LINK },
        read: () => {
          if (archive.readUInt32LE(local) !== LOCAL) refuse(`${path} is not where its directory says`);
          const from = local + 30 + archive.readUInt16LE(local + 26) + archive.readUInt16LE(local + 28);
          const packed = archive.subarray(from, from + packedBytes);
          const content = method === STORED ? packed : inflateRawSync(packed, { maxOutputLength: Math.max(1, bytes) });
          return content.length === bytes ? content : refuse(`${path} is damaged`);
        },
      });
    }
  } catch (error) {
    if (error instanceof RangeError) refuse("it is cut off");
    throw error;
  }
  return entries;
}

function safePath(written: string): string | undefined {
  const parts = written.replace(/^(\.\/)+/, "").split("/");
  return written.includes("\\") || written.includes("\0") || parts.some((part) => ["", ".", ".."].includes(part))
    ? undefined
    : parts.join("/");
}
