import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Child, type Harness, MIB, startHarness, until } from "./fixtures/harness.ts";
import { areViewsCharged } from "./view-buffer.ts";

describe.each(["v8", "node-api"])("views of stored objects, made by %s", (maker) => {
  const env = { MOBULA_STORE_VIEWS: maker };
  let harness: Harness;
  let child: Child;
  beforeAll(async () => {
    harness = await startHarness({ capacityBytes: 512 * MIB });
    child = await harness.child([], env);
  });
  afterAll(() => harness[Symbol.asyncDispose]());

  it("a subarray that outlives the view it came from still reads its own object's bytes", async () => {
    expect(await child.call("subarrayOutlivesParent")).toEqual({ intact: true, held: MIB });
    await child.call("dropView");
  });

  // Of buffers that Node-API made nobody can learn it.
  if (maker !== "node-api" && !areViewsCharged()) {
    describe("whose memory is moved to another ArrayBuffer", () => {
      it("keep their place as long as that one lives", async () => {
        expect(await child.call("transferredOutlivesView")).toEqual({ intact: true, held: 2 * MIB });
        await untilNothingIsHeld();
      });

      it("keep it while that one lives in another thread, and until that has ended", async () => {
        expect(await child.call("transferredToThread")).toEqual({ intact: true, held: MIB });
        await untilNothingIsHeld();
      });

      async function untilNothingIsHeld(): Promise<void> {
        await child.call("dropView");
        while ((await child.call("heldBytes")) > 0) await new Promise(setImmediate);
      }
    });
  }

  it("two gets in one process are independent, and a third sees what was stored", async () => {
    expect(await child.call("twoGets")).toEqual({ a: 9, b: 1, again: 1 });
  });

  it("an object is mapped again without asking while a view of it lives, and its place stays for the last of them", async () => {
    const key = await child.call("put", MIB, 7);
    expect(await child.call("mapAgain", key)).toEqual({ before: undefined, intact: true, asked: 1 });
    const { pinnedBytes } = harness.server.stats();
    await child.call("dropView");
    await until(
      () => harness.server.stats().pinnedBytes,
      (bytes) => bytes <= pinnedBytes - MIB,
    );
    expect(await child.call("canMapAgain", key)).toBe(false);
  });

  it("writing to one object's view changes neither the object made next to it nor its own copy", async () => {
    expect(await child.call("neighbours")).toEqual({ mine: true, second: true, other: [3, 2] });
  });

  it("a place used again after collection never shows what a view wrote privately", async () => {
    // Small, so that the next objects must lie where the first one lay.
    await using small = await startHarness({ capacityBytes: 16 * MIB });
    const alone = await small.child([], env);
    expect(await alone.call("reuseAfterCollection")).toEqual([5, 1]);
  });

  it("a view's buffer holds its own bytes only, so that a structured clone is small and separate", async () => {
    expect(await child.call("cloneOfView")).toEqual({
      bufferBytes: 100_000,
      cloneBuffer: 100_000,
      original: 4,
      words: 25_000,
    });
  });

  it("what a producer writes after seal stays in its own view", async () => {
    expect(await child.call("producerWritesAfterSeal")).toEqual({ seen: true, own: true });
  });

  it("a producer's view keeps its bytes after the object is freed and its neighbours reused", async () => {
    expect(await child.call("producerViewOutlivesObject")).toBe(true);
  });

  it("writing to the view of an aborted object reaches no other object", async () => {
    expect(await child.call("abortedView")).toBe(true);
  });

  it("another process keeps its view though the object is freed, and the place comes back when it lets go", async () => {
    const other = await harness.child([], env);
    const key = await child.call("put", 64 * MIB, 5);
    await other.call("keepView", key);
    const before = harness.server.stats().usedBytes;
    harness.server.free([key]);
    expect(harness.server.stats().usedBytes).toBe(before);
    for (let round = 0; round < 8; round++) harness.server.free([await child.call("put", 16 * MIB, 9)]);
    expect(await other.call("keptIsAll", 5)).toBe(true);
    await other.call("dropView");
    await until(
      () => harness.server.stats().pinnedBytes,
      (bytes) => bytes < 64 * MIB,
    );
    await other.kill("SIGKILL");
  });

  it("a child process started while large dirty views live does not get their mappings", async () => {
    const result = await child.call("spawnWhileViewsLive");
    expect(result.parent).toBe(true);
    expect(result.inherited).toBe(0);
    expect(result.kept).toBeGreaterThan(0);
  });

  it("everything that views held comes back once they are collected", async () => {
    await child.call("dropView");
    await until(
      () => harness.server.stats().pinnedBytes,
      (bytes) => bytes === 0,
    );
  });

  it("an 800 MB object is mapped in a few milliseconds, not copied", async () => {
    await using big = await startHarness({ capacityBytes: 1024 * MIB });
    const worker = await big.child(["--max-old-space-size=65536"], env);
    const key = await worker.call("put", 800 * MIB, 3);
    const times: number[] = [];
    for (let round = 0; round < 5; round++) times.push((await worker.call("timeOfGet", key)).tookMs);
    // A copy takes at least 40.
    expect(Math.min(...times)).toBeLessThan(15);
  });
});
