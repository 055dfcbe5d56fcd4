/** What a program may do, one operation each. An operation checks every result that it gets, and lets go of everything. */
import assert from "node:assert/strict";
import {
  asCompleted,
  cancel,
  get,
  isError,
  map,
  nodes,
  type ObjectRef,
  placementGroup,
  put,
  putAsync,
  release,
  remote,
  wait,
} from "mobula";
import type { Random } from "./random.ts";
import {
  checksum,
  countTo,
  ExpectedError,
  fail,
  Ledger,
  pattern,
  putInside,
  scribble,
  sleepUntilCancelled,
  spinForever,
  sum,
  sumOfRefs,
  tree,
} from "./work.ts";

export interface LoadContext {
  readonly random: Random;
  /** Workers die while it runs. */
  readonly withKills: boolean;
}

export type Operation = (context: LoadContext) => Promise<void>;

const MIB = 2 ** 20;
/** Of each: all that lanes may ask for at the same time is less than two CPUs. */
const BUNDLE_CPU = 0.1;
/** Tasks are run again as often as their workers are killed; actors are restarted, empty. */
const forever = { maxRetries: -1 } as const;
const remoteSum = remote(sum, forever);
const remoteChecksum = remote(checksum, forever);
const remoteScribble = remote(scribble, forever);
const remotePattern = remote(pattern, forever);
const remoteTree = remote(tree, forever);
const remoteSumOfRefs = remote(sumOfRefs, forever);
const remotePutInside = remote(putInside, forever);
const remoteCount = remote(countTo, forever);
const remoteFail = remote(fail, forever);
const remoteSleep = remote(sleepUntilCancelled, forever);
const remoteSpin = remote(spinForever, forever);
const RemoteLedger = remote(Ledger, { maxRestarts: -1, maxTaskRetries: -1 });

/** Mostly small, sometimes several pages of the store. */
function size(random: Random): number {
  return random.chance(0.3) ? random.between(100 * 1024, 3 * MIB) : random.between(0, 100 * 1024);
}

/** Sometimes at once, otherwise when the garbage is collected. */
function letGo(random: Random, ...refs: readonly ObjectRef<unknown>[]): void {
  if (random.chance(0.7)) release(...refs);
}

async function rejects(promise: Promise<unknown>, code: string): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    if (isError(error, code)) return error;
    throw error;
  }
  throw new assert.AssertionError({ message: `it was expected to reject with ${code}` });
}

/** What was lost with a worker that owned it, or ran it and must not run it twice. */
function isLoss(error: unknown): boolean {
  return isError(error, "OWNER_DIED") || isError(error, "OBJECT_LOST") || isError(error, "ACTOR_UNAVAILABLE");
}

async function orLost(context: LoadContext, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const { cause } = error as { cause?: unknown };
    if (!context.withKills || !(isLoss(error) || isLoss(cause))) throw error;
  }
}

export const operations: Readonly<Record<string, Operation>> = {
  async "small tasks"({ random }) {
    const count = random.between(1, 200);
    const refs = Array.from({ length: count }, (_, index) => remoteSum.remote(index, 1));
    assert.deepEqual(
      await get(refs),
      Array.from({ length: count }, (_, index) => index + 1),
    );
    letGo(random, ...refs);
  },

  async "a graph of tasks"({ random }) {
    let layer = Array.from({ length: random.between(2, 16) }, (_, index) => remoteSum.remote(index));
    const expected = (layer.length * (layer.length - 1)) / 2;
    while (layer.length > 1) {
      const next: typeof layer = [];
      for (let at = 0; at < layer.length; at += 2) next.push(remoteSum.remote(...layer.slice(at, at + 2)));
      letGo(random, ...layer);
      layer = next;
    }
    assert.equal(await get(layer[0] ?? remoteSum.remote(0)), expected);
    letGo(random, ...layer);
  },

  async "nested tasks"({ random }) {
    const depth = random.between(1, 3);
    const ref = remoteTree.remote(depth, 2);
    assert.equal(await get(ref), 2 ** depth);
    letGo(random, ref);
  },

  async "large arguments and results"({ random }) {
    const [bytes, seed] = [size(random), random.between(0, 255)];
    const made = remotePattern.remote(bytes, seed);
    const checked = remoteChecksum.remote(made);
    const expected = checksum(pattern(bytes, seed));
    assert.equal(await get(checked), expected);
    assert.equal(checksum(await get(made)), expected);
    letGo(random, made, checked);
  },

  async "an object for all nodes"({ random }) {
    // Several of these do not fit into a store at once: copies go while others read them.
    const bytes = random.between(6 * MIB, 16 * MIB);
    const seed = random.between(0, 255);
    const ref = await putAsync(pattern(bytes, seed));
    const spread = remoteChecksum.options({ schedulingStrategy: "spread", numCpus: 0.1 });
    const refs = Array.from({ length: random.between(4, 10) }, () => spread.remote(ref));
    const expected = checksum(pattern(bytes, seed));
    assert.deepEqual(
      await get(refs),
      refs.map(() => expected),
    );
    letGo(random, ref, ...refs);
  },

  async "objects are nobody else's to change"({ random }) {
    const bytes = size(random);
    const stored = random.chance(0.5) ? put(pattern(bytes, 7)) : await putAsync(pattern(bytes, 7));
    const expected = checksum(pattern(bytes, 7));
    const refs = [remoteScribble.remote(stored), remoteScribble.remote(stored)];
    assert.deepEqual(await get(refs), [expected, expected]);
    const own = await get(stored);
    own.fill(1);
    assert.equal(checksum(await get(stored)), expected);
    letGo(random, stored, ...refs);
  },

  async "refs inside values"({ random }) {
    const numbers = Array.from({ length: random.between(1, 50) }, () => random.between(0, 1_000));
    const refs = numbers.map((number) => (random.chance(0.5) ? put(number) : remoteSum.remote(number)));
    const container = put({ refs });
    const result = remoteSumOfRefs.remote(refs);
    assert.equal(await get(result), sum(...numbers));
    letGo(random, ...refs);
    const { refs: again } = await get(container);
    assert.deepEqual(await get([...again]), numbers);
    letGo(random, container, result, ...again);
  },

  async "refs that outlive their makers"(context) {
    const { random } = context;
    const bytes = size(random);
    await orLost(context, async () => {
      // By itself a node has nobody to keep a copy, and would say so.
      const copies = random.chance(0.4) && (await nodes()).length > 1 ? random.between(2, 3) : 1;
      const ref = remotePutInside.remote(bytes, 3, copies);
      const [inner] = await get(ref);
      assert(inner);
      letGo(random, ref);
      assert.equal(checksum(await get(inner)), checksum(pattern(bytes, 3)));
      letGo(random, inner);
    });
  },

  async "a stream, read to its end"({ random }) {
    const items = random.between(0, 40);
    const bytes = random.chance(0.2) ? 200 * 1024 : 100;
    let seen = 0;
    for await (const value of remoteCount.remote(items, bytes).values()) {
      assert.equal(checksum(value), checksum(pattern(bytes, seen)));
      seen++;
    }
    assert.equal(seen, items);
  },

  async "a stream that is left"({ random }) {
    let left = random.between(1, 10);
    for await (const ref of remoteCount.remote(1_000_000, 1_000)) {
      assert.equal((await get(ref)).length, 1_000);
      release(ref);
      if (--left === 0) break;
    }
  },

  async "tasks that fail"({ random }) {
    const number = random.between(0, 1_000);
    const error = await rejects(get(remoteFail.remote(number)), "TASK_FAILED");
    const { cause } = error as { cause?: unknown };
    assert(cause instanceof ExpectedError);
    assert.equal(cause.number, number);
  },

  async "tasks that are cancelled"({ random }) {
    const ref = random.chance(0.8) ? remoteSleep.remote() : remoteSpin.remote();
    if (random.chance(0.7)) await wait([ref], { timeoutMs: random.between(0, 50) });
    await cancel(ref, { force: random.chance(0.2) });
    await rejects(get(ref), "TASK_CANCELLED");
    release(ref);
  },

  async "dropped at once"({ random }) {
    for (let count = random.between(1, 30); count > 0; count--) {
      const ref = remotePattern.remote(size(random), count);
      if (random.chance(0.5)) release(ref);
    }
  },

  async "as they complete"({ random }) {
    const refs = Array.from({ length: random.between(1, 40) }, (_, index) => remoteSum.remote(index));
    let total = 0;
    for await (const ref of asCompleted(refs)) {
      total += await get(ref);
      release(ref);
    }
    assert.equal(total, (refs.length * (refs.length - 1)) / 2);
  },

  async map({ random }) {
    const items = Array.from({ length: random.between(0, 100) }, (_, index) => index);
    const results: number[] = [];
    for await (const result of map(remoteSum, items, { concurrency: random.between(1, 8) })) results.push(result);
    assert.deepEqual(results, items);
  },

  async "a placement group"({ random }) {
    const bundles = Array.from({ length: random.between(1, 3) }, () => ({ cpu: BUNDLE_CPU }));
    const group = placementGroup(bundles, { strategy: random.pick(["PACK", "SPREAD"]) });
    try {
      await get(group.ready());
      const inside = { numCpus: BUNDLE_CPU, ...forever };
      const refs = bundles.map((_, bundleIndex) =>
        remote(sum, { ...inside, schedulingStrategy: { placementGroup: group, bundleIndex } }).remote(bundleIndex, 1),
      );
      assert.deepEqual(
        await get(refs),
        bundles.map((_, index) => index + 1),
      );
      letGo(random, ...refs);
    } finally {
      await group.remove();
    }
  },

  async "an actor of its own"(context) {
    const { random, withKills } = context;
    using ledger = RemoteLedger.options({ isolation: random.chance(0.5) ? "shared" : "process" }).remote();
    const count = random.between(1, 30);
    const refs = Array.from({ length: count }, (_, entry) => ledger.add.remote(entry));
    const sizes = await get(refs);
    const entries = await get(ledger.entries.remote());
    // A restarted ledger begins anew, and a repeated call adds twice; without deaths, nothing may be missing.
    if (withKills) for (const size of sizes) assert(size >= 1 && size <= 2 * count);
    else {
      assert.deepEqual(
        sizes,
        Array.from(sizes.keys(), (index) => index + 1),
      );
      assert.deepEqual(entries, Array.from(sizes.keys()));
    }
    letGo(random, ...refs);
  },

  async "an actor that keeps a ref"(context) {
    const { random, withKills } = context;
    const bytes = size(random);
    using ledger = RemoteLedger.remote();
    const stored = put(pattern(bytes, 9));
    await get(ledger.keep.remote([stored]));
    release(stored);
    const found = await get(ledger.checksumOfKept.remote());
    if (!withKills || found !== 0) assert.equal(found, checksum(pattern(bytes, 9)));
  },

  async "an actor that streams"(context) {
    const { random } = context;
    using ledger = RemoteLedger.remote();
    const items = random.between(0, 60);
    await orLost(context, async () => {
      const seen: number[] = [];
      for await (const item of ledger.stream.remote(items).values()) seen.push(item);
      assert.deepEqual(
        seen,
        Array.from({ length: items }, (_, item) => item),
      );
    });
  },
};
