/** Placement groups that a node places by itself: the head hears of them afterwards. */
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  availableResources,
  explain,
  get,
  type PlacementGroup,
  placementGroup,
  type Resources,
  remote,
  runtimeContext,
} from "../../src/api/mod.ts";
import { PlacementGroupHandle } from "../../src/api/placement.ts";
import type { ClusterNode } from "../../src/testing/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";

let cluster: LocalCluster;
let one: ClusterNode;
let two: ClusterNode;
beforeAll(async () => {
  cluster = await LocalCluster.start({
    nodes: ["one", "two", "three"].map((name) => ({ name, resources: { cpu: 4 } })),
  });
  [one, two] = cluster.nodes as [ClusterNode, ClusterNode];
  await cluster.connect({ node: one });
});
afterAll(() => cluster.stop());

const cpusFree = (cpus: number): Promise<unknown> =>
  eventually(async () => (await availableResources()).cpu === cpus, `${cpus} CPUs are free`);
const on = (node: ClusterNode) => ({ numCpus: 0, schedulingStrategy: { nodeId: node.id } });
const inGroup = (group: PlacementGroup) => ({ numCpus: 1, schedulingStrategy: { placementGroup: group } });
const where = remote(() => runtimeContext().nodeId);

/** By a task there; handles of its module are none of this one's. */
async function madeAt(node: ClusterNode, groups: readonly (readonly Resources[])[]): Promise<PlacementGroup[]> {
  const make = remote(async (all: typeof groups) => {
    const made = all.map((bundles) => placementGroup(bundles));
    await get(made.map((group) => group.ready()));
    return made.map(({ id }) => id);
  });
  const ids = await get(make.options(on(node)).remote(groups));
  return ids.map((id, index) => new PlacementGroupHandle(id, groups[index] ?? []));
}

/** Where a worker is just being started, or something waits, groups are the head's to place. */
async function placedByItsNode(...bundles: Resources[]): Promise<PlacementGroup> {
  for (;;) {
    const group = placementGroup(bundles);
    await get(group.ready());
    if (/has placed it by itself/.test((await explain(group)).sentences.join(" "))) return group;
    await group.remove();
  }
}

test("a group is ready, used and removed at once; it is explained and seen by all as any other", async () => {
  const group = await placedByItsNode({ cpu: 1 }, { cpu: 1 });
  expect(await explain(group)).toMatchObject({ state: "ready" });
  expect((await explain(group)).sentences.join(" ")).toMatch(/its 2 bundles are on one, as PACK/);
  expect(await availableResources()).toMatchObject({ cpu: 10 });
  expect(await get(where.options(inGroup(group)).remote())).toBe(one.id);
  await group.remove();
  expect(await availableResources()).toMatchObject({ cpu: 12 });
  await expect(get(where.options(inGroup(group)).remote())).rejects.toMatchObject({ code: "GROUP_REMOVED" });

  // One that nobody heard of while it lived.
  const brief = placementGroup([{ cpu: 1 }]);
  await get(brief.ready());
  await brief.remove();
  await expect(get(where.options(inGroup(brief)).remote())).rejects.toMatchObject({ code: "GROUP_REMOVED" });
}, 60_000);

test("a task at another node uses the group as soon as it is there, and removes it", async () => {
  const use = remote(async (group: PlacementGroup, task: typeof where) => {
    await get(group.ready());
    const at = await get(task.options(inGroup(group)).remote());
    await group.remove();
    return [runtimeContext().nodeId, at];
  });
  for (let round = 0; round < 5; round++) {
    const group = placementGroup([{ cpu: 1 }]);
    expect(await get(use.options(on(two)).remote(group, where))).toEqual([two.id, expect.any(String)]);
  }
  await cpusFree(12);
}, 60_000);

test("removed at another node while its first node has hardly said that it is there, it is gone", async () => {
  const remove = remote(async (group: PlacementGroup) => {
    await group.remove();
  });
  await get(remove.options(on(two)).remote(placementGroup([{ cpu: 1 }])));
  await Promise.all(
    Array.from({ length: 5 }, () => get(remove.options(on(two)).remote(placementGroup([{ cpu: 0.1 }])))),
  );
  await cpusFree(12);
}, 60_000);

test("groups are made and removed while no head runs; the next one knows those that are left, written down or not", async () => {
  const old = await placedByItsNode({ cpu: 0.5 });
  const gone = await placedByItsNode({ cpu: 0.5 });
  const late = placementGroup([{ cpu: 0.25 }]);
  await get(late.ready());
  await cluster.killHead();
  await gone.remove();
  const alone = placementGroup([{ cpu: 0.25 }]);
  expect(await alone.wait(5_000)).toBe(true);
  await cluster.restartHead();
  await cpusFree(12 - 1);
  for (const group of [old, late, alone]) {
    expect(await explain(group)).toMatchObject({ state: "ready" });
    const inIt = where.options({ numCpus: 0.25, schedulingStrategy: { placementGroup: group } });
    expect(await get(inIt.remote())).toEqual(expect.any(String));
    await group.remove();
  }
  await cpusFree(12);
}, 60_000);

test("when its node dies it gets another place, for whoever holds it", async () => {
  const node = await cluster.addNode({ name: "four", resources: { cpu: 4 } });
  const [group] = (await madeAt(node, [[{ cpu: 1 }, { cpu: 0.5 }]])) as [PlacementGroup];
  expect(await get(where.options(inGroup(group)).remote())).toBe(node.id);
  await cluster.kill(node);
  await eventually(async () => (await explain(group)).state === "ready", "it is ready again");
  expect(await get(where.options(inGroup(group)).remote())).not.toBe(node.id);
  await group.remove();
  await cpusFree(12);
}, 60_000);

test("the groups of a node that is drained move, and can be removed", async () => {
  const node = await cluster.addNode({ name: "five", resources: { cpu: 4 } });
  const [stays, goes] = (await madeAt(node, [[{ cpu: 0.5 }], [{ cpu: 0.5 }]])) as [PlacementGroup, PlacementGroup];
  const small = (group: PlacementGroup) => ({ numCpus: 0.5, schedulingStrategy: { placementGroup: group } });
  expect(await get([stays, goes].map((group) => where.options(small(group)).remote()))).toEqual([node.id, node.id]);
  await goes.remove();
  await cluster.drain(node, { deadlineMs: 20_000 });
  expect(await get(where.options(small(stays)).remote())).not.toBe(node.id);
  await stays.remove();
  await cpusFree(12);
}, 60_000);
