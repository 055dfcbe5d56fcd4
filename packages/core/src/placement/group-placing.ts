/** Where the bundles of a group that have no place could go, now or ever. */
import type { NodeId } from "../base/ids.ts";
import { describeResources, type Free, takeFrom } from "./amounts.ts";
import type { ClusterView } from "./cluster-view.ts";
import type { Earmark } from "./earmark.ts";
import { type GangRequest, planGang, shortagesOf } from "./gang.ts";
import { coverOf, type Group, nameOf } from "./group-state.ts";
import type { Node } from "./node-state.ts";
import { outcomeOf } from "./outcome.ts";
import { preemptForGang, type Victim } from "./preempt.ts";

/** A refusal says that what is known of a node is old; by then it is not. */
export const REFUSED_MS = 500;

export interface Placing {
  /** The bundles to place. */
  readonly indexes: readonly number[];
  /** A node for each; undefined when there is no room for all. */
  readonly plan: readonly Node[] | undefined;
}

/** After a restart of control a node is not known until it joins again; what it has is not to be replaced for that. */
export const isLeaving = (view: ClusterView, nodeId: NodeId): boolean => {
  const node = view.node(nodeId);
  return node !== undefined && node.state.status !== "alive";
};

/** Bundles without a place, and the nodes of the others. */
export function missingOf(view: ClusterView, group: Group): { indexes: number[]; placed: Node[] } {
  const indexes: number[] = [];
  const placed: Node[] = [];
  for (const [index, reservation] of coverOf(group, (nodeId) => isLeaving(view, nodeId)).entries()) {
    const node = reservation && view.node(reservation.nodeId);
    if (!reservation) indexes.push(index);
    else if (node) placed.push(node);
  }
  return { indexes, placed };
}

export function placeNow(view: ClusterView, group: Group, earmark: Earmark): Placing {
  const { indexes, placed } = missingOf(view, group);
  // Of what is kept for it the view says that it is not free.
  const seesAll = !earmark.isActive || earmark.isBefore(group);
  if (group.single && seesAll && group.refusedBy.size === 0) {
    const outcome = outcomeOf(view, { shape: group.single, strategy: "default" });
    if (outcome.kind !== "placed") return { indexes, plan: undefined };
    const { node, turnOf } = outcome.choice;
    turnOf?.turnTo(node);
    return { indexes, plan: [node] };
  }
  const freeOn = (node: Node): Free | undefined =>
    group.refusedBy.has(node.id) ? undefined : earmark.freeFor(group, node);
  return { indexes, plan: planGang(view.nodes(), { ...requestOf(group, indexes, placed), freeOn }) };
}

/** Where it would go if all leases had ended. */
export function placeWithoutLeases(view: ClusterView, group: Group): Placing {
  const { indexes, placed } = missingOf(view, group);
  const freeOn = ({ state }: Node): Free => takeFrom(state.capacity, state.lasting);
  return { indexes, plan: planGang(view.nodes(), { ...requestOf(group, indexes, placed), freeOn }) };
}

/** Where it would go if work of others ended for it, on the fewest nodes. */
export function placeByEnding(view: ClusterView, group: Group, earmark: Earmark, victims: readonly Victim[]): Placing {
  const { indexes, placed } = missingOf(view, group);
  const freeOn = (node: Node): Free => earmark.freeFor(group, node);
  const { priority } = group.spec;
  return { indexes, plan: preemptForGang(view, { ...requestOf(group, indexes, placed), freeOn, priority }, victims) };
}

/** Why it could not be placed though nothing else ran; undefined when it could. */
export function whyInfeasible(view: ClusterView, group: Group): string | undefined {
  if (group.single) {
    const outcome = outcomeOf(view, { shape: group.single, strategy: "default" });
    return outcome.kind === "refused" ? outcome.message : undefined;
  }
  const { indexes, placed } = missingOf(view, group);
  const own = ownUse(view, group);
  const freeOn = (node: Node): Free => own.get(node) ?? node.state.capacity;
  const request = { ...requestOf(group, indexes, placed), freeOn };
  if (planGang(view.nodes(), request)) return undefined;
  const short = shortagesOf(view.nodes(), request).map(({ kind, fits }) => {
    const count = kind.indexes.length.toLocaleString("en-US");
    return `${fits.toLocaleString("en-US")} of its ${count} bundles of ${describeResources(kind.units)}`;
  });
  const { strategy } = group.spec;
  const could =
    short.length > 0
      ? `could hold ${short.join(" and ")}`
      : `has room for each of its ${indexes.length.toLocaleString("en-US")} bundles, but not for all of them as ${strategy} wants`;
  return `${nameOf(group.spec)} can never be reserved: the cluster ${could}, even if nothing else ran. Ask for less, or add nodes`;
}

function requestOf({ spec }: Group, indexes: readonly number[], placed: readonly Node[]): Omit<GangRequest, "freeOn"> {
  const bundles = indexes.flatMap((index) => spec.bundles[index] ?? []);
  return { bundles, strategy: spec.strategy, topology: spec.topology, placed };
}

/** What nodes would have free if nothing but the group's own bundles were there. */
function ownUse(view: ClusterView, group: Group): Map<Node, Free> {
  const left = new Map<Node, Free>();
  for (const [index, reservation] of coverOf(group, (nodeId) => isLeaving(view, nodeId)).entries()) {
    const node = reservation && view.node(reservation.nodeId);
    const bundle = group.spec.bundles[index];
    if (node && bundle) left.set(node, takeFrom(left.get(node) ?? node.state.capacity, bundle.units));
  }
  return left;
}
