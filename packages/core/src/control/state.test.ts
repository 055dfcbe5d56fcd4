import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { CommitOutcome, StateChange, StateStore } from "./kv.ts";
import { persistThrough } from "./kv-rules.ts";
import { createMemoryState } from "./state-memory.ts";
import { openSqliteState } from "./state-sqlite.ts";

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "mobula-state-"));
  path = join(directory, "state.db");
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
const commit = (store: StateStore, ...changes: StateChange[]): Promise<CommitOutcome> =>
  new Promise((resolve) => store.commit(changes, resolve));

describe.each([
  ["memory", async () => createMemoryState()],
  ["SQLite", () => openSqliteState({ path })],
])("a state store in %s", (_name, open) => {
  let store: StateStore;
  beforeEach(async () => {
    store = await open();
  });
  afterEach(() => store.close());

  test("gives back what was committed, by key and by prefix", async () => {
    await commit(store, { key: "a/2", value: bytes("two") }, { key: "a/1", value: bytes("one") });
    await commit(store, { key: "b/1", value: bytes("other") });
    expect((await store.get("a/2"))?.value).toEqual(bytes("two"));
    expect(await store.get("a/3")).toBeUndefined();
    expect((await store.list("a/")).map(({ key, revision }) => [key, revision])).toEqual([
      ["a/1", 1],
      ["a/2", 1],
    ]);
    await commit(store, { key: "a/1", value: null });
    expect((await store.list("")).map(({ key }) => key)).toEqual(["a/2", "b/1"]);
  });

  test("compare-and-set: a commit whose expectation does not hold writes nothing at all", async () => {
    expect(await commit(store, { key: "k", value: bytes("1"), expect: 0 })).toEqual({ kind: "committed", revision: 1 });
    expect(
      await commit(store, { key: "other", value: bytes("x") }, { key: "k", value: bytes("2"), expect: 0 }),
    ).toEqual({
      kind: "conflict",
      key: "k",
      revision: 1,
    });
    expect(await store.get("other")).toBeUndefined();
    expect(await commit(store, { key: "k", value: bytes("2"), expect: 1 })).toEqual({ kind: "committed", revision: 2 });
  });

  test("a watch hears each commit under its prefix in order, until disposed", async () => {
    const heard: string[] = [];
    const watch = store.watch("a/", ({ key, value }, revision) =>
      heard.push(`${revision} ${key} ${value && Buffer.from(value)}`),
    );
    await commit(store, { key: "a/1", value: bytes("x") }, { key: "b/1", value: bytes("y") });
    await commit(store, { key: "a/1", value: null });
    await commit(store, { key: "z", value: null });
    watch[Symbol.dispose]();
    await commit(store, { key: "a/2", value: bytes("late") });
    expect(heard).toEqual(["1 a/1 x", "2 a/1 null"]);
  });

  test("many commits at once are answered in order", async () => {
    const done: number[] = [];
    await Promise.all(
      Array.from({ length: 500 }, async (_, n) => {
        await commit(store, { key: `k${n}`, value: bytes(String(n)) });
        done.push(n);
      }),
    );
    expect(done).toEqual(Array.from({ length: 500 }, (_, n) => n));
    expect(await store.list("k")).toHaveLength(500);
  });

  test("control's persist goes through it", async () => {
    const persist = persistThrough(store);
    expect(await new Promise((resolve) => persist([{ key: "a", value: bytes("1") }], resolve))).toBeUndefined();
    const error = await new Promise((resolve) => persist([{ key: "a", value: bytes("2"), expect: 9 }], resolve));
    expect(error).toMatchObject({ code: "STATE_CONFLICT" });
  });
});

describe("the SQLite state store", () => {
  test("keeps entries and revisions over a restart, and its epoch grows", async () => {
    const first = await openSqliteState({ path });
    await commit(first, { key: "k", value: bytes("v") });
    await first.close();
    const second = await openSqliteState({ path });
    expect([first.epoch, second.epoch]).toEqual([1, 2]);
    expect(await second.get("k")).toMatchObject({ revision: 1, value: bytes("v") });
    expect(await commit(second, { key: "k", value: bytes("w"), expect: 1 })).toEqual({
      kind: "committed",
      revision: 2,
    });
    await second.close();
  });

  test("what was acknowledged is there after kill -9", async () => {
    const script = `
      import { openSqliteState } from ${JSON.stringify(new URL("./state-sqlite.ts", import.meta.url).href)};
      const store = await openSqliteState({ path: ${JSON.stringify(path)} });
      for (let n = 0; ; n++) {
        await new Promise((resolve) => store.commit([{ key: "k" + n, value: Buffer.from("v") }], resolve));
        process.stdout.write(n + "\\n");
      }`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      if (output.split("\n").length > 40) child.kill("SIGKILL");
    });
    const [, signal] = await once(child, "close");
    expect(signal).toBe("SIGKILL");
    const acknowledged = Number(output.split("\n").at(-2));
    const store = await openSqliteState({ path });
    const keys = new Set((await store.list("k")).map(({ key }) => key));
    for (let n = 0; n <= acknowledged; n++) expect(keys.has(`k${n}`), `k${n} of ${acknowledged}`).toBe(true);
    await store.close();
  });

  test("a full disk fails the commit in a sentence, loses nothing, and may pass", async () => {
    const store = await openSqliteState({ path, maxPages: 16 });
    await commit(store, { key: "small", value: bytes("kept") });
    const outcome = await commit(store, { key: "big", value: new Uint8Array(1 << 20) });
    expect(outcome).toMatchObject({ kind: "failed", error: { code: "DISK_FULL", kind: "exhausted" } });
    expect(await store.get("big")).toBeUndefined();
    expect(await commit(store, { key: "small", value: bytes("again"), expect: 1 })).toMatchObject({
      kind: "committed",
    });
    await store.close();
  });

  test("a file that is no database is refused by name and left as it is", async () => {
    writeFileSync(path, "this is not a database, it is a letter".repeat(100));
    const before = readFileSync(path);
    await expect(openSqliteState({ path })).rejects.toMatchObject({
      code: "STATE_CORRUPT",
      message: expect.stringContaining(path),
    });
    expect(readFileSync(path)).toEqual(before);
  });

  test("damage in the middle of the file is found at opening", async () => {
    const store = await openSqliteState({ path });
    for (let n = 0; n < 200; n++) await commit(store, { key: `key/${n}`, value: new Uint8Array(500).fill(n) });
    await store.close();
    const content = readFileSync(path);
    content.fill(0xaa, 4096 * 3, statSync(path).size - 4096);
    writeFileSync(path, content);
    await expect(openSqliteState({ path })).rejects.toMatchObject({ code: "STATE_CORRUPT" });
  });

  test("a file of a newer version is refused and left as it is", async () => {
    const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
    const newer = new DatabaseSync(path);
    newer.exec("PRAGMA user_version = 99");
    newer.close();
    await expect(openSqliteState({ path })).rejects.toMatchObject({
      code: "VERSION_MISMATCH",
      message: expect.stringContaining("schema 99"),
    });
  });

  test("a folder that does not exist is refused by name", async () => {
    await expect(openSqliteState({ path: join(directory, "missing", "state.db") })).rejects.toMatchObject({
      code: "STATE_UNAVAILABLE",
    });
  });

  test("a closed store refuses", async () => {
    const store = await openSqliteState({ path });
    await store.close();
    expect(await commit(store, { key: "k", value: null })).toMatchObject({ kind: "failed" });
    await expect(store.list("")).rejects.toMatchObject({ code: "STATE_UNAVAILABLE" });
  });
});
