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
 * For a gang for which work of lower priority is to end (`Ending`) room is kept in the same way: while nodes are asked whether
 * enough may end there, and when all have said so until it has.
 *
 * Whatever leases last less than that time, the gang gets its room in the end; and whatever it waits for, others have the
 * nodes for at least half of the time.
 */
import type { NodeId } from "../base/ids.ts";
import { PREEMPT_GRACE_MS, PREEMPT_NOTICE_MS } from "../base/limits.ts";
import { type ResourceUnits, sumOfUnits } from "../base/resources.ts";
import type { Ending } from "../wire/cluster-messages.ts";
import type { Free } from "./amounts.ts";
import type { ClusterView } from "./cluster-view.ts";
import type { GroupCommand } from "./group-protocol.ts";
import { compareGroups, type Group } from "./group-state.ts";
import type { Node } from "./node-state.ts";

const EARMARK_FIRST_MS = 2_000;
const EARMARK_MAX_MS = 60_000;
const LOOK_MS = 1_000;
/** Owners answer at once; one that is busy for so long is taken for one that says no. */
const ASKING_MS = 2_000;
/** Notice, grace, and the end of a process that heeds neither. */
const ENDING_MS = PREEMPT_NOTICE_MS + PREEMPT_GRACE_MS + 5_000;
/** What could not be ended is not asked for again for so long. */
const NOT_NOW_MS = 5_000;

/** Not enough may end for it. */
export function notNow(group: Group, nowMs: number): void {
  group.endingAgainMs = nowMs + NOT_NOW_MS;
  group.isNotEnough = true;
}

export class Earmark {
  private readonly view: ClusterView;
  private readonly afterMs: number;
  private group: Group | undefined;
  /** What is kept at each node, off the view. */
  private readonly kept = new Map<NodeId, { readonly hold: number; readonly units: ResourceUnits }>();
  private ending: Ending | undefined;
  /** Nodes that have not said that enough may end there. */
  private readonly open = new Set<NodeId>();
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
    ending?: Ending,
  ): void {
    if (this.group !== group) this.lengthMs = EARMARK_FIRST_MS;
    this.group = group;
    this.ending = ending;
    const forMs = ending ? ASKING_MS : this.lengthMs;
    this.endsAtMs = nowMs + forMs;
    const amounts = new Map<Node, ResourceUnits>();
    for (const [index, node] of plan.entries())
      amounts.set(node, sumOfUnits([amounts.get(node) ?? {}, units[index] ?? {}]));
    for (const [{ id }, amount] of amounts) {
      const node = this.view.node(id);
      if (!node) continue;
      this.kept.set(id, { hold: this.view.keep(node, amount), units: amount });
      if (ending) this.open.add(id);
    }
    this.order(group, forMs, out);
  }

  private order({ spec: { groupId } }: Group, forMs: number, out: GroupCommand[]): void {
    const { ending } = this;
    for (const [nodeId, { units }] of this.kept) {
      out.push({ kind: "earmark", nodeId, groupId, units, forMs, ...(ending && { ending }) });
    }
  }

  /** Enough may end at the node. When it may at all it is decided. */
  agreed(group: Group, nodeId: NodeId, nowMs: number, out: GroupCommand[]): void {
    if (!this.isFor(group) || !this.ending || !this.open.delete(nodeId) || this.open.size > 0) return;
    this.ending = { ...this.ending, isDecided: true };
    this.endsAtMs = nowMs + ENDING_MS;
    this.order(group, ENDING_MS, out);
  }

  /** What waits would not fit without leases either: it is looked at again after a while. */
  postpone(nowMs: number): void {
    this.noneUntilMs = nowMs + LOOK_MS;
  }

  /** Its time is over: the nodes know by themselves. */
  expire(nowMs: number): boolean {
    if (!this.isActive || nowMs < this.endsAtMs) return false;
    if (this.ending) {
      if (this.group) notNow(this.group, nowMs);
      this.letGo();
      return true;
    }
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
    for (const { hold } of this.kept.values()) this.view.release(hold);
    this.kept.clear();
    this.open.clear();
    this.ending = undefined;
  }

  /** What is free for the group: with what is kept if that is for it, or for one behind it. */
  freeFor(group: Group, node: Node): Free {
    const kept = this.kept.get(node.id);
    const { free } = node.state;
    return kept === undefined || this.isBefore(group) ? free : (this.view.freeBeside(kept.hold) ?? free);
  }

  /** Whether another group has kept what this one could need. */
  isBefore(group: Group): boolean {
    const { holder } = this;
    return holder !== undefined && holder !== group && compareGroups(holder, group) < 0;
  }

  get isActive(): boolean {
    return this.kept.size > 0;
  }

  /** Work ends for its group: what has begun is seen through. */
  get isDecided(): boolean {
    return this.ending?.isDecided === true;
  }

  /** Whether it is asked, or decided, that work of others ends for the group. */
  endingFor(group: Group): { readonly isDecided: boolean; readonly nodes: Iterable<NodeId> } | undefined {
    if (!this.ending || !this.isFor(group)) return undefined;
    return { isDecided: this.ending.isDecided, nodes: this.kept.keys() };
  }

  isFor(group: Group): boolean {
    return this.group === group && this.isActive;
  }

  get holder(): Group | undefined {
    return this.isActive ? this.group : undefined;
  }
}
