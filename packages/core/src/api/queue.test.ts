import { beforeEach, describe, expect, test } from "vitest";
import { installCore } from "./core-port.ts";
import { type FakeCore, fakeCore } from "./fake-core.ts";
import { Queue } from "./queue.ts";
import type { ObjectRef } from "./types.ts";

let core: FakeCore;
beforeEach(() => {
  core = fakeCore();
  installCore(core);
});
/** Long enough for every step that needs no timer. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 100; turn++) await Promise.resolve();
}

describe("Queue", () => {
  test("items come out in the order in which they went in", async () => {
    const queue = new Queue<number>();
    for (const item of [1, 2, 3]) await queue.put(item);
    expect(await queue.size()).toBe(3);
    expect([await queue.get(), await queue.get(), await queue.get()]).toEqual([1, 2, 3]);
    expect(await queue.isEmpty()).toBe(true);
    expect(core.live.size).toBe(0);
  });

  test("a get waits for an item, and waiting gets are served in their order", async () => {
    const queue = new Queue<string>();
    const first = queue.get();
    const second = queue.get();
    await queue.put("a");
    await queue.put("b");
    expect([await first, await second]).toEqual(["a", "b"]);
  });

  test("a put waits for room", async () => {
    const queue = new Queue<string>({ maxSize: 1 });
    await queue.put("a");
    expect(await queue.isFull()).toBe(true);
    let done = false;
    const second = queue.put("b").then(() => {
      done = true;
    });
    await turns();
    expect(done).toBe(false);
    expect(await queue.get()).toBe("a");
    await second;
    expect(await queue.get()).toBe("b");
  });

  test("without blocking, or when the time is over, full and empty are errors", async () => {
    const queue = new Queue<string>({ maxSize: 1 });
    await expect(queue.get({ block: false })).rejects.toMatchObject({ code: "QUEUE_EMPTY" });
    await expect(queue.get({ timeoutMs: 1 })).rejects.toThrow(/nothing in the queue within 1 ms/);
    await queue.put("a");
    await expect(queue.put("b", { block: false })).rejects.toMatchObject({ code: "QUEUE_FULL" });
    await expect(queue.put("b", { timeoutMs: 1 })).rejects.toThrow(/no room for 1 in a queue of 1 within 1 ms/);
    // Those that gave up took nothing and left nothing.
    expect(await queue.getAll()).toEqual(["a"]);
    await queue.put("c");
    expect(await queue.get()).toBe("c");
  });

  test("putAll adds all or none, and getAll takes all that are there or exactly as many as asked for", async () => {
    const queue = new Queue<number>({ maxSize: 3 });
    await queue.putAll([1, 2]);
    await expect(queue.putAll([3, 4], { block: false })).rejects.toMatchObject({ code: "QUEUE_FULL" });
    expect(await queue.size()).toBe(2);
    await expect(queue.getAll(3, { block: false })).rejects.toMatchObject({ code: "QUEUE_EMPTY" });
    expect(await queue.getAll(2)).toEqual([1, 2]);
    expect(await queue.getAll()).toEqual([]);
    expect(await queue.getAll(0)).toEqual([]);
    await queue.putAll([]);
    await expect(queue.putAll([1, 2, 3, 4])).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });

  test("emptying the queue lets all waiting puts in that have room", async () => {
    const queue = new Queue<number>({ maxSize: 2 });
    await queue.putAll([1, 2]);
    const waiting = [queue.put(3), queue.put(4), queue.put(5)];
    await turns();
    expect(await queue.getAll()).toEqual([1, 2]);
    expect(await queue.getAll(2)).toEqual([3, 4]);
    await Promise.all(waiting);
    expect(await queue.getAll()).toEqual([5]);
  });

  test("one who gives up makes way for those behind", async () => {
    const queue = new Queue<number>();
    const three = expect(queue.getAll(3, { timeoutMs: 5 })).rejects.toMatchObject({ code: "QUEUE_EMPTY" });
    const one = queue.get();
    await queue.put(1);
    await three;
    expect(await one).toBe(1);
  });

  test("a cancelled get takes no item with it", async () => {
    const queue = new Queue<string>();
    const cancelled = queue.actor.get.remote(1, null);
    await turns();
    await core.cancel(cancelled);
    await queue.put("kept");
    expect(await queue.get()).toBe("kept");
  });

  test("refs and undefined are items like others", async () => {
    const queue = new Queue<ObjectRef<number> | undefined>();
    const ref = core.put(1);
    await queue.put(ref);
    await queue.put(undefined);
    expect(await queue.get()).toBe(ref);
    expect(await queue.get()).toBeUndefined();
  });

  test("shutdown ends the actor and whoever waits hears of it", async () => {
    const queue = new Queue<string>();
    const waiting = queue.get();
    const heard = expect(waiting).rejects.toMatchObject({ code: "ACTOR_DIED" });
    await turns();
    await queue.shutdown();
    await heard;
  });

  test("an instance is nothing but its data, so that it can travel", () => {
    const queue = new Queue<string>({ maxSize: 5 });
    expect(Object.keys(queue).sort()).toEqual(["actor", "maxSize"]);
    const travelled: Queue<string> = Object.assign(Object.create(Queue.prototype), { ...queue });
    return expect(travelled.put("a").then(() => queue.get())).resolves.toBe("a");
  });

  test("wrong options are refused", async () => {
    expect(() => new Queue({ maxSize: -1 })).toThrow(/Queue\(\) option "maxSize" is -1/);
    const queue = new Queue<string>();
    await expect(queue.get({ timeout: 5 } as never)).rejects.toThrow(/did you mean "timeoutMs"/);
    await expect(queue.getAll(-1)).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });
});
