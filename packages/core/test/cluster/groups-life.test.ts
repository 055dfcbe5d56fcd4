/** When placement groups end, move and wait. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  availableResources,
  explain,
  get,
  getPlacementGroup,
  type PlacementGroup,
  placementGroup,
  remote,
  runtimeContext,
} from "../../src/api/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";
import { Program } from "../failures/programs.ts";
import { newFolder } from "../new-folder.ts";

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.start({
    nodes: ["one", "two", "three"].map((name) => ({ name, resources: { cpu: 2 } })),
  });
  const [first] = cluster.nodes;
  if (first) await cluster.connect({ node: first, namespace: "groups" });
});
afterAll(() => cluster.stop());

const where = remote(() => runtimeContext().nodeId).options({ numCpus: 0 });
async function placesOf(group: PlacementGroup): Promise<string[]> {
  const refs = group.bundles.map((_, bundleIndex) =>
    where.options({ schedulingStrategy: { placementGroup: group, bundleIndex } }).remote(),
  );
  return (await get(refs)).map((id) => cluster.nodes.find((node) => node.id === id)?.name ?? id);
}
const cpusFree = (cpus: number): Promise<unknown> =>
  eventually(async () => (await availableResources()).cpu === cpus, `${cpus} CPUs are free`);

test("a gang without room holds nothing, and is ready when there is room; smaller ones go first", async () => {
  const large = placementGroup([{ cpu: 2 }], { name: "large" });
  await get(large.ready());
  const gang = placementGroup([{ cpu: 2 }, { cpu: 2 }, { cpu: 2 }], { strategy: "STRICT_SPREAD" });
  const why = await explain(gang);
  expect(why).toMatchObject({ state: "waiting" });
  const considered = why.considered?.map(({ name, verdict }) => `${name} ${verdict}`) ?? [];
  expect(considered.filter((words) => /has room for one/.test(words))).toHaveLength(2);
  expect(considered.filter((words) => /has 0 of 2 cpu free, and 2 are wanted/.test(words))).toHaveLength(1);
  expect(await availableResources()).toMatchObject({ cpu: 4 });
  const small = placementGroup([{ cpu: 1 }]);
  await get(small.ready());
  expect(await availableResources()).toMatchObject({ cpu: 3 });
  await large.remove();
  await small.remove();
  expect((await placesOf(gang)).sort()).toEqual(["one", "three", "two"]);
  await gang.remove();
  expect(await availableResources()).toMatchObject({ cpu: 6 });
}, 60_000);

test("one that these nodes can never hold is named at once", async () => {
  const never = placementGroup([{ cpu: 3 }]);
  await eventually(
    async () => /no node can ever offer that/.test((await explain(never)).sentences.join(" ")),
    "it is said",
  );
  await never.remove();
}, 60_000);

test("groups end with their job, but for detached ones; also with a job that ends while no head runs", async () => {
  const ends = new Program("../../cluster/fixtures/groups.ts", "ends", { env: { ...cluster.env }, args: ["1"] });
  const stays = new Program("../../cluster/fixtures/groups.ts", "stays", { env: { ...cluster.env }, args: ["2"] });
  try {
    await Promise.all([ends.line("reserved"), stays.line("reserved")]);
    await ends.exitWithin(20_000);
    await cpusFree(3);
    await expect(getPlacementGroup("own1")).rejects.toMatchObject({ code: "INVALID_OPTION" });
    await (await getPlacementGroup("kept1")).remove();
    expect(await availableResources()).toMatchObject({ cpu: 4 });

    await cluster.killHead();
    stays.kill("SIGKILL");
    await stays.exited;
    await cluster.restartHead();
    await cpusFree(5);
    await expect(getPlacementGroup("own2")).rejects.toMatchObject({ code: "INVALID_OPTION" });
    await (await getPlacementGroup("kept2")).remove();
    expect(await availableResources()).toMatchObject({ cpu: 6 });
  } finally {
    ends.remove();
    stays.remove();
  }
}, 60_000);

test("the bundles of a node that is drained move, and the actors in them", async () => {
  class Member {
    where(): string {
      return runtimeContext().nodeId;
    }
  }
  const group = placementGroup([{ cpu: 1 }, { cpu: 1 }], { strategy: "STRICT_SPREAD" });
  const before = await placesOf(group);
  const bundleIndex = before.findIndex((name) => name !== "one");
  const goes = cluster.nodes.find(({ name }) => name === before[bundleIndex]);
  if (!goes) throw new Error("one of two bundles is not on node one");
  const schedulingStrategy = { placementGroup: group, bundleIndex };
  const member = remote(Member, { numCpus: 1, maxRestarts: 1, maxTaskRetries: 1, schedulingStrategy }).remote();
  expect(await get(member.where.remote())).toBe(goes.id);
  const until = join(newFolder(), "end");
  const begun = `${until} begun`;
  const slow = remote(
    async () => {
      writeFileSync(begun, "");
      while (!existsSync(until)) await new Promise((resolve) => setTimeout(resolve, 5));
      const { attempt, nodeId } = runtimeContext();
      return { attempt, nodeId };
    },
    { numCpus: 0, schedulingStrategy },
  ).remote();
  await eventually(() => existsSync(begun), "it runs");
  const drained = cluster.drain(goes, { deadlineMs: 30_000 });
  await eventually(async () => !(await placesOf(group)).includes(goes.name), "the bundle has another place");
  // What runs where it was goes on.
  writeFileSync(until, "");
  expect(await get(slow)).toEqual({ attempt: 0, nodeId: goes.id });
  await drained;
  const after = await placesOf(group);
  expect(after[1 - bundleIndex]).toBe(before[1 - bundleIndex]);
  expect(after).not.toContain(goes.name);
  expect(cluster.nodes.find(({ name }) => name === after[bundleIndex])?.id).toBe(await get(member.where.remote()));
  await group.remove();
}, 60_000);
