import { describe, expect, test } from "vitest";
import { createPrng } from "../base/mod.ts";
import { timelineChunks } from "./chrome-trace.ts";
import { readBatch } from "./event-batch.ts";
import { EVENTS_PER_SECOND, EventRecorder, type FinishedAttempt, SLOW_MICROS } from "./event-recorder.ts";

const task = (change: Partial<FinishedAttempt> = {}): FinishedAttempt => ({
  name: "square",
  seq: 1,
  attempt: 0,
  isCall: false,
  isSerial: true,
  submittedAtMs: 1_000,
  readyAfterMicros: 250,
  sentAtMs: 1_002,
  ...change,
});
const worker = { workerId: "w1", pid: 77 };

function recorder(pid = 10): { recorder: EventRecorder; batches: Uint8Array[] } {
  const batches: Uint8Array[] = [];
  return { recorder: new EventRecorder({ pid, send: (batch) => batches.push(batch) }), batches };
}

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
  const text = [...timelineChunks({ batches, droppedBatches, driverPid: 10 })].join("");
  const { otherData, traceEvents } = JSON.parse(text) as {
    otherData: Record<string, unknown>;
    traceEvents: TraceEvent[];
  };
  return { otherData, events: traceEvents, runs: traceEvents.filter(({ ph, cat }) => ph === "X" && cat !== "submit") };
}

describe("the recorder", () => {
  test("what was recorded is read back, names and workers included", () => {
    const { recorder: events, batches } = recorder();
    events.record(task(), worker, 500, 1_003, "ok");
    events.record(
      task({ name: "A.add", seq: 9, attempt: 3, isCall: true, isSerial: false }),
      { workerId: "w2", pid: 78 },
      2,
      1_004,
      "error",
    );
    events.flush();
    expect(batches).toHaveLength(1);
    const batch = readBatch(batches[0] ?? new Uint8Array());
    expect(batch).toMatchObject({ ownerPid: 10, seen: 2 });
    expect(batch.attempts).toEqual([
      {
        name: "square",
        ownerPid: 10,
        seq: 1,
        attempt: 0,
        outcome: "ok",
        isCall: false,
        isSerial: true,
        workerId: "w1",
        workerPid: 77,
        submittedAtMs: 1_000,
        readyAtMs: 1_000.25,
        sentAtMs: 1_002,
        finishedAtMs: 1_003,
        runMicros: 500,
      },
      expect.objectContaining({ name: "A.add", attempt: 3, outcome: "error", isCall: true, workerPid: 78 }),
    ]);
  });

  test("nothing is sent when nothing was seen, and a full array leaves by itself", () => {
    const { recorder: events, batches } = recorder();
    events.flush();
    expect(batches).toHaveLength(0);
    // A tenth of the rate, so that all are kept.
    for (let index = 0; index < 3_000; index++) events.record(task(), worker, 1, 1_000 + index * 5, "ok");
    expect(batches).toHaveLength(1);
    events.flush();
    expect(batches.map((batch) => readBatch(batch).attempts.length)).toEqual([2_048, 952]);
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
      const contents = batches.map(readBatch);
      const recorded = contents.reduce((sum, { attempts }) => sum + attempts.length, 0);
      expect(contents.reduce((sum, { seen }) => sum + seen, 0)).toBe(perSecond * 2);
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
    const attempts = batches.flatMap((batch) => readBatch(batch).attempts);
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
      events.record(task({ seq, isCall: true, isSerial: false }), worker, 1_000, 1_004 + seq / 10, "ok");
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
      { workerId: "w2", pid: 78 },
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

  test("no events give a whole file", () => {
    expect(trace([]).otherData).toMatchObject({ attempts: 0, startedAt: null });
  });
});
