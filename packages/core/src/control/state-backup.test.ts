import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { bytes, commit } from "./fixtures/suite.ts";
import type { StateStore } from "./kv.ts";
import { MemoryLog } from "./log-memory.ts";
import { backupOf, importState, writeBackup } from "./state-backup.ts";
import { openLogState } from "./state-log.ts";
import { createMemoryState } from "./state-memory.ts";
import { type Migration, prepareState } from "./state-schema.ts";
import { openSqliteState } from "./state-sqlite.ts";

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mobula-backup-"));
  file = join(folder, "state.backup");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const exportState = (store: StateStore, path: string): Promise<number> => writeBackup(backupOf(store), path);

const contents = async (store: StateStore): Promise<Record<string, string>> =>
  Object.fromEntries((await store.list("")).map(({ key, value }) => [key, Buffer.from(value).toString("latin1")]));

async function filled(store: StateStore): Promise<StateStore> {
  await prepareState(store);
  await commit(store, { key: "actor/1", value: bytes("one") }, { key: "job/ü\n", value: new Uint8Array([0, 255, 10]) });
  await commit(store, { key: "large", value: new Uint8Array(3 << 20).fill(7) }, { key: "empty", value: bytes("") });
  return store;
}

const stores: readonly [string, () => Promise<StateStore>][] = [
  ["SQLite", () => openSqliteState({ path: join(folder, `${readdirSync(folder).length}.db`) })],
  ["a replicated log", () => openLogState(new MemoryLog())],
];

describe.each(stores)("a backup of a state store in %s", (_name, open) => {
  test.each(stores)("put into one in %s holds the same", async (_name, openOther) => {
    const from = await filled(await open());
    expect(await exportState(from, file)).toBe(4);
    const to = await openOther();
    expect(await importState(to, file)).toBe(4);
    await prepareState(to);
    expect(await contents(to)).toEqual(await contents(from));
    await from.close();
    await to.close();
  });
});

test("a backup goes only into an empty store, and takes the place of an older file as a whole", async () => {
  const store = await filled(createMemoryState());
  await exportState(store, file);
  await commit(store, { key: "more", value: bytes("1") });
  expect(await exportState(store, file)).toBe(5);
  expect(readdirSync(folder)).toEqual(["state.backup"]);
  await expect(importState(store, file)).rejects.toMatchObject({ code: "STATE_NOT_EMPTY" });
});

test.each([
  ["cut short", (text: string) => text.slice(0, text.length / 2)],
  ["cut at a line", (text: string) => text.split("\n").slice(0, -2).join("\n")],
  ["changed", (text: string) => text.replace('"value":"b25l"', '"value":"b25m"')],
  ["without an entry", (text: string) => text.split("\n").toSpliced(1, 1).join("\n")],
  ["of something else", () => '{"format":"other"}\n'],
  ["empty", () => ""],
])("a backup that is %s is refused, and nothing is written", async (_what, damage) => {
  await exportState(await filled(createMemoryState()), file);
  writeFileSync(file, damage(readFileSync(file, "utf8")));
  const store = createMemoryState();
  await expect(importState(store, file)).rejects.toMatchObject({ code: "STATE_CORRUPT" });
  expect(await store.list("")).toEqual([]);
});

test("a backup of a newer version is refused", async () => {
  await exportState(await filled(createMemoryState()), file);
  const store = createMemoryState();
  await commit(store, { key: "meta/schema", value: bytes("99") });
  await exportState(store, file);
  await expect(importState(createMemoryState(), file)).rejects.toMatchObject({ code: "VERSION_MISMATCH" });
});

test("a store in which a restore broke off is refused until it has been done again", async () => {
  await exportState(await filled(createMemoryState()), file);
  const store = createMemoryState();
  let commits = 0;
  const breaking: StateStore = {
    ...store,
    commit: (changes, done) => {
      if (++commits === 2) throw new Error("killed");
      store.commit(changes, done);
    },
  };
  await expect(importState(breaking, file)).rejects.toThrow("killed");
  await expect(prepareState(store)).rejects.toMatchObject({ code: "STATE_CORRUPT" });
  await importState(store, file);
  await prepareState(store);
  expect((await store.list("")).map(({ key }) => key)).toEqual(["actor/1", "empty", "job/ü\n", "large", "meta/schema"]);
});

describe("the schema version of a state", () => {
  const rename: Migration = (entries) =>
    entries
      .filter(({ key }) => key.startsWith("old/"))
      .flatMap(({ key, value }) => [
        { key, value: null },
        { key: key.replace("old/", "new/"), value },
      ]);
  const double: Migration = (entries) =>
    entries
      .filter(({ key }) => key.startsWith("new/"))
      .map(({ key, value }) => ({ key, value: new Uint8Array([...value, ...value]) }));

  test("of a new store is the newest, and no step is run", async () => {
    const store = createMemoryState();
    await prepareState(store, [rename, double]);
    expect(await contents(store)).toEqual({ "meta/schema": "3" });
  });

  test("of an older one is raised step by step, and again changes nothing", async () => {
    const store = createMemoryState();
    await commit(store, { key: "old/a", value: bytes("x") }, { key: "other", value: bytes("y") });
    for (let round = 0; round < 2; round++) {
      await prepareState(store, [rename, double]);
      expect(await contents(store)).toEqual({ "meta/schema": "3", "new/a": "xx", other: "y" });
    }
  });

  test("that is newer is refused, and nothing is changed", async () => {
    const store = createMemoryState();
    await prepareState(store, [rename, double]);
    await expect(prepareState(store, [rename])).rejects.toMatchObject({
      code: "VERSION_MISMATCH",
      message: expect.stringContaining("schema 3"),
    });
  });

  test("is raised again by the next start when a process was killed in the middle: every step is there whole or not at all", async () => {
    const path = join(folder, "state.db");
    const first = await openSqliteState({ path });
    for (let n = 0; n < 50; n++) await commit(first, { key: `old/${n}`, value: bytes("x") });
    await first.close();
    const at = (name: string): string => JSON.stringify(new URL(name, import.meta.url).href);
    // It is killed once before its first step, once while that is written, and once between the two.
    const script = (when: string): string => `
      import { openSqliteState } from ${at("./state-sqlite.ts")};
      import { prepareState } from ${at("./state-schema.ts")};
      const die = () => process.kill(process.pid, "SIGKILL");
      const store = await openSqliteState({ path: ${JSON.stringify(path)} });
      const rename = (entries) => {
        if ("${when}" === "before") die();
        return entries.filter(({ key }) => key.startsWith("old/")).flatMap(({ key, value }) => [
          { key, value: null }, { key: key.replace("old/", "new/"), value }]);
      };
      const dying = { ...store, commit(changes, done) { store.commit(changes, done); if ("${when}" === "during") die(); } };
      await prepareState(dying, [rename, () => { die(); return []; }]);`;
    for (const when of ["before", "during", "between"]) {
      const { signal } = spawnSync(process.execPath, ["--input-type=module", "-e", script(when)]);
      expect(signal).toBe("SIGKILL");
      const store = await openSqliteState({ path });
      const keys = (await store.list("")).map(({ key }) => key.split("/")[0]);
      const renamed = keys.filter((key) => key === "new").length;
      expect([0, 50]).toContain(renamed);
      expect(keys.filter((key) => key === "old")).toHaveLength(50 - renamed);
      expect(keys.includes("meta")).toBe(renamed === 50);
      if (when === "between") expect(renamed).toBe(50);
      await store.close();
    }
    const last = await openSqliteState({ path });
    await prepareState(last, [rename, double]);
    const all = await contents(last);
    expect(all).toMatchObject({ "meta/schema": "3", "new/0": "xx", "new/49": "xx" });
    expect(Object.keys(all)).toHaveLength(51);
    await last.close();
  });

  test("is raised in one step or not at all when the store fails", async () => {
    const store = createMemoryState();
    await commit(store, { key: "old/a", value: bytes("x") });
    const failing: StateStore = {
      ...store,
      commit: (changes, done) => store.commit([...changes, { key: "other", value: null, expect: 9 }], done),
    };
    await expect(prepareState(failing, [rename, double])).rejects.toMatchObject({ code: "STATE_CONFLICT" });
    expect(await contents(store)).toEqual({ "old/a": "x" });
  });
});
