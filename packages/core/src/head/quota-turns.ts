/**
 * Turns of actors and placement groups that wait for the quota of their job, beside tasks that would use all of it for ever. Pure.
 *
 * 1. The first that has waited for a second, by priority, then age, and would fit beside what actors and groups of the job have,
 *    has a turn: what tasks give back of the quota is for it. No task is ended for that.
 * 2. When that was not enough, tasks may have all of it again for as long, and then the turn is twice as long, up to a minute.
 *    After a turn that was enough tasks have a pause as well: so they have the quota for half of the time, whatever waits.
 */
import type { JobId } from "../base/ids.ts";
import type { ResourceUnits } from "../base/resources.ts";

export interface Waiter {
  /** Of all jobs. */
  readonly id: string;
  readonly job: JobId;
  readonly units: ResourceUnits;
  readonly priority: number;
}

interface Turn {
  readonly of: Waiter;
  readonly beganMs: number;
  readonly endsMs: number;
}

interface Waiting {
  readonly waiters: Map<string, Waiter & { readonly sinceMs: number }>;
  turn: Turn | undefined;
  pausedUntilMs: number;
  lengthMs: number;
  /** Whose turn was last. */
  last: string | undefined;
}

const AFTER_MS = 1_000;
const FIRST_MS = 2_000;
const MAX_MS = 60_000;

export class QuotaTurns {
  private readonly jobs = new Map<JobId, Waiting>();

  /** Said again it changes nothing. */
  wait(waiter: Waiter, nowMs: number): void {
    let waiting = this.jobs.get(waiter.job);
    if (!waiting) {
      waiting = { waiters: new Map(), turn: undefined, pausedUntilMs: 0, lengthMs: FIRST_MS, last: undefined };
      this.jobs.set(waiter.job, waiting);
    }
    if (!waiting.waiters.has(waiter.id)) waiting.waiters.set(waiter.id, { ...waiter, sinceMs: nowMs });
  }

  /** It has what it waited for, or does not want it any more. True when it had a turn. */
  leave(job: JobId, id: string, nowMs: number): boolean {
    const waiting = this.jobs.get(job);
    waiting?.waiters.delete(id);
    if (waiting?.turn?.of.id !== id) return false;
    waiting.pausedUntilMs = nowMs + (nowMs - waiting.turn.beganMs);
    waiting.turn = undefined;
    return true;
  }

  jobEnded(job: JobId): void {
    this.jobs.delete(job);
  }

  /** What has its turn now. */
  at(job: JobId): Waiter | undefined {
    return this.jobs.get(job)?.turn?.of;
  }

  hasWaiting(job: JobId): boolean {
    return (this.jobs.get(job)?.waiters.size ?? 0) > 0;
  }

  /** @param couldFit if all tasks had ended. @returns whether a turn has begun or ended. */
  pass(nowMs: number, couldFit: (waiter: Waiter) => boolean): boolean {
    let hasChanged = false;
    for (const [job, waiting] of this.jobs) {
      if (waiting.turn && nowMs >= waiting.turn.endsMs) {
        waiting.turn = undefined;
        waiting.pausedUntilMs = nowMs + waiting.lengthMs;
        waiting.lengthMs = Math.min(MAX_MS, 2 * waiting.lengthMs);
        hasChanged = true;
      }
      if (waiting.turn || nowMs < waiting.pausedUntilMs) continue;
      if (waiting.waiters.size === 0) this.jobs.delete(job);
      let first: Waiter | undefined;
      for (const waiter of waiting.waiters.values()) {
        if (first && first.priority >= waiter.priority) continue;
        if (nowMs - waiter.sinceMs >= AFTER_MS && couldFit(waiter)) first = waiter;
      }
      if (!first) continue;
      if (waiting.last !== first.id) waiting.lengthMs = FIRST_MS;
      waiting.last = first.id;
      waiting.turn = { of: first, beganMs: nowMs, endsMs: nowMs + waiting.lengthMs };
      hasChanged = true;
    }
    return hasChanged;
  }
}
