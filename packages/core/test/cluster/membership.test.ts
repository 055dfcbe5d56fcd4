/** Nodes of a cluster: real processes that join a head by TCP, die, are cut off and come back. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { newNodeId } from "../../src/base/ids.ts";
import { type LaunchedHead, launchHead } from "../../src/head/mod.ts";
import { isRunning, type LaunchedNode, launchNode, processStart } from "../../src/node/mod.ts";
import { connectTcp, introduce, SocketPeer } from "../../src/transport/mod.ts";
import type { Answer, NodeInfo } from "../../src/wire/mod.ts";

let base = "";
const running: (LaunchedHead | LaunchedNode)[] = [];

beforeEach(() => {
  base = mkdtempSync("/tmp/mc-");
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((one) => one.stopNow()));
  rmSync(base, { recursive: true, force: true });
});

async function head(port: { readonly port?: number } = { port: 0 }): Promise<LaunchedHead> {
  const launched = await launchHead({ stateDir: join(base, "state"), base, ...port });
  running.push(launched);
  return launched;
}

async function node(of: LaunchedHead, name: string, token = of.token): Promise<LaunchedNode> {
  const launched = await launchNode({
    nodeId: newNodeId(),
    name,
    base,
    resources: { cpu: 1 },
    objectStoreBytes: 16 * 2 ** 20,
    cluster: { address: of.address, token, labels: { rack: name }, host: "127.0.0.1", ports: 0 },
  });
  running.push(launched);
  return launched;
}

/** What the head says of its nodes, as a tool asks it. */
async function nodesOf({ address, token }: LaunchedHead): Promise<Record<string, NodeInfo>> {
  const socket = await connectTcp(address);
  await introduce(socket, { role: "tool", who: null, token });
  return new Promise((resolve, reject) => {
    const peer = new SocketPeer(socket, {
      onMessage: (message) => {
        peer.close();
        const nodes = (message as Answer).result as readonly NodeInfo[];
        resolve(Object.fromEntries(nodes.map((one) => [one.name, one])));
      },
      onClose: (error) => reject(error ?? new Error("the head closed the connection")),
    });
    socket.resume();
    peer.send({ t: "query", id: 1, method: "nodes", params: null });
  });
}

/** Milliseconds until the head says so. Nobody tells a tool: it asks again and again. */
async function until(of: LaunchedHead, isSo: (nodes: Record<string, NodeInfo>) => boolean, withinMs: number) {
  const startedAt = performance.now();
  for (;;) {
    const nodes = await nodesOf(of);
    const took = performance.now() - startedAt;
    if (isSo(nodes)) return took;
    if (took > withinMs) throw new Error(`not within ${withinMs} ms: ${JSON.stringify(nodes)}`);
    await delay(20);
  }
}

const states = (nodes: Record<string, NodeInfo>): Record<string, string> =>
  Object.fromEntries(Object.entries(nodes).map(([name, { state }]) => [name, state]));

describe("joining", () => {
  test("nodes join a head, with what they have; an orderly end is told at once", async () => {
    const at = await head();
    const first = await node(at, "first");
    await node(at, "second");
    const nodes = await nodesOf(at);
    expect(states(nodes)).toEqual({ first: "alive", second: "alive" });
    expect(nodes.first).toMatchObject({ resources: { cpu: 1 }, available: { cpu: 1 }, labels: { rack: "first" } });
    await first.stop();
    expect(await until(at, ({ first }) => first?.state === "dead", 1_000)).toBeLessThan(1_000);
  });

  test("a wrong token is refused at once, and says so", async () => {
    const at = await head();
    const startedAt = performance.now();
    await expect(node(at, "stranger", "x".repeat(32))).rejects.toMatchObject({ code: "AUTHENTICATION" });
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    expect(await nodesOf(at)).toEqual({});
  });
});

describe("dying", () => {
  test("a node that is killed is known dead within 5 s, and the others live", async () => {
    const at = await head();
    const killed = await node(at, "killed");
    await node(at, "other");
    process.kill(killed.pid, "SIGKILL");
    const tookMs = await until(at, ({ killed }) => killed?.state === "dead", 5_000);
    expect(tookMs).toBeGreaterThan(2_000);
    expect(states(await nodesOf(at))).toEqual({ killed: "dead", other: "alive" });
  });

  test("a node that was given up ends when it comes back, with its workers", async () => {
    const at = await head();
    const stopped = await node(at, "stopped");
    const workers = readFileSync(join(stopped.sessionDir, "pids"), "utf8").trim().split("\n").map(Number.parseFloat);
    process.kill(stopped.pid, "SIGSTOP");
    await until(at, ({ stopped }) => stopped?.state === "dead", 5_000);
    process.kill(stopped.pid, "SIGCONT");
    await stopped.exited;
    for (const pid of workers) expect(processStart(pid)).toBeUndefined();
    expect(states(await nodesOf(at))).toEqual({ stopped: "dead" });
  });

  test("a head that stood still gives nobody up for what it did not hear", async () => {
    const at = await head();
    await node(at, "patient");
    process.kill(at.pid, "SIGSTOP");
    // Longer than any silence that would be a death, and then long enough for many looks at who was heard.
    await delay(5_500);
    process.kill(at.pid, "SIGCONT");
    await delay(1_500);
    expect(states(await nodesOf(at))).toEqual({ patient: "alive" });
  });
});

describe("a head that is killed", () => {
  test("goes on on the same folder: same port, same token, and its nodes come back by themselves", async () => {
    const before = await head();
    const first = await node(before, "first");
    const dead = await node(before, "dead");
    await dead.stop();
    process.kill(before.pid, "SIGKILL");
    await before.exited;
    const after = await head({});
    expect([after.address, after.token]).toEqual([before.address, before.token]);
    await until(after, ({ first }) => first?.available.cpu === 1, 3_000);
    expect(states(await nodesOf(after))).toEqual({ first: "alive", dead: "dead" });
    expect(isRunning({ pid: first.pid, started: null })).toBe(true);
  });
});
