import { describe, expect, test } from "vitest";
import type { NodeId, ProcessId, Seq, WorkerId } from "../base/ids.ts";
import type { LiveRun, LiveTask, Queries } from "../wire/queries.ts";
import { liveTasks } from "./live-tasks.ts";
import { jobId, ownerId } from "./test-attempts.ts";

type Answer = Queries["live-tasks"]["result"];

const task = (seq: number, change: Partial<LiveTask> = {}): LiveTask => ({
  ...{ owner: ownerId(1) as ProcessId, ownerPid: 7, jobId: jobId(1), seq: seq as Seq, attempt: 0, name: "f" },
  ...{ kind: "task", state: "queued", submittedAtMs: 1_000 + seq, ...change },
});

test("rows of all nodes, the newest first, with what is not known as null", () => {
  const worker = ["0a", "0b", 12] as unknown as readonly [WorkerId, NodeId, number];
  const one: Answer = {
    rows: [task(1, { state: "running", worker, readyAtMs: 1_002, sentAtMs: 1_003 })],
    counts: [],
    partial: [],
  };
  const two: Answer = {
    rows: [task(2, { state: "waiting", name: "g" })],
    counts: [],
    partial: ["worker 5 did not answer"],
  };
  const { rows, partial } = liveTasks(
    [
      ["one", one],
      ["two", two],
    ],
    2_000,
  );
  expect(rows).toMatchObject([
    { name: "g", state: "waiting", workerId: null, nodeId: null, readyAtMs: null, sentAtMs: null, startedAtMs: null },
    { name: "f", state: "running", workerId: "0a", nodeId: "0b", workerPid: 12, readyAtMs: 1_002, sentAtMs: 1_003 },
  ]);
  expect(partial).toEqual(["node two: worker 5 did not answer"]);
});

test("that a node lists less than it has is said", () => {
  const counts: Answer["counts"] = [["f", "task", "queued", 5_000, jobId(1)]];
  const live = liveTasks([["one", { rows: [task(1)], counts, partial: [] }]], 2_000);
  expect(live).toMatchObject({ isCut: true, partial: ["node one: 1 of 5000 tasks that have not ended are listed"] });
});

describe("what runs in a worker", () => {
  const worker = ["0a", "0b", 12] as unknown as LiveRun["worker"];
  const run = (seq: number, some: Partial<LiveRun> = {}): LiveRun => ({
    ...{ owner: ownerId(1) as ProcessId, ownerPid: 7, jobId: jobId(1), seq: seq as Seq, attempt: 0, name: "f" },
    ...{ kind: "task", startedAtMs: 1_500, worker, ...some },
  });

  test("has run since its worker began it, whatever its owner guesses", () => {
    const rows = [task(1, { state: "running", worker, sentAtMs: 1_003, startedAtMs: 1_003 }), task(2)];
    const owner: Answer = { rows, counts: [], partial: [], heard: [ownerId(1)] };
    const elsewhere: Answer = { rows: [], counts: [], partial: [], running: [run(1), run(3)] };
    const live = liveTasks(
      [
        ["one", owner],
        ["two", elsewhere],
      ],
      2_000,
    );
    // Of the third its owner would say it if it had not ended.
    expect(live.rows).toMatchObject([
      { state: "queued", startedAtMs: null, ranMs: null },
      { state: "running", startedAtMs: 1_500, ranMs: 500 },
    ]);
  });

  test("is listed and counted although its owner is silent", () => {
    const counts: Answer["counts"] = [["f", "task", "queued", 1, jobId(1)]];
    const answer: Answer = { rows: [task(1)], counts, partial: [], heard: [], running: [run(3)] };
    const live = liveTasks([["one", answer]], 2_000);
    expect(live.isCut).toBe(false);
    expect(live.counts).toContainEqual(["f", "task", "running", 1, jobId(1)]);
    expect(live.rows).toMatchObject([
      { state: "running", workerPid: 12, ownerPid: 7, submittedAtMs: null, startedAtMs: 1_500 },
      { state: "queued" },
    ]);
  });
});
