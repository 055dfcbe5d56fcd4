/**
 * When the I/O thread looks for what comes next without sleeping.
 *
 * A program that waits for each call before it makes the next, and the worker that answers it, take less time than it
 * costs to put a thread to sleep and wake it. As long as such calls follow each other, the thread stays on its core.
 */

/** How long it looks after the last activity. */
export const SPIN_MS = 0.2;
/** Only while activities follow each other within this time on average. */
export const SPIN_GAP_MS = 0.2;
/** A longer gap counts as this long, so that one pause is made up for by a few calls. */
const GAP_MS_MAX = 0.8;
/** What a new gap weighs in the average. */
const WEIGHT = 1 / 8;

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
    return underWay <= 1 && this.gapMs < SPIN_GAP_MS && nowMs - this.activeAt < SPIN_MS;
  }
}
