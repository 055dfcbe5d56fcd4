import assert from "node:assert/strict";
import { create, get, type ObjectRef, put, release, remote } from "mobula";
import type { Workload } from "../harness/protocol.ts";
import { summarise } from "../harness/statistics.ts";
import { nowSeconds, repeat } from "../harness/timing.ts";

const numbers = (bytes: number): Float64Array => {
  const array = new Float64Array(bytes / 8);
  for (let index = 0; index < array.length; index += 1) array[index] = index;
  return array;
};

const lastOf = (array: Float64Array): number => array[array.length - 1] ?? Number.NaN;

const medianOf = (seconds: readonly number[]): number => {
  const summary = summarise(seconds);
  if (summary === undefined) throw new Error("nothing was measured");
  return summary.median;
};

const WARMING_PUTS_MAX = 110;
/** For one process to have written to the whole store: Ray's rates settle when it has filled it about twice. */
const putsToWarm = (storeBytes: number, bytes: number): number =>
  Math.min(WARMING_PUTS_MAX, 2 * Math.ceil(storeBytes / bytes) + 1);

const makeRefs = remote((count: number) => Array.from({ length: count }, () => put(1)));

async function timedGets(ref: ObjectRef<Float64Array>, count: number, last: number): Promise<number[]> {
  const times: number[] = [];
  for (let index = 0; index < count; index += 1) {
    const start = nowSeconds();
    const array = await get(ref);
    times.push(nowSeconds() - start);
    assert.equal(array[array.length - 1], last);
  }
  return times;
}

const getInWorker = remote(async (refs: ObjectRef<Float64Array>[], count: number, last: number) => {
  const [ref] = refs;
  if (ref === undefined) throw new Error("called without a ref");
  return timedGets(ref, count, last);
});

class Putter {
  readonly #array: Float64Array;

  constructor(bytes: number) {
    this.#array = numbers(bytes);
  }

  /** Puts the array `count` times, each time with another last number, and says how many it found in the store. */
  async putMany(count: number): Promise<number> {
    let ref: ObjectRef<Float64Array> | undefined;
    for (let index = 0; index < count; index += 1) {
      if (ref !== undefined) release(ref);
      this.#array[this.#array.length - 1] = index;
      ref = put(this.#array);
    }
    if (ref === undefined) return 0;
    const stored = await get(ref);
    release(ref);
    return lastOf(stored) + 1;
  }
}
const RemotePutter = remote(Putter);
const PUTTERS = 4;

export const objectWorkloads: Record<string, Workload> = {
  "put-small": ({ seconds, count }) =>
    repeat(seconds, async () => {
      let ref = put(0);
      for (let value = 1; value < count; value += 1) ref = put(value);
      assert.equal(await get(ref), count - 1);
      return count;
    }),

  async "get-small"({ seconds, count }) {
    const ref = put(7);
    return repeat(seconds, async () => {
      let total = 0;
      for (let index = 0; index < count; index += 1) total += await get(ref);
      assert.equal(total, 7 * count);
      return count;
    });
  },

  async "get-containing-refs"({ seconds, count }) {
    const containing = makeRefs.remote(count);
    const outcome = await repeat(seconds, async () => {
      assert.equal((await get(containing)).length, count);
      return 1;
    });
    const last = (await get(containing))[count - 1];
    assert.ok(last !== undefined && (await get(last)) === 1);
    return outcome;
  },

  async "put-cold"({ bytes }) {
    const array = numbers(bytes);
    const start = nowSeconds();
    const ref = put(array);
    const seconds = nowSeconds() - start;
    assert.equal(lastOf(await get(ref)), lastOf(array));
    release(ref);
    return { seconds, count: 1, bytes: array.byteLength };
  },

  async "put-warm"({ count, bytes }, { storeBytes }) {
    const array = numbers(bytes);
    for (let index = 0; index < putsToWarm(storeBytes, bytes); index += 1) release(put(array));
    const times: number[] = [];
    for (let index = 0; index < count; index += 1) {
      array[array.length - 1] = index;
      const start = nowSeconds();
      const ref = put(array);
      times.push(nowSeconds() - start);
      // Only the last is read back: a view pins its object until it is collected, and the store would not stay warm.
      if (index === count - 1) assert.equal(lastOf(await get(ref)), index);
      release(ref);
    }
    return { seconds: medianOf(times), count: 1, bytes: array.byteLength };
  },

  async "create-in-place"({ count, bytes }) {
    let seconds = 0;
    for (let index = 0; index < count; index += 1) {
      const start = nowSeconds();
      const writable = create(bytes);
      const created = nowSeconds();
      writable.view.fill(index + 1);
      const filled = nowSeconds();
      const ref = writable.seal();
      seconds += created - start + (nowSeconds() - filled);
      if (index === count - 1) {
        const stored = await get(ref);
        assert.equal(stored.length, bytes);
        assert.equal(stored[bytes - 1], index + 1);
      }
      release(ref);
    }
    return { seconds, count, bytes: count * bytes };
  },

  async "get-large-driver"({ count, bytes }) {
    const array = numbers(bytes);
    const ref = put(array);
    const times = await timedGets(ref, count, lastOf(array));
    release(ref);
    return { seconds: medianOf(times), count: 1, bytes: array.byteLength };
  },

  async "get-large-worker"({ count, bytes }) {
    const array = numbers(bytes);
    const ref = put(array);
    const times = await get(getInWorker.remote([ref], count, lastOf(array)));
    assert.equal(times.length, count);
    release(ref);
    return { seconds: medianOf(times), count: 1, bytes: array.byteLength };
  },

  async "put-four-processes"({ count, bytes }, { storeBytes }) {
    const putters = Array.from({ length: PUTTERS }, () => RemotePutter.remote(bytes));
    // Each process has page tables of its own, and each must have seen the whole store.
    const warmUp = putsToWarm(storeBytes, bytes);
    await get(putters.map((putter) => putter.putMany.remote(warmUp)));
    const start = nowSeconds();
    const made = await get(putters.map((putter) => putter.putMany.remote(count)));
    const seconds = nowSeconds() - start;
    assert.deepEqual(
      made,
      Array.from({ length: PUTTERS }, () => count),
    );
    return { seconds, count: count * PUTTERS, bytes: count * PUTTERS * bytes };
  },
};
