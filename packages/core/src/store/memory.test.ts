import { closeSync, ftruncateSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it, vi } from "vitest";
import {
  addressOf,
  copyFrom,
  createMemfd,
  mapPrivate,
  mapShared,
  mapSharedWords,
  moveMapping,
  PAGE_BYTES,
  punchHole,
  remapAnonymous,
  remapPrivate,
  reserveLike,
  reserveRange,
  trimHeap,
  unmap,
  viewAt,
} from "./memory.ts";
import { streamCopy, streamCopyCode } from "./stream-copy.ts";

const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
const hasGlibc = header.glibcVersionRuntime !== undefined;

function memfd(pages: number): { readonly fd: number } & Disposable {
  const fd = createMemfd("mobula-memory-test");
  ftruncateSync(fd, pages * PAGE_BYTES);
  return { fd, [Symbol.dispose]: () => closeSync(fd) };
}

describe("memory", () => {
  it("shared mappings of one file see each other's writes, private ones keep theirs", () => {
    using file = memfd(2);
    const shared = mapShared(file.fd, PAGE_BYTES, PAGE_BYTES);
    const secret = mapPrivate(file.fd, PAGE_BYTES, PAGE_BYTES);
    new Uint8Array(viewAt(shared, 10)).fill(5);
    expect(copyFrom(secret, 3)).toEqual(new Uint8Array([5, 5, 5]));
    new Uint8Array(viewAt(secret, 10)).fill(6);
    expect(copyFrom(shared, 3)).toEqual(new Uint8Array([5, 5, 5]));
    unmap(shared, PAGE_BYTES);
    unmap(secret, PAGE_BYTES);
  });

  it("remapping keeps the address: privately the bytes stay, anonymously they are gone, and the file is safe", () => {
    using file = memfd(1);
    const address = mapShared(file.fd, 0, PAGE_BYTES);
    const bytes = new Uint8Array(viewAt(address, PAGE_BYTES));
    bytes.fill(1);
    remapPrivate(address, file.fd, 0, PAGE_BYTES);
    expect(bytes[9]).toBe(1);
    bytes.fill(2);
    remapAnonymous(address, PAGE_BYTES);
    expect(bytes[9]).toBe(0);
    bytes.fill(3);
    const check = mapShared(file.fd, 0, PAGE_BYTES);
    expect(copyFrom(check, 2)).toEqual(new Uint8Array([1, 1]));
    unmap(check, PAGE_BYTES);
    unmap(address, PAGE_BYTES);
  });

  it("punched ranges read as zeros, reserved ones keep what they hold", async () => {
    using file = memfd(2);
    const address = mapShared(file.fd, 0, 2 * PAGE_BYTES);
    new Uint8Array(viewAt(address, 2 * PAGE_BYTES)).fill(7);
    await reserveRange(file.fd, 0, 2 * PAGE_BYTES);
    await punchHole(file.fd, 0, PAGE_BYTES);
    expect([copyFrom(address, 1)[0], copyFrom(address + PAGE_BYTES, 1)[0]]).toEqual([0, 7]);
    unmap(address, 2 * PAGE_BYTES);
  });

  it("failures carry the system's name for them, also from other threads", async () => {
    expect(() => mapShared(-1, 0, PAGE_BYTES)).toThrow(expect.objectContaining({ code: "EBADF" }));
    await expect(reserveRange(-1, 0, PAGE_BYTES)).rejects.toMatchObject({ code: "EBADF" });
  });

  it("words of one range are the same words through two mappings", () => {
    using file = memfd(1);
    const [a, b] = [mapSharedWords(file.fd, 0, PAGE_BYTES), mapSharedWords(file.fd, 0, PAGE_BYTES)];
    expect(Atomics.add(a, 3, 2)).toBe(0);
    expect(Atomics.compareExchange(b, 3, 2, 9)).toBe(2);
    expect(Atomics.load(a, 3)).toBe(9);
  });

  it("the address of an array is refused where V8 might move it", () => {
    expect(addressOf(new Uint8Array(PAGE_BYTES))).toBeGreaterThan(0);
    expect(() => addressOf(new Uint8Array(16))).toThrow(/too small/);
  });

  it.runIf(hasGlibc)("holes in the C library's heap go back to the system", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void; // Defined by the flag.
    const kept: Uint8Array[] = [];
    let dropped: Uint8Array[] = [];
    for (let index = 0; index < 1_000; index++) {
      dropped.push(new Uint8Array(65_536).fill(1));
      kept.push(new Uint8Array(256).fill(1));
    }
    const full = process.memoryUsage.rss();
    dropped = [];
    // V8 frees what a collection found dead on another thread.
    await vi.waitFor(() => {
      collect();
      trimHeap();
      expect(full - process.memoryUsage.rss()).toBeGreaterThan(32 * 2 ** 20);
    }, 5_000);
    expect(kept.every((bytes) => bytes[255] === 1)).toBe(true);
  });
});

describe("moving a mapping", () => {
  it("keeps bytes and pages together, there and back, and both places stay mapped", () => {
    using file = memfd(1024);
    const length = 1024 * PAGE_BYTES;
    const home = mapShared(file.fd, 0, length);
    new Uint8Array(viewAt(home, length)).fill(1);
    const from = home + 3 * PAGE_BYTES;
    const size = length - 7 * PAGE_BYTES;
    const away = reserveLike(from, size);
    expect(Math.abs(away - from) % (2 * 2 ** 20)).toBe(0);
    expect(moveMapping(from, away, size)).toBe(true);
    const bytes = new Uint8Array(viewAt(away, size));
    expect(bytes.every((byte) => byte === 1)).toBe(true);
    bytes.fill(2);
    expect(moveMapping(away, from, size)).toBe(true);
    remapPrivate(away, file.fd, 3 * PAGE_BYTES, size);
    expect(bytes.every((byte) => byte === 2)).toBe(true);
    bytes.fill(3);
    expect(copyFrom(home, length)).toEqual(
      new Uint8Array(length)
        .fill(2)
        .fill(1, 0, 3 * PAGE_BYTES)
        .fill(1, length - 4 * PAGE_BYTES),
    );
    unmap(home, length);
    unmap(away, size);
  });
});

describe("copying past the caches", () => {
  it.each([0, 1, 15, 63, 64, 65, 4096, 1_000_003])(
    "copies %i bytes from and to any place, and nothing else",
    (length) => {
      const copy = streamCopy(streamCopyCode());
      const source = new Uint8Array(2_000_000).map((_, index) => index * 31);
      for (const [to, from] of [
        [0, 0],
        [1, 0],
        [16, 5],
        [63, 64],
        [100, 3],
      ] as const) {
        const target = new Uint8Array(2_000_000).fill(7);
        copy(addressOf(target) + to, addressOf(source) + from, length);
        const expected = new Uint8Array(2_000_000).fill(7);
        expected.set(source.subarray(from, from + length), to);
        expect(Buffer.compare(target, expected)).toBe(0);
      }
    },
  );

  it("runs its own instructions on x86-64", () => {
    expect(streamCopyCode() !== 0).toBe(process.arch === "x64");
  });
});
