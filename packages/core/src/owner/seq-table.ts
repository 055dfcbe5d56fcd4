/**
 * A table by sequence number. Numbers are given out in order and most are let go of in order, so records lie in blocks
 * of consecutive numbers: a quarter of the memory of a Map, and no rehashing of a million entries.
 */
import type { Seq } from "../base/ids.ts";

const BLOCK_BITS = 9;
const BLOCK = 1 << BLOCK_BITS;

interface Block<T> {
  readonly items: (T | undefined)[];
  used: number;
}

export class SeqTable<T> {
  private readonly blocks = new Map<number, Block<T>>();
  private count = 0;
  /** The block of the last access: neighbours follow. */
  private last: Block<T> | undefined;
  private lastIndex = -1;

  get size(): number {
    return this.count;
  }

  get(seq: Seq): T | undefined {
    return this.block(Math.floor(seq / BLOCK))?.items[seq % BLOCK];
  }

  set(seq: Seq, item: T): void {
    const index = Math.floor(seq / BLOCK);
    let block = this.block(index);
    if (!block) {
      block = { items: new Array<T | undefined>(BLOCK).fill(undefined), used: 0 };
      this.blocks.set(index, block);
      this.last = block;
      this.lastIndex = index;
    }
    if (block.items[seq % BLOCK] === undefined) {
      block.used++;
      this.count++;
    }
    block.items[seq % BLOCK] = item;
  }

  delete(seq: Seq): boolean {
    const index = Math.floor(seq / BLOCK);
    const block = this.block(index);
    if (block?.items[seq % BLOCK] === undefined) return false;
    block.items[seq % BLOCK] = undefined;
    this.count--;
    if (--block.used === 0) {
      this.blocks.delete(index);
      this.last = undefined;
      this.lastIndex = -1;
    }
    return true;
  }

  *values(): Generator<T> {
    for (const { items } of this.blocks.values()) for (const item of items) if (item !== undefined) yield item;
  }

  private block(index: number): Block<T> | undefined {
    if (index === this.lastIndex) return this.last;
    const block = this.blocks.get(index);
    if (block) {
      this.last = block;
      this.lastIndex = index;
    }
    return block;
  }
}
