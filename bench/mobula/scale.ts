/** Workloads whose size, not whose number of repetitions, is the point. */
import assert from "node:assert/strict";
import { get, put, type RemoteFunction, remote } from "mobula";
import type { Workload } from "../harness/protocol.ts";
import { nowSeconds } from "../harness/timing.ts";
import { runOnce } from "./tasks.ts";

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

const addAll = remote((...values: number[]) => values.reduce((sum, value) => sum + value, 0));
const returnMany = remote((count: number) => Array.from({ length: count }, (_, index) => index));
const produce = remote(function* (count: number) {
  for (let item = 0; item < count; item += 1) yield item;
});
const descend: RemoteFunction<(levels: number) => Promise<number>> = remote(async (levels: number) =>
  levels === 0 ? 0 : 1 + (await get(descend.remote(levels - 1))),
);

async function receive(count: number): Promise<number[]> {
  const received: number[] = [];
  for await (const ref of produce.remote(count)) received.push(await get(ref));
  return received;
}

export const scaleWorkloads: Record<string, Workload> = {
  async "ref-arguments"({ count }) {
    assert.equal(await get(addAll.remote(1, 2)), 3);
    const refs = range(count).map((value) => put(value));
    const start = nowSeconds();
    const total = await get(addAll.remote(...refs));
    const seconds = nowSeconds() - start;
    assert.equal(total, (count * (count - 1)) / 2);
    return { seconds, count, bytes: 0 };
  },

  async "many-returns"({ count }) {
    const many = returnMany.options({ numReturns: count });
    assert.ok((await get(runOnce.remote())) > 0);
    const start = nowSeconds();
    const values = await get(many.remote(count));
    const seconds = nowSeconds() - start;
    assert.deepEqual(values, range(count));
    return { seconds, count, bytes: 0 };
  },

  async stream({ count }) {
    assert.deepEqual(await receive(2), [0, 1]);
    const start = nowSeconds();
    const received = await receive(count);
    const seconds = nowSeconds() - start;
    assert.deepEqual(received, range(count));
    return { seconds, count, bytes: 0 };
  },

  async nested({ count }) {
    const start = nowSeconds();
    const reached = await get(descend.remote(count));
    const seconds = nowSeconds() - start;
    assert.equal(reached, count);
    return { seconds, count, bytes: 0 };
  },
};
