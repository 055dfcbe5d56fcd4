/** Which files are compared, and how they are dealt out in batches. */
import { type Dirent, readdirSync, statSync } from "node:fs";
import { join, relative, resolve, sep } from "node:path";

/** Larger files are left out: they are data and binaries, and one of them would hold up a whole batch. */
const FILE_BYTES_MAX = 4 * 1024 * 1024;
/** A batch is one task: some tens of milliseconds of work, so that hundreds of them share the CPUs evenly. */
const BATCH_BYTES = 1024 * 1024;
const BATCH_FILES_MAX = 512;
/** Programs write there while this one reads, so that two runs would not see the same files. */
const CACHE_FOLDER = ".cache";

export interface FileEntry {
  /** Relative to the folder, with forward slashes. */
  readonly path: string;
  readonly bytes: number;
}

export interface Listing {
  readonly folder: string;
  /** In the order of their paths, so that every run numbers them alike. */
  readonly files: readonly FileEntry[];
  readonly foldersUnreadable: number;
  readonly filesTooLarge: number;
}

/** Consecutive files; `first` is the number of the first one. */
export interface Batch {
  readonly index: number;
  readonly first: number;
  readonly files: readonly FileEntry[];
}

/** What a person did wrong; shown as one line. */
export class UsageError extends Error {}

/**
 * Lists the files under `folder`, symbolic links, empty files and `.cache` folders left out.
 *
 * @throws UsageError when there is no such folder, it cannot be read, or nothing in it can be compared.
 */
export function listFiles(folder: string, filesMax = Number.POSITIVE_INFINITY): Listing {
  const root = resolve(folder);
  checkFolder(root, folder);
  const found: FileEntry[] = [];
  let foldersUnreadable = 0;
  let filesTooLarge = 0;
  const waiting = [root];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const entries = readFolder(next);
    if (entries === undefined) foldersUnreadable++;
    for (const entry of entries ?? []) {
      const path = join(next, entry.name);
      if (entry.isDirectory()) {
        if (entry.name !== CACHE_FOLDER) waiting.push(path);
      } else if (entry.isFile()) {
        // A file that vanished since the folder was read is not one of its files any more.
        const bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
        if (bytes > FILE_BYTES_MAX) filesTooLarge++;
        else if (bytes > 0) found.push({ path: relative(root, path).replaceAll(sep, "/"), bytes });
      }
    }
  }
  if (found.length === 0) {
    const unread = foldersUnreadable === 0 ? "" : `; folders in it that cannot be read: ${foldersUnreadable}`;
    throw new UsageError(`there is no file to compare in ${folder}${unread}`);
  }
  found.sort((a, b) => (a.path < b.path ? -1 : 1));
  return { folder: root, files: found.slice(0, filesMax), foldersUnreadable, filesTooLarge };
}

function checkFolder(root: string, asGiven: string): void {
  try {
    if (!statSync(root).isDirectory()) throw new UsageError(`${asGiven} is not a folder`);
    readdirSync(root);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`${asGiven} cannot be read: ${reasonOf(error)}`);
  }
}

function reasonOf(error: unknown): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case "ENOENT":
      return "there is no such folder";
    case "EACCES":
    case "EPERM":
      return "permission denied";
    default:
      return error instanceof Error ? error.message : String(error);
  }
}

/** Undefined when the folder cannot be read; it is counted and shown. */
function readFolder(path: string): Dirent[] | undefined {
  try {
    return readdirSync(path, { withFileTypes: true });
  } catch {
    return undefined;
  }
}

export function makeBatches(files: readonly FileEntry[]): Batch[] {
  const batches: Batch[] = [];
  let first = 0;
  let bytes = 0;
  for (let end = 1; end <= files.length; end++) {
    bytes += files[end - 1]?.bytes ?? 0;
    if (bytes < BATCH_BYTES && end - first < BATCH_FILES_MAX && end < files.length) continue;
    batches.push({ index: batches.length, first, files: files.slice(first, end) });
    first = end;
    bytes = 0;
  }
  return batches;
}
