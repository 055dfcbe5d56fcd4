/**
 * One pass over everything that waits, in the order of `fairness.ts`: grant what fits a ready worker, promise what fits
 * but needs a process first, and remember what does not fit.
 *
 * What does not fit is passed by smaller demands, but only for {@link RESERVE_AFTER_MS}: then what it needs is kept
 * back for it, so that a stream of small tasks cannot hold off a large one for ever.
 */
import type { Bundles } from "./bundles.ts";
import type { Environments } from "./environments.ts";
import { compareAsks, countAhead } from "./fairness.ts";
import type { Allocation, ResourcePool } from "./resource-pool.ts";
import type { Ask, Worker } from "./state.ts";
import type { Tables } from "./tables.ts";
import type { WorkerNeeds, WorkerPlan } from "./workers.ts";

const RESERVE_AFTER_MS = 1_000;
/** So many promises are enough to order processes by; the next pass makes the next ones. */
const PROMISES_MAX = 64;

export interface PassResult {
  /** Waiting asks for which there is no room, in the order in which they are to be served. */
  readonly starved: readonly Ask[];
  readonly infeasible: readonly Ask[];
  /** They wait for their environments, and for nothing else yet. */
  readonly unprepared: readonly Ask[];
  /** For so many of an ask there is room, and no process yet. */
  readonly promised: ReadonlyMap<Ask, number>;
  readonly needs: ReadonlyMap<string, WorkerNeeds>;
}

export interface GrantPassOptions {
  readonly tables: Tables;
  readonly bundles: Bundles;
  readonly plan: WorkerPlan;
  readonly environments: Environments;
  readonly nowMs: number;
  grant(ask: Ask, worker: Worker, pool: ResourcePool, allocation: Allocation): void;
}

const NOTHING: PassResult = { starved: [], infeasible: [], unprepared: [], promised: new Map(), needs: new Map() };

export function grantPass({ tables, bundles, plan, environments, nowMs, grant }: GrantPassOptions): PassResult {
  const waiting = new Set<Ask>();
  for (const ask of tables.active) if (tables.missing(ask) > 0) waiting.add(ask);
  if (waiting.size === 0) return NOTHING;
  const starved: Ask[] = [];
  const infeasible: Ask[] = [];
  const unprepared: Ask[] = [];
  const needs = new Map<string, WorkerNeeds>();
  const heldBack = new Map<ResourcePool, Map<string, number>>([[bundles.node, bundles.heldBack()]]);
  const promises: { readonly ask: Ask; readonly pool: ResourcePool; readonly allocation: Allocation }[] = [];

  while (waiting.size > 0) {
    const ask = first(waiting);
    const pools = bundles.poolsOf(ask);
    const able = pools.filter((one) => one.neverFits(ask.resources).length === 0);
    // What can be nowhere is not worth a build; what has no room yet is.
    if ((pools.length === 0 || able.length > 0) && !environments.isReady(ask)) {
      waiting.delete(ask);
      unprepared.push(ask);
      continue;
    }
    const pool = able.find((one) => one.lacks(ask.resources, heldBack.get(one)).length === 0);
    if (!pool) {
      waiting.delete(ask);
      // Bundles that have left this node may come again; only what is here can be too small for ever.
      if (pools.length > 0 && able.length === 0) infeasible.push(ask);
      else starved.push(ask);
      const [first] = able;
      const waitedMs = nowMs - (ask.waitingSinceMs ?? nowMs);
      if (first && ask.preemptAfterMs !== undefined && waitedMs >= ask.preemptAfterMs) ask.isUrgent = true;
      if (first && (ask.isUrgent || waitedMs >= RESERVE_AFTER_MS)) holdBack(ask, first, tables, heldBack);
      continue;
    }
    const worker = typeof ask.target === "object" ? ask.target : plan.take(ask);
    if (!worker && promises.length >= PROMISES_MAX) {
      waiting.delete(ask);
      continue;
    }
    const allocation = pool.allocate(ask.resources);
    if (!allocation) {
      // Only a device that is split in the wrong places can say no after `lacks` said yes.
      waiting.delete(ask);
      starved.push(ask);
      continue;
    }
    if (worker) grant(ask, worker, pool, allocation);
    else {
      promises.push({ ask, pool, allocation });
      ask.promised++;
      countAhead(ask, 1);
      const need = needs.get(ask.envKey) ?? { runtimeEnv: ask.runtimeEnv, count: 0 };
      need.count++;
      needs.set(ask.envKey, need);
    }
    if (tables.missing(ask) - ask.promised <= 0) waiting.delete(ask);
  }
  const promised = new Map<Ask, number>();
  for (const { ask, pool, allocation } of promises) {
    if (!promised.has(ask)) promised.set(ask, ask.promised);
    pool.release(allocation);
    ask.promised = 0;
    countAhead(ask, -1);
  }
  return { starved, infeasible, unprepared, promised, needs };
}

/**
 * Keeps what `ask` needs for it: one lease, or as many as others were told to end for, or those would get it again. When what it lacks is held by a task that waits for others, only that is kept: those
 * others may need the rest to finish, and nothing would ever move.
 */
function holdBack(
  ask: Ask,
  pool: ResourcePool,
  tables: Tables,
  heldBack: Map<ResourcePool, Map<string, number>>,
): void {
  const kept = heldBack.get(pool) ?? new Map<string, number>();
  heldBack.set(pool, kept);
  const lacking = pool.lacks(ask.resources, kept);
  let isHeldByBlocked = false;
  for (const { isBlocked, pool: of, allocation } of tables.leases.values()) {
    if (of === pool && isBlocked && lacking.some((name) => (allocation.units[name] ?? 0) > 0)) isHeldByBlocked = true;
  }
  for (const [name, units] of Object.entries(ask.resources)) {
    if (!isHeldByBlocked || lacking.includes(name)) {
      kept.set(name, (kept.get(name) ?? 0) + units * Math.max(1, ask.roomComing));
    }
  }
}

function first(waiting: Iterable<Ask>): Ask {
  let best: Ask | undefined;
  for (const ask of waiting) if (!best || compareAsks(ask, best) < 0) best = ask;
  // The caller asks only while something waits.
  return best as Ask;
}
