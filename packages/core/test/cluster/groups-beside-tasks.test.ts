/** A placement group that needs whole nodes gets them beside a stream of small tasks that would keep every CPU busy. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { get, type PlacementGroupOptions, placementGroup, type Resources, remote } from "../../src/api/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { TaskStream } from "./task-stream.ts";

const CPUS = 2;
const NODES = ["one", "two", "three"];
/** Earmarks begin after one second, and the longest task takes 0.7: a group needs about two on an idle machine. */
const WITHIN_MS = 15_000;
let cluster: LocalCluster;
beforeAll(async () => {
  process.env.MOBULA_EARMARK_AFTER_MS = "1000";
  cluster = await LocalCluster.start({ nodes: NODES.map((name) => ({ name, resources: { cpu: CPUS } })) });
  delete process.env.MOBULA_EARMARK_AFTER_MS;
  await cluster.connect();
});
afterAll(() => cluster.stop());

async function isReadyBesideTasks(bundles: readonly Resources[], options: PlacementGroupOptions): Promise<void> {
  const stream = new TaskStream(3 * CPUS * NODES.length);
  try {
    await stream.full;
    const group = placementGroup([...bundles], options);
    await get(group.ready(), { timeoutMs: WITHIN_MS });
    const apart = remote(() => "ran").options({ schedulingStrategy: { placementGroup: group } });
    expect(await get(apart.remote())).toBe("ran");
    await group.remove();
  } finally {
    await stream.end();
  }
}

test("a whole node", async () => {
  await isReadyBesideTasks([{ cpu: 1 }, { cpu: 1 }], { strategy: "STRICT_PACK" });
}, 60_000);

test("each node, and all of it", async () => {
  await isReadyBesideTasks(
    NODES.map(() => ({ cpu: CPUS })),
    { strategy: "STRICT_SPREAD" },
  );
}, 60_000);
