/**
 * Room for a large gang, without holding any.
 *
 * A gang that waits for many nodes at once would wait for ever beside a stream of small work. To reserve what comes free
 * would be to hold part of what it needs, perhaps for ever. So, for the first gang in the order that could ever fit and has
 * waited for 10 s, nodes are *earmarked*:
 *
 * 1. They are chosen as if all leases had ended: what actors and groups hold stays taken. Without such nodes, nothing
 *    is earmarked.
 * 2. For a time no new leases are granted there, and nobody else counts on the room: not who divides leases, not actors and
 *    not groups behind it. Nothing that runs is ended.
 * 3. When that was not enough they are free for all again, for as long; then it is done for twice as long, up to a minute.
 *
 * Whatever leases last less than that time, the gang gets its room in the end; and whatever it waits for, others have the
 * nodes for at least half of the time.
 */
import type { NodeId } from "../base/ids.ts";
import type { ResourceUnits } from "../base/resources.ts";
import type { Free } from "./amounts.ts";
import type { ClusterView } from "./cluster-view.ts";
import type { GroupCommand } from "./group-protocol.ts";
import { compareGroups, type Group } from "./group-state.ts";
import type { Node } from "./node-state.ts";

const EARMARK_FIRST_MS = 2_000;
const EARMARK_MAX_MS = 60_000;
const LOOK_MS = 1_000;

export class Earmark {
  private readonly view: ClusterView;
  private readonly afterMs: number;
  private group: Group | undefined;
  /** What is kept at each node, off the view. */
  private readonly kept = new Map<NodeId, number>();
  private endsAtMs = 0;
  private pausedUntilMs = 0;
  private lengthMs = EARMARK_FIRST_MS;
  private noneUntilMs = 0;

  constructor(view: ClusterView, afterMs: number) {
    this.view = view;
    this.afterMs = afterMs;
  }

  /** Whether one may begin for this group. */
  mayBegin(group: Group, nowMs: number): boolean {
    const waitsMs = nowMs - (group.waitingSinceMs ?? nowMs);
    if (this.isActive || nowMs < this.noneUntilMs || waitsMs < this.afterMs) return false;
    return this.group !== group || nowMs >= this.pausedUntilMs;
  }

  begin(
    group: Group,
    plan: readonly Node[],
    units: readonly ResourceUnits[],
    nowMs: number,
    out: GroupCommand[],
  ): void {
    if (this.group !== group) this.lengthMs = EARMARK_FIRST_MS;
    this.group = group;
    this.endsAtMs = nowMs + this.lengthMs;
    const amounts = new Map<Node, ResourceUnits>();
    for (const [index, node] of plan.entries()) {
      const sum: Record<string, number> = { ...amounts.get(node) };
      for (const name in units[index]) sum[name] = (sum[name] ?? 0) + (units[index][name] ?? 0);
      amounts.set(node, sum);
    }
    const { groupId } = group.spec;
    for (const [node, amount] of amounts) {
      this.kept.set(node.id, this.view.keep(node, amount));
      out.push({ kind: "earmark", nodeId: node.id, groupId, units: amount, forMs: this.lengthMs });
    }
  }

  /** What waits would not fit without leases either: it is looked at again after a while. */
  postpone(nowMs: number): void {
    this.noneUntilMs = nowMs + LOOK_MS;
  }

  /** Its time is over: the nodes know by themselves. */
  expire(nowMs: number): boolean {
    if (!this.isActive || nowMs < this.endsAtMs) return false;
    this.letGo();
    this.pausedUntilMs = nowMs + this.lengthMs;
    this.lengthMs = Math.min(EARMARK_MAX_MS, 2 * this.lengthMs);
    return true;
  }

  /** The group has its room, or is gone. True when others may use the room again. */
  end(group: Group, out: GroupCommand[]): boolean {
    if (this.group !== group) return false;
    const wasActive = this.isActive;
    const { groupId } = group.spec;
    for (const nodeId of this.kept.keys()) out.push({ kind: "clear-earmark", nodeId, groupId });
    this.letGo();
    this.group = undefined;
    return wasActive;
  }

  private letGo(): void {
    for (const kept of this.kept.values()) this.view.release(kept);
    this.kept.clear();
  }

  /** What is free for the group: with what is kept if that is for it, or for one behind it. */
  freeFor(group: Group, node: Node): Free {
    const kept = this.kept.get(node.id);
    const { free } = node.state;
    return kept === undefined || this.isBefore(group) ? free : (this.view.freeBeside(kept) ?? free);
  }

  /** Whether another group has kept what this one could need. */
  isBefore(group: Group): boolean {
    const { holder } = this;
    return holder !== undefined && holder !== group && compareGroups(holder, group) < 0;
  }

  get isActive(): boolean {
    return this.kept.size > 0;
  }

  isFor(group: Group): boolean {
    return this.group === group && this.isActive;
  }

  get holder(): Group | undefined {
    return this.isActive ? this.group : undefined;
  }
}
