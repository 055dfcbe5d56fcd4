/**
 * Values together with the modules that their functions import. A value that needs none is its packed bytes alone; else
 *
 *     0xC1, 3 zeros, u32 length, MessagePack [url], zeros up to 64, packed value
 *
 * so that whoever reads it can import them first: a module that waits at its top level cannot be imported while a value
 * is being decoded. In a cluster the list may be an object instead, which says where the files of the modules come from
 * ({@link NeededCode}).
 */
import { BUFFER_ALIGNMENT_BYTES } from "../base/limits.ts";
import type { ByteSource, ByteTarget, Packed } from "../codec/mod.ts";
import { type CodeWanted, pack, unpack } from "../wire/mod.ts";

const MARK = 0xc1;
const PREFIX_BYTES = 8;

/** A value ready to be written: what `Packed` offers. */
export interface Shippable {
  readonly byteLength: number;
  readonly nested: readonly object[];
  writeInto(target: ByteTarget): void;
  toBytes(): Uint8Array;
}

/** What has to be there before the value can be read. */
export type NeededCode = CodeWanted & {
  /** Who sees the same files as the packer imports from the paths, and needs nothing else. */
  readonly files: string;
};

export class ValueWithModules implements Shippable {
  readonly byteLength: number;
  readonly nested: readonly object[];
  private readonly packed: Packed;
  private readonly head: Uint8Array;
  private readonly start: number;

  constructor(packed: Packed, needed: readonly string[] | NeededCode) {
    this.packed = packed;
    this.nested = packed.nested;
    this.head = pack(needed);
    this.start = Math.ceil((PREFIX_BYTES + this.head.length) / BUFFER_ALIGNMENT_BYTES) * BUFFER_ALIGNMENT_BYTES;
    this.byteLength = this.start + packed.byteLength;
  }

  writeInto(target: ByteTarget): void {
    const { head, start } = this;
    const prefix = Buffer.alloc(start);
    prefix[0] = MARK;
    prefix.writeUInt32LE(head.length, 4);
    prefix.set(head, PREFIX_BYTES);
    target.set(prefix, 0);
    this.packed.writeInto(target, start);
  }

  toBytes(): Uint8Array {
    const bytes = Buffer.allocUnsafeSlow(this.byteLength);
    this.writeInto(bytes);
    return bytes;
  }
}

interface Split {
  readonly needed: readonly string[] | NeededCode;
  /** The value's own bytes. */
  readonly value: Uint8Array | ByteSource;
}

/** Undefined when the value comes alone, as nearly all do. */
export function splitModules(source: Uint8Array | ByteSource): Split | undefined {
  if (source.byteLength < PREFIX_BYTES) return undefined;
  const prefix = source instanceof Uint8Array ? source : source.copy(0, PREFIX_BYTES);
  if (prefix[0] !== MARK) return undefined;
  const length = new DataView(prefix.buffer, prefix.byteOffset).getUint32(4, true);
  const start = Math.ceil((PREFIX_BYTES + length) / BUFFER_ALIGNMENT_BYTES) * BUFFER_ALIGNMENT_BYTES;
  if (start > source.byteLength) return undefined;
  if (source instanceof Uint8Array) {
    const needed = unpack(source.subarray(PREFIX_BYTES, PREFIX_BYTES + length)) as Split["needed"];
    return { needed, value: source.subarray(start) };
  }
  const value: ByteSource = {
    byteLength: source.byteLength - start,
    copy: (offset, bytes) => source.copy(start + offset, bytes),
    view: (offset, bytes) => source.view(start + offset, bytes),
  };
  return { needed: unpack(source.copy(PREFIX_BYTES, length)) as Split["needed"], value };
}
