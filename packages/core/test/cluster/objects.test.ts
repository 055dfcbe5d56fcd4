/** Stored objects over nodes: read, passed on and freed anywhere, and there while somebody has a copy or can make them again. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { get, nodes, put, release, remote, runtimeContext, wait } from "../../src/api/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";
import { Program } from "../failures/programs.ts";

const MIB = 2 ** 20;
let cluster: LocalCluster;

beforeAll(async () => {
  const node = (name: string) => ({ name, resources: { cpu: 2, [name]: 2 }, objectStoreBytes: 96 * MIB });
  cluster = await LocalCluster.start({ nodes: ["one", "two", "three"].map(node) });
  const [one] = cluster.nodes;
  if (one) await cluster.connect({ node: one });
});
afterAll(() => cluster.stop());

const on = (name: string) => ({ resources: { [name]: 1 } });
const make = remote((bytes: number, seed: number) => new Uint8Array(bytes).fill(seed));
const sum = remote((...parts: Uint8Array[]) => parts.map((part) => part.reduce((a, b) => a + b, 0)));

async function usedBytes(): Promise<Record<string, number>> {
  return Object.fromEntries(
    (await nodes())
      .filter(({ state }) => state === "alive")
      .map(({ name, objectStore }) => [name, objectStore.usedBytes]),
  );
}
const allFree = () =>
  eventually(async () => Object.values(await usedBytes()).every((bytes) => bytes === 0), "all stores are empty");

test("a result made on another node is what it was, and goes from every node with its last ref", async () => {
  const ref = make.options(on("two")).remote(10 * MIB, 7);
  const bytes = await get(ref);
  expect([bytes.length, bytes[0], bytes[10 * MIB - 1]]).toEqual([10 * MIB, 7, 7]);
  expect(await usedBytes()).toMatchObject({ one: expect.any(Number), two: expect.any(Number), three: 0 });
  release(ref);
  await eventually(async () => (await usedBytes()).two === 0, "the object goes");
});

test("an argument that was put here, and one made on a third node, are read by a task elsewhere", async () => {
  const here = put(new Uint8Array(2 * MIB).fill(1));
  const there = make.options(on("three")).remote(MIB, 2);
  expect(await get(sum.options(on("two")).remote(here, there))).toEqual([2 * MIB, 2 * MIB]);
  release(here, there);
});

test("a ref inside a value is read by whoever has come by it, though its owner never had the value", async () => {
  const maker = remote((bytes: number) => [put(new Uint8Array(bytes).fill(3))]);
  const [inner] = await get(maker.options(on("two")).remote(MIB));
  if (!inner) throw new Error("no ref came");
  const reader = remote(async (refs: (typeof inner)[]) => (await get(refs))[0]?.[5]);
  expect(await get(reader.options(on("three")).remote([inner]))).toBe(3);
  expect((await get(inner)).length).toBe(MIB);
  release(inner);
});

test("many readers of one object get it, each node once", async () => {
  const ref = put(new Uint8Array(8 * MIB).fill(1));
  const readers = ["two", "three"].flatMap((name) =>
    Array.from({ length: 4 }, () => sum.options(on(name)).remote(ref)),
  );
  expect(await get(readers)).toEqual(readers.map(() => [8 * MIB]));
  const used = await usedBytes();
  expect(used.two).toBeLessThan(16 * MIB);
  expect(used.three).toBeLessThan(16 * MIB);
  release(ref, ...readers);
});

test("copies make room for what is needed next, and are fetched again", async () => {
  const refs = Array.from({ length: 12 }, (_, index) => make.options(on("two")).remote(6 * MIB, index + 1));
  const first = (value: Uint8Array): number => value[0] ?? 0;
  const look = remote(first);
  for (let round = 0; round < 2; round++) {
    for (const [index, ref] of refs.entries()) {
      expect(await get(look.options(on("three")).remote(ref))).toBe(index + 1);
    }
  }
  const own = Array.from({ length: 12 }, () => make.options(on("three")).remote(6 * MIB, 9));
  for (const ref of own) expect(await get(look.options(on("three")).remote(ref))).toBe(9);
  release(...refs, ...own);
});

test("a task runs where its large arguments lie, and elsewhere when there is no room", async () => {
  const where = remote(async (_bytes: Uint8Array, ms: number) => {
    await new Promise((resolve) => setTimeout(resolve, ms));
    return runtimeContext().nodeId;
  });
  const three = cluster.nodes.find(({ name }) => name === "three")?.id;
  const large = make.options(on("three")).remote(16 * MIB, 1);
  await wait([large]);
  const isIdle = async (): Promise<boolean> =>
    (await nodes()).some(({ nodeId, available }) => nodeId === three && available.cpu === 2);
  await eventually(isIdle, "node three has given back what was leased");
  for (let turn = 0; turn < 3; turn++) expect(await get(where.remote(large, 0))).toBe(three);
  const many = await get(Array.from({ length: 5 }, () => where.remote(large, 1_500)));
  expect(new Set(many).size).toBeGreaterThan(1);
  release(large);
});

test("of a driver that is killed, with the node that it had brought, nothing is left anywhere", async () => {
  const program = new Program("../../cluster/fixtures/objects.ts", "leaves", { env: { ...cluster.env } });
  await program.line("all over");
  // Control hears of it with each node's next report.
  const used = async () => Object.values(await usedBytes()).reduce((a, b) => a + b, 0);
  await eventually(async () => (await used()) > 10 * MIB, "its objects are seen");
  const killedAt = performance.now();
  program.kill();
  await allFree();
  expect(performance.now() - killedAt).toBeLessThan(10_000);
}, 40_000);

test("nothing is left when all refs are gone", async () => {
  globalThis.gc?.();
  await allFree();
});

test("an object outlives the node that made it while another has a copy", async () => {
  const four = await cluster.addNode({ name: "four", resources: { cpu: 2, four: 2 }, objectStoreBytes: 96 * MIB });
  const ref = make.options({ ...on("four"), maxRetries: 0 }).remote(MIB, 5);
  const total = async (name: string): Promise<number | undefined> => (await get(sum.options(on(name)).remote(ref)))[0];
  expect(await total("two")).toBe(5 * MIB);
  await cluster.kill(four);
  expect(await total("three")).toBe(5 * MIB);
  expect((await get(ref))[0]).toBe(5);
});

test("what died with its only node is made again for its owner, for a task that waits to begin, and for whoever borrows it", async () => {
  const five = await cluster.addNode({
    name: "five",
    resources: { cpu: 2, five: 4, twice: 4 },
    objectStoreBytes: 96 * MIB,
  });
  const twice = { resources: { twice: 1 } };
  const [own, argument, borrowed] = [1, 2, 3].map((seed) => make.options(twice).remote(MIB, seed));
  if (!own || !argument || !borrowed) throw new Error("three were submitted");
  const { ready } = await wait([own, argument, borrowed], { numReturns: 3 });
  expect(ready.length).toBe(3);
  const first = remote(async (refs: (typeof own)[]) => (await get(refs))[0]?.[0]);
  const six = await cluster.addNode({ name: "six", resources: { cpu: 2, twice: 4 }, objectStoreBytes: 96 * MIB });
  await cluster.kill(five);
  const reader = first.options(on("three")).remote([borrowed]);
  expect((await get(own))[0]).toBe(1);
  expect((await get(sum.options(on("two")).remote(argument)))[0]).toBe(2 * MIB);
  expect(await get(reader)).toBe(3);
  await cluster.kill(six);
}, 60_000);

test("what its owner has let go of is made again for whoever holds it", async () => {
  const spec = (name: string) => ({ name, resources: { cpu: 2, lent: 4 }, objectStoreBytes: 96 * MIB });
  const seven = await cluster.addNode(spec("seven"));
  const made = make.options({ resources: { lent: 1 } });
  class Giver {
    private ref: ReturnType<typeof made.remote> | undefined;
    async give() {
      this.ref = made.remote(3 * MIB, 5);
      await wait([this.ref]);
      return [this.ref];
    }
    letGo(): void {
      if (this.ref) release(this.ref);
    }
  }
  const giver = remote(Giver).options(on("two")).remote();
  const [ref] = await get(giver.give.remote());
  if (!ref) throw new Error("no ref came");
  await get(giver.letGo.remote());
  const eight = await cluster.addNode(spec("eight"));
  await cluster.kill(seven);
  expect((await get(ref))[7]).toBe(5);
  release(ref);
  await cluster.kill(eight);
}, 60_000);

test("an actor whose stored argument died with its node is made again with one that is made again", async () => {
  const again = { resources: { again: 1 } };
  const spec = (name: string) => ({ name, resources: { cpu: 2, again: 4 }, objectStoreBytes: 96 * MIB });
  const first = await cluster.addNode(spec("again one"));
  const argument = make.options(again).remote(MIB, 6);
  class Holder {
    private readonly bytes: Uint8Array;
    constructor(bytes: Uint8Array) {
      this.bytes = bytes;
    }
    look(): readonly [number | undefined, string] {
      return [this.bytes[MIB - 1], runtimeContext().nodeId];
    }
  }
  const holder = remote(Holder, { ...again, maxRestarts: 1, maxTaskRetries: 1 }).remote(argument);
  expect(await get(holder.look.remote())).toEqual([6, first.id]);
  const second = await cluster.addNode(spec("again two"));
  await cluster.kill(first);
  expect(await get(holder.look.remote())).toEqual([6, second.id]);
  holder[Symbol.dispose]();
  release(argument);
  await cluster.kill(second);
}, 60_000);

test("what was put on a node that died is lost, and says so wherever it is read", async () => {
  const nine = await cluster.addNode({ name: "nine", resources: { cpu: 2, nine: 4 }, objectStoreBytes: 96 * MIB });
  const ref = make.options({ ...on("nine"), maxRetries: 0 }).remote(MIB, 5);
  await wait([ref]);
  await cluster.kill(nine);
  await expect(get(ref)).rejects.toMatchObject({ code: "OBJECT_LOST" });
  await expect(get(sum.options(on("two")).remote(ref))).rejects.toThrow(/one of its arguments failed/);
}, 60_000);

test("a node that is drained hands on what it has: results that may not be made again are read after its end", async () => {
  const ten = await cluster.addNode({ name: "ten", resources: { cpu: 2, ten: 4 }, objectStoreBytes: 96 * MIB });
  const refs = [1, 2, 3].map((seed) => make.options({ ...on("ten"), maxRetries: 0 }).remote(4 * MIB, seed));
  await wait(refs, { numReturns: 3 });
  await cluster.drain(ten, { deadlineMs: 20_000 });
  expect((await get(refs)).map((bytes) => [bytes.length, bytes[9]])).toEqual([1, 2, 3].map((seed) => [4 * MIB, seed]));
  release(...refs);
}, 60_000);
