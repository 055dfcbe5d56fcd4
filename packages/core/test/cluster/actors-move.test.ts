/** Actors of a node that is drained. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { get, remote, runtimeContext } from "../../src/api/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";

const folder = mkdtempSync("/tmp/ma-");
let cluster: LocalCluster;
beforeAll(async () => {
  const node = (name: string) => ({ name, resources: { cpu: 1, any: 1 } });
  cluster = await LocalCluster.start({ nodes: [node("stays"), node("goes")] });
  const [stays] = cluster.nodes;
  if (stays) await cluster.connect({ node: stays });
});
afterAll(async () => {
  await cluster.stop();
  rmSync(folder, { recursive: true, force: true });
});

class Worker {
  async sleep(ms: number, started?: string): Promise<string> {
    if (started !== undefined) writeFileSync(started, "");
    await new Promise((resolve) => setTimeout(resolve, ms));
    const { signal, nodeId } = runtimeContext();
    signal.throwIfAborted();
    return nodeId;
  }
  restarted(): boolean {
    return runtimeContext().wasRestarted;
  }
}

test("what an actor runs ends on the node that is drained, what waits runs elsewhere, and no restart is used up", async () => {
  const [stays, goes] = cluster.nodes;
  if (!stays || !goes) throw new Error("two nodes were started");
  const schedulingStrategy = { nodeId: goes.id, soft: true };
  const actor = remote(Worker, { maxRestarts: 1, schedulingStrategy }).remote();
  expect(await get(actor.sleep.remote(0))).toBe(goes.id);
  const started = join(folder, "started");
  const running = actor.sleep.remote(1_500, started);
  await eventually(() => existsSync(started), "the call has begun");
  const waiting = actor.sleep.remote(0);
  await cluster.drain(goes, { deadlineMs: 30_000 });
  expect(await get([running, waiting])).toEqual([goes.id, stays.id]);
  expect(await get(actor.restarted.remote())).toBe(true);
});
