/**
 * How many leases of a shape an owner asks for at which node, in a placement group: as `LeaseDivider` does outside of groups.
 *
 * 1. What is granted stays. What was asked for and not granted stays while there is room for it in the bundles there.
 * 2. The rest goes to where there is room, as much as there is, and to all such nodes alike.
 * 3. What has room nowhere waits where it waited, or at all nodes of the group alike: what runs there may wait too, and make
 *    room. It moves when there is room elsewhere.
 */

import type { NodeId } from "../base/ids.ts";
import type { ResourceUnits } from "../base/resources.ts";
import { sum } from "../base/sum.ts";
import type { BundleChoice } from "../wire/messages.ts";
import type { GroupPlace, GroupPlaces, GroupRoom } from "./group-host.ts";

export interface GroupLeases {
  readonly bundle: BundleChoice;
  readonly units: ResourceUnits;
  /** In all, those it holds included. */
  readonly wanted: number;
  readonly granted: ReadonlyMap<NodeId, number>;
}

export type GroupDivision =
  | { readonly kind: "divided"; readonly at: ReadonlyMap<NodeId, number> }
  | Extract<GroupPlaces, { readonly kind: "refused" }>;

/** So many leases wait at a node for room in bundles there. */
const WAITING_PER_NODE_MAX = 64;

interface Ask {
  readonly granted: ReadonlyMap<NodeId, number>;
  readonly at: Map<NodeId, number>;
  readonly holds: number[];
}

export class GroupDivider {
  private readonly room: GroupRoom;
  private readonly asks = new Map<string, Ask>();

  constructor(room: GroupRoom) {
    this.room = room;
  }

  /** @param key names the owner and the shape; see {@link forget}. */
  divide(key: string, leases: GroupLeases): GroupDivision {
    const { bundle, units, wanted, granted } = leases;
    const before = this.asks.get(key);
    this.forget(key);
    // In use, though the node's report may not say so yet.
    for (const [nodeId, count] of before ? granted : []) {
      const since = count - (before?.granted.get(nodeId) ?? 0);
      if (since > 0) this.room.settle(this.room.hold({ ...bundle, nodeId }, units, since));
    }
    const answer = this.room.placesFor(bundle.groupId, bundle.index, units);
    if (answer.kind === "refused") return answer;
    const ask: Ask = { granted: new Map(granted), at: new Map(granted), holds: [] };
    this.asks.set(key, ask);
    if (answer.kind === "waits") return { kind: "divided", at: ask.at };
    const { places } = answer;
    const wasAt = (nodeId: NodeId): number => before?.at.get(nodeId) ?? 0;
    const at = (nodeId: NodeId): number => ask.at.get(nodeId) ?? 0;
    const asked = (nodeId: NodeId): number => at(nodeId) - (granted.get(nodeId) ?? 0);
    let missing = wanted - sum(granted);
    const add = ({ nodeId }: GroupPlace, most: number): void => {
      const count = Math.max(0, Math.min(missing, most));
      if (count > 0) ask.at.set(nodeId, at(nodeId) + count);
      missing -= count;
    };
    /** To all alike, while they have any left. */
    const share = (leftAt: (place: GroupPlace) => number): void => {
      for (let open = places; missing > 0; ) {
        open = open.filter((place) => leftAt(place) > 0);
        if (open.length === 0) return;
        const part = Math.ceil(missing / open.length);
        for (const place of open) add(place, Math.min(part, leftAt(place)));
      }
    };
    for (const place of places) add(place, Math.min(place.room, wasAt(place.nodeId) - at(place.nodeId)));
    share(({ nodeId, room }) => room - asked(nodeId));
    const withRoom = new Map(places.map(({ nodeId }) => [nodeId, asked(nodeId)]));
    for (const [nodeId, count] of withRoom) {
      if (count > 0) ask.holds.push(this.room.hold({ ...bundle, nodeId }, units, count));
    }
    for (const place of places) add(place, wasAt(place.nodeId) - at(place.nodeId));
    share(({ nodeId }) => WAITING_PER_NODE_MAX + (withRoom.get(nodeId) ?? 0) - asked(nodeId));
    return { kind: "divided", at: ask.at };
  }

  /** The owner is gone, or will not ask again. */
  forget(key: string): void {
    for (const hold of this.asks.get(key)?.holds ?? []) this.room.release(hold);
    this.asks.delete(key);
  }
}
