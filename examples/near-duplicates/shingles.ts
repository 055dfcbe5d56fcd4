/**
 * A file as a set: each run of {@link SHINGLE_WORDS} consecutive words is hashed to 32 bits, and the file is the set of
 * these hashes. Files with few words and binary files have no shingles; they are only ever equal, not similar.
 *
 * @source Broder 1997, "On the resemblance and containment of documents".
 */

export const SHINGLE_WORDS = 5;
/** A zero byte this early means that a file is not text. */
const BINARY_PROBE_BYTES = 8_000;

const WORD_HASH_START = 0x811c9dc5;
const WORD_HASH_PRIME = 0x01000193;
const WINDOW_FACTOR = 0x2c1b3c6d;
const WINDOW_FACTOR_OLDEST = power(WINDOW_FACTOR, SHINGLE_WORDS - 1);

/** 1 for bytes that belong to words: letters, digits, `_`, `$` and everything that is not ASCII. */
const IS_WORD_BYTE = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte >= 0x80 || /[A-Za-z0-9_$]/.test(String.fromCharCode(byte)) ? 1 : 0,
);

/** The shingles of a text, ascending, each once. */
export function shinglesOf(text: Uint8Array): Uint32Array {
  if (text.subarray(0, BINARY_PROBE_BYTES).includes(0)) return new Uint32Array(0);
  // A word takes at least two bytes with what separates it.
  const found = new Uint32Array(Math.ceil(text.length / 2) + 1);
  const window = new Int32Array(SHINGLE_WORDS);
  let words = 0;
  let count = 0;
  let rolling = 0;
  let word = WORD_HASH_START;
  let isInWord = false;
  for (let at = 0; at <= text.length; at++) {
    const byte = at < text.length ? (text[at] ?? 0) : 0;
    if (IS_WORD_BYTE[byte] === 1) {
      word = Math.imul(word ^ byte, WORD_HASH_PRIME);
      isInWord = true;
      continue;
    }
    if (!isInWord) continue;
    const slot = words % SHINGLE_WORDS;
    const oldest = window[slot] ?? 0;
    rolling = (Math.imul(rolling - Math.imul(oldest, WINDOW_FACTOR_OLDEST), WINDOW_FACTOR) + word) | 0;
    window[slot] = word;
    words++;
    if (words >= SHINGLE_WORDS) found[count++] = mix(rolling);
    word = WORD_HASH_START;
    isInWord = false;
  }
  return sortedUnique(found.subarray(0, count));
}

/** Spreads the bits of a 32-bit number (the finaliser of MurmurHash3). */
export function mix(value: number): number {
  let mixed = value ^ (value >>> 16);
  mixed = Math.imul(mixed, 0x85ebca6b);
  mixed ^= mixed >>> 13;
  mixed = Math.imul(mixed, 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

function power(base: number, exponent: number): number {
  let result = 1;
  for (let step = 0; step < exponent; step++) result = Math.imul(result, base);
  return result;
}

function sortedUnique(values: Uint32Array): Uint32Array {
  values.sort();
  let kept = 0;
  for (let at = 0; at < values.length; at++) {
    if (at === 0 || values[at] !== values[at - 1]) values[kept++] = values[at] ?? 0;
  }
  return values.slice(0, kept);
}
