import { get, init, type ObjectRef, remote, runtimeContext, shutdown, wait } from "mobula";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";
import { blockUntil, errorOf, isRaised, note, notes, raise, raised } from "./helpers.ts";

beforeAll(async () => {
  await init({ objectStoreBytes: 64 * 2 ** 20, resources: { cpu: 2 } });
});
afterAll(() => shutdown());

const count = remote(function* (to: number) {
  for (let at = 0; at < to; at++) yield at;
});

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

describe("items", () => {
  test("a generator gives refs in order, an async one too", async () => {
    expect(await get(await collect(count.remote(100)))).toEqual(Array.from({ length: 100 }, (_, at) => at));
    const slowly = remote(async function* (text: string) {
      for (const letter of text) yield await Promise.resolve(letter);
    });
    expect(await collect(slowly.remote("abc").values())).toEqual(["a", "b", "c"]);
  });

  test("a number of returns is refused at the call, for tasks and for methods", async () => {
    const given = { numReturns: 2 } as object;
    const refused = expect.objectContaining({
      code: "INVALID_OPTION",
      message: expect.stringMatching(/"numReturns" is 2; .*generator/),
    });
    function* pair() {
      yield 1;
      yield 2;
    }
    expect(() => remote(pair, given)).toThrow(refused);
    class Pairs {
      *pair() {
        yield* [1, 2];
      }
    }
    using pairs = remote(Pairs).remote();
    expect(() => pairs.pair.options(given)).toThrow(refused);
  });

  test("an empty stream ends at once, and its completion is a ref of nothing", async () => {
    const stream = count.remote(0);
    expect(await collect(stream)).toEqual([]);
    expect(await get(stream.completed())).toBeUndefined();
  });

  test("large items travel through the store", async () => {
    const chunks = remote(function* () {
      for (let at = 0; at < 5; at++) yield new Uint8Array(300_000).fill(at);
    });
    const firsts: unknown[] = [];
    for await (const chunk of chunks.remote().values()) firsts.push((chunk as Uint8Array)[299_999]);
    expect(firsts).toEqual([0, 1, 2, 3, 4]);
  });

  test("items leave as they are made, also from a generator that never awaits", async () => {
    const folder = newFolder();
    const step = remote(function* (where: string) {
      yield "first";
      blockUntil(where, "taken");
      yield "second";
    });
    const stream = step.remote(folder);
    const items = stream.values()[Symbol.asyncIterator]();
    expect((await items.next()).value).toBe("first");
    raise(folder, "taken");
    expect((await items.next()).value).toBe("second");
  });

  test("refs of items may be passed on while the stream runs", async () => {
    const double = remote((value: number) => value * 2);
    const doubled: ObjectRef<number>[] = [];
    for await (const ref of count.remote(40)) doubled.push(double.remote(ref));
    expect((await get(doubled)).at(-1)).toBe(78);
  });

  test("a stream is read inside a task, with one CPU for both", async () => {
    const sum = remote(async (to: number) => {
      let total = 0;
      for await (const value of count.remote(to).values()) total += value as number;
      return total;
    });
    expect(await get([1, 2, 3, 4].map(() => sum.remote(50)))).toEqual([1225, 1225, 1225, 1225]);
  });

  test("wait takes streams among refs", async () => {
    const folder = newFolder();
    const held = remote(function* (where: string) {
      blockUntil(where, "go");
      yield 1;
    }).remote(folder);
    const stream = count.remote(1);
    const { ready, pending } = await wait([held, stream], { numReturns: 1 });
    expect(ready).toEqual([stream]);
    expect(pending).toEqual([held]);
    raise(folder, "go");
    expect((await wait([held], { numReturns: 1 })).ready).toEqual([held]);
  });
});

describe("back-pressure", () => {
  test("the producer is at most streamBufferItems + 1 items ahead", async () => {
    const folder = newFolder();
    const produce = remote(
      function* (where: string) {
        for (let at = 0; at < 100; at++) {
          note(where, String(at));
          yield at;
        }
      },
      { streamBufferItems: 3 },
    );
    const stream = produce.remote(folder);
    const items = stream[Symbol.asyncIterator]();
    // A generator notes an item before it yields it: the fifth is begun only when there is room for it.
    await eventually(() => notes(folder).length >= 4, "four items are made");
    for (let taken = 1; taken <= 10; taken++) {
      await items.next();
      await eventually(() => notes(folder).length >= taken + 4, `${taken + 4} items are made`);
      expect(notes(folder).length).toBeLessThanOrEqual(taken + 4);
    }
    await items.return?.();
  });

  test("a buffer of one item and a consumer that is faster do not stop each other", async () => {
    expect(await collect(count.options({ streamBufferItems: 1 }).remote(500).values())).toHaveLength(500);
  });
});

describe("ends", () => {
  const failing = remote(function* (at: number) {
    for (let index = 0; index < at; index++) yield index;
    throw new RangeError("enough");
  });

  test("an error is the last ref, and the completion rejects", async () => {
    const stream = failing.remote(2);
    const refs = await collect(stream);
    expect(refs).toHaveLength(3);
    expect(await get(refs.slice(0, 2))).toEqual([0, 1]);
    expect((await errorOf(refs[2] as ObjectRef)).cause).toMatchObject({ message: "enough" });
    expect((await errorOf(stream.completed())).cause).toMatchObject({ message: "enough" });
  });

  test("values() throws the error after the items before it", async () => {
    const seen: unknown[] = [];
    const read = async (): Promise<void> => {
      for await (const value of failing.remote(3).values()) seen.push(value);
    };
    expect((await errorOf(read())).cause).toBeInstanceOf(RangeError);
    expect(seen).toEqual([0, 1, 2]);
  });

  test("a result that is no generator's is an error like any other", async () => {
    const odd = remote(function* () {
      yield Promise.resolve(1);
      yield { bad: Promise.resolve(2) };
    });
    const refs = await collect(odd.remote());
    expect(await get(refs[0] as ObjectRef)).toBe(1);
    expect((await errorOf(refs[1] as ObjectRef)).cause).toMatchObject({ code: "NOT_SERIALIZABLE" });
  });

  test("leaving for await cancels the producer, which cleans up", async () => {
    const folder = newFolder();
    const endless = remote(async function* (where: string) {
      try {
        for (let at = 0; ; at++) yield at;
      } finally {
        raise(where, "cleaned up");
      }
    });
    for await (const value of endless.remote(folder).values()) if (value === 5) break;
    await raised(folder, "cleaned up");
  });

  test("a cancelled stream gives what it had, then a ref that rejects with TaskCancelledError", async () => {
    const folder = newFolder();
    const endless = remote(
      async function* (where: string) {
        runtimeContext().signal.addEventListener("abort", () => raise(where, "aborted"));
        for (let at = 0; ; at++) yield at;
      },
      { streamBufferItems: 2 },
    );
    const stream = endless.remote(folder);
    const items = stream[Symbol.asyncIterator]();
    await items.next();
    await stream.cancel();
    const rest = await collect({ [Symbol.asyncIterator]: () => items });
    expect(rest.length).toBeGreaterThan(0);
    expect(await errorOf(rest.at(-1) as ObjectRef)).toMatchObject({ code: "TASK_CANCELLED" });
    expect(await errorOf(stream.completed())).toMatchObject({ code: "TASK_CANCELLED" });
    await raised(folder, "aborted");
  });

  test("a generator that hangs in synchronous code is interrupted, and its worker lives on", async () => {
    const folder = newFolder();
    const hang = remote(function* (where: string) {
      // Steps that have been quick so far are interrupted as well.
      for (let at = 0; at < 20; at++) yield process.pid;
      raise(where, "hangs");
      for (;;);
    });
    const stream = hang.remote(folder);
    const items = stream.values()[Symbol.asyncIterator]();
    const { value: pid } = await items.next();
    for (let at = 1; at < 20; at++) await items.next();
    await raised(folder, "hangs");
    await stream.cancel();
    expect((await errorOf(items.next())).code).toBe("TASK_CANCELLED");
    const pids = remote(() => process.pid);
    await eventually(
      async () => (await get([1, 2, 3, 4].map(() => pids.remote()))).includes(pid as number),
      "it serves",
    );
  });

  test("a stream dropped while it runs stops its producer", async () => {
    const folder = newFolder();
    const endless = remote(async function* (where: string) {
      try {
        for (let at = 0; ; at++) yield at;
      } finally {
        raise(where, "stopped");
      }
    });
    await (async () => {
      await endless.remote(folder)[Symbol.asyncIterator]().next();
    })();
    await eventually(() => {
      (globalThis as { gc?: () => void }).gc?.();
      return isRaised(folder, "stopped");
    }, "the producer is stopped");
  });
});

describe("retries", () => {
  test("a stream whose worker dies goes on where it was, without repeating an item", async () => {
    const folder = newFolder();
    const fragile = remote(function* (where: string) {
      for (let at = 0; at < 60; at++) {
        if (at === 30 && runtimeContext().attempt === 0) {
          blockUntil(where, "thirty were taken");
          process.kill(process.pid, "SIGKILL");
        }
        yield at;
      }
    });
    const seen: unknown[] = [];
    for await (const value of fragile.remote(folder).values()) {
      seen.push(value);
      if (seen.length === 30) raise(folder, "thirty were taken");
    }
    expect(seen).toEqual(Array.from({ length: 60 }, (_, at) => at));
  });

  test("what was taken between two attempts counts for the next one", async () => {
    const folder = newFolder();
    const fragile = remote(
      function* (where: string) {
        for (let at = 0; at < 10; at++) {
          if (at === 2 && runtimeContext().attempt === 0) process.kill(process.pid, "SIGKILL");
          yield at;
          note(where, `${runtimeContext().attempt}:${at}`);
        }
      },
      { streamBufferItems: 1, retryDelayMs: 200 },
    );
    expect(await collect(fragile.remote(folder).values())).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test("a stream is retried on a chosen exception, its items kept", async () => {
    const moody = remote(
      async function* () {
        yield "one";
        if (runtimeContext().attempt < 2) throw new RangeError("not yet");
        yield "two";
      },
      { retryExceptions: [RangeError] },
    );
    expect(await collect(moody.remote().values())).toEqual(["one", "two"]);
  });
});
