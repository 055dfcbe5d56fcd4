import { expect, test } from "vitest";
import type { JobId } from "../base/ids.ts";
import { ProgressBars } from "./progress-bars.ts";

const job = "0000000a" as JobId;
const maker = { process: "w1", pid: 7, jobId: job, taskId: "t1" };
const bar = (id: string, done = 0, closed = false) => ({ id, label: `bar ${id}`, total: 10, done, closed });

test("the last state of each bar of a job is told, open ones first and the newest first", () => {
  let nowMs = 1_000;
  const bars = new ProgressBars(() => nowMs);
  bars.update(maker, bar("1"));
  nowMs += 500;
  bars.update({ ...maker, process: "w2", pid: 8 }, bar("1", 1));
  bars.update({ ...maker, process: "w2", pid: 8 }, bar("2", 10, true));
  bars.update({ ...maker, jobId: "0000000b" as JobId, process: "w3" }, bar("1"));
  nowMs += 500;
  // Its worker runs another task by now.
  bars.update({ ...maker, taskId: "t2" }, bar("1", 4));
  expect(bars.list(job)).toMatchObject([
    { pid: 8, done: 1, isClosed: false },
    { pid: 7, done: 4, taskId: "t1", startedAtMs: 1_000, updatedAtMs: 2_000, tookMs: 1_000 },
    { pid: 8, done: 10, isClosed: true },
  ]);
});

test("one that was closed is told of for a minute", () => {
  let nowMs = 0;
  const bars = new ProgressBars(() => nowMs);
  bars.update(maker, bar("1", 10, true));
  bars.update(maker, bar("2"));
  nowMs = 59_999;
  expect(bars.list(job)).toMatchObject([{ label: "bar 2" }, { label: "bar 1", tookMs: 0 }]);
  nowMs = 60_000;
  expect(bars.list(job)).toMatchObject([{ label: "bar 2" }]);
});

test("open bars of a process go with it", () => {
  const bars = new ProgressBars(() => 0);
  bars.update(maker, bar("1"));
  bars.update(maker, bar("2", 10, true));
  bars.update({ ...maker, process: "w2" }, bar("3"));
  bars.processGone("w1");
  expect(bars.list(job).map(({ label }) => label)).toEqual(["bar 3", "bar 2"]);
});

test("of more than a thousand those go that were heard of the longest ago", () => {
  const bars = new ProgressBars(() => 0);
  for (let index = 0; index < 1_000; index++) bars.update(maker, bar(`${index}`));
  bars.update(maker, bar("0", 1));
  bars.update(maker, bar("1000"));
  const labels = new Set(bars.list(job).map(({ label }) => label));
  expect(labels.size).toBe(1_000);
  expect([labels.has("bar 0"), labels.has("bar 1"), labels.has("bar 1000")]).toEqual([true, false, true]);
});
