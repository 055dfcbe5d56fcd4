/**
 * A part of a stream: what was sent and is not known to have arrived, from one position to another. Positions count the
 * bytes of the whole stream.
 */
import { assert } from "../base/assert.ts";

const NOTHING = Buffer.alloc(0);
/** Places of buffers that are gone are given back when there are so many. */
const GONE_MAX = 1_024;

export class KeptBytes {
  /** The position of the first byte that is kept. */
  from = 0;
  /** The position after the last. */
  to = 0;
  private buffers: Buffer[] = [];
  /** The first buffer that is still needed, and where in the stream it begins. */
  private first = 0;
  private firstFrom = 0;

  get bytes(): number {
    return this.to - this.from;
  }

  /** Keeps `buffer` itself. */
  push(buffer: Buffer): void {
    this.buffers.push(buffer);
    this.to += buffer.length;
  }

  /** What lies before `position` has arrived. */
  release(position: number): void {
    assert(position >= this.from && position <= this.to, "a position outside what is kept");
    this.from = position;
    const { buffers } = this;
    while (this.first < buffers.length) {
      const end = this.firstFrom + (buffers[this.first] as Buffer).length;
      if (end > position) break;
      buffers[this.first++] = NOTHING;
      this.firstFrom = end;
    }
    if (this.first === buffers.length) buffers.length = 0;
    else if (this.first > GONE_MAX) buffers.splice(0, this.first);
    else return;
    this.first = 0;
  }

  /** Everything that is kept, in order. */
  *all(): Generator<Buffer> {
    let skip = this.from - this.firstFrom;
    for (let index = this.first; index < this.buffers.length; index++) {
      const buffer = this.buffers[index] as Buffer;
      yield skip > 0 ? buffer.subarray(skip) : buffer;
      skip = 0;
    }
  }

  /** Nobody needs it any more. */
  clear(): void {
    this.release(this.to);
  }
}
