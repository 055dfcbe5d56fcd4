import { expect, test, vi } from "vitest";
import { LoopWatch } from "./loop-watch.ts";

function run(rounds: number, round: (watch: LoopWatch, seq: number) => void): number {
  const onLoop = vi.fn<(rounds: number) => void>();
  const watch = new LoopWatch(onLoop);
  for (let seq = 1; seq <= rounds; seq++) round(watch, seq);
  return onLoop.mock.calls.length;
}

test("waiting for each of many tasks before the next is told once", () => {
  const told = run(1_000, (watch, seq) => {
    watch.submitted(seq, true);
    watch.waitsFor(seq);
    watch.settled();
  });
  expect(told).toBe(1);
});

test("tasks in flight together, results of earlier tasks, and a few rounds are no loop", () => {
  const together = run(1_000, (watch, seq) => {
    watch.submitted(seq, false);
    watch.waitsFor(seq);
    watch.settled();
  });
  const earlier = run(1_000, (watch, seq) => {
    watch.submitted(seq, true);
    watch.waitsFor(seq - 1);
    watch.settled();
  });
  const few = run(199, (watch, seq) => {
    watch.submitted(seq, true);
    watch.waitsFor(seq);
    watch.settled();
  });
  expect([together, earlier, few]).toEqual([0, 0, 0]);
});

test.each([
  { title: "rounds with pauses between them are a program's business", every: 1, told: 0 },
  { title: "a pause after every third round is a program's too", every: 3, told: 0 },
  { title: "a pause now and then is the machine's", every: 10, told: 1 },
])("$title", ({ every, told }) => {
  vi.useFakeTimers({ toFake: ["hrtime"] });
  try {
    const count = run(1_000, (watch, seq) => {
      watch.submitted(seq, true);
      watch.waitsFor(seq);
      watch.settled();
      if (seq % every === 0) vi.advanceTimersByTime(10);
    });
    expect(count).toBe(told);
  } finally {
    vi.useRealTimers();
  }
});
