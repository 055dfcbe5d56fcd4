/**
 * Runs a synchronous function so that a cancel can break it: a SIGINT that arrives while it runs ends the function
 * with an error, and the process and everything in it live on.
 *
 * What the runtime itself does for that code is shielded: it is never broken off halfway.
 *
 * The guard costs about 50 µs, so only functions that have shown to take long, or have not run yet, are guarded.
 */
import { Script } from "node:vm";
import { monotonicMs } from "../base/clock.ts";
import { leaveExecution } from "../client/mod.ts";
import type { WorkerClaims } from "../owner/mod.ts";

const HOOK = Symbol.for("mobula.guarded");
/** Compiled when first needed. */
let script: Script | undefined;
/** A signal that was announced arrives within this time, or its sender is gone. */
const ANNOUNCED_SIGNAL_MS = 1_000;

/** Functions that took longer than this are guarded. */
export const GUARD_FROM_MICROS = 10_000;

/** Set while user code runs that a signal may break off. */
let guarding: WorkerClaims | undefined;

export class Interrupted extends Error {
  override name = "Interrupted";
}

/** @param key names what runs, see `guardKey`. @throws Interrupted when a cancel broke it; else what `fn` throws. */
export function runGuarded<T>(claims: WorkerClaims, key: number, fn: () => T): T {
  let outcome: { value: T } | { thrown: unknown } | undefined;
  let isInterrupted = false;
  const holder = globalThis as unknown as Record<symbol, unknown>;
  // The guard is entered and left inside the script: while Node.js changes the handlers of SIGINT around it, a signal
  // would end the process.
  holder[HOOK] = () => {
    claims.enterGuard(key);
    guarding = claims;
    try {
      outcome = { value: fn() };
    } catch (thrown) {
      outcome = { thrown };
    }
    guarding = undefined;
    if (claims.leaveGuard()) return;
    isInterrupted = true;
    meetSignal();
  };
  script ??= new Script('globalThis[Symbol.for("mobula.guarded")]()', { filename: "mobula:guard" });
  try {
    script.runInThisContext({ breakOnSigint: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_SCRIPT_EXECUTION_INTERRUPTED") throw error;
    isInterrupted = true;
    claims.leaveGuard();
    leaveExecution();
  } finally {
    guarding = undefined;
    holder[HOOK] = undefined;
  }
  if (isInterrupted || !outcome) {
    // An async function has given its promise, and nobody will wait for it any more.
    if (outcome && "value" in outcome) Promise.resolve(outcome.value).catch(() => {});
    throw new Interrupted("interrupted by a cancel");
  }
  if ("thrown" in outcome) throw outcome.thrown;
  return outcome.value;
}

/** Waits for a signal that was announced: it ends the script that this runs in. Returns when it does not come. */
function meetSignal(): void {
  const deadline = monotonicMs() + ANNOUNCED_SIGNAL_MS;
  while (monotonicMs() < deadline);
}

/**
 * Runs a part of the runtime that user code called: a cancel breaks user code only, since a table of the runtime that
 * was left halfway would harm whatever comes later.
 *
 * @throws Interrupted when a cancel was announced before, and its signal does not come.
 */
export function shielded<T>(fn: () => T): T {
  const claims = guarding;
  if (!claims) return fn();
  if (!claims.leaveGuard()) {
    meetSignal();
    throw new Interrupted("interrupted by a cancel");
  }
  guarding = undefined;
  try {
    return fn();
  } finally {
    claims.resumeGuard();
    guarding = claims;
  }
}
