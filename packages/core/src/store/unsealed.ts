/**
 * Ranges that processes may write to: leased slabs and allocations that are not sealed yet. They go back only when
 * their process says so or is known to be dead; until then nobody else may be given them.
 */
import type { ProcessId } from "../base/mod.ts";
import type { PageRange } from "./allocator.ts";

export interface UnsealedRanges {
  add(processId: ProcessId, range: PageRange): void;
  /** Takes a part out; false when it is not wholly inside one of the process's ranges. */
  carve(processId: ProcessId, start: number, pages: number): boolean;
  /** Everything the process had. */
  takeAll(processId: ProcessId): readonly PageRange[];
  pagesByProcess(): ReadonlyMap<ProcessId, number>;
  readonly pages: number;
}

export function createUnsealedRanges(): UnsealedRanges {
  // A process has a slab or two and a few large allocations: short lists, searched in order.
  const ranges = new Map<ProcessId, PageRange[]>();
  let total = 0;
  return {
    add(processId, range) {
      const list = ranges.get(processId);
      if (list) list.push(range);
      else ranges.set(processId, [range]);
      total += range.pages;
    },
    carve(processId, start, pages) {
      const list = ranges.get(processId);
      if (!list || pages <= 0) return false;
      const index = list.findIndex((range) => range.start <= start && start + pages <= range.start + range.pages);
      const range = list[index];
      if (!range) return false;
      const rest: PageRange[] = [];
      if (range.start < start) rest.push({ start: range.start, pages: start - range.start });
      const end = range.start + range.pages;
      if (start + pages < end) rest.push({ start: start + pages, pages: end - start - pages });
      list.splice(index, 1, ...rest);
      if (list.length === 0) ranges.delete(processId);
      total -= pages;
      return true;
    },
    takeAll(processId) {
      const list = ranges.get(processId) ?? [];
      ranges.delete(processId);
      for (const range of list) total -= range.pages;
      return list;
    },
    pagesByProcess() {
      return new Map([...ranges].map(([id, list]) => [id, list.reduce((sum, range) => sum + range.pages, 0)]));
    },
    get pages() {
      return total;
    },
  };
}
