import { describe, expect, test } from "vitest";
import type { ProcessId, WorkerId } from "../base/ids.ts";
import { type Resources, toUnits } from "../base/resources.ts";
import { OWN_ATTEMPT } from "../placement/mod.ts";
import { LocalNode, LocalWorld, requestOf } from "./test-local-groups.ts";

/** One node, and control behind an ordered way. */
function setUp(resources: Resources = { cpu: 4 }) {
  const world = new LocalWorld([resources]);
  const [node] = world.nodes;
  if (!node) throw new Error("there is one");
  node.toHead.length = 0;
  const said = () => node.toHead.splice(0).map((message) => ("groupId" in message ? { t: message.t } : message));
  return { world, node, said };
}

/** What no control was asked of is reserved in this turn. */
async function isPlaced(node: LocalNode, ...of: Parameters<typeof requestOf>): Promise<boolean> {
  const created = node.create(requestOf(...of));
  const isHere = node.has(of[0]);
  if (isHere) expect(await created).toBe(true);
  else created.catch(() => {});
  return isHere;
}

describe("what a node places by itself", () => {
  const groups: [string, boolean, Parameters<typeof requestOf>[1], Parameters<typeof requestOf>[2]?][] = [
    ["one bundle", true, [{ cpu: 1 }]],
    ["one bundle that is to be spread", true, [{ cpu: 1 }], { strategy: "STRICT_SPREAD" }],
    ["several together", true, [{ cpu: 1 }, { cpu: 3 }], { strategy: "STRICT_PACK" }],
    ["several for this node by their labels", true, [{ cpu: 1 }], { selectors: [{ name: "n1" }] }],
    ["not several that are to be spread", false, [{ cpu: 1 }, { cpu: 1 }], { strategy: "SPREAD" }],
    ["not what a name is for", false, [{ cpu: 1 }], { name: "one" }],
    ["not what outlives its job", false, [{ cpu: 1 }], { lifetime: "detached" }],
    ["not what goes by a topology", false, [{ cpu: 1 }], { topology: "rack" }],
    ["not what another node would be better for", false, [{ cpu: 1 }], { selectors: [{ name: "n2" }, {}] }],
    ["not more than it has", false, [{ cpu: 5 }]],
    ["not what uses nothing that is measured", false, [{ disk: 1 }]],
  ];
  test.each(groups)("%s", async (_what, isHere, bundles, more) => {
    const { node } = setUp({ cpu: 4, disk: 4 });
    expect(await isPlaced(node, "g", bundles, more)).toBe(isHere);
    expect(node.engine.pool.freeOf("cpu") < 40_000).toBe(isHere);
  });

  test("until it is half in use, as tasks are", async () => {
    const { node } = setUp();
    expect(await isPlaced(node, "a", [{ cpu: 1 }])).toBe(true);
    expect(await isPlaced(node, "b", [{ cpu: 2 }])).toBe(true);
    expect(await isPlaced(node, "c", [{ cpu: 0.1 }])).toBe(false);
  });

  test("nothing while something waits for room, or has it kept, or of a job with a quota, or while it is drained", async () => {
    const waits = setUp().node;
    waits.feed({ kind: "client-joined", clientId: "p" as ProcessId, jobId: requestOf("g", []).jobId });
    const demand = { key: "k", resources: toUnits({ cpu: 4 }), priority: 0, name: "f" };
    waits.feed({ kind: "demand-changed", clientId: "p" as ProcessId, shape: 1, demand, wanted: 1 });
    expect(await isPlaced(waits, "g", [{ cpu: 1 }])).toBe(false);

    const earmarked = setUp().node;
    earmarked.feed({ kind: "earmark", groupId: "gang", units: toUnits({ cpu: 4 }), forMs: 1_000 });
    expect(await isPlaced(earmarked, "g", [{ cpu: 1 }])).toBe(false);
    earmarked.feed({ kind: "clear-earmark", groupId: "gang" });
    expect(await isPlaced(earmarked, "g2", [{ cpu: 1 }])).toBe(true);

    const limited = setUp().node;
    limited.isLimited = true;
    expect(await isPlaced(limited, "g", [{ cpu: 1 }])).toBe(false);

    const { world, node } = setUp();
    world.drain(node);
    expect(await isPlaced(node, "g", [{ cpu: 1 }])).toBe(false);
  });

  test("with GPUs what wants some, if devices are whole enough, and nothing else", async () => {
    const world = new LocalWorld([]);
    const node = new LocalNode(world, "n", { cpu: 8, gpu: 4 }, ["0", "1", "2", "3"]);
    expect(await isPlaced(node, "a", [{ cpu: 1 }])).toBe(false);
    expect(await isPlaced(node, "b", [{ gpu: 0.6 }, { gpu: 0.6 }])).toBe(true);
    // A device and a half are free as a sum, and no more than one whole.
    expect(await isPlaced(node, "c", [{ gpu: 3 }])).toBe(false);
    expect(node.engine.pool.freeDevices()).toEqual([4_000, 4_000, 10_000, 10_000]);
  });

  test("not what control was asked for, which may place it yet", async () => {
    const { world, node } = setUp();
    await isPlaced(node, "large", [{ cpu: 2 }]);
    const created = node.create(requestOf("g", [{ cpu: 3 }]));
    await node.remove("large");
    world.crash();
    await expect(created).rejects.toMatchObject({ code: "CONNECTION_LOST" });
    expect(await isPlaced(node, "g", [{ cpu: 3 }])).toBe(false);
  });
});

describe("what control hears of it", () => {
  test("is said 2 ms later, after what the node has left, and before anything else that is said", async () => {
    const { world, node, said } = setUp();
    const request = requestOf("g", [{ cpu: 1 }]);
    expect(await node.create(request)).toBe(true);
    world.pass(1);
    expect(said()).toEqual([]);
    world.pass(1);
    const report = { t: "report", free: toUnits({ cpu: 3 }), uses: [] };
    const placed = { t: "groups-placed", placed: [request], removed: [], over: [] };
    expect(said()).toEqual([report, placed]);
    await node.create(requestOf("h", [{ cpu: 0.5 }]));
    node.say({ t: "bundles-returned", groupId: "x", attempt: 9 });
    expect(said()).toMatchObject([{ t: "report" }, { t: "groups-placed" }, { t: "bundles-returned" }]);
  });

  test("of one that was gone by then nothing but its name, with what is said next", async () => {
    const { world, node, said } = setUp();
    await node.create(requestOf("g", [{ cpu: 1 }]));
    expect(await node.remove("g")).toBe(true);
    world.pass(10);
    expect(said()).toEqual([]);
    node.report();
    expect(said()[0]).toEqual({ t: "groups-placed", placed: [], removed: [], over: ["g"] });
    expect(node.engine.pool.freeOf("cpu")).toBe(40_000);
  });

  test("what names one that is gone is refused at once", async () => {
    const { world, node } = setUp();
    await node.create(requestOf("g", [{ cpu: 1 }]));
    await node.remove("g");
    node.report();
    await world.settle();
    expect(world.host.placesFor("g", undefined, {})).toMatchObject({ kind: "refused", code: "GROUP_REMOVED" });
  });

  test("a group is known to all, written down, and given back when it is removed anywhere", async () => {
    const world = new LocalWorld([{ cpu: 4 }, { cpu: 4 }]);
    const [one, two] = world.nodes as [LocalNode, LocalNode];
    await one.create(requestOf("g", [{ cpu: 1 }, { cpu: 1 }]));
    world.pass(2);
    await world.settle();
    const places = { kind: "places", places: [{ nodeId: "n1", slots: 2 }] };
    expect(world.host.placesFor("g", undefined, toUnits({ cpu: 1 }))).toMatchObject(places);
    expect(world.host.explain("g")).toMatchObject({ state: "ready" });
    expect(world.records.size).toBe(0);
    world.pass(20);
    await world.settle();
    expect([...world.records.keys()]).toEqual(["group/g"]);
    const removed = two.remove("g");
    await world.settle();
    expect(await removed).toBe(true);
    expect(one.engine.pool.freeOf("cpu")).toBe(40_000);
    expect(world.records.size).toBe(0);
  });

  test("removed elsewhere before control has heard of it, it goes when it is heard of", async () => {
    const world = new LocalWorld([{ cpu: 4 }, { cpu: 4 }]);
    const [one, two] = world.nodes as [LocalNode, LocalNode];
    await one.create(requestOf("g", [{ cpu: 1 }]));
    const removed = two.remove("g");
    while (world.toHead(two));
    world.pass(2);
    await world.settle();
    expect(await removed).toBe(true);
    expect(one.engine.pool.freeOf("cpu")).toBe(40_000);
  });

  test("what control did not write down before it was killed is said again, and what was removed meanwhile is gone", async () => {
    const { world, node } = setUp({ cpu: 8 });
    for (const name of ["a", "b", "c"]) await node.create(requestOf(name, [{ cpu: 1 }]));
    world.pass(2);
    await world.settle();
    world.pass(20);
    await world.settle();
    await node.create(requestOf("d", [{ cpu: 0.5 }]));
    world.crash();
    // Without control the node goes on.
    await node.remove("c");
    expect(await isPlaced(node, "e", [{ cpu: 0.5 }])).toBe(true);
    world.restart();
    await world.settle();
    world.pass(20);
    await world.settle();
    expect([...world.records.keys()].sort()).toEqual(["group/a", "group/b", "group/d", "group/e"]);
    expect(node.engine.pool.freeOf("cpu")).toBe(50_000);
    for (const name of ["a", "b", "d", "e"]) await node.remove(name);
    world.pass(2);
    await world.settle();
    expect(world.records.size).toBe(0);
    // Nothing is left to be said.
    world.crash();
    world.restart();
    expect(node.toHead).toEqual([]);
  });

  test("a removal that control did not hear, or not write down, is said again", async () => {
    const { world, node } = setUp();
    await node.create(requestOf("g", [{ cpu: 1 }]));
    world.pass(2);
    await world.settle();
    world.pass(20);
    await world.settle();
    expect(world.records.size).toBe(1);
    await node.remove("g");
    world.pass(2);
    expect(node.toHead).toContainEqual({ t: "groups-placed", placed: [], removed: ["g"], over: [] });
    world.crash();
    world.restart();
    await world.settle();
    expect(world.records.size).toBe(0);
    expect(node.engine.pool.freeOf("cpu")).toBe(40_000);
  });

  test("groups of a job that has ended go, also when control hears of them later", async () => {
    const { world, node } = setUp();
    await node.create(requestOf("early", [{ cpu: 1 }]));
    world.pass(2);
    await world.settle();
    await node.create(requestOf("late", [{ cpu: 0.5 }]));
    world.host.jobEnded(requestOf("g", []).jobId);
    world.pass(2);
    await world.settle();
    expect(node.engine.pool.freeOf("cpu")).toBe(40_000);
  });

  test("those of a node that dies get another place; those of one that is drained move, and are control's to remove", async () => {
    const world = new LocalWorld([{ cpu: 4 }, { cpu: 4 }, { cpu: 4 }]);
    const [one, two, three] = world.nodes as [LocalNode, LocalNode, LocalNode];
    await one.create(requestOf("g", [{ cpu: 1 }]));
    world.pass(2);
    await world.settle();
    world.kill(one);
    await world.settle();
    expect([two.has("g"), three.has("g")].filter(Boolean)).toHaveLength(1);
    const host = two.has("g") ? two : three;
    await host.create(requestOf("h", [{ cpu: 0.5 }]));
    expect(host.has("h")).toBe(true);
    world.drain(host);
    await world.settle();
    const other = host === two ? three : two;
    expect([other.has("g"), other.has("h")]).toEqual([true, true]);
    const removed = [host.remove("g"), host.remove("h")];
    await world.settle();
    expect(await Promise.all(removed)).toEqual([true, true]);
    expect([two, three].map(({ engine }) => engine.pool.freeOf("cpu"))).toEqual([40_000, 40_000]);
  });
});

describe("a removal that a program of another node was told of", () => {
  const LARGE = [{ cpu: 3 }];

  /** It was asked for by way of the first node, which was not answered. */
  async function removedElsewhere(): Promise<{ world: LocalWorld; one: LocalNode; two: LocalNode }> {
    const world = new LocalWorld([{ cpu: 1 }, { cpu: 4 }]);
    const [one, two] = world.nodes as [LocalNode, LocalNode];
    one.create(requestOf("g", LARGE)).catch(() => {});
    while (world.toHead(one));
    const removed = two.remove("g");
    while (world.toHead(two));
    for (let round = 0; round < 20; round++) {
      await new Promise(setImmediate);
      world.write();
      while (world.toNode(two)) while (world.toHead(two));
    }
    expect(await removed).toBe(true);
    return { world, one, two };
  }

  const held = (world: LocalWorld): boolean => world.nodes.some((node) => node.has("g"));

  test("is known to the next control: who asked for the group, and asks again, does not bring it back", async () => {
    const { world, one } = await removedElsewhere();
    world.crash();
    world.restart();
    const created = one.create(requestOf("g", LARGE));
    created.catch(() => {});
    await world.settle();
    await expect(created).rejects.toMatchObject({ message: "GROUP_REMOVED" });
    expect(held(world)).toBe(false);
    world.pass(29_000);
    await world.settle();
    expect([...world.records.keys()]).toEqual(["removed-group/g"]);
    world.pass(2_000);
    await world.settle();
    expect(world.records.size).toBe(0);
  });

  test("of a group that a node has placed, which control has not heard: it is returned, also to the next control", async () => {
    const world = new LocalWorld([{ cpu: 4 }, { cpu: 4 }]);
    const [one, two] = world.nodes as [LocalNode, LocalNode];
    await one.create(requestOf("g", [{ cpu: 1 }]));
    const removed = two.remove("g");
    while (world.toHead(two));
    // What is known after so long is that nobody has told of it; the first node does not reach control.
    for (let round = 0; round < 6; round++) {
      world.nowMs += 500;
      world.host.tick();
    }
    while (world.write());
    while (world.toNode(two));
    expect(await removed).toBe(true);
    world.crash();
    world.restart();
    await world.settle();
    expect(held(world)).toBe(false);
    expect(one.engine.pool.freeOf("cpu")).toBe(40_000);
  });

  test("costs no record when it was asked for by way of the same node", async () => {
    const { world, node } = setUp({ cpu: 4 });
    const created = node.create(requestOf("g", [{ cpu: 1 }], { name: "g" }));
    await world.settle();
    expect(await created).toBe(true);
    const removed = node.remove("g");
    await world.settle();
    expect(await removed).toBe(true);
    expect(world.records.size).toBe(0);
  });
});

test("what has moved is control's to remove, though something still runs here", async () => {
  const { node, said } = setUp();
  const clientId = "p" as ProcessId;
  const worker = { workerId: "w" as WorkerId };
  node.feed({ kind: "workers-started", workerIds: [worker.workerId] });
  node.feed({ kind: "worker-ready", ...worker, clientId: "c" as ProcessId });
  node.feed({ kind: "client-joined", clientId, jobId: requestOf("g", []).jobId });
  await node.create(requestOf("g", [{ cpu: 1 }]));
  const placement = { bundle: { groupId: "g" } };
  const demand = { key: "k", resources: toUnits({ cpu: 1 }), priority: 0, name: "f", placement };
  node.feed({ kind: "demand-changed", clientId, shape: 1, demand, wanted: 1 });
  node.hear({ t: "return-bundles", groupId: "g", attempt: OWN_ATTEMPT, moved: true });
  expect(node.local.has("g")).toBe(false);
  said();
  void node.remove("g");
  expect(said()).toMatchObject([{ t: "ask" }]);
});
