/**
 * Which parts of the arena have memory behind them. Fresh pages are slow to come by, so the first demand makes the
 * node prepare some ahead; pages that nobody has used for a while go back to the system, so that an idle store is small.
 * Works in blocks of 1 MiB.
 */
import type { PageAllocator, PageRange } from "./allocator.ts";

const BLOCK_PAGES = 256;
/** How long a block stays free before its memory goes back to the system. */
export const KEEP_FREE_MS = 30_000;
/** One step of populating or punching: a few milliseconds of kernel time. */
const STEP_BLOCKS = 16;

export interface Residency {
  /** The range was given to somebody, who will write to it. */
  touched(start: number, pages: number): void;
  /** Whether all of the range has memory behind it, as far as is known. */
  isPresent(start: number, pages: number): boolean;
  freed(start: number, pages: number, nowMs: number): void;
  /** Free ranges to give back to the system; the caller must keep them from being allocated meanwhile. */
  punchable(allocator: PageAllocator, nowMs: number): readonly PageRange[];
  /** Memory was taken away from the range. */
  punched(start: number, pages: number): void;
  /** Next ranges to prepare so that `aheadPages` are both free and present; marks them as present. */
  populateAhead(allocator: PageAllocator, aheadPages: number): readonly PageRange[];
  /** Pages thought to be present, free ones included. */
  readonly presentPages: number;
}

export function createResidency(totalPages: number): Residency {
  const blocks = Math.ceil(totalPages / BLOCK_PAGES);
  const present = new Uint8Array(blocks);
  const freedAtMs = new Float64Array(blocks);
  let presentBlocks = 0;

  const firstBlock = (start: number): number => Math.floor(start / BLOCK_PAGES);
  const endBlock = (start: number, pages: number): number => Math.ceil((start + pages) / BLOCK_PAGES);
  const pagesOfBlock = (block: number): number => Math.min(BLOCK_PAGES, totalPages - block * BLOCK_PAGES);

  function mark(start: number, pages: number): void {
    for (let block = firstBlock(start); block < endBlock(start, pages); block++) {
      if (present[block] === 0) {
        present[block] = 1;
        presentBlocks++;
      }
    }
  }

  /** Runs of up to STEP_BLOCKS neighbouring blocks that all satisfy the test. */
  function runs(test: (block: number) => boolean, blocksMax: number): PageRange[] {
    const found: PageRange[] = [];
    let start = -1;
    let taken = 0;
    for (let block = 0; block <= blocks; block++) {
      const good = block < blocks && taken < blocksMax && test(block);
      if (good) {
        if (start < 0) start = block;
        taken++;
      }
      if (start >= 0 && (!good || block - start === STEP_BLOCKS - 1)) {
        const end = good ? block + 1 : block;
        found.push({
          start: start * BLOCK_PAGES,
          pages: Math.min(end * BLOCK_PAGES, totalPages) - start * BLOCK_PAGES,
        });
        start = -1;
      }
      if (taken >= blocksMax && start < 0) break;
    }
    return found;
  }

  return {
    touched: mark,
    isPresent: (start, pages) =>
      present.subarray(firstBlock(start), endBlock(start, pages)).every((flag) => flag === 1),
    freed(start, pages, nowMs) {
      freedAtMs.fill(nowMs, firstBlock(start), endBlock(start, pages));
    },
    punchable(allocator, nowMs) {
      const before = nowMs - KEEP_FREE_MS;
      return runs(
        (block) =>
          present[block] === 1 &&
          (freedAtMs[block] ?? 0) <= before &&
          allocator.isFree(block * BLOCK_PAGES, pagesOfBlock(block)),
        64,
      );
    },
    punched(start, pages) {
      for (let block = firstBlock(start); block < endBlock(start, pages); block++) {
        if (present[block] === 1) presentBlocks--;
        present[block] = 0;
      }
    },
    populateAhead(allocator, aheadPages) {
      let ready = 0;
      for (const range of allocator.freeRanges()) {
        for (let block = firstBlock(range.start); block < endBlock(range.start, range.pages); block++) {
          if (present[block] === 1) ready += BLOCK_PAGES;
        }
        if (ready >= aheadPages) return [];
      }
      const wanted = runs(
        (block) => present[block] === 0 && allocator.isFree(block * BLOCK_PAGES, pagesOfBlock(block)),
        Math.ceil((aheadPages - ready) / BLOCK_PAGES),
      );
      for (const range of wanted) mark(range.start, range.pages);
      return wanted;
    },
    get presentPages() {
      return Math.min(totalPages, presentBlocks * BLOCK_PAGES);
    },
  };
}
