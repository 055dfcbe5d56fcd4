/** The groups by id, by name and by node, and those that wait for room, in order. */

import type { NodeId } from "../base/ids.ts";
import { addTo, removeFrom } from "../base/index-of-sets.ts";
import type { GroupId, GroupSpec } from "./group-protocol.ts";
import { addReservation, compareGroups, type Group, type Reservation, removeReservation } from "./group-state.ts";

export class GroupTable {
  readonly groups = new Map<GroupId, Group>();
  /** Higher priority first, then the older. */
  readonly waiting: Group[] = [];
  private readonly names = new Map<string, Group>();
  private readonly byNode = new Map<NodeId, Set<Group>>();

  add(group: Group): void {
    this.groups.set(group.spec.groupId, group);
    if (group.spec.name !== undefined) this.names.set(nameKey(group.spec), group);
  }

  delete(group: Group): void {
    this.groups.delete(group.spec.groupId);
    this.freeName(group);
  }

  freeName(group: Group): void {
    const key = nameKey(group.spec);
    if (this.names.get(key) === group) this.names.delete(key);
  }

  named(namespace: string, name: string): Group | undefined {
    return this.names.get(nameKey({ namespace, name }));
  }

  /** The groups that have something at the node. */
  at(nodeId: NodeId): Group[] {
    return [...(this.byNode.get(nodeId) ?? [])];
  }

  reserve(group: Group, reservation: Reservation): void {
    addReservation(group, reservation);
    addTo(this.byNode, reservation.nodeId, group);
  }

  drop(group: Group, reservation: Reservation): void {
    if (!removeReservation(group, reservation)) return;
    removeFrom(this.byNode, reservation.nodeId, group);
  }

  /** True when it did not wait before. */
  enqueue(group: Group): boolean {
    const { waiting } = this;
    let low = 0;
    let high = waiting.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = waiting[middle];
      if (other && compareGroups(other, group) < 0) low = middle + 1;
      else high = middle;
    }
    if (waiting[low] === group) return false;
    waiting.splice(low, 0, group);
    return true;
  }

  dequeue(group: Group): void {
    const at = this.waiting.indexOf(group);
    if (at >= 0) this.waiting.splice(at, 1);
  }
}

const nameKey = ({ namespace, name }: Pick<GroupSpec, "namespace" | "name">): string =>
  JSON.stringify([namespace, name]);
