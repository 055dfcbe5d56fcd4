import { describe, expect, test } from "vitest";
import type { JobId } from "../base/ids.ts";
import { toUnits } from "../base/resources.ts";
import { type GroupCommand, type GroupSpec, OWN_ATTEMPT } from "./group-protocol.ts";
import type { Victim } from "./preempt.ts";
import { nodeId } from "./test-cluster.ts";
import { GroupWorld, specOf } from "./test-groups.ts";

const n = nodeId;
const brief = (commands: readonly GroupCommand[]): string[] =>
  commands
    .filter(({ kind }) => kind !== "save-group" && kind !== "forget-group")
    .map((command) => ("nodeId" in command ? `${command.kind} ${command.nodeId}` : command.kind));
const create = (world: GroupWorld, ...of: Parameters<typeof specOf>) =>
  world.send({ kind: "group-created", spec: specOf(...of) });
const free = (world: GroupWorld) =>
  Object.fromEntries(
    [...world.nodes.values()].map((node) => [node.name, (world.freeOf(node).units.cpu ?? 0) / 10_000]),
  );
const answer = (world: GroupWorld, name: string) => {
  world.move(name, "toNode");
  const before = world.commands.length;
  world.move(name, "toEngine");
  return world.commands.slice(before);
};

/** A group that has lost two of its three nodes, and gets two others. */
function placedAgain() {
  const world = new GroupWorld([{ cpu: 1 }, { cpu: 1 }, { cpu: 1 }]);
  create(world, "g", [{ cpu: 1 }, { cpu: 1 }, { cpu: 1 }], { strategy: "STRICT_SPREAD" });
  world.settle();
  world.kill("n1");
  world.kill("n2");
  world.addNode("n4", { cpu: 1 });
  const before = world.commands.length;
  world.addNode("n5", { cpu: 1 });
  return { world, attempt: world.commands.slice(before) };
}

describe("reserving", () => {
  test("nodes prepare, then what was decided is saved, then it is ready", () => {
    const world = new GroupWorld([{ cpu: 2 }, { cpu: 2 }]);
    const spec = specOf("g", [{ cpu: 2 }, { cpu: 1 }, { cpu: 1 }]);
    expect(world.send({ kind: "group-created", spec })).toEqual([
      { kind: "save-group", groupId: "g", record: { spec, createdMs: 0, reservations: [] } },
      {
        kind: "prepare-bundles",
        groupId: "g",
        attempt: 1,
        nodeId: "n1",
        bundles: [{ index: 0, units: toUnits({ cpu: 2 }) }],
        commit: true,
      },
      {
        kind: "prepare-bundles",
        groupId: "g",
        attempt: 1,
        nodeId: "n2",
        bundles: [
          { index: 1, units: toUnits({ cpu: 1 }) },
          { index: 2, units: toUnits({ cpu: 1 }) },
        ],
        commit: true,
      },
    ]);
    expect(answer(world, "n1")).toEqual([]);
    expect(world.engine.bundlesFor("g", 0, {}), "what n1 has of it may have to go back").toEqual({ kind: "waits" });
    expect(answer(world, "n2")).toEqual([
      {
        kind: "save-group",
        groupId: "g",
        record: {
          spec,
          createdMs: 0,
          reservations: [
            { attempt: 1, nodeId: "n1", indexes: [0] },
            { attempt: 1, nodeId: "n2", indexes: [1, 2] },
          ],
        },
      },
      { kind: "group-ready", groupId: "g", nodes: ["n1", "n2", "n2"] },
    ]);
  });

  test("where something of the group may wait already nodes are told to commit when all have prepared", () => {
    const { world, attempt } = placedAgain();
    expect(attempt).toMatchObject([
      { kind: "prepare-bundles", nodeId: "n4", attempt: 2, commit: false },
      { kind: "prepare-bundles", nodeId: "n5", attempt: 2, commit: false },
    ]);
    expect(answer(world, "n4")).toEqual([]);
    const commands = answer(world, "n5");
    expect(commands[0]).toMatchObject({ kind: "save-group", record: { reservations: { length: 3 } } });
    expect(brief(commands)).toEqual(["commit-bundles n4", "commit-bundles n5"]);
    expect(brief(answer(world, "n4"))).toEqual([]);
    expect(brief(answer(world, "n5"))).toEqual(["group-ready"]);
  });

  test("a group on one node takes one phase", () => {
    const world = new GroupWorld([{ cpu: 2 }, { cpu: 2 }]);
    expect(create(world, "g", [{ cpu: 1 }])[1]).toMatchObject({ kind: "prepare-bundles", nodeId: "n1", commit: true });
    expect(answer(world, "n1").map(({ kind }) => kind)).toEqual(["save-group", "group-ready"]);
  });

  test("a refusal returns everything, and the group is placed elsewhere while the node is not asked again", () => {
    const world = new GroupWorld([{ cpu: 2 }, { cpu: 2 }, { cpu: 2 }]);
    // What the view knows of n2 is old.
    world.lease("n2", { cpu: 2 });
    expect(brief(create(world, "g", [{ cpu: 2 }, { cpu: 2 }]))).toEqual(["prepare-bundles n1", "prepare-bundles n2"]);
    answer(world, "n1");
    expect(brief(answer(world, "n2"))).toEqual(["return-bundles n1"]);
    expect(world.engine.explain("g", 0)?.sentences).toContain("n2 has just refused: too little room.");
    // What n1 holds is free when it has said so.
    world.move("n1", "toNode");
    world.report("n1");
    world.move("n1", "toEngine");
    expect(brief(world.commands.slice(-2))).toEqual(["prepare-bundles n1", "prepare-bundles n3"]);
    world.settle();
    expect(world.ready.get("g")).toEqual(["n1", "n3"]);
    expect(free(world)).toEqual({ n1: 0, n2: 0, n3: 0 });
  });

  test("a node that joins again is told again what it has not answered, in whatever phase", () => {
    const { world } = placedAgain();
    const again = () => {
      const node = world.nodes.get("n4");
      // Its connection broke, and with it what was on the way.
      node?.toNode.splice(0);
      node?.toEngine.splice(0);
      return brief(world.send({ kind: "node-joined", nodeId: n("n4") }));
    };
    expect(again()).toEqual(["prepare-bundles n4"]);
    answer(world, "n5");
    world.move("n4", "toNode");
    expect(again()).toEqual(["prepare-bundles n4"]);
    expect(brief(answer(world, "n4"))).toEqual(["commit-bundles n4", "commit-bundles n5"]);
    expect(again()).toEqual(["commit-bundles n4"]);
    answer(world, "n5");
    expect(brief(answer(world, "n4"))).toEqual(["group-ready"]);
    expect(again()).toEqual([]);
    world.send({ kind: "group-removed", groupId: "g" });
    answer(world, "n3");
    answer(world, "n5");
    world.move("n4", "toNode");
    expect(again()).toEqual(["return-bundles n4"]);
    expect(brief(answer(world, "n4"))).toEqual(["group-removed"]);
  });

  test("a gang that does not fit holds nothing, and others use what it waits for", () => {
    const world = new GroupWorld([{ cpu: 2 }, { cpu: 2 }]);
    world.lease("n2", { cpu: 1 });
    world.report("n2");
    expect(brief(create(world, "big", [{ cpu: 2 }, { cpu: 2 }]))).toEqual([]);
    expect(free(world)).toEqual({ n1: 2, n2: 1 });
    create(world, "small", [{ cpu: 1 }]);
    world.settle();
    expect(world.ready.has("small")).toBe(true);
    expect(world.engine.explain("big", 2_500)?.sentences).toEqual([
      "placement group big waits for room for its 2 bundles, as PACK, since 2.5 s.",
      "There is room for 0 of its 2 bundles of { cpu: 2 }.",
      "n1 has 1 of 2 cpu free, and 2 are wanted.",
      "n2 has 1 of 2 cpu free, and 2 are wanted.",
    ]);
    world.lease("n2", {});
    world.report("n2");
    world.send({ kind: "group-removed", groupId: "small" });
    world.settle();
    world.report("n1");
    world.settle();
    expect(world.ready.get("big")).toEqual(["n1", "n2"]);
  });

  test("higher priority goes first, then the older", () => {
    const world = new GroupWorld([{ cpu: 2 }]);
    world.lease("n1", { cpu: 2 });
    world.report("n1");
    create(world, "a", [{ cpu: 1 }]);
    create(world, "b", [{ cpu: 1 }]);
    create(world, "c", [{ cpu: 1 }], { priority: 5 });
    expect(world.engine.explain("a", 0)?.sentences).toContain(
      "1 other groups go first, by priority or because they are older.",
    );
    world.lease("n1", {});
    world.report("n1");
    world.settle();
    expect([...world.ready.keys()]).toEqual(["c", "a"]);
  });

  test("the same event twice changes nothing, and late answers give nothing away", () => {
    const world = new GroupWorld([{ cpu: 2 }, { cpu: 2 }]);
    const spec = specOf("g", [{ cpu: 2 }, { cpu: 2 }]);
    world.send({ kind: "group-created", spec });
    expect(world.send({ kind: "group-created", spec })).toEqual([]);
    const at = { groupId: "g", attempt: 1, nodeId: n("n1") };
    world.send({ kind: "bundles-prepared", ...at });
    expect(world.send({ kind: "bundles-prepared", ...at })).toEqual([]);
    expect(world.send({ kind: "bundles-committed", ...at }), "not before all have prepared").toEqual([]);
    const late = { groupId: "g", attempt: 0, nodeId: n("n1") };
    expect(world.send({ kind: "bundles-prepared", ...late })).toEqual([{ kind: "return-bundles", ...late }]);
    expect(world.send({ kind: "bundles-returned", ...late })).toEqual([]);
    expect(world.send({ kind: "bundles-refused", reason: "", ...late })).toEqual([]);
  });
});

describe("what can never be reserved", () => {
  test("is named after the timeout, and placed when nodes have joined", () => {
    const world = new GroupWorld([{ cpu: 2 }, { cpu: 2 }]);
    create(world, "g", [{ cpu: 2 }, { cpu: 2 }, { cpu: 2 }]);
    world.nowMs = 999;
    expect(world.send({ kind: "tick" })).toEqual([]);
    world.nowMs = 1_000;
    const message =
      "placement group g can never be reserved: the cluster could hold 2 of its 3 bundles of { cpu: 2 }, even if nothing else ran. Ask for less, or add nodes";
    expect(world.send({ kind: "tick" })).toEqual([{ kind: "group-infeasible", groupId: "g", message }]);
    expect(world.engine.explain("g", 1_000)?.sentences[1]).toBe(`${message}.`);
    expect(world.send({ kind: "tick" })).toEqual([]);
    world.addNode("n3", { cpu: 4 });
    world.settle();
    expect(world.ready.get("g")).toHaveLength(3);
  });

  test("by its strategy, or as a single bundle, says so", () => {
    const world = new GroupWorld([{ cpu: 8 }], { infeasibleTimeoutMs: 0 });
    const message = (commands: readonly GroupCommand[]) =>
      commands.flatMap((command) => (command.kind === "group-infeasible" ? command.message : []))[0];
    expect(message(create(world, "a", [{ cpu: 1 }, { cpu: 1 }], { strategy: "STRICT_SPREAD" }))).toBe(
      "placement group a can never be reserved: the cluster has room for each of its 2 bundles, but not for all of them as STRICT_SPREAD wants, even if nothing else ran. Ask for less, or add nodes",
    );
    expect(message(create(world, "b", [{ cpu: 9 }]))).toContain(
      "the best is n1 with { cpu: 8 }, which has 8 cpu, not 9",
    );
  });
});

test("why a group is where it is can be told afterwards, also of the nodes that it did not get", () => {
  const world = new GroupWorld([{ cpu: 2 }, { cpu: 2 }, { cpu: 1 }, { cpu: 2 }]);
  world.lease("n1", { cpu: 1 });
  world.report("n1");
  create(world, "g", [{ cpu: 2 }]);
  expect(world.engine.explain("g", 0)?.sentences[0]).toBe(
    "placement group g waits until n2 have prepared its bundles.",
  );
  world.settle();
  world.lease("n1", {});
  world.report("n1");
  expect(world.engine.explain("g", 0)?.sentences).toEqual([
    "placement group g is ready: its 1 bundles are on n2, as PACK.",
    "n2 has 1 of its bundles.",
    "n4 had room, and was not needed.",
    "n1 has 1 of 2 cpu free, and 2 are wanted.",
    "n3 has 1 cpu in all, and 2 are wanted.",
  ]);
});

describe("the end of a group", () => {
  test("is told when its resources are free, once, and again to who asks again", () => {
    const world = new GroupWorld([{ cpu: 2 }, { cpu: 2 }]);
    create(world, "g", [{ cpu: 2 }, { cpu: 2 }], { name: "x" });
    world.settle();
    expect(world.engine.find("", "x")).toBe("g");
    const commands = world.send({ kind: "group-removed", groupId: "g" });
    expect(commands[0]).toEqual({ kind: "forget-group", groupId: "g" });
    expect(brief(commands)).toEqual(["return-bundles n1", "return-bundles n2"]);
    expect(world.engine.find("", "x")).toBeUndefined();
    expect(world.send({ kind: "group-removed", groupId: "g" })).toEqual([]);
    expect(world.engine.explain("g", 0)?.sentences).toEqual([
      "placement group g is being removed; it waits until n1, n2 have returned its bundles.".replace(
        "group g",
        "group x",
      ),
    ]);
    expect(answer(world, "n1")).toEqual([]);
    expect(answer(world, "n2")).toEqual([{ kind: "group-removed", groupId: "g" }]);
    expect(free(world)).toEqual({ n1: 2, n2: 2 });
    expect(world.send({ kind: "group-removed", groupId: "g" })).toEqual([{ kind: "group-removed", groupId: "g" }]);
  });

  test("in the middle of being reserved returns what was prepared", () => {
    const world = new GroupWorld([{ cpu: 2 }, { cpu: 2 }]);
    create(world, "g", [{ cpu: 2 }, { cpu: 2 }]);
    answer(world, "n1");
    world.send({ kind: "group-removed", groupId: "g" });
    world.settle();
    expect(free(world)).toEqual({ n1: 2, n2: 2 });
    expect(world.commands.at(-1)).toEqual({ kind: "group-removed", groupId: "g" });
  });

  test("comes with the job, but for detached ones, and a death of the node counts as returned", () => {
    const world = new GroupWorld([{ cpu: 1 }, { cpu: 1 }, { cpu: 1 }]);
    create(world, "a", [{ cpu: 1 }]);
    create(world, "b", [{ cpu: 1 }], { lifetime: "detached" });
    create(world, "c", [{ cpu: 1 }], { jobId: "j2" as JobId });
    world.settle();
    expect(brief(world.send({ kind: "job-ended", jobId: "j1" as JobId }))).toEqual(["return-bundles n1"]);
    world.kill("n1");
    expect(world.commands.at(-1)).toEqual({ kind: "group-removed", groupId: "a" });
    expect([...world.ready.keys()]).toEqual(["b", "c"]);
  });

  test("names are taken in their namespace, and free after the removal", () => {
    const world = new GroupWorld([{ cpu: 4 }]);
    create(world, "a", [{ cpu: 1 }], { name: "x" });
    expect(create(world, "b", [{ cpu: 1 }], { name: "x" })).toEqual([
      {
        kind: "group-refused",
        groupId: "b",
        code: "NAME_TAKEN",
        message: "a placement group named x lives in the namespace ",
      },
    ]);
    expect(brief(create(world, "c", [{ cpu: 1 }], { name: "x", namespace: "other" }))).toEqual(["prepare-bundles n1"]);
    world.send({ kind: "group-removed", groupId: "a" });
    expect(brief(create(world, "d", [{ cpu: 1 }], { name: "x" }))).toEqual(["prepare-bundles n1"]);
    expect(create(world, "e", [])).toMatchObject([{ kind: "group-refused", code: "INVALID_OPTION" }]);
  });
});

describe("nodes that go", () => {
  test("a dead node's bundles are placed again, and the others stay", () => {
    const world = new GroupWorld([{ cpu: 1 }, { cpu: 1 }, { cpu: 1 }]);
    create(world, "g", [{ cpu: 1 }, { cpu: 1 }], { strategy: "STRICT_SPREAD" });
    world.settle();
    world.report("n1");
    world.report("n2");
    const before = world.commands.length;
    world.kill("n1");
    expect(world.commands.slice(before).filter(({ kind }) => kind !== "save-group")).toMatchObject([
      { kind: "group-lost-bundles", groupId: "g", indexes: [0] },
      { kind: "prepare-bundles", nodeId: "n3", attempt: 2, bundles: [{ index: 0 }], commit: true },
    ]);
    world.settle();
    expect(world.ready.get("g")).toEqual(["n3", "n2"]);
  });

  test("a death before all have prepared returns the rest, one after that keeps it", () => {
    const world = new GroupWorld([{ cpu: 1 }, { cpu: 1 }, { cpu: 1 }]);
    create(world, "g", [{ cpu: 1 }, { cpu: 1 }]);
    answer(world, "n1");
    world.kill("n2");
    expect(brief(world.commands.slice(-1))).toEqual(["return-bundles n1"]);
    world.move("n1", "toNode");
    world.report("n1");
    world.settle();
    expect(world.ready.get("g")).toEqual(["n1", "n3"]);
    const { world: two } = placedAgain();
    answer(two, "n4");
    answer(two, "n5");
    two.kill("n5");
    two.addNode("n6", { cpu: 1 });
    two.settle();
    expect(two.ready.get("g")).toEqual(["n4", "n6", "n3"]);
  });

  test("bundles of a draining node get another place first, and then go back", () => {
    const world = new GroupWorld([{ cpu: 1 }, { cpu: 1 }]);
    create(world, "g", [{ cpu: 1 }]);
    world.settle();
    world.drain("n1");
    expect(brief(world.commands.slice(-1))).toEqual(["prepare-bundles n2"]);
    expect(brief(answer(world, "n2"))).toEqual(["group-ready", "return-bundles n1"]);
    world.settle();
    expect(free(world)).toEqual({ n1: 1, n2: 0 });
  });

  test("what runs in bundles that have moved may go on, until the group is removed", () => {
    const world = new GroupWorld([{ cpu: 1 }, { cpu: 1 }]);
    create(world, "g", [{ cpu: 1 }]);
    world.settle();
    world.drain("n1");
    const back = { kind: "return-bundles", groupId: "g", attempt: 1, nodeId: n("n1") };
    expect(answer(world, "n2")).toContainEqual({ ...back, moved: true });
    expect(world.send({ kind: "node-joined", nodeId: n("n1") })).toEqual([{ ...back, moved: true }]);
    const removed = world.send({ kind: "group-removed", groupId: "g" });
    expect(removed).toContainEqual(back);
    world.settle();
    expect(free(world)).toEqual({ n1: 1, n2: 1 });
  });
});

describe("after a restart of control", () => {
  test("what was decided is carried out, and what was not is returned", () => {
    const world = new GroupWorld([{ cpu: 2 }, { cpu: 2 }, { cpu: 1 }]);
    create(world, "ready", [{ cpu: 1 }, { cpu: 1 }], { strategy: "STRICT_SPREAD" });
    world.settle();
    create(world, "decided", [{ cpu: 1 }, { cpu: 1 }], { strategy: "STRICT_SPREAD" });
    answer(world, "n1");
    answer(world, "n3");
    answer(world, "n2");
    create(world, "begun", [{ cpu: 1 }, { cpu: 1 }], { strategy: "STRICT_SPREAD" });
    for (const name of ["n1", "n2", "n3"]) world.move(name, "toNode");
    world.ready.clear();
    world.restart();
    world.settle();
    for (const name of ["n1", "n2", "n3"]) world.report(name);
    world.nowMs += 1_000;
    world.send({ kind: "tick" });
    world.settle();
    expect(world.ready.has("ready")).toBe(true);
    expect(world.ready.has("decided")).toBe(true);
    const held = [...world.nodes.values()].flatMap((node) => [...node.held.keys()].map((key) => key.split(" ")[0]));
    const wanted = ["ready", "ready", "decided", "decided", ...(world.ready.has("begun") ? ["begun", "begun"] : [])];
    expect(held.sort()).toEqual(wanted.sort());
  });
});

describe("large gangs beside small work", () => {
  test("nodes are earmarked for the first that has waited long, in turns that grow, and let go when it is placed", () => {
    const world = new GroupWorld([{ cpu: 2 }, { cpu: 2 }, { cpu: 2 }]);
    create(world, "actor", [{ cpu: 1 }]);
    world.settle();
    for (const name of ["n1", "n2", "n3"]) {
      world.lease(name, { cpu: 1 });
      world.report(name);
    }
    create(world, "big", [{ cpu: 2 }, { cpu: 2 }]);
    world.nowMs = 9_900;
    expect(world.send({ kind: "tick" })).toEqual([]);
    world.nowMs = 10_000;
    const earmark = (name: string, forMs: number) => ({
      kind: "earmark",
      nodeId: name,
      groupId: "big",
      units: { cpu: 20_000 },
      forMs,
    });
    expect(world.send({ kind: "tick" })).toEqual([earmark("n2", 2_000), earmark("n3", 2_000)]);
    // Groups behind it are not put there; one before it may be.
    expect(brief(create(world, "small", [{ cpu: 1 }]))).toEqual([]);
    expect(brief(create(world, "urgent", [{ cpu: 1 }], { priority: 1 }))).toEqual(["prepare-bundles n2"]);
    world.settle();
    world.nowMs = 12_000;
    expect(brief(world.send({ kind: "tick" })), "all may use them for as long").toEqual(["prepare-bundles n3"]);
    world.send({ kind: "group-removed", groupId: "small" });
    world.send({ kind: "group-removed", groupId: "urgent" });
    world.settle();
    world.report("n2");
    world.report("n3");
    world.nowMs = 13_900;
    expect(world.send({ kind: "tick" })).toEqual([]);
    world.nowMs = 14_000;
    expect(world.send({ kind: "tick" })).toEqual([earmark("n2", 4_000), earmark("n3", 4_000)]);
    world.lease("n2", {});
    world.lease("n3", {});
    world.report("n2");
    world.report("n3");
    const before = world.commands.length;
    world.settle();
    expect(world.ready.get("big")).toEqual(["n2", "n3"]);
    expect(brief(world.commands.slice(before)).filter((one) => one.startsWith("clear"))).toEqual([
      "clear-earmark n2",
      "clear-earmark n3",
    ]);
  });

  test("a single large bundle is such a gang too, also behind one of higher priority that has not waited", () => {
    const world = new GroupWorld([{ cpu: 2 }]);
    world.lease("n1", { cpu: 1 });
    world.report("n1");
    create(world, "large", [{ cpu: 2 }]);
    world.nowMs = 10_000;
    expect(brief(create(world, "urgent", [{ cpu: 2 }], { priority: 1 }))).toEqual(["earmark n1"]);
  });

  test("nothing is earmarked for what would not fit without leases either", () => {
    const world = new GroupWorld([{ cpu: 2 }, { cpu: 2 }]);
    create(world, "actor", [{ cpu: 1 }]);
    world.settle();
    world.report("n1");
    create(world, "big", [{ cpu: 2 }, { cpu: 2 }]);
    world.nowMs = 60_000;
    expect(world.send({ kind: "tick" })).toEqual([]);
    world.send({ kind: "group-removed", groupId: "actor" });
    world.settle();
    world.report("n1");
    world.settle();
    expect(world.ready.has("big")).toBe(true);
  });
});

describe("work of others that ends for a gang", () => {
  /** Three nodes full of leases that may end, as far as control knows on those that are named. */
  function setUp(known: readonly string[]) {
    const victims = known.map(
      (name): Victim => ({
        ...{ id: name, nodeId: nodeId(name), priority: 0, isRetriable: true, startedMs: 0 },
        units: toUnits({ cpu: 2 }),
      }),
    );
    const preemption = { afterMs: () => 2_000, victimsFor: ({ priority }: GroupSpec) => (priority > 0 ? victims : []) };
    const world = new GroupWorld([{ cpu: 2 }, { cpu: 2 }, { cpu: 2 }], { preemption });
    for (const name of ["n1", "n2", "n3"]) {
      world.lease(name, { cpu: 2 });
      world.report(name);
    }
    return world;
  }
  const bundles = [{ cpu: 2 }, { cpu: 2 }, { cpu: 2 }];
  const gang = (world: GroupWorld, name: string, priority: number) =>
    create(world, name, bundles, { priority, strategy: "STRICT_SPREAD" });
  const told = (commands: readonly GroupCommand[]) =>
    commands.flatMap((one) => {
      if (one.kind === "clear-earmark") return [`clear ${one.groupId} ${one.nodeId}`];
      if (one.kind !== "earmark") return [];
      return [`${one.ending?.isDecided ? "end" : one.ending ? "ask" : "keep"} ${one.groupId} ${one.nodeId}`];
    });
  const says = (world: GroupWorld, name: string, canEnd: boolean, groupId = "gang") =>
    told(world.send({ kind: "earmark-answered", groupId, nodeId: nodeId(name), canEnd }));
  const asks = (groupId: string) => ["n1", "n2", "n3"].map((name) => `ask ${groupId} ${name}`);
  const at = (world: GroupWorld, nowMs: number) => {
    world.nowMs = nowMs;
    return told(world.send({ kind: "tick" }));
  };

  test("is asked for at all nodes, and ends when all have said that it may; then the gang has its room", () => {
    const world = setUp(["n1", "n2", "n3"]);
    gang(world, "gang", 1);
    gang(world, "behind", 0);
    expect(at(world, 1_900)).toEqual([]);
    expect(at(world, 2_000)).toEqual(asks("gang"));
    expect(world.engine.explain("gang", 2_000)?.sentences.at(-1)).toMatch(/n1, n2, n3 are asked whether what may run/);
    expect([says(world, "n1", true), says(world, "n1", true), says(world, "n3", true)].flat()).toEqual([]);
    expect(says(world, "n2", true)).toEqual(["end gang n1", "end gang n2", "end gang n3"]);
    expect(world.engine.explain("gang", 2_000)?.sentences.at(-1)).toMatch(/other jobs ends for it, at n1, n2, n3\./);
    // What is decided is seen through, whatever comes.
    expect(says(world, "n2", false)).toEqual([]);
    gang(world, "higher", 5);
    expect(at(world, 4_100)).toEqual([]);
    world.send({ kind: "group-removed", groupId: "higher" });
    for (const name of ["n1", "n2", "n3"]) {
      world.lease(name, {});
      world.report(name);
      if (name !== "n3") expect(world.ready.has("gang")).toBe(false);
      world.settle();
    }
    expect(world.ready.get("gang")).toEqual(["n1", "n2", "n3"]);
    for (const node of world.view.nodes()) expect(node.state.kept).toEqual({});
  });

  test("does not when one node has too little of it: nothing is kept any more, and it is asked for later", () => {
    const world = setUp(["n1", "n2", "n3"]);
    gang(world, "gang", 1);
    expect(at(world, 2_000)).toEqual(asks("gang"));
    expect(says(world, "n1", true)).toEqual([]);
    expect(says(world, "n2", false)).toEqual(["clear gang n1", "clear gang n2", "clear gang n3"]);
    expect(world.engine.explain("gang", 2_100)?.sentences.at(-1)).toMatch(/would end for it, but that is not enough/);
    expect(says(world, "n3", true)).toEqual([]);
    expect(at(world, 6_900)).toEqual([]);
    expect(at(world, 7_000)).toEqual(asks("gang"));
    // Who does not answer is as one who says no.
    expect(at(world, 9_000)).toEqual([]);
    for (const node of world.view.nodes()) expect(node.state.kept).toEqual({});
    expect(world.commands.filter((one) => one.kind === "earmark" && one.ending?.isDecided)).toEqual([]);
  });

  test("is not asked for when it would not be enough, or for a gang that goes behind another for which it is", () => {
    const few = setUp(["n1", "n2"]);
    gang(few, "gang", 1);
    expect(at(few, 2_000)).toEqual([]);
    expect(few.engine.explain("gang", 2_000)?.sentences.at(-1)).toMatch(/is not enough for all of it, so nothing ends/);
    const world = setUp(["n1", "n2", "n3"]);
    gang(world, "gang", 1);
    world.nowMs = 500;
    gang(world, "higher", 5);
    expect(at(world, 2_000)).toEqual(asks("gang"));
    expect(at(world, 2_500)).toEqual(["clear gang n1", "clear gang n2", "clear gang n3", ...asks("higher")]);
    expect(at(world, 3_000)).toEqual([]);
  });
});

describe("what runs in a group", () => {
  test("is told its bundles, waits while they have no place, and is refused with the reason", () => {
    const world = new GroupWorld([{ cpu: 2 }, { cpu: 4 }]);
    create(world, "g", [{ cpu: 4 }, { cpu: 2 }]);
    const { engine } = world;
    expect(engine.bundlesFor("g", undefined, toUnits({ cpu: 1 }))).toMatchObject({ kind: "waits" });
    world.settle();
    const bundles = [
      { index: 0, nodeId: "n2" },
      { index: 1, nodeId: "n1" },
    ];
    expect(engine.bundlesFor("g", undefined, toUnits({ cpu: 1 }))).toMatchObject({ kind: "bundles", bundles });
    expect(engine.bundlesFor("g", 1, toUnits({ cpu: 1 }))).toMatchObject({
      kind: "bundles",
      bundles: bundles.slice(1),
    });
    expect(engine.bundlesFor("g", 1, toUnits({ cpu: 3 }))).toMatchObject({ code: "INFEASIBLE" });
    expect(engine.bundlesFor("g", 2, {})).toMatchObject({
      code: "INVALID_OPTION",
      message: "bundleIndex is 2; placement group g has 2 bundles, from 0",
    });
    expect(engine.explain("g", 0)?.sentences).toEqual([
      "placement group g is ready: its 2 bundles are on n2, n1, as PACK.",
      "n1 has 1 of its bundles.",
      "n2 has 1 of its bundles.",
    ]);
    world.send({ kind: "group-removed", groupId: "g" });
    expect(engine.bundlesFor("g", 0, {})).toMatchObject({ code: "GROUP_REMOVED" });
  });
});

test("a group waits for the quota of its job, counts for it from the first order to the last return, and says so", () => {
  const charged: string[] = [];
  let isAllowed = false;
  const quotas = {
    allows: () => isAllowed,
    left: ({ groupId }: { readonly groupId: string }) => void charged.push(`${groupId} waits no more`),
    charge: ({ groupId }: { readonly groupId: string }, count: number) => void charged.push(`${groupId} ${count}`),
    describe: () => "Its job may use no more.",
  };
  const world = new GroupWorld([{ cpu: 2 }, { cpu: 2 }], { quotas });
  expect(brief(create(world, "g", [{ cpu: 2 }, { cpu: 2 }]))).toEqual([]);
  expect(world.engine.explain("g", 0)?.sentences).toEqual(["Its job may use no more."]);
  // It keeps no room for what it may not have.
  world.nowMs = 60_000;
  expect(world.send({ kind: "tick" })).toEqual([]);
  isAllowed = true;
  expect(brief(world.send({ kind: "quotas-changed" }))).toEqual(["prepare-bundles n1", "prepare-bundles n2"]);
  expect(charged.splice(0)).toEqual(["g waits no more", "g 1"]);
  isAllowed = false;
  for (let round = 0; round < 2; round++) for (const name of ["n1", "n2"]) answer(world, name);
  expect(world.ready.has("g")).toBe(true);
  world.send({ kind: "group-removed", groupId: "g" });
  answer(world, "n1");
  expect(charged.splice(0)).toEqual([]);
  answer(world, "n2");
  expect(charged.splice(0)).toEqual(["g -1"]);
  create(world, "h", [{ cpu: 2 }]);
  world.send({ kind: "group-removed", groupId: "h" });
  expect(charged).toEqual(["h waits no more"]);
});

describe("what a node has placed by itself", () => {
  const adopt = (world: GroupWorld, ...of: Parameters<typeof specOf>) =>
    world.send({ kind: "group-adopted", spec: specOf(...of), nodeId: n("n1") });

  test("is ready at once and written down, charged to its job once, and used as any other", () => {
    const charged: number[] = [];
    const quotas = {
      allows: () => true,
      charge: (_spec: unknown, count: number) => charged.push(count),
      left() {},
      describe: () => "",
    };
    const world = new GroupWorld([{ cpu: 2 }, { cpu: 2 }], { quotas });
    expect(adopt(world, "g", [{ cpu: 1 }, { cpu: 1 }])).toMatchObject([
      { kind: "save-group", record: { reservations: [{ attempt: OWN_ATTEMPT, nodeId: "n1", indexes: [0, 1] }] } },
      { kind: "group-ready", nodes: ["n1", "n1"] },
    ]);
    expect(adopt(world, "g", [{ cpu: 1 }, { cpu: 1 }])).toEqual([]);
    expect(charged).toEqual([1]);
    expect(world.engine.bundlesFor("g", 1, toUnits({ cpu: 1 }))).toMatchObject({
      bundles: [{ nodeId: "n1", index: 1 }],
    });
    expect(world.engine.explain("g", 0)?.sentences).toEqual([
      "placement group g is ready: its 2 bundles are on n1, as PACK.",
      "It was asked for on n1, which had room for all of it and has placed it by itself.",
    ]);
  });

  test("removed by that node it is gone, and nobody is told to return anything; removed by others, the node is", () => {
    const world = new GroupWorld([{ cpu: 2 }]);
    adopt(world, "g", [{ cpu: 1 }]);
    expect(brief(world.send({ kind: "group-removed", groupId: "g", by: n("n1") }))).toEqual(["group-removed"]);
    adopt(world, "h", [{ cpu: 1 }]);
    expect(brief(world.send({ kind: "group-removed", groupId: "h", by: n("n2") }))).toEqual(["return-bundles n1"]);
    expect(brief(world.send({ kind: "group-removed", groupId: "h", by: n("n1") }))).toEqual(["group-removed"]);
    expect(world.records.size).toBe(0);
  });

  test("is returned when it has another place, or is being removed", () => {
    const world = new GroupWorld([{ cpu: 1 }, { cpu: 2 }], { firstAttempt: 100 });
    create(world, "g", [{ cpu: 2 }]);
    expect(brief(adopt(world, "g", [{ cpu: 2 }]))).toEqual(["return-bundles n1"]);
    answer(world, "n2");
    expect(world.engine.bundlesFor("g", 0, {})).toMatchObject({ bundles: [{ nodeId: "n2" }] });
    world.send({ kind: "group-removed", groupId: "g" });
    expect(brief(adopt(world, "g", [{ cpu: 2 }]))).toEqual(["return-bundles n1"]);
  });

  test("moves at once when its node is being drained", () => {
    const world = new GroupWorld([{ cpu: 1 }, { cpu: 1 }], { firstAttempt: 100 });
    world.drain("n1");
    expect(brief(adopt(world, "g", [{ cpu: 1 }]))).toEqual(["group-ready", "prepare-bundles n2"]);
    expect(brief(answer(world, "n2"))).toEqual(["group-ready", "return-bundles n1"]);
  });
});
