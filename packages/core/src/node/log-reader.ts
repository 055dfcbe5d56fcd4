/**
 * Reads the log files of a node's run for people: the last lines, those of a task, an actor or a job, or what has come since. Files
 * are read in pieces, and at most so many bytes for one answer, so that nothing here waits for long.
 */
import { type FileHandle, open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { InvalidOptionError } from "../base/errors.ts";
import type { Queries } from "../wire/queries.ts";
import { byTime, parseLogLine } from "./log-record.ts";

type Wanted = Queries["log-lines"]["params"];
type Found = Queries["log-lines"]["result"];

const NAME = /^[\w.-]{1,128}$/;
const LINES_MAX = 10_000;
const PIECE_BYTES = 256 * 1024;
const BYTES_MAX = 64 * 2 ** 20;
/** Of one answer. */
const ANSWER_BYTES_MAX = 8 * 2 ** 20;

export async function logFiles(folder: string): Promise<Queries["log-files"]["result"]> {
  const files: { file: string; sizeBytes: number; modifiedAtMs: number }[] = [];
  for (const file of await readdir(folder)) {
    const status = await stat(join(folder, file)).catch(() => undefined); // It may be rotated away meanwhile.
    if (status?.isFile()) files.push({ file, sizeBytes: status.size, modifiedAtMs: status.mtimeMs });
  }
  return files.sort((a, b) => b.modifiedAtMs - a.modifiedAtMs);
}

/** @throws InvalidOptionError for a name that is no file's. */
export async function logLines(folder: string, { file, id, search, lines, after }: Wanted): Promise<Found> {
  if (file !== null && !NAME.test(file)) throw new InvalidOptionError(`"${file}" is no log file`);
  const count = Math.min(Math.max(1, lines), LINES_MAX);
  const all = await logFiles(folder);
  const files =
    file === null
      ? all.filter((one) => /^worker-\d+\.log(\.\d+)?$/.test(one.file))
      : all.filter((one) => one.file === file);
  if (file !== null && files.length === 0)
    throw new InvalidOptionError(`there is no log file "${file}"; it may have been rotated away`);
  const wanted = (line: string): boolean =>
    (id === null || line.includes(id)) && (search === null || line.includes(search) || says(line, search));
  const reading = { bytesLeft: BYTES_MAX, isCut: false };
  const found: string[] = [];
  const ends: Record<string, number> = {};
  for (const { file: name, sizeBytes } of files) {
    const from = after?.[name];
    if (after) {
      // Since the last time it was rotated, or is new: all of it is new.
      const start = from === undefined || from > sizeBytes ? 0 : from;
      const read = await readForward(join(folder, name), start, sizeBytes, reading);
      found.push(...read.lines.filter(wanted));
      ends[name] = read.end;
    } else {
      ends[name] = sizeBytes;
      found.push(...(await readBack(join(folder, name), sizeBytes, count, wanted, reading)));
    }
  }
  // Lines of several files are in the order of their times, with which they begin.
  if (files.length > 1) found.sort(byTime);
  const kept = after ? found.slice(0, LINES_MAX) : found.slice(-count);
  for (let bytes = kept.reduce((sum, line) => sum + line.length, 0); bytes > ANSWER_BYTES_MAX; reading.isCut = true)
    bytes -= kept.shift()?.length ?? bytes;
  return { lines: kept, after: ends, isCut: reading.isCut || (after !== null && found.length > kept.length) };
}

/** In JSON some characters are written in another way. */
const says = (line: string, search: string): boolean =>
  line.startsWith("{") && ESCAPED.test(search) && (parseLogLine(line)?.message.includes(search) ?? false);
const ESCAPED = /["\\\p{Cc}]/u;

interface Reading {
  bytesLeft: number;
  isCut: boolean;
}

/** The last lines that are wanted, from the end of the file on. */
async function readBack(
  path: string,
  size: number,
  count: number,
  wanted: (line: string) => boolean,
  reading: Reading,
): Promise<string[]> {
  const lines: string[] = [];
  return withFile(path, async (handle) => {
    let rest = Buffer.alloc(0);
    for (let end = size; end > 0 && lines.length < count; ) {
      if (reading.bytesLeft <= 0) {
        reading.isCut = true;
        break;
      }
      const start = Math.max(0, end - PIECE_BYTES);
      const piece = await readAt(handle, start, end - start);
      reading.bytesLeft -= piece.length;
      const text = Buffer.concat([piece, rest]);
      const first = start === 0 ? 0 : text.indexOf(LINE_END) + 1;
      // A line that is longer than a piece goes on before it.
      if (start > 0 && first === 0) rest = text;
      else {
        rest = text.subarray(0, first);
        const some = text.subarray(first).toString("utf8").split("\n");
        if (some.at(-1) === "") some.pop();
        for (let at = some.length - 1; at >= 0 && lines.length < count; at--) {
          const line = some[at] as string; // It is below the length.
          if (wanted(line)) lines.push(line);
        }
      }
      end = start;
    }
    return lines.reverse();
  });
}

/** Whole lines from here on; the rest of one that is being written is left for the next time. */
async function readForward(
  path: string,
  from: number,
  size: number,
  reading: Reading,
): Promise<{ readonly lines: string[]; readonly end: number }> {
  const bytes = Math.min(size - from, reading.bytesLeft, ANSWER_BYTES_MAX);
  if (bytes <= 0) return { lines: [], end: from };
  reading.bytesLeft -= bytes;
  return withFile(path, async (handle) => {
    const text = await readAt(handle, from, bytes);
    const end = text.lastIndexOf(LINE_END) + 1;
    return {
      lines:
        end === 0
          ? []
          : text
              .subarray(0, end - 1)
              .toString("utf8")
              .split("\n"),
      end: from + end,
    };
  });
}

const LINE_END = 10;

async function withFile<T>(path: string, use: (handle: FileHandle) => Promise<T>): Promise<T> {
  const handle = await open(path, "r");
  try {
    return await use(handle);
  } finally {
    await handle.close();
  }
}

async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await handle.read(buffer, 0, length, position);
  return buffer.subarray(0, bytesRead);
}
