/** What every state store does, as tests: each store runs them. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { CommitOutcome, StateChange, StateStore } from "./kv.ts";
import { persistThrough } from "./kv-rules.ts";

export const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

export const commit = (store: StateStore, ...changes: StateChange[]): Promise<CommitOutcome> =>
  new Promise((resolve) => store.commit(changes, resolve));

/** `open` gives an empty store each time. */
export function testsOfStateStore(name: string, open: () => Promise<StateStore>): void {
  describe(`a state store in ${name}`, () => {
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

    test("a change of five MiB is kept whole, between small ones", async () => {
      const value = new Uint8Array(5 << 20).map((_, n) => n % 251);
      await Promise.all([
        commit(store, { key: "before", value: bytes("1") }),
        commit(store, { key: "large", value }),
        commit(store, { key: "after", value: bytes("2") }),
      ]);
      expect((await store.list("")).map(({ key, revision }) => [key, revision])).toEqual([
        ["after", 3],
        ["before", 1],
        ["large", 2],
      ]);
      expect(Buffer.compare((await store.get("large"))?.value ?? new Uint8Array(), value)).toBe(0);
    });

    test("of many commits at once, each sees those before it", async () => {
      const outcomes = await Promise.all([
        commit(store, { key: "k", value: bytes("1"), expect: 0 }),
        commit(store, { key: "k", value: bytes("2"), expect: 0 }),
        commit(store, { key: "k", value: bytes("3"), expect: 1 }),
        commit(store, { key: "k", value: null, expect: 2 }),
        commit(store, { key: "k", value: bytes("5"), expect: 0 }),
      ]);
      expect(outcomes).toEqual([
        { kind: "committed", revision: 1 },
        { kind: "conflict", key: "k", revision: 1 },
        { kind: "committed", revision: 2 },
        { kind: "committed", revision: 3 },
        { kind: "committed", revision: 4 },
      ]);
      expect(await store.get("k")).toMatchObject({ revision: 4, value: bytes("5") });
    });
  });
}
