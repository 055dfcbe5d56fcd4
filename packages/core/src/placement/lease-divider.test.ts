import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { NodeId } from "../base/ids.ts";
import type { Resources } from "../base/resources.ts";
import { slots } from "./amounts.ts";
import { LeaseDivider, type LeaseRequest } from "./lease-divider.ts";
import { clusterOf, freeCpus, join, nodeId, report, shapeOf } from "./test-cluster.ts";

const n = nodeId;
const grants = (counts: Record<string, number>): Map<NodeId, number> =>
  new Map(Object.entries(counts).map(([name, count]) => [n(name), count]));
const request = (wanted: number, more: Partial<LeaseRequest> = {}): LeaseRequest => ({
  shape: shapeOf({ cpu: 1 }),
  strategy: "default",
  from: n("n1"),
  granted: new Map(),
  wanted,
  ...more,
});
function divided(divider: LeaseDivider, key: string, of: LeaseRequest): Record<string, number> | string {
  const division = divider.divide(key, of);
  return division.kind === "divided" ? Object.fromEntries(division.at) : division.code;
}

describe("a division", () => {
  test("fills the asking node to half, then spreads, and what has room nowhere waits by the sizes of the nodes", () => {
    const view = clusterOf([{ cpu: 4 }, { cpu: 4 }, { cpu: 8 }]);
    const divider = new LeaseDivider(view);
    expect(divided(divider, "a", request(2))).toEqual({ n1: 2 });
    expect(divided(divider, "a", request(4))).toEqual({ n1: 2, n2: 1, n3: 1 });
    expect(divided(divider, "a", request(16))).toEqual({ n1: 4, n2: 4, n3: 8 });
    expect(divided(divider, "a", request(24))).toEqual({ n1: 6, n2: 6, n3: 12 });
  });

  test("does not move what is granted, or asked for at a node with room", () => {
    const view = clusterOf([{ cpu: 4 }, { cpu: 4 }, { cpu: 4 }]);
    const divider = new LeaseDivider(view);
    const first = divided(divider, "a", request(8));
    expect(divided(divider, "a", request(8))).toEqual(first);
    report(view, "n2", { cpu: 1 });
    report(view, "n3", { cpu: 4 });
    const granted = grants({ n1: 3, n2: 3 });
    const second = divided(divider, "a", request(8, { granted }));
    expect(divided(divider, "a", request(8, { granted }))).toEqual(second);
    expect(second).toMatchObject({ n1: 3, n2: 3, n3: 2 });
  });

  test("what waits goes to a node where room has come up, and no more of it than has room", () => {
    const view = clusterOf([{ cpu: 2 }, { cpu: 2 }]);
    report(view, "n1", { cpu: 0 });
    report(view, "n2", { cpu: 0 });
    const divider = new LeaseDivider(view);
    expect(divided(divider, "a", request(6))).toEqual({ n1: 3, n2: 3 });
    report(view, "n2", { cpu: 2 });
    expect(divided(divider, "a", request(6))).toEqual({ n1: 3, n2: 3 });
    join(view, "n3", { cpu: 1 });
    expect(divided(divider, "a", request(6))).toEqual({ n1: 2, n2: 3, n3: 1 });
  });

  test("a lower number withdraws what was not granted, elsewhere first", () => {
    const view = clusterOf([{ cpu: 4 }, { cpu: 4 }]);
    const divider = new LeaseDivider(view);
    divided(divider, "a", request(8));
    const granted = grants({ n2: 2, n1: 2 });
    expect(divided(divider, "a", request(4, { granted }))).toEqual({ n1: 2, n2: 2 });
    expect(divided(divider, "a", request(3, { granted }))).toEqual({ n1: 2, n2: 1 });
    expect(divided(divider, "a", request(0, { granted }))).toEqual({});
  });

  test("several owners do not count on the same room, and what is granted is not offered again before the node says so", () => {
    const view = clusterOf([{ cpu: 2 }, { cpu: 2 }]);
    const divider = new LeaseDivider(view);
    expect(divided(divider, "a", request(3))).toEqual({ n1: 2, n2: 1 });
    expect(divided(divider, "b", request(1))).toEqual({ n2: 1 });
    divided(divider, "a", request(3, { granted: grants({ n1: 2, n2: 1 }) }));
    expect(freeCpus(view)).toEqual({ n1: 0, n2: 0 });
    divider.forget("b");
    expect(freeCpus(view)).toEqual({ n1: 0, n2: 1 });
  });

  test("spread is even, a named node gets all, and what can never run is refused", () => {
    const view = clusterOf([{ cpu: 4 }, { cpu: 4 }, { cpu: 4 }]);
    const divider = new LeaseDivider(view);
    expect(divided(divider, "a", request(6, { strategy: "spread" }))).toEqual({ n1: 2, n2: 2, n3: 2 });
    divider.forget("a");
    const named = { nodeId: n("n2"), soft: false };
    expect(divided(divider, "a", request(9, { strategy: named }))).toEqual({ n2: 9 });
    expect(divided(divider, "b", request(1, { strategy: { nodeId: n("n7"), soft: false } }))).toBe("NODE_NOT_FOUND");
    expect(divided(divider, "b", request(1, { shape: shapeOf({ cpu: 5 }) }))).toBe("INFEASIBLE");
  });

  test("leases on a dead node are none, and those on a draining one stay and get no company", () => {
    const view = clusterOf([{ cpu: 2 }, { cpu: 4 }, { cpu: 4 }]);
    const divider = new LeaseDivider(view);
    const granted = grants({ n2: 2, n3: 1 });
    view.apply({ kind: "node-died", nodeId: n("n2") });
    view.apply({ kind: "node-draining", nodeId: n("n3") });
    expect(divided(divider, "a", request(5, { granted }))).toEqual({ n3: 1, n1: 4 });
  });

  test("is explained", () => {
    const view = clusterOf([{ cpu: 1 }, { cpu: 1 }]);
    const divider = new LeaseDivider(view);
    report(view, "n2", { cpu: 0 });
    divider.divide("a", request(3, { granted: grants({ n2: 1 }) }));
    expect(divider.explain("a")?.sentences).toEqual([
      "f could use 3 leases; asked for at 2 nodes: 1 at n2 (1 granted), 2 at n1.",
      "f wants { cpu: 1 }; no node has room for it now, and it waits.",
      "n1 has 0 of 1 cpu free, and 1 is wanted.",
      "n2 has 0 of 1 cpu free, and 1 is wanted.",
    ]);
    expect(divider.explain("b")).toBeUndefined();
  });

  test("why a node was asked is remembered as it was, also when its owner has ended", () => {
    const view = clusterOf([{ cpu: 1 }, { cpu: 1 }, { cpu: 1 }]);
    report(view, "n1", { cpu: 0 });
    const divider = new LeaseDivider(view);
    divider.divide("a", request(1));
    report(view, "n1", { cpu: 1 });
    report(view, "n2", { cpu: 0 });
    divider.divide("a", request(1, { granted: grants({ n2: 1 }) }));
    const told = [
      "f wants { cpu: 1 }; it went to n2, the least utilised of those with room, at 0 %.",
      "n2 was chosen.",
      "n3 had room, and was not the first of equally good ones.",
      "n1 has 0 of 1 cpu free, and 1 is wanted.",
    ];
    expect(divider.explainAt("a", nodeId("n2"))?.sentences).toEqual(told);
    expect(divider.explainAt("a", nodeId("n1"))).toBeUndefined();
    divider.forget("a");
    expect(divider.explainAt("a", nodeId("n2"))?.sentences).toEqual(told);
    for (let past = 0; past < 1_000; past++) {
      divider.divide(`${past}`, request(1));
      divider.forget(`${past}`);
    }
    expect(divider.explainAt("a", nodeId("n2"))).toBeUndefined();
  });

  test("of very many leases over very many nodes is even and quick", () => {
    const view = clusterOf(Array.from({ length: 1_000 }, () => ({ cpu: 64 })));
    const division = new LeaseDivider(view).divide("a", request(32_000));
    const counts = division.kind === "divided" ? [...division.at.values()] : [];
    expect(counts.reduce((a, b) => a + b, 0)).toBe(32_000);
    expect(Math.max(...counts)).toBeLessThanOrEqual(36);
    expect(Math.min(...counts)).toBeGreaterThanOrEqual(28);
  });
});

describe("random numbers and views", () => {
  const machine = fc.constantFrom<Resources[]>({ cpu: 2 }, { cpu: 4 }, { cpu: 8, gpu: 2 }, { disk: 1 });
  const step = fc.oneof(
    fc.record({
      kind: fc.constant("divide" as const),
      key: fc.constantFrom("a", "b"),
      wanted: fc.integer({ min: 0, max: 30 }),
      of: fc.constantFrom<Resources[]>({ cpu: 1 }, { cpu: 2 }, { gpu: 0.5 }, {}),
      strategy: fc.constantFrom("default" as const, "spread" as const),
      grant: fc.array(fc.nat({ max: 3 }), { minLength: 4, maxLength: 4 }),
    }),
    fc.record({ kind: fc.constant("report" as const), at: fc.integer({ min: 1, max: 4 }), cpu: fc.nat({ max: 8 }) }),
    fc.record({ kind: fc.constant("drain" as const), at: fc.integer({ min: 1, max: 4 }) }),
  );
  test("the numbers add up to what is wanted, granted leases stay, and the same again changes nothing", () => {
    fc.assert(
      fc.property(
        fc.array(machine, { minLength: 1, maxLength: 4 }),
        fc.array(step, { maxLength: 30 }),
        (machines, list) => {
          const view = clusterOf(machines);
          const divider = new LeaseDivider(view);
          for (const one of list) {
            if (one.kind === "drain") view.apply({ kind: "node-draining", nodeId: n(`n${one.at}`) });
            if (one.kind === "report") {
              const total = view.node(n(`n${one.at}`))?.state.total ?? {};
              const free = { ...total, cpu: Math.min(total.cpu ?? 0, one.cpu * 10_000) };
              view.apply({ kind: "node-reported", nodeId: n(`n${one.at}`), free });
            }
            if (one.kind !== "divide") continue;
            const granted = grants(Object.fromEntries(one.grant.map((count, index) => [`n${index + 1}`, count])));
            for (const id of [...granted.keys()]) if (!view.node(id)) granted.delete(id);
            const of = request(one.wanted, { shape: shapeOf(one.of), strategy: one.strategy, granted });
            const division = divider.divide(one.key, of);
            if (division.kind === "refused") continue;
            const total = [...division.at.values()].reduce((a, b) => a + b, 0);
            expect(total).toBe(one.wanted);
            const held = [...granted.values()].reduce((a, b) => a + b, 0);
            if (held <= one.wanted) {
              for (const [id, count] of granted) expect(division.at.get(id) ?? 0).toBeGreaterThanOrEqual(count);
            }
            const again = divider.divide(one.key, of);
            expect(again).toEqual(division);
            for (const node of view.nodes()) expect(slots(node.state.free, { cpu: 1 })).toBeGreaterThanOrEqual(0);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});
