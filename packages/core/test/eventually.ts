import { setTimeout as delay } from "node:timers/promises";

const POLL_MS = 5;
const EVENTUALLY_MS = 15_000;

/** Asks again until `claim` gives something true, and gives that. */
export async function eventually<T>(claim: () => T | Promise<T>, what: string): Promise<T> {
  const deadline = performance.now() + EVENTUALLY_MS;
  for (;;) {
    const value = await claim();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`it did not come to pass: ${what}`);
    await delay(POLL_MS);
  }
}
