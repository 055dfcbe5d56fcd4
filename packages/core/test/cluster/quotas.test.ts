/** A job uses no more of the cluster at once than its quota allows, over all nodes. */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Context, explain, get, kill, nodes, type ObjectRef, placementGroup, remote } from "../../src/api/mod.ts";
import { newNodeId } from "../../src/base/ids.ts";
import { toUnits } from "../../src/base/resources.ts";
import { WIRE_VERSION } from "../../src/base/wire-version.ts";
import { askHead } from "../../src/head/mod.ts";
import { ClusterLink } from "../../src/node/cluster-link.ts";
import { tcpWays } from "../../src/node/head-ways.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { Access } from "../../src/transport/mod.ts";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";
import { TaskStream } from "./task-stream.ts";

const program = fileURLToPath(new URL("../../src/bin/mobula.ts", import.meta.url));
const folder = newFolder();
/** A turn begins after one second; the second one, after the pause, some seconds later. */
const TURN_WITHIN_MS = 15_000;
let cluster: LocalCluster;
let context: Context;

beforeAll(async () => {
  const resources = { cpu: 4 };
  cluster = await LocalCluster.start({
    nodes: [
      { name: "one", resources },
      { name: "two", resources },
    ],
  });
  const [one] = cluster.nodes;
  if (!one) throw new Error("there is one");
  context = await cluster.connect({ node: one, quota: { cpu: 3 } });
});
afterAll(() => cluster.stop());

/** Says how many run beside it, itself included. */
const count = remote(async function count(files: string, ms: number) {
  const mine = join(files, `${process.pid}`);
  writeFileSync(mine, "");
  let most = 0;
  for (const end = Date.now() + ms; Date.now() < end; ) {
    most = Math.max(most, readdirSync(files).length);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  rmSync(mine);
  return most;
});

function place(name: string): string {
  const at = join(folder, name);
  mkdirSync(at);
  return at;
}

function mobula(...args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, ...cluster.env, MOBULA_ADDRESS: "", TMPDIR: newFolder() };
    const all = [program, ...args, "--address", cluster.address];
    execFile(process.execPath, all, { env }, (error, out, err) => (error ? reject(new Error(err)) : resolve(out)));
  });
}

test("tasks of a job run on both nodes, and never more of them than its quota allows", async () => {
  const files = place("tasks");
  const most = await get(Array.from({ length: 24 }, () => count.remote(files, 40)));
  expect(Math.max(...most)).toBe(3);
});

test("what waits for the quota says so, also for an actor; what wants nothing of it does not wait", async () => {
  const files = place("waits");
  const hold = remote(async function hold(name: string) {
    writeFileSync(join(files, name), "");
    while (!existsSync(join(files, "end"))) await new Promise((resolve) => setTimeout(resolve, 5));
  });
  const held = ["a", "b", "c"].map((name) => hold.remote(name));
  await eventually(() => readdirSync(files).length === 3, "three run");
  const fourth = hold.remote("d");
  class Idle {
    answer(): number {
      return 1;
    }
  }
  using actor = remote(Idle, { numCpus: 1 }).remote();
  const call = actor.answer.remote();
  const says = async (target: ObjectRef<unknown>): Promise<string> => (await explain(target)).sentences.join(" ");
  await eventually(
    async () => (await says(fourth)).includes("may use at most { cpu: 3 } of the cluster"),
    "it says so",
  );
  await eventually(
    async () => (await says(call)).includes("may use at most { cpu: 3 } of the cluster"),
    "and the actor",
  );
  const free = (await nodes()).reduce((sum, { available }) => sum + (available.cpu ?? 0), 0);
  expect(free).toBe(5);
  using light = remote(Idle).remote();
  expect(await get(light.answer.remote())).toBe(1);
  writeFileSync(join(files, "end"), "");
  await get([...held, fourth]);
  expect(await get(call)).toBe(1);
});

test("also while two kinds of tasks change places", async () => {
  const files = place("kinds");
  const other = count.options({ priority: -1 });
  const refs = Array.from({ length: 30 }, (_, at) => (Math.floor(at / 5) % 2 ? count : other).remote(files, 30));
  expect(Math.max(...(await get(refs)))).toBe(3);
});

test("a placement group counts with all its bundles, and what runs in it does not", async () => {
  const files = place("group");
  const group = placementGroup([{ cpu: 1 }, { cpu: 1 }]);
  await get(group.ready());
  const inGroup = count.options({ schedulingStrategy: { placementGroup: group } });
  const most = await get([
    ...Array.from({ length: 6 }, () => count.remote(files, 60)),
    ...Array.from({ length: 2 }, () => inGroup.remote(place(`in ${Math.random()}`), 60)),
  ]);
  expect(Math.max(...most.slice(0, 6))).toBe(1);
  const second = placementGroup([{ cpu: 2 }]);
  await eventually(
    async () => /may use at most \{ cpu: 3 \} of the cluster/.test((await explain(second)).sentences.join(" ")),
    "it waits for the quota",
  );
  await group.remove();
  await get(second.ready());
  await second.remove();
});

test("beside a stream of its job's tasks an actor has its turn, and a group of all of the quota has", async () => {
  const stream = new TaskStream(9);
  try {
    await stream.full;
    class Counter {
      answer(): number {
        return 1;
      }
    }
    using actor = remote(Counter, { numCpus: 1 }).remote();
    expect(await get(actor.answer.remote(), { timeoutMs: TURN_WITHIN_MS })).toBe(1);
    await kill(actor);
    const group = placementGroup([{ cpu: 2 }, { cpu: 1 }]);
    await get(group.ready(), { timeoutMs: TURN_WITHIN_MS });
    await group.remove();
  } finally {
    await stream.end();
  }
}, 60_000);

test("a task that waits for others gives what it has back to them", async () => {
  const leaf = remote(() => 1);
  const middle = remote(async () => 1 + (await get(leaf.remote())));
  const top = remote(async () => 1 + (await get(middle.remote())));
  expect(await get(Array.from({ length: 3 }, () => top.remote()))).toEqual([3, 3, 3]);
});

test("nodes hear how much each quota is, for the limits that they keep", async () => {
  const tokenFile = join(newFolder(), "token");
  writeFileSync(tokenFile, cluster.env.MOBULA_TOKEN ?? "", { mode: 0o600 });
  const heard = new Map<string, unknown>();
  const node = { nodeId: newNodeId(), name: "listens", address: null, total: {}, labels: {}, objectStoreBytes: 0 };
  const nothing = (): void => {};
  const access = await Access.open({ tokenFile }, nothing);
  const link = await ClusterLink.join({
    ...{ address: cluster.address, ways: tcpWays(access, node.nodeId), isPatient: false },
    node: { ...node, wireVersion: WIRE_VERSION },
    use: () => ({
      available: {},
      storeUsedBytes: 0,
      storeSpilledBytes: 0,
      events: { keptBytes: 0, droppedBatches: 0 },
    }),
    onLimits(jobs, quotas) {
      heard.clear();
      for (const [at, job] of jobs.entries()) heard.set(job, quotas[at]);
    },
    ...{ onNodes: nothing, onWelcomed: nothing, onFound: nothing, onDivided: nothing, onBundles: nothing },
    ...{ onGroupsNoted: nothing, onSaying: nothing },
    ...{ onDrain: nothing, onLost: nothing, onActors: nothing, onQuery: nothing, onExpelled: nothing, onNews: nothing },
  });
  await eventually(
    () => JSON.stringify([...heard]) === JSON.stringify([[context.jobId, toUnits({ cpu: 3 })]]),
    "it hears",
  );
  // As much for the same job again is news too.
  await mobula("quota", context.jobId, "cpu=2", "memory=1GiB");
  const changed = toUnits({ cpu: 2, memory: 2 ** 30 });
  await eventually(
    () => JSON.stringify(heard.get(context.jobId)) === JSON.stringify(changed),
    "it hears of the change",
  );
  await mobula("quota", context.jobId, "--none");
  await link.leave();
});

test("an administrator's quota counts, and is kept as what runs ends", async () => {
  const files = place("lowered");
  const refs = Array.from({ length: 40 }, () => count.remote(files, 60));
  await eventually(() => readdirSync(files).length === 3, "three run");
  expect(await askHead(cluster, "set-quota", { job: context.jobId, quota: { cpu: 1 } })).toEqual({ cpu: 1 });
  expect((await get(refs)).at(-1)).toBe(1);
  expect(await mobula("quota", context.jobId, "CPU=2")).toBe(`Job ${context.jobId} may use cpu=2 at once.\n`);
  expect(await mobula("quota", context.jobId, "--none")).toBe(`Job ${context.jobId} may use cpu=3 at once.\n`);
  const again = place("again");
  expect(Math.max(...(await get(Array.from({ length: 12 }, () => count.remote(again, 40)))))).toBe(3);
});
