/** A generator's refs as they arrive. */
import { InvalidOptionError } from "../base/errors.ts";
import type { Seq } from "../base/ids.ts";
import type { Client } from "./client.ts";
import type { Waited } from "./open-waits.ts";
import type { Ref } from "./refs.ts";

interface Waiting {
  resolve(result: IteratorResult<Ref, undefined>): void;
  fail(error: Error): void;
}

/** What the client's table holds: everything but the object the program sees, so that dropping that one is noticed. */
export class StreamState {
  readonly items: Ref[] = [];
  readonly waiting: Waiting[] = [];
  /** Items that the program has taken. */
  taken = 0;
  private acknowledged = 0;
  private readonly acknowledgedEvery: number;
  isEnded = false;
  isReleased = false;
  /** Why nothing more can come: the node is gone, or the program has shut down. */
  failure: Error | undefined;

  /** @param bufferItems how many items ahead of the program the producer may be. */
  constructor(bufferItems: number) {
    this.acknowledgedEvery = Math.max(1, bufferItems >> 2);
  }

  arrived(item: Ref): void {
    const waiting = this.waiting.shift();
    if (waiting) waiting.resolve({ done: false, value: item });
    else this.items.push(item);
  }

  /**
   * True when the producer is to be told what was taken: not for each item, and long before it would have to pause for
   * want of it.
   */
  isAcknowledgementDue(): boolean {
    if (this.taken - this.acknowledged < this.acknowledgedEvery) return false;
    this.acknowledged = this.taken;
    return true;
  }
}

export class RefStream implements AsyncIterable<Ref> {
  readonly client: Client;
  readonly seq: Seq;
  readonly state: StreamState;
  /** The last `wait` that it was part of. */
  waitMark = 0;
  private readonly completion: Ref;
  private readonly waited: Waited = { call: "stream", refs: 1, missing: () => 1, ids: () => [this.id] };

  constructor(client: Client, completion: Ref, state: StreamState) {
    this.client = client;
    this.seq = completion.seq;
    this.completion = completion;
    this.state = state;
  }

  get id(): string {
    return this.completion.id;
  }

  /** It is the result of an actor's call. */
  get isCall(): boolean {
    return this.completion.isCall;
  }

  /** The next ref, or done. Refs come in order; the last one rejects when the generator threw. */
  next(): Promise<IteratorResult<Ref, undefined>> {
    return this.client.run(() => this.take());
  }

  private take(): Promise<IteratorResult<Ref, undefined>> {
    const { state } = this;
    const item = state.items.shift();
    if (item) {
      state.taken++;
      this.client.streamTaken(this.seq, state);
      return Promise.resolve({ done: false, value: item });
    }
    if (state.failure) return Promise.reject(state.failure);
    if (state.isEnded || state.isReleased) return Promise.resolve({ done: true, value: undefined });
    this.client.port.flush();
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        resolve: (result) => {
          ended();
          if (!result.done) {
            state.taken++;
            this.client.streamTaken(this.seq, state);
          }
          resolve(result);
        },
        fail: (error) => {
          const at = state.waiting.indexOf(waiting);
          if (at >= 0) state.waiting.splice(at, 1);
          ended();
          reject(error);
        },
      };
      state.waiting.push(waiting);
      const ended = this.client.beginWait([this.seq], waiting.fail, this.waited);
    });
  }

  [Symbol.asyncIterator](): AsyncIterator<Ref, undefined> {
    return {
      next: () => this.next(),
      return: async () => {
        this[Symbol.dispose]();
        return { done: true, value: undefined };
      },
    };
  }

  /** The values in order; the generator's error is thrown. */
  async *values(): AsyncGenerator<unknown, void, undefined> {
    try {
      for (let item = await this.next(); !item.done; item = await this.next()) {
        try {
          yield await this.client.get(item.value);
        } finally {
          this.client.release(item.value);
        }
      }
    } finally {
      this[Symbol.dispose]();
    }
  }

  /** Resolves when the generator has finished, rejects when it failed. */
  completed(): Ref {
    return this.completion;
  }

  async cancel(): Promise<void> {
    await this.client.cancel(this, {});
  }

  [Symbol.dispose](): void {
    const { state } = this;
    if (state.isReleased) return;
    state.isReleased = true;
    this.client.streamLeft(this.seq, state);
  }

  get [Symbol.toStringTag](): string {
    return "ObjectRefStream";
  }
}

export function notShippable(): never {
  throw new InvalidOptionError("a stream cannot be an argument: pass its refs, or read it in the task that made it");
}
