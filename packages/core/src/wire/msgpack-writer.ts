/**
 * Writes MessagePack into one growing buffer, framed by a 4-byte little-endian length.
 *
 * The hot messages are written field by field with this instead of through msgpackr: no object is built for a
 * message, and the bytes of many messages leave in one write.
 */
import { assert } from "../base/assert.ts";

const INITIAL_BYTES = 16 * 1024;
/** A buffer that one burst made larger than this is not made as large again. */
const RETAINED_BYTES_MAX = 256 * 1024;
/** Strings up to this length are tried as ASCII, byte by byte, before the general encoder is called. */
const SHORT_STRING = 48;

export class FrameWriter {
  buffer: Buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES);
  position = 0;
  private frameStart = -1;

  get isEmpty(): boolean {
    return this.position === 0;
  }

  /** Hands out what was written and starts again with a fresh buffer. */
  take(): Buffer {
    assert(this.frameStart < 0, "a frame is open");
    const taken = this.buffer.subarray(0, this.position);
    this.buffer = Buffer.allocUnsafeSlow(this.buffer.length > RETAINED_BYTES_MAX ? INITIAL_BYTES : this.buffer.length);
    this.position = 0;
    return taken;
  }

  /** Copies out what was written and keeps the buffer. */
  takeCopy(): Buffer {
    const copy = Buffer.from(this.buffer.subarray(0, this.position));
    this.position = 0;
    return copy;
  }

  begin(): void {
    this.ensure(4);
    this.frameStart = this.position;
    this.position += 4;
  }

  end(): void {
    this.buffer.writeUInt32LE(this.position - this.frameStart - 4, this.frameStart);
    this.frameStart = -1;
  }

  /** Drops the open frame, as if `begin` had not been called. */
  abandon(): void {
    this.position = this.frameStart;
    this.frameStart = -1;
  }

  ensure(bytes: number): void {
    const needed = this.position + bytes;
    if (needed <= this.buffer.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.buffer.length * 2));
    this.buffer.copy(grown, 0, 0, this.position);
    this.buffer = grown;
  }

  array(length: number): void {
    this.ensure(5);
    if (length < 16) this.buffer[this.position++] = 0x90 | length;
    else if (length < 0x1_0000) this.tagged16(0xdc, length);
    else this.tagged32(0xdd, length);
  }

  nil(): void {
    this.ensure(1);
    this.buffer[this.position++] = 0xc0;
  }

  bool(value: boolean): void {
    this.ensure(1);
    this.buffer[this.position++] = value ? 0xc3 : 0xc2;
  }

  /** A whole number, 0 to 2^53-1. */
  uint(value: number): void {
    this.ensure(9);
    const { buffer } = this;
    if (value < 0x80) buffer[this.position++] = value;
    else if (value < 0x100) {
      buffer[this.position++] = 0xcc;
      buffer[this.position++] = value;
    } else if (value < 0x1_0000) this.tagged16(0xcd, value);
    else if (value < 0x1_0000_0000) this.tagged32(0xce, value);
    else {
      buffer[this.position] = 0xcf;
      buffer.writeUInt32BE(Math.floor(value / 0x1_0000_0000), this.position + 1);
      buffer.writeUInt32BE(value % 0x1_0000_0000, this.position + 5);
      this.position += 9;
    }
  }

  float(value: number): void {
    this.ensure(9);
    this.buffer[this.position] = 0xcb;
    this.buffer.writeDoubleBE(value, this.position + 1);
    this.position += 9;
  }

  string(value: string): void {
    const { length } = value;
    if (length <= SHORT_STRING) {
      this.ensure(length + 2);
      const { buffer } = this;
      const start = this.position;
      let at = start + (length < 32 ? 1 : 2);
      let index = 0;
      for (; index < length; index++) {
        const code = value.charCodeAt(index);
        if (code > 0x7f) break;
        buffer[at++] = code;
      }
      if (index === length) {
        if (length < 32) buffer[start] = 0xa0 | length;
        else {
          buffer[start] = 0xd9;
          buffer[start + 1] = length;
        }
        this.position = at;
        return;
      }
    }
    const bytes = Buffer.byteLength(value);
    this.ensure(bytes + 5);
    if (bytes < 32) this.buffer[this.position++] = 0xa0 | bytes;
    else if (bytes < 0x100) {
      this.buffer[this.position++] = 0xd9;
      this.buffer[this.position++] = bytes;
    } else if (bytes < 0x1_0000) this.tagged16(0xda, bytes);
    else this.tagged32(0xdb, bytes);
    this.position += this.buffer.write(value, this.position);
  }

  /** The header of a byte string; its `length` bytes must follow by {@link raw}. */
  binHeader(length: number): void {
    this.ensure(5 + length);
    if (length < 0x100) {
      this.buffer[this.position++] = 0xc4;
      this.buffer[this.position++] = length;
    } else if (length < 0x1_0000) this.tagged16(0xc5, length);
    else this.tagged32(0xc6, length);
  }

  bin(bytes: Uint8Array): void {
    this.binHeader(bytes.length);
    this.raw(bytes, 0, bytes.length);
  }

  /** Bytes as they are: already encoded, or the body of a byte string. */
  raw(bytes: Uint8Array, start: number, end: number): void {
    const length = end - start;
    this.ensure(length);
    const { buffer } = this;
    let at = this.position;
    if (length <= 64) for (let index = start; index < end; index++) buffer[at++] = bytes[index] as number;
    else buffer.set(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end), at);
    this.position += length;
  }

  private tagged16(tag: number, value: number): void {
    const { buffer, position } = this;
    buffer[position] = tag;
    buffer[position + 1] = value >>> 8;
    buffer[position + 2] = value & 0xff;
    this.position = position + 3;
  }

  private tagged32(tag: number, value: number): void {
    const { buffer, position } = this;
    buffer[position] = tag;
    buffer[position + 1] = value >>> 24;
    buffer[position + 2] = (value >>> 16) & 0xff;
    buffer[position + 3] = (value >>> 8) & 0xff;
    buffer[position + 4] = value & 0xff;
    this.position = position + 5;
  }
}
