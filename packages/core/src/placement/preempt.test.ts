import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Resources, toUnits } from "../base/resources.ts";
import { fits } from "./amounts.ts";
import { preempt, preemptForGang, type Victim } from "./preempt.ts";
import { clusterOf, type NodeSpec, nodeId, report, shapeOf } from "./test-cluster.ts";

function victim(id: string, node: string, resources: Resources, more: Partial<Victim> = {}): Victim {
  return { id, nodeId: nodeId(node), priority: 0, isRetriable: true, startedMs: 0, units: toUnits(resources), ...more };
}
const ids = (found: ReturnType<typeof preempt>) => found && [found.nodeId, ...found.victims.map(({ id }) => id)];

/** n1, n2, ... with nothing free. */
function full(...nodes: (Resources | NodeSpec)[]) {
  const view = clusterOf(nodes);
  for (const index of nodes.keys()) report(view, `n${index + 1}`, {});
  return view;
}

describe("preemption", () => {
  test("ends the fewest, and of equally few the lowest priority, then the newest", () => {
    const view = full({ cpu: 4 }, { cpu: 4 });
    const two = shapeOf({ cpu: 2 });
    const one = [1, 2, 3, 4].map((number) => victim(`a${number}`, "n1", { cpu: 1 }, { startedMs: number }));
    expect(ids(preempt(view, { shape: two, priority: 1 }, one))).toEqual(["n1", "a4", "a3"]);
    const lower = one.map((each) => (each.id === "a1" ? { ...each, priority: -5 } : each));
    expect(ids(preempt(view, { shape: two, priority: 1 }, lower))).toEqual(["n1", "a1", "a4"]);
    const big = [...one, victim("b", "n2", { cpu: 4 }, { startedMs: 0 })];
    expect(ids(preempt(view, { shape: two, priority: 1 }, big))).toEqual(["n2", "b"]);
  });

  test("leaves alone what cannot be made again, and what is of equal or higher priority", () => {
    const view = full({ cpu: 2 });
    const shape = shapeOf({ cpu: 1 });
    const list = [
      victim("a", "n1", { cpu: 1 }, { isRetriable: false }),
      victim("b", "n1", { cpu: 1 }, { priority: 3 }),
    ];
    expect(preempt(view, { shape, priority: 3 }, list)).toBeUndefined();
    expect(ids(preempt(view, { shape, priority: 4 }, list))).toEqual(["n1", "b"]);
  });

  test("nothing is ended where it would not make room, or for what has room", () => {
    const view = full({ cpu: 2 }, { resources: { cpu: 4 }, labels: { zone: "b" } });
    const list = [victim("a", "n1", { cpu: 1 }), victim("b", "n2", { cpu: 4 })];
    expect(preempt(view, { shape: shapeOf({ cpu: 2 }, { zone: "!b" }), priority: 1 }, list)).toBeUndefined();
    expect(ids(preempt(view, { shape: shapeOf({ cpu: 2 }), priority: 1 }, list))).toEqual(["n2", "b"]);
    expect(preempt(view, { shape: shapeOf({ cpu: 2 }), priority: 1, only: nodeId("n1") }, list)).toBeUndefined();
    report(view, "n1", { cpu: 2 });
    expect(preempt(view, { shape: shapeOf({ cpu: 2 }), priority: 1, only: nodeId("n1") }, list)).toBeUndefined();
  });

  test("a whole GPU is made of the parts of one device", () => {
    const view = clusterOf([{ gpu: 2 }]);
    report(view, "n1", {}, [0, 0.5]);
    const part = (id: string, device: number, startedMs: number) =>
      victim(id, "n1", { gpu: 0.5 }, { startedMs, gpus: [{ device, units: 5_000 }] });
    const list = [part("a", 0, 9), part("b", 0, 8), part("c", 1, 1)];
    expect(ids(preempt(view, { shape: shapeOf({ gpu: 1 }), priority: 1 }, list))).toEqual(["n1", "c"]);
  });

  test("many small ones are taken together, and none that is not needed", () => {
    const view = full({ cpu: 64, memory: 64 });
    const list = Array.from({ length: 100 }, (_, index) =>
      victim(`a${index}`, "n1", index % 2 === 0 ? { cpu: 1 } : { memory: 1 }, { startedMs: index }),
    );
    const found = preempt(view, { shape: shapeOf({ cpu: 6 }), priority: 1 }, list);
    expect(ids(found)).toEqual(["n1", "a98", "a96", "a94", "a92", "a90", "a88"]);
  });
});

describe("preemption for a gang", () => {
  test("disturbs the fewest nodes, those with the lowest priorities first, then with the fewest leases", () => {
    const bundles = Array.from({ length: 2 }, () => ({ units: toUnits({ cpu: 4 }), selectors: [] }));
    const view = full({ cpu: 4 }, { cpu: 4 }, { cpu: 4 }, { cpu: 4 });
    report(view, "n4", { cpu: 4 });
    const list = [
      ...[1, 2, 3, 4].map((number) => victim(`a${number}`, "n1", { cpu: 1 }, { startedMs: number })),
      victim("b", "n2", { cpu: 4 }),
      victim("c", "n3", { cpu: 4 }, { priority: -1 }),
    ];
    const plan = (priority: number): readonly string[] | undefined =>
      preemptForGang(
        view,
        { bundles, strategy: "STRICT_SPREAD", priority, freeOn: ({ state }) => state.free },
        list,
      )?.map(({ name }) => name);
    expect(plan(1)).toEqual(["n3", "n4"]);
    report(view, "n4", { cpu: 0 });
    expect(plan(1)).toEqual(["n2", "n3"]);
    expect(plan(0)).toBeUndefined();
    const [n1] = view.nodes();
    if (n1) view.hold(n1, toUnits({ cpu: 4 }));
    const holding = list.filter(({ nodeId }) => nodeId === n1?.id);
    expect(preempt(view, { shape: shapeOf({ cpu: 4 }), priority: 1 }, holding)?.victims).toHaveLength(4);
    expect(plan(1), "what is asked for and has no room takes none").toEqual(["n2", "n3"]);
    report(view, "n1", { cpu: 8 });
    report(view, "n2", { cpu: 4 });
    expect(plan(1), "there is room").toBeUndefined();
  });
});

test("random victims: a set that makes room, of lower priority, of which none is spare, and no smaller one of up to two", () => {
  const one = fc.record({
    node: fc.constantFrom("n1", "n2"),
    of: fc.constantFrom<Resources[]>({ cpu: 1 }, { cpu: 2 }, { memory: 1 }, { cpu: 1, memory: 2 }),
    priority: fc.integer({ min: 0, max: 2 }),
    isRetriable: fc.boolean(),
    startedMs: fc.nat({ max: 3 }),
  });
  fc.assert(
    fc.property(
      fc.array(one, { maxLength: 8 }),
      fc.constantFrom<Resources[]>({ cpu: 2 }, { cpu: 4 }, { cpu: 2, memory: 2 }, { memory: 3 }),
      (list, wanted) => {
        const view = full({ cpu: 32, memory: 32 }, { cpu: 32, memory: 32 });
        const victims = list.map((each, index) => victim(`v${index}`, each.node, each.of, each));
        const units = toUnits(wanted);
        const makesRoom = (set: readonly Victim[]): boolean => {
          const sum: Record<string, number> = {};
          for (const each of set) for (const name in each.units) sum[name] = (sum[name] ?? 0) + (each.units[name] ?? 0);
          return fits({ units: sum, gpus: [] }, units);
        };
        const mayEnd = victims.filter((each) => each.isRetriable && each.priority < 2);
        const on = (node: string) => mayEnd.filter((each) => each.nodeId === nodeId(node));
        const found = preempt(view, { shape: shapeOf(wanted), priority: 2 }, victims);
        if (!found) {
          expect(makesRoom(on("n1")) || makesRoom(on("n2"))).toBe(false);
          return;
        }
        for (const each of found.victims) expect(mayEnd).toContain(each);
        expect(new Set(found.victims.map((each) => each.nodeId))).toEqual(new Set([found.nodeId]));
        expect(makesRoom(found.victims)).toBe(true);
        for (const each of found.victims)
          expect(makesRoom(found.victims.filter((other) => other !== each))).toBe(false);
        if (found.victims.length <= 1) return;
        expect(mayEnd.some((each) => makesRoom([each]))).toBe(false);
        if (found.victims.length === 2) return;
        for (const node of ["n1", "n2"]) {
          for (const a of on(node)) for (const b of on(node)) expect(a !== b && makesRoom([a, b])).toBe(false);
        }
      },
    ),
    { numRuns: 500 },
  );
});
