import { expect, test } from "vitest";
import type { JobId, NodeId } from "../base/ids.ts";
import { toUnits } from "../base/resources.ts";
import type { LeasesDivided } from "../wire/cluster-messages.ts";
import type { Demand } from "../wire/messages.ts";
import { type JobPatience, LeaseDivisions } from "./lease-divisions.ts";
import { sumUp } from "./waiting-demands.ts";

const one = "1".repeat(32) as NodeId;
const two = "2".repeat(32) as NodeId;
const job = "job1" as JobId;
const demandOf = (gpu: number, more: Partial<Demand> = {}): Demand => ({
  ...{ key: "k", resources: toUnits({ gpu }), priority: 0, name: "train" },
  ...more,
});

function setUp() {
  const said: LeasesDivided[] = [];
  let nowMs = 0;
  const patience = new Map<JobId, JobPatience>();
  const divisions = new LeaseDivisions(
    (_to, message) => void said.push(message),
    () => nowMs,
    undefined,
    (of) => patience.get(of),
  );
  const join = (nodeId: NodeId, name: string, gpu: number): void => {
    const total = toUnits({ cpu: 4, ...(gpu > 0 && { gpu }) });
    divisions.view.apply({ kind: "node-joined", nodeId, name, total });
    divisions.view.apply({ kind: "node-reported", nodeId, free: total });
  };
  join(one, "one", 0);
  return {
    divisions,
    patience,
    join,
    take: () => said.splice(0),
    at: (ms: number) => {
      nowMs = ms;
      divisions.tick();
    },
    divide: (wanted: number, demand?: Demand, granted: [NodeId, number][] = []) =>
      divisions.divide(one, {
        t: "divide-leases",
        key: "a",
        wanted,
        granted,
        ...(demand && { demand, job, infeasibleMs: 500 }),
      }),
  };
}

test("what no node can take is named at once, refused later, and taken up when a node joins that can", () => {
  const { divisions, divide, take, at, join } = setUp();
  divide(2, demandOf(1));
  const message = expect.stringMatching(/train needs \{ gpu: 1 \}, and no node can ever offer that; the best is one/);
  expect(take()).toEqual([{ t: "leases-divided", key: "a", at: [], infeasible: { message, refusedInMs: 500 } }]);
  expect(sumUp(divisions.view, divisions.waiting())).toEqual([
    {
      ...{ kind: "task", name: "train", count: 2, resources: { gpu: 1 }, wish: "{ gpu: 1 }", jobs: [job] },
      ...{ isInfeasible: true, why: message },
    },
  ]);
  at(499);
  expect(take()).toEqual([]);
  at(500);
  expect(take()).toEqual([
    { t: "leases-divided", key: "a", at: [], refused: { code: "INFEASIBLE", message, mayChange: true } },
  ]);
  divide(0);
  divide(1);
  // It has waited long enough.
  expect(take().at(-1)?.refused).toMatchObject({ mayChange: true });
  join(two, "two", 1);
  at(600);
  expect(take()).toEqual([{ t: "leases-divided", key: "a", at: [[two, 1]] }]);
});

test("what the program of a job has said counts, not what the node believes that asks for its nested tasks", () => {
  const { patience, divide, take } = setUp();
  patience.set(job, { infeasibleMs: 70, preemptAfterMs: 0 });
  divide(1, demandOf(1));
  expect(take()).toMatchObject([{ infeasible: { refusedInMs: 70 } }]);
});

test("a node that was named and can never take it is no reason to wait", () => {
  const { divide, take } = setUp();
  divide(1, demandOf(1, { placement: { strategy: { nodeId: one, soft: false } } }));
  expect(take()).toMatchObject([{ refused: { code: "INFEASIBLE" } }]);
});

test("what waits for room is summed up by what stands in the way", () => {
  const { divisions, divide, join } = setUp();
  join(two, "two", 2);
  divide(5, demandOf(1), [[two, 2]]);
  divisions.view.apply({ kind: "node-reported", nodeId: two, free: toUnits({ cpu: 4, gpu: 0 }) });
  expect(sumUp(divisions.view, divisions.waiting())).toMatchObject([
    { count: 3, isInfeasible: false, why: "two has 0 of 2 gpu free, and 1 is wanted." },
  ]);
});

test("what has waited long ends work of lower priority where the least makes room, and waits there and nowhere else", () => {
  const { divisions, join, take, at } = setUp();
  const three = "3".repeat(32) as NodeId;
  join(two, "two", 2);
  join(three, "three", 2);
  for (const nodeId of [two, three])
    divisions.view.apply({ kind: "node-reported", nodeId, free: toUnits({ cpu: 4, gpu: 0 }) });
  const other = "job2" as JobId;
  const gpu = toUnits({ gpu: 1 });
  divisions.preemptions.reported(two, [[other, 3, gpu, 2]]);
  divisions.preemptions.reported(three, [
    [other, 2, gpu, 1],
    [job, 0, gpu, 1],
  ]);
  const ask = (key: string, wanted: number, granted: [NodeId, number][], priority = 4): void =>
    divisions.divide(one, {
      ...{ t: "divide-leases", key, wanted, granted, job, preemptAfterMs: 2_000, demand: demandOf(1, { priority }) },
    });
  ask("a", 2, []);
  ask("equal", 1, [], 2);
  take();
  at(1_999);
  expect(take()).toEqual([]);
  at(2_000);
  const urgent = { t: "leases-divided", key: "a", urgent: true } as const;
  const sorted = take().map((message) => ({ ...message, at: [...message.at].sort() }));
  expect(sorted).toEqual([
    {
      ...urgent,
      at: [
        [two, 1],
        [three, 1],
      ],
    },
  ]);
  expect(divisions.explain(one, "a", demandOf(1), undefined).sentences.at(-1)).toMatch(
    /lower priority than 4 in other jobs ends for it, for 1 at three, 1 at two/,
  );
  // One is there; the other is planned where it was, though it is said no more to be there, since it ends.
  divisions.preemptions.reported(three, [[job, 0, gpu, 1]]);
  ask("a", 2, [[two, 1]]);
  at(2_600);
  expect(take().flatMap(({ key, at: nodes }) => (key === "a" ? [[...nodes].sort()] : []))).toEqual([
    [
      [two, 1],
      [three, 1],
    ],
  ]);
  ask("a", 1, [[two, 1]]);
  expect(take().at(-1)).toEqual({ t: "leases-divided", key: "a", at: [[two, 1]] });
});

test("room that has come is for what is urgent first, whoever asked first", () => {
  const { divisions, join, take, at } = setUp();
  join(two, "two", 1);
  divisions.view.apply({ kind: "node-reported", nodeId: two, free: toUnits({ cpu: 4, gpu: 0 }) });
  const gpu = toUnits({ gpu: 1 });
  divisions.preemptions.reported(two, [["job2" as JobId, 0, gpu, 1]]);
  for (const [key, priority] of [
    ["low", 0],
    ["high", 1],
  ] as const) {
    const demand = demandOf(1, { priority, placement: { selectors: [{}] } });
    const about = { wanted: 1, granted: [], job, preemptAfterMs: 100, demand };
    divisions.divide(one, { t: "divide-leases", key, ...about });
  }
  join("3".repeat(32) as NodeId, "three", 1);
  divisions.view.apply({ kind: "node-reported", nodeId: "3".repeat(32) as NodeId, free: toUnits({ cpu: 4, gpu: 0 }) });
  at(100);
  take();
  // Where none of the two waits.
  divisions.view.apply({ kind: "node-reported", nodeId: "3".repeat(32) as NodeId, free: toUnits({ cpu: 4, gpu: 1 }) });
  at(200);
  expect(take().map(({ key, at: nodes }) => [key, nodes])).toEqual([["high", [["3".repeat(32), 1]]]]);
});

test("what a node has granted counts once, though its owner says nothing more", () => {
  const { divisions, divide, take, join } = setUp();
  join(two, "two", 0);
  const freeOf = (): number =>
    [one, two].reduce((sum, id) => sum + (divisions.view.node(id)?.state.free.units.cpu ?? 0), 0);
  divide(4, demandOf(0, { resources: toUnits({ cpu: 1 }) }));
  const at = new Map(take()[0]?.at);
  expect([...at.values()].reduce((a, b) => a + b)).toBe(4);
  expect(freeOf()).toBe(4 * 10_000);
  for (const [node, count] of at) {
    for (let granted = 1; granted <= count; granted++)
      divisions.granted(one, { t: "leases-granted", key: "a", node, count: granted });
    expect(freeOf()).toBe(4 * 10_000);
    divisions.view.apply({ kind: "node-reported", nodeId: node, free: toUnits({ cpu: 4 - count }) });
    expect(freeOf()).toBe(4 * 10_000);
  }
  // Nothing is divided anew for it, and what comes twice or late changes nothing.
  divisions.granted(one, { t: "leases-granted", key: "a", node: one, count: 1 });
  expect([take(), freeOf()]).toEqual([[], 4 * 10_000]);
});
