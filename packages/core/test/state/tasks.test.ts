/** What ran, as the state service tells it, with real processes. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { afterEach, describe, expect, test } from "vitest";
import { cancel, get, init, isInitialized, onStart, remote, runtimeContext, shutdown } from "../../src/api/mod.ts";
import type { Listed, Overview, Progress, Row, TaskDetail } from "../../src/state/mod.ts";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";
import { openStateApi } from "./state-api.ts";

afterEach(async () => {
  if (isInitialized()) await shutdown();
});

type TaskRow = Row<"tasks">;

class Adder {
  add(a: number, b: number): number {
    return a + b;
  }
}

test("tasks and calls that have ended are listed, with their ids, times and errors, and counted", async () => {
  const context = await init({ resources: { cpu: 2 } });
  const square = remote(function square(n: number) {
    return n * n;
  });
  const failing = remote(
    function failing() {
      throw new Error("no such row\nand more");
    },
    { maxRetries: 0 },
  );
  const outer = remote(async function outer() {
    return (await get([1, 2].map((n) => square.remote(n)))).length;
  });
  const adder = remote(Adder).remote();
  expect(await get([square.remote(2), outer.remote(), adder.add.remote(1, 2)])).toEqual([4, 2, 3]);
  await expect(get(failing.remote())).rejects.toThrow("no such row");
  const late = square.remote(adder.add.remote(1, 2));
  await get(late);
  const api = await openStateApi(context);
  await eventually(async () => (await api.list("tasks")).total === 9, "not all have been reported");

  const { rows } = await api.list("tasks");
  const of = (name: string): TaskRow[] => rows.filter((row) => row.name === name);
  expect(rows.map(({ name }) => name).sort()).toEqual([
    "Adder.add",
    "Adder.add",
    "Adder.constructor",
    "failing",
    "outer",
    "square",
    "square",
    "square",
    "square",
  ]);
  for (const row of rows) {
    expect(row).toMatchObject({ attempt: 0, jobId: context.jobId, nodeId: context.nodeId });
    expect(row.taskId).toMatch(/^[0-9a-f]{48}$/);
    expect(row.workerId).toMatch(/^[0-9a-f]{16}$/);
    const { submittedAtMs, readyAtMs, sentAtMs, startedAtMs, finishedAtMs } = row;
    const times = [submittedAtMs, readyAtMs, sentAtMs, startedAtMs, finishedAtMs].filter((time) => time !== null);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(Math.abs(Date.now() - (submittedAtMs ?? 0))).toBeLessThan(60_000);
  }
  expect(of("failing")).toMatchObject([{ state: "failed", error: expect.stringMatching(/no such row$/) }]);
  const [call] = of("Adder.add");
  expect(call).toMatchObject({
    kind: "actor-call",
    state: "finished",
    actorId: expect.stringMatching(/^[0-9a-f]{32}$/),
  });
  expect(new Set(of("square").map(({ ownerPid }) => ownerPid))).toEqual(
    new Set([process.pid, of("outer")[0]?.workerPid]),
  );

  expect((await api.list("tasks", "state=failed", `jobId=${context.jobId}`)).rows).toEqual(of("failing"));
  const { taskId = "" } = of("failing")[0] ?? {};
  expect(await api.get(`tasks/${taskId}`)).toEqual({ ...of("failing")[0], attempts: of("failing") });
  const { rows: summary } = await api.get<{ rows: { name: string; counts: object }[] }>("summary/tasks");
  expect(summary.find(({ name }) => name === "square")).toMatchObject({ kind: "task", counts: { finished: 4 } });
  const graph = await api.get<{ edges: readonly object[] }>(`graph?job=${context.jobId}`);
  expect(graph.edges).toEqual([{ from: "outer", to: "square", count: 2 }]);
  const [parent] = of("outer");
  const children = await api.list("tasks", `parentId=${parent?.taskId}`);
  expect(children.rows.map(({ name, parentName }) => [name, parentName])).toEqual([
    ["square", "outer"],
    ["square", "outer"],
  ]);
  const { rows: drivers } = await api.list("workers", "kind=driver", `pid=${process.pid}`);
  const ofDriver = await api.list("tasks", `parentId=${drivers[0]?.workerId}`);
  expect(ofDriver.total).toBe(7);
  expect(ofDriver.rows.map(({ parentName }) => parentName)).toEqual(Array(7).fill(null));
  const overview = await api.get<{ tasks: object; throughput: readonly { finished: number; failed: number }[] }>(
    "overview",
  );
  expect(overview.tasks).toEqual({ finished: 8, failed: 1 });
});

test("a call that runs for an owner that does not answer is told of by its worker", async () => {
  const context = await init({ resources: { cpu: 2 } });
  class Napper {
    async nap(): Promise<void> {
      await new Promise((resolve) => setTimeout(resolve, 60_000));
    }
  }
  const napper = remote(Napper).remote();
  const outer = remote(async function outer(actor: typeof napper) {
    const call = actor.nap.remote();
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const end = performance.now() + 60_000;
    while (performance.now() < end);
    return call;
  });
  const ref = outer.remote(napper);
  const api = await openStateApi(context);
  const isSilent = async () => (await api.list("tasks", "state=running")).partial.length > 0;
  await eventually(isSilent, "it does not compute", 30_000);
  const { rows } = await api.list("tasks", "name=Napper.nap");
  const [{ workerPid = 0 } = {}] = (await api.list("tasks", "name=outer")).rows;
  expect(rows).toMatchObject([
    {
      ...{ state: "running", kind: "actor-call", ownerPid: workerPid, jobId: context.jobId, nodeId: context.nodeId },
      ...{ submittedAtMs: null, startedAtMs: expect.any(Number), ranMs: expect.any(Number) },
    },
  ]);
  expect((await api.list("tasks", `taskId=${rows[0]?.taskId}`)).total).toBe(1);
  const { tasks } = await api.get<{ tasks: object }>("overview");
  expect(tasks).toMatchObject({ running: 2 });
  cancel(ref, { force: true });
});

test("a task that was tried several times has all its attempts, each with why it ended", async () => {
  const context = await init({ resources: { cpu: 1 } });
  const fickle = remote(
    async function fickle() {
      const { attempt } = runtimeContext();
      if (attempt === 0) throw new Error("not the first time");
      if (attempt === 1) process.kill(process.pid, "SIGKILL");
      return attempt;
    },
    { maxRetries: 2, retryExceptions: true },
  );
  expect(await get(fickle.remote())).toBe(2);
  const api = await openStateApi(context);
  await eventually(async () => (await api.list("tasks", "name=fickle")).total === 3, "not all have been reported");
  const [{ taskId = "" } = {}] = (await api.list("tasks", "name=fickle")).rows;
  const { attempts, ...last } = await api.get<TaskDetail>(`tasks/${taskId}`);
  expect(attempts.map(({ attempt, state, error }) => ({ attempt, state, error }))).toEqual([
    { attempt: 0, state: "failed", error: expect.stringContaining("not the first time") },
    { attempt: 1, state: "lost", error: expect.stringContaining("worker") },
    { attempt: 2, state: "finished", error: null },
  ]);
  expect(last).toEqual(attempts[2]);
});

test("the making of an actor is a task, with an attempt for each incarnation", async () => {
  const context = await init({ resources: { cpu: 2 } });
  class Phoenix {
    pid(): number {
      return process.pid;
    }
    die(): void {
      process.kill(process.pid, "SIGKILL");
    }
  }
  class Stillborn {
    constructor() {
      throw new Error("not today");
    }
    ping(): void {}
  }
  const outer = remote(async function outer() {
    const phoenix = remote(Phoenix, { maxRestarts: 1 }).remote();
    const first = await get(phoenix.pid.remote());
    await get(phoenix.die.remote()).catch(() => {}); // Its end is what is wanted.
    for (;;) {
      const pid = await get(phoenix.pid.remote()).catch(() => first);
      if (pid !== first) return [first, pid];
    }
  });
  const pids = await get(outer.remote());
  const api = await openStateApi(context);
  const made = () => api.list("tasks", "kind=actor-creation");
  await eventually(async () => (await made()).total === 2, "it was made twice");
  const [{ taskId = "", actorId = "" } = {}] = (await made()).rows;
  const { attempts } = await api.get<TaskDetail>(`tasks/${taskId}`);
  const [parent] = (await api.list("tasks", "name=outer")).rows;
  expect(attempts).toMatchObject(
    pids.map((workerPid, attempt) => ({
      ...{ attempt, name: "Phoenix.constructor", state: "finished", workerPid, actorId, nodeId: context.nodeId },
      ...{ parentId: parent?.taskId, parentName: "outer", ownerPid: parent?.workerPid, ranMs: expect.any(Number) },
    })),
  );
  const children = await api.list("tasks", `parentId=${parent?.taskId}`, "kind=actor-creation");
  expect(children.total).toBe(2);

  const stillborn = remote(Stillborn).remote();
  await expect(get(stillborn.ping.remote())).rejects.toThrow("its constructor threw");
  await eventually(async () => (await api.list("tasks", "name=Stillborn.constructor")).total === 1, "it has failed");
  const { rows } = await api.list("tasks", "name=Stillborn.constructor");
  expect(rows).toMatchObject([{ state: "failed", error: expect.stringContaining("not today"), ownerPid: process.pid }]);

  class Endless {
    async [onStart](): Promise<void> {
      await new Promise(() => {});
    }
    ping(): void {}
  }
  class Late {
    ping(): void {}
  }
  const making = [remote(Endless, { numCpus: 1 }).remote(), remote(Late, { numCpus: 9 }).remote()];
  const isMade = async () => (await api.list("tasks", "name=Endless.constructor", "state=running")).total === 1;
  await eventually(isMade, "it is being made");
  const { rows: living } = await api.list("tasks", "finishedAtMs=", "kind=actor-creation");
  expect(living.map(({ name, state }) => `${name} ${state}`).sort()).toEqual([
    "Endless.constructor running",
    "Late.constructor queued",
  ]);
  expect(making).toHaveLength(2);
});

test("what was cancelled is so, whether it ran or waited", async () => {
  const context = await init({ resources: { cpu: 1 } });
  const forEver = remote(async function forEver() {
    await new Promise(() => {});
  });
  const after = remote(function after(_: unknown) {});
  const running = forEver.remote();
  const waiting = after.remote(running);
  const api = await openStateApi(context);
  cancel(waiting);
  cancel(running);
  await expect(get(running)).rejects.toThrow();
  await eventually(async () => (await api.list("tasks", "state=cancelled")).total === 2, "they are not told of");
  const { rows } = await api.list("tasks");
  expect(rows.find(({ name }) => name === "after")).toMatchObject({
    state: "cancelled",
    workerId: null,
    startedAtMs: null,
  });
});

test("how far a job is is told while it runs: in the overview, by function, and as a stream", async () => {
  const context = await init({ resources: { cpu: 1 } });
  const folder = newFolder();
  const step = remote(
    async function step(at: number, file: string) {
      while (!existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 20));
      if (at === 0) throw new Error("the first one fails");
    },
    { maxRetries: 0 },
  );
  const gather = remote(function gather(..._: readonly unknown[]) {});
  const files = [0, 1, 2].map((at) => join(folder, `go-${at}`));
  const steps = files.map((file, at) => step.remote(at, file));
  const gathered = gather.remote(...steps.slice(1));
  const api = await openStateApi(context);
  const told = () => api.get<Progress>(`progress?job=${context.jobId}`);
  const reach = (ended: number, counts: Progress["counts"]) =>
    eventually(
      async () => {
        const progress = await told();
        return progress.total === 4 && progress.ended === ended && isDeepStrictEqual(progress.counts, counts);
      },
      `not ${ended} of 4: ${JSON.stringify(counts)}`,
    );
  await reach(0, { running: 1, queued: 2, waiting: 1 });
  expect((await told()).leftMs).toBeNull();
  writeFileSync(files[0] ?? "", "");
  await reach(1, { failed: 1, running: 1, queued: 1, waiting: 1 });
  writeFileSync(files[1] ?? "", "");
  await reach(2, { failed: 1, finished: 1, running: 1, waiting: 1 });
  const { functions, functionsTotal } = await told();
  expect(functionsTotal).toBe(2);
  expect(functions.find(({ name }) => name === "step")).toMatchObject({ total: 3, ended: 2 });
  expect(functions.find(({ name }) => name === "gather")).toMatchObject({ total: 1, ended: 0, leftMs: null });
  const { progress } = await api.get<Overview>("overview");
  expect(progress).toMatchObject([{ jobId: context.jobId, total: 4, ended: 2, counts: { failed: 1, finished: 1 } }]);
  const stream = api.events(`stream?topics=progress&job=${context.jobId}`);
  const seen: Progress[] = [];
  writeFileSync(files[2] ?? "", "");
  await Promise.all([get(gathered), ...steps.map((ref) => get(ref).catch(() => {}))]);
  for await (const { event, data } of stream) {
    expect(event).toBe("progress");
    seen.push(JSON.parse(data) as Progress);
    if (seen.at(-1)?.ended === 4) break;
  }
  expect(seen.at(-1)).toMatchObject({ counts: { failed: 1, finished: 3 }, total: 4, ended: 4, leftMs: 0 });
  expect((await api.get<Overview>("overview")).progress).toEqual([]);
});

describe("what has not ended", () => {
  const nap = remote(async function nap(ms: number) {
    await new Promise((resolve) => setTimeout(resolve, ms));
  });
  const after = remote(function after(..._: unknown[]) {});

  test("runs, is queued or waits for an argument; then it has ended, once", async () => {
    const context = await init({ resources: { cpu: 1 } });
    const running = nap.remote(60_000);
    const queued = nap.remote(0);
    const waiting = after.remote(queued);
    const api = await openStateApi(context);
    const states = async () =>
      Object.fromEntries(
        (await api.list("tasks")).rows.map(({ name, state, submittedAtMs }) => [`${name} ${submittedAtMs}`, state]),
      );
    await eventually(async () => Object.values(await states()).includes("running"), "nothing runs");
    const { rows, total, partial } = await api.list("tasks");
    expect([total, partial]).toEqual([3, []]);
    expect(rows.map(({ name, state }) => `${name} ${state}`)).toEqual(["after waiting", "nap queued", "nap running"]);
    const [last, , first] = rows;
    expect(last).toMatchObject({ readyAtMs: null, sentAtMs: null, workerId: null, ownerPid: process.pid });
    expect(first).toMatchObject({ jobId: context.jobId, nodeId: context.nodeId, finishedAtMs: null });
    expect(first).toMatchObject({ parentId: last?.taskId.slice(0, 24), parentName: null });
    expect(first?.workerId).toMatch(/^[0-9a-f]{16}$/);
    expect(first?.ranMs).toBeGreaterThan(0);
    expect(Math.abs((first?.startedAtMs ?? 0) + (first?.ranMs ?? 0) - Date.now())).toBeLessThan(30_000);
    expect((await api.list("tasks", "state=running", "ranMs<60000", "ranMs>0")).total).toBe(1);
    expect((await api.list("tasks", "ranMs>60000")).total).toBe(0);
    const { rows: busy } = await api.list("workers", `taskId=${first?.taskId}`);
    expect(busy).toMatchObject([{ task: "nap", runningForMs: expect.any(Number) }]);
    expect((await api.list("tasks", "state=waiting")).rows).toEqual([last]);
    expect(await api.get(`tasks/${first?.taskId}`)).toMatchObject({
      taskId: first?.taskId,
      attempts: [{ attempt: 0 }],
    });
    const { tasks } = await api.get<{ tasks: object }>("overview");
    expect(tasks).toEqual({ waiting: 1, queued: 1, running: 1 });
    const page = await api.get<Listed<TaskRow>>("tasks?limit=2");
    const rest = await api.get<Listed<TaskRow>>(`tasks?limit=2&cursor=${page.next}`);
    expect([...page.rows, ...rest.rows].map(({ taskId }) => taskId)).toEqual(rows.map(({ taskId }) => taskId));
    expect(rest.next).toBeNull();
    cancel(running, { force: true });
    await get(waiting);
    await eventually(async () => (await api.list("tasks", "state=finished")).total === 2, "they have not ended");
    await eventually(async () => (await api.list("tasks")).total === 3, "something is told of twice");
  });

  test("and was submitted by a worker that computes is told of by those who see it through", async () => {
    const context = await init({ resources: { cpu: 2 } });
    const outer = remote(function outer(ms: number) {
      const refs = [nap.remote(60_000), after.remote(nap.remote(60_000))];
      const end = performance.now() + ms;
      while (performance.now() < end);
      return refs.length;
    });
    const ref = outer.remote(20_000);
    const api = await openStateApi(context);
    const nested = (): Promise<Listed<TaskRow>> => api.list("tasks", "name!=outer");
    await eventually(async () => (await nested()).rows.some(({ state }) => state === "running"), "none of them runs");
    const { rows, partial } = await nested();
    const [{ workerPid = null, taskId = "" } = {}] = (await api.list("tasks", "name=outer")).rows;
    expect(rows.map(({ parentId, parentName }) => [parentId, parentName])).toEqual(Array(3).fill([taskId, "outer"]));
    const { edges } = await api.get<{ edges: readonly object[] }>(`graph?job=${context.jobId}`);
    expect(edges).toContainEqual({ from: "outer", to: "after", count: 1 });
    expect(rows.map(({ name, state }) => `${name} ${state}`).sort()).toEqual([
      "after waiting",
      "nap queued",
      "nap running",
    ]);
    expect(rows.map(({ ownerPid }) => ownerPid)).toEqual([workerPid, workerPid, workerPid]);
    expect(partial).toEqual([expect.stringContaining(`worker ${workerPid} did not answer, its thread is busy`)]);
    cancel(ref, { force: true });
  });
});
