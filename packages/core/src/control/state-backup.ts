/**
 * A state store as a file, from any store and into any: backup and restore, and the move from one kind of store to
 * another. Lines of JSON: a head with the schema version, an entry each, and an end with their number and a checksum,
 * so that a file which was cut short or damaged is not taken for a whole one.
 *
 * Revisions are the store's own and not kept; nothing outlives a restart that remembers them.
 */
import { createHash } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import { MobulaError, VersionMismatchError } from "../base/mod.ts";
import type { StateChange, StateStore } from "./kv.ts";
import {
  commitOrThrow,
  entriesHeld,
  IMPORTING_KEY,
  META_PREFIX,
  SCHEMA_KEY,
  schemaChange,
  schemaVersion,
} from "./state-schema.ts";

const FORMAT = "mobula-state";
const FORMAT_VERSION = 1;
const PIECE_BYTES = 1 << 20;
const COMMIT_BYTES = 1 << 20;
const DELETED_KEYS = 10_000;

interface Head {
  readonly format: string;
  readonly version: number;
  readonly schema: number;
}

type Line = { readonly key: string; readonly value: string } | { readonly entries: number; readonly sha256: string };

/** The text of a backup of what is committed now, in pieces of 1 MiB at most. Entries are not sorted. */
export async function* backupOf(store: Pick<StateStore, "get" | "snapshot">): AsyncGenerator<Uint8Array> {
  const schema = await store.get(SCHEMA_KEY);
  const head: Head = {
    format: FORMAT,
    version: FORMAT_VERSION,
    schema: schema ? Number(Buffer.from(schema.value).toString()) : 1,
  };
  const hash = createHash("sha256");
  let count = 0;
  let text = line(head);
  for await (const entries of store.snapshot()) {
    for (const { key, value } of entries) {
      if (key.startsWith(META_PREFIX)) continue;
      text += line({ key, value: Buffer.from(value).toString("base64") });
      count++;
    }
    hash.update(text);
    yield* slices(Buffer.from(text));
    text = "";
  }
  hash.update(text);
  yield* slices(Buffer.from(text + line({ entries: count, sha256: hash.digest("hex") })));
}

const line = (value: object): string => `${JSON.stringify(value)}\n`;

function* slices(bytes: Buffer): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
}

/**
 * Writes a backup. The file is there whole, and on disk, or not at all; one that was there is replaced. Nobody but this user
 * can read it: it holds the arguments of actors. The number of entries.
 *
 * @throws MobulaError `STATE_CORRUPT` (`internal`) when what arrived is not a whole backup; what `pieces` throws.
 */
export async function writeBackup(pieces: AsyncIterable<Uint8Array>, path: string): Promise<number> {
  const unfinished = `${path}.${process.pid}.part`;
  const file = await open(unfinished, "wx", 0o600);
  try {
    try {
      for await (const piece of pieces) await file.writeFile(piece);
      await file.sync();
    } finally {
      await file.close();
    }
    const { entries } = await readWhole(unfinished);
    await rename(unfinished, path);
    await syncFolder(dirname(path));
    return entries;
  } catch (error) {
    await rm(unfinished, { force: true });
    throw error;
  }
}

/**
 * Puts a backup into an empty store, into one in which that broke off before, or, with `replace`, in the place of what is there.
 * The number of entries.
 *
 * @throws MobulaError `STATE_CORRUPT` (`internal`) for a file that is not whole, `STATE_NOT_EMPTY` (`invalid`);
 * VersionMismatchError (`invalid`) for a file of a newer version. Then nothing was written.
 */
export async function importState(store: StateStore, path: string, { replace = false } = {}): Promise<number> {
  const { schema, entries: expected } = await checkBackup(path);
  const before = await store.list("");
  const isAgain = before.some(({ key }) => key === IMPORTING_KEY);
  const held = await entriesHeld(store);
  if (!isAgain && !replace && held > 0) {
    throw new MobulaError(
      "STATE_NOT_EMPTY",
      "invalid",
      `a backup is put into an empty state store; this one holds ${held} entries, which would be lost`,
    );
  }
  // From here on the store is refused until all is done.
  await commitOrThrow(store, [{ key: IMPORTING_KEY, value: new Uint8Array(Buffer.from(path)) }]);
  const stale = before.map(({ key }) => key).filter((key) => key !== IMPORTING_KEY);
  for (let at = 0; at < stale.length; at += DELETED_KEYS) {
    await commitOrThrow(
      store,
      stale.slice(at, at + DELETED_KEYS).map((key): StateChange => ({ key, value: null })),
    );
  }
  let changes: StateChange[] = [];
  let bytes = 0;
  for await (const line of linesOf(path)) {
    const entry = JSON.parse(line) as Partial<Extract<Line, { key: string }>>;
    if (entry.key === undefined || entry.value === undefined) continue;
    const value = new Uint8Array(Buffer.from(entry.value, "base64"));
    changes.push({ key: entry.key, value });
    bytes += entry.key.length + value.length;
    if (bytes < COMMIT_BYTES) continue;
    await commitOrThrow(store, changes);
    changes = [];
    bytes = 0;
  }
  await commitOrThrow(store, [...changes, schemaChange(schema, 0), { key: IMPORTING_KEY, value: null }]);
  return expected;
}

/**
 * Whether a file can be put back.
 *
 * @throws MobulaError `STATE_CORRUPT` (`internal`); VersionMismatchError (`invalid`).
 */
export async function checkBackup(path: string): Promise<{ schema: number; entries: number }> {
  const { head, entries } = await readWhole(path);
  if (head.version > FORMAT_VERSION || head.schema > schemaVersion()) {
    throw new VersionMismatchError(
      `the backup ${path} was written by a newer version (schema ${head.schema}, this one knows ${schemaVersion()}); use that version`,
    );
  }
  return { schema: head.schema, entries };
}

/** So that nothing is written for a file that is damaged. */
async function readWhole(path: string): Promise<{ head: Head; entries: number }> {
  const hash = createHash("sha256");
  let head: Head | undefined;
  let end: Extract<Line, { entries: number }> | undefined;
  let entries = 0;
  try {
    for await (const line of linesOf(path)) {
      if (end !== undefined) throw new Error("something follows its end");
      const parsed = JSON.parse(line) as Partial<Head> & Partial<Extract<Line, { entries: number }>>;
      if (head === undefined) {
        if (parsed.format !== FORMAT) throw new Error("it is no backup of a state store");
        head = parsed as Head;
      } else if (parsed.sha256 !== undefined) {
        end = parsed as Extract<Line, { entries: number }>;
        continue;
      } else entries++;
      hash.update(`${line}\n`);
    }
    if (head === undefined || end === undefined) throw new Error("it ends too early");
    if (end.entries !== entries || end.sha256 !== hash.digest("hex")) throw new Error("its checksum does not match");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") throw error;
    throw new MobulaError(
      "STATE_CORRUPT",
      "internal",
      `the backup ${path} cannot be used: ${(error as Error).message}`,
    );
  }
  return { head, entries };
}

async function* linesOf(path: string): AsyncGenerator<string> {
  const file = await open(path);
  try {
    yield* createInterface({ input: file.createReadStream(), crlfDelay: Number.POSITIVE_INFINITY });
  } finally {
    await file.close();
  }
}

/** The rename is on disk only when the folder is. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
