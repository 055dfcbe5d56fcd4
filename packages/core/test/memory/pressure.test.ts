/** More than fits: on disk, or an error that says who holds what. */
import { get, init, type ObjectRef, put, putAsync, release, remote, shutdown } from "mobula";
import { afterEach, describe, expect, test } from "vitest";
import { checksum, isEmpty, storeState, until } from "./store-state.ts";

const MIB = 2 ** 20;
const STORE = 64 * MIB;

afterEach(() => shutdown());

const pattern = (seed: number, bytes: number): Uint8Array => {
  const made = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at += 512) made[at] = (seed * 31 + at / 512) % 251;
  return made;
};

describe("spilling", () => {
  test("a program that puts three times the store's size reads it all back, from the driver and in tasks", async () => {
    await init({ resources: { cpu: 2 }, objectStoreBytes: STORE });
    const SIZE = 4 * MIB;
    const refs: ObjectRef<Uint8Array>[] = [];
    const sums: number[] = [];
    const produce = remote(pattern);
    const sumOf = remote(checksum);
    for (let index = 0; index < 24; index++) {
      const value = pattern(index, SIZE);
      sums.push(checksum(value));
      refs.push(put(value));
    }
    for (let index = 24; index < 48; index++) {
      sums.push(checksum(pattern(index, SIZE)));
      refs.push(produce.remote(index, SIZE));
    }
    expect(await get(refs.map((ref) => sumOf.remote(ref)))).toEqual(sums);
    expect((await storeState()).spilledBytes).toBeGreaterThan(STORE);
    const readBack = async (): Promise<void> => {
      for (const [index, ref] of refs.entries()) {
        expect(checksum(await get(ref))).toBe(sums[index]);
        release(ref);
      }
    };
    await readBack();
    globalThis.gc?.();
    await until(isEmpty);
  });

  test("with spilling off a full store says who holds it, and goes on when room is made", async () => {
    await init({ resources: { cpu: 1 }, objectStoreBytes: STORE, spillBytesMax: 0, putTimeoutMs: 300 });
    const held = [put(new Uint8Array(20 * MIB)), put(new Uint8Array(20 * MIB))];
    const other = put(new Uint8Array(10 * MIB));
    let message = "";
    const before = performance.now();
    try {
      put(new Uint8Array(20 * MIB));
    } catch (error) {
      expect(error).toMatchObject({ code: "STORE_FULL", kind: "exhausted" });
      ({ message } = error as Error);
    }
    expect(performance.now() - before).toBeLessThan(2_000);
    expect(message).toMatch(/no room for 20 MiB within 300 ms/);
    expect(message).toMatch(/spilling to disk is off/);
    expect(message).toMatch(/Biggest holders: [^;]*pressure\.test\.ts:\d+: 40 MiB in 2 objects/);
    await expect(putAsync(new Uint8Array(20 * MIB))).rejects.toMatchObject({ code: "STORE_FULL" });
    // A task's result finds no room either: its task fails with the same words.
    const make = remote((bytes: number) => new Uint8Array(bytes));
    const failed = await get(make.remote(20 * MIB)).then(
      () => undefined,
      (error: Error & { cause?: unknown }) => error,
    );
    expect(failed).toMatchObject({ code: "TASK_FAILED", cause: { code: "STORE_FULL" } });
    release(...held);
    expect((await get(put(new Uint8Array(20 * MIB)))).length).toBe(20 * MIB);
    release(other);
  });

  test("a loop in one turn that releases what it put before never fills the store, in the driver and in a task", async () => {
    await init({ resources: { cpu: 1 }, objectStoreBytes: STORE, spillBytesMax: 0, putTimeoutMs: 10_000 });
    const loop = (bytes: number): void => {
      const value = new Uint8Array(bytes);
      for (let made = 0; made < 3 * STORE; made += bytes) release(put(value));
    };
    const loopInTask = remote(loop);
    for (const bytes of [12 * MIB, 2 * MIB, MIB / 4]) {
      loop(bytes);
      await get(loopInTask.remote(bytes));
    }
  });

  test("a spilled object that finds no room is read from disk all the same, by the driver and by a task", async () => {
    await init({ resources: { cpu: 1 }, objectStoreBytes: STORE, spillBytesMax: 40 * MIB });
    const value = pattern(3, 30 * MIB);
    const spilled = put(value);
    const held = await get(put(pattern(4, 60 * MIB)));
    const sumOf = remote(checksum);
    expect(checksum(await get(spilled))).toBe(checksum(value));
    expect(await get(sumOf.remote(spilled))).toBe(checksum(value));
    expect(checksum(held)).toBe(checksum(pattern(4, 60 * MIB)));
    release(spilled);
  });
});
