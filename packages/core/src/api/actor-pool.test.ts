import { beforeEach, describe, expect, test } from "vitest";
import { ActorPool } from "./actor-pool.ts";
import { installCore } from "./core-port.ts";
import { type FakeCore, fakeCore } from "./fake-core.ts";
import type { ActorHandle } from "./types.ts";

class Worker {
  readonly name: string;
  constructor(name = "w") {
    this.name = name;
  }
  async after(door: Promise<unknown>, value: string): Promise<string> {
    await door;
    return value;
  }
  fail(message: string): string {
    throw new Error(message);
  }
  whoAmI(): string {
    return this.name;
  }
}
type Handle = ActorHandle<Worker>;

let core: FakeCore;
let a: Handle;
let b: Handle;
beforeEach(() => {
  core = fakeCore();
  installCore(core);
  a = core.remote(Worker).remote("a");
  b = core.remote(Worker).remote("b");
});
const now = Promise.resolve();
const door = () => Promise.withResolvers<void>();

describe("ActorPool", () => {
  test("getNext gives results in the order of submission", async () => {
    const pool = new ActorPool<Handle, string>([a, b]);
    const first = door();
    pool.submit((actor, value: string) => actor.after.remote(first.promise, value), "one");
    pool.submit((actor, value: string) => actor.after.remote(now, value), "two");
    pool.submit((actor, value: string) => actor.after.remote(now, value), "three");
    const one = pool.getNext();
    first.resolve();
    expect([await one, await pool.getNext(), await pool.getNext()]).toEqual(["one", "two", "three"]);
    expect(pool.hasNext()).toBe(false);
    expect(core.live.size).toBe(0);
  });

  test("getNextUnordered gives what is ready first", async () => {
    const pool = new ActorPool<Handle, string>([a, b]);
    const first = door();
    pool.submit((actor, value: string) => actor.after.remote(first.promise, value), "slow");
    pool.submit((actor, value: string) => actor.after.remote(now, value), "quick");
    expect(await pool.getNextUnordered()).toBe("quick");
    first.resolve();
    expect(await pool.getNextUnordered()).toBe("slow");
  });

  test("a call waits for a free actor, which is free when its call has finished and not only when it was taken", async () => {
    const pool = new ActorPool<Handle, string>([a]);
    const started: string[] = [];
    const submit = (value: string) =>
      pool.submit((actor, text: string) => {
        started.push(text);
        return actor.after.remote(now, text);
      }, value);
    submit("one");
    submit("two");
    expect(started).toEqual(["one"]);
    expect(pool.hasFree()).toBe(false);
    // The second result can only exist when the second call started without the first having been taken.
    expect(await pool.getNextUnordered()).toBe("one");
    expect(await pool.getNextUnordered()).toBe("two");
    expect(started).toEqual(["one", "two"]);
    expect(pool.hasFree()).toBe(true);
  });

  test("an error is thrown where its result would have been, and its actor goes on", async () => {
    const pool = new ActorPool<Handle, string>([a]);
    pool.submit((actor, value: string) => actor.fail.remote(value), "boom");
    pool.submit((actor) => actor.whoAmI.remote(), null);
    await expect(pool.getNext()).rejects.toMatchObject({ cause: { message: "boom" } });
    expect(await pool.getNext()).toBe("a");
  });

  test("after a timeout the same result can be asked for again", async () => {
    const pool = new ActorPool<Handle, string>([a]);
    const late = door();
    pool.submit((actor, value: string) => actor.after.remote(late.promise, value), "late");
    await expect(pool.getNext({ timeoutMs: 1 })).rejects.toMatchObject({ code: "GET_TIMEOUT" });
    await expect(pool.getNextUnordered({ timeoutMs: 1 })).rejects.toThrow(/1 actors are busy, 0 free/);
    expect(pool.hasNext()).toBe(true);
    late.resolve();
    expect(await pool.getNext()).toBe("late");
  });

  test("a dead actor leaves the pool; without any left, what waits fails with the death as cause", async () => {
    const pool = new ActorPool<Handle, string>([a, b]);
    const never = new Promise(() => {});
    pool.submit((actor) => actor.after.remote(never, "x"), null);
    await core.kill(a);
    await expect(pool.getNext()).rejects.toMatchObject({ code: "ACTOR_DIED" });
    for (const _ of [1, 2, 3]) pool.submit((actor) => actor.whoAmI.remote(), null);
    expect([await pool.getNext(), await pool.getNext(), await pool.getNext()]).toEqual(["b", "b", "b"]);
    pool.submit((actor) => actor.after.remote(never, "x"), null);
    pool.submit((actor) => actor.whoAmI.remote(), null);
    await core.kill(b);
    await expect(pool.getNext()).rejects.toMatchObject({ code: "ACTOR_DIED" });
    await expect(pool.getNext()).rejects.toThrow("every actor of the pool has died");
  });

  test("map keeps the order, mapUnordered does not, and both take values only as results are used", async () => {
    const pool = new ActorPool<Handle, string>([a, b]);
    let taken = 0;
    function* values() {
      for (let index = 0; index < 20; index++) {
        taken++;
        yield `v${index}`;
      }
    }
    const results: string[] = [];
    for await (const value of pool.map((actor, text: string) => actor.after.remote(now, text), values())) {
      results.push(value);
      expect(taken - results.length).toBeLessThanOrEqual(4);
    }
    expect(results).toEqual(Array.from({ length: 20 }, (_, index) => `v${index}`));

    const first = door();
    const unordered = pool.mapUnordered(
      (actor, text: string) => actor.after.remote(text === "slow" ? first.promise : now, text),
      ["slow", "quick"],
    );
    expect((await unordered.next()).value).toBe("quick");
    first.resolve();
    expect((await unordered.next()).value).toBe("slow");
    expect((await unordered.next()).done).toBe(true);
  });

  test("map leaves results of earlier submissions alone", async () => {
    const pool = new ActorPool<Handle, string>([a]);
    pool.submit((actor, value: string) => actor.after.remote(now, value), "mine");
    for await (const value of pool.map((actor, text: string) => actor.after.remote(now, text), ["other"])) {
      expect(value).toBe("other");
    }
    expect(await pool.getNext()).toBe("mine");
  });

  test("actors can be taken out and put back", async () => {
    const pool = new ActorPool<Handle, string>([a]);
    expect(pool.pop()).toBe(a);
    expect(pool.pop()).toBeUndefined();
    pool.submit((actor) => actor.whoAmI.remote(), null);
    pool.push(b);
    expect(await pool.getNext()).toBe("b");
    expect(() => pool.push(b)).toThrow(/already in the pool/);
  });

  test("asking for a result that nobody submitted is refused", async () => {
    const pool = new ActorPool<Handle, string>([a]);
    await expect(pool.getNext()).rejects.toMatchObject({ code: "INVALID_OPTION" });
    await expect(pool.getNextUnordered()).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });
});
