/**
 * Each task says that it uses a tenth of a CPU, and computes all the time: so many of them go to one node that each gets a part of a
 * core, while the other node does nothing.
 *
 * Fixed: without `numCpus`, a task uses one CPU, and what has no room on one node goes to another.
 */
import { availableParallelism } from "node:os";
import { get, remote } from "mobula";
import { LocalCluster } from "mobula/testing";

const cores = availableParallelism();
const specs = ["a", "b"].map((name) => ({ name, resources: { cpu: cores } }));
await using cluster = await LocalCluster.start({ nodes: specs, dashboard: true });
const [a] = cluster.nodes;
if (!a) throw new Error("there are two");
await cluster.connect({ node: a });
console.log(cluster.dashboardUrl, cluster.token);

const simulate = remote(
  function simulate(ms: number) {
    const end = performance.now() + ms;
    let steps = 0;
    while (performance.now() < end) steps++;
    return steps;
  },
  { numCpus: 0.1 },
);
const keepBusy = async (): Promise<void> => {
  for (;;) await get(simulate.remote(2_000));
};
await Promise.all(Array.from({ length: 2 * cores }, keepBusy));
