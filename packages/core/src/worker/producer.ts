/** Runs a generator as a stream: items leave as they come, at most so many ahead of the consumer. */

import type { ResultWriter } from "./results.ts";
import type { Running } from "./running.ts";

export type AnyGenerator = Iterator<unknown> | AsyncIterator<unknown>;

export class Producer {
  private consumed = 0;
  private wake: (() => void) | undefined;
  private readonly bufferItems: number;
  private readonly running: Running;
  private readonly writer: ResultWriter;

  constructor(running: Running, writer: ResultWriter, bufferItems: number) {
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
      const step = generator.next();
      const item = step instanceof Promise ? await step : (step as IteratorResult<unknown>);
      if (item.done) return count;
      const value = item.value instanceof Promise ? await item.value : item.value;
      this.writer.item(this.running.seq, this.running.attempt, count, value);
      count++;
    }
  }
}

export const isGenerator = (value: unknown): value is AnyGenerator =>
  typeof value === "object" && value !== null && typeof (value as { next?: unknown }).next === "function";
