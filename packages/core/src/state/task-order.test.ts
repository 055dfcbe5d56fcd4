import { expect, test } from "vitest";
import { AttemptStore } from "./attempts.ts";
import type { Sort, TaskRow } from "./rows.ts";
import { TASK_SORT_KEYS } from "./task-order.ts";
import { batchesOf, type TestAttempt } from "./test-attempts.ts";

const NOW_MS = 1_700_000_000_000;

function* attempts(from: number, to: number): Generator<TestAttempt> {
  for (let seq = from; seq < to; seq++) {
    const failed = seq % 7 === 3;
    yield {
      ...{ owner: Math.floor(seq / 40) % 3, name: `f${(seq * 5) % 11}`, seq, runMicros: (seq * 7919) % 997 },
      worker: seq % 5 === 0 ? undefined : seq % 6,
      ...(seq % 4 === 0 && { actor: seq % 3 }),
      ...(failed && { outcome: "error" as const, error: `no ${seq % 13}` }),
      ...{ submittedAtMs: NOW_MS + ((seq * 31) % 500), finishedAtMs: NOW_MS + 1_000 + seq },
    };
  }
}

function storeOf(count: number): AttemptStore {
  const store = new AttemptStore({ chunkRows: 100, rowsMax: 1_000 });
  for (const batch of batchesOf(attempts(0, count))) store.add(batch, NOW_MS);
  return store;
}

const live = (seq: number, change: Partial<TaskRow> = {}): TaskRow => ({
  ...{ taskId: String(seq).padStart(48, "0"), attempt: 0, name: `f${seq % 20}`, kind: "task", state: "queued" },
  ...{
    jobId: "00000009",
    actorId: null,
    nodeId: null,
    workerId: null,
    workerPid: null,
    ownerPid: 9,
    parentId: null,
    parentName: null,
  },
  ...{ submittedAtMs: NOW_MS + seq, readyAtMs: null, sentAtMs: null, startedAtMs: null, finishedAtMs: null },
  ...{ ranMs: null, error: null },
  ...change,
});

const names = (rows: readonly TaskRow[]): string[] => rows.map(({ taskId, attempt }) => `${taskId} ${attempt}`);

function pages(store: AttemptStore, sort: Sort, limit: number, living: readonly TaskRow[] = [], between = () => {}) {
  const rows: TaskRow[] = [];
  let cursor: string | undefined;
  do {
    const page = store.sorted({ filters: [], limit, cursor, sort }, living);
    rows.push(...page.rows);
    cursor = page.next ?? undefined;
    between();
  } while (cursor !== undefined);
  return rows;
}

test.each(
  TASK_SORT_KEYS.flatMap((key) => [
    { key, isDown: false },
    { key, isDown: true },
  ]),
)(
  "pages of rows sorted by $key (descending: $isDown) are all rows once, in order, those without a value last",
  (sort) => {
    const store = storeOf(450);
    const living = [3, 400, 77, 12].map((seq) => live(seq));
    const rows = pages(store, sort, 60, living);
    expect(rows.length).toBe(454);
    expect(new Set(names(rows)).size).toBe(454);
    const one = store.sorted({ filters: [], limit: 1_000, sort }, living);
    expect([one.total, one.next]).toEqual([454, null]);
    expect(names(rows)).toEqual(names(one.rows));
    const values = rows.map((row) => row[sort.key as keyof TaskRow]);
    const known = values.filter((value) => value !== null);
    expect(values.slice(known.length).every((value) => value === null)).toBe(true);
    if (sort.key === "state" || sort.key === "kind") return;
    const ordered = known.toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0));
    expect(known).toEqual(sort.isDown ? ordered.reverse() : ordered);
  },
);

test("states are in the order of a life", () => {
  const rows = pages(storeOf(100), { key: "state", isDown: false }, 30, [live(1), live(2, { state: "running" })]);
  expect([...new Set(rows.map(({ state }) => state))]).toEqual(["queued", "running", "finished", "failed"]);
});

test("pages stay as they are while rows come and old ones are dropped", () => {
  const store = storeOf(900);
  const sort: Sort = { key: "finishedAtMs", isDown: true };
  const before = names(pages(store, sort, 50));
  const again = storeOf(900);
  let next = 900;
  const seen = pages(again, sort, 50, [], () => {
    if (next >= 1_080) return;
    for (const batch of batchesOf(attempts(next, next + 20))) again.add(batch, NOW_MS);
    next += 20;
  });
  // Rows that came are before the first page; of the oldest, two chunks made room.
  expect(names(seen)).toEqual(before.slice(0, seen.length));
  expect(seen.length).toBeGreaterThanOrEqual(700);
});

test("what cannot be sorted by, and a cursor of another order, are refused", () => {
  const store = storeOf(10);
  const ask = (key: string, cursor?: string) =>
    store.sorted({ filters: [], limit: 3, cursor, sort: { key, isDown: false } }, []);
  expect(() => ask("taskId")).toThrow("tasks cannot be sorted by taskId; they can by attempt, name, kind, state");
  const { next } = ask("name");
  expect(() => ask("ranMs", next ?? "")).toThrow("is no cursor of an earlier page that was sorted by ranMs");
  expect(() => ask("name", "zzz")).toThrow("is no cursor");
});

test("more distinct texts than can be sorted in time are refused", () => {
  const store = new AttemptStore();
  for (const batch of batchesOf(
    (function* () {
      for (let seq = 0; seq < 50_001; seq++)
        yield { name: "f", seq, worker: 1, outcome: "error", error: `no ${seq}`, finishedAtMs: NOW_MS + seq } as const;
    })(),
  ))
    store.add(batch, NOW_MS);
  const ask = (key: string) => store.sorted({ filters: [], limit: 3, sort: { key, isDown: false } }, []);
  expect(() => ask("error")).toThrow(
    "tasks have 50001 different values of error, and can be sorted by 50000 at most; sort them by a time or a number, or by name, state",
  );
  expect(ask("finishedAtMs").rows.map(({ error }) => error)).toEqual(["no 0", "no 1", "no 2"]);
});
