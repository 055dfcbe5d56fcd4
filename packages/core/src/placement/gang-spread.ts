/** Many nodes for a gang: on as many as there are, or no two bundles on one node. */
import { fits } from "./amounts.ts";
import { type Candidate, type Kind, mayTake, put, type Share, type Shares, slotsFor } from "./gang-kinds.ts";
import { Heap } from "./heap.ts";

/** Each bundle goes to the node that has the fewest of the group; of equal ones to the least utilised. */
export function spread(candidates: readonly Candidate[], kinds: readonly Kind[], round: number): Shares {
  const places = new Map(
    kinds.map((kind) => [kind, candidates.filter((one) => slotsFor(one, kind, round) > 0).length] as const),
  );
  // Who has the least choice goes first.
  const sorted = [...kinds].sort((a, b) => (places.get(a) ?? 0) - (places.get(b) ?? 0));
  const heap = new Heap<Candidate>(isEmptier);
  for (const candidate of candidates) heap.push(candidate);
  const shares: Share[] = [];
  for (const kind of sorted) {
    // What has no room for one bundle of the kind has none for the next.
    const aside: Candidate[] = [];
    for (let missing = kind.indexes.length; missing > 0; missing--) {
      let candidate = heap.pop();
      while (candidate && slotsFor(candidate, kind, round) === 0) {
        aside.push(candidate);
        candidate = heap.pop();
      }
      if (!candidate) return undefined;
      shares.push(put(candidate, kind, 1));
      heap.push(candidate);
    }
    for (const candidate of aside) heap.push(candidate);
  }
  return shares;
}

function isEmptier(a: Candidate, b: Candidate): boolean {
  if (a.here !== b.here) return a.here < b.here;
  const difference = a.node.state.gpuUtilisation - b.node.state.gpuUtilisation;
  return difference !== 0 ? difference < 0 : a.order < b.order;
}

/**
 * No two bundles on one node, and on none that has one already. Exact: a bipartite matching of bundles and nodes, with
 * bundles of a kind as one, by augmenting paths over kinds.
 */
export function spreadStrictly(candidates: readonly Candidate[], kinds: readonly Kind[], round: number): Shares {
  const free = candidates.filter(({ here }) => here === 0).sort((a, b) => (isEmptier(a, b) ? -1 : 1));
  const able = new Map(
    kinds.map((kind) => {
      return [kind, free.filter((one) => mayTake(one, kind, round) && fits(one.free, kind.units))] as const;
    }),
  );
  const sorted = [...kinds].sort((a, b) => (able.get(a)?.length ?? 0) - (able.get(b)?.length ?? 0));
  const taken = new Map<Candidate, Kind>();
  for (const kind of sorted) {
    let missing = kind.indexes.length;
    for (const candidate of able.get(kind) ?? []) {
      if (missing === 0) break;
      if (taken.has(candidate)) continue;
      taken.set(candidate, kind);
      missing--;
    }
    for (; missing > 0; missing--) if (!augment(kind, able, taken)) return undefined;
  }
  return [...taken].map(([candidate, kind]) => put(candidate, kind, 1));
}

/** Finds one more node for the kind by moving others: along a shortest chain of kinds to a node that nobody has. */
function augment(start: Kind, able: ReadonlyMap<Kind, readonly Candidate[]>, taken: Map<Candidate, Kind>): boolean {
  const reached = new Map<Kind, { by: Kind; give: Candidate } | undefined>([[start, undefined]]);
  for (const kind of reached.keys()) {
    for (const candidate of able.get(kind) ?? []) {
      const holder = taken.get(candidate);
      if (holder === undefined) {
        // The kind takes this node; what it gives up goes to whom it was reached by, and so on.
        taken.set(candidate, kind);
        let at: Kind = kind;
        for (let step = reached.get(at); step; step = reached.get(at)) {
          taken.set(step.give, step.by);
          at = step.by;
        }
        return true;
      }
      if (!reached.has(holder)) reached.set(holder, { by: kind, give: candidate });
    }
  }
  return false;
}
