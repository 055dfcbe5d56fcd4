import fc from "fast-check";
import { expect, test } from "vitest";
import type { Seq } from "../base/ids.ts";
import { SeqTable } from "./seq-table.ts";

test("a table by number behaves like a Map, also for numbers far apart", () => {
  const seq = fc.oneof(fc.integer({ min: 0, max: 2_000 }), fc.integer({ min: 2 ** 40, max: 2 ** 40 + 600 }));
  const step = fc.record({ seq, kind: fc.constantFrom("set", "delete", "get"), value: fc.integer() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const table = new SeqTable<number>();
      const model = new Map<number, number>();
      for (const { seq: number, kind, value } of steps) {
        const at = number as Seq;
        if (kind === "set") {
          table.set(at, value);
          model.set(number, value);
        } else if (kind === "delete") expect(table.delete(at)).toBe(model.delete(number));
        expect(table.get(at)).toBe(model.get(number));
        expect(table.size).toBe(model.size);
      }
    }),
  );
});
