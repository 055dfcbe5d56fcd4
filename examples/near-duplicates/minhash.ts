/**
 * MinHash: a set becomes {@link HASHES} numbers, and two sets agree in each of them with a probability that is their
 * Jaccard similarity. The numbers are cut into bands; files that agree in a whole band are candidates.
 *
 * With 24 bands of 5, a pair of similarity 0.8 becomes a candidate with a probability of 0.99993, one of 0.3 with 0.06.
 *
 * @source Broder 1997; banding: Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4.
 */
import { mix } from "./shingles.ts";

export const BANDS = 24;
export const BAND_ROWS = 5;
export const HASHES = BANDS * BAND_ROWS;

const FACTORS = Int32Array.from({ length: HASHES }, (_, index) => mix(2 * index + 1) | 1);
const OFFSETS = Int32Array.from({ length: HASHES }, (_, index) => mix(2 * index + 2) | 0);

/** Writes the signature of `shingles` (not empty) at `at`. Any total order does for the minimum: here the signed one. */
export function writeSignature(shingles: Uint32Array, signatures: Int32Array, at: number): void {
  for (let hash = 0; hash < HASHES; hash++) {
    const factor = FACTORS[hash] ?? 1;
    const offset = OFFSETS[hash] ?? 0;
    let smallest = 0x7fffffff;
    for (let index = 0; index < shingles.length; index++) {
      const value = (Math.imul(shingles[index] ?? 0, factor) + offset) | 0;
      if (value < smallest) smallest = value;
    }
    signatures[at + hash] = smallest;
  }
}

/** For a file without shingles: equal for equal `seed`s, and otherwise alike in no band. */
export function writeSeededSignature(seed: number, signatures: Int32Array, at: number): void {
  for (let hash = 0; hash < HASHES; hash++) signatures[at + hash] = mix(seed ^ mix(hash + 1)) | 0;
}
