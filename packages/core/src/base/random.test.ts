import { expect, test } from "vitest";
import { randomBytes } from "./random.ts";

test("bytes are as many as were asked for, and never given out twice, whether they were read ahead or not", () => {
  const sizes = [16, 0, 1_000, 16, 16, 5_000, ...Array.from({ length: 200 }, () => 16)];
  const all = sizes.map((size) => randomBytes(size));
  expect(all.map(({ length }) => length)).toEqual(sizes);
  const names = all.filter(({ length }) => length > 0).map((bytes) => bytes.toString("hex"));
  expect(new Set(names).size).toBe(names.length);
  // Who changes what it was given changes nothing that others get.
  const [first] = all;
  first?.fill(0);
  expect(randomBytes(16).every((byte) => byte === 0)).toBe(false);
  const counts = new Uint32Array(256);
  for (const byte of randomBytes(2 ** 16)) counts[byte] = (counts[byte] ?? 0) + 1;
  expect(Math.min(...counts)).toBeGreaterThan(100);
});
