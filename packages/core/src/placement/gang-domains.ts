/**
 * A gang in one domain of a topology (a rack, a zone), else in the fewest.
 *
 * 1. What part of the gang each domain could hold at most is estimated.
 * 2. The domains that may hold all of it are tried, the tightest first, so that large ones stay whole.
 * 3. Else the largest are taken together, as many as may be enough, and one more as often as they are not. Of those that
 *    would do as the last one the tightest is taken.
 */
import { type Candidate, type Kind, type Shares, slotsFor } from "./gang-kinds.ts";
import type { Node } from "./node-state.ts";

interface Domain {
  readonly candidates: readonly Candidate[];
  /** Bundles of the group are there already. */
  readonly isHome: boolean;
  /** 1: it may hold the whole gang. */
  readonly part: number;
}

interface About {
  readonly topology: string;
  readonly round: number;
  readonly onePerNode: boolean;
  /** Where other bundles of the group are. */
  readonly placed: readonly Node[];
}

/** @param attempt places the whole gang on these, or nothing; it leaves them as they are. */
export function inFewestDomains(
  candidates: readonly Candidate[],
  kinds: readonly Kind[],
  about: About,
  attempt: (candidates: readonly Candidate[]) => Shares,
): Shares {
  const domains = domainsOf(candidates, kinds, about);
  const home = domains.filter(({ isHome }) => isHome);
  if (home.length > 0) {
    // The rest of a group belongs where the others are.
    const found = attempt(home.flatMap((domain) => domain.candidates));
    if (found) return found;
  } else {
    for (const domain of domains.filter(({ part }) => part >= 1).sort((a, b) => a.part - b.part)) {
      const found = attempt(domain.candidates);
      if (found) return found;
    }
  }
  const ordered = domains.sort((a, b) => Number(b.isHome) - Number(a.isHome) || b.part - a.part);
  const join = (list: readonly Domain[]): Shares => attempt(list.flatMap((domain) => domain.candidates));
  let count = Math.min(ordered.length, Math.max(2, home.length + 1));
  while (count < ordered.length && sumOf(ordered.slice(0, count)) < 1 - ROUNDING) count++;
  for (let tries = 0; count <= ordered.length; tries++) {
    const without = ordered.slice(0, count - 1);
    const lacking = 1 - sumOf(without) - ROUNDING;
    const last = ordered
      .slice(count - 1)
      .reverse()
      .find(({ part }) => part >= lacking);
    const found = (last && join([...without, last])) ?? join(ordered.slice(0, count));
    if (found || count === ordered.length) return found;
    count = Math.min(ordered.length, tries < EXACT_STEPS ? count + 1 : Math.ceil(count * 1.25));
  }
  return undefined;
}

/** After so many domains more than estimated, it is no longer one at a time. */
const EXACT_STEPS = 8;
/** Of the sum of parts. */
const ROUNDING = 1e-9;

const sumOf = (domains: readonly Domain[]): number => domains.reduce((sum, { part }) => sum + part, 0);

function domainsOf(
  candidates: readonly Candidate[],
  kinds: readonly Kind[],
  { topology, round, onePerNode, placed }: About,
): Domain[] {
  const home = new Set(placed.map(({ state }) => state.labels[topology]));
  const byValue = new Map<string | undefined, Candidate[]>();
  for (const candidate of candidates) {
    const value = candidate.node.state.labels[topology];
    const list = byValue.get(value);
    if (list) list.push(candidate);
    else byValue.set(value, [candidate]);
  }
  // Nodes without the label are in nobody's domain: they are used when all others are not enough.
  return [...byValue].map(([value, list]) => ({
    candidates: list,
    isHome: value !== undefined && home.has(value),
    part: value === undefined ? 0 : partOf(list, kinds, round, onePerNode),
  }));
}

/** An upper bound: as if each kind, and each resource, were alone. */
function partOf(list: readonly Candidate[], kinds: readonly Kind[], round: number, onePerNode: boolean): number {
  let part = Number.POSITIVE_INFINITY;
  const needs: Record<string, number> = {};
  let bundles = 0;
  for (const kind of kinds) {
    let places = 0;
    for (const candidate of list) {
      const count = slotsFor(candidate, kind, round);
      places += onePerNode ? Math.min(1, count) : count;
    }
    part = Math.min(part, places / kind.indexes.length);
    bundles += kind.indexes.length;
    for (const name in kind.units) needs[name] = (needs[name] ?? 0) + (kind.units[name] ?? 0) * kind.indexes.length;
  }
  if (onePerNode) part = Math.min(part, list.length / bundles);
  for (const name in needs) {
    let free = 0;
    for (const candidate of list) free += Math.max(0, candidate.free.units[name] ?? 0);
    part = Math.min(part, free / Math.max(1, needs[name] ?? 0));
  }
  return part;
}
