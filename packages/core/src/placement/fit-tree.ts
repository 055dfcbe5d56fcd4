/**
 * Finds a node with enough of everything without looking at all of them: a tournament tree over positions.
 *
 * 1. A leaf has what one node has free in each dimension, and a score. An inner place has the greatest amount of each
 *    dimension, and the least score, of all leaves below.
 * 2. A search goes down only where every amount is enough and the score can still win.
 *
 * What an inner place promises may come from different leaves, so a search can go astray; then it turns back.
 */

export class FitTree {
  /** A power of two: leaf `position` is at `size + position`. */
  private size = 0;
  private readonly dimensions: number;
  private amounts: Float64Array = new Float64Array(0);
  private scores: Float64Array = new Float64Array(0);
  private bestScore = 0;
  private bestAt = -1;

  constructor(dimensions: number) {
    this.dimensions = dimensions;
  }

  /** Makes room for positions below `count`; keeps what is there. */
  grow(count: number): void {
    if (count <= this.size) return;
    const { size: before, amounts, scores, dimensions } = this;
    const size = 2 ** Math.ceil(Math.log2(Math.max(count, 16)));
    this.size = size;
    this.amounts = new Float64Array(2 * size * dimensions).fill(Number.NEGATIVE_INFINITY);
    this.scores = new Float64Array(2 * size).fill(Number.POSITIVE_INFINITY);
    this.amounts.set(amounts.subarray(before * dimensions), size * dimensions);
    this.scores.set(scores.subarray(before), size);
    for (let at = size - 1; at >= 1; at--) this.pull(at);
  }

  set(position: number, amounts: ArrayLike<number>, score: number): void {
    let at = this.size + position;
    for (let index = 0; index < this.dimensions; index++) {
      this.amounts[at * this.dimensions + index] = amounts[index] ?? 0;
    }
    this.scores[at] = score;
    for (at >>= 1; at >= 1; at >>= 1) if (!this.pull(at)) return;
  }

  clear(position: number): void {
    this.set(position, new Float64Array(this.dimensions).fill(Number.NEGATIVE_INFINITY), Number.POSITIVE_INFINITY);
  }

  /** The position with the least score that has `needs`; of equal ones the first from `from` on, around. -1: none. */
  least(needs: ArrayLike<number>, from: number): number {
    this.bestScore = Number.POSITIVE_INFINITY;
    this.bestAt = -1;
    if (this.size === 0) return -1;
    this.seekLeast(1, 0, this.size, needs, from, this.size);
    if (from > 0) this.seekLeast(1, 0, this.size, needs, 0, from);
    return this.bestAt;
  }

  /** The first position from `from` on, around, that has `needs`. -1: none. */
  next(needs: ArrayLike<number>, from: number): number {
    if (this.size === 0) return -1;
    const ahead = this.seekNext(1, 0, this.size, needs, from, this.size);
    return ahead >= 0 || from === 0 ? ahead : this.seekNext(1, 0, this.size, needs, 0, from);
  }

  /** Whether any leaf may have it. */
  has(needs: ArrayLike<number>): boolean {
    return this.next(needs, 0) >= 0;
  }

  private seekLeast(at: number, low: number, high: number, needs: ArrayLike<number>, from: number, to: number): void {
    if (high <= from || low >= to || (this.scores[at] ?? 0) >= this.bestScore || !this.isEnough(at, needs)) return;
    if (at >= this.size) {
      this.bestScore = this.scores[at] ?? 0;
      this.bestAt = low;
      return;
    }
    const middle = (low + high) >>> 1;
    const left = at << 1;
    if ((this.scores[left] ?? 0) <= (this.scores[left + 1] ?? 0)) {
      this.seekLeast(left, low, middle, needs, from, to);
      this.seekLeast(left + 1, middle, high, needs, from, to);
    } else {
      this.seekLeast(left + 1, middle, high, needs, from, to);
      this.seekLeast(left, low, middle, needs, from, to);
    }
  }

  private seekNext(at: number, low: number, high: number, needs: ArrayLike<number>, from: number, to: number): number {
    if (high <= from || low >= to || !this.isEnough(at, needs)) return -1;
    if (at >= this.size) return low;
    const middle = (low + high) >>> 1;
    const left = this.seekNext(at << 1, low, middle, needs, from, to);
    return left >= 0 ? left : this.seekNext((at << 1) + 1, middle, high, needs, from, to);
  }

  private isEnough(at: number, needs: ArrayLike<number>): boolean {
    const base = at * this.dimensions;
    for (let index = 0; index < this.dimensions; index++) {
      if ((this.amounts[base + index] ?? 0) < (needs[index] ?? 0)) return false;
    }
    return true;
  }

  /** Brings an inner place up to date with the two below it; false when nothing changed. */
  private pull(at: number): boolean {
    const { dimensions, amounts, scores } = this;
    const base = at * dimensions;
    const left = 2 * base;
    const right = left + dimensions;
    let changed = false;
    for (let index = 0; index < dimensions; index++) {
      const value = Math.max(amounts[left + index] ?? 0, amounts[right + index] ?? 0);
      if (amounts[base + index] !== value) {
        amounts[base + index] = value;
        changed = true;
      }
    }
    const score = Math.min(scores[2 * at] ?? 0, scores[2 * at + 1] ?? 0);
    if (scores[at] !== score) {
      scores[at] = score;
      changed = true;
    }
    return changed;
  }
}
