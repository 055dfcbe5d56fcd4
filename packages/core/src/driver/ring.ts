/**
 * A ring of records in shared memory, from one thread to one other.
 *
 * 1. The producer writes a record and moves `head`; the consumer reads up to `head` and moves `tail`. Both positions
 *    only grow (modulo 2^32) and lie on multiples of 4.
 * 2. A record never wraps: when it does not fit before the end, a marker sends the consumer back to the start.
 * 3. The consumer says whether it sleeps. Only then must the producer ring its bell (a message on a port, which wakes
 *    an event loop); a consumer that is awake, or looks every millisecond, finds records by itself.
 * 4. A record larger than a quarter of the ring travels as a message on the port, and a marker keeps its place.
 */
const HEAD = 0;
const TAIL = 1;
const CONSUMER = 2;
const PRODUCER_WAITS = 3;
const HEADER_BYTES = 64;
/** A number for the other side that is not part of the stream: 8 bytes at this word. */
const COUNTER_WORD = 8;

const ASLEEP = 0;
/** Rung, or reading: it will see what is there now. */
const AWAKE = 1;
/** Looks again in a millisecond at the latest. */
const DOZING = 2;

const WRAP = 0xffff_ffff;
const APART = 0xffff_fffe;

const RING_BYTES = 1 << 20;

interface Ring {
  readonly header: Int32Array;
  readonly counter: Float64Array;
  readonly data: Buffer;
  readonly words: Uint32Array;
  readonly mask: number;
}

function open(memory: SharedArrayBuffer): Ring {
  const capacity = memory.byteLength - HEADER_BYTES;
  return {
    header: new Int32Array(memory, 0, HEADER_BYTES / 4),
    counter: new Float64Array(memory, COUNTER_WORD * 4, 1),
    data: Buffer.from(memory, HEADER_BYTES, capacity),
    words: new Uint32Array(memory, HEADER_BYTES, capacity / 4),
    mask: capacity - 1,
  };
}

/** @param bytes a power of two. */
export const newRing = (bytes = RING_BYTES): SharedArrayBuffer => new SharedArrayBuffer(HEADER_BYTES + bytes);

/** How a ring wakes the other side and carries what is too large for it. */
export interface Bell {
  ring(): void;
  /** Bytes of a record that travels apart; they arrive before the bell that follows. */
  sendApart(bytes: Uint8Array): void;
}

export class RingProducer {
  private readonly ring: Ring;
  private readonly bell: Bell;
  private head: number;

  constructor(memory: SharedArrayBuffer, bell: Bell) {
    this.ring = open(memory);
    this.bell = bell;
    this.head = Atomics.load(this.ring.header, HEAD) >>> 0;
  }

  get isConsumerAsleep(): boolean {
    return Atomics.load(this.ring.header, CONSUMER) === ASLEEP;
  }

  set counter(value: number) {
    this.ring.counter[0] = value;
  }

  /** False when there is no room now: nothing was written. */
  push(bytes: Buffer, start: number, end: number): boolean {
    const { ring } = this;
    const length = end - start;
    const isApart = length > ring.data.length / 4;
    const body = isApart ? 0 : length;
    const needed = 4 + ((body + 3) & ~3);
    const at = this.head & ring.mask;
    const toEnd = ring.data.length - at;
    const total = needed > toEnd ? toEnd + needed : needed;
    const tail = Atomics.load(ring.header, TAIL) >>> 0;
    if (((this.head - tail) >>> 0) + total > ring.data.length) return false;
    let position = at;
    if (needed > toEnd) {
      ring.words[at >>> 2] = WRAP;
      position = 0;
    }
    if (isApart) {
      this.bell.sendApart(bytes.subarray(start, end));
      ring.words[position >>> 2] = APART;
    } else {
      ring.words[position >>> 2] = length;
      bytes.copy(ring.data, position + 4, start, end);
    }
    this.head = (this.head + total) >>> 0;
    Atomics.store(ring.header, HEAD, this.head | 0);
    return true;
  }

  /** Rings unless the consumer is awake or has been rung already. */
  wake(): void {
    if (Atomics.compareExchange(this.ring.header, CONSUMER, ASLEEP, AWAKE) === ASLEEP) this.bell.ring();
  }

  /** Rings unless the consumer has been rung or is reading: also a dozing one. */
  nudge(): void {
    const { header } = this.ring;
    const woke =
      Atomics.compareExchange(header, CONSUMER, DOZING, AWAKE) === DOZING ||
      Atomics.compareExchange(header, CONSUMER, ASLEEP, AWAKE) === ASLEEP;
    if (woke) this.bell.ring();
  }

  ringBell(): void {
    this.bell.ring();
  }

  /** Blocks the thread until the consumer has made room; false when it did not within `timeoutMs`. */
  waitForRoom(timeoutMs: number): boolean {
    const { header } = this.ring;
    const tail = Atomics.load(header, TAIL);
    this.nudge();
    return Atomics.wait(header, TAIL, tail, timeoutMs) !== "timed-out";
  }

  /** Asks the consumer to ring back when it has made room. */
  wantRoom(): void {
    Atomics.store(this.ring.header, PRODUCER_WAITS, 1);
  }
}

export class RingConsumer {
  private readonly ring: Ring;
  private tail: number;
  private readonly takeApart: () => Uint8Array;

  /** @param takeApart the next record that travelled apart. */
  constructor(memory: SharedArrayBuffer, takeApart: () => Uint8Array) {
    this.ring = open(memory);
    this.takeApart = takeApart;
    this.tail = Atomics.load(this.ring.header, TAIL) >>> 0;
  }

  get counter(): number {
    return this.ring.counter[0] ?? 0;
  }

  get isEmpty(): boolean {
    return Atomics.load(this.ring.header, HEAD) >>> 0 === this.tail;
  }

  /** Hands out at most `max` records, in place: bytes are valid only during the call. Returns how many there were. */
  drain(handle: (bytes: Buffer, start: number, end: number) => void, max = Number.POSITIVE_INFINITY): number {
    const { ring } = this;
    let count = 0;
    while (count < max) {
      const head = Atomics.load(ring.header, HEAD) >>> 0;
      if (head === this.tail) break;
      while (this.tail !== head && count < max) {
        let at = this.tail & ring.mask;
        let length = ring.words[at >>> 2] ?? 0;
        if (length === WRAP) {
          this.tail = (this.tail + ring.data.length - at) >>> 0;
          at = 0;
          length = ring.words[0] ?? 0;
        }
        const size = length === APART ? 0 : length;
        try {
          if (length === APART) {
            const apart = this.takeApart();
            const bytes = Buffer.from(apart.buffer, apart.byteOffset, apart.byteLength);
            handle(bytes, 0, bytes.length);
          } else handle(ring.data, at + 4, at + 4 + length);
        } finally {
          this.tail = (this.tail + 4 + ((size + 3) & ~3)) >>> 0;
          count++;
        }
      }
      Atomics.store(ring.header, TAIL, this.tail | 0);
      Atomics.notify(ring.header, TAIL);
    }
    return count;
  }

  stayAwake(): void {
    Atomics.store(this.ring.header, CONSUMER, AWAKE);
  }

  /** The consumer will look again soon. True when something came in the meantime: then it must look now. */
  doze(): boolean {
    Atomics.store(this.ring.header, CONSUMER, DOZING);
    return !this.isEmpty;
  }

  /** From now on the producer rings. True when something came in the meantime: then the consumer must look again. */
  sleep(): boolean {
    Atomics.store(this.ring.header, CONSUMER, ASLEEP);
    return !this.isEmpty;
  }

  /** True, once, when the producer waits for room. */
  takeRoomWish(): boolean {
    return Atomics.compareExchange(this.ring.header, PRODUCER_WAITS, 1, 0) === 1;
  }
}
