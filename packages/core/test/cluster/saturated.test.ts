/** Nodes whose CPUs have more to do than they can: their own process has its share, and they are not taken for dead. */
import { availableParallelism } from "node:os";
import { get, nodes, remote, runtimeContext } from "mobula";
import { LocalCluster } from "mobula/testing";
import { afterAll, beforeAll, expect, test } from "vitest";

/** For longer than a node may be silent. */
const BUSY_MS = 6_000;
const MEMBERS = ["one", "two"] as const;
let cluster: LocalCluster;
beforeAll(async () => {
  const spec = { resources: { cpu: 1 }, objectStoreBytes: 64 * 2 ** 20 };
  cluster = await LocalCluster.start({ nodes: MEMBERS.map((name) => ({ ...spec, name })) });
  await cluster.connect();
});
afterAll(() => cluster.stop());

/** Keeps its thread all the time. */
function compute(ms: number): { readonly nodeId: string; readonly attempt: number } {
  const { nodeId, attempt } = runtimeContext();
  for (const until = performance.now() + ms; performance.now() < until; );
  return { nodeId, attempt };
}

test("nodes that compute with many times as many threads as there are CPUs are not given up", {
  timeout: 60_000,
}, async () => {
  const each = 4 * availableParallelism();
  const computing = remote(compute, { numCpus: 1 / each });
  const tasks = cluster.nodes.flatMap(({ id: nodeId }) =>
    Array.from({ length: each }, () => computing.options({ schedulingStrategy: { nodeId } }).remote(BUSY_MS)),
  );
  let isOver = false;
  const results = get(tasks).finally(() => {
    isOver = true;
  });
  const seen = new Set<string>();
  while (!isOver) for (const { state } of await nodes()) seen.add(state);
  expect(await results).toEqual(
    cluster.nodes.flatMap(({ id: nodeId }) => Array.from({ length: each }, () => ({ nodeId, attempt: 0 }))),
  );
  expect([...seen]).toEqual(["alive"]);
});
