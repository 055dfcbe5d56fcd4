/** A store that is short of room moves what is cold to nodes that have plenty, before it writes to disk. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { get, nodes, type ObjectRef, put, remote, wait } from "../../src/api/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";

const MIB = 2 ** 20;
const STORE = 32 * MIB;
let cluster: LocalCluster;
const spec = (name: string, objectStoreBytes = STORE) => ({
  ...{ name, resources: { cpu: 2, [name]: 4 }, objectStoreBytes },
});
const on = (name: string) => ({ numCpus: 0, resources: { [name]: 0.1 } });

beforeAll(async () => {
  cluster = await LocalCluster.start({
    nodes: [spec("one"), spec("two", 4 * STORE)],
    head: { objectStoreBytes: 8 * MIB },
  });
  const [one] = cluster.nodes;
  if (one) await cluster.connect({ node: one });
});
afterAll(() => cluster.stop());

async function storeOf(name: string) {
  const node = (await nodes()).find((each) => each.name === name);
  if (!node) throw new Error(`no node ${name}`);
  return node.objectStore;
}
/** Values that were read are let go of when their buffers are collected. */
async function storesAreEmpty(): Promise<void> {
  await eventually(async () => {
    globalThis.gc?.();
    const living = (await nodes()).filter(({ state }) => state !== "dead");
    return living.every(({ objectStore: { usedBytes, spilledBytes } }) => usedBytes + spilledBytes === 0);
  }, "all stores are empty");
}
const bytesOf = (index: number): Uint8Array => new Uint8Array(2 * 2 ** 20).fill(index + 1);
const sums = async (refs: readonly ObjectRef<Uint8Array>[]): Promise<number[]> => {
  const first: number[] = [];
  for (const ref of refs) {
    const value = await get(ref);
    first.push(value[0] === value[2 * MIB - 1] ? (value[0] ?? 0) : -1);
  }
  return first;
};
/** So many results of 2 MiB, made on node one. */
async function fill(count: number): Promise<ObjectRef<Uint8Array>[]> {
  const make = remote(bytesOf).options(on("one"));
  const refs = Array.from({ length: count }, (_, index) => make.remote(index));
  await wait(refs, { numReturns: count });
  return refs;
}

test("a working set of one and a half stores needs no disk while another node is idle, and is read and freed as ever", async () => {
  const refs = await fill(24);
  await eventually(async () => (await storeOf("two")).usedBytes > 8 * MIB, "the other has some of it");
  const expected = refs.map((_, index) => index + 1);
  expect(await sums(refs)).toEqual(expected);
  expect(await sums(refs)).toEqual(expected);
  expect((await storeOf("one")).spilledBytes).toBe(0);
  // Also from the node that keeps them, and from a third.
  const read = remote(async (all: readonly ObjectRef<Uint8Array>[]) => (await get(all)).map((value) => value[7]));
  expect(await get(read.options(on("two")).remote(refs.slice(0, 6)))).toEqual(expected.slice(0, 6));
  for (const ref of refs) ref[Symbol.dispose]();
  await storesAreEmpty();
}, 60_000);

test("what was put stays on the machine that has put it, for it cannot be made again", async () => {
  const before = (await storeOf("two")).usedBytes;
  const refs = Array.from({ length: 24 }, (_, index) => put(bytesOf(index)));
  expect(await sums(refs)).toEqual(refs.map((_, index) => index + 1));
  await eventually(async () => (await storeOf("one")).spilledBytes > 0, "some of it is on disk");
  expect((await storeOf("two")).usedBytes).toBe(before);
  for (const ref of refs) ref[Symbol.dispose]();
  await storesAreEmpty();
}, 60_000);

test("when the node that has taken some is killed, those are made again", async () => {
  const refs = await fill(24);
  await eventually(async () => (await storeOf("two")).usedBytes > 8 * MIB, "the other has some of it");
  const two = cluster.nodes.find(({ name }) => name === "two");
  if (two) await cluster.kill(two);
  expect(await sums(refs)).toEqual(refs.map((_, index) => index + 1));
  for (const ref of refs) ref[Symbol.dispose]();
  await storesAreEmpty();
}, 60_000);

test("what is more than others have plenty of room for goes to disk, and nothing moves to and fro", async () => {
  await cluster.addNode(spec("three", 4 * STORE));
  const refs = await fill(90);
  expect(await sums(refs)).toEqual(refs.map((_, index) => index + 1));
  await eventually(async () => (await storeOf("one")).spilledBytes > 0, "some of it is on disk");
  // The other is not filled for this one's sake.
  expect((await storeOf("three")).usedBytes).toBeLessThan(4 * STORE * 0.75);
  for (const ref of refs) ref[Symbol.dispose]();
  await storesAreEmpty();
}, 60_000);
