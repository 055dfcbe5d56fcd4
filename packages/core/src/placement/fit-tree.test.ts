/** The tree against looking at all leaves. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FitTree } from "./fit-tree.ts";

const leaf = fc.record({
  a: fc.integer({ min: -2, max: 8 }),
  b: fc.integer({ min: -2, max: 8 }),
  score: fc.integer({ min: 0, max: 5 }),
});
const changes = fc.array(fc.record({ position: fc.nat({ max: 40 }), leaf: fc.option(leaf, { nil: undefined }) }), {
  maxLength: 80,
});
const needs = fc.record({
  a: fc.integer({ min: -2, max: 9 }),
  b: fc.integer({ min: -2, max: 9 }),
  from: fc.nat({ max: 40 }),
});

describe("the tree", () => {
  test("finds the least score, and the next position, of what has enough", () => {
    fc.assert(
      fc.property(changes, needs, (list, { a, b, from }) => {
        const tree = new FitTree(2);
        const leaves = new Map<number, { a: number; b: number; score: number }>();
        for (const { position, leaf: value } of list) {
          tree.grow(position + 1);
          if (value) {
            tree.set(position, [value.a, value.b], value.score);
            leaves.set(position, value);
          } else {
            tree.clear(position);
            leaves.delete(position);
          }
        }
        const enough = [...leaves].filter(([, value]) => value.a >= a && value.b >= b).sort(([x], [y]) => x - y);
        const scores = enough.map(([, value]) => value.score);
        const found = leaves.get(tree.least([a, b], from));
        expect(found?.score).toBe(enough.length > 0 ? Math.min(...scores) : undefined);
        if (found) expect(found.a >= a && found.b >= b).toBe(true);
        const next = enough.find(([position]) => position >= from) ?? enough[0];
        expect(tree.next([a, b], from)).toBe(next?.[0] ?? -1);
        expect(tree.has([a, b])).toBe(enough.length > 0);
      }),
      { numRuns: 500 },
    );
  });
});
