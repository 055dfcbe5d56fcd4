import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createPageAllocator } from "./allocator.ts";

describe("page allocator", () => {
  it("gives low addresses first and merges neighbours again", () => {
    const allocator = createPageAllocator(100);
    expect([allocator.allocate(10), allocator.allocate(10), allocator.allocate(80)]).toEqual([0, 10, 20]);
    expect(allocator.allocate(1)).toBeUndefined();
    allocator.free(0, 10);
    allocator.free(20, 80);
    allocator.free(10, 10);
    expect([...allocator.freeRanges()]).toEqual([{ start: 0, pages: 100 }]);
  });

  it("refuses to free a range, or a part of one, twice", () => {
    const allocator = createPageAllocator(100);
    allocator.allocate(30);
    allocator.free(10, 10);
    for (const [start, pages] of [
      [10, 10],
      [5, 10],
      [15, 10],
      [12, 2],
      [0, 30],
      [95, 1],
    ] as const) {
      expect(() => allocator.free(start, pages)).toThrow(/free already/);
    }
    expect(() => allocator.free(95, 10)).toThrow(/outside/);
  });

  it("takes a named range only when all of it is free", () => {
    const allocator = createPageAllocator(50);
    expect(allocator.take(10, 10)).toBe(true);
    expect(allocator.take(15, 10)).toBe(false);
    expect(allocator.isFree(0, 10)).toBe(true);
    expect(allocator.isFree(0, 11)).toBe(false);
    expect(allocator.allocate(11)).toBe(20);
  });

  it("agrees with a bitmap whatever is allocated and freed in parts", () => {
    const total = 64;
    const step = fc.record({
      allocate: fc.boolean(),
      pages: fc.integer({ min: 1, max: 20 }),
      pick: fc.nat(),
      cut: fc.nat(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const allocator = createPageAllocator(total);
        const used = new Array<boolean>(total).fill(false);
        const held: { start: number; pages: number }[] = [];
        for (const { allocate, pages, pick, cut } of steps) {
          if (allocate) {
            const start = allocator.allocate(pages);
            if (start === undefined) {
              const gap = "f".repeat(pages);
              expect(used.map((u) => (u ? "u" : "f")).join("")).not.toContain(gap);
              continue;
            }
            for (let page = start; page < start + pages; page++) {
              expect(used[page]).toBe(false);
              used[page] = true;
            }
            held.push({ start, pages });
          } else if (held.length > 0) {
            const [range] = held.splice(pick % held.length, 1);
            if (!range) continue;
            const part = 1 + (cut % range.pages);
            allocator.free(range.start, part);
            used.fill(false, range.start, range.start + part);
            if (part < range.pages) held.push({ start: range.start + part, pages: range.pages - part });
          }
          expect(allocator.freePages).toBe(used.filter((u) => !u).length);
          const merged = [...allocator.freeRanges()];
          for (let index = 1; index < merged.length; index++) {
            const [a, b] = [merged[index - 1], merged[index]];
            expect(a && b && a.start + a.pages < b.start).toBe(true);
          }
        }
      }),
    );
  });
});
