import { expect, test } from "vitest";
import { summarise, timesBetter } from "./statistics.ts";

test("the median of an even number of values lies between the middle two", () => {
  expect(summarise([4, 1, 3, 2])).toEqual({ median: 2.5, min: 1, max: 4, rounds: 4 });
});

test("the median of an odd number of values is the middle one, whatever their order", () => {
  expect(summarise([100, 9, 11])).toEqual({ median: 11, min: 9, max: 100, rounds: 3 });
});

test("nothing measured has no summary", () => {
  expect(summarise([])).toBeUndefined();
});

test("a ratio above 1 means better, for rates and for durations", () => {
  expect(timesBetter(200, 100, "higher")).toBe(2);
  expect(timesBetter(5, 10, "lower")).toBe(2);
});
