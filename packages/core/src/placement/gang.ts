/**
 * Places a gang, all of its bundles or none, on a view. Nothing is taken off: the answer is a plan.
 *
 * What bundles have in common is worked out once (kinds), so ten thousand equal bundles are one kind with a count.
 */
import { type Free, slots } from "./amounts.ts";
import { inFewestDomains } from "./gang-domains.ts";
import { type Bundle, type Candidate, type Kind, kindsOf, mayTake, roundsOf, type Shares } from "./gang-kinds.ts";
import { fill, pack, packStrictly } from "./gang-pack.ts";
import { spread, spreadStrictly } from "./gang-spread.ts";
import { hasGpu, type Node, offersNothing } from "./node-state.ts";

/** STRICT: without exception; else as far as possible. */
export type GangStrategy = "PACK" | "SPREAD" | "STRICT_PACK" | "STRICT_SPREAD";

export interface GangRequest {
  /** Those to place. */
  readonly bundles: readonly Bundle[];
  readonly strategy: GangStrategy;
  /** A label key: one value of it for all bundles, else the fewest. */
  readonly topology?: string | undefined;
  /** Where other bundles of the group are. */
  readonly placed?: readonly Node[];
  /** What counts as free on a node; undefined: it is not to be used. */
  readonly freeOn: (node: Node) => Free | undefined;
}

/** A node for each bundle; undefined when there is no room for all. */
export type GangPlan = readonly Node[] | undefined;

export function planGang(nodes: Iterable<Node>, request: GangRequest): GangPlan {
  const kinds = kindsOf(request.bundles);
  const usable: { readonly node: Node; readonly free: Free }[] = [];
  for (const node of nodes) {
    if (node.state.status !== "alive" || offersNothing(node.state)) continue;
    const free = request.freeOn(node);
    if (free) usable.push({ node, free });
  }
  const here = new Map<Node, number>();
  for (const node of request.placed ?? []) here.set(node, (here.get(node) ?? 0) + 1);
  // Machines with GPUs are kept for those who want them while the others are enough.
  const wantsGpu = kinds.some(({ units }) => (units.gpu ?? 0) > 0);
  const plain = wantsGpu ? usable : usable.filter(({ node }) => !hasGpu(node.state));
  const sets = plain.length < usable.length ? [plain, usable] : [usable];
  for (let round = 0; round < roundsOf(kinds); round++) {
    for (const set of sets) {
      const candidates = set.map(({ node, free }, order) => ({ node, free, here: here.get(node) ?? 0, order }));
      if (!mayFit(candidates, kinds, round)) continue;
      const shares = place(candidates, kinds, request, round);
      if (shares) return nodesByBundle(shares, request.bundles.length);
    }
  }
  return undefined;
}

/** Whether each kind has enough places when it is alone: most gangs that do not fit are known by that. */
function mayFit(candidates: readonly Candidate[], kinds: readonly Kind[], round: number): boolean {
  return kinds.every((kind) => placesFor(candidates, kind, round) >= kind.indexes.length);
}

/** How many bundles of the kind have room, up to as many as there are. */
function placesFor(candidates: readonly Candidate[], kind: Kind, round: number): number {
  let places = 0;
  for (const candidate of candidates) {
    if (places >= kind.indexes.length) break;
    if (mayTake(candidate, kind, round)) places += slots(candidate.free, kind.units);
  }
  return Math.min(places, kind.indexes.length);
}

function place(candidates: readonly Candidate[], kinds: readonly Kind[], request: GangRequest, round: number): Shares {
  const { strategy, topology } = request;
  const attempt = (set: readonly Candidate[]): Shares => {
    for (const policy of POLICIES[strategy]) {
      const copy = set.map((candidate, order) => ({ ...candidate, order }));
      const shares = policy(copy, kinds, round);
      if (shares) return shares;
    }
    return undefined;
  };
  if (topology === undefined || strategy === "STRICT_PACK") return attempt(candidates);
  const about = { topology, round, onePerNode: strategy === "STRICT_SPREAD", placed: request.placed ?? [] };
  return inFewestDomains(candidates, kinds, about, attempt);
}

/** Tried in order. */
const POLICIES = {
  PACK: [pack, fill],
  SPREAD: [spread, fill],
  STRICT_PACK: [packStrictly],
  STRICT_SPREAD: [spreadStrictly],
} as const;

/** Bundles with near numbers come to near nodes: ranks that speak most to their neighbours share a node or a rack. */
function nodesByBundle(shares: NonNullable<Shares>, bundles: number): readonly Node[] {
  const nodes: Node[] = new Array(bundles);
  const used = new Map<Kind, number>();
  for (const { kind, candidate, count } of [...shares].sort((a, b) => a.candidate.order - b.candidate.order)) {
    const from = used.get(kind) ?? 0;
    for (const index of kind.indexes.slice(from, from + count)) nodes[index] = candidate.node;
    used.set(kind, from + count);
  }
  return nodes;
}

export interface Shortage {
  readonly kind: Kind;
  /** So many of them have room when nothing else of the gang is placed. */
  readonly fits: number;
}

/** What of a gang has too little room, kind by kind; empty when it is only together that they do not fit. */
export function shortagesOf(nodes: Iterable<Node>, request: GangRequest): readonly Shortage[] {
  const candidates: Candidate[] = [];
  for (const node of nodes) {
    if (node.state.status !== "alive" || offersNothing(node.state)) continue;
    const free = request.freeOn(node);
    if (free) candidates.push({ node, free, here: 0, order: candidates.length });
  }
  const kinds = kindsOf(request.bundles);
  const lastRound = roundsOf(kinds) - 1;
  return kinds
    .map((kind) => ({ kind, fits: placesFor(candidates, kind, lastRound) }))
    .filter(({ kind, fits }) => fits < kind.indexes.length);
}
