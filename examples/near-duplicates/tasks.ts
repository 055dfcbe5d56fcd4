/** What runs in workers. It stands in a module of its own, since workers never run a program's main module. */
import { BucketTable } from "./buckets.ts";
import type { Batch } from "./files.ts";
import { type ShingleSets, sketch } from "./sketch.ts";
import { similarity } from "./verify.ts";

/** From this size on, a buffer read from the object store is a view of it and not a copy. */
const VIEW_BYTES_MIN = 64 * 1024;

export interface SketchReport {
  readonly bytesRead: number;
  readonly filesUnreadable: number;
  readonly pid: number;
}

/** Three results, so that the large ones stay in the object store while the driver reads the small one. */
export function sketchBatch(folder: string, batch: Batch): [SketchReport, Int32Array, ShingleSets] {
  const { bytesRead, filesUnreadable, signatures, sets } = sketch(folder, batch);
  return [{ bytesRead, filesUnreadable, pid: process.pid }, signatures, sets];
}

/** An actor was asked for its candidates before it had every batch: it was restarted and must be filled again. */
class BatchesMissingError extends Error {
  readonly code = "BATCHES_MISSING";
}

/**
 * The actor that holds the buckets of some bands. It keeps nothing that cannot be made again from the signatures in
 * the object store, so when its process dies it is restarted empty, and the driver adds what is {@link missing}.
 */
export class Buckets {
  readonly #table: BucketTable;

  constructor(bands: readonly number[]) {
    this.#table = new BucketTable(bands);
  }

  /** Adding a batch again changes nothing. Returns how many bytes were read without copying. */
  add(batch: number, first: number, signatures: Int32Array): number {
    this.#table.add(batch, first, signatures);
    return viewedBytes(signatures);
  }

  missing(batchCount: number): number[] {
    return this.#table.missing(batchCount);
  }

  *candidates(batchCount: number): Generator<Uint32Array> {
    const missing = this.#table.missing(batchCount);
    if (missing.length > 0) throw new BatchesMissingError(`${missing.length} of ${batchCount} batches are missing`);
    yield* this.#table.candidates();
  }
}

export interface Comparison {
  /** One number for each pair. */
  readonly similarities: Float64Array;
  readonly bytesViewed: number;
  readonly pid: number;
}

/** Compares exactly. A pair is four numbers: which of `sets` and which file in it, twice. */
export function comparePairs(pairs: Uint32Array, ...sets: readonly ShingleSets[]): Comparison {
  const place = (at: number) => {
    const found = sets[pairs[at] ?? -1];
    if (found === undefined) throw new RangeError(`a pair names set ${pairs[at]} of ${sets.length}`);
    return { sets: found, index: pairs[at + 1] ?? 0 };
  };
  const similarities = new Float64Array(pairs.length / 4);
  for (let pair = 0; pair < similarities.length; pair++) {
    similarities[pair] = similarity(place(pair * 4), place(pair * 4 + 2));
  }
  const bytesViewed = sets.reduce((sum, { shingles }) => sum + viewedBytes(shingles), 0);
  return { similarities, bytesViewed, pid: process.pid };
}

function viewedBytes(array: Int32Array | Uint32Array): number {
  return array.byteLength >= VIEW_BYTES_MIN ? array.byteLength : 0;
}
