import { expect, test } from "vitest";
import { AttemptStore } from "./attempts.ts";
import type { LiveTasks } from "./live-tasks.ts";
import { batchesOf, jobId, type TestAttempt } from "./test-attempts.ts";

const JOB = jobId(1);
const NOW_MS = 1_700_000_000_000;
type Live = Pick<LiveTasks, "counts" | "partial">;
const queued = (count: number, name = "f"): Live["counts"][number] => [name, "task", "queued", count, JOB];

/** As many that end each 10 ms until then. */
function* ended(count: number, untilMs: number, more: Partial<TestAttempt> = {}): Generator<TestAttempt> {
  for (let seq = 0; seq < count; seq++)
    yield { name: "f", seq, worker: 1, ...more, finishedAtMs: untilMs - (count - seq) * 10 };
}

function storeOf(attempts: Iterable<TestAttempt>, nowMs: number): AttemptStore {
  const store = new AttemptStore();
  report(store, attempts, nowMs);
  return store;
}

/** As owners do, four times a second. */
function report(store: AttemptStore, attempts: Iterable<TestAttempt>, nowMs: number): void {
  for (const [, some] of Map.groupBy(attempts, ({ finishedAtMs }) => Math.ceil(finishedAtMs / 250)))
    for (const batch of batchesOf(some)) store.add(batch, nowMs);
}

const told = (store: AttemptStore, counts: Live["counts"], nowMs: number, partial: readonly string[] = []) =>
  store.progress([JOB], { counts, partial }, nowMs).get(JOB);

test("counts are of what has ended, in whatever way, and of what lives, by function", () => {
  const store = storeOf(
    [
      ...ended(80, NOW_MS),
      ...ended(20, NOW_MS, { outcome: "error", error: "no", name: "g" }),
      ...ended(7, NOW_MS, { job: 2 }),
    ],
    NOW_MS,
  );
  const live: Live["counts"] = [queued(30), ["g", "task", "running", 2, JOB], ["f", "task", "queued", 9, jobId(2)]];
  expect(told(store, live, NOW_MS)).toMatchObject({
    ...{ counts: { finished: 80, failed: 20, queued: 30, running: 2 }, total: 132, ended: 100, functionsTotal: 2 },
    functions: [
      { name: "f", counts: { finished: 80, queued: 30 }, total: 110, ended: 80 },
      { name: "g", counts: { failed: 20, running: 2 }, total: 22, ended: 20 },
    ],
  });
  expect(told(new AttemptStore(), [], NOW_MS)).toMatchObject({ total: 0, ended: 0, leftMs: 0, functions: [] });
});

test("the rest is foretold when its submissions were watched, few are added, and everybody has answered", () => {
  const store = storeOf(ended(500, NOW_MS), NOW_MS);
  expect(told(store, [queued(1_000)], NOW_MS)).toMatchObject({ leftMs: null });
  const laterMs = NOW_MS + 5_000;
  report(store, ended(500, laterMs), laterMs);
  const progress = told(store, [queued(500)], laterMs);
  expect(progress?.endedPerSecond).toBeCloseTo(100, -1);
  expect(progress?.leftMs).toBeCloseTo(5_000, -3);
  expect(told(store, [queued(500)], laterMs, ["node a did not answer"])).toMatchObject({ leftMs: null });
  // As many were submitted meanwhile as have ended.
  expect(told(store, [queued(1_000)], laterMs)).toMatchObject({ leftMs: null });
  expect(told(store, [], laterMs)).toMatchObject({ leftMs: 0, total: 1_000, ended: 1_000 });
});

test("a job ends when the last of its functions does; one of which none has ended leaves it open", () => {
  const both = (untilMs: number) => [...ended(400, untilMs), ...ended(40, untilMs, { name: "slow" })];
  const store = storeOf(both(NOW_MS), NOW_MS);
  told(store, [queued(800), queued(800, "slow")], NOW_MS);
  const laterMs = NOW_MS + 5_000;
  report(store, both(laterMs), laterMs);
  const progress = told(store, [queued(400), queued(760, "slow")], laterMs);
  const [slow, fast] = progress?.functions ?? [];
  expect([slow?.name, fast?.name]).toEqual(["slow", "f"]);
  expect(slow?.leftMs).toBeGreaterThan(10 * (fast?.leftMs ?? Number.NaN));
  expect(progress?.leftMs).toBe(slow?.leftMs);
  const withReduce = told(store, [queued(400), ["reduce", "task", "waiting", 1, JOB]], laterMs);
  expect(withReduce).toMatchObject({ leftMs: null });
});

test("what ended long ago has no rate, also when it is told of now, as to a service that is new", () => {
  const store = storeOf(ended(500, NOW_MS - 60_000), NOW_MS);
  expect(told(store, [queued(10)], NOW_MS)).toMatchObject({ ended: 500, endedPerSecond: 0, leftMs: null });
  report(store, ended(500, NOW_MS), NOW_MS);
  expect(told(store, [], NOW_MS)?.endedPerSecond).toBeGreaterThan(50);
  expect(told(store, [], NOW_MS + 40_000)?.endedPerSecond).toBe(0);
});
