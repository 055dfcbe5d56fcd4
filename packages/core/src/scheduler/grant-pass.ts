/**
 * One pass over everything that waits, in the order of `fairness.ts`: grant what fits a ready worker, promise what fits
 * but needs a process first, and remember what does not fit.
 *
 * What does not fit is passed by smaller demands, but only for {@link RESERVE_AFTER_MS}: then what it needs is kept
 * back for it, so that a stream of small tasks cannot hold off a large one for ever.
 */
import { compareAsks } from "./fairness.ts";
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
  readonly needs: ReadonlyMap<string, WorkerNeeds>;
  /** CPU units that are neither granted nor promised. */
  readonly freeCpuUnits: number;
}

export interface GrantPassOptions {
  readonly tables: Tables;
  readonly pool: ResourcePool;
  readonly plan: WorkerPlan;
  readonly nowMs: number;
  grant(ask: Ask, worker: Worker, allocation: Allocation): void;
}

export function grantPass({ tables, pool, plan, nowMs, grant }: GrantPassOptions): PassResult {
  const starved: Ask[] = [];
  const infeasible: Ask[] = [];
  const needs = new Map<string, WorkerNeeds>();
  const heldBack = new Map<string, number>();
  const promises: { readonly ask: Ask; readonly allocation: Allocation }[] = [];
  const waiting = new Set<Ask>();
  for (const ask of tables.active) if (tables.missing(ask) > 0) waiting.add(ask);

  while (waiting.size > 0) {
    const ask = first(waiting);
    if (pool.neverFits(ask.resources).length > 0) {
      waiting.delete(ask);
      infeasible.push(ask);
      continue;
    }
    const lacking = pool.lacks(ask.resources, heldBack);
    if (lacking.length > 0) {
      waiting.delete(ask);
      starved.push(ask);
      if (nowMs - (ask.waitingSinceMs ?? nowMs) >= RESERVE_AFTER_MS) holdBack(ask, lacking, tables, heldBack);
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
    if (worker) grant(ask, worker, allocation);
    else {
      promises.push({ ask, allocation });
      ask.promised++;
      count(ask, 1);
      const need = needs.get(ask.envKey) ?? { runtimeEnv: ask.runtimeEnv, count: 0 };
      need.count++;
      needs.set(ask.envKey, need);
    }
    if (tables.missing(ask) - ask.promised <= 0) waiting.delete(ask);
  }
  const freeCpuUnits = pool.freeOf("cpu");
  for (const { ask, allocation } of promises) {
    pool.release(allocation);
    ask.promised = 0;
    count(ask, -1);
  }
  return { starved, infeasible, needs, freeCpuUnits };
}

/**
 * Keeps what `ask` needs for it. When what it lacks is held by a task that waits for others, only that is kept: those
 * others may need the rest to finish, and nothing would ever move.
 */
function holdBack(ask: Ask, lacking: readonly string[], tables: Tables, heldBack: Map<string, number>): void {
  let isHeldByBlocked = false;
  for (const { isBlocked, allocation } of tables.leases.values()) {
    if (isBlocked && lacking.some((name) => (allocation.units[name] ?? 0) > 0)) isHeldByBlocked = true;
  }
  for (const [name, units] of Object.entries(ask.resources)) {
    if (!isHeldByBlocked || lacking.includes(name)) heldBack.set(name, (heldBack.get(name) ?? 0) + units);
  }
}

/** A promise counts like a grant while the pass decides who is next. */
function count(ask: Ask, sign: 1 | -1): void {
  ask.rate += sign * ask.cost;
  ask.client.rate += sign * ask.cost;
  ask.client.job.rate += sign * ask.cost;
}

function first(waiting: Iterable<Ask>): Ask {
  let best: Ask | undefined;
  for (const ask of waiting) if (!best || compareAsks(ask, best) < 0) best = ask;
  // The caller asks only while something waits.
  return best as Ask;
}
