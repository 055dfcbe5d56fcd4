import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { newProcessId } from "../base/mod.ts";
import { MIB, startHarness, until } from "./fixtures/harness.ts";
import { folderVolume, type SpillFile, type SpillVolume } from "./spill-disk.ts";

describe("a store under pressure", () => {
  it("takes three times its size and gives every object back with its checksum", async () => {
    await using harness = await startHarness({ capacityBytes: 64 * MIB, putTimeoutMs: 10_000 });
    const child = await harness.child();
    const made = await child.call("putMany", 192, MIB);
    expect(harness.server.stats().spilledBytesTotal).toBeGreaterThan(100 * MIB);
    expect(await child.call("checkMany", made)).toBe(0);
    // Again, now that what is in memory and what is on disk have changed places.
    expect(await child.call("checkMany", made.toReversed())).toBe(0);
    harness.server.free(made.map(({ key }: { key: number }) => key));
    await child.call("dropView");
    await until(
      () => harness.server.stats(),
      (stats) => stats.objects === 0 && stats.spilledBytes === 0,
    );
  });

  it("an object that is read from the disk in several pieces comes back whole, whatever its size", async () => {
    await using harness = await startHarness({ capacityBytes: 32 * MIB, putTimeoutMs: 10_000 });
    const child = await harness.child();
    const made = await child.call("putMany", 12, 5 * MIB + 4_320);
    expect(harness.server.stats().spilledBytesTotal).toBeGreaterThan(20 * MIB);
    expect(await child.call("checkMany", made)).toBe(0);
  });

  it("writes many objects into one file and closes the file when the last of them is gone", async () => {
    const files: { open: boolean }[] = [];
    const directory = mkdtempSync(join(tmpdir(), "mobula-spill-"));
    const volume = folderVolume(directory);
    const counting: SpillVolume = {
      sharesFiles: volume.sharesFiles,
      fullness: () => volume.fullness(),
      async createFile() {
        const file = await volume.createFile();
        const state = { open: true };
        files.push(state);
        const close = (): Promise<void> => {
          state.open = false;
          return file.close();
        };
        return { ...file, close };
      },
    };
    await using harness = await startHarness({ capacityBytes: 64 * MIB, volume: counting });
    const child = await harness.child();
    const made = await child.call("putMany", 120, MIB);
    expect(files.length).toBeLessThan(20);
    expect(readdirSync(directory)).toEqual([]);
    harness.server.free(made.map(({ key }: { key: number }) => key));
    await until(
      () => files.filter((file) => file.open).length,
      (count) => count === 0,
    );
    rmSync(directory, { recursive: true });
  });

  it("a disk that is full loses nothing: puts fail with the disk's words and the biggest holders, objects stay readable", async () => {
    const full: SpillVolume = {
      sharesFiles: false,
      createFile: async () => failing("ENOSPC", "no space left on device"),
      fullness: async () => 0.1,
    };
    await using harness = await startHarness({
      capacityBytes: 32 * MIB,
      volume: full,
      putTimeoutMs: 300,
      spillBytesMax: MIB,
    });
    const child = await harness.child();
    const first = await child.call("putMany", 24, MIB);
    const refusal = await child.call("tryPut", 16 * MIB);
    expect(refusal).toMatchObject({ code: "DISK_FULL", kind: "exhausted" });
    expect(refusal.message).toMatch(/no space left on device/);
    expect(refusal.message).toMatch(/loop\.ts:0: \d+ MiB in 8 objects/);
    expect(await child.call("checkMany", first)).toBe(0);
    expect(harness.events.some((event) => event.kind === "spill-failed" && event.code === "ENOSPC")).toBe(true);
  });

  it("an object whose disk copy cannot be read is lost, and says why", async () => {
    const broken: SpillVolume = {
      sharesFiles: false,
      createFile: async () => ({ ...failing("EIO", "input/output error"), write: async () => {} }),
      fullness: async () => 0,
    };
    await using harness = await startHarness({ capacityBytes: 32 * MIB, volume: broken });
    const child = await harness.child();
    const made = await child.call("putMany", 60, MIB);
    await expect(child.call("read", made[0].key)).rejects.toThrow(/OBJECT_LOST|input\/output error/);
  });

  it("an object on disk for which neither memory nor disk has room is read from its file, with a warning of the cost", async () => {
    await using harness = await startHarness({
      capacityBytes: 32 * MIB,
      putTimeoutMs: 10_000,
      spillBytesMax: 24 * MIB,
    });
    const child = await harness.child();
    const other = await harness.child();
    const key = await child.call("putPattern", 16 * MIB, 7);
    // It leaves memory for the next, which is then held there.
    await other.call("keepView", await other.call("put", 28 * MIB, 1));
    expect(harness.server.stats()).toMatchObject({ spilledBytes: 16 * MIB, pinnedBytes: 28 * MIB });
    expect(await child.call("checkOne", key, 16 * MIB, 7)).toBe(true);
    expect(await child.call("checkOne", key, 16 * MIB, 7)).toBe(true);
    expect(harness.events.filter((event) => event.kind === "read-from-disk")).toHaveLength(2);
    expect(await child.call("warnings")).toEqual([
      expect.stringMatching(/^read-from-disk: an object of 16 MiB was read from disk into memory of process \d+/),
    ]);
    harness.server.free([key]);
    await child.call("dropView");
    await until(
      () => harness.server.stats().spilledBytes,
      (bytes) => bytes === 0,
    );
  });

  it("past 95 % of the disk nothing is spilled", async () => {
    const volume = folderVolume(tmpdir());
    await using harness = await startHarness({
      capacityBytes: 32 * MIB,
      volume: { ...volume, fullness: async () => 0.96 },
      putTimeoutMs: 200,
      spillBytesMax: 4 * MIB,
    });
    const child = await harness.child();
    await child.call("putMany", 28, MIB);
    expect(await child.call("tryPut", 8 * MIB)).toMatchObject({
      code: "DISK_FULL",
      message: expect.stringMatching(/96 % full/),
    });
    expect(harness.server.stats().spilledBytesTotal).toBe(0);
  });

  it("when memory is pinned and the disk limit used up, put ends after putTimeoutMs with STORE_FULL", async () => {
    await using harness = await startHarness({ capacityBytes: 32 * MIB, putTimeoutMs: 300, spillBytesMax: 8 * MIB });
    const child = await harness.child();
    const other = await harness.child();
    await other.call("keepView", await child.call("put", 28 * MIB, 1, "train.ts:12"));
    const startMs = performance.now();
    const refusal = await child.call("tryPut", 16 * MIB);
    expect(performance.now() - startMs).toBeGreaterThan(290);
    expect(refusal).toMatchObject({ code: "STORE_FULL", kind: "exhausted" });
    expect(refusal.message).toMatch(/train\.ts:12: 28 MiB in 1 object, 28 MiB of it in use/);
    expect(refusal.message).toMatch(/release/i);
  });

  it("when memory is pinned and there is disk, put goes to disk after putTimeoutMs and reads back", async () => {
    await using harness = await startHarness({ capacityBytes: 32 * MIB, putTimeoutMs: 200 });
    const child = await harness.child();
    const other = await harness.child();
    await other.call("keepView", await child.call("put", 28 * MIB, 1));
    const key = await child.call("putPattern", 16 * MIB, 7);
    expect(await child.call("checkOne", key, 16 * MIB, 7)).toBe(true);
    const { spilledBytes, usedBytes } = harness.server.stats();
    expect(usedBytes).toBeLessThan(32 * MIB);
    harness.server.free([key]);
    await child.call("dropView");
    await until(
      () => harness.server.stats().spilledBytes,
      (bytes) => bytes === spilledBytes - 16 * MIB,
    );
  });

  it("an object larger than the whole store goes to disk at once", async () => {
    await using harness = await startHarness({ capacityBytes: 16 * MIB });
    const child = await harness.child();
    const key = await child.call("putPattern", 64 * MIB, 3);
    expect(await child.call("checkOne", key, 64 * MIB, 3)).toBe(true);
  });

  it("a put that waits goes on as soon as another process lets go", async () => {
    await using harness = await startHarness({ capacityBytes: 32 * MIB, putTimeoutMs: 20_000, spillBytesMax: 0 });
    const child = await harness.child();
    const other = await harness.child();
    const held = await child.call("put", 28 * MIB, 1);
    await other.call("keepView", held);
    harness.server.free([held]);
    const waiting = child.call("tryPut", 16 * MIB);
    await until(
      () => harness.server.stats().waiting,
      (count) => count === 1,
    );
    await other.call("dropView");
    expect(await waiting).toHaveProperty("key");
  });

  it("asks processes to collect before it writes anything to disk", async () => {
    await using harness = await startHarness({ capacityBytes: 32 * MIB });
    const child = await harness.child();
    const other = await harness.child();
    const held = await other.call("put", 20 * MIB, 1);
    expect(held).toBeGreaterThan(0);
    await child.call("putMany", 20, MIB);
    expect(harness.collectsAsked).toContain(other.processId);
    const kinds = harness.events.map((event) => event.kind);
    expect(kinds.indexOf("collect-requested")).toBeLessThan(kinds.indexOf("spilled"));
  });

  it("a small put asks nobody: it returns though the node's thread is busy", async () => {
    await using harness = await startHarness({ capacityBytes: 256 * MIB });
    const child = await harness.child();
    await child.call("timePuts", 40, 100 * 1024);
    const took = child.call("timePuts", 10, 100 * 1024);
    // The request has left; from here this thread, the node's, answers nothing for a second.
    await new Promise((resolve) => setImmediate(resolve));
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_000);
    expect(await took).toBeLessThan(500);
    await vi.waitFor(() => expect(harness.server.stats().objects).toBe(50));
  });

  it("what a producer keeps of an object made in place is counted as its pin until it lets go", async () => {
    await using harness = await startHarness({ capacityBytes: 64 * MIB });
    const child = await harness.child();
    const key = await child.call("createAndSeal", 8 * MIB, 3);
    await until(
      () => harness.server.stats().pinnedBytes,
      (bytes) => bytes === 8 * MIB,
    );
    harness.server.free([key]);
    expect(harness.server.stats().objects).toBe(1);
    await child.call("dropView");
    await until(
      () => harness.server.stats().objects,
      (count) => count === 0,
    );
  });

  it("putAsync waits without stopping the thread", async () => {
    await using harness = await startHarness({ capacityBytes: 32 * MIB, putTimeoutMs: 300 });
    const child = await harness.child();
    const other = await harness.child();
    await other.call("keepView", await child.call("put", 28 * MIB, 1));
    const { key, turns } = await child.call("putAsyncWhileTurning", 16 * MIB);
    expect(turns).toBeGreaterThan(20);
    expect(await child.call("read", key)).toMatchObject({ length: 16 * MIB, first: 6, same: true });
  });

  it("past the limit on mappings views are copies, and right", async () => {
    await using harness = await startHarness({ capacityBytes: 64 * MIB });
    const child = await harness.child();
    await child.call("close", false);
    await child.call("connectBounded", harness.server.info, newProcessId(), 16);
    expect(await child.call("mappingsBounded", 50)).toEqual({ good: true, mappings: 16 });
  });

  it("an object of 1 GiB is stored and read whole", async () => {
    await using harness = await startHarness({ capacityBytes: 1200 * MIB });
    const child = await harness.child();
    const key = await child.call("putRepeated", 1024, 11);
    expect(await child.call("checkRepeated", key, 1024, 11)).toBe(true);
  });

  it("two threads copy the same bytes as one", async () => {
    await using harness = await startHarness({ capacityBytes: 16 * MIB });
    const child = await harness.child();
    expect(await child.call("largeCopies")).toEqual([]);
  });

  it("a loop that drops 1 MiB results keeps at most a tenth of the store dead, within a tenth of its time", async () => {
    // At a few GB/s and 3 ms a collection the two limits contradict each other in a store much smaller than this.
    const capacityBytes = 4096 * MIB;
    await using harness = await startHarness({ capacityBytes });
    const child = await harness.child();
    let peak = 0;
    const timer = setInterval(() => {
      peak = Math.max(peak, harness.server.stats().usedBytes);
    }, 2);
    const result = await child.call("dropLoop", 4_000, capacityBytes);
    clearInterval(timer);
    expect(harness.server.stats().spilledBytesTotal).toBe(0);
    // The loop's own slabs, leased and in advance, are not dead objects.
    expect(peak).toBeLessThan(0.1 * capacityBytes + 2 * 16 * MIB);
    expect(result.held).toBeLessThan(0.1 * capacityBytes);
    expect(result.spentMs / result.tookMs).toBeLessThan(0.15);
  });

  it("memory that stays free goes back to the system", async () => {
    let skewMs = 0;
    await using harness = await startHarness({ capacityBytes: 256 * MIB, now: () => performance.now() + skewMs });
    const child = await harness.child();
    const key = await child.call("put", 100 * MIB, 1);
    const resident = (): number => arenaBlocks(harness.server.info.arenaPath);
    expect(resident()).toBeGreaterThanOrEqual(100 * MIB);
    harness.server.free([key]);
    for (let minute = 0; minute < 3; minute++) {
      skewMs += 60_000;
      harness.server.free([]);
      harness.server.tick();
      await until(
        () => harness.server.stats().usedBytes,
        (bytes) => bytes < 40 * MIB,
      );
    }
    await until(resident, (bytes) => bytes < 60 * MIB);
  });
});

function failing(code: string, message: string): SpillFile {
  const fail = async (): Promise<never> => {
    throw Object.assign(new Error(message), { code });
  };
  return { write: fail, read: fail, discard: async () => {}, close: async () => {}, path: "" };
}

/** Memory that the arena's file has. */
function arenaBlocks(path: string): number {
  return statSync(path).blocks * 512;
}
