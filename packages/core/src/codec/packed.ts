/**
 * A value turned into bytes, with its big buffers still where they are.
 */
import { BUFFER_ALIGNMENT_BYTES } from "../base/limits.ts";
import { alignUp, FORMAT_VERSION, HEADER_BYTES, TABLE_ENTRY_BYTES } from "./format.ts";

/** Copies `source` to `target` at `offset`; the store puts its threads to work here for large buffers. */
export type CopyInto = (target: Uint8Array, offset: number, source: Uint8Array) => void;

const copyPlainly: CopyInto = (target, offset, source) => target.set(source, offset);

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

  /** Writes the value to the start of `target`, which must begin at a multiple of 64 bytes if its buffers are to be viewed there. */
  writeInto(target: Uint8Array, copy: CopyInto = copyPlainly): void {
    const { inband, buffers } = this;
    if (buffers.length === 0) {
      copy(target, 0, inband);
      return;
    }
    const header = new DataView(target.buffer, target.byteOffset, HEADER_BYTES + buffers.length * TABLE_ENTRY_BYTES);
    header.setUint32(0, ((inband[0] ?? FORMAT_VERSION << 4) | (buffers.length << 8)) >>> 0, true);
    header.setUint32(4, inband.length - HEADER_BYTES, true);
    let at = HEADER_BYTES;
    for (const buffer of buffers) {
      header.setBigUint64(at, BigInt(buffer.length), true);
      at += TABLE_ENTRY_BYTES;
    }
    copy(target, at, inband.subarray(HEADER_BYTES));
    at += inband.length - HEADER_BYTES;
    for (const buffer of buffers) {
      const start = alignUp(at, BUFFER_ALIGNMENT_BYTES);
      // The gap is cleared, so that what the memory held before does not travel along.
      target.fill(0, at, start);
      copy(target, start, buffer);
      at = start + buffer.length;
    }
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

const SLICE_BYTES_MAX = 8 * 1024;
