/** Tasks that eat memory end alone, and the error says how much they used. */
import { get, init, nodes, put, remote, runtimeContext, shutdown } from "mobula";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { newFolder } from "../new-folder.ts";
import { raise, raised } from "../tasks/helpers.ts";

const MIB = 2 ** 20;

beforeAll(async () => {
  await init({
    resources: { cpu: 2 },
    objectStoreBytes: 64 * MIB,
    // The workers' own memory, so that the test neither fills the machine nor depends on what else runs on it.
    memoryMonitor: { limitBytes: 1_200 * MIB, threshold: 0.9, intervalMs: 100 },
  });
});
afterAll(() => shutdown());

const failureOf = (promise: Promise<unknown>): Promise<Error & { code: string; kind: string }> =>
  promise.then(
    (value) => {
      throw new Error(`it was fulfilled with ${String(value)}`);
    },
    (error) => error,
  );

/** A gigabyte a second, and never more than 3 GiB if nothing ends it. */
const eat = async (): Promise<number> => {
  const eaten: Uint8Array[] = [];
  for (let step = 0; step < 48; step++) {
    eaten.push(new Uint8Array(64 * 2 ** 20).fill(step));
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
  return eaten.length;
};

describe("the memory monitor", () => {
  test("a task that eats a gigabyte a second dies alone; the one beside it and the store go on", async () => {
    const folder = newFolder();
    const beside = remote(async (where: string) => {
      raise(where, "runs");
      await raised(where, "go");
      return process.pid;
    });
    const stored = put(new Uint8Array(8 * MIB).fill(3));
    const companion = beside.remote(folder);
    await raised(folder, "runs");
    const error = await failureOf(get(remote(eat, { maxRetries: 0, name: "eater" }).remote()));
    expect(error).toMatchObject({ code: "OUT_OF_MEMORY", kind: "exhausted" });
    expect(error.message).toMatch(/eater was ended on worker/);
    const used = /used (\d+) MiB|used ([\d.]+) GiB/.exec(error.message);
    const usedBytes = used?.[1] ? Number(used[1]) * MIB : Number(used?.[2]) * 1024 * MIB;
    expect(usedBytes).toBeGreaterThan(500 * MIB);
    expect(usedBytes).toBeLessThan(2_000 * MIB);
    expect(error.message).toMatch(/Use less memory at a time/);
    raise(folder, "go");
    expect(await get(companion)).toBeGreaterThan(0);
    expect((await get(stored))[MIB]).toBe(3);
    expect((await nodes())[0]?.state).toBe("alive");
  });

  test("it is retried after a pause while retries last", async () => {
    const once = remote(
      async () => {
        const { attempt } = runtimeContext();
        const eaten: Uint8Array[] = [];
        for (let step = 0; attempt === 0 && step < 48; step++) {
          eaten.push(new Uint8Array(64 * 2 ** 20).fill(step));
          await new Promise((resolve) => setTimeout(resolve, 60));
        }
        return attempt;
      },
      { maxRetries: 1 },
    );
    const before = performance.now();
    expect(await get(once.remote())).toBe(1);
    expect(performance.now() - before).toBeGreaterThan(500);
  });

  test("V8's heap limit counts as out of memory", async () => {
    const fill = remote(
      () => {
        const kept: object[] = [];
        for (;;) kept.push({ index: kept.length, text: `${kept.length}` });
      },
      { maxRetries: 0, name: "filler", runtimeEnv: { nodeOptions: ["--max-old-space-size=64"] } },
    );
    const error = await failureOf(get(fill.remote()));
    expect(error).toMatchObject({ code: "OUT_OF_MEMORY" });
    expect(error.message).toMatch(/filler was ended on worker .* reached the heap limit of V8/s);
  });
});
