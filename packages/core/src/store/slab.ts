/**
 * A slab is a range of the arena that one client has leased: objects are placed in it without asking anyone, and the
 * node hears of each afterwards. The client moves one edge upward; what lies above it goes back when the slab is done.
 */
import { roundUpToPages } from "./memory.ts";

export interface ByteRange {
  readonly offset: number;
  readonly bytes: number;
}

export interface Slab {
  readonly range: ByteRange;
  /** The offset of a place for `bytes`, page aligned, or undefined when the rest is too short. */
  allocate(bytes: number): number | undefined;
  /** Undoes an allocation when it was the newest; otherwise false, and the caller gives the range to the node. */
  undo(offset: number, bytes: number): boolean;
  /** What was never allocated. */
  rest(): ByteRange | undefined;
}

export function createSlab(range: ByteRange): Slab {
  const end = range.offset + range.bytes;
  let edge = range.offset;
  return {
    range,
    allocate(bytes) {
      const size = roundUpToPages(bytes);
      if (edge + size > end) return undefined;
      const offset = edge;
      edge += size;
      return offset;
    },
    undo(offset, bytes) {
      if (offset + roundUpToPages(bytes) !== edge) return false;
      edge = offset;
      return true;
    },
    rest: () => (edge < end ? { offset: edge, bytes: end - edge } : undefined),
  };
}

const MIB = 2 ** 20;
/** Small at first, so that a thousand idle workers cost little; a busy client soon asks the node once in 16 MiB. */
const SLAB_BYTES_FIRST = MIB;
export const SLAB_BYTES_MAX = 16 * MIB;
/** Objects above this get a range of their own: in a slab they would waste its end, and the copy outweighs the question. */
export const SLAB_OBJECT_BYTES_MAX = 4 * MIB;

/** How much to lease next: at least four objects like this one, and twice as much as last time. */
export function nextSlabBytes(objectBytes: number, lastSlabBytes: number): number {
  const wish = Math.max(4 * roundUpToPages(objectBytes), 2 * lastSlabBytes, SLAB_BYTES_FIRST);
  return Math.min(wish, SLAB_BYTES_MAX);
}
