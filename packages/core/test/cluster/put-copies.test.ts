/** `put` with copies: what several nodes keep is not lost while one of them lives. */
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { get, kill, nodes, type ObjectRef, put, putAsync, remote, wait } from "../../src/api/mod.ts";
import { type ClusterNode, LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";

const MIB = 2 ** 20;
let cluster: LocalCluster;
const spec = (name: string, rack: string) => ({
  ...{ name, resources: { cpu: 2, [name]: 4 }, objectStoreBytes: 64 * MIB },
  labels: { rack },
});
const on = (name: string) => ({ numCpus: 0, resources: { [name]: 0.1 } });
const node = (name: string): ClusterNode => {
  const found = cluster.nodes.find((each) => each.name === name);
  if (!found) throw new Error(`no node ${name}`);
  return found;
};
const usedBy = async (name: string): Promise<number> =>
  (await nodes()).find((each) => each.name === name && each.state !== "dead")?.objectStore.usedBytes ?? 0;
const isDead = (name: string) => async (): Promise<boolean> =>
  (await nodes()).some((each) => each.name === name && each.state === "dead");

beforeAll(async () => {
  cluster = await LocalCluster.start({ nodes: [spec("one", "a"), spec("two", "a"), spec("three", "b")] });
  await cluster.connect({ node: node("one"), namespace: "tests" });
});
afterAll(() => cluster.stop());

async function storesAreEmpty(): Promise<void> {
  await eventually(
    async () => (await nodes()).every(({ state, objectStore }) => state === "dead" || objectStore.usedBytes === 0),
    "all stores are empty",
  );
}

test("when putAsync resolves another rack has a copy, also of a small value; freed with the last ref", async () => {
  const ref = await putAsync(new Uint8Array(4 * MIB).fill(7), { copies: 2 });
  const small = await putAsync({ small: true }, { copies: 2 });
  await eventually(async () => (await usedBy("three")) >= 4 * MIB, "the other rack has it");
  expect(await usedBy("two")).toBe(0);
  expect(await get(small)).toEqual({ small: true });
  expect((await get(ref))[4 * MIB - 1]).toBe(7);
  ref[Symbol.dispose]();
  small[Symbol.dispose]();
  await storesAreEmpty();
});

test("put returns at once, get needs no copies, and wait waits for all of them", async () => {
  await cluster.kill(node("three"), "SIGSTOP");
  await cluster.kill(node("two"), "SIGSTOP");
  const ref = put(new Uint8Array(MIB).fill(3), { copies: 2 });
  expect((await get(ref))[5]).toBe(3);
  expect((await wait([ref], { timeoutMs: 300 })).ready).toEqual([]);
  await cluster.kill(node("three"), "SIGCONT");
  await cluster.kill(node("two"), "SIGCONT");
  expect((await wait([ref])).ready).toEqual([ref]);
  ref[Symbol.dispose]();
  await storesAreEmpty();
});

test("what was put on a node that is killed is read without being made again, and a copy is made elsewhere", async () => {
  await cluster.addNode(spec("four", "c"));
  class Maker {
    runs = 0;
    async make(copies: number): Promise<[ObjectRef<Uint8Array>, number]> {
      this.runs++;
      return [await putAsync(new Uint8Array(3 * MIB).fill(9), { copies }), this.runs];
    }
  }
  const maker = remote(Maker).options(on("four")).remote();
  const [[lost], [ref]] = (await get([maker.make.remote(1), maker.make.remote(2)])) as [
    [ObjectRef<Uint8Array>, number],
    [ObjectRef<Uint8Array>, number],
  ];
  const nodesWithCopies = async (): Promise<string[]> => {
    const all = await nodes();
    return all
      .filter(({ state, objectStore }) => state !== "dead" && objectStore.usedBytes > 0)
      .map(({ name }) => name);
  };
  await eventually(async () => (await nodesWithCopies()).length === 2, "two have it, as their reports say");
  await cluster.kill(node("four"));
  await eventually(isDead("four"), "it is known dead");
  await expect(get(lost)).rejects.toThrow(/OBJECT_LOST|lost/);
  lost[Symbol.dispose]();
  await eventually(async () => (await nodesWithCopies()).length === 2, "there are two again");
  expect((await get(ref))[2 * MIB]).toBe(9);
  ref[Symbol.dispose]();
  await kill(maker).catch(() => {});
  await storesAreEmpty();
}, 60_000);

test("more copies than nodes: as many as there are, with a warning; more when a node joins", async () => {
  const warnings: string[] = [];
  vi.stubEnv("MOBULA_LOG", "warn");
  const spy = vi.spyOn(process.stderr, "write").mockImplementation((text) => warnings.push(String(text)) > 0);
  const ref = await putAsync(new Uint8Array(2 * MIB).fill(1), { copies: 5 });
  spy.mockRestore();
  vi.unstubAllEnvs();
  expect(warnings.join()).toMatch(/asked for 5 copies on different nodes, and only \d nodes can have one/);
  await cluster.addNode(spec("five", "e"));
  await eventually(async () => (await usedBy("five")) >= 2 * MIB, "the new node has one");
  ref[Symbol.dispose]();
  await storesAreEmpty();
}, 30_000);

test("copies are moved off a node that is drained, and stay when memory is short there", async () => {
  const ref = await putAsync(new Uint8Array(2 * MIB).fill(6), { copies: 2 });
  const holders = async (): Promise<string[]> =>
    (await nodes())
      .filter(({ state, objectStore }) => state !== "dead" && objectStore.usedBytes + objectStore.spilledBytes > 0)
      .map(({ name }) => name);
  await eventually(async () => (await holders()).length === 2, "two have it");
  const keeper = (await holders()).find((name) => name !== "one") ?? "";
  // More than its store takes: what could go without being missed would.
  const fill = remote((): number => {
    const refs = Array.from({ length: 12 }, () => put(new Uint8Array(8 * MIB)));
    return refs.length;
  }).options(on(keeper));
  expect(await get(fill.remote())).toBe(12);
  await cluster.drain(node(keeper), { deadlineMs: 20_000 });
  await eventually(async () => (await holders()).length === 2, "two have it again");
  expect(await holders()).not.toContain(keeper);
  ref[Symbol.dispose]();
  await storesAreEmpty();
}, 60_000);
