import { expect, test } from "vitest";
import { assertExecutions, stamp } from "./evidence.ts";

const stampsOf = (executor: number, from: number, count: number): number[] =>
  Array.from({ length: count }, (_, index) => executor * 2 ** 24 + from + index);

test("stamps of several processes without gaps are as many executions, in any order", () => {
  const stamps = [...stampsOf(7, 5, 10), ...stampsOf(4_000_000, 1, 3)].reverse();
  expect(() => assertExecutions(stamps, 13)).not.toThrow();
});

test("stamps made in a process are consecutive", () => {
  const made = [stamp(), stamp(), stamp()];
  expect(() => assertExecutions(made, 3)).not.toThrow();
});

test("a missing result is noticed", () => {
  expect(() => assertExecutions(stampsOf(7, 1, 9), 10)).toThrow("results fetched");
});

test("a task that ran without its result being counted is noticed", () => {
  const stamps = stampsOf(7, 1, 10).filter((_, index) => index !== 4);
  expect(() => assertExecutions(stamps, 9)).toThrow("process 7 ran 10 tasks");
});

test("a result delivered twice is noticed", () => {
  const stamps = stampsOf(7, 1, 10);
  stamps[4] = stamps[3] ?? 0;
  expect(() => assertExecutions(stamps, 10)).toThrow("delivered twice");
});
