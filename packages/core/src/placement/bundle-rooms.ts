/**
 * What is free in the bundles of placement groups: as their nodes said last, less what was asked for there since.
 *
 * Nodes report the bundles in which something has changed. Of one that was never reported all is free. What is asked for is
 * held until it is let go, or *settled*: the node has granted it, so what it says next counts it.
 */

import type { NodeId } from "../base/ids.ts";
import { addTo } from "../base/index-of-sets.ts";
import type { ResourceUnits } from "../base/resources.ts";
import { type Free, freeOf, slots, takeFrom } from "./amounts.ts";
import type { GroupId } from "./group-protocol.ts";

export interface BundleAt {
  readonly groupId: GroupId;
  readonly index: number;
  /** Which reserved it. */
  readonly attempt: number;
  readonly nodeId: NodeId;
  /** What it has in all. */
  readonly units: ResourceUnits;
}

interface Room {
  readonly bundle: BundleAt;
  reported: Free;
  free: Free;
  readonly claims: Set<Claim>;
}

interface Claim {
  readonly room: Room;
  readonly units: ResourceUnits;
  readonly count: number;
}

export class BundleRooms {
  private readonly groups = new Map<GroupId, Map<number, Room>>();
  private readonly holds = new Map<number, readonly Claim[]>();
  /** Granted there, and not reported yet. */
  private readonly settled = new Map<NodeId, Set<Claim>>();
  private lastHold = 0;

  /** @param isAll of what is not in it all is free; otherwise it is as it was. */
  report(nodeId: NodeId, uses: readonly { readonly bundle: BundleAt; readonly free: Free }[], isAll: boolean): void {
    for (const claim of this.settled.get(nodeId) ?? []) this.drop(claim);
    this.settled.delete(nodeId);
    if (isAll) {
      for (const room of this.roomsAt(nodeId)) {
        room.reported = freeOf(room.bundle.units);
        refresh(room);
      }
    }
    for (const { bundle, free } of uses) {
      const room = this.room(bundle);
      room.reported = free;
      refresh(room);
    }
  }

  nodeGone(nodeId: NodeId): void {
    this.settled.delete(nodeId);
    for (const { bundle } of [...this.roomsAt(nodeId)]) this.groups.get(bundle.groupId)?.delete(bundle.index);
  }

  forget(groupId: GroupId): void {
    this.groups.delete(groupId);
  }

  freeOf({ groupId, index, attempt, units }: BundleAt): Free {
    const room = this.groups.get(groupId)?.get(index);
    return room?.bundle.attempt === attempt ? room.free : freeOf(units);
  }

  /** So many demands, in the first of the bundles that have room for them, as their node will choose. */
  hold(bundles: Iterable<BundleAt>, units: ResourceUnits, count: number): number {
    const claims: Claim[] = [];
    let left = count;
    for (const bundle of bundles) {
      if (left <= 0) break;
      const part = Math.min(left, slots(this.freeOf(bundle), units));
      if (part <= 0 || !Number.isFinite(part)) continue;
      const room = this.room(bundle);
      const claim = { room, units, count: part };
      room.claims.add(claim);
      room.free = takeFrom(room.free, units, part);
      claims.push(claim);
      left -= part;
    }
    this.holds.set(++this.lastHold, claims);
    return this.lastHold;
  }

  /** Its bundles are there, and have room for it by what was reported since. */
  isGood(hold: number): boolean {
    return (this.holds.get(hold) ?? []).every((claim) => {
      const { room, units, count } = claim;
      const { groupId, index } = room.bundle;
      if (this.groups.get(groupId)?.get(index) !== room) return false;
      return slots(units.gpu ? freeBut(room, claim) : takeFrom(room.free, units, -count), units) >= count;
    });
  }

  /** It is not asked for any more. */
  release(hold: number): void {
    for (const claim of this.holds.get(hold) ?? []) this.drop(claim);
    this.holds.delete(hold);
  }

  /** It is granted. */
  settle(hold: number): void {
    for (const claim of this.holds.get(hold) ?? []) {
      const { nodeId } = claim.room.bundle;
      addTo(this.settled, nodeId, claim);
    }
    this.holds.delete(hold);
  }

  private room(bundle: BundleAt): Room {
    const { groupId, index, attempt, units } = bundle;
    let rooms = this.groups.get(groupId);
    if (!rooms) {
      rooms = new Map();
      this.groups.set(groupId, rooms);
    }
    let room = rooms.get(index);
    if (room?.bundle.attempt !== attempt) {
      const free = freeOf(units);
      room = { bundle, reported: free, free, claims: new Set() };
      rooms.set(index, room);
    }
    return room;
  }

  private *roomsAt(nodeId: NodeId): Generator<Room> {
    for (const rooms of this.groups.values()) {
      for (const room of rooms.values()) if (room.bundle.nodeId === nodeId) yield room;
    }
  }

  private drop(claim: Claim): void {
    const { room } = claim;
    room.claims.delete(claim);
    refresh(room);
  }
}

function refresh(room: Room): void {
  room.free = freeBut(room, undefined);
}

/** Which devices are taken follows from the order in which they were. */
function freeBut({ reported, claims }: Room, other: Claim | undefined): Free {
  let free = reported;
  for (const claim of claims) if (claim !== other) free = takeFrom(free, claim.units, claim.count);
  return free;
}
