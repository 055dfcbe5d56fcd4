/** Where tasks run when the program says so: labels, a node, or spread. */
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { get, kill, nodes, remote, runtimeContext, type TaskOptions } from "../../src/api/mod.ts";
import { askHead } from "../../src/head/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";

let cluster: LocalCluster;
let idOf: ReadonlyMap<string, string>;
let nameOf: ReadonlyMap<string, string>;

beforeAll(async () => {
  const node = (name: string, zone: string) => ({ name, resources: { cpu: 2 }, labels: { zone, disk: "ssd" } });
  cluster = await LocalCluster.start({ nodes: [node("one", "a"), node("two", "b"), node("three", "b")] });
  const [one] = cluster.nodes;
  if (one) await cluster.connect({ node: one, infeasibleTimeoutMs: 1_500 });
  idOf = new Map(cluster.nodes.map(({ id, name }) => [name, id]));
  nameOf = new Map(cluster.nodes.map(({ id, name }) => [id, name]));
});
afterAll(() => cluster.stop());

const where = remote(async (ms: number) => {
  await new Promise((resolve) => setTimeout(resolve, ms));
  return runtimeContext().nodeId;
});
async function ran(options: TaskOptions, count = 6, ms = 30): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const id of await get(Array.from({ length: count }, () => where.options(options).remote(ms)))) {
    const name = nameOf.get(id) ?? id;
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

test("labels: equal, not, one of, and a list that is tried in order", async () => {
  expect(await ran({ labelSelector: { zone: "a" } })).toEqual({ one: 6 });
  expect(await ran({ labelSelector: { zone: "!b", disk: "ssd" } })).toEqual({ one: 6 });
  expect(Object.keys(await ran({ labelSelector: { zone: "in(b,c)" } })).sort()).toEqual(["three", "two"]);
  expect(await ran({ labelSelector: [{ zone: "nowhere" }, { zone: "!in(b,c)" }] })).toEqual({ one: 6 });
});

class Somewhere {
  readonly bytes: number;
  constructor(value?: Uint8Array) {
    this.bytes = value?.length ?? 0;
  }
  where(): string {
    return runtimeContext().nodeId;
  }
}

test("an actor goes to its large arguments", async () => {
  const three = { schedulingStrategy: { nodeId: idOf.get("three") ?? "" } };
  const large = remote(() => new Uint8Array(8 * 2 ** 20))
    .options(three)
    .remote();
  const actor = remote(Somewhere).remote(large);
  expect(nameOf.get(await get(actor.where.remote()))).toBe("three");
  const shared = remote(Somewhere, { isolation: "shared" }).remote(large);
  expect(nameOf.get(await get(shared.where.remote()))).toBe("three");
  await Promise.all([actor, shared].map((one) => kill(one)));
});

test("shared actors that reserve something are where there is room for them", async () => {
  const shared = remote(Somewhere, { isolation: "shared", numCpus: 1 });
  const actors = Array.from({ length: 6 }, () => shared.remote());
  const counts = new Map<string, number>();
  for (const id of await get(actors.map((one) => one.where.remote()))) {
    const name = nameOf.get(id) ?? id;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  expect(Object.fromEntries(counts)).toEqual({ one: 2, two: 2, three: 2 });
  await Promise.all(actors.map((one) => kill(one)));
});

test("what no node can take is named at once, and is an error when none has joined in time", async () => {
  const warned: string[] = [];
  const write = vi.spyOn(process.stderr, "write").mockImplementation((text) => warned.push(`${text}`) > 0);
  try {
    const startedAt = performance.now();
    const picky = where.options({ name: "picky", labelSelector: { zone: "z" } }).remote(0);
    const failed = expect(get(picky)).rejects.toMatchObject({
      code: "INFEASIBLE",
      message: expect.stringMatching(/picky needs .* a node with zone z, and no node can ever offer that; the best is/),
    });
    await eventually(() => warned.some((text) => /picky needs .*zone z.*it waits 2 s/s.test(text)), "a warning");
    expect(performance.now() - startedAt).toBeLessThan(1_400);
    const waiting = await askHead(cluster, "waiting-demands", null);
    expect(waiting).toMatchObject([
      {
        kind: "task",
        name: "picky",
        count: 1,
        isInfeasible: true,
        why: expect.stringMatching(/no node can ever offer/),
      },
    ]);
    await failed;
    expect(performance.now() - startedAt).toBeGreaterThan(1_400);
  } finally {
    write.mockRestore();
  }
  // What was refused is asked for anew.
  await expect(get(where.options({ labelSelector: { zone: "z" } }).remote(0))).rejects.toMatchObject({
    code: "INFEASIBLE",
  });
});

test("a node by its id, hard and soft", async () => {
  const nodeId = idOf.get("three") ?? "";
  expect(await ran({ schedulingStrategy: { nodeId } })).toEqual({ three: 6 });
  expect(await ran({ schedulingStrategy: { nodeId, soft: true } }, 2)).toEqual({ three: 2 });
  const unknown = { nodeId: "f".repeat(32) };
  await expect(ran({ schedulingStrategy: unknown }, 1)).rejects.toMatchObject({ code: "NODE_NOT_FOUND" });
  expect(Object.keys(await ran({ schedulingStrategy: { ...unknown, soft: true } }, 1))).toHaveLength(1);
});

test("spread goes round the nodes", async () => {
  // Each waits for the others, or one that is quick would run what is meant for another node.
  const together = remote(async (folder: string) => {
    writeFileSync(join(folder, `${process.pid}`), "");
    while (readdirSync(folder).length < 3) await new Promise((resolve) => setTimeout(resolve, 20));
    return runtimeContext().nodeId;
  });
  // What earlier tests have leased is given back.
  const isIdle = async (): Promise<boolean> =>
    (await nodes()).every(({ resources, available: { cpu } }) => cpu === resources.cpu);
  await eventually(isIdle, "all nodes are idle");
  // The node of the driver has room for all three, and by default takes half of what it has first.
  const spread = together.options({ numCpus: 0.5, schedulingStrategy: "spread" });
  const folder = newFolder();
  const ids = await get([0, 1, 2].map(() => spread.remote(folder)));
  expect(ids.map((id) => nameOf.get(id)).sort()).toEqual(["one", "three", "two"]);
});

class Place {
  node(): string {
    return runtimeContext().nodeId;
  }
}
const RemotePlace = remote(Place);

test("actors go where they are wanted too, alone or shared", async () => {
  for (const isolation of ["process", "shared"] as const) {
    const nodeId = idOf.get("three") ?? "";
    const made = [
      RemotePlace.options({ isolation, labelSelector: { zone: "a" } }).remote(),
      RemotePlace.options({ isolation, schedulingStrategy: { nodeId } }).remote(),
    ];
    expect((await get(made.map((actor) => actor.node.remote()))).map((id) => nameOf.get(id))).toEqual(["one", "three"]);
  }
});

test("what is bound to a node that dies is refused, by its name; a soft wish goes elsewhere", async () => {
  const four = await cluster.addNode({ name: "four", resources: { cpu: 1 } });
  expect(await get(where.options({ schedulingStrategy: { nodeId: four.id } }).remote(0))).toBe(four.id);
  await cluster.kill(four);
  await eventually(
    async () => (await nodes()).some(({ name, state }) => name === "four" && state === "dead"),
    "it is dead",
  );
  const bound = get(where.options({ schedulingStrategy: { nodeId: four.id } }).remote(0));
  await expect(bound).rejects.toMatchObject({ code: "INFEASIBLE", message: expect.stringContaining("four") });
  expect(nameOf.has(await get(where.options({ schedulingStrategy: { nodeId: four.id, soft: true } }).remote(0)))).toBe(
    true,
  );
});
