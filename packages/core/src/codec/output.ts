/**
 * Where the encoder's bytes go: a growing buffer with MessagePack's primitives.
 *
 * Small values are written one behind the other into a chunk, and each keeps its slice of it, so that a small value
 * costs no allocation of its own. A value that outgrows the chunk moves to a buffer of its own.
 */
const CHUNK_BYTES = 16 * 1024;
/** A growing value doubles its buffer up to this much at a time. */
const GROWTH_BYTES_MAX = 256 * 1024 * 1024;
/** Below this many characters a loop beats the call into native code. */
const SHORT_STRING_MAX = 40;

export class Output {
  bytes: Buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  private view = new DataView(this.bytes.buffer);
  /** Where the current value begins. */
  start = 0;
  pos = 0;

  begin(headerBytes: number): void {
    this.start = this.pos;
    this.reserve(headerBytes);
    this.pos += headerBytes;
  }

  /** The bytes of the current value, header included; they are never written to again. */
  take(): Buffer {
    const taken = this.bytes.subarray(this.start, this.pos);
    if (this.bytes.length !== CHUNK_BYTES || this.pos > CHUNK_BYTES - 64) this.reset();
    return taken;
  }

  /** Forgets the current value after an error. */
  abandon(): void {
    if (this.bytes.length === CHUNK_BYTES) this.pos = this.start;
    else this.reset();
  }

  private reset(): void {
    this.bytes = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    this.view = new DataView(this.bytes.buffer);
    this.start = 0;
    this.pos = 0;
  }

  reserve(count: number): void {
    if (this.pos + count > this.bytes.length) this.grow(count);
  }

  private grow(count: number): void {
    const used = this.pos - this.start;
    const larger = Buffer.allocUnsafeSlow(
      Math.max(CHUNK_BYTES * 2, used + count + Math.min(used + count, GROWTH_BYTES_MAX)),
    );
    larger.set(this.bytes.subarray(this.start, this.pos));
    this.bytes = larger;
    this.view = new DataView(larger.buffer);
    this.start = 0;
    this.pos = used;
  }

  byte(value: number): void {
    this.reserve(1);
    this.bytes[this.pos++] = value;
  }

  bytes2(first: number, second: number): void {
    this.reserve(2);
    this.bytes[this.pos] = first;
    this.bytes[this.pos + 1] = second;
    this.pos += 2;
  }

  /** A fixext1: an extension type with one byte of data. */
  ext1(type: number, data: number): void {
    this.reserve(3);
    this.bytes[this.pos] = 0xd4;
    this.bytes[this.pos + 1] = type;
    this.bytes[this.pos + 2] = data;
    this.pos += 3;
  }

  number(value: number): void {
    if ((value | 0) === value && (value !== 0 || !Object.is(value, -0))) {
      this.reserve(5);
      const bytes = this.bytes;
      if (value >= 0) {
        if (value < 0x80) {
          bytes[this.pos++] = value;
        } else if (value < 0x100) {
          bytes[this.pos] = 0xcc;
          bytes[this.pos + 1] = value;
          this.pos += 2;
        } else if (value < 0x10000) {
          this.tagged16(0xcd, value);
        } else {
          this.tagged32(0xce, value);
        }
      } else if (value >= -0x20) {
        bytes[this.pos++] = value;
      } else if (value >= -0x80) {
        bytes[this.pos] = 0xd0;
        bytes[this.pos + 1] = value;
        this.pos += 2;
      } else if (value >= -0x8000) {
        this.tagged16(0xd1, value);
      } else {
        this.tagged32(0xd2, value);
      }
    } else if (value > 0x7fffffff && value <= 0xffffffff && value >>> 0 === value) {
      this.reserve(5);
      this.tagged32(0xce, value);
    } else {
      this.reserve(9);
      this.bytes[this.pos] = 0xcb;
      this.view.setFloat64(this.pos + 1, value);
      this.pos += 9;
    }
  }

  /** A 64-bit integer format; what it means is the caller's business. */
  int64(format: number, value: bigint): void {
    this.reserve(9);
    this.bytes[this.pos] = format;
    this.view.setBigInt64(this.pos + 1, BigInt.asIntN(64, value));
    this.pos += 9;
  }

  uint32(value: number): void {
    this.reserve(4);
    this.view.setUint32(this.pos, value);
    this.pos += 4;
  }

  uint64(value: number): void {
    this.reserve(8);
    this.view.setUint32(this.pos, Math.floor(value / 0x1_0000_0000));
    this.view.setUint32(this.pos + 4, value >>> 0);
    this.pos += 8;
  }

  private tagged16(format: number, value: number): void {
    this.bytes[this.pos] = format;
    this.view.setInt16(this.pos + 1, value);
    this.pos += 3;
  }

  private tagged32(format: number, value: number): void {
    this.bytes[this.pos] = format;
    this.view.setInt32(this.pos + 1, value);
    this.pos += 5;
  }

  arrayHeader(length: number): void {
    this.reserve(5);
    if (length < 16) this.bytes[this.pos++] = 0x90 | length;
    else if (length < 0x10000) this.tagged16(0xdc, length);
    else this.tagged32(0xdd, length);
  }

  mapHeader(size: number): void {
    this.reserve(5);
    if (size < 16) this.bytes[this.pos++] = 0x80 | size;
    else if (size < 0x10000) this.tagged16(0xde, size);
    else this.tagged32(0xdf, size);
  }

  extHeader(type: number, length: number): void {
    this.reserve(6);
    const bytes = this.bytes;
    if (length === 1 || length === 2 || length === 4 || length === 8 || length === 16) {
      bytes[this.pos++] = 0xd4 + Math.log2(length);
    } else if (length < 0x100) {
      bytes[this.pos] = 0xc7;
      bytes[this.pos + 1] = length;
      this.pos += 2;
    } else if (length < 0x10000) {
      this.tagged16(0xc8, length);
    } else {
      this.tagged32(0xc9, length);
    }
    bytes[this.pos++] = type;
  }

  bin(data: Uint8Array): void {
    const length = data.length;
    this.reserve(length + 5);
    if (length < 0x100) {
      this.bytes[this.pos] = 0xc4;
      this.bytes[this.pos + 1] = length;
      this.pos += 2;
    } else if (length < 0x10000) {
      this.tagged16(0xc5, length);
    } else {
      this.tagged32(0xc6, length);
    }
    this.raw(data);
  }

  raw(data: Uint8Array): void {
    this.reserve(data.length);
    this.bytes.set(data, this.pos);
    this.pos += data.length;
  }

  /** False, with nothing written, when the string has lone surrogates, which UTF-8 cannot hold. */
  string(value: string): boolean {
    const length = value.length;
    if (length > SHORT_STRING_MAX) return this.longString(value);
    this.reserve(length + 2);
    const bytes = this.bytes;
    let at = this.pos;
    if (length < 32) {
      bytes[at++] = 0xa0 | length;
    } else {
      bytes[at++] = 0xd9;
      bytes[at++] = length;
    }
    for (let i = 0; i < length; i++) {
      const code = value.charCodeAt(i);
      if (code > 0x7f) return this.longString(value);
      bytes[at++] = code;
    }
    this.pos = at;
    return true;
  }

  private longString(value: string): boolean {
    const length = Buffer.byteLength(value);
    // A string whose UTF-8 has as many bytes as it has characters is ASCII.
    if (length !== value.length && !value.isWellFormed()) return false;
    this.reserve(length + 5);
    if (length < 32) {
      this.bytes[this.pos++] = 0xa0 | length;
    } else if (length < 0x100) {
      this.bytes[this.pos] = 0xd9;
      this.bytes[this.pos + 1] = length;
      this.pos += 2;
    } else if (length < 0x10000) {
      this.tagged16(0xda, length);
    } else {
      this.tagged32(0xdb, length);
    }
    this.bytes.write(value, this.pos, length, "utf8");
    this.pos += length;
    return true;
  }
}
