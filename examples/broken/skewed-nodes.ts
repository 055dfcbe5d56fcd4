/**
 * All tasks are tied to one node, where the data once was. It is full and work waits, while the other one does nothing.
 *
 * Fixed: `schedulingStrategy: { nodeId, soft: true }`, or none: tasks go to large arguments by themselves.
 */
import { get, remote } from "mobula";
import { LocalCluster } from "mobula/testing";

const specs = ["a", "b"].map((name) => ({ name, resources: { cpu: 2 } }));
await using cluster = await LocalCluster.start({ nodes: specs, dashboard: true });
const [a] = cluster.nodes;
if (!a) throw new Error("there are two");
await cluster.connect({ node: a });
console.log(cluster.dashboardUrl, cluster.token);

const work = remote(
  async function work() {
    await new Promise((resolve) => setTimeout(resolve, 500));
  },
  { schedulingStrategy: { nodeId: a.id, soft: false } },
);
const keepBusy = async (): Promise<void> => {
  for (;;) await get(Array.from({ length: 20 }, () => work.remote()));
};
await Promise.all([keepBusy(), keepBusy()]);
