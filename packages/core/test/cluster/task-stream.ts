/** Tasks of a tenth to seven tenths of a second, one after the other, more at all times than there are CPUs for them. */
import { get, type ObjectRef, remote, wait } from "../../src/api/mod.ts";

const small = remote((ms: number) => new Promise((resolve) => setTimeout(resolve, ms)));

export class TaskStream {
  /** As many have ended as there are at a time. */
  readonly full: Promise<void>;
  private readonly inFlight: ObjectRef<unknown>[];
  private readonly done: Promise<void>;
  private isOver = false;

  constructor(count: number) {
    this.inFlight = Array.from({ length: count }, (_, index) => this.next(index));
    const { promise, resolve } = Promise.withResolvers<void>();
    this.full = promise;
    this.done = this.go(resolve);
  }

  private next(index: number): ObjectRef<unknown> {
    return small.remote(100 + ((index * 370) % 601));
  }

  private async go(isFull: () => void): Promise<void> {
    let begun = this.inFlight.length;
    while (!this.isOver) {
      const { ready, pending } = await wait(this.inFlight);
      this.inFlight.splice(0, this.inFlight.length, ...pending, ...ready.map(() => this.next(begun++)));
      if (begun > 2 * this.inFlight.length) isFull();
    }
    await get(this.inFlight);
  }

  async end(): Promise<void> {
    this.isOver = true;
    await this.done;
  }
}
