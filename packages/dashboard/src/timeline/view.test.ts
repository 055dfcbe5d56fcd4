import { describe, expect, test } from "vitest";
import { pan, scroll, ticks, wholeView, zoom } from "./view.ts";

const extent = { startMs: 0, endMs: 1000 };

test("everything is in view with a small margin", () => {
  expect(wholeView(extent)).toEqual({ fromMs: -10, toMs: 1010, top: 0 });
});

test("what is under the pointer stays there when it is zoomed", () => {
  const before = { fromMs: 0, toMs: 1000, top: 40 };
  const after = zoom(before, 0.5, 0.25, extent);
  expect(after).toEqual({ fromMs: 125, toMs: 625, top: 40 });
  expect(after.fromMs + (after.toMs - after.fromMs) * 0.25).toBe(250);
});

test("there is an end to zooming, both ways", () => {
  let view = wholeView(extent);
  for (let step = 0; step < 60; step++) view = zoom(view, 0.5, 0.5, extent);
  expect(view.toMs - view.fromMs).toBeCloseTo(0.05);
  for (let step = 0; step < 60; step++) view = zoom(view, 2, 0.5, extent);
  expect(view.toMs - view.fromMs).toBeLessThanOrEqual(1530);
});

test("something stays in view, however far it is moved", () => {
  const right = pan({ fromMs: 0, toMs: 100, top: 0 }, 1e6, extent);
  expect(right.fromMs).toBeLessThan(extent.endMs);
  const left = pan({ fromMs: 0, toMs: 100, top: 0 }, -1e6, extent);
  expect(left.toMs).toBeGreaterThan(extent.startMs);
});

test("lanes do not scroll past their ends", () => {
  const view = { fromMs: 0, toMs: 1, top: 10 };
  expect(scroll(view, -50, 500, 200).top).toBe(0);
  expect(scroll(view, 5000, 500, 200).top).toBe(300);
  expect(scroll(view, 5000, 100, 200).top).toBe(0);
});

describe("marks of the axis", () => {
  test.each([
    [0, 1000, 1000, 100, 100],
    [0, 10, 1000, 96, 1],
    [0, 60_000, 1000, 96, 10_000],
    [0, 3_600_000, 900, 96, 600_000],
    [0, 0.5, 1000, 96, 0.05],
  ])("of %d to %d ms on %d px are at least %d px apart: %d ms", (from, to, width, gap, step) => {
    const { stepMs, atMs } = ticks(from, to, width, gap);
    expect(stepMs).toBeCloseTo(step);
    expect(atMs.length).toBeGreaterThan(2);
    expect((stepMs / (to - from)) * width).toBeGreaterThanOrEqual(gap - 0.001);
  });
});
