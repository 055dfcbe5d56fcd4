/** One large copy that two threads work on: pieces are claimed one by one, so that a slow thread holds nobody up. */
import { copyMemory } from "./memory.ts";

/** Words of the shared block; the addresses are float64 so that they fit as plain numbers. */
export const STATE_WORD = 0;
const NEXT_PIECE_WORD = 1;
const FIELDS_OFFSET_BYTES = 8;
export const SHARE_BYTES = FIELDS_OFFSET_BYTES + 3 * 8;

export const STATE_STARTING = 0;
export const STATE_READY = 1;
export const STATE_BUSY = 2;
export const STATE_DONE = 3;
export const STATE_STOP = 4;

const PIECE_BYTES = 2 ** 20;

const fieldsOf = (words: Int32Array<SharedArrayBuffer>): Float64Array =>
  new Float64Array(words.buffer, FIELDS_OFFSET_BYTES, 3);

export function setShare(words: Int32Array<SharedArrayBuffer>, to: number, from: number, length: number): void {
  fieldsOf(words).set([to, from, length]);
  Atomics.store(words, NEXT_PIECE_WORD, 0);
}

/** Copies pieces until none is left unclaimed. */
export function copyShare(words: Int32Array<SharedArrayBuffer>): void {
  const [to = 0, from = 0, length = 0] = fieldsOf(words);
  for (;;) {
    const start = Atomics.add(words, NEXT_PIECE_WORD, 1) * PIECE_BYTES;
    if (start >= length) return;
    copyMemory(to + start, from + start, Math.min(PIECE_BYTES, length - start));
  }
}
