/** The bundles of a gang by kind, and the nodes that may take them: what the gang's policies work on. */
import type { ResourceUnits } from "../base/resources.ts";
import { type Free, slots, takeFrom } from "./amounts.ts";
import { ANY_NODE, admits, type Selector } from "./labels.ts";
import type { Node } from "./node-state.ts";

export interface Bundle {
  readonly units: ResourceUnits;
  /** Tried in order, for all bundles of the gang together; none: any node. */
  readonly selectors: readonly Selector[];
}

/** Equal bundles. */
export interface Kind {
  readonly units: ResourceUnits;
  readonly selectors: readonly Selector[];
  /** Places in the list of bundles. */
  readonly indexes: readonly number[];
}

/** A node, and what of it the gang may still use. */
export interface Candidate {
  readonly node: Node;
  free: Free;
  /** Bundles of the group that it has, those placed earlier included. */
  here: number;
  /** Lower goes first among equals: its domain, then its place in the view. */
  readonly order: number;
}

/** So many bundles of a kind on a node. */
export interface Share {
  readonly kind: Kind;
  readonly candidate: Candidate;
  readonly count: number;
}

/** Of all bundles that were asked for, or undefined: a gang is placed as a whole. */
export type Shares = readonly Share[] | undefined;

export function kindsOf(bundles: readonly Bundle[]): Kind[] {
  const kinds = new Map<string, { units: ResourceUnits; selectors: readonly Selector[]; indexes: number[] }>();
  for (const [index, { units, selectors }] of bundles.entries()) {
    const amounts = Object.keys(units)
      .sort()
      .map((name) => [name, units[name]]);
    const key = JSON.stringify([amounts, selectors.map((selector) => selector.key)]);
    const kind = kinds.get(key);
    if (kind) kind.indexes.push(index);
    else kinds.set(key, { units, selectors, indexes: [index] });
  }
  return [...kinds.values()];
}

/** @param round of the selectors: the first of each, then the second, ... */
export function mayTake({ node }: Candidate, { selectors }: Kind, round: number): boolean {
  if (selectors.length === 0) return true;
  return admits(selectors[Math.min(round, selectors.length - 1)] ?? ANY_NODE, node.state.labels);
}

export const roundsOf = (kinds: readonly Kind[]): number =>
  Math.max(1, ...kinds.map(({ selectors }) => selectors.length));

/** How many bundles of a kind the node has room for. */
export const slotsFor = (candidate: Candidate, kind: Kind, round: number): number =>
  mayTake(candidate, kind, round) ? slots(candidate.free, kind.units) : 0;

export function put(candidate: Candidate, kind: Kind, count: number): Share {
  candidate.free = takeFrom(candidate.free, kind.units, count);
  candidate.here += count;
  return { kind, candidate, count };
}

/** How large a bundle is: the sum of the shares of what the largest node has of each. */
export function sizer(candidates: readonly Candidate[]): (units: ResourceUnits) => number {
  const most: Record<string, number> = {};
  for (const { node } of candidates) {
    const { total } = node.state;
    for (const name in total) most[name] = Math.max(most[name] ?? 0, total[name] ?? 0);
  }
  return (units) => {
    let size = 0;
    for (const name in units) if (most[name]) size += Math.max(0, units[name] ?? 0) / (most[name] ?? 1);
    return size;
  };
}
