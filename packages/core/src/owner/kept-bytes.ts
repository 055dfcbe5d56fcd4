/**
 * Small byte strings that an owner keeps by the hundred thousand: arguments of queued calls, results nobody has fetched.
 * A Buffer of its own costs over a hundred bytes however short it is; here many lie in one, and each is a range of it.
 */
import type { ObjectKey } from "../base/ids.ts";
import type { FrameWriter, ValueRecord } from "../wire/mod.ts";

const SLAB_BYTES = 16 * 1024;
/** Longer ones have a Buffer of their own, so that one that lives long does not keep much besides itself. */
const KEPT_BYTES_MAX = 256;
const NO_KEYS: readonly ObjectKey[] = Object.freeze([]);

/** In place of a range: all of the bytes. */
export const WHOLE = -1;
const LENGTH_BITS = 9;

export class KeptBytes {
  readonly slab: Buffer;
  /** Where in the slab: start and length in one number. */
  readonly range: number;

  constructor(slab: Buffer, range: number) {
    this.slab = slab;
    this.range = range;
  }

  get start(): number {
    return this.range >> LENGTH_BITS;
  }

  get end(): number {
    return this.start + (this.range & ((1 << LENGTH_BITS) - 1));
  }

  get bytes(): Buffer {
    return this.slab.subarray(this.start, this.end);
  }
}

/** An inline value without refs inside. Its fields are computed, so it must be made plain before it is packed. */
class KeptValue extends KeptBytes {
  get at(): "inline" {
    return "inline";
  }
  get nested(): readonly ObjectKey[] {
    return NO_KEYS;
  }
}

let slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
let used = 0;

/** Where a copy of the bytes was put in the current slab, as a range. */
function place(bytes: Buffer): number {
  if (used + bytes.length > SLAB_BYTES) {
    slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
    used = 0;
  }
  const range = (used << LENGTH_BITS) | bytes.length;
  bytes.copy(slab, used);
  used += bytes.length;
  return range;
}

/** A copy of bytes that are valid only now. */
export function keepBytes(bytes: Buffer): Uint8Array | KeptBytes {
  if (bytes.length > KEPT_BYTES_MAX) return Buffer.from(bytes);
  const range = place(bytes);
  return new KeptBytes(slab, range);
}

export function keepValue(bytes: Buffer): ValueRecord {
  if (bytes.length > KEPT_BYTES_MAX) return { at: "inline", bytes: Buffer.from(bytes), nested: NO_KEYS };
  const range = place(bytes);
  return new KeptValue(slab, range);
}

export const bytesOf = (kept: Uint8Array | KeptBytes): Uint8Array => (kept instanceof KeptBytes ? kept.bytes : kept);

export const lengthOf = (kept: Uint8Array | KeptBytes): number =>
  kept instanceof KeptBytes ? kept.end - kept.start : kept.length;

export function writeKept(out: FrameWriter, kept: Uint8Array | KeptBytes): void {
  if (kept instanceof KeptBytes) {
    const { slab: from, start, end } = kept;
    out.binHeader(end - start);
    out.raw(from, start, end);
  } else out.bin(kept);
}

/** For messages that are packed as a whole. */
export const plainValue = (value: ValueRecord): ValueRecord =>
  value instanceof KeptValue ? { at: "inline", bytes: value.bytes, nested: NO_KEYS } : value;
