/** How many attempts ended in each of the last seconds. */
import { ATTEMPT_OUTCOMES, type AttemptOutcome, type Tally } from "../events/mod.ts";

const SECONDS = 120;
/** Reports of one second come for some time after it. */
const SLOTS = SECONDS + 30;
const FAILED: ReadonlySet<AttemptOutcome> = new Set(["error", "lost"]);

export class Throughput {
  private readonly seconds = new Float64Array(SLOTS);
  private readonly finished = new Float64Array(SLOTS);
  private readonly failed = new Float64Array(SLOTS);

  /** @param atMs when the last of them ended. */
  add(tallies: readonly Tally[], atMs: number): void {
    const second = Math.floor(atMs / 1000);
    const slot = second % SLOTS;
    const before = this.seconds[slot] ?? 0;
    // It was so long ago that its place is another second's.
    if (second < before) return;
    if (second > before) {
      this.seconds[slot] = second;
      this.finished[slot] = 0;
      this.failed[slot] = 0;
    }
    for (const { counts } of tallies) {
      for (const [index, outcome] of ATTEMPT_OUTCOMES.entries()) {
        const column = outcome === "ok" ? this.finished : FAILED.has(outcome) ? this.failed : undefined;
        if (column) column[slot] = (column[slot] ?? 0) + (counts[index] ?? 0);
      }
    }
  }

  /** The last whole seconds, the newest last. */
  read(nowMs: number): { atMs: number; finished: number; failed: number }[] {
    const end = Math.floor(nowMs / 1000);
    return Array.from({ length: SECONDS }, (_, index) => {
      const second = end - SECONDS + index;
      const slot = second % SLOTS;
      const isThere = this.seconds[slot] === second;
      const read = (column: Float64Array): number => (isThere ? (column[slot] ?? 0) : 0);
      return { atMs: second * 1000, finished: read(this.finished), failed: read(this.failed) };
    });
  }
}
