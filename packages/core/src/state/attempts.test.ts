import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { InvalidOptionError } from "../base/errors.ts";
import { taskIdHex } from "../base/ids.ts";
import { packBatch, readBatch } from "../events/mod.ts";
import { AttemptStore } from "./attempts.ts";
import type { Filter, ListQuery, TaskRow } from "./rows.ts";
import { actorId, batchesOf, jobId, ownerId, type TestAttempt, testWorker } from "./test-attempts.ts";

const START_MS = 1_700_000_000_000;
const query = (filters: readonly Filter[] = [], limit = 100, cursor?: string): ListQuery => ({
  filters,
  limit,
  cursor,
});
const where = (key: string, op: Filter["op"], value: string): Filter => ({ key, op, value });

function storeOf(attempts: Iterable<TestAttempt>, limits = {}): AttemptStore {
  const store = new AttemptStore(limits);
  for (const batch of batchesOf(attempts)) store.add(batch, START_MS);
  return store;
}

/** What the store is to say of it. */
function rowOf(test: TestAttempt): TaskRow {
  const { owner = 1, job = 1, outcome = "ok", submittedAtMs = 0, sentAfterMs = 0, worker, actor, finishedAtMs } = test;
  const place = worker === undefined ? undefined : testWorker(worker);
  const readyAfterMs = "readyAfterMs" in test ? test.readyAfterMs : 0;
  const sentAtMs = place ? submittedAtMs + sentAfterMs : null;
  const ranMs = place && (outcome === "ok" || outcome === "error") ? (test.runMicros ?? 0) / 1000 : null;
  return {
    taskId: taskIdHex(ownerId(owner), test.seq as never, jobId(job)),
    attempt: test.attempt ?? 0,
    name: test.name,
    kind: actor === undefined ? "task" : "actor-call",
    state: outcome === "ok" ? "finished" : outcome === "error" ? "failed" : outcome,
    jobId: jobId(job),
    actorId: actor === undefined ? null : actorId(actor),
    nodeId: place?.nodeId ?? null,
    workerId: place?.workerId ?? null,
    workerPid: place?.pid ?? null,
    ownerPid: 100 + owner,
    parentId: test.parent ? taskIdHex(ownerId(test.parent[1]), test.parent[2] as never, jobId(job)) : ownerId(owner),
    parentName: test.parent?.[0] ?? null,
    submittedAtMs,
    readyAtMs: readyAfterMs === undefined ? null : submittedAtMs + readyAfterMs,
    sentAtMs,
    startedAtMs: ranMs === null || sentAtMs === null ? null : Math.max(finishedAtMs - ranMs, sentAtMs),
    finishedAtMs,
    ranMs,
    error: test.error ?? null,
  };
}

/** Nothing but the counts of a batch, as a node keeps them. */
const countsOf = (batch: Uint8Array): Uint8Array =>
  packBatch({ ...readBatch(batch), owner: "" as never, columns: new Float64Array(0) });

/** As `filters.ts` filters objects. */
function passes(value: string | number | null, { op, value: wanted }: Filter): boolean {
  if (op === "<") return typeof value === "number" && value < Number(wanted);
  if (op === ">") return typeof value === "number" && value > Number(wanted);
  const [text, other] = [String(value ?? "").toLowerCase(), wanted.toLowerCase()];
  return op === "~" ? text.includes(other) : (text === other) === (op === "=");
}

const attempts = fc
  .array(
    fc.record(
      {
        owner: fc.integer({ min: 1, max: 3 }),
        job: fc.integer({ min: 1, max: 2 }),
        name: fc.constantFrom("square", "Cube.of", "häuser"),
        seq: fc.integer({ min: 1, max: 40 }),
        attempt: fc.integer({ min: 0, max: 3 }),
        outcome: fc.constantFrom(
          "ok" as const,
          "error" as const,
          "lost" as const,
          "preempted" as const,
          "cancelled" as const,
        ),
        worker: fc.option(fc.integer({ min: 0, max: 5 }), { nil: undefined }),
        actor: fc.integer({ min: 1, max: 2 }),
        parent: fc.tuple(
          fc.constantFrom("main", "outer"),
          fc.integer({ min: 1, max: 2 }),
          fc.integer({ min: 1, max: 40 }),
        ),
        error: fc.constantFrom("boom", "Bang"),
        // Multiples of an eighth of a millisecond, which four bytes hold exactly.
        runMicros: fc.nat(40).map((eighths) => eighths * 125),
        readyAfterMs: fc.option(fc.nat(20), { nil: undefined }),
        sentAfterMs: fc.nat(30),
      },
      { requiredKeys: ["name", "seq"] },
    ),
    { maxLength: 120 },
  )
  .map((list) =>
    list.map((attempt, index): TestAttempt => {
      const submittedAtMs = START_MS + index * 10;
      return { ...attempt, submittedAtMs, finishedAtMs: submittedAtMs + 40 };
    }),
  );

const KEYS = Object.keys(rowOf({ name: "f", seq: 1, finishedAtMs: 0 })) as (keyof TaskRow)[];

describe("a list", () => {
  test("is what a list of objects would be, filtered, counted and paged, newest first", () => {
    fc.assert(
      fc.property(attempts, fc.integer({ min: 1, max: 5 }), fc.infiniteStream(fc.nat()), (list, chunks, random) => {
        const store = storeOf(list, { chunkRows: 7, rowsMax: chunks * 7 + 3 });
        expect(store.size).toBeGreaterThanOrEqual(Math.min(list.length, (chunks - 1) * 7));
        expect(store.size).toBeLessThanOrEqual(chunks * 7 + 3);
        const model = list
          .slice(list.length - store.size)
          .map(rowOf)
          .reverse();
        const pick = <T>(items: readonly T[]): T | undefined => items[random.next().value % items.length];
        for (let round = 0; round < 6; round++) {
          const filters = Array.from({ length: random.next().value % 4 }, (): Filter => {
            const key = pick(KEYS) ?? "name";
            const like = pick(model)?.[key] ?? pick(["", "12", "o", "FINISHED"]) ?? "";
            const op = pick(["=", "!=", "~", "<", ">"] as const) ?? "=";
            if (op === "<" || op === ">") return where(key, op, String(typeof like === "number" ? like : 3));
            const text = String(like);
            return where(key, op, op === "~" ? text.slice(random.next().value % (text.length + 1)) : text);
          });
          const expected = model.filter((row) =>
            filters.every((filter) => passes(row[filter.key as keyof TaskRow], filter)),
          );
          const limit = 1 + (random.next().value % 30);
          const rows: TaskRow[] = [];
          for (let cursor: string | undefined, pages = 0; ; pages++) {
            const page = store.list(query(filters, limit, cursor), START_MS);
            expect(page.total).toBe(expected.length);
            rows.push(...page.rows);
            if (page.next === null) break;
            expect(page.rows).toHaveLength(limit);
            expect(pages).toBeLessThan(200);
            cursor = page.next;
          }
          expect(rows).toEqual(expected);
        }
        const some = pick(model);
        if (some) {
          const same = model.filter(({ taskId }) => taskId.slice(0, 40) === some.taskId.slice(0, 40));
          expect(store.find(some.taskId).map(({ attempt }) => attempt)).toEqual(
            same.map(({ attempt }) => attempt).sort(),
          );
        }
      }),
      { numRuns: 100 },
    );
  });

  test("goes on where it was, while new rows come", () => {
    const attempt = (seq: number): TestAttempt => ({ name: "f", seq, worker: 1, finishedAtMs: START_MS + 10 * seq });
    const store = storeOf(
      Array.from({ length: 50 }, (_, seq) => attempt(seq)),
      { chunkRows: 8 },
    );
    const first = store.list(query([], 20), START_MS);
    for (const batch of batchesOf([attempt(50), attempt(51)])) store.add(batch, START_MS);
    const second = store.list(query([], 40, first.next ?? ""), START_MS);
    const seqs = [...first.rows, ...second.rows].map(({ taskId }) => Number.parseInt(taskId.slice(24, 40), 16));
    expect(seqs).toEqual(Array.from({ length: 50 }, (_, index) => 49 - index));
    expect([second.next, second.total]).toEqual([null, 52]);
  });

  test("of what rows do not have is refused, and so are numbers and cursors that are none", () => {
    const store = storeOf([{ name: "f", seq: 1, finishedAtMs: 1 }]);
    const list = (filter: Filter, cursor?: string) => () => store.list(query([filter], 1, cursor), 0);
    expect(list(where("nmae", "=", "f"))).toThrow(InvalidOptionError);
    expect(list(where("nmae", "=", "f"))).toThrow('rows have no "nmae" to filter by; they have taskId, attempt, name');
    expect(list(where("toString", "=", "f"))).toThrow(InvalidOptionError);
    expect(list(where("ranMs", ">", "ten"))).toThrow('compares with "ten", which is no number');
    expect(list(where("name", "=", "f"), "-1")).toThrow('"-1" is no cursor');
  });

  test("dictionaries keep what rows name, and no more", () => {
    const store = storeOf(
      Array.from({ length: 5_000 }, (_, index): TestAttempt => {
        const ids = { owner: index, worker: index, actor: index, error: `error ${index}`, outcome: "error" } as const;
        return { name: `f${index}`, seq: index, ...ids, finishedAtMs: START_MS + index * 10 };
      }),
      { chunkRows: 100, rowsMax: 1_000 },
    );
    for (const dictionary of Object.values(store.dictionaries)) {
      expect(dictionary.size).toBeLessThanOrEqual(1_000);
      expect(dictionary.end).toBeLessThanOrEqual(1_101);
    }
    expect(store.list(query([where("error", "=", "error 4999")]), 0).total).toBe(1);
    expect(store.list(query([where("error", "=", "error 5")]), 0).total).toBe(0);
  });
});

describe("counts", () => {
  test("are exact also of what sampling left out, and of rows that made room", () => {
    const many = Array.from({ length: 50_000 }, (_, index): TestAttempt => {
      const [name, parent] = index % 2 === 0 ? ["f", "main"] : ["g", "f"];
      return {
        name: name ?? "",
        parent: [parent ?? "", 1, 1],
        seq: index,
        worker: 1,
        runMicros: 1_000 + index,
        finishedAtMs: START_MS + index / 50,
      };
    });
    const failed: TestAttempt = {
      name: "f",
      seq: 1,
      outcome: "error",
      error: "boom",
      worker: 2,
      finishedAtMs: START_MS + 2_000,
    };
    const store = storeOf([...many, failed], { chunkRows: 10, rowsMax: 100 });
    expect(store.size).toBeLessThan(100);
    expect(store.summary()).toMatchObject([
      { name: "f", kind: "task", counts: { finished: 25_000, failed: 1 } },
      { name: "g", kind: "task", counts: { finished: 25_000 }, meanRunMs: 26 },
    ]);
    expect(store.graph(jobId(1))).toEqual({
      nodes: [
        { name: "f", kind: "task", counts: { finished: 25_000, failed: 1 } },
        { name: "g", kind: "task", counts: { finished: 25_000 } },
      ],
      edges: [
        { from: "main", to: "f", count: 25_000 },
        { from: "f", to: "g", count: 25_000 },
      ],
    });
    expect(store.graph(jobId(9))).toBeUndefined();
    const seconds = store.throughput(START_MS + 5_000);
    expect(seconds).toHaveLength(120);
    expect(seconds.at(-1)?.atMs).toBe(START_MS + 4_000);
    expect(seconds.reduce((sum, { finished }) => sum + finished, 0)).toBe(50_000);
    expect(seconds.find(({ failed }) => failed > 0)?.atMs).toBe(START_MS + 2_000);
  });

  test("the run time that 95 of 100 stay below is of the rows that are kept", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(100_000), { minLength: 1, maxLength: 300 }), (micros) => {
        const runs = micros.map((runMicros, seq): TestAttempt => {
          return { name: seq % 3 === 0 ? "f" : "g", seq, runMicros, worker: 1, finishedAtMs: START_MS + seq * 10 };
        });
        const sorted = micros.filter((_, index) => index % 3 === 0).sort((a, b) => a - b);
        const [f] = storeOf(runs).summary();
        expect(f?.p95RunMs).toBeCloseTo((sorted[Math.ceil(0.95 * sorted.length) - 1] ?? 0) / 1000, 6);
      }),
    );
  });

  test("of batches that a node dropped are added, and are no rows", () => {
    const [batch = new Uint8Array()] = batchesOf([{ name: "f", seq: 1, worker: 1, finishedAtMs: START_MS }]);
    const store = new AttemptStore();
    for (const bytes of [countsOf(batch), batch]) store.add(bytes, START_MS);
    expect(store.summary()[0]?.counts).toEqual({ finished: 2 });
    expect(store.size).toBe(1);
    expect(store.throughput(START_MS + 1_000).at(-1)?.finished).toBe(1);
  });
});

test("of what was seen to live, what has ended meanwhile is left out", () => {
  const attempt = (seq: number): TestAttempt => ({ name: "f", seq, worker: 1, finishedAtMs: START_MS + seq * 10 });
  const store = storeOf(
    Array.from({ length: 30 }, (_, seq) => attempt(seq)),
    { chunkRows: 4 },
  );
  const live = [27, 28, 30].map((seq) => rowOf(attempt(seq)));
  const retried = { ...rowOf(attempt(29)), attempt: 1 };
  expect(store.withoutEnded([...live, retried], START_MS)).toEqual([live[2], retried]);
  expect(store.withoutEnded(live, START_MS + 280)).toEqual([live[0], live[2]]);
});
