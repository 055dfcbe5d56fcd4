import { expect, test } from "vitest";
import { type BarState, barLabel, barLine, barOfLine, isBarLine, PROGRESS_MARK, readBar } from "./progress-bars.ts";

const bar: BarState = { id: "7.1", label: "work", total: 10, done: 3, closed: false };

test("a bar is the same behind its line", () => {
  const line = barLine(bar).trimEnd();
  expect(isBarLine(line)).toBe(true);
  expect(barOfLine(line)).toEqual(bar);
});

test("garbage is no bar", () => {
  for (const rest of ['{"id":"7.1","la', "null", "5", "[]", "{}", '{"id":5}', JSON.stringify({ ...bar, done: null })])
    expect(barOfLine(PROGRESS_MARK + rest), rest).toBeUndefined();
  for (const wrong of [
    { ...bar, id: "x".repeat(65) },
    { ...bar, done: Number.NaN },
    { ...bar, done: Number.POSITIVE_INFINITY },
    { ...bar, done: "3" },
    { ...bar, total: "10" },
    { ...bar, closed: 1 },
    { ...bar, label: {} },
  ])
    expect(readBar(wrong)).toBeUndefined();
});

test("a total that is no amount is not known, and what else was said is left out", () => {
  expect(readBar({ ...bar, total: Number.POSITIVE_INFINITY, more: "x" })).toEqual({ ...bar, total: null });
  expect(readBar({ ...bar, total: -1 })).toEqual({ ...bar, total: null });
});

test("a label is one line of at most 200 characters", () => {
  expect(barLabel("a\u001b[2Jb\nc\u2028d")).toBe("a [2Jb c d");
  expect(barLabel("x".repeat(200))).toBe("x".repeat(200));
  const long = barLabel("x".repeat(1_000_000));
  expect(long).toHaveLength(200);
  expect(long.endsWith("…")).toBe(true);
  expect(barLabel(`${"x".repeat(198)}😀${"y".repeat(9)}`).isWellFormed()).toBe(true);
});
