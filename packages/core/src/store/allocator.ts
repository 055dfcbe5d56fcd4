/**
 * Which pages of the arena are free. Address-ordered first fit: low addresses are reused first, so the pages in use
 * stay few, present and warm in every process's page tables, and the far end of the arena need never be touched.
 *
 * Free ranges lie in two parallel arrays sorted by start; neighbours are always merged. An arena full of objects of
 * 100 KiB has a few ten thousand ranges at worst, where a scan costs some 10 µs; slabs make it rare.
 */
import { assert } from "../base/mod.ts";

export interface PageRange {
  readonly start: number;
  readonly pages: number;
}

export interface PageAllocator {
  /** The first page of a free range now taken, or undefined when no gap is long enough. */
  allocate(pages: number): number | undefined;
  /** Takes exactly this range when all of it is free. */
  take(start: number, pages: number): boolean;
  /** Gives back a range that was taken; it may be a part of what was taken at once. */
  free(start: number, pages: number): void;
  isFree(start: number, pages: number): boolean;
  /** In order of address. */
  freeRanges(): IterableIterator<PageRange>;
  largestFree(): number;
  readonly freePages: number;
  readonly totalPages: number;
}

export function createPageAllocator(totalPages: number): PageAllocator {
  const starts: number[] = [0];
  const lengths: number[] = [totalPages];
  let freePages = totalPages;

  /** Index of the first free range that starts after `page`. */
  function firstAfter(page: number): number {
    let low = 0;
    let high = starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (at(starts, middle) <= page) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  function isFree(start: number, pages: number): boolean {
    const index = firstAfter(start) - 1;
    return index >= 0 && at(starts, index) + at(lengths, index) >= start + pages;
  }

  function carve(index: number, start: number, pages: number): void {
    const rangeStart = at(starts, index);
    const rangeEnd = rangeStart + at(lengths, index);
    const before = start - rangeStart;
    const after = rangeEnd - (start + pages);
    if (before > 0 && after > 0) {
      lengths[index] = before;
      starts.splice(index + 1, 0, start + pages);
      lengths.splice(index + 1, 0, after);
    } else if (before > 0) {
      lengths[index] = before;
    } else if (after > 0) {
      starts[index] = start + pages;
      lengths[index] = after;
    } else {
      starts.splice(index, 1);
      lengths.splice(index, 1);
    }
    freePages -= pages;
  }

  return {
    allocate(pages) {
      if (pages > freePages) return undefined;
      for (let index = 0; index < starts.length; index++) {
        if (at(lengths, index) < pages) continue;
        const start = at(starts, index);
        carve(index, start, pages);
        return start;
      }
      return undefined;
    },

    take(start, pages) {
      if (!isFree(start, pages)) return false;
      carve(firstAfter(start) - 1, start, pages);
      return true;
    },

    free(start, pages) {
      assert(
        pages > 0 && start >= 0 && start + pages <= totalPages,
        `free of pages ${start}+${pages} outside the arena`,
      );
      const next = firstAfter(start);
      const previous = next - 1;
      const previousEnd = previous >= 0 ? at(starts, previous) + at(lengths, previous) : -1;
      // Freeing twice would hand one range to two objects: the worst fault a store can have, so it is checked always.
      assert(previousEnd <= start, `pages ${start}+${pages} are free already`);
      assert(next === starts.length || start + pages <= at(starts, next), `pages ${start}+${pages} are free already`);
      const joinsPrevious = previousEnd === start;
      const joinsNext = next < starts.length && at(starts, next) === start + pages;
      if (joinsPrevious && joinsNext) {
        lengths[previous] = at(lengths, previous) + pages + at(lengths, next);
        starts.splice(next, 1);
        lengths.splice(next, 1);
      } else if (joinsPrevious) {
        lengths[previous] = at(lengths, previous) + pages;
      } else if (joinsNext) {
        starts[next] = start;
        lengths[next] = at(lengths, next) + pages;
      } else {
        starts.splice(next, 0, start);
        lengths.splice(next, 0, pages);
      }
      freePages += pages;
    },

    isFree,

    *freeRanges() {
      for (let index = 0; index < starts.length; index++) yield { start: at(starts, index), pages: at(lengths, index) };
    },

    largestFree() {
      let largest = 0;
      for (const length of lengths) if (length > largest) largest = length;
      return largest;
    },

    get freePages() {
      return freePages;
    },
    totalPages,
  };
}

function at(values: readonly number[], index: number): number {
  const value = values[index];
  assert(value !== undefined, "allocator index out of range");
  return value;
}
