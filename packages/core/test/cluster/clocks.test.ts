/** Machines whose clocks are hours apart, and one whose clock is set back while it works. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { get, nodes, put, release, remote, runtimeContext } from "../../src/api/mod.ts";
import { type ClusterNode, LocalCluster } from "../../src/testing/mod.ts";
import { newFolder } from "../new-folder.ts";

const HOUR_MS = 3_600_000;
/** `Date.now()` of a process, and of those that it starts, is off by what a file says. */
const SHIFTED = `
  const { readFileSync } = require("node:fs");
  const now = Date.now;
  let [shiftMs, readAtMs] = [0, 0];
  Date.now = () => {
    if (now() - readAtMs > 10) [shiftMs, readAtMs] = [Number(readFileSync(process.env.CLOCK_SHIFT, "utf8")), now()];
    return now() + shiftMs;
  };
`;

const ended: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ended.splice(0).reverse()) await end();
});

/** The node's clock, to be set. */
async function addNode(cluster: LocalCluster, name: string, shiftMs: number): Promise<[ClusterNode, string]> {
  const folder = newFolder();
  const [clock, preload] = [join(folder, "clock"), join(folder, "shifted.cjs")];
  writeFileSync(clock, `${shiftMs}`);
  writeFileSync(preload, SHIFTED);
  const { NODE_OPTIONS } = process.env;
  Object.assign(process.env, { NODE_OPTIONS: `${NODE_OPTIONS ?? ""} --require=${preload}`, CLOCK_SHIFT: clock });
  try {
    return [await cluster.addNode({ name, resources: { cpu: 1 } }), clock];
  } finally {
    delete process.env.CLOCK_SHIFT;
    if (NODE_OPTIONS === undefined) delete process.env.NODE_OPTIONS;
    else process.env.NODE_OPTIONS = NODE_OPTIONS;
  }
}

test("clocks may disagree by hours, and be set, and nothing waits, ends or dies of it", async () => {
  const cluster = await LocalCluster.start({ nodes: [{ name: "a", resources: { cpu: 1 } }] });
  ended.push(() => cluster.stop());
  const [early] = await addNode(cluster, "early", -HOUR_MS);
  const [late, clock] = await addNode(cluster, "late", HOUR_MS);
  await cluster.connect();
  const on = ({ id }: ClusterNode) => ({ schedulingStrategy: { nodeId: id } }) as const;
  const time = remote(() => Date.now(), { timeoutMs: 30_000 });
  const offBy = async (node: ClusterNode): Promise<number> =>
    Math.round(((await get(time.options(on(node)).remote())) - Date.now()) / HOUR_MS);

  class Counter {
    private count = 0;
    add(): number {
      return ++this.count;
    }
  }
  const counter = remote(Counter, { maxRestarts: 1, schedulingStrategy: { nodeId: late.id, soft: true } }).remote();
  const where = remote(() => runtimeContext().nodeId);
  const length = remote((bytes: Uint8Array) => bytes.length);
  const work = async (): Promise<void> => {
    for (let round = 0; round < 10; round++) {
      const ids = await get(cluster.nodes.map((node) => where.options(on(node)).remote()));
      expect(ids).toEqual(cluster.nodes.map(({ id }) => id));
    }
    const bytes = put(new Uint8Array(2 ** 20));
    expect(await get([early, late].map((node) => length.options(on(node)).remote(bytes)))).toEqual([2 ** 20, 2 ** 20]);
    release(bytes);
  };

  expect(await Promise.all([offBy(early), offBy(late)])).toEqual([-1, 1]);
  expect(await get(counter.add.remote())).toBe(1);
  await work();

  writeFileSync(clock, `${-HOUR_MS}`);
  await expect.poll(() => offBy(late)).toBe(-1);
  await work();
  expect(await get(counter.add.remote())).toBe(2);

  // A deadline of a few seconds is as long as here, and what needs less ends before it.
  const slow = remote(() => new Promise<string>((resolve) => setTimeout(resolve, 1_000, "ended")), on(late)).remote();
  const startedAtMs = performance.now();
  await cluster.drain(late, { deadlineMs: 20_000 });
  expect(performance.now() - startedAtMs).toBeLessThan(15_000);
  expect(await get(slow)).toBe("ended");
  expect(await get(counter.add.remote())).toBeGreaterThan(0);
  expect((await nodes()).filter(({ state }) => state === "alive").map(({ name }) => name)).toContain("early");
}, 60_000);
