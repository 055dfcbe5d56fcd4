/** How late the loop of the head's process was at most: what it does must not hold it up, and what the disk does must not either. */
import { monitorEventLoopDelay } from "node:perf_hooks";

const RESOLUTION_MS = 20;
const WINDOW_MS = 60_000;
const NS_PER_MS = 1e6;

export class LoopLag {
  private readonly histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  private before = 0;

  constructor() {
    this.histogram.enable();
    setInterval(() => {
      this.before = this.now;
      this.histogram.reset();
    }, WINDOW_MS).unref();
  }

  /** In the last minute or two. */
  get maxMs(): number {
    return Math.round(Math.max(this.before, this.now) * 10) / 10;
  }

  private get now(): number {
    return Math.max(0, this.histogram.max / NS_PER_MS - RESOLUTION_MS);
  }
}
