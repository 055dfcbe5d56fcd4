/**
 * A value turned into bytes, with its big buffers still where they are.
 */
import { BUFFER_ALIGNMENT_BYTES } from "../base/limits.ts";
import { writeNote } from "./buffers.ts";
import { alignUp, FORMAT_VERSION, HEADER_BYTES, TABLE_ENTRY_BYTES, VIEW_UINT8 } from "./format.ts";
import { Output } from "./output.ts";

/** Where a value's bytes go: a typed array, or the object store, which puts its threads to work for large buffers. */
export interface ByteTarget {
  set(source: Uint8Array, offset: number): void;
}

/**
 * The bytes of one value, not yet in one place. Its buffers are the value's own memory: write it out before returning
 * to the event loop, or what others write into the value in the meantime is shipped.
 */
export class Packed {
  /** Bytes that {@link writeInto} fills. */
  readonly byteLength: number;
  /** The refs met, in order, as customizers report them; once each. */
  readonly nested: readonly object[];
  /** Begins with the header of a value without buffers. */
  private readonly inband: Buffer;
  private readonly buffers: readonly Uint8Array[];

  constructor(inband: Buffer, buffers: readonly Uint8Array[], nested: readonly object[]) {
    this.inband = inband;
    this.buffers = buffers;
    this.nested = nested;
    let length = inband.length;
    if (buffers.length > 0) {
      length += buffers.length * TABLE_ENTRY_BYTES;
      for (const buffer of buffers) length = alignUp(length, BUFFER_ALIGNMENT_BYTES) + buffer.length;
    }
    this.byteLength = length;
  }

  /**
   * Writes the value to `target`, which must begin at a multiple of 64 bytes if its buffers are to be viewed there.
   *
   * @param start how many bytes of the target lie before the value.
   */
  writeInto(target: ByteTarget, start = 0): void {
    const { inband, buffers } = this;
    if (buffers.length === 0) {
      target.set(inband, start);
      return;
    }
    const head = headOf(inband, buffers);
    target.set(head, start);
    let at = head.length;
    buffers.forEach((buffer, index) => {
      target.set(buffer, start + at);
      at += buffer.length;
      const gap = alignUp(at, BUFFER_ALIGNMENT_BYTES) - at;
      if (gap > 0 && index < buffers.length - 1) target.set(ZEROS.subarray(0, gap), start + at);
      at += gap;
    });
  }

  /** The same as one piece of memory of its own, or, for a small value, a slice of memory that is never written again. */
  toBytes(): Uint8Array {
    const { inband } = this;
    if (this.buffers.length === 0) {
      // A value that had grown a buffer of its own does not keep the unused part of it alive.
      return inband.buffer.byteLength > inband.length * 2 && inband.length > SLICE_BYTES_MAX
        ? Buffer.from(inband)
        : inband;
    }
    const bytes = Buffer.allocUnsafeSlow(this.byteLength);
    this.writeInto(bytes);
    return bytes;
  }
}

/** Header, table and inband part, and the gap behind them, so that what the memory held before does not travel along. */
function headOf(inband: Buffer, buffers: readonly { readonly length: number }[]): Buffer {
  const tableEnd = HEADER_BYTES + buffers.length * TABLE_ENTRY_BYTES;
  const head = Buffer.alloc(alignUp(tableEnd + inband.length - HEADER_BYTES, BUFFER_ALIGNMENT_BYTES));
  head.writeUInt32LE(((inband[0] ?? FORMAT_VERSION << 4) | (buffers.length << 8)) >>> 0, 0);
  head.writeUInt32LE(inband.length - HEADER_BYTES, 4);
  let entry = HEADER_BYTES;
  for (const buffer of buffers) {
    head.writeBigUInt64LE(BigInt(buffer.length), entry);
    entry += TABLE_ENTRY_BYTES;
  }
  head.set(inband.subarray(HEADER_BYTES), tableEnd);
  return head;
}

/** What an encoded `Uint8Array` of this many bytes begins with, for one whose bytes are written where they will be read. */
export function headOfBytes(byteLength: number): Uint8Array {
  const out = new Output();
  out.begin(HEADER_BYTES);
  writeNote(out, VIEW_UINT8, 0, 0, byteLength, 0);
  const inband = out.take();
  inband[0] = FORMAT_VERSION << 4;
  return headOf(inband, [{ length: byteLength }]);
}

const ZEROS = new Uint8Array(BUFFER_ALIGNMENT_BYTES);
const SLICE_BYTES_MAX = 8 * 1024;
