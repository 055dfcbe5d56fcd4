/**
 * Which leases are called back. First as many as run beyond the CPUs there are: tasks that went on after they had
 * waited took CPUs which others had got meanwhile, and no new task may start on them.
 *
 * Then for what waits without room, in this order: those that their owner has no use for or whose worker is idle,
 * those of lower priority in the same job, and those of whoever is above its share, see `fairness.ts`. Never more than
 * makes room; a lease that was called back already counts as room to come.
 */
import type { ResourceUnits } from "../base/resources.ts";
import type { Bundles } from "./bundles.ts";
import { count, countAhead, isOverShare, standing } from "./fairness.ts";
import type { ResourcePool } from "./resource-pool.ts";
import type { Ask, Holding } from "./state.ts";
import type { Tables } from "./tables.ts";

export function revokePass(tables: Tables, bundles: Bundles, starved: readonly Ask[]): Holding[] {
  const revoked: Holding[] = [];
  const granted: Ask[] = [];
  /** What each pool will have. */
  const comings = new Map<ResourcePool, ResourcePool>();
  const comingOf = (pool: ResourcePool): ResourcePool => {
    let coming = comings.get(pool);
    if (!coming) {
      coming = pool.clone();
      comings.set(pool, coming);
    }
    return coming;
  };
  // Of the node and of bundles in which something runs; the others, of which there may be thousands, have all that is theirs.
  const used = new Set<ResourcePool>([bundles.node]);
  for (const { isRevoked, pool, allocation } of tables.leases.values()) {
    used.add(pool);
    if (isRevoked) comingOf(pool).release(allocation);
  }
  const callBack = (victim: Holding): void => {
    victim.isRevoked = true;
    revoked.push(victim);
    comingOf(victim.pool).release(victim.allocation);
    // Looked at as if it had changed hands, so that one pass stops when shares are level.
    count(victim, -1);
  };
  for (const pool of used) {
    const make = (units: ResourceUnits): void => {
      const coming = comingOf(pool);
      while (!coming.allocate(units)) {
        const victim = pickDebtor(tables, pool, coming.lacks(units));
        if (!victim) return;
        callBack(victim);
      }
    };
    while (pool.freeOf("cpu") < 0 && comingOf(pool).freeOf("cpu") < 0) {
      const victim = pickDebtor(tables, pool, ["cpu"]);
      if (!victim) break;
      callBack(victim);
    }
    if (pool === bundles.node) for (const units of bundles.earmarked()) make(units);
  }

  /** Room for one more, in one of the pools that it may be in. */
  const makeRoom = (ask: Ask): boolean => {
    for (const pool of bundles.poolsOf(ask)) {
      if (pool.neverFits(ask.resources).length > 0) continue;
      const coming = comingOf(pool);
      for (;;) {
        if (coming.allocate(ask.resources)) return true;
        const victim = pickVictim(tables, ask, pool, coming.lacks(ask.resources));
        if (!victim) break;
        callBack(victim);
      }
    }
    return false;
  };
  for (const ask of starved) {
    for (let missing = tables.missing(ask); missing > 0 && makeRoom(ask); missing--) {
      granted.push(ask);
      countAhead(ask, 1);
    }
  }
  for (const ask of granted) countAhead(ask, -1);
  for (const victim of revoked) count(victim, 1);
  return revoked;
}

/** Of the leases that run, one that its owner has no use for, else one of those who have had most. */
function pickDebtor(tables: Tables, pool: ResourcePool, lacking: readonly string[]): Holding | undefined {
  let best: Holding | undefined;
  for (const lease of tables.leases.values()) {
    if (lease.pool !== pool || lease.isRevoked || lease.isBlocked) continue;
    if (!lacking.some((name) => (lease.allocation.units[name] ?? 0) > 0)) continue;
    const surplus = Number(isSpare(lease)) - Number(best !== undefined && isSpare(best));
    if (!best || surplus > 0 || (surplus === 0 && isBetterVictim(lease, best))) best = lease;
  }
  return best;
}

function pickVictim(tables: Tables, ask: Ask, pool: ResourcePool, lacking: readonly string[]): Holding | undefined {
  let best: Holding | undefined;
  let bestRank = 0;
  for (const lease of tables.leases.values()) {
    if (lease.pool !== pool || lease.isRevoked || lease.ask === ask) continue;
    if (!lacking.some((name) => (lease.allocation.units[name] ?? 0) > 0)) continue;
    const rank = victimRank(tables, lease, ask);
    if (rank === 0 || rank < bestRank) continue;
    if (!best || rank > bestRank || isBetterVictim(lease, best)) {
      best = lease;
      bestRank = rank;
    }
  }
  return best;
}

function victimRank(tables: Tables, lease: Holding, ask: Ask): number {
  // What is urgent has use for it, though it may not have heard of it yet.
  if (lease.ask.level > ask.level && tables.missing(lease.ask) > 0) return 0;
  if (isSpare(lease)) return 3;
  // What a waiting task keeps is not given up: it could not go on.
  if (lease.isBlocked || !isOverShare(lease, ask)) return 0;
  const isLower = lease.ask.jobFlow === ask.jobFlow && lease.ask.priority < ask.priority;
  return isLower ? 2 : 1;
}

/** Its worker has nothing to do, or its owner holds more leases of this shape than it says it can use. */
export function isSpare({ isIdle, ask }: Holding): boolean {
  if (isIdle) return true;
  let kept = 0;
  for (const lease of ask.held) if (!lease.isRevoked) kept++;
  return kept > ask.wanted;
}

/** Of the flow that has had most, the newest: it has done the least. */
function isBetterVictim(lease: Holding, best: Holding): boolean {
  const ahead =
    standing(lease.ask.jobFlow) - standing(best.ask.jobFlow) ||
    standing(lease.ask.clientFlow) - standing(best.ask.clientFlow) ||
    standing(lease.ask) - standing(best.ask);
  return ahead > 0 || (ahead === 0 && (lease.leaseId ?? 0) > (best.leaseId ?? 0));
}
