/**
 * At which nodes work of lower priority ends for leases that have waited long without room anywhere. Pure.
 *
 * Control only chooses the node, by what nodes say that they could end: one where the fewest and lowest make room. Which leases end
 * there is that node's to say, and their owners' (`scheduler/preempt-pass.ts`). A choice is kept until it is granted, or nothing has
 * come of it for {@link HOPELESS_MS}: or each would be told of as many nodes as there are.
 */
import type { JobId, NodeId } from "../base/ids.ts";
import { type ClusterView, preempt, type Shape, type Victim } from "../placement/mod.ts";
import type { Preemptable } from "../wire/cluster-messages.ts";

/** What is urgent. */
export interface Urgent {
  readonly job: JobId | undefined;
  readonly shape: Shape;
  readonly priority: number;
  /** The only node that will do. */
  readonly only: NodeId | undefined;
  /** Leases that are to come by others' end, with when that was decided. */
  readonly planned: Map<NodeId, number[]>;
}

/** Owners that keep their leases have said so long before. */
const HOPELESS_MS = 10_000;
/** So many more at each look. */
const MORE_MAX = 16;
/** Of leases that are alike, and of one node, no more could make room for one. */
const ALIKE_MAX = 16;
/** By then a node has said what it has told to end. */
const TOLD_MS = 1_000;
/** More are hardly needed, and take long to look at. */
const VICTIMS_MAX = 100_000;

export class Preemptions {
  private readonly view: ClusterView;
  private readonly byNode = new Map<NodeId, readonly Preemptable[]>();
  /** By the ids of victims, since when they are to end; their nodes will say so. */
  private readonly told = new Map<string, number>();

  constructor(view: ClusterView) {
    this.view = view;
  }

  reported(node: NodeId, preemptable: readonly Preemptable[]): void {
    if (preemptable.length > 0) this.byNode.set(node, preemptable);
    else this.byNode.delete(node);
  }

  nodeGone(node: NodeId): void {
    this.byNode.delete(node);
  }

  /** Whether anything could be ended for it. */
  mayHelp({ priority, job }: Pick<Urgent, "priority" | "job">): boolean {
    for (const kinds of this.byNode.values()) {
      for (const [of, lower] of kinds) if (lower < priority && of !== job) return true;
    }
    return false;
  }

  /**
   * Plans for what is missing and not planned yet. True when something has changed.
   *
   * @param missing without what has room.
   * @param withRoom where that is: what was planned there has come of it.
   */
  plan(urgent: Urgent, missing: number, withRoom: ReadonlyMap<NodeId, number>, nowMs: number): boolean {
    const { planned, shape, priority, only } = urgent;
    let hasChanged = false;
    let open = Math.min(missing, MORE_MAX);
    for (const [node, times] of planned) {
      const kept = times.filter((sinceMs) => nowMs - sinceMs < HOPELESS_MS).slice(withRoom.get(node) ?? 0);
      if (kept.length !== times.length) hasChanged = true;
      if (kept.length > 0) planned.set(node, kept);
      else planned.delete(node);
      open -= kept.length;
    }
    if (open <= 0) return hasChanged;
    // What was told to end is said no more to be there; so what is planned and not told yet is taken off, also what is for others.
    for (const [id, sinceMs] of this.told) if (nowMs - sinceMs >= TOLD_MS) this.told.delete(id);
    let victims = this.victims(urgent.job, priority, ALIKE_MAX).filter(({ id }) => !this.told.has(id));
    for (; open > 0; open--) {
      const found = preempt(this.view, { shape, priority, ...(only !== undefined && { only }) }, victims);
      if (!found) break;
      const ended = new Set(found.victims);
      victims = victims.filter((victim) => !ended.has(victim));
      for (const { id } of ended) this.told.set(id, nowMs);
      planned.set(found.nodeId, [...(planned.get(found.nodeId) ?? []), nowMs]);
      hasChanged = true;
    }
    return hasChanged;
  }

  /** @param alikeMax of leases that are alike, so many of each node. */
  victims(job: JobId | undefined, priority: number, alikeMax: number): Victim[] {
    const victims: Victim[] = [];
    for (const [nodeId, kinds] of this.byNode) {
      if (victims.length > VICTIMS_MAX) break;
      for (const [kind, [of, lower, units, count]] of kinds.entries()) {
        if (of === job || lower >= priority) continue;
        for (let at = 0; at < Math.min(count, alikeMax); at++) {
          victims.push({
            id: `${nodeId} ${kind} ${at}`,
            nodeId,
            priority: lower,
            isRetriable: true,
            startedMs: 0,
            units,
          });
        }
      }
    }
    return victims;
  }
}

/** Takes what waits without room elsewhere to where it is planned; what is granted, or has room where it is, stays. */
export function moveTo(
  { planned, granted }: { planned: Urgent["planned"]; granted: ReadonlyMap<NodeId, number> },
  at: ReadonlyMap<NodeId, number>,
  withRoom: ReadonlyMap<NodeId, number>,
): Map<NodeId, number> {
  const moved = new Map(at);
  /** With what is planned there; what has room there may be what was planned. */
  const stays = (node: NodeId): number =>
    (granted.get(node) ?? 0) + Math.max(withRoom.get(node) ?? 0, planned.get(node)?.length ?? 0);
  for (const node of planned.keys()) {
    let lacking = stays(node) - (moved.get(node) ?? 0);
    for (const [other, count] of moved) {
      const taken = Math.min(lacking, count - stays(other));
      if (other === node || taken <= 0) continue;
      moved.set(other, count - taken);
      moved.set(node, (moved.get(node) ?? 0) + taken);
      lacking -= taken;
    }
  }
  for (const [node, count] of moved) if (count === 0) moved.delete(node);
  return moved;
}
