/** Connections of a cluster are sessions: one that is cut is a pause. Real processes, with something between them that cuts. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type NodeId, newNodeId, newProcessId } from "../../src/base/ids.ts";
import { WIRE_VERSION } from "../../src/base/wire-version.ts";
import { type LaunchedHead, launchHead } from "../../src/head/mod.ts";
import { type LaunchedNode, launchNode, logFolderOf } from "../../src/node/mod.ts";
import { parseAddress } from "../../src/transport/address.ts";
import { connectUnix, type Peer } from "../../src/transport/mod.ts";
import { TestProxy } from "../../src/transport/test-proxy.ts";
import type { Answer, NodeInfo, Queries } from "../../src/wire/mod.ts";

let base = "";
const ends: (() => unknown)[] = [];

beforeEach(() => {
  base = mkdtempSync("/tmp/ms-");
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
  rmSync(base, { recursive: true, force: true });
});

async function head(): Promise<LaunchedHead> {
  const launched = await launchHead({ stateDir: join(base, "state"), base, port: 0, logLevel: "info" });
  ends.push(() => launched.stopNow());
  return launched;
}

async function node(address: string, token: string): Promise<LaunchedNode & { readonly nodeId: NodeId }> {
  const nodeId = newNodeId();
  const launched = await launchNode({
    nodeId,
    name: "one",
    base,
    resources: { cpu: 1 },
    objectStoreBytes: 16 * 2 ** 20,
    cluster: { address, token, labels: {}, host: "127.0.0.1", ports: 0 },
  });
  ends.push(() => launched.stopNow());
  return { ...launched, nodeId };
}

/** Asks a node, as `mobula status` does. */
class Tool {
  private readonly answers = new Map<number, (answer: Answer) => void>();
  private peer: Peer | undefined;
  private asked = 0;

  static async at({ nodeId, nodeSocket, token }: Awaited<ReturnType<typeof node>>): Promise<Tool> {
    const tool = new Tool();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const peer = await connectUnix(nodeSocket, {
      onMessage: (message) => {
        if (message.t === "welcome") resolve();
        else if (message.t === "answer") tool.answers.get((message as Answer).id)?.(message as Answer);
      },
      onClose: (error) => reject(error ?? new Error("the node closed the connection")),
    });
    tool.peer = peer;
    const processId = newProcessId(nodeId);
    peer.send({ t: "hello", version: WIRE_VERSION, token, language: "js", role: "tool", processId, pid: process.pid });
    ends.push(() => peer.destroy());
    await promise;
    return tool;
  }

  ask<M extends keyof Queries>(method: M, params: Queries[M]["params"]): Promise<Queries[M]["result"]> {
    const id = ++this.asked;
    return new Promise((resolve, reject) => {
      this.answers.set(id, ({ result, error }) => {
        if (error) reject(new Error(error.message));
        else resolve(result as Queries[M]["result"]);
      });
      this.peer?.send({ t: "query", id, method, params });
    });
  }
}

const statesOf = (nodes: readonly NodeInfo[]): string[] => nodes.map(({ state }) => state);

test("a connection to the head that is cut is a pause: what is asked meanwhile is answered, and nobody joins anew", async () => {
  const at = await head();
  const proxy = await TestProxy.to(parseAddress(at.address));
  ends.push(() => proxy.close());
  const tool = await Tool.at(await node(proxy.address, at.token));
  for (let cuts = 0; cuts < 5; cuts++) {
    proxy.plan = (connection) => (connection % 2 === 0 ? "refuse" : {});
    proxy.cut(cuts % 2 === 0);
    expect(statesOf(await tool.ask("nodes", null))).toEqual(["alive"]);
  }
  expect(proxy.connections).toBeGreaterThan(5);
  const log = readFileSync(join(logFolderOf(at.sessionDir), "head.log"), "utf8");
  expect(log.match(/has joined/g)).toHaveLength(1);
});
