/** The lease that a worker works under: it says when it is idle, and ends it when the node asks. */
import type { LeaseId } from "../../core/src/base/mod.ts";
import type { FromNode } from "../../core/src/wire/mod.ts";
import type { SimWorker } from "./worker.ts";

const IDLE_MS = 10;

export class SimLease {
  private readonly worker: SimWorker;
  private current: LeaseId | undefined;
  private ended = 0;
  private isTold = false;
  private pauses = 0;

  constructor(worker: SimWorker) {
    this.worker = worker;
  }

  hasEnded(lease: number): boolean {
    return lease <= this.ended;
  }

  onMessage(message: FromNode): void {
    const { worker } = this;
    if (message.t === "lease-begin") {
      this.current = message.leaseId;
      this.isTold = false;
      worker.forgetAnswers();
      if (worker.isIdle) this.becameIdle();
    } else if (message.t === "lease-end" && this.current === message.leaseId && worker.isIdle) {
      this.ended = message.leaseId;
      this.current = undefined;
      // Nobody would ask for them any more.
      worker.forgetAnswers();
      worker.process.toNode({ t: "lease-ended", leaseId: message.leaseId });
    }
  }

  becameIdle(): void {
    const pause = ++this.pauses;
    this.worker.world.clock.schedule(IDLE_MS, () =>
      this.worker.process.turn(() => {
        if (pause === this.pauses && this.worker.isIdle) this.tell(true);
      }),
    );
  }

  becameBusy(): void {
    this.pauses++;
    if (this.isTold) this.tell(false);
  }

  private tell(idle: boolean): void {
    if (this.current === undefined || this.isTold === idle) return;
    this.isTold = idle;
    this.worker.process.toNode({ t: "lease-idle", leaseId: this.current, idle });
  }
}
