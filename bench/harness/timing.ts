import type { Measurement } from "./protocol.ts";

/** Seconds since some fixed moment, monotonic. */
export const nowSeconds = (): number => performance.now() / 1000;

/**
 * Repeats `step` for at least `seconds` after a warm-up of half of that, and counts what the steps say they did: with
 * the plan's two seconds, what Ray's own benchmark (`ray microbenchmark`) does in each of its trials. The same loop
 * exists in `peers/ray/timing.py`: both sides must be timed alike.
 */
export async function repeat(seconds: number, step: () => Promise<number>): Promise<Measurement> {
  const warmUpEnd = nowSeconds() + seconds / 2;
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
