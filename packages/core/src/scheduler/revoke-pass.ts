/**
 * Which leases are called back. First as many as run beyond the CPUs there are: tasks that went on after they had
 * waited took CPUs which others had got meanwhile, and no new task may start on them.
 *
 * Then for what waits without room, in this order: those that their owner has no use for or whose worker is idle,
 * those of lower priority in the same job, and those of whoever is above its share, see `fairness.ts`. Never more than
 * makes room; a lease that was called back already counts as room to come.
 */
import { count, isOverShare, standing } from "./fairness.ts";
import type { ResourcePool } from "./resource-pool.ts";
import type { Ask, Holding } from "./state.ts";
import type { Tables } from "./tables.ts";

export function revokePass(tables: Tables, pool: ResourcePool, starved: readonly Ask[]): Holding[] {
  const revoked: Holding[] = [];
  const granted: Ask[] = [];
  const coming = pool.clone();
  for (const lease of tables.leases.values()) if (lease.isRevoked) coming.release(lease.allocation);
  const callBack = (victim: Holding): void => {
    victim.isRevoked = true;
    revoked.push(victim);
    coming.release(victim.allocation);
    // Looked at as if it had changed hands, so that one pass stops when shares are level.
    count(victim, -1);
  };
  while (coming.freeOf("cpu") < 0) {
    const victim = pickDebtor(tables);
    if (!victim) break;
    callBack(victim);
  }

  for (const ask of starved) {
    for (let missing = tables.missing(ask); missing > 0; missing--) {
      while (!coming.allocate(ask.resources)) {
        const victim = pickVictim(tables, ask, coming.lacks(ask.resources));
        if (!victim) {
          missing = 0;
          break;
        }
        callBack(victim);
      }
      if (missing > 0) {
        granted.push(ask);
        addRate(ask, 1);
      }
    }
  }
  for (const ask of granted) addRate(ask, -1);
  for (const victim of revoked) count(victim, 1);
  return revoked;
}

/** Of the leases that run, one that its owner has no use for, else one of those who have had most. */
function pickDebtor(tables: Tables): Holding | undefined {
  let best: Holding | undefined;
  for (const lease of tables.leases.values()) {
    if (lease.isRevoked || lease.isBlocked || (lease.allocation.units.cpu ?? 0) === 0) continue;
    const surplus = Number(isSpare(lease)) - Number(best !== undefined && isSpare(best));
    if (!best || surplus > 0 || (surplus === 0 && isBetterVictim(lease, best))) best = lease;
  }
  return best;
}

function pickVictim(tables: Tables, ask: Ask, lacking: readonly string[]): Holding | undefined {
  let best: Holding | undefined;
  let bestRank = 0;
  for (const lease of tables.leases.values()) {
    if (lease.isRevoked || lease.ask === ask) continue;
    if (!lacking.some((name) => (lease.allocation.units[name] ?? 0) > 0)) continue;
    const rank = victimRank(lease, ask);
    if (rank === 0 || rank < bestRank) continue;
    if (!best || rank > bestRank || isBetterVictim(lease, best)) {
      best = lease;
      bestRank = rank;
    }
  }
  return best;
}

function victimRank(lease: Holding, ask: Ask): number {
  if (isSpare(lease)) return 3;
  // What a waiting task keeps is not given up: it could not go on.
  if (lease.isBlocked || !isOverShare(lease, ask)) return 0;
  const isLower = lease.ask.client.job === ask.client.job && lease.ask.priority < ask.priority;
  return isLower ? 2 : 1;
}

/** Its worker has nothing to do, or its owner holds more leases of this shape than it says it can use. */
function isSpare({ isIdle, ask }: Holding): boolean {
  if (isIdle) return true;
  let kept = 0;
  for (const lease of ask.held) if (!lease.isRevoked) kept++;
  return kept > ask.wanted;
}

/** Of the flow that has had most, the newest: it has done the least. */
function isBetterVictim(lease: Holding, best: Holding): boolean {
  const ahead =
    standing(lease.ask.client.job) - standing(best.ask.client.job) ||
    standing(lease.ask.client) - standing(best.ask.client) ||
    standing(lease.ask) - standing(best.ask);
  return ahead > 0 || (ahead === 0 && (lease.leaseId ?? 0) > (best.leaseId ?? 0));
}

function addRate(ask: Ask, sign: 1 | -1): void {
  ask.rate += sign * ask.cost;
  ask.client.rate += sign * ask.cost;
  ask.client.job.rate += sign * ask.cost;
}
