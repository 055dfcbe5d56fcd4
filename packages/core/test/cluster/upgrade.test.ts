/** A cluster whose processes are exchanged for those of the next release, one after the other, while a job runs. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, expect, test } from "vitest";
import { get, nodes, placementGroup, remote } from "../../src/api/mod.ts";
import { WIRE_VERSION } from "../../src/base/wire-version.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";

const VARIABLE = "MOBULA_WIRE_VERSION";
const OLD = WIRE_VERSION - 1;
let cluster: LocalCluster;
afterEach(() => cluster.stop());

/** Nobody has said what an older release cannot read: that ends a session, and is mended by the next one. */
function expectAllWasRead(): void {
  const { folder } = cluster as unknown as { readonly folder: string };
  const logs = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".log"));
  expect(logs.some((name) => name.endsWith("head.log"))).toBe(true);
  for (const name of logs)
    expect(readFileSync(join(folder, name), "utf8"), name).not.toMatch(/could not be taken|of wire version/);
}

/** What is started meanwhile is of a release that speaks that version. */
async function ofVersion<T>(version: number, start: () => Promise<T>): Promise<T> {
  process.env[VARIABLE] = String(version);
  try {
    return await start();
  } finally {
    delete process.env[VARIABLE];
  }
}

class Echo {
  say(n: number): number {
    return n;
  }
}
const Echoes = remote(Echo, { numCpus: 0, maxRestarts: -1, maxTaskRetries: -1 });
const square = remote((n: number) => n * n, { schedulingStrategy: "spread", numCpus: 0.25 });
const squares = remote(
  async (inner: typeof square, n: number) => {
    const found = await get(Array.from({ length: 3 }, (_, k) => inner.remote(n + k)));
    return found.reduce((sum, one) => sum + one, 0);
  },
  { numCpus: 0.25 },
);
const large = remote((n: number) => new Uint8Array(5 << 20).fill(n), { schedulingStrategy: "spread", numCpus: 0.25 });
const at = remote((bytes: Uint8Array) => bytes[bytes.length - 1] ?? 0, { schedulingStrategy: "spread", numCpus: 0.25 });

/** Nested tasks, objects that change nodes, placement groups, and calls of actors, again and again; each answer is checked. */
function mainJob(): { rounds(): number; end(): Promise<void> } {
  let count = 0;
  let isOver = false;
  const actors = [Echoes.remote(), Echoes.remote()];
  const running = (async () => {
    for (; !isOver; count++) {
      const n = count % 200;
      const asked = [squares.remote(square, n), at.remote(large.remote(n)), ...actors.map((one) => one.say.remote(n))];
      const sum = n * n + (n + 1) ** 2 + (n + 2) ** 2;
      expect(await get(asked)).toEqual([sum, n, n, n]);
      const group = placementGroup([{ cpu: 0.01 }]);
      expect(
        await get(square.options({ numCpus: 0.01, schedulingStrategy: { placementGroup: group } }).remote(n)),
      ).toBe(n * n);
      await group.remove();
    }
  })();
  running.catch(() => {});
  return {
    rounds: () => count,
    async end() {
      isOver = true;
      await running;
    },
  };
}

/** The job gets on, and nodes speak these versions. */
async function goesOn(job: ReturnType<typeof mainJob>, versions: Readonly<Record<string, number>>): Promise<void> {
  const before = job.rounds();
  await eventually(() => job.rounds() > before + 3, "the job gets on");
  const there = (await nodes()).filter(({ state, name }) => state === "alive" && name.endsWith("worker"));
  expect(Object.fromEntries(there.map(({ name, wireVersion }) => [name, wireVersion]))).toEqual(versions);
}

const worker = (name: string) => ({ name: `${name}-worker`, resources: { cpu: 2 } });

const begun = (): Promise<LocalCluster> =>
  ofVersion(OLD, () => LocalCluster.start({ nodes: [worker("a"), worker("b")], head: worker("h"), network: "direct" }));

async function exchangeHead(): Promise<void> {
  await cluster.killHead();
  await cluster.restartHead();
}

async function exchangeNode(old: number, name: string): Promise<void> {
  await cluster.addNode(worker(name));
  const node = cluster.nodes[old];
  if (node) await cluster.drain(node, { deadlineMs: 10_000 });
}

test("the head first, then node by node: the job goes on, and its actors live", async () => {
  cluster = await begun();
  await cluster.connect();
  const job = mainJob();
  // A head of the version before does not know versions of nodes.
  const before = job.rounds();
  await eventually(() => job.rounds() > before + 3, "the job gets on");
  await exchangeHead();
  await goesOn(job, { "a-worker": OLD, "b-worker": OLD, "h-worker": OLD });
  await exchangeNode(0, "c");
  await goesOn(job, { "b-worker": OLD, "c-worker": WIRE_VERSION, "h-worker": OLD });
  await exchangeNode(1, "d");
  await goesOn(job, { "c-worker": WIRE_VERSION, "d-worker": WIRE_VERSION, "h-worker": OLD });
  await job.end();
  expectAllWasRead();
}, 120_000);

test("node by node, then the head: the job goes on, and its actors live", async () => {
  cluster = await begun();
  await cluster.connect();
  const job = mainJob();
  await exchangeNode(0, "c");
  await exchangeNode(1, "d");
  const before = job.rounds();
  await eventually(() => job.rounds() > before + 3, "the job gets on");
  await exchangeHead();
  await goesOn(job, { "c-worker": WIRE_VERSION, "d-worker": WIRE_VERSION, "h-worker": OLD });
  await job.end();
  expectAllWasRead();
}, 120_000);

test("a program of the version before joins a cluster that is upgraded; two versions do not meet, and are told who is to be upgraded", async () => {
  cluster = await LocalCluster.start({ nodes: 1, network: "direct" });
  const program = fileURLToPath(new URL("fixtures/joins.ts", import.meta.url));
  const ran = spawnSync(process.execPath, [program], {
    env: { ...process.env, ...cluster.env, [VARIABLE]: String(OLD) },
    encoding: "utf8",
  });
  expect(ran.stderr).toBe("");
  expect(ran.status).toBe(0);
  await expect(ofVersion(OLD - 1, () => cluster.addNode({ name: "ancient" }))).rejects.toMatchObject({
    code: "VERSION_MISMATCH",
    message: expect.stringMatching(/upgrade mobula on the side of this process/),
  });
  await cluster.stop();
  cluster = await ofVersion(OLD - 1, () => LocalCluster.start({ nodes: 0, network: "direct" }));
  await expect(cluster.addNode({ name: "modern" })).rejects.toMatchObject({
    code: "VERSION_MISMATCH",
    message: expect.stringMatching(/upgrade mobula on the side of the process at/),
  });
}, 60_000);
