/** Drives a lease engine: events in, its orders to whoever carries them out, and a timer for its next look at the time. */
import { wallMs } from "../base/clock.ts";
import type { LeaseEngine, SchedulerCommand, SchedulerEvent } from "../scheduler/mod.ts";

const TICK_MS_MIN = 5;

export class LeaseLoop {
  private readonly engine: LeaseEngine;
  private readonly obey: (command: SchedulerCommand) => void;
  private readonly queued: SchedulerEvent[] = [];
  private isStepping = false;
  private tickTimer: NodeJS.Timeout | undefined;

  constructor(engine: LeaseEngine, obey: (command: SchedulerCommand) => void) {
    this.engine = engine;
    this.obey = obey;
  }

  /** One event after another: what a command leads to is handled when the commands of this event are done. */
  feed(event: SchedulerEvent): void {
    this.queued.push(event);
    if (this.isStepping) return;
    this.isStepping = true;
    try {
      for (let next = this.queued.shift(); next; next = this.queued.shift()) {
        for (const command of this.engine.step(next, wallMs())) this.obey(command);
      }
    } finally {
      this.isStepping = false;
    }
    this.scheduleTick();
  }

  private scheduleTick(): void {
    const now = wallMs();
    const atMs = this.engine.nextTickMs(now);
    clearTimeout(this.tickTimer);
    if (atMs === undefined) return;
    this.tickTimer = setTimeout(() => this.feed({ kind: "tick" }), Math.max(TICK_MS_MIN, atMs - now));
    // What waits keeps the process alive through the timer of control.
    this.tickTimer.unref();
  }

  close(): void {
    clearTimeout(this.tickTimer);
  }
}
