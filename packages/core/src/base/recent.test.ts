import { expect, test } from "vitest";
import { Recent } from "./recent.ts";

test("the last are known, also those that were noted again or deleted in between", () => {
  const recent = new Recent<string, number>(3);
  for (const [at, name] of ["a", "b", "c"].entries()) recent.set(name, at);
  recent.set("a", 10);
  expect(["a", "b", "c"].map((name) => recent.get(name))).toEqual([10, 1, 2]);
  recent.set("d", 3);
  expect(["a", "b", "c", "d"].map((name) => recent.get(name))).toEqual([10, undefined, 2, 3]);
  expect([recent.delete("a"), recent.delete("a"), recent.has("a")]).toEqual([true, false, false]);
  recent.set("a", 11);
  recent.set("e", 4);
  expect(["a", "c", "d", "e"].map((name) => recent.get(name))).toEqual([11, undefined, 3, 4]);
});
