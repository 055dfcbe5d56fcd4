import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ProcessId, WorkerId } from "../base/ids.ts";
import { type Resources, toUnits } from "../base/resources.ts";
import { OWN_ATTEMPT } from "../placement/mod.ts";
import { LocalNode, LocalWorld, requestOf, type ToHead } from "./test-local-groups.ts";

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

const RUNS = 300;
const MACHINES: readonly Resources[] = [{ cpu: 4 }, { cpu: 3 }, { cpu: 6 }];
const node = fc.integer({ min: 0, max: MACHINES.length - 1 });
const bundle = fc.constantFrom<Resources[]>({ cpu: 0.5 }, { cpu: 1 }, { cpu: 2 });
const strategy = fc.constantFrom("PACK" as const, "SPREAD" as const, "STRICT_PACK" as const);
const happening = fc.oneof(
  ...[1, 2, 3].map(() =>
    fc.record({
      kind: fc.constant("create" as const),
      node,
      bundles: fc.array(bundle, { minLength: 1, maxLength: 3 }),
      strategy,
    }),
  ),
  ...[1, 2].map(() => fc.record({ kind: fc.constant("remove" as const), node, group: fc.nat({ max: 30 }) })),
  ...[1, 2, 3].map(() => fc.record({ kind: fc.constant("toHead" as const), node, count: fc.nat({ max: 4 }) })),
  ...[1, 2, 3].map(() => fc.record({ kind: fc.constant("toNode" as const), node, count: fc.nat({ max: 4 }) })),
  ...[1, 2].map(() => fc.record({ kind: fc.constant("write" as const) })),
  ...[1, 2, 3].map(() => fc.record({ kind: fc.constant("time" as const), ms: fc.constantFrom(1, 3, 30, 600) })),
  fc.record({ kind: fc.constantFrom("kill" as const, "drain" as const, "report" as const), node }),
  fc.record({ kind: fc.constantFrom("crash" as const, "restart" as const) }),
);
type Happening = typeof happening extends fc.Arbitrary<infer H> ? H : never;

interface Wish {
  readonly request: ReturnType<typeof requestOf>;
  readonly by: LocalNode;
  isReady: boolean;
  isUnwanted: boolean;
  isGone: boolean;
  /** Who was told so last. */
  remover: LocalNode | undefined;
}

/** Programs: they ask again until they are told. */
class Programs {
  readonly wishes: Wish[] = [];
  isAway = false;
  private readonly world: LocalWorld;

  constructor(world: LocalWorld) {
    this.world = world;
  }

  ask(wish: Wish, by = wish.by): void {
    if (!by.isAlive || wish.isGone) return;
    const { groupId } = wish.request;
    if (wish.isUnwanted) {
      by.remove(groupId).then(
        (isGone) => {
          wish.isGone ||= isGone;
          wish.remover = by;
        },
        () => {},
      );
      return;
    }
    if (wish.isReady) return;
    by.create(wish.request).then(
      (isReady) => {
        wish.isReady ||= isReady;
      },
      () => {},
    );
  }

  again(): void {
    for (const wish of this.wishes) {
      // A node that dies may not have said what it has removed.
      if (wish.remover?.isAlive === false) wish.isGone = false;
      // Who creates a group dies with its node; anybody may remove it.
      if (wish.by.isAlive || wish.isUnwanted) this.ask(wish, wish.by.isAlive ? wish.by : this.world.living[0]);
    }
  }
}

/** How many of its bundles nodes have. */
function held({ living }: LocalWorld, groupId: string): number {
  let count = 0;
  for (const { engine } of living) {
    for (const one of engine.bundles.reserved()) if (one.groupId === groupId) count += engine.bundles.countOf(one);
  }
  return count;
}

async function happen(world: LocalWorld, programs: Programs, one: Happening): Promise<void> {
  const at = "node" in one ? world.nodes[one.node] : undefined;
  switch (one.kind) {
    case "create": {
      if (!at?.isAlive) return;
      const { wishes } = programs;
      const request = requestOf(`g${wishes.length}`, one.bundles, { strategy: one.strategy });
      const wish = { request, by: at, isReady: false, isUnwanted: false, isGone: false, remover: undefined };
      wishes.push(wish);
      programs.ask(wish);
      // What a node has placed by itself is whole at once.
      if (at.has(request.groupId)) expect(held(world, request.groupId)).toBe(one.bundles.length);
      return;
    }
    case "remove": {
      const wish = programs.wishes[one.group % Math.max(1, programs.wishes.length)];
      if (!wish || !at?.isAlive) return;
      wish.isUnwanted = true;
      programs.ask(wish, at);
      return;
    }
    case "toHead":
    case "toNode":
      for (let count = 0; at && !programs.isAway && count <= one.count; count++) world[one.kind](at);
      return;
    case "write":
      world.write();
      return;
    case "time":
      world.pass(one.ms);
      return;
    case "report":
      if (at?.isAlive) at.report();
      return;
    case "kill":
      if (at && world.living.length > 1 && !programs.isAway) world.kill(at);
      return;
    case "drain":
      if (at && world.living.filter(({ isDraining }) => !isDraining).length > 1 && !programs.isAway) world.drain(at);
      return;
    case "crash":
      if (!programs.isAway) world.crash();
      programs.isAway = true;
      return;
    case "restart":
      if (programs.isAway) world.restart();
      programs.isAway = false;
      return;
  }
}

/** To a control that starts again. */
function saidAgain(world: LocalWorld): ToHead[] {
  for (const node of world.living) node.report();
  world.crash();
  world.restart();
  return world.living.flatMap(({ toHead }) => toHead);
}

describe("random events", () => {
  test("a group is whole or holds nothing, those that are removed go, and nothing is left to be said", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(happening, { maxLength: 80, size: "max" }), async (list) => {
        const world = new LocalWorld(MACHINES);
        const programs = new Programs(world);
        for (const one of list) {
          await happen(world, programs, one);
          await Promise.resolve();
        }
        // Then faults stop.
        if (programs.isAway) world.restart();
        programs.isAway = false;
        for (let round = 0; round < 8; round++) {
          programs.again();
          await world.settle();
          world.pass(600);
        }
        await world.settle();
        const isWhole = world.nodes.every(({ isAlive, isDraining }) => isAlive && !isDraining);
        for (const { request, isReady, isUnwanted, isGone } of programs.wishes) {
          const { groupId, bundles } = request;
          const has = held(world, groupId);
          if (isUnwanted) expect([groupId, isGone, has]).toEqual([groupId, true, 0]);
          else if (isWhole) expect([groupId, has]).toEqual([groupId, isReady ? bundles.length : 0]);
          // What a node had that is gone may have no other place, or was known to nobody else.
          else expect(has, groupId).toBeLessThanOrEqual(bundles.length);
        }
        // All that lives is written down, and need not be said again.
        expect(saidAgain(world).filter(({ t }) => t === "groups-placed")).toEqual([]);
        for (const wish of programs.wishes) wish.isUnwanted = true;
        for (let round = 0; round < 4; round++) {
          programs.again();
          await world.settle();
          world.pass(600);
        }
        await world.settle();
        expect(world.records.size).toBe(0);
        for (const { engine, id } of world.living) {
          expect([id, engine.pool.available()]).toEqual([id, engine.pool.total]);
        }
        expect(saidAgain(world)).toEqual([]);
      }),
      { numRuns: RUNS },
    );
  });
});
