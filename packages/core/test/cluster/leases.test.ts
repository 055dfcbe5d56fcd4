/** Tasks on several nodes: owners lease workers of other nodes through their own, and push to them by TCP. */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { cancel, get, nodes, type ObjectRef, remote, runtimeContext } from "../../src/api/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";

const folder = newFolder();
let cluster: LocalCluster;
let names: ReadonlyMap<string, string>;

beforeAll(async () => {
  const resources = { cpu: 1 };
  cluster = await LocalCluster.start({
    nodes: [
      { name: "one", resources },
      { name: "two", resources },
    ],
  });
  // A driver of the first node: it takes what it can at home.
  const [one] = cluster.nodes;
  if (one) await cluster.connect({ node: one });
  names = new Map(cluster.nodes.map(({ id, name }) => [id, name]));
});
afterAll(() => cluster.stop());

const where = remote(async (ms: number) => {
  await new Promise((resolve) => setTimeout(resolve, ms));
  return runtimeContext().nodeId;
});

/** Runs `work` while the CPU of the first node is taken: what it submits runs elsewhere. */
async function elsewhere<T>(work: () => Promise<T>): Promise<T> {
  const here = runtimeContext().nodeId;
  const others: ObjectRef<void>[] = [];
  for (let attempt = 0; ; attempt++) {
    const started = join(folder, `busy-${attempt}-${Date.now()}`);
    const busy = remote(async (file: string) => {
      // Renamed, so that whoever sees the file reads all of it.
      writeFileSync(`${file}.new`, runtimeContext().nodeId);
      renameSync(`${file}.new`, file);
      await new Promise((resolve) => setTimeout(resolve, 60_000));
    }).remote(started);
    await eventually(() => existsSync(started), "a task begins");
    if (readFileSync(started, "utf8") !== here) {
      others.push(busy);
      continue;
    }
    await Promise.all(others.map((other) => cancel(other)));
    try {
      return await work();
    } finally {
      await cancel(busy);
    }
  }
}

test("tasks that wait are run by all nodes", async () => {
  const ran = await get(Array.from({ length: 40 }, () => where.remote(50)));
  expect(ran.filter((id) => names.get(id) === "two").length).toBeGreaterThan(5);
  expect(ran.every((id) => names.has(id))).toBe(true);
});

test("a worker elsewhere submits tasks too, and gives back what it holds", async () => {
  const one = remote(async () => {
    await new Promise((resolve) => setTimeout(resolve, 20));
    return 1;
  });
  const three = remote(async () => (await get([one.remote(), one.remote(), one.remote()])).length);
  expect(await get(Array.from({ length: 8 }, () => three.remote()))).toEqual(Array.from({ length: 8 }, () => 3));
});

test("a cancel reaches a loop on another node, and its worker lives on", async () => {
  const started = join(folder, "loop");
  const loop = remote((file: string) => {
    writeFileSync(`${file}.new`, String(process.pid));
    renameSync(`${file}.new`, file);
    for (;;);
  });
  const whoAmI = remote(() => [process.pid, runtimeContext().nodeId] as const);
  await elsewhere(async () => {
    const ref = loop.remote(started);
    await eventually(() => existsSync(started), "the loop begins");
    await cancel(ref);
    await expect(get(ref)).rejects.toMatchObject({ code: "TASK_CANCELLED" });
    const [pid, nodeId] = await get(whoAmI.remote());
    expect([pid, names.get(nodeId)]).toEqual([Number(readFileSync(started, "utf8")), "two"]);
  });
});

test("what tasks print on another node reaches their driver: with name, pid and node, and once when several print the same", async () => {
  const written: string[] = [];
  const write = vi.spyOn(process.stdout, "write").mockImplementation((text) => written.push(`${text}`) > 0);
  const speak = remote(function speak(said: string) {
    console.log(said);
    console.error(`${said}, to stderr`);
    return [runtimeContext().nodeId, process.pid] as const;
  });
  const errors = vi.spyOn(process.stderr, "write").mockImplementation((text) => written.push(`${text}`) > 0);
  try {
    const [, pid] = await elsewhere(() => get(speak.remote("printed elsewhere")));
    await eventually(() => written.includes(`(speak pid=${pid} node=two) printed elsewhere\n`), "it is printed");
    await eventually(() => written.some((text) => text.includes("elsewhere, to stderr")), "stderr is printed");
    const [there] = await elsewhere(() => get(speak.remote("the same words")));
    const isIdle = async (): Promise<boolean> =>
      (await nodes()).some(({ name, available }) => name === "one" && available.cpu === 1);
    await eventually(isIdle, "there is room at home");
    // With a demand of its own it is none for the lease over there.
    const [here] = await get(speak.options({ numCpus: 0.5 }).remote("the same words"));
    expect(here).not.toBe(there);
    const counted = /node=two\) the same words \[1 more time from other workers\]\n$/;
    await eventually(() => written.some((text) => counted.test(text)), "the other is counted");
    expect(written.filter((text) => text.endsWith("the same words\n"))).toHaveLength(1);
  } finally {
    write.mockRestore();
    errors.mockRestore();
  }
});

test("a worker of another node that dies loses its task at once, and the task is run again", async () => {
  const marker = join(folder, "died-once");
  const startedAt = performance.now();
  const dies = remote((file: string) => {
    if (existsSync(file)) return runtimeContext().attempt;
    writeFileSync(file, "");
    process.kill(process.pid, "SIGKILL");
    return undefined;
  });
  expect(await elsewhere(() => get(dies.remote(marker)))).toBe(1);
  expect(performance.now() - startedAt).toBeLessThan(3_000);
});

test("a result of 1 MiB comes from another node as it was", async () => {
  const make = remote(() => Uint8Array.from({ length: 2 ** 20 }, (_, i) => i % 251));
  const bytes = await elsewhere(() => get(make.remote()));
  expect(bytes.length === 2 ** 20 && bytes.every((byte, i) => byte === i % 251)).toBe(true);
});

test("tasks of a node that is killed are run again elsewhere", async () => {
  const three = await cluster.addNode({ name: "three", resources: { cpu: 1 } });
  const refs = Array.from({ length: 60 }, () => where.remote(200));
  // The first that ends there says that it has work.
  await Promise.any(
    refs.map(async (ref) => {
      if ((await get(ref)) !== three.id) throw new Error("elsewhere");
    }),
  );
  await cluster.kill(three);
  expect((await get(refs)).filter((id) => names.has(id) || id === three.id)).toHaveLength(60);
  await eventually(
    async () => (await nodes()).some(({ name, state }) => name === "three" && state === "dead"),
    "death",
  );
});
