/**
 * Runs user code so that a cancel can break it: a SIGINT that arrives while a synchronous run of it lasts ends the run,
 * and the process and everything in it live on.
 *
 * 1. `breakable` runs a piece of the runtime inside a script of `vm` that SIGINT ends. That costs less than a
 *    microsecond while the watch for SIGINT is kept (interrupt-watch.ts), so one piece runs many short tasks.
 * 2. In it, `runGuarded` runs user code. It says in shared memory whose, so a cancel never hits anything else.
 * 3. What the runtime itself does for that code is `shielded`: it is never broken off halfway.
 *
 * Modules that this code loads are not broken off either: see shield-loading.ts.
 * What V8 runs later for that code is not reached: callbacks, and what follows an `await`. See docs/ARCHITECTURE.md.
 */
import { Script } from "node:vm";
import { monotonicMs } from "../base/clock.ts";
import { leaveExecution } from "../client/mod.ts";
import type { WorkerClaims } from "../owner/mod.ts";
import { isWatchKept } from "./interrupt-watch.ts";

/** What the script calls: a name costs half of what a symbol would. */
const HOOK = "$mobulaBreakable";
const OPTIONS = { breakOnSigint: true };
/** A signal that was announced arrives within this time, or its sender is gone. */
const ANNOUNCED_SIGNAL_MS = 1_000;
/** Where a watch has to be started for each run, only functions that took longer than this, or are new, are guarded. */
const GUARD_FROM_MICROS = 10_000;

/** Compiled when first needed. */
let script: Script | undefined;
let work: () => void = () => {};
let isInside = false;
/** Set while user code runs that a signal may break off. */
let guarding: WorkerClaims | undefined;

export class Interrupted extends Error {
  override name = "Interrupted";

  constructor() {
    super("interrupted by a cancel");
  }
}

/** Whether code that has run so often, and takes so long on average, is guarded. */
export const isGuarded = (runs: number, micros: number): boolean =>
  isWatchKept() || runs < 2 || micros > GUARD_FROM_MICROS;

function compiled(): Script {
  Object.defineProperty(globalThis, HOOK, { value: () => work() });
  return new Script(`${HOOK}()`, { filename: "mobula:guard" });
}

/** False when a cancel broke what `runGuarded` ran in it; `piece` was broken off there. */
function breakable(claims: WorkerClaims, piece: () => void): boolean {
  script ??= compiled();
  work = piece;
  isInside = true;
  try {
    script.runInThisContext(OPTIONS);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_SCRIPT_EXECUTION_INTERRUPTED") throw error;
    guarding = undefined;
    claims.leaveGuard();
    leaveExecution();
    return false;
  } finally {
    isInside = false;
  }
}

/** Runs a piece of the runtime to its end: `brokenOff` settles what a cancel broke, and the piece goes on behind it. */
export function runBreakable(claims: WorkerClaims | undefined, piece: () => void, brokenOff: () => void): void {
  if (!claims || !isWatchKept()) piece();
  else while (!breakable(claims, piece)) brokenOff();
}

/**
 * @param key names what runs, see `guardKey`.
 * @throws Interrupted when a cancel broke it, unless it runs in something breakable, which is broken off; else what
 *   `fn` throws.
 */
export function runGuarded<T>(claims: WorkerClaims, key: number, fn: () => T): T {
  if (isInside) return guardedInside(claims, key, fn);
  let outcome: { value: T } | { thrown: unknown } | undefined;
  const isWhole = breakable(claims, () => {
    try {
      outcome = { value: guardedInside(claims, key, fn) };
    } catch (thrown) {
      outcome = { thrown };
    }
  });
  if (!isWhole || !outcome) throw new Interrupted();
  if ("thrown" in outcome) throw outcome.thrown;
  return outcome.value;
}

/** The guard is entered and left inside the script: outside of it, where nothing is broken, a signal must not come. */
function guardedInside<T>(claims: WorkerClaims, key: number, fn: () => T): T {
  claims.enterGuard(key);
  guarding = claims;
  let value: T;
  try {
    value = fn();
  } catch (error) {
    leave(claims);
    throw error;
  }
  leave(claims, value);
  return value;
}

/** @param value what comes of it when a cancel came first: of an async function, a promise that nobody will wait for. */
function leave(claims: WorkerClaims, value?: unknown): void {
  guarding = undefined;
  if (claims.leaveGuard()) return;
  Promise.resolve(value).catch(() => {});
  meetSignal();
  throw new Interrupted();
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
    throw new Interrupted();
  }
  guarding = undefined;
  try {
    return fn();
  } finally {
    claims.resumeGuard();
    guarding = claims;
  }
}
