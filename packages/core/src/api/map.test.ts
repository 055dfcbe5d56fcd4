import { beforeEach, describe, expect, test } from "vitest";
import { InvalidOptionError } from "../base/errors.ts";
import { installCore } from "./core-port.ts";
import { type FakeCore, fakeCore } from "./fake-core.ts";
import { map } from "./map.ts";

let core: FakeCore;
beforeEach(() => {
  core = fakeCore();
  installCore(core);
});

const range = (length: number) => Array.from({ length }, (_, index) => index);
async function collect<T>(results: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const each of results) all.push(each);
  return all;
}
/** A door that a task waits at until the test opens it. */
function gates(count: number) {
  return range(count).map(() => Promise.withResolvers<void>());
}

describe("map", () => {
  test("results come in the order of the items, whatever order they finish in", async () => {
    const doors = gates(3);
    const results = map(async (index: number) => {
      await doors[index]?.promise;
      return index * 10;
    }, range(3));
    const all = collect(results);
    doors[2]?.resolve();
    doors[1]?.resolve();
    doors[0]?.resolve();
    expect(await all).toEqual([0, 10, 20]);
    expect(core.live.size).toBe(0);
  });

  test("unordered results come as they finish", async () => {
    const doors = gates(3);
    const results = map(
      async (index: number) => {
        await doors[index]?.promise;
        return index;
      },
      range(3),
      { ordered: false },
    );
    const seen: number[] = [];
    for (const next of [2, 0, 1]) {
      const step = results.next();
      doors[next]?.resolve();
      const { value } = await step;
      seen.push(value as number);
    }
    expect(seen).toEqual([2, 0, 1]);
    expect((await results.next()).done).toBe(true);
  });

  test.each([true, false])("never more than `concurrency` items are in flight (ordered: %s)", async (ordered) => {
    let taken = 0;
    let used = 0;
    function* items() {
      for (const item of range(50)) {
        taken++;
        yield item;
      }
    }
    for await (const _ of map((x: number) => x, items(), { concurrency: 4, ordered })) {
      used++;
      expect(taken - used).toBeLessThanOrEqual(4);
    }
    expect(used).toBe(50);
    expect(core.runningMax).toBe(4);
  });

  test("an endless source is read only as fast as the loop goes", async () => {
    let taken = 0;
    let closed = false;
    function* naturals() {
      try {
        for (;;) yield taken++;
      } finally {
        closed = true;
      }
    }
    const seen: number[] = [];
    for await (const value of map((x: number) => x, naturals(), { concurrency: 3 })) {
      seen.push(value);
      if (seen.length === 10) break;
    }
    expect(seen).toEqual(range(10));
    expect(taken).toBeLessThanOrEqual(13);
    expect(closed).toBe(true);
    expect(core.live.size).toBe(0);
  });

  test("leaving the loop cancels what is in flight and releases it", async () => {
    const never = new Promise<number>(() => {});
    for await (const value of map((x: number) => (x === 0 ? 0 : never), range(10), { concurrency: 5 })) {
      expect(value).toBe(0);
      break;
    }
    expect(core.cancelled.size).toBe(4);
    expect(core.live.size).toBe(0);
  });

  test("the first error in the order of the items ends the loop and cancels the rest", async () => {
    const seen: number[] = [];
    const boom = new RangeError("boom");
    const run = async () => {
      const fn = (x: number) => {
        if (x === 3) throw boom;
        return x > 3 ? new Promise<number>(() => {}) : x;
      };
      for await (const value of map(fn, range(8), { concurrency: 8 })) seen.push(value);
    };
    await expect(run()).rejects.toMatchObject({ code: "TASK_FAILED", cause: boom });
    expect(seen).toEqual([0, 1, 2]);
    expect(core.cancelled.size).toBe(4);
    expect(core.live.size).toBe(0);
  });

  test("items may come from an async source, and results do not wait for the next item", async () => {
    const slow = Promise.withResolvers<void>();
    async function* items() {
      yield 1;
      await slow.promise;
      yield 2;
    }
    const results = map((x: number) => x + 1, items());
    expect(await results.next()).toEqual({ done: false, value: 2 });
    slow.resolve();
    expect(await results.next()).toEqual({ done: false, value: 3 });
    expect((await results.next()).done).toBe(true);
  });

  test.each([true, false])(
    "a source that fails is reported after the results before it (ordered: %s)",
    async (ordered) => {
      async function* items() {
        yield 1;
        throw new Error("no more pages");
      }
      const results = map((x: number) => x, items(), { ordered });
      expect(await results.next()).toEqual({ done: false, value: 1 });
      await expect(results.next()).rejects.toThrow("no more pages");
    },
  );

  test("items may be refs and functions may be remote already", async () => {
    const double = core.remote((x: number) => x * 2);
    const ref = core.put(21);
    expect(await collect(map(double, [ref, 1]))).toEqual([42, 2]);
    expect(core.live).toEqual(new Set([ref]));
  });

  test("it waits where submitting would be refused for too many pending tasks", async () => {
    core.pendingMax = 2;
    expect(await collect(map((x: number) => x, range(20), { concurrency: 10 }))).toEqual(range(20));
    expect(core.runningMax).toBe(2);
  });

  test("options of the task are passed on and those of map are not", async () => {
    await collect(map((x: number) => x, [1], { numCpus: 2, maxRetries: 0, concurrency: 3 }));
    expect(core.optionsSeen).toEqual([{ numCpus: 2, maxRetries: 0 }]);
  });

  test("progress is told after each result, with the total where it is known", async () => {
    const told: unknown[] = [];
    await collect(map((x: number) => x, [1, 2], { progress: (state) => told.push(state) }));
    expect(told).toEqual([
      { done: 1, total: 2 },
      { done: 2, total: 2 },
    ]);
    await collect(map((x: number) => x, new Set([1]).values(), { progress: (state) => told.push(state) }));
    expect(told.at(-1)).toEqual({ done: 1, total: undefined });
  });

  test("no items give no results and submit nothing", async () => {
    expect(await collect(map((x: number) => x, []))).toEqual([]);
    expect(core.submitted).toBe(0);
  });

  test("wrong calls are refused at once", () => {
    const fn = (x: number) => x;
    expect(() => map(fn, 5 as never)).toThrow(/its items; it must be an iterable/);
    expect(() => map("fn" as never, [1])).toThrow(/its function/);
    expect(() => map(fn, [1], { concurrency: 0 })).toThrow(/map\(\) option "concurrency" is 0/);
    expect(() => map(fn, [1], { progress: 5 as never })).toThrow(/"progress" is 5/);
    expect(() => map(fn, [1], { numReturns: 2 } as never)).toThrow(InvalidOptionError);
  });
});
