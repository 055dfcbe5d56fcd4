import { expect, test } from "vitest";
import { node } from "./detectors/test-observation.ts";
import { MetricHistory, type NotedNode } from "./history.ts";

const START_MS = 1_700_000_000_000;
const second = (finished: number, failed = 0) => ({ atMs: 0, finished, failed });
const rates = (finished: number) => () => Array.from({ length: 120 }, () => second(finished, 1));
const row = (nodeId: string, change: Partial<NotedNode> = {}): NotedNode => ({
  ...node(nodeId),
  ...{ cpuPercent: 50.2, memoryUsedBytes: 2 ** 30 },
  ...change,
});

test("a value is kept every ten seconds, for an hour; what nobody has looked at is not known", () => {
  const history = new MetricHistory();
  expect(history.read({ limit: 10 })).toMatchObject({ timesMs: [], finished: [], nodes: [], nodesTotal: 0 });
  for (const [at, ms] of [0, 5_000, 10_000, 40_000].entries())
    history.note([row("a", { cpuPercent: at * 10 })], rates(100 * at), START_MS + ms);
  expect(history.read({ limit: 10 })).toMatchObject({
    timesMs: [0, 1, 2, 3, 4].map((at) => START_MS + at * 10_000),
    finished: [0, 200, null, null, 300],
    failed: [1, 1, null, null, 1],
    nodes: [{ nodeId: "a", cpuPercent: [0, 20, null, null, 30], gpuPercent: null }],
  });
  for (let at = 5; at < 500; at++) history.note([row("a")], rates(at), START_MS + at * 10_000);
  const { timesMs, finished, nodes } = history.read({ limit: 10 });
  expect([timesMs.length, timesMs[0], finished[0]]).toEqual([360, START_MS + 140 * 10_000, 140]);
  expect(nodes[0]?.cpuPercent).toEqual(Array.from({ length: 360 }, () => 50));
  expect(nodes[0]?.memoryUsedBytes.at(-1)).toBe(2 ** 30);
});

test("of a node that comes, goes and comes again what is not known is null; one that is gone is read by its id", () => {
  const history = new MetricHistory();
  const gpus = [80, 20, null].map((utilisationPercent) => ({ utilisationPercent }));
  history.note([row("a")], rates(1), START_MS);
  history.note([row("a"), row("b", { gpus })], rates(1), START_MS + 10_000);
  history.note([row("a"), row("b", { state: "dead" })], rates(1), START_MS + 20_000);
  expect(history.read({ limit: 10 }).nodes.map(({ nodeId }) => nodeId)).toEqual(["a"]);
  expect(history.read({ limit: 10, node: "b" }).nodes).toMatchObject([
    { nodeId: "b", cpuPercent: [null, 50, null], gpuPercent: [null, 50, null] },
  ]);
  expect(history.read({ limit: 0 }).nodesTotal).toBe(1);
});

test("a thousand nodes take 5 MB, and no more after an hour", () => {
  const history = new MetricHistory();
  const rows = Array.from({ length: 1_000 }, (_, at) => row(`n${at}`));
  const used = () => process.memoryUsage().arrayBuffers;
  const before = used();
  for (let at = 0; at < 400; at++) history.note(rows, rates(at), START_MS + at * 10_000);
  expect(used() - before).toBeLessThan(5.5e6);
  expect(history.read({ limit: 24 }).nodes.length).toBe(24);
});
