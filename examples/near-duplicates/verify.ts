/** The exact check of candidate pairs: the Jaccard similarity of their sets of shingles. */
import type { ShingleSets } from "./sketch.ts";

/** A file by batch and place in it. */
export interface Place {
  readonly sets: ShingleSets;
  readonly index: number;
}

/** |A ∩ B| / |A ∪ B|; 1 for equal content, and 0 where there are no shingles to compare. */
export function similarity(a: Place, b: Place): number {
  if (isSameContent(a, b)) return 1;
  const left = shinglesOfPlace(a);
  const right = shinglesOfPlace(b);
  if (left.length === 0 || right.length === 0) return 0;
  let shared = 0;
  let atLeft = 0;
  let atRight = 0;
  while (atLeft < left.length && atRight < right.length) {
    const l = left[atLeft] ?? 0;
    const r = right[atRight] ?? 0;
    if (l === r) shared++;
    if (l <= r) atLeft++;
    if (r <= l) atRight++;
  }
  return shared / (left.length + right.length - shared);
}

function isSameContent(a: Place, b: Place): boolean {
  const low = a.sets.contents[a.index * 2];
  const high = a.sets.contents[a.index * 2 + 1];
  // Zeros stand for a file that could not be read: nothing is known about it.
  if (low === 0 && high === 0) return false;
  return low === b.sets.contents[b.index * 2] && high === b.sets.contents[b.index * 2 + 1];
}

function shinglesOfPlace({ sets, index }: Place): Uint32Array {
  return sets.shingles.subarray(sets.starts[index] ?? 0, sets.starts[index + 1] ?? 0);
}
