/**
 * Bytes to values: the inverse of encoder.ts. Whatever the bytes, decoding ends with a value or a MobulaError: every
 * length is compared with what is left before anything is allocated, and recursion is bounded.
 *
 * The hot parts (plain data) are in this file; `decode-node.ts` has the rest.
 */
import { BUFFER_ALIGNMENT_BYTES } from "../base/limits.ts";
import type { Customizer } from "./custom.ts";
import { readExt, readNode } from "./decode-node.ts";
import {
  alignUp,
  DEPTH_LIMIT,
  EXT_HOLE,
  EXT_LATER,
  EXT_NODE,
  FLAG_BACK_REFERENCES,
  FORMAT_VERSION,
  HEADER_BYTES,
  malformed,
  TABLE_ENTRY_BYTES,
} from "./format.ts";
import { asBuffer, type ByteSource, copyOf, ownBuffer, type RawBuffer } from "./input.ts";
import { readKeyText } from "./keys.ts";
import { define } from "./properties.ts";
import type { SerializerRegistry } from "./serializers.ts";

export interface DecodeContext {
  /** Makes what customizers described; the same as the encoder's, or its counterpart in this process. */
  readonly customizer?: Customizer;
  /** Learns the serializers that come with the data. */
  readonly serializers?: SerializerRegistry;
}

/** What a slot holds until its object exists. */
const UNBORN = Symbol("unborn");

interface Segment {
  readonly offset: number;
  readonly length: number;
  buffer: ArrayBuffer | undefined;
}

export class Decoder {
  readonly source: Uint8Array | ByteSource;
  readonly context: DecodeContext;
  readonly bytes: RawBuffer;
  pos = 0;
  private end = 0;
  private lazyView: DataView | undefined;
  private tracks: boolean;
  private readonly objects: unknown[] = [];
  /** A number that the next object takes instead of a new one, because the wrapper around it was numbered first. */
  private reserved = -1;
  private readonly segments: Segment[] = [];
  private later: (() => void)[] = [];
  private isForeign = false;

  constructor(source: Uint8Array | ByteSource, context: DecodeContext) {
    this.source = source;
    this.context = context;
    const size = source.byteLength;
    if (size < HEADER_BYTES) throw malformed(`${size} bytes are too few`);
    const header = source instanceof Uint8Array ? source : source.copy(0, HEADER_BYTES);
    // The length was checked, and the store gives what it is asked for.
    const [first = 0, c0 = 0, c1 = 0, c2 = 0, l0 = 0, l1 = 0, l2 = 0, l3 = 0] = header.subarray(0, HEADER_BYTES);
    if (first >> 4 !== FORMAT_VERSION) throw malformed(`format version ${first >> 4} instead of ${FORMAT_VERSION}`);
    this.tracks = (first & FLAG_BACK_REFERENCES) !== 0;
    const bufferCount = c0 | (c1 << 8) | (c2 << 16);
    const length = l0 + l1 * 0x100 + l2 * 0x10000 + l3 * 0x1000000;
    const start = HEADER_BYTES + bufferCount * TABLE_ENTRY_BYTES;
    if (start + length > size) throw malformed(`${size} bytes of ${start + length}`);
    if (source instanceof Uint8Array) {
      this.bytes = asBuffer(source);
      this.pos = start;
    } else {
      this.bytes = asBuffer(source.copy(0, start + length));
      this.pos = start;
    }
    this.end = start + length;
    if (bufferCount > 0) this.readTable(bufferCount, size);
  }

  private readTable(count: number, size: number): void {
    let at = this.end;
    for (let i = 0; i < count; i++) {
      const length = Number(this.bytes.readBigUInt64LE(HEADER_BYTES + i * TABLE_ENTRY_BYTES));
      const offset = alignUp(at, BUFFER_ALIGNMENT_BYTES);
      if (offset + length > size) throw malformed(`buffer ${i} of ${length} bytes reaches past the end`);
      this.segments.push({ offset, length, buffer: undefined });
      at = offset + length;
    }
  }

  decode(): unknown {
    try {
      const value = this.read(0);
      this.drain();
      if (this.pos !== this.end) throw malformed(`${this.end - this.pos} bytes too many`);
      return value;
    } catch (error) {
      if (this.isForeign) throw error;
      // Out-of-range reads and impossible constructions end as errors of the engine: the bytes are to blame.
      if (error instanceof RangeError || error instanceof TypeError || error instanceof SyntaxError) {
        throw malformed(error.message);
      }
      throw error;
    }
  }

  private drain(): void {
    // Content that was put off may put off more.
    for (let i = 0; i < this.later.length; i++) {
      const fill = this.later[i];
      this.later[i] = NOTHING;
      fill?.();
    }
    this.later = [];
  }

  /** Runs code that is not the codec's: what it throws is passed on as it is. */
  foreign<T>(run: () => T): T {
    const outer = this.isForeign;
    this.isForeign = true;
    const result = run();
    this.isForeign = outer;
    return result;
  }

  /** Reads values together with everything that was put off in them. */
  complete<T>(read: () => T): T {
    const outer = this.later;
    this.later = [];
    const result = read();
    this.drain();
    this.later = outer;
    return result;
  }

  // ── numbering ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Numbers an object that was made. */
  born<T>(value: T): T {
    if (this.tracks) {
      if (this.reserved >= 0) {
        this.objects[this.reserved] = value;
        this.reserved = -1;
      } else {
        this.objects.push(value);
      }
    }
    return value;
  }

  /** Takes a number for an object that does not exist yet. */
  expect(): number {
    if (!this.tracks) return -1;
    if (this.reserved >= 0) {
      const slot = this.reserved;
      this.reserved = -1;
      return slot;
    }
    return this.objects.push(UNBORN) - 1;
  }

  arrive<T>(slot: number, value: T): T {
    if (slot >= 0) this.objects[slot] = value;
    return value;
  }

  /** The next object takes this number. */
  reserve(slot: number): void {
    this.reserved = slot;
  }

  backReference(number: number): unknown {
    const value = number < this.objects.length ? this.objects[number] : UNBORN;
    if (value === UNBORN) throw malformed(`reference to object ${number}, which does not exist`);
    return value;
  }

  // ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

  get view(): DataView {
    this.lazyView ??= new DataView(this.bytes.buffer, this.bytes.byteOffset, this.end);
    return this.lazyView;
  }

  /** Moves on by `count` bytes and returns where they begin. */
  skip(count: number): number {
    const at = this.pos;
    if (at + count > this.end) throw malformed("it ends in the middle");
    this.pos = at + count;
    return at;
  }

  read(depth: number): unknown {
    const at = this.pos;
    if (at >= this.end) throw malformed("it ends in the middle");
    const byte = this.bytes[at] as number;
    this.pos = at + 1;
    if (byte < 0x80) return byte;
    if (byte >= 0xe0) return byte - 0x100;
    if (byte < 0x90) return this.object(byte & 0x0f, depth);
    if (byte < 0xa0) return this.array(byte & 0x0f, depth);
    if (byte < 0xc0) return this.string(byte & 0x1f);
    switch (byte) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.bin(this.view.getUint8(this.skip(1)));
      case 0xc5:
        return this.bin(this.view.getUint16(this.skip(2)));
      case 0xc6:
        return this.bin(this.view.getUint32(this.skip(4)));
      case 0xc7:
        return readExt(this, this.view.getUint8(this.skip(1)));
      case 0xc8:
        return readExt(this, this.view.getUint16(this.skip(2)));
      case 0xc9:
        return readExt(this, this.view.getUint32(this.skip(4)));
      case 0xca:
        return this.view.getFloat32(this.skip(4));
      case 0xcb:
        return this.view.getFloat64(this.skip(8));
      case 0xcc:
        return this.bytes[this.skip(1)];
      case 0xcd: {
        const start = this.skip(2);
        return ((this.bytes[start] as number) << 8) | (this.bytes[start + 1] as number);
      }
      case 0xce:
        return this.view.getUint32(this.skip(4));
      case 0xcf:
        return this.view.getBigUint64(this.skip(8));
      case 0xd0:
        return this.view.getInt8(this.skip(1));
      case 0xd1:
        return this.view.getInt16(this.skip(2));
      case 0xd2:
        return this.view.getInt32(this.skip(4));
      case 0xd3:
        return this.view.getBigInt64(this.skip(8));
      case 0xd4:
        return readExt(this, 1);
      case 0xd5:
        return readExt(this, 2);
      case 0xd6:
        return readExt(this, 4);
      case 0xd7:
        return readExt(this, 8);
      case 0xd8:
        return readExt(this, 16);
      case 0xd9:
        return this.string(this.view.getUint8(this.skip(1)));
      case 0xda:
        return this.string(this.view.getUint16(this.skip(2)));
      case 0xdb:
        return this.string(this.view.getUint32(this.skip(4)));
      case 0xdc:
        return this.array(this.view.getUint16(this.skip(2)), depth);
      case 0xdd:
        return this.array(this.view.getUint32(this.skip(4)), depth);
      case 0xde:
        return this.object(this.view.getUint16(this.skip(2)), depth);
      case 0xdf:
        return this.object(this.view.getUint32(this.skip(4)), depth);
      default:
        throw malformed(`the byte 0x${byte.toString(16)} begins nothing`);
    }
  }

  string(length: number): string {
    const start = this.skip(length);
    const { bytes } = this;
    if (length < 10) {
      if (length === 0) return "";
      const short = shortAscii(bytes, start, length);
      if (short !== undefined) return short;
    }
    return bytes.utf8Slice(start, start + length);
  }

  private bin(length: number): Uint8Array {
    const start = this.skip(length);
    return this.born(copyOf(this.bytes, start, start + length));
  }

  private array(length: number, depth: number): unknown {
    const { bytes } = this;
    if (length > 0 && bytes[this.pos] === 0xd4 && bytes[this.pos + 1] === EXT_NODE)
      return readNode(this, length, depth);
    const array: unknown[] = [];
    this.born(array);
    this.elements(array, length, depth);
    return array;
  }

  /** Fills an array; `length` elements follow. */
  elements(array: unknown[], length: number, depth: number): void {
    if (length > this.end - this.pos) throw malformed(`an array of ${length} elements does not fit`);
    if (depth > DEPTH_LIMIT) throw malformed("it is nested too deeply");
    const { bytes } = this;
    for (let i = 0; i < length; i++) {
      const byte = bytes[this.pos] as number;
      if (byte < 0x80 && this.pos < this.end) {
        this.pos++;
        array[i] = byte;
      } else if (byte === 0xd4 && bytes[this.pos + 1] === EXT_HOLE) {
        this.skip(3);
        array.length = i + 1;
      } else {
        array[i] = this.read(depth + 1);
      }
    }
  }

  private object(size: number, depth: number): object {
    const object: Record<string, unknown> = {};
    this.born(object);
    this.properties(object, size, depth);
    return object;
  }

  /** Fills an object; `size` pairs follow. `mayInherit`: its prototype may have a setter or constant of the same name. */
  properties(object: object, size: number, depth: number, mayInherit = false): void {
    if (size * 2 > this.end - this.pos) throw malformed(`a map of ${size} pairs does not fit`);
    if (depth > DEPTH_LIMIT) throw malformed("it is nested too deeply");
    // Whatever its class, properties are what is filled in here.
    const target = object as Record<string, unknown>;
    for (let i = 0; i < size; i++) {
      const key = this.key();
      const value = this.read(depth + 1);
      if (key === "__proto__" || (mayInherit && key in target)) define(target, key, value, true);
      else target[key] = value;
    }
  }

  private key(): string {
    const at = this.pos;
    const byte = at < this.end ? (this.bytes[at] as number) : 0;
    if (byte >= 0xa0 && byte < 0xc0) {
      const length = byte & 0x1f;
      this.pos = at + 1;
      const start = this.skip(length);
      return readKeyText(this.bytes, start, length);
    }
    const key = this.read(DEPTH_LIMIT + 1);
    // Other languages key maps by numbers; JavaScript's objects turn those into strings.
    if (typeof key === "string" || typeof key === "number") return String(key);
    throw malformed(`a map's key is ${key === null ? "null" : typeof key}`);
  }

  /** The header of an array, without reading its elements. */
  arrayLength(): number {
    const byte = this.view.getUint8(this.skip(1));
    if (byte >= 0x90 && byte < 0xa0) return byte & 0x0f;
    if (byte === 0xdc) return this.view.getUint16(this.skip(2));
    if (byte === 0xdd) return this.view.getUint32(this.skip(4));
    throw malformed("an array was expected");
  }

  /** The same, checked against what is left: each element takes a byte at least. */
  countedLength(): number {
    const length = this.arrayLength();
    if (length > this.end - this.pos) throw malformed(`a list of ${length} elements does not fit`);
    return length;
  }

  text(): string {
    const value = this.read(0);
    if (typeof value !== "string") throw malformed(`a ${typeof value} where a text was expected`);
    return value;
  }

  number(): number {
    const value = this.read(0);
    if (typeof value !== "number") throw malformed(`a ${typeof value} where a number was expected`);
    return value;
  }

  /** See `Customizer.leaf`. Reads nothing when it gives nothing. */
  leaf(customizer: Customizer, tag: number): object | undefined {
    const { bytes, pos } = this;
    const byte = bytes[pos] as number;
    let start = pos + 1;
    let length = byte & 0x1f;
    if (byte === 0xd9) length = bytes[start++] as number;
    else if (byte < 0xa0 || byte > 0xbf) return undefined;
    const end = start + length;
    // Neither early values nor children follow.
    if (end + 2 > this.end || bytes[end] !== 0x90 || bytes[end + 1] !== 0x90) return undefined;
    const outer = this.isForeign;
    this.isForeign = true;
    const value = customizer.leaf?.(tag, bytes, start, end);
    this.isForeign = outer;
    if (value) this.pos = end + 2;
    return value;
  }

  /** Plain data that takes no part in numbering. */
  plain(): unknown {
    const outer = this.tracks;
    this.tracks = false;
    const value = this.read(0);
    this.tracks = outer;
    return value;
  }

  /** Whether a node of this kind comes next. */
  isNode(kind: number): boolean {
    const { bytes, pos } = this;
    return (
      bytes[pos + 1] === 0xd4 &&
      bytes[pos + 2] === EXT_NODE &&
      bytes[pos + 3] === kind &&
      (bytes[pos] as number) >> 4 === 9
    );
  }

  /** The header of a map; -1 when what follows is something else. */
  mapSize(): number {
    const byte = this.pos < this.end ? this.bytes[this.pos] : undefined;
    if (byte === undefined) throw malformed("it ends in the middle");
    if (byte >= 0x80 && byte < 0x90) {
      this.pos++;
      return byte & 0x0f;
    }
    if (byte !== 0xde && byte !== 0xdf) return -1;
    this.pos++;
    return byte === 0xde ? this.view.getUint16(this.skip(2)) : this.view.getUint32(this.skip(4));
  }

  /** A node's last element: now, or after the root when it was put off. */
  content(fill: (depth: number) => void, depth: number): void {
    if (this.bytes[this.pos] === 0xd4 && this.bytes[this.pos + 1] === EXT_LATER) {
      this.skip(3);
      this.later.push(() => fill(0));
    } else {
      fill(depth);
    }
  }

  /** The bytes of a segment, in an ArrayBuffer of their own, the same for every view that shares it. */
  segment(index: number, maxByteLength: number | undefined): ArrayBuffer {
    const segment = this.segments[index];
    if (!segment) throw malformed(`there is no buffer ${index}`);
    if (segment.buffer) return segment.buffer;
    const { offset, length } = segment;
    if (maxByteLength === undefined) {
      segment.buffer = ownBuffer(this.source, offset, length);
    } else {
      const resizable = new ArrayBuffer(length, { maxByteLength });
      new Uint8Array(resizable).set(new Uint8Array(ownBuffer(this.source, offset, length)));
      segment.buffer = resizable;
    }
    return segment.buffer;
  }
}

const NOTHING = (): void => {};

/** Up to nine ASCII characters, without a call into native code; undefined when one is not ASCII. */
function shortAscii(bytes: Buffer, start: number, length: number): string | undefined {
  let text = "";
  for (let i = start; i < start + length; i++) {
    const byte = bytes[i] as number;
    if (byte > 0x7f) return undefined;
    text += String.fromCharCode(byte);
  }
  return text;
}
