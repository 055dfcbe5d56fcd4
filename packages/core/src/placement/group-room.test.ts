import { expect, test } from "vitest";
import type { JobId, NodeId } from "../base/ids.ts";
import { type Resources, toUnits } from "../base/resources.ts";
import type { BundlesAnswer, BundleUse } from "../wire/cluster-messages.ts";
import type { GroupRequest } from "../wire/queries.ts";
import { GroupDivider } from "./group-divider.ts";
import { GroupHost } from "./group-host.ts";
import { clusterOf, nodeId } from "./test-cluster.ts";

const [n1, n2] = [nodeId("n1"), nodeId("n2")];

/** A group over two nodes, whose nodes do what they are told at once. */
async function setUp(
  bundles: readonly Resources[],
  nodes: readonly Resources[] = [{ cpu: 4 }, { cpu: 4 }],
  persist: (written: () => void) => void = (written) => written(),
) {
  const attempts = new Map<NodeId, number>();
  const s = { changes: 0 };
  const answers: [NodeId, BundlesAnswer][] = [];
  const host = new GroupHost(clusterOf(nodes), 1, {
    nowMs: () => 0,
    wallMs: () => 0,
    send(node, order) {
      if (order.t === "earmark" || order.t === "clear-earmark") return;
      const { groupId, attempt } = order;
      attempts.set(node, attempt);
      if (order.t === "prepare-bundles")
        answers.push([node, { t: order.commit ? "bundles-committed" : "bundles-prepared", groupId, attempt }]);
      else
        answers.push([
          node,
          { t: order.t === "commit-bundles" ? "bundles-committed" : "bundles-returned", groupId, attempt },
        ]);
    },
    persist: (_changes, done) => persist(() => done(undefined)),
    noted() {},
    changed: () => s.changes++,
    news() {},
  });
  const settle = (): void => {
    for (let next = answers.shift(); next; next = answers.shift()) host.hear(...next);
  };
  const request: GroupRequest = {
    groupId: "g",
    bundles: bundles.map((of) => toUnits(of)),
    strategy: "STRICT_SPREAD",
    selectors: [],
    jobId: "j" as JobId,
    namespace: "",
    lifetime: "owner",
  };
  host.create(request);
  settle();
  // What is to be written down is handed over at the end of the turn.
  await Promise.resolve();
  settle();
  const report = (node: NodeId, free: Record<number, Resources>, isAll = false): void => {
    const uses: BundleUse[] = [
      {
        groupId: "g",
        attempt: attempts.get(node) ?? 0,
        free: Object.entries(free).map(([index, of]) => [Number(index), toUnits(of)]),
      },
    ];
    host.nodeReported(node, uses, isAll);
  };
  const divider = new GroupDivider(host);
  const divide = (key: string, wanted: number, granted: Record<string, number> = {}, index?: number) => {
    const division = divider.divide(key, {
      bundle: { groupId: "g", ...(index !== undefined && { index }) },
      units: toUnits({ cpu: 1 }),
      wanted,
      granted: new Map(Object.entries(granted).map(([name, count]) => [nodeId(name), count])),
    });
    if (division.kind === "refused") return division.code;
    return [division.at.get(n1) ?? 0, division.at.get(n2) ?? 0];
  };
  const room = (): number[] => {
    const answer = host.placesFor("g", undefined, toUnits({ cpu: 1 }));
    if (answer.kind !== "places") return [];
    return [n1, n2].map((id) => answer.places.find(({ nodeId: of }) => of === id)?.room ?? -1);
  };
  /** The bundle at each node. */
  const at = (node: NodeId): number => {
    for (const index of bundles.keys()) {
      const answer = host.placesFor("g", index, {});
      if (answer.kind === "places" && answer.places[0]?.nodeId === node) return index;
    }
    return -1;
  };
  return Object.assign(s, { host, divider, divide, report, room, at, settle });
}

test("nothing is told a place in a new group before that is written down", async () => {
  const written: (() => void)[] = [];
  const s = await setUp([{ cpu: 1 }, { cpu: 1 }], undefined, (done) => written.push(done));
  expect(written).toHaveLength(1);
  expect([s.divide("a", 1), s.room()]).toEqual([[0, 0], []]);
  const before = s.changes;
  written[0]?.();
  expect(s.changes).toBeGreaterThan(before);
  expect(s.room()).toEqual([1, 1]);
});

test("a group that loses bundles while its place is written down is ready when it has another", async () => {
  const written: (() => void)[] = [];
  const cpus = [{ cpu: 1 }, { cpu: 1 }, { cpu: 1 }];
  const s = await setUp([{ cpu: 1 }, { cpu: 1 }], cpus, (done) => written.push(done));
  const told: unknown[] = [];
  s.host.whenReady("g", (refusal) => told.push(refusal));
  s.host.nodeDied(n1);
  written.shift()?.();
  expect(told).toEqual([]);
  for (let round = 0; round < 4; round++) {
    await Promise.resolve();
    written.shift()?.();
    s.settle();
  }
  expect(told).toEqual([undefined]);
  expect(s.host.placesFor("g", undefined, {})).toMatchObject({ places: { length: 2 } });
});

test("what has no room in one bundle goes to another, and moves there when it comes up", async () => {
  const s = await setUp([{ cpu: 2 }, { cpu: 2 }]);
  expect(s.divide("a", 4)).toEqual([2, 2]);
  // Somebody else runs there.
  s.report(n1, { [s.at(n1)]: { cpu: 0 } });
  expect(s.divide("a", 2)).toEqual([0, 2]);
  s.report(n2, { [s.at(n2)]: { cpu: 0 } });
  const [first = 0, second = 0] = s.divide("a", 2) as number[];
  expect(first + second).toBe(2);
  s.report(n1, { [s.at(n1)]: { cpu: 2 } });
  expect(s.divide("a", 2)).toEqual([2, 0]);
});

test("owners do not count on the same room, and what was granted counts before its node says so", async () => {
  const s = await setUp([{ cpu: 1 }, { cpu: 1 }]);
  const first = s.divide("a", 1) as number[];
  const second = s.divide("b", 1) as number[];
  expect([first[0], second[0]].sort()).toEqual([0, 1]);
  s.divide("a", 1, { n1: first[0] ?? 0, n2: first[1] ?? 0 });
  expect(s.room()).toEqual([0, 0]);
  s.divider.forget("b");
  expect(s.room()).toEqual([second[0], second[1]]);
  // Every report says how it is, also of what it does not name.
  s.report(n1, {});
  s.report(n2, {});
  expect(s.room()).toEqual([1, 1]);
});

test("the index of a bundle is kept, however full that is", async () => {
  const s = await setUp([{ cpu: 1 }, { cpu: 1 }]);
  s.report(n1, { [s.at(n1)]: { cpu: 0 } });
  expect(s.divide("a", 1, {}, s.at(n1))).toEqual([1, 0]);
});

test("what a node says when it joins is all, and what it says of another attempt counts for nothing", async () => {
  const s = await setUp([{ cpu: 1 }, { cpu: 1 }]);
  s.report(n1, { [s.at(n1)]: { cpu: 0 } });
  s.report(n2, { [s.at(n2)]: { cpu: 0 } });
  expect(s.room()).toEqual([0, 0]);
  s.report(n1, {}, true);
  expect(s.room()).toEqual([1, 0]);
  s.host.nodeReported(n1, [{ groupId: "g", attempt: 7, free: [[s.at(n1), toUnits({ cpu: 0 })]] }], false);
  expect(s.room()).toEqual([1, 0]);
});

test("what is held may turn out to have no room", async () => {
  const s = await setUp([{ cpu: 1 }, { cpu: 1 }]);
  const hold = s.host.hold({ groupId: "g", nodeId: n1 }, toUnits({ cpu: 1 }), 1);
  expect([s.room(), s.host.isGood(hold)]).toEqual([[0, 1], true]);
  const before = s.changes;
  s.report(n1, { [s.at(n1)]: { cpu: 0 } });
  expect([s.changes > before, s.host.isGood(hold)]).toEqual([true, false]);
  s.host.release(hold);
  s.report(n1, { [s.at(n1)]: { cpu: 1 } });
  expect(s.room()).toEqual([1, 1]);
});

test("many of nothing go to all nodes alike, and of what waits so many to each", async () => {
  const s = await setUp([{ cpu: 1 }, { cpu: 1 }]);
  const nothing = s.divider.divide("a", { bundle: { groupId: "g" }, units: {}, wanted: 100, granted: new Map() });
  expect(nothing).toMatchObject({
    at: new Map([
      [n1, 50],
      [n2, 50],
    ]),
  });
  expect(s.divide("b", 1_000)).toEqual([65, 65]);
});
