/** A real cluster is recorded, and its engines are replayed. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { deserialize, serialize } from "node:v8";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cancel, get, kill, placementGroup, remote } from "../../core/src/api/mod.ts";
import type { RecordedEntry } from "../../core/src/node/recording.ts";
import { LocalCluster } from "../../core/src/testing/mod.ts";
import { ReplayDiffers, replay } from "./replay.ts";

const folder = mkdtempSync("/tmp/mr-");
let cluster: LocalCluster;

beforeAll(async () => {
  process.env.MOBULA_RECORD = folder;
  const resources = { cpu: 1, disk: 2 };
  cluster = await LocalCluster.start({ nodes: ["one", "two", "three"].map((name) => ({ name, resources })) });
  await cluster.connect();
});
afterAll(async () => {
  delete process.env.MOBULA_RECORD;
  await cluster.stop();
  rmSync(folder, { recursive: true, force: true });
});

class Counter {
  count = 0;
  add(): number {
    return ++this.count;
  }
}

const work = remote((ms: number) => new Promise<number>((resolve) => setTimeout(() => resolve(ms), ms)));
const nested = remote(async (count: number) => {
  const parts = await get(Array.from({ length: count }, (_, index) => work.remote(index)));
  return parts.reduce((sum, part) => sum + part, 0);
});

async function tasks(): Promise<void> {
  await get(Array.from({ length: 30 }, () => work.remote(20)));
  expect(await get(nested.remote(8))).toBe(28);
  const waiting = work.remote(60_000);
  await cancel(waiting);
}

/** Some live where the machine is lost; they are made again. @returns what ends them. */
async function actors(): Promise<() => Promise<void>> {
  const options = { numCpus: 0, resources: { disk: 1 }, maxRestarts: -1, maxTaskRetries: -1 };
  const counters = Array.from({ length: 4 }, (_, index) => remote(Counter, { ...options, name: `c${index}` }).remote());
  const count = (): Promise<number[]> => get(counters.map((counter) => counter.add.remote()));
  expect(await count()).toEqual([1, 1, 1, 1]);
  return async () => {
    await count();
    for (const counter of counters) await kill(counter);
  };
}

/** A node places by itself what its programs ask for, unless it is half in use. */
const near = remote(
  async () => {
    const group = placementGroup([{ cpu: 0.25 }]);
    await get(group.ready());
    await new Promise((resolve) => setTimeout(resolve, 50));
    await group.remove();
  },
  { numCpus: 0, resources: { disk: 1 } },
);

async function groups(): Promise<void> {
  await get(near.remote());
  const spread = placementGroup([{ disk: 1 }, { disk: 1 }, { disk: 1 }], { strategy: "STRICT_SPREAD" });
  await get(spread.ready());
  const inside = remote(() => 1).options({
    numCpus: 0,
    resources: { disk: 1 },
    schedulingStrategy: { placementGroup: spread },
  });
  expect(await get([inside.remote(), inside.remote()])).toEqual([1, 1]);
  await spread.remove();
}

const recordings = (): string[] => readdirSync(folder).map((name) => join(folder, name));

test("engines that are told again what they were told in a real cluster do the same again", {
  timeout: 120_000,
}, async () => {
  await groups();
  await tasks();
  const endActors = await actors();
  // One dies in the middle of it: control gives it up, and what it did is done elsewhere.
  const three = cluster.nodes.find(({ name }) => name === "three");
  if (!three) throw new RangeError("it was started");
  const under = Array.from({ length: 30 }, () => work.remote(200));
  await cluster.kill(three);
  expect(await get(under)).toHaveLength(30);
  await endActors();
  // Another life of the head begins with what was written down.
  await cluster.killHead();
  await cluster.restartHead();
  await tasks();
  await (await actors())();
  await cluster.stop();

  const told = new Map<string, number>();
  const kinds = new Map<string, number>();
  for (const file of recordings()) {
    const replayed = await replay(file);
    expect(replayed.answers).toBeGreaterThanOrEqual(replayed.calls);
    told.set(replayed.engine, (told.get(replayed.engine) ?? 0) + replayed.calls);
    for (const [kind, count] of replayed.kinds) kinds.set(kind, (kinds.get(kind) ?? 0) + count);
  }
  expect([...told.keys()].sort()).toEqual(["broker", "control", "head", "leases", "local-groups", "own-groups"]);
  for (const engine of ["broker", "control", "head", "leases", "local-groups"])
    expect(told.get(engine), engine).toBeGreaterThan(10);
  // All that places has had something to do.
  for (const kind of [
    ...["leases-divided", "prepare-bundles", "bundles-committed", "groups-placed", "groups-noted"],
    ...["actor-worker-wanted", "actor-worker-ready", "actor-worker-died", "actor-settled", "nodes-changed"],
  ])
    expect(kinds.get(kind), kind).toBeGreaterThan(0);
});

test.each([
  ["head", "divide-leases", { wanted: 0 }],
  ["head", "actor-worker-ready", { requestId: 1_000_000 }],
  ["head", "bundles-committed", { attempt: 1_000_000 }],
  ["head", "groups-placed", { placed: [] }],
  ["head", "actor-worker-died", { death: { workerId: "another" } }],
  ["leases", "worker-ready", { workerId: "another" }],
  ["broker", "leases-divided", { at: [] }],
])("of a recording of %s in which %s is another, it is told that it is not repeated", async (engine, kind, change) => {
  const of = recordings().find((name) => name.includes(`/${engine}-`) && readFileSync(name).includes(kind));
  await expect(replay(changedIn(of ?? "", kind, change))).rejects.toThrow(ReplayDiffers);
});

test("of a recording of local groups in which one was not reserved, it is told that it is not repeated", async () => {
  const of = recordings().find(
    (name) => name.includes("/local-groups-") && readFileSync(name).includes("groups-placed"),
  );
  await expect(replay(changedIn(of ?? "", "bundles-committed", { attempt: 1_000_000 }))).rejects.toThrow(ReplayDiffers);
});

test("what is no recording is told from one", async () => {
  await expect(replay(import.meta.filename)).rejects.toThrow(ReplayDiffers);
});

const kindOf = (value: unknown): unknown => {
  const { t, kind = t } = (value ?? {}) as { readonly t?: unknown; readonly kind?: unknown };
  return kind;
};

/** The first event of a kind is another one. */
function changedIn(path: string, kind: string, change: object): string {
  const bytes = readFileSync(path);
  const changed = join(folder, `${kind}.changed`);
  const pieces: Buffer[] = [];
  let isChanged = false;
  for (let at = 0; at < bytes.length; ) {
    const end = at + 4 + bytes.readUInt32LE(at);
    const entry = deserialize(bytes.subarray(at + 4, end)) as RecordedEntry;
    at = end;
    if (entry[0] === "call" && !isChanged) {
      const message = entry[2].find((value) => kindOf(value) === kind);
      if (message) Object.assign(message, change);
      isChanged = message !== undefined;
    }
    const written = serialize(entry);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(written.length);
    pieces.push(length, written);
  }
  expect(isChanged, kind).toBe(true);
  writeFileSync(changed, Buffer.concat(pieces));
  return changed;
}
