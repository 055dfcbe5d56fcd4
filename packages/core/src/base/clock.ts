/**
 * Time, without the global `performance`, whose first use loads a module of Node.js that takes milliseconds: every
 * worker would pay for it at its start.
 */

/** Milliseconds of a clock that never goes back and that all processes of a machine share; it counts from any moment. */
export function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e3 + nanoseconds / 1e6;
}

let offset: number | undefined;

/** What {@link wallMs} adds to the monotonic clock. The processes of a node use the node's, so that their times compare. */
export function clockOffsetMs(): number {
  offset ??= Date.now() - monotonicMs();
  return offset;
}

export function setClockOffset(offsetMs: number): void {
  offset = offsetMs;
}

/** Milliseconds since 1970, with fractions: never going back, and comparable among the processes of a node. */
export const wallMs = (): number => clockOffsetMs() + monotonicMs();

/** Calls it after so long; what it returns takes that back. */
export function later(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
}

/** The time of what runs in virtual time too. */
export interface Clock {
  /** Milliseconds; never going back. */
  nowMs(): number;
  later(ms: number, run: () => void): () => void;
}

export const machineClock: Clock = { nowMs: monotonicMs, later };

/** Calls it again and again, so long apart; what it returns ends that. */
export function every(ms: number, run: () => void, clock: Clock = machineClock): () => void {
  let takeBack = (): void => {};
  const next = (): void => {
    takeBack = clock.later(ms, () => {
      next();
      run();
    });
  };
  next();
  return () => takeBack();
}

/** Resolves after so long, or when the signal comes. */
export function pause(ms: number, signal: AbortSignal | undefined, clock: Clock = machineClock): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      takeBack();
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const takeBack = clock.later(ms, end);
    signal?.addEventListener("abort", end);
    if (signal?.aborted) end();
  });
}
