/** Runs a generator as a stream: items leave as they come, at most so many ahead of the consumer. */
import { setImmediate } from "node:timers/promises";
import { GUARD_FROM_MICROS } from "./guard.ts";
import type { ResultWriter } from "./results.ts";
import type { Running } from "./running.ts";

export type AnyGenerator = Iterator<unknown> | AsyncIterator<unknown>;

/** Items leave at the latest after so much running, */
const FLUSH_MICROS = 500;
/** at once when they take longer than this to make, so that a system call does not count, */
const SLOW_STEP_MICROS = 50;
/** and the first ones at once in any case. */
const FIRST_ITEMS = 4;
/** The event loop, and with it a cancel, gets a turn at the latest after so much running. */
const YIELD_MICROS = 4_000;

/** Runs one synchronous step so that a cancel can break it. */
export type StepGuard = <T>(step: () => T) => T;

export class Producer {
  private consumed = 0;
  private wake: (() => void) | undefined;
  private readonly bufferItems: number;
  private readonly running: Running;
  private readonly writer: ResultWriter;
  private readonly guard: StepGuard | undefined;
  /** Longest synchronous step so far. */
  private stepMicros = 0;

  constructor(running: Running, writer: ResultWriter, bufferItems: number, guard?: StepGuard) {
    this.guard = guard;
    this.running = running;
    this.writer = writer;
    this.bufferItems = bufferItems;
    running.onCancel(() => this.wake?.());
  }

  acknowledge(consumed: number): void {
    if (consumed <= this.consumed) return;
    this.consumed = consumed;
    this.wake?.();
  }

  /** Returns the number of items. @throws what the generator throws, or the cancellation. */
  async run(generator: AnyGenerator): Promise<number> {
    let count = 0;
    let flushedAt = performance.now();
    let yieldedAt = flushedAt;
    for (;;) {
      while (count - this.consumed > this.bufferItems && !this.running.cancelled) {
        await new Promise<void>((resolve) => {
          this.wake = resolve;
        });
        this.wake = undefined;
      }
      if (this.running.cancelled) {
        await generator.return?.(undefined);
        throw this.running.cancelled;
      }
      const startedAt = performance.now();
      const isGuarded = this.guard && (count < 2 || this.stepMicros > GUARD_FROM_MICROS);
      const step = isGuarded && this.guard ? this.guard(() => generator.next()) : generator.next();
      const stepMicros = (performance.now() - startedAt) * 1000;
      this.stepMicros = Math.max(this.stepMicros, stepMicros);
      const item = step instanceof Promise ? await step : (step as IteratorResult<unknown>);
      if (item.done) return count;
      const value = item.value instanceof Promise ? await item.value : item.value;
      this.writer.item(this.running.seq, this.running.attempt, count, value);
      count++;
      const now = performance.now();
      if (count <= FIRST_ITEMS || stepMicros > SLOW_STEP_MICROS || (now - flushedAt) * 1000 > FLUSH_MICROS) {
        this.writer.flush();
        flushedAt = now;
      }
      if ((now - yieldedAt) * 1000 > YIELD_MICROS) {
        await setImmediate();
        yieldedAt = performance.now();
      }
    }
  }
}

export const isGenerator = (value: unknown): value is AnyGenerator =>
  typeof value === "object" && value !== null && typeof (value as { next?: unknown }).next === "function";
