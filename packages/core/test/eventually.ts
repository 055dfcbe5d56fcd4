import { setTimeout as delay } from "node:timers/promises";

const POLL_MS = 5;
const EVENTUALLY_MS = 15_000;

type Falsy = undefined | null | false | 0 | "";

/**
 * Asks again until `claim` gives something true, and gives that. For what tells nobody that it has come to pass.
 *
 * @param what for the error, as it is then.
 * @param withinMs default 15,000.
 */
export async function eventually<T>(
  claim: () => T | Promise<T>,
  what: string | (() => string),
  withinMs = EVENTUALLY_MS,
): Promise<Exclude<T, Falsy>> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const value = await claim();
    if (value) return value as Exclude<T, Falsy>;
    if (performance.now() > deadline) {
      throw new Error(`it did not come to pass within ${withinMs} ms: ${typeof what === "string" ? what : what()}`);
    }
    await delay(POLL_MS);
  }
}
