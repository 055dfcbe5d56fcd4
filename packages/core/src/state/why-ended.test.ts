import { expect, test } from "vitest";
import type { TaskRow, TaskSummaryRow } from "./rows.ts";
import { whyEnded } from "./why-ended.ts";

const attempt: TaskRow = {
  ...{ taskId: "5f".repeat(24), attempt: 0, name: "resize", kind: "task", state: "failed", jobId: "0a0b0c0d" },
  ...{ actorId: null, nodeId: "aa", workerId: "bb", workerPid: 77, ownerPid: 7, parentId: null, parentName: null },
  ...{ submittedAtMs: 1_000, readyAtMs: 1_000, sentAtMs: 1_002, startedAtMs: 1_002, finishedAtMs: 1_052 },
  ...{ ranMs: 50, error: "Error: no such file" },
};
const others: TaskSummaryRow = {
  ...{ name: "resize", kind: "task", counts: { finished: 1_234 }, meanRunMs: 20, p95RunMs: 30 },
};
const nameOf = (nodeId: string): string => `the ${nodeId}`;

test("each attempt says how it ended, and the last what it waited for and whether it was slow", () => {
  const second: TaskRow = {
    ...{ ...attempt, attempt: 1, state: "finished", error: null, ranMs: 90 },
    ...{ submittedAtMs: 1_000, readyAtMs: 3_000, sentAtMs: 3_500, startedAtMs: 3_500, finishedAtMs: 3_590 },
  };
  expect(whyEnded([attempt, second], others, nameOf)).toEqual({
    state: "finished",
    since: 3_590,
    sentences: [
      "resize, attempt 1, ran for 50 ms in process 77 on node the aa and failed: Error: no such file.",
      "resize, attempt 2, ran for 90 ms in process 77 on node the aa and finished.",
      "It had waited 2.0 s for its arguments and 500 ms for a worker.",
      "That is 4.5 times the mean of resize: 20 ms, 30 ms at most in 95 of 100, over 1,234 that finished.",
      "This is what was recorded of it; who owned it cannot be asked.",
    ],
    waitsFor: [],
  });
});

test("one that never ran says so, and of its function nothing need be known", () => {
  const cancelled: TaskRow = {
    ...{ ...attempt, state: "cancelled", nodeId: null, workerId: null, workerPid: null, ranMs: null },
    ...{ sentAtMs: null, startedAtMs: null, error: null },
  };
  expect(whyEnded([cancelled], undefined, nameOf).sentences).toEqual([
    "resize did not run and was cancelled.",
    "This is what was recorded of it; who owned it cannot be asked.",
  ]);
});
