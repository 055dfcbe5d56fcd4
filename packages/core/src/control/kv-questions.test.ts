import { describe, expect, test } from "vitest";
import { KvQuestions } from "./kv-questions.ts";
import { createMemoryState } from "./state-memory.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const textOf = (value: Uint8Array | undefined): string => new TextDecoder().decode(value);

function setUp() {
  const state = createMemoryState();
  const kv = new KvQuestions(state);
  const commit = (...changes: readonly object[]) => kv.answer({ method: "kv-commit", params: { changes } });
  const get = (key: string) => kv.answer({ method: "kv-get", params: { key } });
  const list = (params: object) => kv.answer({ method: "kv-list", params });
  return { state, commit, get, list };
}

describe("keys that tools keep", () => {
  test("are written, read and deleted, and lie apart from what control keeps itself", async () => {
    const { state, commit, get } = setUp();
    await commit({ key: "a", value: bytes("1") });
    expect(await get("a")).toMatchObject({ revision: 1 });
    expect((await state.list("")).map(({ key }) => key)).toEqual(["kv/a"]);
    await commit({ key: "a", value: null });
    expect(await get("a")).toBeNull();
  });

  test("change only from the revision that is expected, all of them or none", async () => {
    const { commit, get } = setUp();
    expect(await commit({ key: "a", value: bytes("1"), expect: 0 })).toEqual({ kind: "committed", revision: 1 });
    expect(await commit({ key: "b", value: bytes("2") }, { key: "a", value: bytes("3"), expect: 0 })).toEqual({
      kind: "conflict",
      key: "a",
      revision: 1,
    });
    expect(await get("b")).toBeNull();
    expect(await commit({ key: "a", value: bytes("4"), expect: 1 })).toMatchObject({ kind: "committed" });
  });

  test("are listed by prefix, in pages, with or without their values", async () => {
    const { commit, list } = setUp();
    for (const key of ["x/1", "x/2", "x/3", "y"]) await commit({ key, value: bytes(key) });
    const first = await list({ prefix: "x/", limit: 2 });
    expect(first).toMatchObject({ isLast: false, entries: [{ key: "x/1" }, { key: "x/2" }] });
    const second = (await list({ prefix: "x/", after: "x/2", limit: 2 })) as unknown as {
      entries: { value?: Uint8Array }[];
    };
    expect(second).toMatchObject({ isLast: true, entries: [{ key: "x/3" }] });
    expect(textOf(second.entries[0]?.value)).toBe("x/3");
    expect(await list({ prefix: "x/", keysOnly: true })).toEqual({
      isLast: true,
      entries: [1, 2, 3].map((revision) => ({ key: `x/${revision}`, revision })),
    });
    expect(await list({ prefix: "none" })).toEqual({ entries: [], isLast: true });
  });

  test("are refused when they are too long, too large, or said wrongly", async () => {
    const { commit, get, list } = setUp();
    await expect(commit()).rejects.toThrow(/1 to 100 changes/);
    await expect(commit({ key: "k".repeat(513), value: null })).rejects.toThrow(/1 to 512 characters/);
    await expect(commit({ key: "k", value: new Uint8Array(256 * 1024 + 1) })).rejects.toThrow(/at most 262144 bytes/);
    await expect(commit({ key: "k", value: "text" })).rejects.toThrow(/at most 262144 bytes/);
    await expect(commit({ key: "k", value: null, expect: -1 })).rejects.toThrow(/revision/);
    await expect(get("")).rejects.toThrow(/1 to 512 characters/);
    await expect(list({})).rejects.toThrow(/needs a prefix/);
  });

  test("are bounded in all", async () => {
    const { commit } = setUp();
    const value = new Uint8Array(256 * 1024);
    const write = async (): Promise<void> => {
      for (let at = 0; at < 600; at += 100) {
        await commit(...Array.from({ length: 100 }, (_, index) => ({ key: `${at + index}`, value })));
      }
    };
    await expect(write()).rejects.toThrow(/at most 100000 keys and 134217728 bytes/);
    // What makes room is always taken.
    await commit({ key: "0", value: null }, { key: "1", value: null });
  });
});
