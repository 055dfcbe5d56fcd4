/**
 * Locality-sensitive hashing: for some of the bands, which files agree in them. What it gives depends only on which
 * batches were added, not on their order or on whether one was added twice.
 */
import { BAND_ROWS, BANDS, HASHES } from "./minhash.ts";
import { mix } from "./shingles.ts";

/** Pairs are handed out in pieces of this many. */
const CHUNK_PAIRS = 4_096;
/** In a bucket of more distinct signatures than this, each is paired with the first and the previous one only. */
const ALL_PAIRS_MAX = 128;
/** File numbers are below this, so that two of them, or one and 32 bits, fit into a double's 53. */
const FILES_MAX = 2 ** 21;
const HALF = 2 ** 21;

interface AddedBatch {
  readonly first: number;
  readonly files: number;
  /** One number for each band of the table and file, file by file. */
  readonly bandHashes: Uint32Array;
  /** 53 bits of each whole signature. */
  readonly signatureHashes: Float64Array;
}

export class BucketTable {
  readonly #bands: readonly number[];
  readonly #batches = new Map<number, AddedBatch>();

  /** @param bands which of the {@link BANDS} bands this table holds. */
  constructor(bands: readonly number[]) {
    this.#bands = bands;
  }

  add(batch: number, first: number, signatures: Int32Array): void {
    const files = signatures.length / HASHES;
    if (first + files > FILES_MAX) throw new RangeError(`at most ${FILES_MAX} files can be compared at once`);
    const bands = this.#bands;
    const bandHashes = new Uint32Array(files * bands.length);
    const signatureHashes = new Float64Array(files);
    for (let file = 0; file < files; file++) {
      const at = file * HASHES;
      for (let index = 0; index < bands.length; index++) {
        const start = at + (bands[index] ?? 0) * BAND_ROWS;
        bandHashes[file * bands.length + index] = hashOf(signatures, start, start + BAND_ROWS, 1);
      }
      const high = hashOf(signatures, at, at + HASHES, 2) % HALF;
      signatureHashes[file] = high * 2 ** 32 + hashOf(signatures, at, at + HASHES, 3);
    }
    this.#batches.set(batch, { first, files, bandHashes, signatureHashes });
  }

  /** Which of the batches 0 to `count` - 1 were not added. */
  missing(count: number): number[] {
    return Array.from({ length: count }, (_, batch) => batch).filter((batch) => !this.#batches.has(batch));
  }

  /** Pairs of files that agree in a band: smaller and larger number in turn. A pair may come from several tables. */
  *candidates(): Generator<Uint32Array> {
    const signatureOf = this.#signatures();
    const seen = new Set<number>();
    let chunk = new Uint32Array(CHUNK_PAIRS * 2);
    let used = 0;
    for (const [index, band] of this.#bands.entries()) {
      for (const bucket of this.#buckets(index)) {
        for (const [a, b] of pairsOf(bucket, signatureOf, band === 0)) {
          const key = a * FILES_MAX + b;
          if (seen.has(key)) continue;
          seen.add(key);
          chunk[used++] = a;
          chunk[used++] = b;
          if (used < chunk.length) continue;
          yield chunk;
          chunk = new Uint32Array(CHUNK_PAIRS * 2);
          used = 0;
        }
      }
    }
    if (used > 0) yield chunk.slice(0, used);
  }

  #signatures(): Float64Array {
    let end = 0;
    for (const { first, files } of this.#batches.values()) end = Math.max(end, first + files);
    const all = new Float64Array(end);
    for (const { first, signatureHashes } of this.#batches.values()) all.set(signatureHashes, first);
    return all;
  }

  /** The files that share a hash in one band, ascending; only where there are at least two. */
  *#buckets(index: number): Generator<number[]> {
    const keys: number[] = [];
    for (const { first, files, bandHashes } of this.#batches.values()) {
      for (let file = 0; file < files; file++) {
        keys.push((bandHashes[file * this.#bands.length + index] ?? 0) * FILES_MAX + first + file);
      }
    }
    const sorted = Float64Array.from(keys).sort();
    let bucket: number[] = [];
    let bucketHash = -1;
    for (const key of sorted) {
      const hash = Math.floor(key / FILES_MAX);
      if (hash !== bucketHash) {
        if (bucket.length > 1) yield bucket;
        bucket = [];
        bucketHash = hash;
      }
      bucket.push(key % FILES_MAX);
    }
    if (bucket.length > 1) yield bucket;
  }
}

/**
 * Files with the same signature are alike in every band: they are chained one to the next, once and not in every band
 * again, and only the first of them is paired with others. So a licence that occurs a hundred times costs a hundred pairs.
 */
function* pairsOf(
  bucket: readonly number[],
  signatureOf: Float64Array,
  withChains: boolean,
): Generator<readonly [number, number]> {
  const lastWith = new Map<number, number>();
  const distinct: number[] = [];
  for (const file of bucket) {
    const signature = signatureOf[file] ?? 0;
    const previous = lastWith.get(signature);
    if (previous === undefined) distinct.push(file);
    else if (withChains) yield [previous, file];
    lastWith.set(signature, file);
  }
  for (let later = 1; later < distinct.length; later++) {
    const from = distinct.length <= ALL_PAIRS_MAX ? 0 : later - 1;
    for (let earlier = from; earlier < later; earlier++) yield [distinct[earlier] ?? 0, distinct[later] ?? 0];
    if (from > 0) yield [distinct[0] ?? 0, distinct[later] ?? 0];
  }
}

function hashOf(values: Int32Array, start: number, end: number, seed: number): number {
  let hash = mix(seed);
  for (let at = start; at < end; at++) hash = mix(Math.imul(hash, 31) ^ (values[at] ?? 0));
  return hash;
}

/** The bands dealt out to `tables` tables; band 0, which also makes the chains, is the first table's. */
export function dealBands(tables: number): number[][] {
  return Array.from({ length: tables }, (_, table) =>
    Array.from({ length: BANDS }, (_, band) => band).filter((band) => band % tables === table),
  );
}
