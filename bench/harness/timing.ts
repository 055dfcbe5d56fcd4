import type { Measurement } from "./protocol.ts";

/** Seconds since some fixed moment, monotonic. */
export const nowSeconds = (): number => performance.now() / 1000;

/**
 * Repeats `step` for at least `seconds` after a warm-up of a third of that, and counts what the steps say they did.
 * The same loop exists in `peers/ray/timing.py`: both sides must be timed alike.
 */
export async function repeat(seconds: number, step: () => Promise<number>): Promise<Measurement> {
  const warmUpEnd = nowSeconds() + seconds / 3;
  do await step();
  while (nowSeconds() < warmUpEnd);
  let count = 0;
  let elapsed = 0;
  const start = nowSeconds();
  do {
    count += await step();
    elapsed = nowSeconds() - start;
  } while (elapsed < seconds);
  return { seconds: elapsed, count, bytes: 0 };
}
