/**
 * The lease that this worker works under, seen from here. Its owner gives it back when it is idle, unless the owner's
 * thread is busy: a task that got its child's result and computes. So the worker tells its node when it has had nothing
 * to do for a while, and ends the lease itself when the node asks because others wait. Tasks that were sent under a
 * lease that has ended are given back unstarted.
 */
import { monotonicMs } from "../base/clock.ts";
import type { LeaseId } from "../base/ids.ts";
import type { ToNode } from "../wire/mod.ts";

const IDLE_MS = 10;
/** Its owner hears of a new lease by way of two nodes at most, and then sends the first task. */
const FIRST_TASK_MS = 200;

export class LeaseWatch {
  private readonly toNode: (message: ToNode) => void;
  private readonly flush: () => void;
  /** Whether there is nothing to do. */
  private readonly isIdle: () => boolean;
  private lease: LeaseId | undefined;
  /** The last one that ended in this way. The node counts its leases up. */
  private ended = 0;
  private idleFromMs = 0;
  private isTold = false;
  private timer: NodeJS.Timeout | undefined;

  /** @param flush what was said to the node leaves now: what begins may keep the thread for long. */
  constructor(toNode: (message: ToNode) => void, flush: () => void, isIdle: () => boolean) {
    this.toNode = toNode;
    this.flush = flush;
    this.isIdle = isIdle;
  }

  begin(lease: LeaseId): void {
    this.lease = lease;
    this.isTold = false;
    if (this.isIdle()) this.isIdleFrom(monotonicMs() + FIRST_TASK_MS);
  }

  /** The node asks; something may have come meanwhile. */
  end(lease: LeaseId): void {
    if (this.lease !== lease || !this.isIdle()) return;
    this.ended = lease;
    this.lease = undefined;
    this.toNode({ t: "lease-ended", leaseId: lease });
  }

  hasEnded(lease: number): boolean {
    return lease <= this.ended;
  }

  becameIdle(): void {
    this.isIdleFrom(monotonicMs() + IDLE_MS);
  }

  private isIdleFrom(ms: number): void {
    this.idleFromMs = ms;
    // One timer serves many short pauses.
    if (this.lease !== undefined && !this.isTold) this.timer ??= setTimeout(this.look, IDLE_MS).unref();
  }

  becameBusy(): void {
    if (!this.isTold || this.lease === undefined) return;
    this.isTold = false;
    this.toNode({ t: "lease-idle", leaseId: this.lease, idle: false });
    this.flush();
  }

  private readonly look = (): void => {
    this.timer = undefined;
    if (this.lease === undefined || this.isTold || !this.isIdle()) return;
    const leftMs = this.idleFromMs - monotonicMs();
    if (leftMs > 0) {
      this.timer = setTimeout(this.look, Math.ceil(leftMs)).unref();
      return;
    }
    this.isTold = true;
    this.toNode({ t: "lease-idle", leaseId: this.lease, idle: true });
  };
}
