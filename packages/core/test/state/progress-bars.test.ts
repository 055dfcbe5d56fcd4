/** Bars that programs make themselves, as the state service tells of them, with real processes. */
import { afterEach, expect, test } from "vitest";
import { cancel, get, init, isInitialized, kill, map, progressBar, remote, shutdown } from "../../src/api/mod.ts";
import type { Progress } from "../../src/state/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";
import { openStateApi } from "./state-api.ts";

const open: LocalCluster[] = [];
afterEach(async () => {
  if (isInitialized()) await shutdown();
  await Promise.all(open.splice(0).map((cluster) => cluster.stop()));
});

class Reader {
  read(): void {
    const bar = progressBar(undefined, "reading");
    bar.add(7);
    console.log("to be read");
  }
}

test("bars of a driver, of a task that computes and of an actor are told of, and go with them", async () => {
  const context = await init({ resources: { cpu: 3 } });
  const api = await openStateApi(context);
  const told = () => api.get<Progress>(`progress?job=${context.jobId}`);
  const barOf = async (label: string) => (await told()).bars.find((bar) => bar.label === label);

  const compute = remote(function compute() {
    process.stdout.write("to be computed");
    const bar = progressBar(1_000, "computing");
    bar.add(400);
    // Said by the loop, as no timer runs.
    for (let at = 0, until = performance.now() + 120_000; performance.now() < until; ) {
      if (performance.now() - at < 200) continue;
      at = performance.now();
      bar.add();
    }
  });
  const ref = compute.remote();
  const computing = await eventually(async () => {
    const bar = await barOf("computing");
    return bar && bar.done > 401 ? bar : undefined;
  }, "the task's bar does not move");
  expect(computing).toMatchObject({ total: 1_000, isClosed: false, nodeId: context.nodeId });
  expect(computing?.taskId).toMatch(/^[0-9a-f]{48}$/);

  const reader = remote(Reader).remote();
  await get(reader.read.remote());
  const reading = await eventually(() => barOf("reading"), "the actor's bar is not told of");
  expect(reading).toMatchObject({ total: null, leftMs: null });
  await eventually(async () => (await barOf("reading"))?.done === 7, "the last state is not told of");

  const results = map(async (x: number) => x, [1, 2, 3], { progress: "mapping" });
  const items = results[Symbol.asyncIterator]();
  await items.next();
  const mapping = await eventually(() => barOf("mapping"), "the driver's bar is not told of");
  expect(mapping).toMatchObject({ total: 3, pid: process.pid, taskId: null });
  while (!(await items.next()).done);
  await eventually(async () => (await barOf("mapping"))?.isClosed, "the driver's bar is not closed");
  expect(await barOf("mapping")).toMatchObject({ done: 3 });

  for await (const { event, data } of api.events(`stream?topics=progress&job=${context.jobId}`)) {
    expect(event).toBe("progress");
    const { bars, barsTotal, partial } = JSON.parse(data) as Progress;
    expect([bars.length, barsTotal, partial]).toEqual([3, 3, []]);
    expect(bars.map(({ isClosed }) => isClosed)).toEqual([false, false, true]);
    break;
  }

  // Neither the files nor those who read them have the lines by which workers tell of bars.
  for (const [pid, has] of [
    [reading?.pid, "to be read"],
    [computing?.pid, "to be computed"],
  ])
    for await (const { data } of api.events(`logs/pid:${pid}/follow`)) {
      expect(data).toContain(has);
      expect(data).not.toContain("mobula-progress");
      break;
    }
  cancel(ref, { force: true });
  kill(reader);
  await eventually(async () => (await told()).bars.every(({ isClosed }) => isClosed), "open bars outlive their makers");
});

test("a driver that computes without a pause tells of its bars", async () => {
  const context = await init({ resources: { cpu: 1 } });
  const api = await openStateApi(context);
  const bar = progressBar(10, "in one go");
  for (let until = performance.now() + 500, next = 0; performance.now() < until; )
    if (performance.now() > next) {
      bar.add();
      next = performance.now() + 150;
    }
  // It was the loop that said it: asked for before anything else could.
  const asked = api.get<Progress>(`progress?job=${context.jobId}`);
  expect((await asked).bars).toMatchObject([{ label: "in one go", done: expect.any(Number), isClosed: false }]);
  expect((await asked).bars[0]?.done).toBeGreaterThan(1);
  bar.close();
});

test("bars on all nodes of a cluster are told of, and those of a driver end with it", async () => {
  const cluster = await LocalCluster.start({ nodes: 2, dashboard: true });
  open.push(cluster);
  const headers = { authorization: `Bearer ${cluster.token}` };
  const { jobId } = await cluster.connect();
  const told = async () =>
    (await (await fetch(`${cluster.dashboardUrl}/api/v1/progress?job=${jobId}`, { headers })).json()) as Progress;
  const own = progressBar(3, "driver");
  own.add();
  const refs = cluster.nodes.map(({ id: nodeId }) =>
    remote(
      async function waits() {
        progressBar(10, "elsewhere").add(5);
        await new Promise((resolve) => setTimeout(resolve, 120_000));
      },
      { schedulingStrategy: { nodeId } },
    ).remote(),
  );
  const bars = await eventually(async () => {
    const { bars, partial } = await told();
    return partial.length === 0 && bars.length === 3 && bars.every(({ done }) => done > 0) ? bars : undefined;
  }, "bars of both nodes and the driver");
  expect(bars?.filter(({ label }) => label === "elsewhere").map(({ nodeId }) => nodeId)).toEqual(
    expect.arrayContaining(cluster.nodes.map(({ id }) => id)),
  );
  expect(bars?.find(({ label }) => label === "driver")).toMatchObject({ done: 1, total: 3, taskId: null });
  for (const ref of refs) cancel(ref, { force: true });
  await shutdown();
  await eventually(async () => (await told()).barsTotal === 0, "bars outlive the job");
});
