/** Placement groups over several machines. */
import { afterEach, expect, test } from "vitest";
import {
  availableResources,
  get,
  getPlacementGroup,
  kill,
  type PlacementGroup,
  placementGroup,
  remote,
  runtimeContext,
} from "../../src/api/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";

let cluster: LocalCluster;
afterEach(() => cluster.stop());

async function started(names: readonly string[], labels: Readonly<Record<string, string>>[] = []): Promise<void> {
  cluster = await LocalCluster.start({
    nodes: names.map((name, index) => ({ name, resources: { cpu: 2 }, labels: labels[index] ?? {} })),
  });
  const [first] = cluster.nodes;
  if (first) await cluster.connect({ node: first });
}

const where = remote(() => runtimeContext().nodeId);
/** The name of the node of each bundle. */
async function placesOf(group: PlacementGroup): Promise<string[]> {
  const refs = group.bundles.map((_, bundleIndex) =>
    where.options({ schedulingStrategy: { placementGroup: group, bundleIndex } }).remote(),
  );
  return (await get(refs)).map((id) => cluster.nodes.find((node) => node.id === id)?.name ?? id);
}
const allFree = (cpus: number): Promise<unknown> =>
  eventually(async () => (await availableResources()).cpu === cpus, "everything is free");

test("strategies: together, apart, by topology and by label", async () => {
  await started(["one", "two", "three"], [{ rack: "a" }, { rack: "b" }, { rack: "b" }]);
  const one = { cpu: 1 };

  const together = placementGroup([one, one], { strategy: "STRICT_PACK" });
  expect(new Set(await placesOf(together)).size).toBe(1);
  await together.remove();

  const apart = placementGroup([one, one, one], { strategy: "STRICT_SPREAD" });
  expect((await placesOf(apart)).sort()).toEqual(["one", "three", "two"]);
  await apart.remove();

  const rack = placementGroup([{ cpu: 2 }, { cpu: 2 }], { topology: "rack" });
  expect((await placesOf(rack)).sort()).toEqual(["three", "two"]);
  await rack.remove();

  const labelled = placementGroup([one, one], { labelSelector: { rack: "a" } });
  expect(await placesOf(labelled)).toEqual(["one", "one"]);
  await labelled.remove();
  await allFree(6);
}, 60_000);

test("two gangs that fit only one after the other both run, their actors in any bundle", async () => {
  await started(["one", "two"]);
  class Member {
    where(): string {
      return runtimeContext().nodeId;
    }
  }
  const run = async (): Promise<number> => {
    const group = placementGroup([{ cpu: 1 }, { cpu: 1 }, { cpu: 1 }], { strategy: "SPREAD" });
    await get(group.ready());
    const strategy = { placementGroup: group };
    const actor = remote(Member, { numCpus: 1, schedulingStrategy: strategy });
    const [first, second] = [actor.remote(), actor.remote()];
    const seen = await get([first.where.remote(), second.where.remote()]);
    await group.remove();
    return seen.length;
  };
  expect(await Promise.all([run(), run(), run()])).toEqual([2, 2, 2]);
  await allFree(4);
}, 60_000);

test("what names no bundle does not wait at a full one while another has room", async () => {
  await started(["one", "two"]);
  const group = placementGroup([{ cpu: 1 }, { cpu: 1 }], { strategy: "STRICT_SPREAD" });
  await get(group.ready());
  class Occupant {
    where(): string {
      return runtimeContext().nodeId;
    }
  }
  for (const bundleIndex of [0, 1]) {
    const strategy = { placementGroup: group, bundleIndex };
    const occupant = remote(Occupant, { numCpus: 1, schedulingStrategy: strategy }).remote();
    const taken = await get(occupant.where.remote());
    // Both tasks and actors find the other one, also the second time, when it was full in between.
    const anywhere = { numCpus: 1, schedulingStrategy: { placementGroup: group } };
    for (let time = 0; time < 2; time++) {
      expect(await get(where.options(anywhere).remote())).not.toBe(taken);
      const actor = remote(Occupant, anywhere).remote();
      expect(await get(actor.where.remote())).not.toBe(taken);
      await kill(actor);
    }
    await kill(occupant);
  }
  await group.remove();
  await allFree(4);
}, 60_000);

test("when a node dies its bundles get another one, and the others stay", async () => {
  await started(["one", "two", "three"]);
  const group = placementGroup([{ cpu: 2 }, { cpu: 2 }], { strategy: "STRICT_SPREAD" });
  const before = await placesOf(group);
  const lost = cluster.nodes.find(({ name }) => name === before.find((each) => each !== "one"));
  if (lost) await cluster.kill(lost);
  await eventually(async () => {
    const now = await placesOf(group);
    return !now.includes(lost?.name ?? "") && before.filter((name, at) => now[at] === name).length === 1;
  }, "its bundle has another node");
}, 60_000);

test("a head that is killed and started again knows the groups", async () => {
  await started(["one", "two"]);
  const group = placementGroup([{ cpu: 1 }, { cpu: 2 }], { strategy: "STRICT_SPREAD", name: "kept" });
  const before = await placesOf(group);
  await cluster.killHead();
  await cluster.restartHead();
  const found = await getPlacementGroup("kept");
  expect(found.id).toBe(group.id);
  expect(await placesOf(found)).toEqual(before);
  await found.remove();
  await allFree(4);
  await expect(get(found.ready())).rejects.toMatchObject({ code: "GROUP_REMOVED" });
}, 60_000);

test("one that no cluster of these nodes can hold is infeasible", async () => {
  await started(["one", "two"]);
  const large = placementGroup([{ cpu: 3 }]);
  await expect(get(large.ready())).rejects.toMatchObject({ code: "INFEASIBLE" });
  await large.remove();
}, 60_000);
