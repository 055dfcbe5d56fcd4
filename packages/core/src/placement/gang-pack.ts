/**
 * Few nodes for a gang.
 *
 * `pack` takes the node that can hold the most of what is left, again and again; of equal ones the one with the least left
 * over. `fill` looks only at whether there is room at all: the kind with the fewest places first, into the nodes with the
 * fewest places for it. It finds room sometimes where `pack` does not. Neither is exact: that would be bin packing.
 */
import { slots, takeFrom } from "./amounts.ts";
import { type Candidate, type Kind, mayTake, put, type Share, type Shares, sizer, slotsFor } from "./gang-kinds.ts";
import { Heap } from "./heap.ts";

interface Offer {
  readonly candidate: Candidate;
  /** How many of each kind, in the order of the kinds. */
  counts: readonly number[];
  /** The size of what it would hold. */
  value: number;
  /** The size of what it would have left. */
  left: number;
}

export function pack(candidates: readonly Candidate[], kinds: readonly Kind[], round: number): Shares {
  const sizeOf = sizer(candidates);
  const sized = kinds.map((kind) => ({ kind, size: sizeOf(kind.units), missing: kind.indexes.length }));
  // The largest first: what is small fits into what is left.
  sized.sort((a, b) => b.size - a.size);
  let missing = sized.reduce((sum, one) => sum + one.missing, 0);

  const offerOf = (candidate: Candidate): Offer => {
    let { free } = candidate;
    let value = 0;
    const counts = sized.map(({ kind, size, missing: wanted }) => {
      if (wanted === 0 || !mayTake(candidate, kind, round)) return 0;
      const count = Math.min(wanted, slots(free, kind.units));
      if (count === 0) return 0;
      free = takeFrom(free, kind.units, count);
      // A bundle of nothing has no size, and is to be placed all the same.
      value += count * (size + 1e-6);
      return count;
    });
    return { candidate, counts, value, left: sizeOf(free.units) };
  };

  const heap = new Heap<Offer>(isBetter);
  for (const candidate of candidates) heap.push(offerOf(candidate));
  const shares: Share[] = [];
  while (missing > 0) {
    const old = heap.pop();
    if (!old || old.value === 0) return undefined;
    // What it could hold shrinks with what is left to place. So an offer that is as good as it was is the best.
    const offer = offerOf(old.candidate);
    const next = heap.first();
    if (next && isBetter(next, offer)) {
      heap.push(offer);
      continue;
    }
    for (const [index, one] of sized.entries()) {
      const count = offer.counts[index] ?? 0;
      if (count === 0) continue;
      shares.push(put(offer.candidate, one.kind, count));
      one.missing -= count;
      missing -= count;
    }
  }
  return shares;
}

const isBetter = (a: Offer, b: Offer): boolean =>
  a.value !== b.value ? a.value > b.value : a.left !== b.left ? a.left < b.left : a.candidate.order < b.candidate.order;

/** All on one node: the one with the least left over. */
export function packStrictly(candidates: readonly Candidate[], kinds: readonly Kind[], round: number): Shares {
  const sizeOf = sizer(candidates);
  const sorted = [...kinds].sort((a, b) => sizeOf(b.units) - sizeOf(a.units));
  let best: Candidate | undefined;
  let bestLeft = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    let { free } = candidate;
    const isEnough = sorted.every((kind) => {
      if (!mayTake(candidate, kind, round) || slots(free, kind.units) < kind.indexes.length) return false;
      free = takeFrom(free, kind.units, kind.indexes.length);
      return true;
    });
    const left = isEnough ? sizeOf(free.units) : Number.POSITIVE_INFINITY;
    if (left < bestLeft) {
      best = candidate;
      bestLeft = left;
    }
  }
  return best && sorted.map((kind) => put(best, kind, kind.indexes.length));
}

export function fill(candidates: readonly Candidate[], kinds: readonly Kind[], round: number): Shares {
  const spare = new Map<Kind, number>();
  for (const kind of kinds) {
    let places = 0;
    for (const candidate of candidates) places += slotsFor(candidate, kind, round);
    spare.set(kind, places / kind.indexes.length);
  }
  const shares: Share[] = [];
  for (const kind of [...kinds].sort((a, b) => (spare.get(a) ?? 0) - (spare.get(b) ?? 0))) {
    const places = candidates
      .map((candidate) => ({ candidate, count: slotsFor(candidate, kind, round) }))
      .filter(({ count }) => count > 0)
      .sort((a, b) => a.count - b.count || a.candidate.order - b.candidate.order);
    let missing = kind.indexes.length;
    for (const { candidate, count } of places) {
      if (missing === 0) break;
      shares.push(put(candidate, kind, Math.min(missing, count)));
      missing -= Math.min(missing, count);
    }
    if (missing > 0) return undefined;
  }
  return shares;
}
