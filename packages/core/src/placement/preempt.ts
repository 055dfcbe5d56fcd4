/**
 * Whom to end so that something of higher priority has room: on one node, the fewest leases, and of equally few the
 * lowest priorities, then the newest. Only work that can be made again is ended.
 */
import type { NodeId } from "../base/ids.ts";
import type { ResourceUnits } from "../base/resources.ts";
import { type Free, fits, freeOf, withMore } from "./amounts.ts";
import type { ClusterView } from "./cluster-view.ts";
import { type GangPlan, type GangRequest, planGang } from "./gang.ts";
import { couldEverFit } from "./policy.ts";
import type { Shape } from "./shape.ts";

/** Something that runs. */
export interface Victim {
  /** The caller's own name for it. */
  readonly id: string;
  readonly nodeId: NodeId;
  readonly priority: number;
  /** It is made again without harm. */
  readonly isRetriable: boolean;
  readonly startedMs: number;
  readonly units: ResourceUnits;
  /** What it has of each GPU of the node, by its place; without it, the GPUs that it frees are taken as whole ones. */
  readonly gpus?: readonly { readonly device: number; readonly units: number }[];
}

export interface Preemption {
  readonly nodeId: NodeId;
  readonly victims: readonly Victim[];
}

/** Sets of up to so many leases are searched one by one; larger ones are built greedily and thinned out. */
const EXACT_MAX = 3;
/** And no more than so many sets on one node. */
const SETS_MAX = 20_000;

/** Undefined when no such set makes room, or none is needed. */
export function preempt(
  view: ClusterView,
  demand: { readonly shape: Shape; readonly priority: number; readonly only?: NodeId },
  victims: readonly Victim[],
): Preemption | undefined {
  const { shape, priority, only } = demand;
  const byNode = mayEnd(victims, priority, only);
  // The first selector for which room can be made wins, as when something is placed.
  for (let selector = 0; selector < shape.selectors.length; selector++) {
    let best: Preemption | undefined;
    for (const [nodeId, list] of byNode) {
      const node = view.node(nodeId);
      if (!couldEverFit(node, shape, selector)) continue;
      const free = atLeastNothing(node.state.free);
      const set = smallestSet(list, (ended) => fits(without(free, ended), shape.units));
      if (set && set.length > 0 && (!best || compareSets(set, best.victims) < 0)) best = { nodeId, victims: set };
    }
    if (best) return best;
  }
  return undefined;
}

/**
 * Where the bundles of a gang could go: work ends on as few nodes as are enough, those with the lowest priorities and the fewest
 * leases first. Undefined when that makes no room, or none is needed. Which leases end on a node is that node's to say.
 */
export function preemptForGang(
  view: ClusterView,
  gang: GangRequest & { readonly priority: number },
  victims: readonly Victim[],
): GangPlan {
  const byNode = mayEnd(victims, gang.priority);
  const nodes = [...byNode].flatMap(([nodeId, list]) => {
    const node = view.node(nodeId);
    const free = node && gang.freeOn(node);
    return free ? [{ node, list, freed: without(atLeastNothing(free), list) }] : [];
  });
  nodes.sort((a, b) => compareNodes(a.list, b.list));
  const planWith = (count: number): GangPlan => {
    const freed = new Map(nodes.slice(0, count).map((each) => [each.node, each.freed]));
    return planGang(view.nodes(), { ...gang, freeOn: (node) => freed.get(node) ?? gang.freeOn(node) });
  };
  if (planWith(0)) return undefined;
  // What fits when some nodes are freed fits when more are.
  let low = 1;
  let high = nodes.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (planWith(middle)) high = middle;
    else low = middle + 1;
  }
  return planWith(low);
}

function mayEnd(victims: readonly Victim[], priority: number, only?: NodeId): Map<NodeId, Victim[]> {
  const byNode = new Map<NodeId, Victim[]>();
  for (const victim of [...victims].sort(worstFirst)) {
    if (!victim.isRetriable || victim.priority >= priority) continue;
    if (only !== undefined && victim.nodeId !== only) continue;
    const list = byNode.get(victim.nodeId);
    if (list) list.push(victim);
    else byNode.set(victim.nodeId, [victim]);
  }
  return byNode;
}

/** By the highest priority that would be ended, then by how many. */
function compareNodes(a: readonly Victim[], b: readonly Victim[]): number {
  return (a.at(-1)?.priority ?? 0) - (b.at(-1)?.priority ?? 0) || a.length - b.length;
}

/** The lowest priority first, then the newest; ids only so that the same input gives the same answer. */
function worstFirst(a: Victim, b: Victim): number {
  return a.priority - b.priority || b.startedMs - a.startedMs || (a.id < b.id ? -1 : 1);
}

function compareSets(a: readonly Victim[], b: readonly Victim[]): number {
  if (a.length !== b.length) return a.length - b.length;
  for (const [index, one] of a.entries()) {
    const other = b[index];
    const order = other ? one.priority - other.priority || other.startedMs - one.startedMs : 0;
    if (order !== 0) return order;
  }
  return 0;
}

/** @param victims the worst first */
function smallestSet(
  victims: readonly Victim[],
  makesRoom: (set: readonly Victim[]) => boolean,
): readonly Victim[] | undefined {
  if (makesRoom([])) return [];
  if (!makesRoom(victims)) return undefined;
  let tried = 0;
  for (let size = 1; size <= Math.min(EXACT_MAX, victims.length); size++) {
    // In the order of the list, so the first that is found is the best of its size.
    const found = firstSet(victims, size, (set) => {
      tried++;
      return tried > SETS_MAX || makesRoom(set);
    });
    if (tried > SETS_MAX) break;
    if (found) return found;
  }
  return greedySet(victims, makesRoom);
}

function firstSet(
  victims: readonly Victim[],
  size: number,
  isFound: (set: readonly Victim[]) => boolean,
  from = 0,
  chosen: readonly Victim[] = [],
): readonly Victim[] | undefined {
  if (chosen.length === size) return isFound(chosen) ? chosen : undefined;
  for (let index = from; index <= victims.length - (size - chosen.length); index++) {
    const victim = victims[index];
    if (!victim) continue;
    const found = firstSet(victims, size, isFound, index + 1, [...chosen, victim]);
    if (found) return found;
  }
  return undefined;
}

/** The largest first until there is room, then without those that turn out not to be needed, the best kept first. */
function greedySet(victims: readonly Victim[], makesRoom: (set: readonly Victim[]) => boolean): readonly Victim[] {
  const bySize = [...victims].sort((a, b) => weight(b) - weight(a) || worstFirst(a, b));
  let set: Victim[] = [];
  for (const victim of bySize) {
    set.push(victim);
    if (makesRoom(set)) break;
  }
  set.sort(worstFirst);
  for (const victim of [...set].reverse()) {
    const rest = set.filter((one) => one !== victim);
    if (makesRoom(rest)) set = rest;
  }
  return set;
}

const weight = ({ units }: Victim): number =>
  Object.values(units).reduce((sum, value) => sum + Math.min(value, 1e9), 0);

/**
 * What is asked for on a node beyond what is free there waits, and takes nothing of what comes free for others; or it was granted
 * there, and control has not heard it.
 */
function atLeastNothing({ units, gpus }: Free): Free {
  return {
    units: Object.fromEntries(Object.entries(units).map(([name, amount]) => [name, Math.max(0, amount)])),
    gpus,
  };
}

function without(free: Free, victims: readonly Victim[]): Free {
  let left = free;
  for (const { units, gpus: parts } of victims) {
    const { gpu: _parts, ...others } = units;
    left = withMore(left, parts ? others : units);
    if (!parts) continue;
    const gpus = [...left.gpus];
    for (const { device, units: part } of parts) gpus[device] = (gpus[device] ?? 0) + part;
    left = freeOf(left.units, gpus);
  }
  return left;
}
