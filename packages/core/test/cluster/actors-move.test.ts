/** Actors of a node that is drained. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { get, nodes, remote, runtimeContext } from "../../src/api/mod.ts";
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
  async until(file: string, started: string): Promise<string> {
    writeFileSync(started, "");
    while (!existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 10));
    return runtimeContext().nodeId;
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
  const shared = remote(Worker, { maxRestarts: 1, schedulingStrategy, isolation: "shared" }).remote();
  expect(await get(shared.sleep.remote(0))).toBe(goes.id);
  const started = join(folder, "started");
  const running = actor.sleep.remote(1_500, started);
  await eventually(() => existsSync(started), "the call has begun");
  const waiting = actor.sleep.remote(0);
  await cluster.drain(goes, { deadlineMs: 30_000 });
  expect(await get([running, waiting])).toEqual([goes.id, stays.id]);
  expect(await get(shared.sleep.remote(0))).toBe(stays.id);
  expect(await get([actor.restarted.remote(), shared.restarted.remote()])).toEqual([true, true]);
});

test("so it is when control is killed while they move", async () => {
  const [stays] = cluster.nodes;
  const leaves = await cluster.addNode({ name: "leaves", resources: { cpu: 1 } });
  const schedulingStrategy = { nodeId: leaves.id, soft: true };
  const actor = remote(Worker, { maxRestarts: 1, schedulingStrategy }).remote();
  const [started, goOn] = [join(folder, "begun"), join(folder, "go on")];
  const running = actor.until.remote(goOn, started);
  await eventually(() => existsSync(started), "the call has begun");
  const drained = cluster.drain(leaves, { deadlineMs: 30_000 });
  const isDraining = async () => (await nodes()).some(({ name, state }) => name === "leaves" && state === "draining");
  await eventually(isDraining, "it is being drained");
  await cluster.killHead();
  // Its actor may end before another control knows of it.
  writeFileSync(goOn, "");
  expect(await get(running)).toBe(leaves.id);
  await cluster.restartHead();
  await drained;
  expect(await get(actor.sleep.remote(0))).toBe(stays?.id);
});
