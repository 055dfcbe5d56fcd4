import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { bytes, commit, testsOfStateStore } from "./fixtures/suite.ts";
import { MemoryLog } from "./log-memory.ts";
import { openLogState } from "./state-log.ts";
import { createMemoryState } from "./state-memory.ts";
import { openSqliteState } from "./state-sqlite.ts";

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "mobula-state-"));
  path = join(directory, "state.db");
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

testsOfStateStore("memory", async () => createMemoryState());
testsOfStateStore("SQLite", () => openSqliteState({ path }));
testsOfStateStore("a replicated log", () => openLogState(new MemoryLog()));

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

  test.each([
    ["garbage in the middle", (content: Buffer) => content.fill(0xaa, 4096 * 3, content.length - 4096)],
    ["cut short", (content: Buffer) => content.subarray(0, content.length - 5_000)],
    ["cut at a page", (content: Buffer) => content.subarray(0, 4096 * 8)],
    [
      "one page in the place of another",
      (content: Buffer) => content.fill(content.subarray(0, 4096), 4096 * 5, 4096 * 6),
    ],
  ])("a file that is damaged (%s) is refused by name at opening, and left as it is", async (_what, damage) => {
    const store = await openSqliteState({ path });
    for (let n = 0; n < 200; n++) await commit(store, { key: `key/${n}`, value: new Uint8Array(500).fill(n) });
    await store.close();
    const content = damage(readFileSync(path));
    writeFileSync(path, content);
    await expect(openSqliteState({ path })).rejects.toMatchObject({
      code: "STATE_CORRUPT",
      message: expect.stringContaining(path),
    });
    expect(readFileSync(path)).toEqual(content);
  });

  test("a file that another process has open is refused, and is free again when that one is killed", async () => {
    const script = `
      import { openSqliteState } from ${JSON.stringify(new URL("./state-sqlite.ts", import.meta.url).href)};
      await openSqliteState({ path: ${JSON.stringify(path)} });
      process.stdout.write("open");`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(child.stdout, "data");
    await expect(openSqliteState({ path })).rejects.toMatchObject({ code: "STATE_IN_USE" });
    child.kill("SIGKILL");
    await once(child, "close");
    const store = await openSqliteState({ path });
    expect(store.epoch).toBe(2);
    await store.close();
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
