/**
 * Which leases end for what is *urgent*: an ask that has waited for its `preemptAfterMs` without room. Until nothing of it waits
 * any more, all of its priority goes before what has a lower one in other jobs (`fairness.ts`), and it has leases of that ended.
 *
 * The owner of a lease has the last word, since it knows what runs there: what may run again it ends (first by its signal, then by
 * force), and anything else it keeps. Then another lease is looked for. Of a job itself nothing is ended: a task could end what has
 * submitted it, which would then submit it again, and so on.
 */
import { PREEMPT_GRACE_MS } from "../base/limits.ts";
import type { Bundles } from "./bundles.ts";
import type { ResourcePool } from "./resource-pool.ts";
import { isSpare } from "./revoke-pass.ts";
import type { Ask, Holding } from "./state.ts";
import type { Tables } from "./tables.ts";

/** An owner that does not answer for so long is busy: its lease ends when it hears of it, and others are asked. */
const OVERDUE_MS = PREEMPT_GRACE_MS + 3_000;

export interface Preempted {
  readonly lease: Holding;
  readonly by: Ask;
}

/** @param starved what waits without room, in the order in which it is to be served */
export function preemptPass(tables: Tables, bundles: Bundles, starved: readonly Ask[], nowMs: number): Preempted[] {
  const preempted: Preempted[] = [];
  /** What each pool will have soon. */
  const comings = new Map<ResourcePool, ResourcePool>();
  const comingOf = (pool: ResourcePool): ResourcePool => {
    let coming = comings.get(pool);
    if (!coming) {
      coming = pool.clone();
      for (const lease of tables.leases.values()) {
        if (lease.pool === pool && endsSoon(lease, nowMs)) coming.release(lease.allocation);
      }
      comings.set(pool, coming);
    }
    return coming;
  };
  const makeRoom = (ask: Ask): boolean => {
    for (const pool of bundles.poolsOf(ask)) {
      if (pool.neverFits(ask.resources).length > 0) continue;
      const coming = comingOf(pool);
      if (coming.allocate(ask.resources)) return true;
      const victims = victimsFor(ask, pool, coming, tables, nowMs);
      if (!victims) continue;
      for (const lease of victims) {
        lease.preemption = { askedAtMs: nowMs };
        coming.release(lease.allocation);
        preempted.push({ lease, by: ask });
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

const isLower = (held: Ask, ask: Ask): boolean => held.priority < ask.priority && held.client.job !== ask.client.job;

/** Whether what runs there may be asked to end for something of another job that has this priority. */
export function mayBePreempted({ isBlocked, preemption, leaseId }: Holding, nowMs: number): boolean {
  // Of actors there are requests, and not leases. What a waiting task keeps is not given up: it could not go on.
  if (leaseId === undefined || isBlocked) return false;
  return preemption === undefined || (preemption.keptUntilMs !== undefined && preemption.keptUntilMs <= nowMs);
}

function endsSoon(lease: Holding, nowMs: number): boolean {
  const { preemption } = lease;
  return preemption !== undefined && preemption.keptUntilMs === undefined && nowMs - preemption.askedAtMs < OVERDUE_MS;
}

/** Those that nothing runs on first, then the lowest priorities, of equal ones the newest, which have done least; without those that turn out not to be needed. */
function victimsFor(
  ask: Ask,
  pool: ResourcePool,
  coming: ResourcePool,
  tables: Tables,
  nowMs: number,
): readonly Holding[] | undefined {
  const candidates: Holding[] = [];
  for (const lease of tables.leases.values()) {
    if (lease.pool === pool && isLower(lease.ask, ask) && mayBePreempted(lease, nowMs)) candidates.push(lease);
  }
  const isIdle = (lease: Holding): number => Number(isSpare(lease));
  candidates.sort((a, b) => isIdle(b) - isIdle(a) || a.ask.priority - b.ask.priority || b.grantedAtMs - a.grantedAtMs);
  const fits = (victims: readonly Holding[]): boolean => {
    const room = coming.clone();
    for (const { allocation } of victims) room.release(allocation);
    return room.lacks(ask.resources).length === 0;
  };
  const victims: Holding[] = [];
  const room = coming.clone();
  for (const lease of candidates) {
    if (!room.lacks(ask.resources).some((name) => (lease.allocation.units[name] ?? 0) > 0)) continue;
    victims.push(lease);
    room.release(lease.allocation);
    if (room.lacks(ask.resources).length > 0) continue;
    // The best are kept if they can be.
    for (const one of [...victims].reverse()) {
      const rest = victims.filter((other) => other !== one);
      if (fits(rest)) victims.splice(0, victims.length, ...rest);
    }
    return victims;
  }
  return undefined;
}
