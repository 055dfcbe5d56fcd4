import { describe, expect, test } from "vitest";
import type { ActorId, JobId, NodeId, ProcessId } from "../base/ids.ts";
import { createPrng } from "../base/mod.ts";
import { timelineChunks } from "./chrome-trace.ts";
import { attemptsOf, type EventBatch, readBatch, seenIn } from "./event-batch.ts";
import { EVENTS_PER_SECOND, EventRecorder, type FinishedAttempt, SLOW_MICROS } from "./event-recorder.ts";

const square = { of: "square" };
const task = (change: Partial<FinishedAttempt> = {}): FinishedAttempt => ({
  name: "square",
  code: square,
  className: undefined,
  parent: undefined,
  seq: 1,
  attempt: 0,
  kind: "task",
  isSerial: true,
  actorId: undefined,
  submittedAtMs: 1_000,
  readyAfterMicros: 250,
  sentAtMs: 1_002,
  ...change,
});
const main = { name: "main", owner: "fedcba987654321001234567" as ProcessId, seq: 7 };
const nodeId = "0123456789abcdef0123456789abcdef" as NodeId;
const worker = { workerId: "w1", nodeId, pid: 77 };
const owner = "0123456789abcdef01234567" as ProcessId;
const job = "0a0b0c0d" as JobId;

function recorder(pid = 10, jobs: () => JobId = () => job): { recorder: EventRecorder; batches: Uint8Array[] } {
  const batches: Uint8Array[] = [];
  return { recorder: new EventRecorder({ owner, pid, job: jobs, send: (batch) => batches.push(batch) }), batches };
}

const read = (batches: readonly Uint8Array[]): EventBatch[] => batches.map(readBatch);
const recordedIn = (batches: readonly Uint8Array[]) => read(batches).flatMap((batch) => [...attemptsOf(batch)]);

interface TraceEvent {
  readonly ph: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur: number;
  readonly id: number;
  readonly cat: string;
  readonly name: string;
  readonly args: Readonly<Record<string, unknown>>;
}

function trace(batches: readonly Uint8Array[], droppedBatches = 0) {
  const text = [
    ...timelineChunks({ batches, droppedBatches, driver: owner, driverPid: 10, nodeNames: new Map() }),
  ].join("");
  const { otherData, traceEvents } = JSON.parse(text) as {
    otherData: Record<string, unknown>;
    traceEvents: TraceEvent[];
  };
  return { otherData, events: traceEvents, runs: traceEvents.filter(({ ph, cat }) => ph === "X" && cat !== "submit") };
}

describe("the recorder", () => {
  test("what was recorded is read back, with its ids, where it was submitted, and its error", () => {
    const { recorder: events, batches } = recorder();
    events.record(task(), worker, 500, 1_003, "ok");
    const actorId = "a1" as ActorId;
    const call = { name: "A.add", code: {}, className: "A", parent: main, actorId, kind: "actor-call" } as const;
    const other = { workerId: "w2", nodeId, pid: 78 };
    const words = `add threw: ${"x".repeat(400)}\nat line 1`;
    events.record(task({ ...call, seq: 9, attempt: 3, isSerial: false }), other, 2, 1_004, "error", () => words);
    events.record(task({ seq: 10, readyAfterMicros: undefined }), undefined, 0, 1_005, "cancelled");
    events.flush();
    const [batch] = read(batches);
    expect(batch).toMatchObject({ owner, pid: 10, job, names: ["square", "main", "A.add"], actors: [actorId] });
    expect(batch?.workers).toEqual([worker, other]);
    expect(batch?.errors).toEqual([`${words.slice(0, 299)}…`]);
    expect(batch?.parents?.table).toEqual([{ owner: main.owner, seq: 7 }]);
    expect(recordedIn(batches)).toEqual([
      {
        ...{ name: 0, parent: -1, parentTask: -1, worker: 0, actor: -1, error: -1 },
        ...{ kind: "task", outcome: "ok", isSerial: true, seq: 1, attempt: 0 },
        ...{ submittedAtMs: 1_000, readyAtMs: 1_000.25, sentAtMs: 1_002, finishedAtMs: 1_003, runMicros: 500 },
      },
      expect.objectContaining({
        ...{ name: 2, parent: 1, parentTask: 0, worker: 1, actor: 0, error: 0, kind: "actor-call", outcome: "error" },
        ...{ isSerial: false, seq: 9, attempt: 3 },
      }),
      expect.objectContaining({
        outcome: "cancelled",
        worker: -1,
        seq: 10,
        readyAtMs: Number.NaN,
        sentAtMs: Number.NaN,
      }),
    ]);
  });

  test("every attempt is counted, by function, where it was submitted and outcome", () => {
    const { recorder: events, batches } = recorder();
    for (let index = 0; index < 10_000; index++) {
      const inMain = { parent: index % 2 === 0 ? main : undefined };
      events.record(task(inMain), worker, 3, 1_000 + index / 100, index % 10 === 0 ? "error" : "ok");
    }
    events.flush();
    const tallies = read(batches).flatMap((batch) => batch.tallies);
    expect(recordedIn(batches).length).toBeLessThan(2_000);
    expect(tallies).toEqual([
      { name: "square", parent: "main", kind: "task", counts: [4_000, 1_000, 0, 0, 0], runMicros: 15_000 },
      { name: "square", parent: null, kind: "task", counts: [5_000, 0, 0, 0, 0], runMicros: 15_000 },
    ]);
  });

  test("a batch is of one job, and of no more functions than its tables have room for", () => {
    let current = job;
    const { recorder: events, batches } = recorder(10, () => current);
    events.record(task(), worker, 1, 1_000, "ok");
    current = "11111111" as JobId;
    events.record(task(), worker, 1, 1_000, "ok");
    for (let index = 0; index < 10_000; index++) {
      events.record(
        task({ name: `f${index}`, code: {}, parent: { ...main, name: `p${index}` } }),
        worker,
        1,
        1_001,
        "ok",
      );
    }
    events.flush();
    expect(read(batches).map((batch) => batch.job)).toEqual([job, ...Array(3).fill(current)]);
    expect(read(batches).reduce((sum, batch) => sum + seenIn(batch), 0)).toBe(10_002);
  });

  test("of what it was submitted in a batch takes two bytes an attempt, and nothing where that is no function", () => {
    const { recorder: events, batches } = recorder();
    let atMs = 0;
    const fill = (parentOf: (index: number) => typeof main | undefined): Uint8Array => {
      for (let index = 0; index < 1_000; index++) {
        atMs += 1_000;
        events.record(task({ seq: index, parent: parentOf(index) }), worker, 1, atMs, "ok");
      }
      events.flush();
      return batches.splice(0)[0] ?? new Uint8Array();
    };
    const none = fill(() => undefined);
    const other = { ...main, seq: 8 };
    const two = fill((index) => [undefined, main, other][index % 3]);
    const parents = Array.from({ length: 1_000 }, (_, seq) => ({ ...main, seq }));
    const all = fill((index) => parents[index]);
    expect(readBatch(none).parents).toBeUndefined();
    expect([...attemptsOf(readBatch(two))].slice(0, 4).map(({ parentTask }) => parentTask)).toEqual([-1, 0, 1, -1]);
    expect(two.length - none.length).toBeLessThan(1_000 * 2 + 200);
    expect(all.length - none.length).toBeLessThan(1_000 * 22 + 200);
    expect(readBatch(all).parents?.table).toEqual(parents.map(({ owner: of, seq }) => ({ owner: of, seq })));
  });

  test("nothing is sent when nothing was seen, and a full array leaves by itself", () => {
    const { recorder: events, batches } = recorder();
    events.flush();
    expect(batches).toHaveLength(0);
    // A tenth of the rate, so that all are kept.
    for (let index = 0; index < 3_000; index++) events.record(task(), worker, 1, 1_000 + index * 5, "ok");
    expect(batches).toHaveLength(1);
    events.flush();
    expect(read(batches).map((batch) => [...attemptsOf(batch)].length)).toEqual([2_048, 952]);
  });

  test("up to the stated rate all are kept; above, a sample of about that rate, and everything is counted", () => {
    for (const [perSecond, kept] of [
      [EVENTS_PER_SECOND, 1],
      [50_000, EVENTS_PER_SECOND / 50_000],
    ] as const) {
      const { recorder: events, batches } = recorder();
      for (let index = 0; index < perSecond * 2; index++) {
        events.record(task(), worker, 10, 1_000 + (index * 1000) / perSecond, "ok");
      }
      events.flush();
      const recorded = recordedIn(batches).length;
      expect(read(batches).reduce((sum, batch) => sum + seenIn(batch), 0)).toBe(perSecond * 2);
      expect(recorded / (perSecond * 2)).toBeGreaterThan(kept * 0.9);
      expect(recorded / (perSecond * 2)).toBeLessThanOrEqual(kept * 1.05);
    }
  });

  test("failed and slow attempts are kept whatever the rate", () => {
    const { recorder: events, batches } = recorder();
    const prng = createPrng(7);
    let rare = 0;
    for (let index = 0; index < 100_000; index++) {
      const isRare = prng.chance(0.001);
      if (isRare) rare++;
      const slow = isRare && prng.chance(0.5);
      events.record(task(), worker, slow ? SLOW_MICROS : 10, 1_000 + index / 100, isRare && !slow ? "error" : "ok");
    }
    events.flush();
    const attempts = recordedIn(batches);
    expect(attempts.filter(({ outcome, runMicros }) => outcome !== "ok" || runMicros >= SLOW_MICROS)).toHaveLength(
      rare,
    );
    expect(attempts.length).toBeLessThan(3_000 + rare);
  });

  test("bytes of another version are refused", () => {
    expect(() => readBatch(new Uint8Array([0x80]))).toThrow("cannot be read");
  });
});

describe("the trace", () => {
  test("each run lies in its worker's row, with an arrow from its submission", () => {
    const { recorder: events, batches } = recorder();
    events.record(task(), worker, 500, 1_003, "ok");
    events.flush();
    const { events: all, runs, otherData } = trace(batches);
    expect(runs).toEqual([
      expect.objectContaining({
        pid: 77,
        tid: 1,
        ts: 2_500,
        dur: 500,
        name: "square",
        args: expect.objectContaining({ waitedForArgumentsMs: 0.25, queuedMs: 1.75, sentBeforeRunMs: 0.5, ranMs: 0.5 }),
      }),
    ]);
    const from = all.find(({ ph }) => ph === "s");
    const to = all.find(({ ph }) => ph === "f");
    expect(from).toMatchObject({ pid: 10, ts: 0 });
    expect(to).toMatchObject({ pid: 77, ts: 2_500, id: from?.id });
    expect(all.filter(({ ph }) => ph === "b").map(({ cat }) => cat)).toEqual(["queued"]);
    expect(all.find(({ name, pid }) => name === "process_name" && pid === 10)?.args.name).toBe("driver 10");
    expect(otherData).toMatchObject({ attempts: 1, sampling: "all 1 attempts are in this file" });
  });

  test("short runs whose results arrived together lie one after the other", () => {
    const { recorder: events, batches } = recorder();
    for (let seq = 0; seq < 5; seq++) events.record(task({ seq }), worker, 100, 1_003, "ok");
    events.flush();
    const { runs } = trace(batches);
    expect(runs.map(({ ts, dur, tid }) => [ts, dur, tid])).toEqual([
      [2_500, 100, 1],
      [2_600, 100, 1],
      [2_700, 100, 1],
      [2_800, 100, 1],
      [2_900, 100, 1],
    ]);
  });

  test("calls that ran at the same time have rows of their own", () => {
    const { recorder: events, batches } = recorder();
    for (let seq = 0; seq < 3; seq++) {
      events.record(task({ seq, kind: "actor-call", isSerial: false }), worker, 1_000, 1_004 + seq / 10, "ok");
    }
    events.flush();
    expect(trace(batches).runs.map(({ tid }) => tid)).toEqual([1, 2, 3]);
  });

  test("a lost attempt lies between what ran before it and the news of its end", () => {
    const { recorder: events, batches } = recorder();
    events.record(task({ seq: 1 }), worker, 2_000, 1_005, "ok");
    events.record(task({ seq: 2 }), worker, 0, 1_900, "lost");
    events.flush();
    const { runs } = trace(batches);
    expect(runs.map(({ ts, dur }) => [ts, dur])).toEqual([
      [3_000, 2_000],
      [5_000, 895_000],
    ]);
  });

  test("batches of several processes join, and what is missing is said", () => {
    const driver = recorder(10);
    const nested = recorder(77);
    driver.recorder.record(task({ name: "outer" }), worker, 5_000, 1_010, "ok");
    nested.recorder.record(
      task({ name: "inner", submittedAtMs: 1_006 }),
      { workerId: "w2", nodeId, pid: 78 },
      1_000,
      1_009,
      "ok",
    );
    for (let index = 0; index < 5_000; index++) driver.recorder.record(task(), worker, 1, 1_020, "ok");
    driver.recorder.flush();
    nested.recorder.flush();
    const { runs, events: all, otherData } = trace([...driver.batches, ...nested.batches], 2);
    expect(runs.map(({ name }) => name)).toEqual(expect.arrayContaining(["outer", "inner"]));
    expect(all.find(({ ph, name, pid }) => ph === "X" && name === "inner" && pid === 77)?.cat).toBe("submit");
    expect(otherData).toMatchObject({ attempts: 5_002, droppedBatches: 2 });
    expect(otherData.sampling).toMatch(/^\d+ of 5002 attempts/);
  });

  test("processes of several nodes are apart, also where their pids are equal, and in the order of their nodes", () => {
    const { recorder: events, batches } = recorder(77);
    const elsewhere = { workerId: "w2", nodeId: "aa00000000000000" as NodeId, pid: 77 };
    const third = { workerId: "w3", nodeId: "bb00000000000000" as NodeId, pid: 5 };
    for (const each of [elsewhere, worker, third]) events.record(task(), each, 500, 1_003, "ok");
    events.flush();
    const nodeNames = new Map([
      ["aa000000", "two"],
      ["bb000000", "one"],
      ["01234567", "zero"],
    ]);
    const text = [...timelineChunks({ batches, droppedBatches: 0, driver: owner, driverPid: 77, nodeNames })].join("");
    const { traceEvents } = JSON.parse(text) as { traceEvents: TraceEvent[] };
    const named = traceEvents.filter(({ name }) => name === "process_name");
    expect(named.map(({ args }) => args.name)).toEqual(["zero: driver 77", "one: worker 5", "two: worker 77"]);
    const order = traceEvents.filter(({ name }) => name === "process_sort_index");
    expect(order.map(({ pid, args }) => [pid, args.sort_index])).toEqual(named.map(({ pid }, index) => [pid, index]));
    const [driver, , two] = named.map(({ pid }) => pid);
    expect(driver).toBe(77);
    expect(two).toBeGreaterThan(2 ** 22);
    const runs = traceEvents.filter(({ ph, cat }) => ph === "X" && cat === "task");
    expect(runs.map(({ pid }) => pid).sort()).toEqual([5, 77, two].sort());
    expect(traceEvents.filter(({ ph }) => ph === "s").every(({ pid }) => pid === driver)).toBe(true);
  });

  test("no events give a whole file", () => {
    expect(trace([]).otherData).toMatchObject({ attempts: 0, startedAt: null });
  });
});
