import { get, init, type ObjectRef, remote, shutdown, wait } from "mobula";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newFolder } from "../new-folder.ts";
import { blockUntil, note, notes, raise, raised } from "./helpers.ts";

const COMPUTES_MS = 2_500;

beforeAll(async () => {
  await init({ objectStoreBytes: 64 * 2 ** 20, resources: { cpu: 2 } });
});
afterAll(() => shutdown());

/** Nothing of the event loop runs meanwhile. */
function computeFor(ms: number): number {
  const until = performance.now() + ms;
  let rounds = 0;
  while (performance.now() < until) rounds++;
  return rounds;
}

const read = remote((value: number) => value);
const square = remote((value: number) => value * value);
const sum = remote((...values: number[]) => values.reduce((total, value) => total + value, 0));

test("a driver that submits a graph of three stages and 1,000 tasks and then computes finds it done", async () => {
  // One call, so that the functions are known to the workers; the graph itself is not.
  await get(sum.remote(square.remote(read.remote(2))));
  const first = Array.from({ length: 450 }, (_, at) => read.remote(at));
  const second = first.map((ref) => square.remote(ref));
  const third: ObjectRef<number>[] = [];
  for (let at = 0; at < 450; at += 4.5) {
    third.push(sum.remote(...(second.slice(Math.round(at), Math.round(at + 4.5)) as unknown as number[])));
  }
  expect(first.length + second.length + third.length).toBe(1_000);
  expect(computeFor(COMPUTES_MS)).toBeGreaterThan(0);
  const { ready } = await wait(third, { numReturns: third.length, timeoutMs: 100 });
  expect(ready).toHaveLength(third.length);
  const total = (await get(third)).reduce((left, right) => left + right, 0);
  expect(total).toBe((449 * 450 * 899) / 6);
});

test("retries and deadlines are kept while the driver computes", async () => {
  const folder = newFolder();
  const failing = remote(
    (where: string) => {
      note(where, String(Date.now()));
      throw new Error("again");
    },
    { retryExceptions: true, retryDelayMs: 100, maxRetries: 3 },
  ).remote(folder);
  const endless = remote(
    () => {
      for (;;);
    },
    { timeoutMs: 300 },
  ).remote();
  const after = remote((_value: unknown) => "not run").remote(endless);
  computeFor(COMPUTES_MS);
  const { ready } = await wait([failing, endless, after], { numReturns: 3, timeoutMs: 100 });
  expect(ready).toHaveLength(3);
  const times = notes(folder).map(Number);
  expect(times).toHaveLength(4);
  expect((times[3] ?? 0) - (times[0] ?? 0)).toBeLessThan(COMPUTES_MS);
  for (const ref of [failing, endless, after]) await expect(get(ref)).rejects.toThrow();
});

test("a parent that has its child's result and computes holds no CPU of the child's", async () => {
  const folder = newFolder();
  const parent = remote(async (where: string) => {
    const value = await get(square.remote(3));
    // The node hears that it goes on, and nothing after that.
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
    raise(where, "computes");
    blockUntil(where, "go");
    return value;
  });
  const computing = parent.remote(folder);
  await raised(folder, "computes");
  expect(await get(square.remote(4))).toBe(16);
  raise(folder, "go");
  expect(await get(computing)).toBe(9);
});
