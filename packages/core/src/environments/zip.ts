/**
 * Reads a zip archive: what Python's, npm's and the system's tools write, without encryption and below 4 GiB. It may have been made by
 * anybody who may submit jobs: names that lead out of it, things that are no files, and files that are not what it says are refused.
 *
 * Only its directory is read at first; of a file what is asked for.
 */
import { closeSync, createReadStream, fstatSync, openSync, readSync } from "node:fs";
import { basename } from "node:path";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { crc32, createInflateRaw, inflateRawSync } from "node:zlib";
import { InvalidOptionError } from "../base/errors.ts";

export interface ZipEntry {
  /** Without a slash at either end. */
  readonly path: string;
  readonly kind: "file" | "folder" | "link";
  readonly isExecutable: boolean;
  /** As its directory says: no more of it comes. */
  readonly bytes: number;
  /** All of it, in memory. */
  read(): Buffer;
  /** All of it, as it is unpacked. */
  writeTo(to: NodeJS.WritableStream): Promise<void>;
}

const END = 0x06054b50;
const END_64 = 0x06064b50;
const END_64_PLACE = 0x07064b50;
const END_64_PLACE_BYTES = 20;
const END_64_BYTES = 56;
const CENTRAL = 0x02014b50;
const CENTRAL_BYTES = 46;
const LOCAL = 0x04034b50;
const LOCAL_BYTES = 30;
const END_BYTES = 22;
const COMMENT_BYTES_MAX = 0xffff;
const DIRECTORY_BYTES_MAX = 256 * 2 ** 20;
const STORED = 0;
const DEFLATED = 8;
const ENCRYPTED = 1;
const FILE_TYPE = 0xf000;
const FILE = 0x8000;
const FOLDER = 0x4000;
const LINK = 0xa000;
const MADE_BY_UNIX = 3;
const MADE_BY_MAC = 19;

/** An archive that is open until it is disposed of. @throws InvalidOptionError when it is none that can be read. */
export class Zip implements Disposable {
  readonly entries: readonly ZipEntry[];
  private readonly file: number;

  /** @param name for errors. */
  constructor(path: string, name = basename(path)) {
    this.file = openSync(path, "r");
    try {
      this.entries = new Directory(this.file, path, name).entries;
    } catch (error) {
      closeSync(this.file);
      throw error;
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.file);
  }
}

interface Place {
  readonly path: string;
  readonly local: number;
  readonly packedBytes: number;
  readonly bytes: number;
  readonly sum: number;
  readonly method: number;
}

class Directory {
  readonly entries: readonly ZipEntry[];
  private readonly file: number;
  private readonly archive: string;
  private readonly name: string;
  private readonly size: number;

  constructor(file: number, archive: string, name: string) {
    this.file = file;
    this.archive = archive;
    this.name = name;
    this.size = fstatSync(file).size;
    this.entries = this.read();
  }

  private refuse(why: string): never {
    throw new InvalidOptionError(`${this.name} is no zip archive that can be used: ${why}`);
  }

  private bytesAt(from: number, bytes: number): Buffer {
    if (from < 0 || from + bytes > this.size) this.refuse("it is cut off");
    const buffer = Buffer.alloc(bytes);
    for (let filled = 0; filled < bytes; ) {
      const read = readSync(this.file, buffer, filled, bytes - filled, from + filled);
      if (read === 0) this.refuse("it is cut off");
      filled += read;
    }
    return buffer;
  }

  /** Where its directory is, and how many entries it has. */
  private find(): { readonly from: number; readonly bytes: number; readonly count: number } {
    const lowest = Math.max(0, this.size - END_BYTES - COMMENT_BYTES_MAX);
    const last = this.bytesAt(lowest, this.size - lowest);
    let end = last.length - END_BYTES;
    while (end >= 0 && last.readUInt32LE(end) !== END) end--;
    if (end < 0) this.refuse("it has no directory at its end");
    const [count, bytes, from] = [
      last.readUInt16LE(end + 10),
      last.readUInt32LE(end + 12),
      last.readUInt32LE(end + 16),
    ];
    if (count !== 0xffff && bytes !== 0xffffffff && from !== 0xffffffff) return { from, bytes, count };
    // More than 65,534 files.
    const place = this.bytesAt(lowest + end - END_64_PLACE_BYTES, END_64_PLACE_BYTES);
    if (place.readUInt32LE(0) !== END_64_PLACE) this.refuse("it is larger than 4 GiB");
    const large = this.bytesAt(this.whole(place.readBigUInt64LE(8)), END_64_BYTES);
    if (large.readUInt32LE(0) !== END_64) this.refuse("its directory is damaged");
    const numberAt = (offset: number): number => this.whole(large.readBigUInt64LE(offset));
    return { count: numberAt(32), bytes: numberAt(40), from: numberAt(48) };
  }

  private whole(value: bigint): number {
    return value <= 0xffffffffn ? Number(value) : this.refuse("it is larger than 4 GiB");
  }

  private read(): ZipEntry[] {
    const { from, bytes, count } = this.find();
    if (bytes > DIRECTORY_BYTES_MAX) this.refuse(`its directory has more than ${DIRECTORY_BYTES_MAX} bytes`);
    const directory = this.bytesAt(from, bytes);
    const entries: ZipEntry[] = [];
    let at = 0;
    for (let index = 0; index < count; index++) {
      if (at + CENTRAL_BYTES > directory.length || directory.readUInt32LE(at) !== CENTRAL) {
        this.refuse(`its directory is damaged at byte ${from + at}`);
      }
      const nameBytes = directory.readUInt16LE(at + 28);
      const next = at + CENTRAL_BYTES + nameBytes + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
      if (next > directory.length) this.refuse("it is cut off");
      entries.push(this.entryOf(directory.subarray(at, next), nameBytes));
      at = next;
    }
    return entries;
  }

  private entryOf(record: Buffer, nameBytes: number): ZipEntry {
    const written = record.toString("utf8", CENTRAL_BYTES, CENTRAL_BYTES + nameBytes);
    const isFolder = written.endsWith("/");
    const path = safePath(isFolder ? written.slice(0, -1) : written) ?? this.refuse(`"${written}" leads out of it`);
    const madeBy = record.readUInt8(5);
    const mode = madeBy === MADE_BY_UNIX || madeBy === MADE_BY_MAC ? record.readUInt16LE(40) : 0;
    const type = mode & FILE_TYPE;
    const [flags, method] = [record.readUInt16LE(8), record.readUInt16LE(10)];
    if (![0, FILE, FOLDER, LINK].includes(type)) this.refuse(`${path} is no file`);
    if (flags & ENCRYPTED) this.refuse(`${path} is encrypted`);
    if (method !== STORED && method !== DEFLATED) this.refuse(`${path} is compressed by method ${method}`);
    const place: Place = {
      ...{ path, method, sum: record.readUInt32LE(16), local: record.readUInt32LE(42) },
      ...{ packedBytes: record.readUInt32LE(20), bytes: record.readUInt32LE(24) },
    };
    if ([place.packedBytes, place.bytes, place.local].includes(0xffffffff)) this.refuse("it is larger than 4 GiB");
    return {
      ...{ path, bytes: place.bytes, isExecutable: (mode & 0o100) !== 0 },
      kind: isFolder || type === FOLDER ? "folder" : type === LINK ? "link" : "file",
      read: () => this.contentOf(place),
      writeTo: (to) => this.write(place, to),
    };
  }

  /** Where what is in a file begins. */
  private startOf({ path, local }: Place): number {
    const header = this.bytesAt(local, LOCAL_BYTES);
    if (header.readUInt32LE(0) !== LOCAL) this.refuse(`${path} is not where its directory says`);
    return local + LOCAL_BYTES + header.readUInt16LE(26) + header.readUInt16LE(28);
  }

  private contentOf(place: Place): Buffer {
    const { path, packedBytes, bytes, method, sum } = place;
    const packed = this.bytesAt(this.startOf(place), packedBytes);
    let content: Buffer;
    try {
      content = method === STORED ? packed : inflateRawSync(packed, { maxOutputLength: Math.max(1, bytes) });
    } catch (error) {
      return this.refuse(`${path} is damaged: ${(error as Error).message}`);
    }
    return content.length === bytes && crc32(content) === sum ? content : this.refuse(`${path} is damaged`);
  }

  private async write(place: Place, to: NodeJS.WritableStream): Promise<void> {
    const { path, packedBytes, bytes, method, sum } = place;
    const start = this.startOf(place);
    if (start + packedBytes > this.size) this.refuse("it is cut off");
    const packed =
      packedBytes === 0 ? Readable.from([]) : createReadStream(this.archive, { start, end: start + packedBytes - 1 });
    let [come, found] = [0, 0];
    const refuse = (why: string): Error =>
      new InvalidOptionError(`${this.name} is no zip archive that can be used: ${path} ${why}`);
    const checked = new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        come += chunk.length;
        found = crc32(chunk, found);
        // What comes counts, and not what the archive says of itself.
        if (come <= bytes) done(null, chunk);
        else done(refuse("is larger than it says"));
      },
      flush: (done) => done(come === bytes && found === sum ? null : refuse("is damaged")),
    });
    try {
      if (method === STORED) await pipeline(packed, checked, to);
      else await pipeline(packed, createInflateRaw(), checked, to);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      throw code?.startsWith("Z_") || code === "ERR_STREAM_PREMATURE_CLOSE" ? refuse("is damaged") : error;
    }
  }
}

function safePath(written: string): string | undefined {
  const parts = written.replace(/^(\.\/)+/, "").split("/");
  const isOutside = written.includes("\\") || written.includes("\0") || /^[A-Za-z]:/.test(written);
  return isOutside || parts.some((part) => ["", ".", ".."].includes(part)) ? undefined : parts.join("/");
}
