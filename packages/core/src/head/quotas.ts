/**
 * How much of the cluster each job may use at once, and how what it may have is divided among what it asks for. Pure.
 *
 * 1. A lease counts from when it is asked for at a node until it is given back; an actor from when its node was chosen until it ends; a
 *    placement group with all its bundles from when nodes are asked for them until the last is free, and nothing that runs in it.
 *    A task that waits for others gives its CPUs back, here as at its node: nodes report those.
 * 2. What a job asks for has equal parts of its quota, by leases, those of higher priority first. What has more than its part
 *    gives back what is too much as soon as what runs there has ended.
 * 3. What has leases in hand that it has no use for keeps them while nothing else of the job needs them: it will want the same again
 *    a moment later, and gives them back by itself when it does not.
 * 4. What runs is never ended for a quota, also not when that is lowered.
 * 5. Actors and groups have what the tasks of their job leave, and turns in which tasks leave them something (`quota-turns.ts`). In
 *    those they get nothing of what waiting tasks have given back, since what those wait for may need it.
 */
import type { JobId, NodeId } from "../base/ids.ts";
import type { ResourceUnits } from "../base/resources.ts";
import { describeResources } from "../placement/mod.ts";
import { QuotaTurns, type Waiter } from "./quota-turns.ts";

/** One kind of leases that a job asks for. */
export interface Claim {
  readonly units: ResourceUnits;
  readonly priority: number;
  readonly wanted: number;
  readonly granted: number;
  /** So many it was allowed last, those it has included. */
  readonly allowed: number;
}

type Amounts = Record<string, number>;

export class Quotas {
  /** As the jobs themselves say. */
  private readonly own = new Map<JobId, ResourceUnits>();
  /** As an administrator says, which counts. */
  private readonly set = new Map<JobId, ResourceUnits>();
  /** Of all jobs: one that has no quota may be given one. */
  private readonly charged = new Map<JobId, Amounts>();
  private readonly blocked = new Map<NodeId, ReadonlyMap<JobId, ResourceUnits>>();
  private readonly turns = new QuotaTurns();
  /** Grows when a job may have more than before, or is to have something else. */
  version = 0;

  of(job: JobId | undefined): ResourceUnits | undefined {
    return job === undefined ? undefined : (this.set.get(job) ?? this.own.get(job));
  }

  limited(): JobId[] {
    return [...new Set([...this.own.keys(), ...this.set.keys()])];
  }

  jobBegan(job: JobId, quota: ResourceUnits | undefined): void {
    if (quota) this.own.set(job, quota);
    this.version++;
  }

  /** @param quota undefined: what the job says itself counts again. */
  change(job: JobId, quota: ResourceUnits | undefined): void {
    if (quota) this.set.set(job, quota);
    else this.set.delete(job);
    this.version++;
  }

  jobEnded(job: JobId): void {
    this.own.delete(job);
    this.set.delete(job);
    this.turns.jobEnded(job);
  }

  /** Call it several times a second. */
  tick(nowMs: number): void {
    const couldFit = ({ job, units }: Waiter): boolean => {
      const free = this.free(job);
      return free === undefined || slotsIn(free, units) >= 1;
    };
    if (this.turns.pass(nowMs, couldFit)) this.version++;
  }

  /** Tasks of the job have given something back. */
  returned(job: JobId): void {
    if (this.turns.hasWaiting(job)) this.version++;
  }

  /** What an actor or a placement group of the job has, or has no more. */
  charge(job: JobId, units: ResourceUnits, count: 1 | -1): void {
    const used = this.charged.get(job) ?? {};
    for (const name in units) {
      const left = (used[name] ?? 0) + count * (units[name] ?? 0);
      if (left > 0) used[name] = left;
      else delete used[name];
    }
    if (Object.keys(used).length > 0) this.charged.set(job, used);
    else this.charged.delete(job);
    if (count < 0) this.version++;
  }

  /** What of a node is leased to tasks that wait, by job. True when something has changed. */
  reported(node: NodeId, blocked: readonly (readonly [JobId, ResourceUnits])[]): boolean {
    const before = this.blocked.get(node);
    if (blocked.length === 0 && !before) return false;
    if (JSON.stringify([...(before ?? [])]) === JSON.stringify(blocked)) return false;
    if (blocked.length === 0) this.blocked.delete(node);
    else this.blocked.set(node, new Map(blocked));
    this.version++;
    return true;
  }

  nodeGone(node: NodeId): void {
    if (this.blocked.delete(node)) this.version++;
  }

  /**
   * Whether the job may have this actor, or group, beside the leases that it has. If not it waits, until it is charged and
   * {@link withdraw}n: it may have room in the quota and none in the cluster.
   */
  hasRoom(waiter: Waiter, claims: readonly Claim[], nowMs: number): boolean {
    const free = this.free(waiter.job);
    if (!free || this.fitsBeside(waiter, claims, free)) return true;
    this.turns.wait(waiter, nowMs);
    return false;
  }

  /** It has what it waited for, or does not want it any more. */
  withdraw(job: JobId, id: string, nowMs: number): void {
    if (this.turns.leave(job, id, nowMs)) this.version++;
  }

  private fitsBeside({ job, id, units }: Waiter, claims: readonly Claim[], free: Amounts): boolean {
    const turn = this.turns.at(job);
    const left = { ...free };
    this.giveBack(job, left);
    // What tasks could have if it were nobody's turn.
    const parts = turn ? fairParts({ ...left }, claims) : [];
    for (const [index, claim] of claims.entries()) {
      take(free, claim.units, had(claim));
      take(left, claim.units, Math.max(had(claim), parts[index] ?? 0));
    }
    if (turn?.id === id && slotsIn(free, units) >= 1) return true;
    if (turn && turn.id !== id) take(left, turn.units, 1);
    return slotsIn(left, units) >= 1;
  }

  /** How many leases each may have in all; undefined when the job has no quota. */
  divide(job: JobId, claims: readonly Claim[]): readonly number[] | undefined {
    const free = this.free(job);
    if (!free) return undefined;
    this.giveBack(job, free);
    const turn = this.turns.at(job);
    if (turn) take(free, turn.units, 1);
    const unused = { ...free };
    const parts = fairParts(unused, claims);
    for (const [index, { units, granted }] of claims.entries()) {
      const part = parts[index] ?? 0;
      const inHand = Math.max(0, Math.min(granted - part, slotsIn(unused, units)));
      take(unused, units, inHand);
      parts[index] = part + inHand;
    }
    // What has more than its part keeps it until it has given it back; only what is left then can be had.
    for (const { units, granted } of claims) take(free, units, granted);
    return claims.map(({ units, granted }, index) => {
      const part = parts[index] ?? 0;
      const more = Math.max(0, Math.min(part - granted, slotsIn(free, units)));
      take(free, units, more);
      return part <= granted ? part : granted + more;
    });
  }

  /** A sentence. */
  describe(job: JobId | undefined): string {
    const most = `Its job may use at most ${describeResources(this.of(job) ?? {})} of the cluster at once, and does.`;
    const turn = job !== undefined && this.turns.at(job);
    return turn
      ? `${most} What comes free of ${describeResources(turn.units)} is for what has waited there longest.`
      : most;
  }

  /** What leases of the job may have, without what those that wait have given back; not of what has no limit. */
  private free(job: JobId): Amounts | undefined {
    const quota = this.of(job);
    if (!quota) return undefined;
    const free: Amounts = { ...quota };
    take(free, this.charged.get(job) ?? {}, 1);
    return free;
  }

  private giveBack(job: JobId, free: Amounts): void {
    for (const jobs of this.blocked.values()) take(free, jobs.get(job) ?? {}, -1);
  }
}

/** What it has, or may be granted any moment. */
const had = ({ granted, allowed, wanted }: Claim): number => Math.max(granted, Math.min(allowed, wanted));

function take(free: Amounts, units: ResourceUnits, count: number): void {
  for (const name in units) {
    const has = free[name];
    if (has !== undefined) free[name] = has - (units[name] ?? 0) * count;
  }
}

/** How many fit. */
function slotsIn(free: Amounts, units: ResourceUnits): number {
  let least = Number.POSITIVE_INFINITY;
  for (const name in units) {
    const has = free[name];
    const wanted = units[name] ?? 0;
    if (has !== undefined && wanted > 0) least = Math.min(least, Math.floor(has / wanted));
  }
  return Math.max(0, least);
}

/** In turns, a few leases at a time; the steps are few however many leases there are. */
function fairParts(free: Amounts, claims: readonly Claim[]): number[] {
  const parts = claims.map(() => 0);
  const order = [...claims.keys()].sort((a, b) => (claims[b]?.priority ?? 0) - (claims[a]?.priority ?? 0));
  for (let from = 0; from < order.length; ) {
    const { priority } = claims[order[from] ?? 0] ?? {};
    const equals = order.slice(from).filter((index) => claims[index]?.priority === priority);
    from += equals.length;
    for (let open = equals; open.length > 0; ) {
      open = open.filter((index) => {
        const claim = claims[index];
        if (!claim) return false;
        const missing = claim.wanted - (parts[index] ?? 0);
        const room = slotsIn(free, claim.units);
        if (missing <= 0 || room === 0) return false;
        const step = Math.min(missing, Math.max(1, Math.floor(Math.min(room, missing) / (2 * open.length))));
        parts[index] = (parts[index] ?? 0) + step;
        take(free, claim.units, step);
        return true;
      });
    }
  }
  return parts;
}
