/** What is read from the store through the public API: shared without copies, and safe all the same. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { create, get, init, put, release, remote, shutdown } from "mobula";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isEmpty, until } from "./store-state.ts";

const MIB = 2 ** 20;
const collect = globalThis.gc ?? (() => {});

beforeAll(async () => {
  await init({ resources: { cpu: 2 }, objectStoreBytes: 64 * MIB });
});
afterAll(() => shutdown());

const filled = (bytes: number, value: number): Uint8Array<ArrayBuffer> => new Uint8Array(bytes).fill(value);
const sum = remote((bytes: Uint8Array) => {
  let total = 0;
  for (const byte of bytes) total += byte;
  return total;
});
const make = remote((bytes: number, value: number) => new Uint8Array(bytes).fill(value));

describe("reading", () => {
  test("a task and the driver read what was put, each with memory of its own", async () => {
    const ref = put(filled(3 * MIB, 7));
    const writeIt = remote((bytes: Uint8Array) => {
      bytes.fill(9);
      return bytes[5];
    });
    expect(await get(writeIt.remote(ref))).toBe(9);
    expect(await get(sum.remote(ref))).toBe(3 * MIB * 7);
    const mine = await get(ref);
    mine.fill(1);
    const again = await get(ref);
    expect(again[0]).toBe(7);
    expect(mine[0]).toBe(1);
  });

  test("large buffers are not copied: the memory of ten views of one object is the store's", async () => {
    const ref = put(filled(20 * MIB, 3));
    const before = process.memoryUsage().arrayBuffers;
    const views = await get(Array.from({ length: 10 }, () => ref));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(10 * MIB);
    expect(views.every((view) => view[19 * MIB] === 3)).toBe(true);
  });

  test("small buffers inside a stored value, and inline values, are copies", async () => {
    const small = filled(1_000, 5);
    const ref = put({ small, big: filled(200_000, 6) });
    const inline = put(small);
    small.fill(0);
    const stored = await get(ref);
    expect(stored.small.buffer.byteLength).toBe(1_000);
    expect(stored.small[999]).toBe(5);
    expect((await get(inline))[0]).toBe(5);
  });

  test("a result in the store comes back as a view in the driver and in another task", async () => {
    const ref = make.remote(2 * MIB, 4);
    expect(await get(sum.remote(ref))).toBe(8 * MIB);
    expect((await get(ref))[MIB]).toBe(4);
  });
});

describe("create", () => {
  test("is written in place, sealed, and read by a task; writing after seal changes nothing stored", async () => {
    const object = create(2 * MIB);
    object.view.fill(2);
    const ref = object.seal();
    object.view.fill(9);
    expect(await get(sum.remote(ref))).toBe(4 * MIB);
    expect((await get(ref))[MIB]).toBe(2);
    expect(object.view[MIB]).toBe(9);
  });

  test("abort and disposal before seal give the room back and forbid sealing", async () => {
    const object = create(2 * MIB);
    object.abort();
    expect(() => object.seal()).toThrow(/aborted/);
    {
      using other = create(2 * MIB);
      other.view.fill(1);
    }
    await until(isEmpty);
  });

  test("a small object is created too, and one of no bytes is refused", async () => {
    const object = create(10);
    object.view.set([1, 2, 3]);
    expect([...(await get(object.seal()))]).toEqual([1, 2, 3, 0, 0, 0, 0, 0, 0, 0]);
    expect(() => create(0)).toThrow(/at least 1/);
  });
});

describe("hazards", () => {
  test("a subarray outlives its parent, the ref and the object, and still reads its own bytes", async () => {
    let part: Uint8Array | undefined;
    await (async () => {
      const ref = put(filled(MIB, 42));
      part = (await get(ref)).subarray(1_000, 1_100);
      release(ref);
    })();
    for (let round = 0; round < 20; round++) {
      collect();
      const ref = put(filled(MIB, round));
      await get(sum.remote(ref));
      release(ref);
    }
    expect(part?.every((byte) => byte === 42)).toBe(true);
  });

  test("objects next to each other keep their own bytes when views of one are written", async () => {
    const refs = Array.from({ length: 20 }, (_, index) => put(filled(110_000, index)));
    for (const view of await get(refs)) view.fill(255);
    const sums = await get(refs.map((ref) => sum.remote(ref)));
    expect(sums).toEqual(refs.map((_, index) => 110_000 * index));
  });

  test("memory used again after collection never shows what was written privately", async () => {
    for (let round = 0; round < 30; round++) {
      const ref = put(filled(2 * MIB, round));
      const view = await get(ref);
      expect(view[MIB]).toBe(round);
      view.fill(200);
      release(ref);
      if (round % 5 === 0) collect();
    }
  });

  test("structuredClone of a small view clones that view's buffer, not the store", async () => {
    const view = await get(put(filled(MIB, 8)));
    const clone = structuredClone(view);
    expect(clone.buffer.byteLength).toBe(MIB);
    expect(view.buffer.byteLength).toBe(MIB);
    expect(new Uint32Array(view.buffer).length).toBe(MIB / 4);
  });

  test("a child process starts while large written views live", async () => {
    const view = await get(put(filled(24 * MIB, 1)));
    view.fill(2);
    const child = spawn(process.execPath, ["-e", ""], { stdio: "ignore", env: {} });
    expect((await once(child, "exit"))[0]).toBe(0);
    expect(view[0]).toBe(2);
  });
});
