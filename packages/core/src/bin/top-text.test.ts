import { expect, test } from "vitest";
import type { Overview } from "../state/mod.ts";
import { type Seen, topLines } from "./top-text.ts";

const overview = {
  ...{ asOfMs: 0, nodes: { alive: 1, draining: 0, dead: 0 }, resources: {}, tasks: {}, actors: {}, throughput: [] },
  ...{ store: { usedBytes: 0, spilledBytes: 0, capacityBytes: 1 }, waiting: [], alerts: [], gpus: null },
  progress: [
    { ...{ jobId: "0a", submissionId: null, name: "train.ts", total: 4_000, ended: 1_000 }, leftMs: 90_000 },
  ].map((job) => ({ ...job, counts: {}, endedPerSecond: 33.3 })),
} as unknown as Overview;

const bar = (label: string, total: number | null, done: number, perSecond: number | null): Seen["bars"][number] => ({
  ...{ barId: label, label, total, done, perSecond, isClosed: false, startedAtMs: 0, updatedAtMs: 0, nodeId: "n" },
  ...{
    leftMs: total === null || perSecond === null ? null : ((total - done) / perSecond) * 1_000,
    pid: 1,
    taskId: null,
  },
});

test("how far jobs are, and the bars of their programs, with what is known of each", () => {
  const few = [bar("epoch 3 of 10", 1_000, 250, 2.5), bar("rows read", null, 12_345, 400), bar("begun", 10, 0, null)];
  const many = Array.from({ length: 4 }, (_, at) => bar(`shard ${at}`, 2, 1, 1));
  const lines = topLines({ overview, workers: [], nodes: [], bars: [...few, ...many] }, { columns: 80, rows: 40 });
  const shown = lines.slice(lines.findIndex((line) => line.includes("train.ts")));
  expect(shown).toEqual([
    "[#####...............] 1,000 of 4,000, 33 a second, 1m 30s left: train.ts",
    "",
    "[#####...............] 250 of 1,000, 2.5 a second, 5m 0s left: epoch 3 of 10",
    "12,345, 400 a second: rows read",
    "[....................] 0 of 10: begun",
    "[##########..........] 1 of 2, 1 a second, 1.0 s left: shard 0",
    "[##########..........] 1 of 2, 1 a second, 1.0 s left: shard 1",
    "and 2 more bars",
  ]);
});
