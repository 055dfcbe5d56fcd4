import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { noteOf } from "./load.ts";
import { flowsOf, type Lane, type Run, spanAt, spanOf, type Timeline, TimelineBuilder, visibleRuns } from "./model.ts";

const event = (ts: number, dur: number, more: object = {}) => ({
  ph: "X",
  pid: 7,
  tid: 1,
  ts,
  dur,
  cat: "task",
  name: "work",
  ...more,
});

function timelineOf(...events: readonly object[]): Timeline {
  const builder = new TimelineBuilder();
  for (const one of events) builder.add(one);
  return builder.finish();
}
function runsOf(lane: Lane, fromMs: number, toMs: number, pxPerMs: number): Run[] {
  const runs: Run[] = [];
  visibleRuns(lane, fromMs, toMs, pxPerMs, (run) => runs.push({ ...run }));
  return runs;
}
const firstLane = ({ lanes }: Timeline): Lane => {
  const [lane] = lanes;
  if (lane === undefined) throw new Error("no lane");
  return lane;
};

describe("what is drawn", () => {
  test("spans that are wide enough are drawn by themselves", () => {
    const lane = firstLane(timelineOf(event(0, 2000), event(3000, 1000)));
    expect(runsOf(lane, 0, 10, 10)).toMatchObject([
      { x: 0, width: 20, index: 0, share: 1 },
      { x: 30, width: 10, index: 1 },
    ]);
  });

  test("many narrow ones are one pixel, as full as they are busy, and a failure among them is seen", () => {
    // 100 spans of 0.05 ms, each 0.1 ms after the other: half of the time is busy.
    const spans = Array.from({ length: 100 }, (_, at) =>
      event(at * 100, 50, at === 57 ? { args: { outcome: "failed" } } : {}),
    );
    const runs = runsOf(firstLane(timelineOf(...spans)), 0, 10, 1);
    expect(runs.length).toBe(10);
    for (const { share, index } of runs) {
      expect(share).toBeCloseTo(0.5);
      expect(index).toBe(-1);
    }
    expect(runs.map(({ hasFailed }) => hasFailed).indexOf(true)).toBe(5);
  });

  test("only what is in view is drawn", () => {
    const lane = firstLane(timelineOf(event(0, 1000), event(5000, 1000), event(9000, 1000)));
    expect(runsOf(lane, 4, 7, 100).map(({ index }) => index)).toEqual([1]);
    expect(runsOf(lane, 5.5, 5.6, 100)).toMatchObject([{ index: 1, x: -50, width: 100 }]);
  });

  test("never more than two things a pixel, and no span is forgotten", () => {
    const spans = fc.array(fc.tuple(fc.integer({ min: 0, max: 400 }), fc.integer({ min: 1, max: 3000 })), {
      minLength: 1,
      maxLength: 300,
    });
    fc.assert(
      fc.property(spans, fc.integer({ min: 1, max: 200 }), (gaps, pxPerMs) => {
        let at = 0;
        const events = gaps.map(([gap, dur]) => {
          const one = event(at + gap, dur);
          at += gap + dur;
          return one;
        });
        const timeline = timelineOf(...events);
        const lane = firstLane(timeline);
        const runs = runsOf(lane, timeline.startMs, timeline.endMs + 1, pxPerMs / 10);
        const pixels = ((timeline.endMs + 1 - timeline.startMs) * pxPerMs) / 10;
        expect(runs.length).toBeLessThanOrEqual(2 * pixels + 2);
        const covered = (ms: number) => {
          const x = ((ms - timeline.startMs) * pxPerMs) / 10;
          return runs.some((run) => run.x <= x + 1e-6 && x < run.x + run.width + 1);
        };
        for (let span = 0; span < lane.count; span++) expect(covered(lane.start[span] ?? 0)).toBe(true);
      }),
      { numRuns: 100 },
    );
  });
});

test("the span under the pointer is found, also when it is narrower than the pointer", () => {
  const timeline = timelineOf(event(1000, 10), event(5000, 1000));
  const lane = firstLane(timeline);
  expect(spanAt(lane, 1.2, 0.5)).toBe(0);
  expect(spanAt(lane, 3, 0.5)).toBeUndefined();
  expect(spanAt(lane, 5.9, 0)).toBe(1);
  expect(spanOf(timeline, 0, 1)).toMatchObject({ name: "work", startMs: 5, endMs: 6, outcome: "ok" });
  expect(spanOf(timeline, 0, 2)).toBeUndefined();
});

describe("the trace", () => {
  test("is read line by line: of submissions only who made them is taken, and waits are left out", () => {
    const builder = new TimelineBuilder();
    const lines = [
      '{"displayTimeUnit":"ms","otherData":{"startedAt":"2026-11-27T01:00:00.000Z","sampling":"all 2 attempts"},"traceEvents":[',
      '{"ph":"M","pid":7,"tid":0,"name":"process_name","args":{"name":"worker 7"}},',
      '{"ph":"X","pid":1,"tid":0,"ts":0,"dur":1,"cat":"submit","name":"work"},',
      '{"ph":"s","pid":1,"tid":0,"ts":0,"id":1,"cat":"flow","name":"submitted"},',
      `${JSON.stringify(event(5, 20, { args: { outcome: "failed", task: "ab" } }))},`,
      JSON.stringify(event(30, 20)),
      "]}",
    ];
    for (const line of lines) builder.addLine(line);
    const timeline = builder.finish();
    expect(timeline).toMatchObject({ spans: 2, originMs: Date.parse("2026-11-27T01:00:00Z"), note: "all 2 attempts" });
    expect(timeline.lanes).toMatchObject([
      { title: "pid 1", count: 0 },
      { title: "worker 7", count: 2, taskIds: ["ab", undefined] },
    ]);
  });

  test("processes come in the order that it gives them", () => {
    const timeline = timelineOf(
      { ph: "M", pid: 7, name: "process_sort_index", args: { sort_index: 1 } } as never,
      { ph: "M", pid: 9, name: "process_sort_index", args: { sort_index: 0 } } as never,
      event(0, 5),
      { ...event(0, 5), pid: 9 },
    );
    expect(timeline.lanes.map(({ pid }) => pid)).toEqual([9, 7]);
  });

  test("may be in one line", () => {
    const builder = new TimelineBuilder();
    builder.addLine(JSON.stringify({ otherData: {}, traceEvents: [event(0, 5), event(9, 5)] }));
    expect(builder.finish().spans).toBe(2);
  });

  test("spans that overlap get lanes of their own", () => {
    const { lanes } = timelineOf(event(0, 1000), event(500, 1000), event(1000, 10));
    expect(lanes.map(({ count }) => count)).toEqual([2, 1]);
  });

  test("of nothing is empty", () => {
    expect(timelineOf()).toMatchObject({ lanes: [], spans: 0, startMs: 0, endMs: 1 });
  });
});

describe("pieces of one trace", () => {
  const piece = (originMs: number, next: string | null, ...events: readonly object[]): string[] => [
    `{"otherData":${JSON.stringify({ originMs, next, kept: 9 })},"traceEvents":[`,
    ...events.map((one) => `${JSON.stringify(one)},`),
  ];
  const named = (number: number, name: string, pid: number) => ({
    ...{ ph: "M", pid: number, tid: 0, name: "process_name" },
    args: { name, node: "n", pid },
  });

  test("are put together by their origins, and by nodes and pids of processes, whatever their numbers are", () => {
    const builder = new TimelineBuilder();
    builder.nextPiece();
    for (const line of piece(5_000.5, "x", named(7, "worker 7", 7), event(1_000, 500))) builder.addLine(line);
    expect(builder.info).toEqual({ next: "x", kept: 9 });
    builder.nextPiece();
    const older = [
      named(4_194_305, "a: worker 7", 7),
      named(7, "b: worker 7", 70),
      event(2_000, 500, { pid: 4_194_305 }),
    ];
    for (const line of piece(4_000.25, null, ...older)) builder.addLine(line);
    expect(builder.info).toEqual({ next: undefined, kept: 9 });
    const { lanes, originMs, spans } = builder.finish();
    expect([spans, originMs, lanes.length]).toEqual([2, 5_000.5, 1]);
    expect(lanes[0]).toMatchObject({ pid: 7, title: "a: worker 7" });
    // 2 ms after an origin that is 1000.25 ms before the first one.
    expect([...(lanes[0]?.start ?? [])]).toEqual([-998.25, 1]);
  });

  test("arrows lead from who submitted, who has a lane also without runs, and to what was submitted meanwhile", () => {
    const flow = (pid: number, ts: number) => ({ ph: "s", pid, tid: 0, ts, id: 1, cat: "flow", name: "submitted" });
    const builder = new TimelineBuilder();
    const events = [named(1, "driver 1", 1), named(7, "worker 7", 7), named(8, "worker 8", 8)];
    for (const line of piece(0, null, ...events)) builder.addLine(line);
    for (const one of [flow(1, 100), event(1_000, 5_000), flow(7, 2_000), event(3_000, 500, { pid: 8 })])
      builder.addLine(JSON.stringify(one));
    const timeline = builder.finish();
    expect(timeline.lanes.map(({ title, count }) => [title, count])).toEqual([
      ["driver 1", 0],
      ["worker 7", 1],
      ["worker 8", 1],
    ]);
    expect(flowsOf(timeline, { lane: 1, index: 0 })).toEqual({
      from: { lane: 0, ms: 0.1 },
      to: [{ lane: 2, index: 0 }],
      total: 1,
    });
    expect(flowsOf(timeline, { lane: 2, index: 0 })).toEqual({ from: { lane: 1, ms: 2 }, to: [], total: 0 });
  });

  test("what is left out at the bound is said", () => {
    expect(noteOf(300_000, 1_000_000, false).note).toMatch(
      /^the newest of 1,000,000 attempts that are kept; 700,000 older ones are left out; above 2,000 a second/,
    );
    expect(noteOf(50_000, 20, true).note).toMatch(/^all attempts that are kept; above/);
    expect(noteOf(50_000, undefined, true)).toEqual({});
  });
});
