/** The view and the placer under random events. A failing run prints its seed; `fc.assert(..., { seed })` repeats it. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Resources } from "../base/resources.ts";
import { fits } from "./amounts.ts";
import type { ClusterView } from "./cluster-view.ts";
import { outcomeOf } from "./outcome.ts";
import { Placer } from "./placer.ts";
import { hasRoom, type PlacementRequest } from "./policy.ts";
import { clusterOf, join, nodeId, report, shapeOf } from "./test-cluster.ts";

const names = fc.integer({ min: 1, max: 6 }).map((number) => `n${number}`);
const labels = fc.constantFrom<Record<string, string>[]>({}, { zone: "a" }, { zone: "b" });
const machines = fc.record({
  resources: fc.constantFrom<Resources[]>({ cpu: 2 }, { cpu: 4, gpu: 2 }, { cpu: 1, disk: 2 }, {}),
  labels,
});
const demands = fc.constantFrom<Resources[]>(
  { cpu: 1 },
  { cpu: 2 },
  { gpu: 1 },
  { gpu: 0.5, cpu: 0.5 },
  { disk: 1 },
  {},
);
const selectors = fc.constantFrom<Record<string, string>[][]>(
  [],
  [{ zone: "a" }],
  [{ zone: "!a" }, {}],
  [{ zone: "in(b)" }],
);
const requests = fc.record({
  demand: demands,
  selectors,
  strategy: fc.oneof(
    fc.constantFrom("default" as const, "spread" as const),
    fc.record({ nodeId: names.map(nodeId), soft: fc.boolean() }),
  ),
  from: names.map(nodeId),
});
const steps = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant("join" as const), name: names, machine: machines }),
    fc.record({ kind: fc.constant("report" as const), name: names, share: fc.integer({ min: 0, max: 2 }) }),
    fc.record({ kind: fc.constant("drain" as const), name: names }),
    fc.record({ kind: fc.constant("die" as const), name: names }),
    fc.record({ kind: fc.constant("forget" as const), name: names }),
    fc.record({ kind: fc.constant("label" as const), name: names, labels }),
    ...[1, 2, 3].map(() => fc.record({ kind: fc.constant("decide" as const), request: requests })),
  ),
  { maxLength: 60 },
);
type Step = typeof steps extends fc.Arbitrary<(infer S)[]> ? S : never;

function run(view: ClusterView, step: Step): void {
  switch (step.kind) {
    case "join":
      join(view, step.name, step.machine);
      return;
    case "report": {
      const node = view.node(nodeId(step.name));
      const free = Object.fromEntries(
        Object.entries(node?.state.total ?? {}).map(([name, units]) => [
          name,
          Math.floor((units / 10_000) * (step.share / 2)),
        ]),
      );
      report(view, step.name, free);
      return;
    }
    case "drain":
      view.apply({ kind: "node-draining", nodeId: nodeId(step.name) });
      return;
    case "die":
      view.apply({ kind: "node-died", nodeId: nodeId(step.name) });
      return;
    case "forget":
      view.apply({ kind: "node-forgotten", nodeId: nodeId(step.name) });
      return;
    case "label":
      view.apply({ kind: "node-changed", nodeId: nodeId(step.name), labels: step.labels });
      return;
    case "decide":
      return;
  }
}

const requestOf = (step: Step & { kind: "decide" }): PlacementRequest => {
  const { demand, selectors: list, strategy, from } = step.request;
  return { shape: shapeOf(demand, ...list), strategy, from };
};

describe("random events", () => {
  test("a demand is placed exactly if some node that may take it has room, never on one without, and the same again gives the same", () => {
    fc.assert(
      fc.property(steps, (list) => {
        const views = [0, 1].map(() => clusterOf([{ cpu: 2 }, { cpu: 2, gpu: 1 }], { poolsMax: 3, journalMax: 16 }));
        const placers = views.map((view) => new Placer(view));
        const [view, other] = views;
        const [placer, twin] = placers;
        if (!view || !other || !placer || !twin) throw new Error("two of each");
        for (const step of list) {
          if (step.kind !== "decide") {
            run(view, step);
            run(other, step);
            continue;
          }
          const request = requestOf(step);
          const { shape, strategy } = request;
          const outcome = outcomeOf(view, request);
          const may = [...view.nodes()].filter((node) => {
            const named = typeof strategy !== "object" || strategy.soft || node.id === strategy.nodeId;
            const offers =
              Object.keys(node.state.total).length > 0 ||
              (typeof strategy === "object" && strategy.nodeId === node.id) ||
              node.id === request.from;
            return named && offers && shape.selectors.some((_, index) => hasRoom(node, shape, index));
          });
          if (outcome.kind === "placed") expect(may).toContain(outcome.choice.node);
          else if (!shape.isEmpty && !(typeof strategy === "object" && strategy.soft)) expect(may).toEqual([]);
          if (outcome.kind === "refused") {
            const everFits = may.filter((node) => fits(node.state.capacity, shape.units));
            expect(everFits).toEqual([]);
          }
          const before = new Map([...view.nodes()].map((node) => [node, node.state.free]));
          const decision = placer.decide(request);
          expect(twin.decide(request)).toEqual(decision);
          expect(decision.kind).toBe(outcome.kind);
          for (const node of view.nodes()) {
            const was = before.get(node)?.units ?? {};
            const taken = decision.kind === "placed" && decision.nodeId === node.id ? shape.units : {};
            for (const name of Object.keys(was)) {
              const left = (was[name] ?? 0) - (name in taken ? (taken[name] ?? 0) : 0);
              expect(node.state.free.units[name], name).toBe(left);
            }
          }
          expect(placer.explain(decision.id)?.sentences.length).toBeGreaterThan(0);
        }
      }),
      { numRuns: 300 },
    );
  });
});
