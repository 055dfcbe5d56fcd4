/** When an object goes: with the last ref to it anywhere, wherever that is. */
import { get, init, type ObjectRef, put, release, remote, shutdown, wait } from "mobula";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { isEmpty, storeState, until } from "./store-state.ts";

const MIB = 2 ** 20;
const STORE = 64 * MIB;
const collect = globalThis.gc ?? (() => {});

beforeAll(async () => {
  await init({ resources: { cpu: 2 }, objectStoreBytes: STORE });
});
afterAll(() => shutdown());
// Whatever a test did: when its refs are gone, the store is empty.
afterEach(async () => {
  collect();
  await until(isEmpty);
});

const make = remote((bytes: number) => new Uint8Array(bytes).fill(1));
const length = remote((bytes: Uint8Array) => bytes.length);
const lengthInside = remote(async (box: { ref: ObjectRef<Uint8Array> }) => (await get(box.ref)).length);

class Keeper {
  kept: ObjectRef<Uint8Array> | undefined;
  keep(box: [ObjectRef<Uint8Array>]): number {
    [this.kept] = box;
    return 1;
  }
  async size(): Promise<number> {
    return this.kept ? (await get(this.kept)).length : 0;
  }
  give(): [ObjectRef<Uint8Array>] {
    if (!this.kept) throw new Error("nothing is kept");
    return [this.kept];
  }
  drop(): void {
    if (this.kept) release(this.kept);
    this.kept = undefined;
  }
  forget(): void {
    this.kept = undefined;
  }
}
const RemoteKeeper = remote(Keeper);

describe("the driver's refs", () => {
  test("a put object stays while its ref does, and goes with release", async () => {
    const ref = put(new Uint8Array(MIB));
    await get(length.remote(ref));
    expect((await storeState()).usedBytes).toBeGreaterThanOrEqual(MIB);
    release(ref);
    await until(isEmpty);
    expect(() => get(ref)).toThrow(/released/);
  });

  test("using disposes a ref at the end of its block", async () => {
    {
      using ref = put(new Uint8Array(MIB));
      expect(await get(length.remote(ref))).toBe(MIB);
    }
    await until(isEmpty);
  });

  test("a ref that is only dropped goes at collection, without any call", async () => {
    await (async () => {
      await get(length.remote(put(new Uint8Array(2 * MIB))));
      await wait([make.remote(2 * MIB)]);
    })();
    await until(isEmpty, 3_000);
  });

  test("a task's result that nobody reads goes when its ref does, also before it exists", async () => {
    const early = make.remote(MIB);
    release(early);
    const ref = make.remote(MIB);
    await wait([ref]);
    release(ref);
    await until(isEmpty);
  });

  test("an argument lives until its call has run, although its ref was released at once", async () => {
    const ref = put(new Uint8Array(MIB));
    const result = length.remote(ref);
    release(ref);
    expect(await get(result)).toBe(MIB);
  });
});

describe("refs elsewhere", () => {
  test("a ref inside an argument is held by the task, and given back after it", async () => {
    const ref = put(new Uint8Array(MIB));
    const result = lengthInside.remote({ ref });
    release(ref);
    expect(await get(result)).toBe(MIB);
  });

  test("an actor that keeps a ref keeps the object after the driver has let go, and drops it by release", async () => {
    const keeper = RemoteKeeper.remote();
    const ref = put(new Uint8Array(MIB));
    await get(keeper.keep.remote([ref]));
    release(ref);
    expect(await get(keeper.size.remote())).toBe(MIB);
    await get(keeper.drop.remote());
    await until(isEmpty);
  });

  test("an idle worker's borrowed ref goes back within a second of being forgotten", async () => {
    const keeper = RemoteKeeper.remote();
    const ref = put(new Uint8Array(4 * MIB));
    await get(keeper.keep.remote([ref]));
    expect(await get(keeper.size.remote())).toBe(4 * MIB);
    release(ref);
    await get(keeper.forget.remote());
    await until(isEmpty, 1_000);
  });

  test("a ref travels from the driver to one actor, to another and back, and each hop holds it", async () => {
    const first = RemoteKeeper.remote();
    const second = RemoteKeeper.remote();
    const ref = put(new Uint8Array(MIB).fill(3));
    await get(first.keep.remote([ref]));
    release(ref);
    await get(second.keep.remote(first.give.remote()));
    await get(first.drop.remote());
    const [back] = await get(second.give.remote());
    await get(second.drop.remote());
    expect((await get(back))[10]).toBe(3);
    release(back);
  });

  test("a result that holds refs keeps their objects, which go with it", async () => {
    const both = remote(() => [put(new Uint8Array(MIB).fill(1)), put(new Uint8Array(MIB).fill(2))]);
    const ref = both.remote();
    const [one, two] = await get(ref);
    if (!one || !two) throw new Error("two refs were returned");
    release(ref);
    expect([(await get(one))[0], (await get(two))[0]]).toEqual([1, 2]);
    release(one, two);
  });

  test("a put value that holds refs keeps them after their own refs are gone", async () => {
    const inner = put(new Uint8Array(MIB).fill(9));
    const outer = put({ inner });
    release(inner);
    const { inner: again } = await get(outer);
    expect((await get(again))[0]).toBe(9);
    release(again, outer);
  });

  test("a worker that dies gives back all it held", async () => {
    const keeper = RemoteKeeper.remote();
    const ref = put(new Uint8Array(MIB));
    await get(keeper.keep.remote([ref]));
    release(ref);
    const die = remote(() => process.kill(process.pid, "SIGKILL"), { maxRetries: 0 });
    await expect(get(die.remote())).rejects.toMatchObject({ code: "WORKER_DIED" });
    keeper[Symbol.dispose]();
    await until(isEmpty);
  });
});
