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
import { commitOrThrow, IMPORTING_KEY, META_PREFIX, SCHEMA_KEY, schemaChange, schemaVersion } from "./state-schema.ts";

const FORMAT = "mobula-state";
const FORMAT_VERSION = 1;
const WRITE_BYTES = 1 << 20;
const COMMIT_BYTES = 1 << 20;

interface Head {
  readonly format: string;
  readonly version: number;
  readonly schema: number;
}

type Line = { readonly key: string; readonly value: string } | { readonly entries: number; readonly sha256: string };

/**
 * Writes all that is committed now. The file is there whole or not at all; one that was there is replaced. The number of
 * entries.
 */
export async function exportState(store: StateStore, path: string): Promise<number> {
  const schema = await store.get(SCHEMA_KEY);
  const entries = (await store.list("")).filter(({ key }) => !key.startsWith(META_PREFIX));
  const head: Head = {
    format: FORMAT,
    version: FORMAT_VERSION,
    schema: schema ? Number(Buffer.from(schema.value).toString()) : 1,
  };
  const unfinished = `${path}.${process.pid}.part`;
  const hash = createHash("sha256");
  const file = await open(unfinished, "wx", 0o600);
  try {
    let text = "";
    const add = async (line: object): Promise<void> => {
      text += `${JSON.stringify(line)}\n`;
      if (text.length < WRITE_BYTES) return;
      const part = text;
      text = "";
      hash.update(part);
      await file.write(part);
    };
    await add(head);
    for (const { key, value } of entries) await add({ key, value: Buffer.from(value).toString("base64") });
    hash.update(text);
    text += `${JSON.stringify({ entries: entries.length, sha256: hash.digest("hex") })}\n`;
    await file.write(text);
    await file.sync();
    await file.close();
    await rename(unfinished, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await file.close();
    await rm(unfinished, { force: true });
    throw error;
  }
  return entries.length;
}

/**
 * Puts a backup into an empty store, or into one in which that broke off before. The number of entries.
 *
 * @throws MobulaError `STATE_CORRUPT` (`internal`) for a file that is not whole, `STATE_NOT_EMPTY` (`invalid`);
 * VersionMismatchError (`invalid`) for a file of a newer version. Then nothing was written.
 */
export async function importState(store: StateStore, path: string): Promise<number> {
  const { schema, entries: expected } = await checkFile(path);
  const before = await store.list("");
  const isAgain = before.some(({ key }) => key === IMPORTING_KEY);
  if (!isAgain && before.some(({ key }) => !key.startsWith(META_PREFIX))) {
    throw new MobulaError("STATE_NOT_EMPTY", "invalid", "a backup can only be put into an empty state store");
  }
  await commitOrThrow(store, [
    ...before.map(({ key }): StateChange => ({ key, value: null })),
    { key: IMPORTING_KEY, value: new Uint8Array(Buffer.from(path)) },
  ]);
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

/** Reads the whole file, so that nothing is written for one that is damaged. */
async function checkFile(path: string): Promise<{ schema: number; entries: number }> {
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
  if (head.version > FORMAT_VERSION || head.schema > schemaVersion()) {
    throw new VersionMismatchError(
      `the backup ${path} was written by a newer version (schema ${head.schema}, this one knows ${schemaVersion()}); use that version`,
    );
  }
  return { schema: head.schema, entries };
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
