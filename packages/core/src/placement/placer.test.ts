import { describe, expect, test } from "vitest";
import type { ClusterView } from "./cluster-view.ts";
import { Placer } from "./placer.ts";
import type { PlacementRequest } from "./policy.ts";
import { clusterOf, freeCpus, join, nodeId, report, shapeOf } from "./test-cluster.ts";

/** Where `count` equal demands go, one after the other. */
function place(view: ClusterView, count: number, request: PlacementRequest, placer = new Placer(view)): string[] {
  return Array.from({ length: count }, () => {
    const decision = placer.decide(request);
    return decision.kind === "refused"
      ? decision.code
      : decision.kind === "waits"
        ? `waits ${decision.nodeId}`
        : decision.nodeId;
  });
}
const n = nodeId;
const oneCpu = shapeOf({ cpu: 1 });

describe("the default policy", () => {
  test("fills the asking node to half, then the least utilised, and says where it waits when all is full", () => {
    const view = clusterOf([{ cpu: 4 }, { cpu: 4 }, { cpu: 2 }]);
    const to = place(view, 11, { shape: oneCpu, strategy: "default", from: n("n2") });
    // Utilisation is measured before the placement: at 0 and 25 % it packs.
    expect(to.slice(0, 2)).toEqual(["n2", "n2"]);
    expect(to.slice(2, 5).sort()).toEqual(["n1", "n1", "n3"].sort());
    expect(freeCpus(view)).toEqual({ n1: 0, n2: 0, n3: 0 });
    expect(to[10]).toBe("waits n2");
  });

  test("prefers the node with the most bytes of the arguments that has room", () => {
    const view = clusterOf([{ cpu: 4 }, { cpu: 1 }, { cpu: 4 }]);
    const locality = [
      { nodeId: n("n3"), bytes: 5 },
      { nodeId: n("n2"), bytes: 9 },
      { nodeId: n("gone"), bytes: 20 },
    ];
    expect(place(view, 3, { shape: oneCpu, strategy: "default", from: n("n1"), locality })).toEqual(["n2", "n3", "n3"]);
  });

  test("keeps machines with GPUs for demands that want GPUs while anything else has room", () => {
    const view = clusterOf([{ cpu: 4, gpu: 1 }, { cpu: 2 }]);
    expect(place(view, 4, { shape: oneCpu, strategy: "default", from: n("n1") })).toEqual(["n2", "n2", "n1", "n1"]);
    expect(place(view, 1, { shape: shapeOf({ gpu: 1 }), strategy: "default", from: n("n2") })).toEqual(["n1"]);
  });

  test("puts a fraction of a GPU on a device of which a part is taken already", () => {
    const view = clusterOf([
      { cpu: 8, gpu: 2 },
      { cpu: 8, gpu: 2 },
    ]);
    report(view, "n2", { cpu: 1, gpu: 1.5 }, [0.5, 1]);
    expect(place(view, 3, { shape: shapeOf({ gpu: 0.5 }), strategy: "default" })).toEqual(["n2", "n1", "n1"]);
    expect(place(view, 3, { shape: shapeOf({ gpu: 1 }), strategy: "default" })).toEqual(["n1", "n2", "waits n1"]);
  });

  test("does not take halves of two GPUs for a whole one", () => {
    const view = clusterOf([{ cpu: 8, gpu: 2 }]);
    report(view, "n1", { cpu: 8, gpu: 1 }, [0.5, 0.5]);
    expect(place(view, 1, { shape: shapeOf({ gpu: 1 }), strategy: "default" })).toEqual(["waits n1"]);
    expect(place(view, 3, { shape: shapeOf({ gpu: 0.5 }), strategy: "default" })).toEqual(["n1", "n1", "waits n1"]);
  });

  test("demands of nothing go round the nodes that offer something", () => {
    const view = clusterOf([{}, { cpu: 1 }, { cpu: 1 }, { cpu: 1, gpu: 1 }]);
    expect(place(view, 3, { shape: shapeOf({}), strategy: "default", from: n("n1") })).toEqual(["n2", "n3", "n2"]);
    expect(place(clusterOf([{}]), 2, { shape: shapeOf({}), strategy: "default", from: n("n1") })).toEqual(["n1", "n1"]);
  });

  test("demands of custom resources alone go round too", () => {
    const view = clusterOf([
      { cpu: 1, disk: 2 },
      { cpu: 1, disk: 2 },
    ]);
    const shape = shapeOf({ disk: 1 });
    expect(place(view, 5, { shape, strategy: "default", from: n("n2") })).toEqual(["n2", "n1", "n2", "n1", "waits n2"]);
  });

  test("of equally utilised nodes the one with the emptier store is better", () => {
    const view = clusterOf([{ cpu: 4 }, { cpu: 4 }]);
    view.apply({ kind: "node-reported", nodeId: n("n1"), store: { usedBytes: 90, capacityBytes: 100 } });
    expect(place(view, 1, { shape: oneCpu, strategy: "default" })).toEqual(["n2"]);
  });
});

describe("spread, affinity and labels", () => {
  test.each(["default", "spread"] as const)(
    "%s: where nobody offers anything, what wants nothing runs on the node that asks",
    (strategy) => {
      const view = clusterOf([{}, {}]);
      expect(place(view, 2, { shape: shapeOf({}), strategy, from: n("n2") })).toEqual(["n2", "n2"]);
    },
  );

  test("spread goes round the nodes with room, beginning with the asking node", () => {
    const view = clusterOf([{ cpu: 2 }, { cpu: 1 }, { cpu: 2, gpu: 1 }, { gpu: 1 }]);
    expect(place(view, 6, { shape: oneCpu, strategy: "spread", from: n("n2") })).toEqual([
      "n2",
      "n3",
      "n1",
      "n3",
      "n1",
      "waits n2",
    ]);
  });

  test("hard affinity waits for its node, names one that is unknown, and refuses one that is dead or too small", () => {
    const view = clusterOf([{ cpu: 1 }, { cpu: 8 }, { cpu: 8 }]);
    const on = (name: string, cpu = 1): PlacementRequest => ({
      shape: shapeOf({ cpu }),
      strategy: { nodeId: n(name), soft: false },
      from: n("n2"),
    });
    expect(place(view, 2, on("n1"))).toEqual(["n1", "waits n1"]);
    expect(place(view, 1, on("n9"))).toEqual(["NODE_NOT_FOUND"]);
    expect(place(view, 1, on("n1", 2))).toEqual(["INFEASIBLE"]);
    view.apply({ kind: "node-died", nodeId: n("n3") });
    expect(new Placer(view).decide(on("n3"))).toMatchObject({
      code: "INFEASIBLE",
      message: "f needs { cpu: 1 } on node n3, which is dead. Name another node, or let it be soft",
    });
  });

  test("soft affinity waits for a node that could ever fit, and is default otherwise", () => {
    const view = clusterOf([{ cpu: 1 }, { cpu: 8 }]);
    const on = (name: string, cpu = 1): PlacementRequest => ({
      shape: shapeOf({ cpu }),
      strategy: { nodeId: n(name), soft: true },
      from: n("n2"),
    });
    expect(place(view, 2, on("n1"))).toEqual(["n1", "waits n1"]);
    expect(place(view, 1, on("n1", 2))).toEqual(["n2"]);
    expect(place(view, 1, on("n9"))).toEqual(["n2"]);
    view.apply({ kind: "node-died", nodeId: n("n1") });
    expect(place(view, 1, on("n1"))).toEqual(["n2"]);
  });

  test("selectors are tried in order, and a demand waits where the first of them that could ever be met says", () => {
    const view = clusterOf([
      { resources: { cpu: 1 }, labels: { zone: "a", tier: "spot" } },
      { resources: { cpu: 1 }, labels: { zone: "b" } },
      { resources: { cpu: 1 }, labels: { zone: "c" } },
    ]);
    const shape = shapeOf({ cpu: 1 }, { zone: "x" }, { tier: "!spot", zone: "in(a,b)" }, { zone: "a" });
    expect(place(view, 3, { shape, strategy: "default", from: n("n3") })).toEqual(["n2", "n1", "waits n2"]);
    expect(place(view, 1, { shape: shapeOf({ cpu: 1 }, { zone: "x" }), strategy: "spread" })).toEqual(["INFEASIBLE"]);
    view.apply({ kind: "node-changed", nodeId: n("n3"), labels: { zone: "x" } });
    expect(place(view, 1, { shape, strategy: "default" })).toEqual(["n3"]);
  });

  test("custom resources are searched by name, and thousands of names do not wear out the view", () => {
    const view = clusterOf(
      Array.from({ length: 300 }, (_, index) => ({ cpu: 1, [`disk${index}`]: 1 })),
      { poolsMax: 8 },
    );
    const to = Array.from({ length: 300 }, (_, index) =>
      place(view, 1, { shape: shapeOf({ [`disk${index}`]: 1 }), strategy: "default" }),
    );
    expect(to.flat()).toEqual(Array.from({ length: 300 }, (_, index) => `n${index + 1}`));
  });
});

describe("the view", () => {
  test("draining nodes take nothing new, nodes that join do, dead ones stay known until forgotten", () => {
    const view = clusterOf([{ cpu: 4 }, { cpu: 4 }]);
    view.apply({ kind: "node-draining", nodeId: n("n1") });
    expect(place(view, 2, { shape: oneCpu, strategy: "default", from: n("n1") })).toEqual(["n2", "n2"]);
    view.apply({ kind: "node-died", nodeId: n("n2") });
    expect(place(view, 1, { shape: oneCpu, strategy: "default", from: n("n1") })).toEqual(["INFEASIBLE"]);
    join(view, "n3", { cpu: 1 });
    expect(place(view, 1, { shape: oneCpu, strategy: "spread", from: n("n1") })).toEqual(["n3"]);
    expect(view.node(n("n2"))?.state.status).toBe("dead");
    view.apply({ kind: "node-forgotten", nodeId: n("n2") });
    expect(view.node(n("n2"))).toBeUndefined();
  });

  test("what was decided is taken off until the node's report has seen it", () => {
    const view = clusterOf([{ cpu: 4 }]);
    const placer = new Placer(view);
    const first = placer.decide({ shape: oneCpu, strategy: "default" });
    placer.decide({ shape: oneCpu, strategy: "default" });
    expect(freeCpus(view)).toEqual({ n1: 2 });
    const seen = first.kind === "placed" ? first.taken : -1;
    view.apply({ kind: "node-reported", nodeId: n("n1"), free: { cpu: 30_000 }, seen });
    expect(freeCpus(view), "the second is not in the report yet").toEqual({ n1: 2 });
    report(view, "n1", { cpu: 2 });
    expect(freeCpus(view)).toEqual({ n1: 2 });
  });

  test("what is held outlives reports until it is let go or settled", () => {
    const view = clusterOf([{ cpu: 4 }]);
    const node = view.node(n("n1"));
    if (!node) throw new Error("no node");
    const first = view.hold(node, oneCpu.units);
    const second = view.hold(node, oneCpu.units, 2);
    report(view, "n1", { cpu: 4 });
    expect(freeCpus(view)).toEqual({ n1: 1 });
    view.release(second);
    view.release(second);
    expect(freeCpus(view)).toEqual({ n1: 3 });
    view.settle(first);
    expect(freeCpus(view)).toEqual({ n1: 3 });
    report(view, "n1", { cpu: 3 });
    expect(freeCpus(view)).toEqual({ n1: 3 });
  });
});

describe("what can never run", () => {
  test("is named at once, with the best node and what it lacks", () => {
    const view = clusterOf([{ cpu: 4 }, { cpu: 8, gpu: 1 }]);
    const message = (request: PlacementRequest) => {
      const decision = new Placer(view).decide(request);
      return decision.kind === "refused" ? decision.message : decision.kind;
    };
    expect(message({ shape: shapeOf({ cpu: 16, gpu: 2 }), strategy: "default" })).toBe(
      "f needs { cpu: 16, gpu: 2 }, and no node can ever offer that; the best is n2 with { cpu: 8, gpu: 1 }, " +
        "which has 8 cpu, not 16 and has 1 gpu, not 2. Ask for less, or add a node",
    );
    expect(message({ shape: shapeOf({ cpu: 1 }, { zone: "a" }), strategy: "default" })).toBe(
      "f needs { cpu: 1 } and a node with zone a, and no node can ever offer that; the best is n1 with { cpu: 4 }, " +
        'which has no label zone, and "a" is wanted. Ask for less, or add a node',
    );
    expect(new Placer(clusterOf([])).decide({ shape: oneCpu, strategy: "default" })).toMatchObject({
      message: "f needs { cpu: 1 }, and there is no node that takes work. Start one with mobula start",
    });
  });
});
