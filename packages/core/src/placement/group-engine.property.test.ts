/** The group engine and nodes under random events. A failing run prints its seed; `fc.assert(..., { seed })` repeats it. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Resources } from "../base/resources.ts";
import type { GangStrategy } from "./gang.ts";
import { GroupWorld, specOf } from "./test-groups.ts";

const names = fc.integer({ min: 1, max: 4 }).map((number) => `n${number}`);
const groups = fc.integer({ min: 1, max: 4 }).map((number) => `g${number}`);
const bundle = fc.constantFrom<Resources[]>({ cpu: 1 }, { cpu: 2 }, { cpu: 2 }, { gpu: 1 }, { gpu: 0.5, cpu: 1 });
const event = fc.oneof(
  ...[1, 2].map((minLength) =>
    fc.record({
      kind: fc.constant("create" as const),
      group: groups,
      bundles: fc.array(bundle, { minLength, maxLength: 4 }),
      strategy: fc.constantFrom<GangStrategy[]>("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"),
      priority: fc.constantFrom(0, 0, 3),
    }),
  ),
  fc.record({ kind: fc.constant("remove" as const), group: groups }),
  // Leases that no report tells of: then a node refuses what the view had room for.
  ...[1, 2, 3].map(() => fc.record({ kind: fc.constant("lease" as const), name: names, cpu: fc.nat({ max: 3 }) })),
  fc.record({ kind: fc.constant("report" as const), name: names }),
  fc.record({ kind: fc.constant("time" as const), ms: fc.integer({ min: 1, max: 6_000 }) }),
  fc.record({ kind: fc.constantFrom("kill" as const, "drain" as const), name: names }),
  fc.record({ kind: fc.constant("restart" as const) }),
  ...[1, 2, 3, 4, 5, 6].map(() =>
    fc.record({
      kind: fc.constant("move" as const),
      name: names,
      way: fc.constantFrom("toNode" as const, "toEngine" as const),
    }),
  ),
);
type Event = typeof event extends fc.Arbitrary<infer E> ? E : never;

const machines: Resources[] = [{ cpu: 3 }, { cpu: 2, gpu: 2 }, { cpu: 4, gpu: 1 }, { cpu: 2 }];

function run(world: GroupWorld, one: Event): void {
  switch (one.kind) {
    case "create": {
      const { group, bundles, strategy, priority } = one;
      world.send({ kind: "group-created", spec: specOf(group, bundles, { strategy, priority }) });
      return;
    }
    case "remove":
      world.send({ kind: "group-removed", groupId: one.group });
      return;
    case "lease":
      world.lease(one.name, { cpu: one.cpu });
      return;
    case "report":
      world.report(one.name);
      return;
    case "time":
      world.nowMs += one.ms;
      world.send({ kind: "tick" });
      return;
    case "kill":
      world.kill(one.name);
      return;
    case "drain":
      world.drain(one.name);
      return;
    case "restart":
      world.restart();
      return;
    case "move":
      world.move(one.name, one.way);
      return;
  }
}

function checkReady(world: GroupWorld): void {
  for (const [groupId, nodes] of world.ready) {
    const spec = world.engine.spec(groupId);
    if (!spec) continue;
    expect(nodes.length, "all of a group, or nothing").toBe(spec.bundles.length);
    if (spec.strategy === "STRICT_PACK") expect(new Set(nodes).size).toBe(1);
    if (spec.strategy === "STRICT_SPREAD") expect(new Set(nodes).size).toBe(nodes.length);
  }
}

/** What groups hold on living nodes, sorted: "g1 2" for two bundles of g1. */
const held = (world: GroupWorld): string[] =>
  [...world.nodes.values()]
    .filter(({ isAlive }) => isAlive)
    .flatMap((node) => [...node.held].flatMap(([key, { units }]) => units.map(() => key.split(" ")[0] ?? "")))
    .sort();

function quiesce(world: GroupWorld): void {
  for (let round = 0; round < 8; round++) {
    world.settle();
    for (const name of world.nodes.keys()) world.report(name);
    world.nowMs += 1_000;
    world.send({ kind: "tick" });
  }
  world.settle();
}

describe("random events", () => {
  test("nothing is over-granted, a group is whole or holds nothing, and the same events give the same commands", () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 120 }), (list) => {
        const world = new GroupWorld(machines);
        const twin = new GroupWorld(machines);
        for (const one of list) {
          run(world, one);
          run(twin, one);
          checkReady(world);
          for (const node of world.nodes.values()) {
            if (!node.isAlive) continue;
            const free = world.freeOf(node);
            for (const name in free.units) {
              if (name !== "cpu") expect(free.units[name]).toBeGreaterThanOrEqual(0);
            }
          }
        }
        expect(twin.commands).toEqual(world.commands);

        // Then faults stop, and everything is to settle with nothing leaked.
        for (const name of world.nodes.keys()) world.lease(name, {});
        quiesce(world);
        const expected: string[] = [];
        for (const [groupId, nodes] of world.ready) {
          for (const id of nodes)
            if ([...world.nodes.values()].some((node) => node.id === id && node.isAlive)) expected.push(groupId);
        }
        expect(held(world)).toEqual(expected.sort());
        checkReady(world);
        for (const groupId of world.records.keys()) world.send({ kind: "group-removed", groupId });
        quiesce(world);
        expect(held(world)).toEqual([]);
        expect(world.records.size).toBe(0);
        for (const node of world.view.nodes()) {
          if (node.state.status === "dead") continue;
          expect(node.state.free.units, "no hold is left").toEqual(node.state.capacity.units);
        }
      }),
      { numRuns: 400 },
    );
  });
});
