/** Programs that make functions without end: workers forget those that can be called no more. */
import { get, init, remote, shutdown } from "mobula";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "../eventually.ts";

const MIB = 2 ** 20;
const FUNCTIONS = 64;

beforeAll(async () => {
  await init({ resources: { cpu: 1 } });
});
afterAll(() => shutdown());

const workerBytes = remote(async () => {
  const { setFlagsFromString } = await import("node:v8");
  const { runInNewContext } = await import("node:vm");
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
});

const makeFunction = (number: number) => {
  const text = `${number}`.padEnd(MIB);
  return remote(() => text.length);
};

test("a worker keeps none of the functions that were called once and collected, and all that can be called", async () => {
  const before = await get(workerBytes.remote());
  const kept = makeFunction(0);
  expect(await get(kept.remote())).toBe(MIB);
  for (let number = 1; number <= FUNCTIONS; number++) expect(await get(makeFunction(number).remote())).toBe(MIB);
  let grown = 0;
  await eventually(
    async () => {
      globalThis.gc?.();
      grown = (await get(workerBytes.remote())) - before;
      return grown < (FUNCTIONS / 4) * MIB;
    },
    () => `the worker has grown by ${grown} bytes`,
  );
  expect(await get(kept.remote())).toBe(MIB);
}, 60_000);
