/** Runs a generator as a stream: items leave as they come, at most so many ahead of the consumer. */
import { setImmediate } from "node:timers/promises";
import { monotonicMs } from "../base/clock.ts";
import { isGuarded } from "./guard.ts";
import type { ResultWriter } from "./results.ts";
import type { Running } from "./running.ts";

export type AnyGenerator = Iterator<unknown> | AsyncIterator<unknown>;

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
    let yieldedAt = monotonicMs();
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
      const step =
        this.guard && isGuarded(count, this.stepMicros) ? this.guard(() => generator.next()) : generator.next();
      const endedAt = monotonicMs();
      this.stepMicros = Math.max(this.stepMicros, (endedAt - startedAt) * 1000);
      const item = step instanceof Promise ? await step : (step as IteratorResult<unknown>);
      if (item.done) return count;
      const value = item.value instanceof Promise ? await item.value : item.value;
      this.writer.item(this.running.seq, this.running.attempt, count, value, this.running.name);
      count++;
      // Nobody knows how long the next one takes, nor whether it waits for what the consumer does with this one.
      this.writer.flush();
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
