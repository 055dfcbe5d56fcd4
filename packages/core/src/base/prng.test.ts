import { expect, test } from "vitest";
import { createPrng } from "./prng.ts";

test("the same seed gives the same numbers, another one others", () => {
  const take = (seed: number) => {
    const prng = createPrng(seed);
    return Array.from({ length: 8 }, () => prng.below(1_000_000));
  };
  expect(take(7)).toEqual(take(7));
  expect(take(7)).not.toEqual(take(8));
});

test("numbers are spread evenly over their range", () => {
  const prng = createPrng(1);
  const counts = new Array<number>(10).fill(0);
  for (let draw = 0; draw < 100_000; draw++) {
    const value = prng.between(0, 9);
    counts[value] = (counts[value] ?? 0) + 1;
  }
  for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(500);
});
