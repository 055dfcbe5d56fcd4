/**
 * Reads MessagePack in place, field by field. Every read is checked against the end of the frame, so a hostile or
 * broken peer gets an error and never a read outside its own bytes.
 */
import { MobulaError } from "../base/errors.ts";

const malformed = (what: string): MobulaError =>
  new MobulaError(
    "MALFORMED_FRAME",
    "invalid",
    `malformed frame: ${what}; the peer speaks another version or is broken`,
  );

export class FrameReader {
  buffer: Buffer = Buffer.alloc(0);
  position = 0;
  end = 0;

  reset(buffer: Buffer, start: number, end: number): this {
    this.buffer = buffer;
    this.position = start;
    this.end = end;
    return this;
  }

  get isAtEnd(): boolean {
    return this.position >= this.end;
  }

  private byte(): number {
    if (this.position >= this.end) throw malformed("it ends too early");
    return this.buffer[this.position++] as number;
  }

  private advance(bytes: number): number {
    const start = this.position;
    if (bytes > this.end - start) throw malformed("it ends too early");
    this.position = start + bytes;
    return start;
  }

  /** True, and the nil consumed, when the next field is nil. */
  tryNil(): boolean {
    if (this.position < this.end && this.buffer[this.position] === 0xc0) {
      this.position++;
      return true;
    }
    return false;
  }

  /** True when the next field is a string. */
  isString(): boolean {
    const tag = this.position < this.end ? (this.buffer[this.position] ?? 0) : 0;
    return (tag >= 0xa0 && tag <= 0xbf) || (tag >= 0xd9 && tag <= 0xdb);
  }

  array(): number {
    const tag = this.byte();
    if (tag >= 0x90 && tag <= 0x9f) return tag & 0x0f;
    let length: number;
    if (tag === 0xdc) length = this.buffer.readUInt16BE(this.advance(2));
    else if (tag === 0xdd) length = this.buffer.readUInt32BE(this.advance(4));
    else throw malformed(`an array was expected, not 0x${tag.toString(16)}`);
    // Every element takes a byte at least, so a length beyond the frame is a lie.
    if (length > this.end - this.position) throw malformed("an array longer than the frame");
    return length;
  }

  uint(): number {
    const tag = this.byte();
    if (tag < 0x80) return tag;
    switch (tag) {
      case 0xcc:
        return this.byte();
      case 0xcd:
        return this.buffer.readUInt16BE(this.advance(2));
      case 0xce:
        return this.buffer.readUInt32BE(this.advance(4));
      case 0xcf: {
        const at = this.advance(8);
        const high = this.buffer.readUInt32BE(at);
        if (high >= 0x20_0000) throw malformed("a number beyond 2^53");
        return high * 0x1_0000_0000 + this.buffer.readUInt32BE(at + 4);
      }
      default:
        throw malformed(`a whole number was expected, not 0x${tag.toString(16)}`);
    }
  }

  float(): number {
    if (this.byte() !== 0xcb) throw malformed("a float was expected");
    return this.buffer.readDoubleBE(this.advance(8));
  }

  bool(): boolean {
    const tag = this.byte();
    if (tag !== 0xc2 && tag !== 0xc3) throw malformed("a boolean was expected");
    return tag === 0xc3;
  }

  string(): string {
    const tag = this.byte();
    let length: number;
    if (tag >= 0xa0 && tag <= 0xbf) length = tag & 0x1f;
    else if (tag === 0xd9) length = this.byte();
    else if (tag === 0xda) length = this.buffer.readUInt16BE(this.advance(2));
    else if (tag === 0xdb) length = this.buffer.readUInt32BE(this.advance(4));
    else throw malformed(`a string was expected, not 0x${tag.toString(16)}`);
    const start = this.advance(length);
    return this.buffer.toString("utf8", start, start + length);
  }

  /** The bytes in place: valid as long as the frame's buffer is not reused. */
  bin(): Buffer {
    const tag = this.byte();
    let length: number;
    if (tag === 0xc4) length = this.byte();
    else if (tag === 0xc5) length = this.buffer.readUInt16BE(this.advance(2));
    else if (tag === 0xc6) length = this.buffer.readUInt32BE(this.advance(4));
    else throw malformed(`bytes were expected, not 0x${tag.toString(16)}`);
    const start = this.advance(length);
    return this.buffer.subarray(start, start + length);
  }
}
