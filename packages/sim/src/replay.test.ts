/** A real cluster is recorded, and its engines are replayed. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cancel, get, remote } from "../../core/src/api/mod.ts";
import { LocalCluster } from "../../core/src/testing/mod.ts";
import { ReplayDiffers, replay } from "./replay.ts";

const folder = mkdtempSync("/tmp/mr-");
let cluster: LocalCluster;

beforeAll(async () => {
  process.env.MOBULA_RECORD = folder;
  const resources = { cpu: 1 };
  cluster = await LocalCluster.start({ nodes: ["one", "two", "three"].map((name) => ({ name, resources })) });
  await cluster.connect();
});
afterAll(async () => {
  delete process.env.MOBULA_RECORD;
  await cluster.stop();
  rmSync(folder, { recursive: true, force: true });
});

test("engines that are told again what they were told in a real cluster do the same again", {
  timeout: 90_000,
}, async () => {
  const work = remote((ms: number) => new Promise<number>((resolve) => setTimeout(() => resolve(ms), ms)));
  const nested = remote(async (count: number) => {
    const parts = await get(Array.from({ length: count }, (_, index) => work.remote(index)));
    return parts.reduce((sum, part) => sum + part, 0);
  });
  await get(Array.from({ length: 30 }, () => work.remote(20)));
  expect(await get(nested.remote(8))).toBe(28);
  const waiting = work.remote(60_000);
  await cancel(waiting);
  // One dies in the middle of it: control gives it up, and what it did is done elsewhere.
  const three = cluster.nodes.find(({ name }) => name === "three");
  if (!three) throw new RangeError("it was started");
  const under = Array.from({ length: 30 }, () => work.remote(200));
  await cluster.kill(three);
  expect(await get(under)).toHaveLength(30);
  await cluster.stop();

  const told = new Map<string, number>();
  for (const file of readdirSync(folder)) {
    const { engine, calls, answers } = replay(join(folder, file));
    expect(answers).toBeGreaterThanOrEqual(calls);
    told.set(engine, (told.get(engine) ?? 0) + calls);
  }
  expect([...told.keys()].sort()).toEqual(["leases", "members"]);
  for (const [engine, calls] of told) expect(calls, engine).toBeGreaterThan(10);

  // Had it been told something else, it would have done something else.
  const file = readdirSync(folder).find((name) => name.startsWith("leases-one")) ?? "";
  const bytes = readFileSync(join(folder, file));
  bytes.write("worker-dead!", bytes.indexOf("worker-ready"));
  const changed = join(folder, "changed.rec");
  writeFileSync(changed, bytes);
  expect(() => replay(changed)).toThrow();
  expect(() => replay(import.meta.filename)).toThrow(ReplayDiffers);
});
