/**
 * Values together with the code they need. A value without functions is its packed bytes alone; one with functions is
 *
 *     0xC1, 3 zeros, u32 length, MessagePack { units: { hash: text }, modules: [url] }, zeros up to 64, packed value
 *
 * so that whoever reads it, now or after a restart, on whichever process, has all that it takes.
 */
import { BUFFER_ALIGNMENT_BYTES } from "../base/limits.ts";
import type { ByteSource, CopyInto, Packed } from "../codec/mod.ts";
import { pack, unpack } from "../wire/mod.ts";

const MARK = 0xc1;
const PREFIX_BYTES = 8;

export interface Code {
  readonly units: Readonly<Record<string, string>>;
  readonly modules: readonly string[];
}

/** A value ready to be written: what `Packed` offers. */
export interface Shippable {
  readonly byteLength: number;
  readonly nested: readonly object[];
  writeInto(target: Uint8Array, copy?: CopyInto): void;
  toBytes(): Uint8Array;
}

export class CodedValue implements Shippable {
  readonly byteLength: number;
  readonly nested: readonly object[];
  private readonly packed: Packed;
  private readonly head: Uint8Array;
  private readonly start: number;

  constructor(packed: Packed, code: Code) {
    this.packed = packed;
    this.nested = packed.nested;
    this.head = pack(code);
    this.start = Math.ceil((PREFIX_BYTES + this.head.length) / BUFFER_ALIGNMENT_BYTES) * BUFFER_ALIGNMENT_BYTES;
    this.byteLength = this.start + packed.byteLength;
  }

  writeInto(target: Uint8Array, copy?: CopyInto): void {
    const { head, start } = this;
    target.fill(0, 0, start);
    target[0] = MARK;
    new DataView(target.buffer, target.byteOffset).setUint32(4, head.length, true);
    target.set(head, PREFIX_BYTES);
    this.packed.writeInto(target.subarray(start), copy);
  }

  toBytes(): Uint8Array {
    const bytes = Buffer.allocUnsafeSlow(this.byteLength);
    this.writeInto(bytes);
    return bytes;
  }
}

/** The code and the value's own bytes; undefined when the value comes alone. */
export function splitCode(source: Uint8Array | ByteSource): { code: Code; value: Uint8Array | ByteSource } | undefined {
  if (source.byteLength < PREFIX_BYTES) return undefined;
  const prefix = source instanceof Uint8Array ? source : source.copy(0, PREFIX_BYTES);
  if (prefix[0] !== MARK) return undefined;
  const length = new DataView(prefix.buffer, prefix.byteOffset).getUint32(4, true);
  const start = Math.ceil((PREFIX_BYTES + length) / BUFFER_ALIGNMENT_BYTES) * BUFFER_ALIGNMENT_BYTES;
  if (start > source.byteLength) return undefined;
  if (source instanceof Uint8Array) {
    const code = unpack(source.subarray(PREFIX_BYTES, PREFIX_BYTES + length)) as Code;
    return { code, value: source.subarray(start) };
  }
  const value: ByteSource = {
    byteLength: source.byteLength - start,
    copy: (offset, bytes) => source.copy(start + offset, bytes),
    view: (offset, bytes) => source.view(start + offset, bytes),
  };
  return { code: unpack(source.copy(PREFIX_BYTES, length)) as Code, value };
}
