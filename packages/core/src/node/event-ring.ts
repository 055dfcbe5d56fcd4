/**
 * The newest batches of events of all processes, bounded; what is lost is counted, never hidden: of a batch that makes room
 * its counts of attempts stay.
 */
import type { ProcessId } from "../base/ids.ts";
import { type EventBatch, packBatch, readBatch, TallyBook } from "../events/mod.ts";
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
  private readonly dropped = new TallyBook();
  /** Told of each batch that came in. */
  onPushed: (() => void) | undefined;

  constructor(bytesMax = BYTES_MAX) {
    this.bytesMax = bytesMax;
  }

  push(batch: Uint8Array): void {
    if (batch.length > this.bytesMax) {
      this.tooLarge++;
      this.keepCounts(batch);
      return;
    }
    // A batch from this process may be a small part of the buffer that it was packed in.
    this.batches.push(batch.length < batch.buffer.byteLength ? Uint8Array.from(batch) : batch);
    this.bytes += batch.length;
    while (this.bytes > this.bytesMax) {
      const oldest = this.batches.shift();
      if (!oldest) break;
      this.bytes -= oldest.length;
      this.oldest++;
      this.keepCounts(oldest);
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

  private keepCounts(bytes: Uint8Array): void {
    let batch: EventBatch;
    try {
      batch = readBatch(bytes);
    } catch {
      // Of another release, or no batch at all: nobody could have read it.
      return;
    }
    this.dropped.add(batch.job, batch.tallies);
  }

  /** As `nodes()` shows it. */
  get kept(): NodeInfo["events"] {
    return { keptBytes: this.bytes, droppedBatches: this.droppedBatches };
  }

  /** Batches with nothing but the counts of those that made room. */
  counts(): readonly Uint8Array[] {
    return [...this.dropped.all()].map(([job, tallies]) => packBatch({ ...NOTHING, job, tallies: [...tallies] }));
  }

  /** Oldest first; before them the counts of those that are not kept. */
  all(): readonly Uint8Array[] {
    return [...this.counts(), ...this.batches];
  }
}

const NOTHING = {
  owner: "" as ProcessId,
  pid: 0,
  names: [],
  workers: [],
  actors: [],
  errors: [],
  code: [],
  puts: [],
  columns: new Float64Array(0),
};
