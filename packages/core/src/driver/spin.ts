/**
 * When the I/O thread looks for what comes next without sleeping.
 *
 * A program that waits for each call before it makes the next, and the worker that answers it, take less time than it
 * costs to put a thread to sleep and wake it. As long as such calls follow each other, the thread stays on its core.
 * It gives up soon: on a machine with few cores, the one that it waits for may be waiting for this core.
 */

/** Only while activities follow each other within this time on average. */
export const SPIN_GAP_MS = 0.2;
/** A longer gap counts as this long, so that one pause is made up for by a few calls. */
const GAP_MS_MAX = 0.8;
/** What a new gap weighs in the average. */
const WEIGHT = 1 / 8;
/** It looks for so many average gaps, within these bounds. */
const SPIN_GAPS = 3;
const SPIN_MS_MIN = 0.05;
export const SPIN_MS_MAX = 0.2;

export class SpinRule {
  private activeAt = Number.NEGATIVE_INFINITY;
  private gapMs = GAP_MS_MAX;

  /** Something came in: a record or a frame. */
  active(nowMs: number): void {
    this.gapMs += (Math.min(nowMs - this.activeAt, GAP_MS_MAX) - this.gapMs) * WEIGHT;
    this.activeAt = nowMs;
  }

  /**
   * @param underWay tasks and calls that workers have. With more than one, the cores have other work, and there is no
   * single answer that the program waits for.
   */
  isWorthwhile(nowMs: number, underWay: number): boolean {
    if (underWay > 1 || this.gapMs > SPIN_GAP_MS) return false;
    return nowMs - this.activeAt < Math.min(Math.max(this.gapMs * SPIN_GAPS, SPIN_MS_MIN), SPIN_MS_MAX);
  }
}
