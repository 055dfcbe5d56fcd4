/** Nodes of a cluster: real processes that join a head by TCP, die, are cut off and come back. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { newNodeId } from "../../src/base/ids.ts";
import { askHead } from "../../src/head/mod.ts";
import { type LaunchedNode, launchNode, processStart } from "../../src/node/mod.ts";
import { type ClusterNode, LocalCluster, type NodeSpec } from "../../src/testing/mod.ts";
import type { NodeInfo } from "../../src/wire/mod.ts";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";

const running: { stop(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of running.splice(0).reverse()) await one.stop();
});

/** A cluster of nodes with these names, and each as its label. */
async function clusterOf(...names: string[]): Promise<LocalCluster> {
  const spec = (name: string): NodeSpec => ({ name, resources: { cpu: 1 }, labels: { rack: name } });
  const cluster = await LocalCluster.start({ nodes: names.map(spec) });
  running.push(cluster);
  return cluster;
}

function nodeOf(cluster: LocalCluster, name: string): ClusterNode {
  const node = cluster.nodes.find((one) => one.name === name);
  if (!node) throw new Error(`there is no node ${name}`);
  return node;
}

/** A node that nobody shares: it ends with its cluster, and does not begin anew. */
async function embedded(cluster: LocalCluster, name: string, token = cluster.token): Promise<LaunchedNode> {
  const launched = await launchNode({
    nodeId: newNodeId(),
    name,
    base: newFolder(),
    resources: { cpu: 1 },
    objectStoreBytes: 16 * 2 ** 20,
    cluster: { address: cluster.address, token, labels: {}, host: "127.0.0.1", ports: 0 },
  });
  running.push({ stop: () => launched.stopNow() });
  return launched;
}

/** What the head says of its nodes, but for the one beside it. */
async function nodesOf(cluster: LocalCluster): Promise<Record<string, NodeInfo>> {
  const nodes = await askHead(cluster, "nodes", null);
  return Object.fromEntries(nodes.flatMap((one) => (one.name === "head" ? [] : [[one.name, one]])));
}

/** Milliseconds until the head says so. Nobody tells a tool: it asks again and again. */
async function until(of: LocalCluster, isSo: (nodes: Record<string, NodeInfo>) => boolean, withinMs: number) {
  const startedAt = performance.now();
  let nodes: Record<string, NodeInfo> = {};
  const areThey = async () => {
    nodes = await nodesOf(of);
    return isSo(nodes);
  };
  await eventually(areThey, () => `the nodes are as they should be, and not ${JSON.stringify(nodes)}`, withinMs);
  return performance.now() - startedAt;
}

const states = (nodes: Record<string, NodeInfo>): Record<string, string> =>
  Object.fromEntries(Object.entries(nodes).map(([name, { state }]) => [name, state]));

describe("joining", () => {
  test("nodes join a head, with what they have; an orderly end is told at once", async () => {
    const cluster = await clusterOf("first", "second");
    const nodes = await nodesOf(cluster);
    expect(states(nodes)).toEqual({ first: "alive", second: "alive" });
    expect(nodes.first).toMatchObject({ resources: { cpu: 1 }, available: { cpu: 1 }, labels: { rack: "first" } });
    await cluster.kill(nodeOf(cluster, "first"), "SIGTERM");
    expect(await until(cluster, ({ first }) => first?.state === "dead", 1_000)).toBeLessThan(1_000);
  });

  test("a wrong token is refused at once, and says so", async () => {
    const cluster = await clusterOf();
    const startedAt = performance.now();
    await expect(embedded(cluster, "stranger", "x".repeat(32))).rejects.toMatchObject({ code: "AUTHENTICATION" });
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    expect(await nodesOf(cluster)).toEqual({});
  });
});

describe("dying", () => {
  test("a node that is killed is known dead within 5 s, and the others live", async () => {
    const cluster = await clusterOf("killed", "other");
    await cluster.kill(nodeOf(cluster, "killed"));
    const tookMs = await until(cluster, ({ killed }) => killed?.state === "dead", 5_000);
    expect(tookMs).toBeGreaterThan(2_000);
    expect(states(await nodesOf(cluster))).toEqual({ killed: "dead", other: "alive" });
  });

  test("a node that was given up ends when it comes back, with its workers", async () => {
    const cluster = await clusterOf();
    const stopped = await embedded(cluster, "stopped");
    const workers = readFileSync(join(stopped.sessionDir, "pids"), "utf8").trim().split("\n").map(Number.parseFloat);
    process.kill(stopped.pid, "SIGSTOP");
    await until(cluster, ({ stopped }) => stopped?.state === "dead", 5_000);
    process.kill(stopped.pid, "SIGCONT");
    await stopped.exited;
    for (const pid of workers) expect(processStart(pid)).toBeUndefined();
    expect(states(await nodesOf(cluster))).toEqual({ stopped: "dead" });
  });

  test("a head that stood still gives nobody up for what it did not hear", async () => {
    const cluster = await clusterOf("patient");
    await cluster.kill(cluster.head, "SIGSTOP");
    // Longer than any silence that would be a death, and then long enough for many looks at who was heard.
    await delay(5_500);
    await cluster.kill(cluster.head, "SIGCONT");
    await delay(1_500);
    expect(states(await nodesOf(cluster))).toEqual({ patient: "alive" });
  });
});

describe("a head that is killed", () => {
  test("goes on on the same folder: same port, same token, and its nodes come back by themselves", async () => {
    const cluster = await clusterOf("first", "dead");
    const first = nodeOf(cluster, "first");
    const [{ id }, pids] = [first, first.pids()];
    await cluster.drain(nodeOf(cluster, "dead"), { deadlineMs: 5_000 });
    await cluster.killHead();
    await cluster.restartHead();
    await until(cluster, (nodes) => nodes.first?.available.cpu === 1, 3_000);
    expect(states(await nodesOf(cluster))).toEqual({ first: "alive", dead: "dead" });
    expect([first.id, first.pids()]).toEqual([id, expect.arrayContaining(pids)]);
  });
});
