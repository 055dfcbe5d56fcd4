/**
 * Where encoded values come from: bytes of a message, or an object of the store.
 */
import { VIEW_BYTES_MIN } from "../base/limits.ts";
import { malformed } from "./format.ts";

/** A stored object. */
export interface ByteSource {
  readonly byteLength: number;
  /** A copy; in an ArrayBuffer of its own when it has VIEW_BYTES_MIN bytes or more. */
  copy(offset: number, length: number): Uint8Array<ArrayBuffer>;
  /** The bytes themselves, in private copy-on-write memory that only this ArrayBuffer shows. */
  view(offset: number, length: number): ArrayBuffer;
}

/** Node.js's own decoders, which `toString` calls after looking at its arguments; stable, but not in its types. */
export interface RawBuffer extends Buffer {
  utf8Slice(start: number, end: number): string;
}

export const asBuffer = (bytes: Uint8Array): RawBuffer =>
  (Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)) as RawBuffer;

/** An ArrayBuffer that holds exactly these bytes of the source. */
export function ownBuffer(source: Uint8Array | ByteSource, offset: number, length: number): ArrayBuffer {
  if (offset < 0 || length < 0 || offset + length > source.byteLength)
    throw malformed("a buffer lies outside of the value");
  if (source instanceof Uint8Array) return exactCopy(source, offset, offset + length);
  if (length >= VIEW_BYTES_MIN) return source.view(offset, length);
  const copy = source.copy(offset, length);
  return copy.byteLength === copy.buffer.byteLength ? copy.buffer : exactCopy(copy, 0, length);
}

export function exactCopy(bytes: Uint8Array, start: number, end: number): ArrayBuffer {
  return copyOf(bytes, start, end).buffer;
}

/** Up to this size a loop beats the call into native code. */
const LOOPED_COPY_MAX = 48;

/** The same as a Uint8Array. */
export function copyOf(bytes: Uint8Array, start: number, end: number): Uint8Array<ArrayBuffer> {
  const length = end - start;
  const copy = new Uint8Array(length);
  if (length <= LOOPED_COPY_MAX) for (let i = 0; i < length; i++) copy[i] = bytes[start + i] as number;
  else copy.set(bytes.subarray(start, end));
  return copy;
}
