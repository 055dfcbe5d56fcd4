/**
 * Property names. The same few names come again and again, so names that were seen lately are found by their bytes, and
 * no new string is made.
 */
import type { RawBuffer } from "./input.ts";

const CACHE_SIZE = 1024;
/** Longer names are rare and cost more to compare. */
const CACHED_KEY_BYTES_MAX = 24;

const cache: (string | undefined)[] = new Array<string | undefined>(CACHE_SIZE).fill(undefined);

export function readKeyText(bytes: RawBuffer, start: number, length: number): string {
  if (length > CACHED_KEY_BYTES_MAX || length === 0) return bytes.utf8Slice(start, start + length);
  const first = bytes[start] as number;
  const last = bytes[start + length - 1] as number;
  const middle = bytes[start + (length >> 1)] as number;
  const slot = ((first * 31 + middle) * 31 + last * 7 + length) & (CACHE_SIZE - 1);
  const known = cache[slot];
  // Only ASCII names are cached, so bytes and characters correspond.
  if (known !== undefined && known.length === length) {
    let i = 0;
    while (i < length && known.charCodeAt(i) === bytes[start + i]) i++;
    if (i === length) return known;
  }
  const text = bytes.utf8Slice(start, start + length);
  if (text.length === length) {
    // Used as a key once, the string is the engine's own copy of the name, which makes later uses fast.
    cache[slot] = text;
  }
  return text;
}
