/** The version of what is in a state store, whichever store it is, and how an older one is brought up to date. */
import { MobulaError, randomBytes, VersionMismatchError } from "../base/mod.ts";
import type { CommitOutcome, StateChange, StateEntry, StateStore } from "./kv.ts";

/** Keys of the store itself; nothing else begins like this. */
export const META_PREFIX = "meta/";
export const SCHEMA_KEY = `${META_PREFIX}schema`;
/** There while a backup is being put back. */
export const IMPORTING_KEY = `${META_PREFIX}importing`;

const ID_KEY = `${META_PREFIX}id`;

/** What must be changed in a state of the version before. */
export type Migration = (entries: readonly StateEntry[]) => readonly StateChange[];

/** Entry i leads from version i + 1 to i + 2. Published entries are never changed, only added to. */
const MIGRATIONS: readonly Migration[] = [];

export const schemaVersion = (migrations: readonly Migration[] = MIGRATIONS): number => migrations.length + 1;

/**
 * Brings the state to this version, each step all or nothing; a new store gets the version's number.
 *
 * @throws VersionMismatchError (`invalid`) when a newer version wrote it; MobulaError `STATE_CORRUPT` (`internal`) when
 * an import broke off; what a commit fails with.
 */
export async function prepareState(store: StateStore, migrations: readonly Migration[] = MIGRATIONS): Promise<void> {
  const current = schemaVersion(migrations);
  const entry = await store.get(SCHEMA_KEY);
  if ((await store.get(IMPORTING_KEY)) !== undefined) {
    throw new MobulaError("STATE_CORRUPT", "internal", "putting back a backup broke off half way; do it again");
  }
  let revision = entry?.revision ?? 0;
  let entries = entry ? undefined : await store.list("");
  let version = entry ? Number(text(entry.value)) : entries?.length === 0 ? current : 1;
  if (version > current) {
    throw new VersionMismatchError(
      `the state was written by a newer version (schema ${version}, this one knows ${current}); use that version`,
    );
  }
  if (version === current && entry === undefined) await commitOrThrow(store, [schemaChange(current, revision)]);
  for (; version < current; version++) {
    entries ??= await store.list("");
    const changes = (migrations[version - 1] as Migration)(entries);
    revision = await commitOrThrow(store, [...changes, schemaChange(version + 1, revision)]);
    entries = undefined;
  }
}

/** How many entries a state holds that are not the store's own. */
export const entriesHeld = async (store: StateStore): Promise<number> =>
  (await store.list("")).filter(({ key }) => !key.startsWith(META_PREFIX)).length;

/** Names this state, among others and one that is made of its backup. */
export async function stateId(store: Pick<StateStore, "get" | "commit">): Promise<string> {
  const entry = await store.get(ID_KEY);
  if (entry) return text(entry.value);
  const id = randomBytes(8).toString("hex");
  await commitOrThrow(store, [{ key: ID_KEY, value: new Uint8Array(Buffer.from(id)), expect: 0 }]);
  return id;
}

export const schemaChange = (version: number, expect: number): StateChange => ({
  key: SCHEMA_KEY,
  value: new Uint8Array(Buffer.from(String(version))),
  expect,
});

/** The revision. */
export async function commitOrThrow(
  store: Pick<StateStore, "commit">,
  changes: readonly StateChange[],
): Promise<number> {
  const outcome = await new Promise<CommitOutcome>((resolve) => store.commit(changes, resolve));
  switch (outcome.kind) {
    case "committed":
      return outcome.revision;
    case "failed":
      throw outcome.error;
    case "conflict":
      throw new MobulaError("STATE_CONFLICT", "internal", `another writer changed ${outcome.key} in the state store`);
  }
}

const text = (value: Uint8Array): string => Buffer.from(value).toString();
