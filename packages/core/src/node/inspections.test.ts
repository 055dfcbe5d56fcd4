import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { afterAll, afterEach, beforeEach, expect, test, vi } from "vitest";
import { InvalidOptionError } from "../base/errors.ts";
import type { NodeId, ProcessId, WorkerId } from "../base/ids.ts";
import type { FoundProcess, InspectedStack } from "../wire/inspection.ts";
import type { Queries } from "../wire/queries.ts";
import { type InspectedProcess, Inspections } from "./inspections.ts";
import { InspectorClient } from "./inspector-client.ts";
import type { OpenInspector } from "./worker-inspector.ts";

const here = { nodeId: "a".repeat(32) as NodeId, name: "one", sessionDir: mkdtempSync(join(tmpdir(), "inspections-")) };
afterAll(() => rmSync(here.sessionDir, { recursive: true }));
const there = "b".repeat(32) as NodeId;
const elsewhere: FoundProcess = { nodeId: there, nodeName: "two", pid: 9, role: "worker", workerId: null };

/** An inspector that answers everything at once; how many are open. */
class FakeInspectors {
  open = 0;
  readonly asked: string[] = [];
  why: string | undefined;
  client: InspectorClient | undefined;
  heapBytes = 1_000;
  private nowMs = 0;

  connect(): Promise<OpenInspector> {
    if (this.why !== undefined) return Promise.reject(new Error(this.why));
    this.open++;
    const client = new InspectorClient();
    this.client = client;
    const say = (message: object): void => client.onMessage(Buffer.from(JSON.stringify(message)));
    const send = (text: string): void => {
      const { id, method, params } = JSON.parse(text) as {
        id: number;
        method: string;
        params: { expression?: string };
      };
      this.asked.push(method);
      queueMicrotask(() => {
        if (method === "HeapProfiler.takeHeapSnapshot") this.tell(say);
        say({ id, result: this.answerTo(method, params.expression) });
      });
    };
    client.opened({ send, close: () => {} });
    return Promise.resolve({ client, release: () => this.open-- });
  }

  private answerTo(method: string, expression: string | undefined): object {
    if (method === "Runtime.getHeapUsage") return { usedSize: this.heapBytes };
    this.nowMs += expression === "performance.now()" ? 250 : 0;
    if (expression === "performance.now()") return { result: { value: this.nowMs } };
    if (method === "Runtime.evaluate") return { result: { value: '{"stack":[]}' } };
    return { profile: { nodes: ["a".repeat(600 * 1_024)] } };
  }

  private tell(say: (message: object) => void): void {
    say({ method: "HeapProfiler.reportHeapSnapshotProgress", params: { done: 1, total: 4 } });
    for (const chunk of ['{"a":"', "b".repeat(600 * 1_024), '\u00e9"}'])
      say({ method: "HeapProfiler.addHeapSnapshotChunk", params: { chunk } });
  }
}

let inspectors: FakeInspectors;
let inspections: Inspections;
let asked: unknown[];
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "hrtime"] });
  inspectors = new FakeInspectors();
  asked = [];
  const worker: InspectedProcess = {
    pid: 4711,
    role: "worker",
    workerId: "0123456789abcdef" as WorkerId,
    processId: "p" as ProcessId,
    open: () => inspectors.connect(),
  };
  inspections = new Inspections(here, {
    processes: () => [worker],
    ask: (to, method, params) => {
      asked.push([to, method, params]);
      return Promise.resolve({ inspection: "of the other node" } as never);
    },
    everywhere: () => Promise.resolve([elsewhere]),
  });
});
afterEach(() => {
  inspections.close();
  vi.useRealTimers();
});

type Begin = Queries["inspect-begin"]["params"];
const begin = async (params: Partial<Begin>): Promise<string> =>
  ((await inspections.answer("inspect-begin", { pid: 4711, what: "stack", ...params }, true)) as { inspection: string })
    .inspection;
const read = (inspection: string, offset = 0) =>
  inspections.answer("inspect-read", { inspection, offset }, true) as Promise<Queries["inspect-read"]["result"]>;

test("a stack is there when the process has answered, and its inspector is left", async () => {
  const answer = await read(await begin({}));
  if (!answer.isDone) throw new Error("it is not done");
  const stack = JSON.parse(Buffer.from(answer.bytes).toString()) as InspectedStack;
  expect(stack).toMatchObject({ pid: 4711, nodeName: "one", program: { stack: [] }, kernel: null });
  expect(inspectors).toMatchObject({ open: 0, asked: ["Runtime.evaluate"] });
});

test("a profile lasts as long as it is read, and comes in slices", async () => {
  const id = await begin({ what: "cpu", seconds: 30 });
  for (let second = 0; second < 30; second++) {
    const answer = read(id);
    await vi.advanceTimersByTimeAsync(1_000);
    expect((await answer).isDone).toBe(second === 29);
  }
  expect(inspectors.open).toBe(0);
  const first = await read(id);
  if (!first.isDone) throw new Error("it is not done");
  const second = await read(id, first.bytes.length);
  if (!second.isDone) throw new Error("it is not done");
  expect(first.bytes.length + second.bytes.length).toBe(first.totalBytes);
  const whole = Buffer.concat([first.bytes, second.bytes]).toString();
  expect(JSON.parse(whole)).toEqual({ nodes: ["a".repeat(600 * 1_024)] });
});

test("one that nobody reads any more is ended, and the inspector is left", async () => {
  const id = await begin({ what: "heap", seconds: 300 });
  await vi.advanceTimersByTimeAsync(9_000);
  expect(inspectors.open).toBe(1);
  await vi.advanceTimersByTimeAsync(5_000);
  expect(inspectors).toMatchObject({ open: 0, asked: ["HeapProfiler.startSampling", "HeapProfiler.stopSampling"] });
  await expect(read(id)).rejects.toThrow(/was not read for 10 s/);
});

test("a process that ends meanwhile is an error, as often as it is read", async () => {
  const id = await begin({ what: "cpu", seconds: 60 });
  await vi.advanceTimersByTimeAsync(100);
  inspectors.client?.onClose();
  for (const _ of [1, 2])
    await expect(read(id)).rejects.toMatchObject({ code: "WORKER_DIED", message: expect.stringMatching(/4711 ended/) });
  expect(inspectors.open).toBe(0);
  inspectors.why = "it is stopped";
  await expect(read(await begin({ what: "cpu" }))).rejects.toThrow(/cannot be profiled: it is stopped; `mobula stack/);
});

test("what is not its own is refused, or asked for at its node", async () => {
  await expect(begin({ pid: 1 })).rejects.toThrow(InvalidOptionError);
  await expect(begin({ what: "cpu", seconds: 301 })).rejects.toThrow(/1 to 300 seconds, not 301/);
  expect(await begin({ nodeId: there })).toBe("of the other node");
  expect(asked).toEqual([[there, "inspect-begin", { pid: 4711, what: "stack", nodeId: there }]]);
  const asOther = inspections.answer("inspect-begin", { pid: 9, what: "stack", nodeId: there }, false);
  await expect(asOther).rejects.toThrow(/was asked for a process of node/);
});

test("a pid that is here is meant; else all nodes are asked, and not by those", async () => {
  const find = (id: string, isLocal = true) => inspections.answer("find-process", { id }, isLocal);
  const own = expect.objectContaining({ nodeId: here.nodeId, pid: 4711 });
  expect(await find("4711")).toEqual([own]);
  expect(await find("0123456789abcdef")).toEqual([own]);
  expect(await find("9")).toEqual([elsewhere]);
  expect(await find("9", false)).toEqual([]);
  expect(await find("*")).toEqual([elsewhere]);
  expect(await find("*", false)).toEqual([own]);
});

async function readWhole(id: string): Promise<{ readonly text: string; readonly stillMs: number | undefined }> {
  const slices: Uint8Array[] = [];
  // What it will cost is told first, however soon it is done.
  expect(await read(id, 0)).toMatchObject({ isDone: false, progress: { stillMsMax: expect.any(Number) } });
  for (let offset = 0; ; ) {
    const answer = await read(id, offset);
    if (!answer.isDone) throw new Error("it is not done");
    slices.push(answer.bytes);
    offset += answer.bytes.length;
    if (offset >= answer.totalBytes) return { text: Buffer.concat(slices).toString(), stillMs: answer.stillMs };
  }
}

test("a snapshot goes through a file, which is gone when nobody reads it any more", async () => {
  const { text, stillMs } = await readWhole(await begin({ what: "snapshot" }));
  expect(JSON.parse(text)).toEqual({ a: `${"b".repeat(600 * 1_024)}\u00e9` });
  expect(stillMs).toBe(250);
  expect(readdirSync(here.sessionDir)).toEqual([expect.stringMatching(/^snapshot-/)]);
  expect(inspectors.open).toBe(0);
  await vi.advanceTimersByTimeAsync(13_000);
  while (readdirSync(here.sessionDir).length > 0) await turn();
});

test("one that is held keeps the inspector until it was asked where functions wait, or for a minute", async () => {
  const held = await begin({ what: "snapshot", isHeld: true });
  await readWhole(held);
  expect(inspectors.open).toBe(1);
  await vi.advanceTimersByTimeAsync(50_000);
  expect(inspectors.open).toBe(1);
  await vi.advanceTimersByTimeAsync(15_000);
  expect(inspectors.open).toBe(0);
  await expect(read(await begin({ what: "suspended", snapshot: held }))).rejects.toThrow(/no snapshot .* any more/);
});

test("a snapshot for which there is no room is refused with numbers, before the process stands still", async () => {
  inspectors.heapBytes = totalmem();
  await expect(read(await begin({ what: "snapshot" }))).rejects.toThrow(
    /(needs up to \d+ MiB of memory beside it, and \d+ MiB are left: --force|may take \d+ MiB on the disk)/,
  );
  expect(inspectors).toMatchObject({ open: 0, asked: ["Runtime.getHeapUsage"] });
});
