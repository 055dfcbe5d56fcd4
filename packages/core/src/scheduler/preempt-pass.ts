/**
 * Which leases end for what is *urgent*: an ask that has waited for its `preemptAfterMs` without room. Until nothing of it waits
 * any more, all of its priority goes before what has a lower one in other jobs (`fairness.ts`), and it has leases of that ended.
 *
 * The owner of a lease has the last word, since it knows what runs there: what may run again it ends (first by its signal, then by
 * force), and anything else it keeps. Then another lease is looked for. Of a job itself nothing is ended: a task could end what has
 * submitted it, which would then submit it again, and so on.
 */
import type { JobId } from "../base/ids.ts";
import { PREEMPT_GRACE_MS } from "../base/limits.ts";
import type { ResourceUnits } from "../base/resources.ts";
import type { Bundles } from "./bundles.ts";
import { describeUrgent } from "./explain.ts";
import type { ResourcePool } from "./resource-pool.ts";
import { isSpare } from "./revoke-pass.ts";
import type { Ask, Holding } from "./state.ts";
import type { Tables } from "./tables.ts";

/** An owner that does not answer for so long is busy: its lease ends when it hears of it, and others are asked. */
const OVERDUE_MS = PREEMPT_GRACE_MS + 3_000;

export interface Preempted {
  readonly lease: Holding;
  /** In words. */
  readonly by: string;
}

/** What leases end for. */
export interface Urgency {
  readonly resources: ResourceUnits;
  readonly job: JobId;
  readonly priority: number;
}

/** What each pool will have soon, less what is promised of that. */
export class Comings {
  private readonly tables: Tables;
  private readonly nowMs: number;
  private readonly pools = new Map<ResourcePool, ResourcePool>();

  constructor(tables: Tables, nowMs: number) {
    this.tables = tables;
    this.nowMs = nowMs;
  }

  of(pool: ResourcePool): ResourcePool {
    let coming = this.pools.get(pool);
    if (!coming) {
      coming = pool.clone();
      for (const lease of this.tables.leases.values()) {
        if (lease.pool === pool && endsSoon(lease, this.nowMs)) coming.release(lease.allocation);
      }
      this.pools.set(pool, coming);
    }
    return coming;
  }
}

/** @param starved what waits without room, in the order in which it is to be served */
export function preemptPass(
  tables: Tables,
  bundles: Bundles,
  starved: readonly Ask[],
  comings: Comings,
  nowMs: number,
): Preempted[] {
  const preempted: Preempted[] = [];
  const makeRoom = (ask: Ask): boolean => {
    for (const pool of bundles.poolsOf(ask)) {
      if (pool.neverFits(ask.resources).length > 0) continue;
      const coming = comings.of(pool);
      if (coming.allocate(ask.resources)) return true;
      const { resources, priority, client } = ask;
      const urgency = { resources, priority, job: client.job.id };
      const victims = victimsFor(urgency, pool, coming, tables, (lease) => mayBePreempted(lease, nowMs));
      if (!victims) continue;
      for (const lease of victims) {
        lease.preemption = { askedAtMs: nowMs };
        coming.release(lease.allocation);
        preempted.push({ lease, by: describeUrgent(ask) });
      }
      coming.allocate(ask.resources);
      return true;
    }
    return false;
  };
  for (const ask of starved) {
    if (!ask.isUrgent) continue;
    ask.roomComing = 0;
    for (let missing = tables.missing(ask); missing > 0 && makeRoom(ask); missing--) ask.roomComing++;
  }
  return preempted;
}

const isLower = (held: Ask, { priority, job }: Urgency): boolean =>
  held.priority < priority && held.client.job.id !== job;

/** Whether what runs there may be asked to end for something of another job that has this priority. */
export function mayBePreempted({ isBlocked, preemption, leaseId }: Holding, nowMs: number): boolean {
  // Of actors there are requests, and not leases. What a waiting task keeps is not given up: it could not go on.
  if (leaseId === undefined || isBlocked) return false;
  if (preemption === undefined) return true;
  const { keptUntilMs, isQuestion, askedAtMs } = preemption;
  // A question that nobody answers is over, too.
  if (isQuestion && keptUntilMs === undefined) return nowMs - askedAtMs >= OVERDUE_MS;
  return keptUntilMs !== undefined && keptUntilMs <= nowMs;
}

function endsSoon(lease: Holding, nowMs: number): boolean {
  const { preemption } = lease;
  if (preemption === undefined || preemption.isQuestion || preemption.keptUntilMs !== undefined) return false;
  return nowMs - preemption.askedAtMs < OVERDUE_MS;
}

/** Those that nothing runs on first, then the lowest priorities, of equal ones the newest, which have done least; without those that turn out not to be needed. */
export function victimsFor(
  urgency: Urgency,
  pool: ResourcePool,
  coming: ResourcePool,
  tables: Tables,
  mayEnd: (lease: Holding) => boolean,
): readonly Holding[] | undefined {
  const { resources } = urgency;
  const candidates: Holding[] = [];
  for (const lease of tables.leases.values()) {
    if (lease.pool === pool && isLower(lease.ask, urgency) && mayEnd(lease)) candidates.push(lease);
  }
  const isIdle = (lease: Holding): number => Number(isSpare(lease));
  candidates.sort((a, b) => isIdle(b) - isIdle(a) || a.ask.priority - b.ask.priority || b.grantedAtMs - a.grantedAtMs);
  const fits = (victims: readonly Holding[]): boolean => {
    const room = coming.clone();
    for (const { allocation } of victims) room.release(allocation);
    return room.lacks(resources).length === 0;
  };
  const victims: Holding[] = [];
  const room = coming.clone();
  for (const lease of candidates) {
    if (!room.lacks(resources).some((name) => (lease.allocation.units[name] ?? 0) > 0)) continue;
    victims.push(lease);
    room.release(lease.allocation);
    if (room.lacks(resources).length > 0) continue;
    // The best are kept if they can be.
    for (const one of [...victims].reverse()) {
      const rest = victims.filter((other) => other !== one);
      if (fits(rest)) victims.splice(0, victims.length, ...rest);
    }
    return victims;
  }
  return undefined;
}
