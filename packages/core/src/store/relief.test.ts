import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createPageAllocator } from "./allocator.ts";
import { fillBatch, planWindow, SPILL_OBJECTS_MAX } from "./relief.ts";
import { createResidency, KEEP_FREE_MS } from "./residency.ts";
import { createSlab, nextSlabBytes, SLAB_BYTES_MAX } from "./slab.ts";

describe("choosing what to spill", () => {
  it("takes the window with the fewest pages to move, free pages included", () => {
    const free = [{ start: 30, pages: 5 }];
    const candidates = [
      { start: 0, pages: 10 },
      { start: 10, pages: 10 },
      { start: 25, pages: 5 },
      { start: 35, pages: 1 },
    ];
    expect(planWindow(10, free, candidates)).toEqual([{ start: 25, pages: 5 }]);
    expect(planWindow(11, free, candidates)).toEqual([
      { start: 25, pages: 5 },
      { start: 35, pages: 1 },
    ]);
    expect(planWindow(20, free, candidates)).toEqual(candidates.slice(0, 2));
    expect(planWindow(21, free, candidates)).toBeUndefined();
  });

  it("finds the same cheapest cost as trying every window", () => {
    const layout = fc.array(
      fc.record({ kind: fc.constantFrom("free", "object", "pinned"), pages: fc.integer({ min: 1, max: 6 }) }),
      { maxLength: 25 },
    );
    fc.assert(
      fc.property(layout, fc.integer({ min: 1, max: 30 }), (pieces, pages) => {
        let start = 0;
        const placed = pieces.map((piece) => {
          const at = { ...piece, start };
          start += piece.pages;
          return at;
        });
        let best: number | undefined;
        for (let first = 0; first < placed.length; first++) {
          let span = 0;
          let cost = 0;
          for (const piece of placed.slice(first)) {
            if (piece.kind === "pinned") break;
            span += piece.pages;
            if (piece.kind === "object") cost += piece.pages;
            if (span >= pages) {
              best = Math.min(best ?? cost, cost);
              break;
            }
          }
        }
        const plan = planWindow(
          pages,
          placed.filter((piece) => piece.kind === "free"),
          placed.filter((piece) => piece.kind === "object"),
        );
        expect(plan?.reduce((sum, candidate) => sum + candidate.pages, 0)).toBe(best);
      }),
    );
  });

  it("fills a file with the needed first and then the oldest, up to its size or number of objects", () => {
    const oldest = Array.from({ length: 3_000 }, (_, index) => ({ start: index, pages: 1 }));
    const needed = oldest.slice(10, 12);
    expect(fillBatch(needed, oldest, 4)).toEqual([...needed, ...oldest.slice(0, 2)]);
    expect(fillBatch(needed, oldest, 1e9)).toHaveLength(SPILL_OBJECTS_MAX);
  });
});

describe("residency", () => {
  it("gives back blocks that stayed free for half a minute, and only those", () => {
    const allocator = createPageAllocator(1024);
    const residency = createResidency(1024);
    expect(allocator.allocate(700)).toBe(0);
    residency.touched(0, 700);
    allocator.free(256, 444);
    residency.freed(256, 444, 1_000);
    expect(residency.punchable(allocator, 1_000 + KEEP_FREE_MS - 1)).toEqual([]);
    expect(residency.punchable(allocator, 1_000 + KEEP_FREE_MS)).toEqual([{ start: 256, pages: 512 }]);
    residency.punched(256, 512);
    expect(residency.presentPages).toBe(256);
    expect(residency.punchable(allocator, 1e9)).toEqual([]);
  });

  it("prepares the next free blocks, lowest first, and no more than asked for", () => {
    const allocator = createPageAllocator(4096);
    const residency = createResidency(4096);
    allocator.allocate(256);
    residency.touched(0, 256);
    expect(residency.populateAhead(allocator, 512)).toEqual([{ start: 256, pages: 512 }]);
    expect(residency.populateAhead(allocator, 512)).toEqual([]);
    expect(residency.populateAhead(allocator, 600)).toEqual([{ start: 768, pages: 256 }]);
  });
});

describe("slab", () => {
  it("places objects on whole pages one after the other and names the rest", () => {
    const slab = createSlab({ offset: 8192, bytes: 4 * 4096 });
    expect([slab.allocate(1), slab.allocate(4097), slab.allocate(4097)]).toEqual([8192, 12288, undefined]);
    expect(slab.undo(8192, 1)).toBe(false);
    expect(slab.undo(12288, 4097)).toBe(true);
    expect(slab.rest()).toEqual({ offset: 12288, bytes: 3 * 4096 });
  });

  it("grows with use up to a limit", () => {
    const sizes = [0];
    for (let round = 0; round < 8; round++) sizes.push(nextSlabBytes(100_000, sizes.at(-1) ?? 0));
    expect(sizes[1]).toBe(2 ** 20);
    expect(sizes.at(-1)).toBe(SLAB_BYTES_MAX);
  });
});
