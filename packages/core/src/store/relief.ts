/**
 * Which objects leave memory when it runs short. Two aims at once: free a gap long enough for the request that waits
 * first (pinned objects and slabs stay where they are, so oldest-first alone may never make one), and write files
 * large enough to be worth a disk's time.
 */
import type { PageRange } from "./allocator.ts";

export interface Candidate {
  readonly start: number;
  readonly pages: number;
}

/** At most this many objects in one file, so that one late reader never keeps too much on disk. */
export const SPILL_OBJECTS_MAX = 2_000;
export const SPILL_BATCH_BYTES = 100 * 2 ** 20;

/**
 * The cheapest set of candidates whose pages, with free ones between them, form a gap of `pages`: fewest pages to
 * move. Undefined when what cannot move leaves no such gap.
 */
export function planWindow<C extends Candidate>(
  pages: number,
  free: Iterable<PageRange>,
  candidates: Iterable<C>,
): readonly C[] | undefined {
  const segments: { readonly start: number; readonly pages: number; readonly candidate?: C }[] = [...free];
  for (const candidate of candidates) segments.push({ start: candidate.start, pages: candidate.pages, candidate });
  segments.sort((a, b) => a.start - b.start);

  let best: { readonly first: number; readonly last: number } | undefined;
  let bestCost = Number.POSITIVE_INFINITY;
  let first = 0;
  let span = 0;
  let cost = 0;
  for (let last = 0; last < segments.length; last++) {
    const segment = segments[last];
    const previous = segments[last - 1];
    if (!segment) break;
    if (previous && previous.start + previous.pages !== segment.start) {
      first = last;
      span = 0;
      cost = 0;
    }
    span += segment.pages;
    if (segment.candidate) cost += segment.pages;
    // Drop from the left whatever the gap does not need.
    for (let left = segments[first]; left && first < last && span - left.pages >= pages; left = segments[first]) {
      span -= left.pages;
      if (left.candidate) cost -= left.pages;
      first++;
    }
    if (span >= pages && cost < bestCost) {
      bestCost = cost;
      best = { first, last };
    }
  }
  if (!best) return undefined;
  return segments.slice(best.first, best.last + 1).flatMap((segment) => (segment.candidate ? [segment.candidate] : []));
}

/** `needed` first, then the oldest, until the file is large enough or holds as many objects as it may. */
export function fillBatch<C extends Candidate>(
  needed: readonly C[],
  oldestFirst: Iterable<C>,
  pagesWanted: number,
): readonly C[] {
  const batch = new Set(needed);
  let pages = 0;
  for (const candidate of batch) pages += candidate.pages;
  for (const candidate of oldestFirst) {
    if (pages >= pagesWanted || batch.size >= SPILL_OBJECTS_MAX) break;
    if (batch.has(candidate)) continue;
    batch.add(candidate);
    pages += candidate.pages;
  }
  return [...batch].slice(0, SPILL_OBJECTS_MAX);
}
