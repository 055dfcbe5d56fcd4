/** The newest batches of events of all processes, bounded; what is lost is counted, never hidden. */

import type { NodeInfo } from "../wire/queries.ts";

/** All of it is the answer to one question, so it stays well below the largest message. */
const BYTES_MAX = 32 * 2 ** 20;

export class EventRing {
  private readonly batches: Uint8Array[] = [];
  private readonly bytesMax: number;
  private bytes = 0;
  /** The number of the oldest batch that is there; they are numbered from 0 on. */
  oldest = 0;
  private tooLarge = 0;
  /** Told of each batch that came in. */
  onPushed: (() => void) | undefined;

  constructor(bytesMax = BYTES_MAX) {
    this.bytesMax = bytesMax;
  }

  push(batch: Uint8Array): void {
    if (batch.length > this.bytesMax) {
      this.tooLarge++;
      return;
    }
    // A batch from this process may be a small part of the buffer that it was packed in.
    this.batches.push(batch.length < batch.buffer.byteLength ? Uint8Array.from(batch) : batch);
    this.bytes += batch.length;
    while (this.bytes > this.bytesMax) {
      this.bytes -= this.batches.shift()?.length ?? 0;
      this.oldest++;
    }
    this.onPushed?.();
  }

  /** Batches that made room for newer ones, or found none. */
  get droppedBatches(): number {
    return this.oldest + this.tooLarge;
  }

  /** The number that the next batch will have. */
  get end(): number {
    return this.oldest + this.batches.length;
  }

  /** Batches from this number on, or from the oldest, at least one if there is one; so many that they have `bytes`. */
  from(number: number, bytes: number): { readonly first: number; readonly batches: readonly Uint8Array[] } {
    const first = Math.max(number, this.oldest);
    let count = 0;
    for (let sum = 0; sum < bytes; count++) {
      const batch = this.batches[first - this.oldest + count];
      if (!batch) break;
      sum += batch.length;
    }
    return { first, batches: this.batches.slice(first - this.oldest, first - this.oldest + count) };
  }

  /** As `nodes()` shows it. */
  get kept(): NodeInfo["events"] {
    return { keptBytes: this.bytes, droppedBatches: this.droppedBatches };
  }

  /** Oldest first. */
  all(): readonly Uint8Array[] {
    return this.batches;
  }
}
