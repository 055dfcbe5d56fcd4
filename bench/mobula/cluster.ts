import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { availableResources, clusterResources, get, nodes, placementGroup, put, release, remote, wait } from "mobula";
import { LocalCluster } from "mobula/testing";
import type { Workload } from "../harness/protocol.ts";
import { summarise } from "../harness/statistics.ts";
import { nowSeconds } from "../harness/timing.ts";
import { BenchCluster, type NodeParts } from "./cluster-nodes.ts";
import { repeatAndCheck, runOnce } from "./tasks.ts";

const MIB = 2 ** 20;
const SMALL_STORE_BYTES = 128 * MIB;

const nodeAt = (index: number, storeBytes = SMALL_STORE_BYTES): NodeParts => ({
  name: `n${index}`,
  cpus: 1,
  storeBytes,
  resources: { [`n${index}`]: 1 },
});

async function clusterOf(
  count: number,
  storeBytes?: number,
  options?: Parameters<typeof BenchCluster.start>[1],
): Promise<BenchCluster> {
  const cluster = await BenchCluster.start(nodeAt(0, storeBytes), options);
  for (let index = 1; index < count; index += 1) await cluster.add(nodeAt(index, storeBytes));
  return cluster;
}

const lengthOf = remote((bytes: Uint8Array) => bytes.length);
const warmUp = remote(() => 0);
const make = remote((bytes: number, seed: number) => new Uint8Array(bytes).fill(seed));
class Counter {
  private count = 0;
  add(): number {
    this.count += 1;
    return this.count;
  }
}
const newCounter = remote(Counter, { numCpus: 1 });
const at = (index: number) => ({ numCpus: 0, resources: { [`n${index}`]: 0.01 } });

async function untilStoresAreEmpty(): Promise<void> {
  while ((await nodes()).some(({ objectStore }) => objectStore.usedBytes > 0)) await delay(20);
}

const TRANSFERS = 4;

/** `count` tasks over `nodes` nodes with one CPU each. */
const tasksOver =
  (nodeCount: number, strategy: "default" | "spread"): Workload =>
  async ({ seconds, count, bytes }) => {
    const cluster = await clusterOf(bytes === 0 ? nodeCount : bytes);
    await cluster.connect();
    const task = runOnce.options({ schedulingStrategy: strategy });
    const batch = () => get(Array.from({ length: count }, () => task.remote()));
    // The rate of a program that has run for a while is meant: workers that have just started are still being compiled.
    await repeatAndCheck(seconds, batch);
    const outcome = await repeatAndCheck(seconds, batch);
    return { ...outcome, cleanup: cluster.stop };
  };

/** `count` placement groups at a time over 5 nodes with one CPU each: made, waited for, removed. */
const groupsOver =
  (bundleCount: number, strategy: "PACK" | "SPREAD"): Workload =>
  async ({ seconds, count, bytes }) => {
    const cluster = await clusterOf(bytes === 0 ? 5 : bytes);
    await cluster.connect();
    const bundles = Array.from({ length: bundleCount }, () => ({ cpu: 0.01 }));
    const round = async (): Promise<number> => {
      const groups = Array.from({ length: count }, () => placementGroup(bundles, { strategy }));
      await get(groups.map((group) => group.ready()));
      await Promise.all(groups.map((group) => group.remove()));
      return groups.length;
    };
    await round();
    const start = nowSeconds();
    let made = 0;
    let elapsed = 0;
    while (elapsed < seconds || made === 0) {
      made += await round();
      elapsed = nowSeconds() - start;
    }
    // What they had is free.
    assert.equal((await availableResources()).cpu, (await clusterResources()).cpu);
    return { seconds: elapsed, count: made, bytes: 0, cleanup: cluster.stop };
  };

/** To `count` other nodes at once; the first time warms the stores. */
const transfer =
  (options?: { readonly tls: boolean }): Workload =>
  async ({ count, bytes }) => {
    const cluster = await clusterOf(count + 1, Math.max(SMALL_STORE_BYTES, 1.4 * bytes), options);
    await cluster.connect();
    const readers = Array.from({ length: count }, (_, index) => index + 1);
    await get(readers.map((index) => warmUp.options(at(index)).remote()));
    const times: number[] = [];
    for (let round = 0; round <= TRANSFERS; round += 1) {
      const ref = put(new Uint8Array(bytes).fill(round));
      const start = nowSeconds();
      const lengths = await get(readers.map((index) => lengthOf.options(at(index)).remote(ref)));
      times.push(nowSeconds() - start);
      assert.deepEqual(
        lengths,
        readers.map(() => bytes),
      );
      release(ref);
      await untilStoresAreEmpty();
    }
    const seconds = summarise(times.slice(1))?.median ?? Number.NaN;
    return { seconds, count, bytes: bytes * count, cleanup: cluster.stop };
  };

async function untilDead(name: string): Promise<void> {
  while (!(await nodes()).some((node) => node.name === name && node.state === "dead")) await delay(5);
}

export const clusterWorkloads: Record<string, Workload> = {
  async "cluster-head"() {
    const start = nowSeconds();
    const cluster = await clusterOf(1);
    return { seconds: nowSeconds() - start, count: 1, bytes: 0, cleanup: cluster.stop };
  },

  async "cluster-join"({ count }) {
    // By a program, as Ray's `Cluster.add_node` is: the command line is a process more.
    const spec = { resources: { cpu: 1 }, objectStoreBytes: SMALL_STORE_BYTES };
    const cluster = await LocalCluster.start({ nodes: [spec], network: "direct" });
    const start = nowSeconds();
    for (let index = 1; index <= count; index += 1) await cluster.addNode(spec);
    return { seconds: (nowSeconds() - start) / count, count, bytes: 0, cleanup: () => cluster.stop() };
  },

  "cluster-transfer": transfer(),
  "cluster-transfer-tls": transfer({ tls: true }),
  "cluster-transfer-4": transfer(),
  "cluster-tasks": tasksOver(5, "default"),
  "cluster-tasks-spread": tasksOver(5, "spread"),
  "cluster-groups-many": groupsOver(1, "PACK"),
  "cluster-groups-one": groupsOver(1, "PACK"),
  "cluster-groups-spread": groupsOver(4, "SPREAD"),

  async "cluster-death"() {
    const cluster = await clusterOf(2);
    await cluster.connect();
    await get(warmUp.options(at(1)).remote());
    const start = nowSeconds();
    cluster.kill("n1");
    await untilDead("n1");
    return { seconds: nowSeconds() - start, count: 1, bytes: 0, cleanup: cluster.stop };
  },

  async "cluster-restart"({ count }) {
    const cluster = await LocalCluster.start({ nodes: count, network: "direct" });
    await cluster.connect();
    await get(warmUp.remote());
    await cluster.killHead();
    const start = nowSeconds();
    await cluster.restartHead();
    // Only control makes an actor; it asks a node that has come back for its process.
    const counter = newCounter.remote();
    const value = await get(counter.add.remote());
    const seconds = nowSeconds() - start;
    assert.equal(value, 1);
    return { seconds, count: 1, bytes: 0, cleanup: () => cluster.stop() };
  },

  async "cluster-rebuild"({ count, bytes }) {
    const cluster = await clusterOf(1);
    const maker = (name: string): NodeParts => ({ ...nodeAt(1), name, cpus: 1, resources: { makers: 1 } });
    await cluster.add(maker("first"));
    await cluster.connect();
    const task = make.options({ numCpus: 0, resources: { makers: 0.01 } });
    const refs = Array.from({ length: count }, (_, index) => task.remote(bytes, index));
    await wait(refs, { numReturns: count });
    await cluster.add(maker("second"));
    await get(warmUp.options({ numCpus: 0, resources: { makers: 1 } }).remote());
    cluster.kill("first");
    await untilDead("first");
    const start = nowSeconds();
    const made = await get(refs);
    const seconds = nowSeconds() - start;
    for (const [index, value] of made.entries()) assert.deepEqual([value.length, value[0]], [bytes, index]);
    return { seconds, count, bytes: 0, cleanup: cluster.stop };
  },
};
