/**
 * What a command prints, in files of its node: `job-driver-<id>.log`, and when that has become long, older parts beside it, named by
 * where they begin: `job-driver-<id>.<offset>.log`. Offsets count from the first byte that was ever printed there, so a reader goes on
 * where it stopped, whatever has been moved or dropped since.
 */
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

/** A file becomes an older part at this size, and so many parts are kept: 256 MiB of each job. */
const PART_BYTES_MAX = 32 * 2 ** 20;
const PARTS_MAX = 7;

export interface LogLimits {
  readonly partBytesMax: number;
  readonly partsMax: number;
}

const logFileOf = (submissionId: string): string => `job-driver-${submissionId}.log`;

interface Part {
  readonly path: string;
  readonly from: number;
  readonly bytes: number;
}

/** In the order in which they were printed; the last one is being written. */
function partsOf(folder: string, submissionId: string): Part[] {
  const before = `job-driver-${submissionId}.`;
  const older = readdirSync(folder)
    .flatMap((name) => {
      const offset = name.startsWith(before) ? /^(\d+)\.log$/.exec(name.slice(before.length))?.[1] : undefined;
      return offset === undefined ? [] : [{ path: join(folder, name), from: Number(offset) }];
    })
    .sort((a, b) => a.from - b.from)
    .flatMap((part) => {
      const bytes = sizeOf(part.path);
      return bytes === undefined ? [] : [{ ...part, bytes }];
    });
  const last = older.at(-1);
  const path = join(folder, logFileOf(submissionId));
  const bytes = sizeOf(path);
  return bytes === undefined ? older : [...older, { path, from: last ? last.from + last.bytes : 0, bytes }];
}

function sizeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.size;
}

/** One at a time writes it: the supervisor of the job. */
export class JobLog implements Disposable {
  private readonly folder: string;
  private readonly id: string;
  private readonly limits: LogLimits;
  private file: number;
  /** Where the file that is written begins. */
  private from: number;
  private bytes: number;
  private readonly waiters = new Set<() => void>();

  /** Goes on with what is there of the job. */
  constructor(
    folder: string,
    submissionId: string,
    limits: LogLimits = { partBytesMax: PART_BYTES_MAX, partsMax: PARTS_MAX },
  ) {
    this.folder = folder;
    this.id = submissionId;
    this.limits = limits;
    this.file = openSync(join(folder, logFileOf(submissionId)), "a", 0o600);
    this.bytes = fstatSync(this.file).size;
    this.from = partsOf(folder, submissionId).at(-1)?.from ?? 0;
  }

  get end(): number {
    return this.from + this.bytes;
  }

  /** @throws what the disk says; what was written of the chunk then is taken back. */
  append(chunk: Uint8Array): void {
    try {
      for (let at = 0; at < chunk.length; ) at += writeSync(this.file, chunk, at);
    } catch (error) {
      ftruncateSync(this.file, this.bytes);
      throw error;
    }
    this.bytes += chunk.length;
    if (this.bytes >= this.limits.partBytesMax) this.turnOver();
    for (const wake of [...this.waiters]) wake();
  }

  /** Resolves when there is more than up to `offset`, or the signal is aborted. */
  async moreThan(offset: number, signal: AbortSignal): Promise<void> {
    if (this.end > offset || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        this.waiters.delete(wake);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      this.waiters.add(wake);
      signal.addEventListener("abort", wake);
    });
  }

  private turnOver(): void {
    closeSync(this.file);
    const path = join(this.folder, logFileOf(this.id));
    renameSync(path, join(this.folder, `job-driver-${this.id}.${this.from}.log`));
    this.from += this.bytes;
    this.bytes = 0;
    this.file = openSync(path, "a", 0o600);
    const older = partsOf(this.folder, this.id).slice(0, -1);
    for (const part of older.slice(0, Math.max(0, older.length - this.limits.partsMax)))
      rmSync(part.path, { force: true });
  }

  [Symbol.dispose](): void {
    closeSync(this.file);
  }
}

export interface LogPiece {
  readonly bytes: Uint8Array;
  /** Where they begin: later than asked for, if what was there has been dropped. */
  readonly from: number;
  /** Where the log ends now. */
  readonly end: number;
  /** The job has ended, and nothing follows. */
  readonly isLast?: boolean;
}

/** Reads from an offset on; a negative one counts from the end. Nothing, and `end: 0`, where there is no log. */
export function readJobLog(folder: string, submissionId: string, offset: number, bytesMax: number): LogPiece {
  let parts: Part[];
  try {
    parts = partsOf(folder, submissionId);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    parts = [];
  }
  const first = parts[0]?.from ?? 0;
  const last = parts.at(-1);
  const end = last ? last.from + last.bytes : 0;
  const from = Math.min(end, Math.max(first, offset < 0 ? end + offset : offset));
  const bytes = Buffer.alloc(Math.min(bytesMax, end - from));
  let filled = 0;
  for (const part of parts) {
    const start = from + filled - part.from;
    if (filled >= bytes.length || start < 0 || start >= part.bytes) continue;
    filled += readPart(
      part,
      bytes.subarray(filled, filled + Math.min(bytes.length - filled, part.bytes - start)),
      start,
    );
  }
  return { bytes: bytes.subarray(0, filled), from, end };
}

function readPart({ path }: Part, into: Uint8Array, start: number): number {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    // It has been moved or dropped in between: who reads asks again.
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw error;
  }
  try {
    return readSync(file, into, 0, into.length, start);
  } finally {
    closeSync(file);
  }
}

export function removeJobLog(folder: string, submissionId: string): void {
  for (const { path } of partsOf(folder, submissionId)) rmSync(path, { force: true });
}
