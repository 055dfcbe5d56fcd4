/** ActorPool and Queue on real actors. */

import { ActorPool, get, init, Queue, QueueEmptyError, QueueFullError, remote, shutdown } from "mobula";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Counter } from "./classes.ts";
import { newGate, waitingAt } from "./helpers.ts";

beforeAll(async () => {
  await init({ objectStoreBytes: 64 * 2 ** 20, resources: { cpu: 4 } });
});
afterAll(() => shutdown());

const newCounter = (value = 0) => remote(Counter, { isolation: "shared" }).remote(value);

describe("ActorPool", () => {
  test("map gives results in order, each actor with one call at a time", async () => {
    const counters = [newCounter(), newCounter(), newCounter()];
    const pool = new ActorPool(counters);
    const results: number[] = [];
    for await (const bytes of pool.map((counter, length: number) => counter.bytes.remote(length), [3, 1, 4, 1, 5, 9])) {
      results.push(bytes.length);
    }
    expect(results).toEqual([3, 1, 4, 1, 5, 9]);
  });

  test("getNextUnordered takes what is finished first; an error is thrown and the pool goes on", async () => {
    const pool = new ActorPool<ReturnType<typeof newCounter>, number>([newCounter(1), newCounter(1)]);
    const gate = newGate();
    pool.submit((counter, by: number) => counter.addBehind.remote(gate, by), 10);
    await waitingAt(gate, 1);
    pool.submit((counter, by: number) => counter.add.remote(by), 1);
    expect(await pool.getNextUnordered()).toBe(2);
    gate.open.remote();
    expect(await pool.getNext()).toBe(11);
    pool.submit((counter) => counter.fail.remote("no"), 0);
    await expect(pool.getNext()).rejects.toMatchObject({ code: "TASK_FAILED" });
    pool.submit((counter) => counter.add.remote(0), 0);
    expect(await pool.getNext()).toBeGreaterThan(0);
    expect(pool.hasNext()).toBe(false);
  });
});

describe("Queue", () => {
  test("put and get in order, and the limits", async () => {
    const queue = new Queue<number>({ maxSize: 2 });
    await queue.put(1);
    await queue.put(2);
    expect(await queue.isFull()).toBe(true);
    await expect(queue.put(3, { block: false })).rejects.toBeInstanceOf(QueueFullError);
    await expect(queue.put(3, { timeoutMs: 20 })).rejects.toBeInstanceOf(QueueFullError);
    const blocked = queue.put(3);
    expect(await queue.get()).toBe(1);
    await blocked;
    expect(await queue.getAll()).toEqual([2, 3]);
    await expect(queue.get({ block: false })).rejects.toBeInstanceOf(QueueEmptyError);
    expect(await queue.isEmpty()).toBe(true);
    await queue.shutdown();
  });

  test("producers and consumers in tasks share one, and all items come through once", async () => {
    const queue = new Queue<number>({ maxSize: 8 });
    const produce = remote(async (to: Queue<number>, from: number, count: number) => {
      for (let at = from; at < from + count; at++) await to.put(at);
    });
    const consume = remote(async (source: Queue<number>, count: number) => {
      const taken: number[] = [];
      for (let at = 0; at < count; at++) taken.push(await source.get());
      return taken;
    });
    const consumers = [consume.remote(queue, 50), consume.remote(queue, 50)];
    await get([produce.remote(queue, 0, 60), produce.remote(queue, 60, 40)]);
    const taken = (await get(consumers)).flat();
    expect(taken.sort((left, right) => left - right)).toEqual(Array.from({ length: 100 }, (_, index) => index));
    await queue.shutdown();
  });
});
