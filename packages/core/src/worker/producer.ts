/**
 * Runs a generator as a stream, at most so many items ahead of the consumer.
 *
 * Items leave as they come. Those of a generator whose every step was quick leave together, a fraction of a millisecond
 * later: a system call for each would cost more than the items.
 */
import { setImmediate } from "node:timers/promises";
import { monotonicMs } from "../base/clock.ts";
import { GUARD_FROM_MICROS } from "./guard.ts";
import type { ResultWriter } from "./results.ts";
import type { Running } from "./running.ts";

export type AnyGenerator = Iterator<unknown> | AsyncIterator<unknown>;

/** The event loop, and with it a cancel, gets a turn at the latest after so much running. */
const YIELD_MICROS = 4_000;
/** Items of a quick generator leave at the latest after this time. */
const FLUSH_MICROS = 200;
/** A generator with a step as long as this is not quick: each item leaves before the next one is made. */
const LONG_MICROS = 1_000;
/** What is left of the longest step after each further one. */
const PEAK_KEPT = 0.999;

/** Runs one synchronous step so that a cancel can break it. */
export type StepGuard = <T>(step: () => T) => T;

export class Producer {
  private consumed = 0;
  private wake: (() => void) | undefined;
  private readonly bufferItems: number;
  private readonly running: Running;
  private readonly writer: ResultWriter;
  private readonly guard: StepGuard | undefined;
  /** Longest synchronous step, forgotten slowly. */
  private peakMicros = 0;

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
    let yieldedAt = monotonicMs();
    let flushedAt = yieldedAt;
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
      const startedAt = monotonicMs();
      const isGuarded = this.guard && (count < 2 || this.peakMicros > GUARD_FROM_MICROS);
      const step = isGuarded && this.guard ? this.guard(() => generator.next()) : generator.next();
      const endedAt = monotonicMs();
      this.peakMicros = Math.max(this.peakMicros * PEAK_KEPT, (endedAt - startedAt) * 1000);
      const item = step instanceof Promise ? await step : (step as IteratorResult<unknown>);
      if (item.done) return count;
      const value = item.value instanceof Promise ? await item.value : item.value;
      this.writer.item(this.running.seq, this.running.attempt, count, value);
      count++;
      // What a step awaits leaves the event loop free, and then everything leaves at the end of its turn.
      if (count <= 2 || this.peakMicros > LONG_MICROS || (endedAt - flushedAt) * 1000 > FLUSH_MICROS) {
        this.writer.flush();
        flushedAt = endedAt;
      }
      if ((endedAt - yieldedAt) * 1000 > YIELD_MICROS) {
        await setImmediate();
        yieldedAt = monotonicMs();
      }
    }
  }
}

export const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";

export const isGenerator = (value: unknown): value is AnyGenerator =>
  typeof value === "object" && value !== null && typeof (value as { next?: unknown }).next === "function";
