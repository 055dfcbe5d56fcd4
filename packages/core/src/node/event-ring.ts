/** The newest batches of events of all processes, bounded; what is lost is counted, never hidden. */

import type { NodeInfo } from "../wire/queries.ts";

/** All of it is the answer to one question, so it stays well below the largest message. */
const BYTES_MAX = 32 * 2 ** 20;

export class EventRing {
  private readonly batches: Uint8Array[] = [];
  private readonly bytesMax: number;
  private bytes = 0;
  /** Batches that made room for newer ones. */
  droppedBatches = 0;

  constructor(bytesMax = BYTES_MAX) {
    this.bytesMax = bytesMax;
  }

  push(batch: Uint8Array): void {
    if (batch.length > this.bytesMax) {
      this.droppedBatches++;
      return;
    }
    // A batch from this process may be a small part of the buffer that it was packed in.
    this.batches.push(batch.length < batch.buffer.byteLength ? Uint8Array.from(batch) : batch);
    this.bytes += batch.length;
    while (this.bytes > this.bytesMax) {
      this.bytes -= this.batches.shift()?.length ?? 0;
      this.droppedBatches++;
    }
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
