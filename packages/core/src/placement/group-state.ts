/** A group, and what of it is reserved where. */
import type { NodeId } from "../base/ids.ts";
import { kindsOf } from "./gang-kinds.ts";
import type { GroupRecord, GroupSpec } from "./group-protocol.ts";
import { Shape } from "./shape.ts";

export type Phase = "preparing" | "prepared" | "committing" | "committed" | "returning";

export interface Attempt {
  readonly number: number;
  /** How many nodes have not prepared. */
  unprepared: number;
  /** Nodes may use what they prepare, which nobody does before control has said where something may run. */
  readonly isOnePhase: boolean;
}

/** The bundles that one attempt puts on one node. */
export interface Reservation {
  readonly attempt: Attempt;
  readonly nodeId: NodeId;
  readonly indexes: readonly number[];
  /** Changed by {@link setPhase}. */
  phase: Phase;
  /** Returning, since it has another place: what runs there may go on until its node, which is drained, ends. */
  hasMoved?: boolean;
  /** Of the view; the node's reports count it from when it has prepared and said so. */
  readonly holds: readonly number[];
}

export interface Group {
  readonly spec: GroupSpec;
  readonly createdMs: number;
  /** In the order of arrival, for those of the same millisecond. */
  readonly number: number;
  /** By {@link reservationKey}. */
  readonly reservations: Map<string, Reservation>;
  /** By bundle, see {@link coverNow}; undefined when it is to be found out anew. */
  cover: readonly (Reservation | undefined)[] | undefined;
  /** How many of them each node has. */
  readonly onNode: Map<NodeId, number>;
  /** How many are neither committed nor going back. */
  underWay: number;
  isRemoving: boolean;
  /** It had a place at some time: what is to run in it may wait at nodes for room in its bundles. */
  wasPlaced: boolean;
  /** It waits for the quota of its job. */
  isOverQuota: boolean;
  /** Every bundle had its place at some time since it was last told that it lost one. */
  isReady: boolean;
  /** Since when it waits for room; also while an attempt is under way, which may fail. */
  waitingSinceMs: number | undefined;
  /** Of the view, before its last attempt: what that saw can be seen again. */
  decidedAtVersion: number | undefined;
  /** In which round of the engine it was last found not to fit; 0: it is new. */
  triedInRound: number;
  /** Equal for groups that fit when the other fits; undefined when that is found out quickly, or depends on more. */
  readonly signature: string | undefined;
  /** Groups of one bundle are placed as single demands are. */
  readonly single: Shape | undefined;
  /** Nodes that refused not long ago: what is known of them is old. */
  readonly refusedBy: Map<NodeId, { readonly atMs: number; readonly reason: string }>;
  /** With which members of the cluster it could never fit, and since when. */
  infeasible: { readonly membersVersion: number; readonly sinceMs: number; readonly message: string } | undefined;
  feasibleVersion: number;
  isToldInfeasible: boolean;
  /** Before that it is not looked at again for whether others' work might end for it. */
  endingAgainMs: number;
  /** When that was last looked at, not enough might. */
  isNotEnough: boolean;
}

export function newGroup(spec: GroupSpec, createdMs: number, number: number): Group {
  const [bundle] = spec.bundles;
  const isSingle = spec.bundles.length === 1 && spec.topology === undefined && bundle !== undefined;
  return {
    spec,
    createdMs,
    number,
    reservations: new Map(),
    cover: undefined,
    onNode: new Map(),
    underWay: 0,
    isRemoving: false,
    wasPlaced: false,
    isOverQuota: false,
    isReady: false,
    waitingSinceMs: undefined,
    decidedAtVersion: undefined,
    triedInRound: 0,
    signature: isSingle ? undefined : signatureOf(spec),
    single: isSingle ? new Shape(nameOf(spec), bundle.units, bundle.selectors) : undefined,
    refusedBy: new Map(),
    infeasible: undefined,
    feasibleVersion: -1,
    isToldInfeasible: false,
    endingAgainMs: 0,
    isNotEnough: false,
  };
}

function signatureOf({ bundles, strategy, topology }: GroupSpec): string {
  const kinds = kindsOf(bundles).map(({ units, selectors, indexes }) => [
    indexes.length,
    units,
    selectors.map(({ key }) => key),
  ]);
  return JSON.stringify([strategy, topology ?? null, kinds]);
}

export const nameOf = (spec: GroupSpec): string => `placement group ${spec.name ?? spec.groupId}`;

export const reservationKey = (attempt: number, nodeId: NodeId): string => `${attempt} ${nodeId}`;

/** Phases in which a group waits for its nodes. */
const UNDER_WAY: Readonly<Record<Phase, number>> = {
  preparing: 1,
  prepared: 1,
  committing: 1,
  committed: 0,
  returning: 0,
};

export function addReservation(group: Group, reservation: Reservation): void {
  const { attempt, nodeId, phase } = reservation;
  group.reservations.set(reservationKey(attempt.number, nodeId), reservation);
  group.cover = undefined;
  group.onNode.set(nodeId, (group.onNode.get(nodeId) ?? 0) + 1);
  group.underWay += UNDER_WAY[phase];
}

/** True when the node has nothing of the group any more. */
export function removeReservation(group: Group, { attempt, nodeId, phase }: Reservation): boolean {
  group.reservations.delete(reservationKey(attempt.number, nodeId));
  group.cover = undefined;
  group.underWay -= UNDER_WAY[phase];
  const left = (group.onNode.get(nodeId) ?? 0) - 1;
  if (left > 0) group.onNode.set(nodeId, left);
  else group.onNode.delete(nodeId);
  return left <= 0;
}

export function setPhase(group: Group, reservation: Reservation, phase: Phase): void {
  group.underWay += UNDER_WAY[phase] - UNDER_WAY[reservation.phase];
  reservation.phase = phase;
  group.cover = undefined;
}

/** The last reservation of each bundle that counts; those on nodes in `leaving` are to be replaced. */
export function coverOf(group: Group, leaving: (nodeId: NodeId) => boolean): (Reservation | undefined)[] {
  const cover: (Reservation | undefined)[] = new Array(group.spec.bundles.length).fill(undefined);
  for (const one of group.reservations.values()) {
    if (one.phase === "returning" || leaving(one.nodeId)) continue;
    for (const index of one.indexes) {
      const other = cover[index];
      if (!other || other.attempt.number < one.attempt.number) cover[index] = one;
    }
  }
  return cover;
}

/** The same with no node left out: what runs in the group asks for it again and again. */
export function coverNow(group: Group): readonly (Reservation | undefined)[] {
  group.cover ??= coverOf(group, () => false);
  return group.cover;
}

export function recordOf(group: Group): GroupRecord {
  const reservations = [...group.reservations.values()]
    .filter(({ phase }) => phase === "committing" || phase === "committed")
    .map(({ attempt, nodeId, indexes }) => ({ attempt: attempt.number, nodeId, indexes }));
  return { spec: group.spec, createdMs: group.createdMs, reservations };
}

/** Higher priority first, then the older. */
export function compareGroups(a: Group, b: Group): number {
  return b.spec.priority - a.spec.priority || a.createdMs - b.createdMs || a.number - b.number;
}
