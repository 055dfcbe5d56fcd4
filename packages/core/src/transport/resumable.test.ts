/** Sessions over sockets that are made of memory: every cut is exact, and time is the test's own. */
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { FrameReader } from "../wire/mod.ts";
import type { PeerHandlers } from "./mod.ts";
import { type ResumableOptions, ResumablePeer } from "./resumable.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] }));
afterEach(() => void vi.useRealTimers());

/** Everything that is ready to run has run. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 12; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** One end of a connection in memory. */
class Wire extends Duplex {
  /** Bytes that still get through from here; then both ends are cut. */
  budget = Number.POSITIVE_INFINITY;
  readonly written: Buffer[] = [];
  other: Wire | undefined;

  static pair(): [Wire, Wire] {
    const [left, right] = [new Wire({ allowHalfOpen: false }), new Wire({ allowHalfOpen: false })];
    left.other = right;
    right.other = left;
    return [left, right];
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    const { other } = this;
    const through = chunk.subarray(0, this.budget);
    this.budget -= through.length;
    this.written.push(through);
    if (other && !other.destroyed && through.length > 0) other.push(Buffer.from(through));
    done();
    if (this.budget === 0) setImmediate(() => this.cut());
  }

  override _final(done: () => void): void {
    this.other?.push(null);
    done();
  }

  cut(): void {
    this.destroy();
    this.other?.destroy();
  }

  get asSocket(): Socket {
    return this as unknown as Socket;
  }
}

interface Side {
  readonly peer: ResumablePeer;
  readonly received: unknown[];
  readonly closes: (Error | undefined)[];
  readonly news: string[];
}

const reader = new FrameReader();

function side(more: Partial<Omit<ResumableOptions, "handlers">> & { handlers?: Partial<PeerHandlers> } = {}): Side {
  const { handlers, ...options } = more;
  const received: unknown[] = [];
  const closes: (Error | undefined)[] = [];
  const news: string[] = [];
  const peer: ResumablePeer = new ResumablePeer({
    handlers: {
      onMessage: (message) => void received.push(message),
      onHotFrame(buffer, start, end) {
        reader.reset(buffer, start, end);
        reader.array();
        received.push(reader.uint());
      },
      onClose: (error) => void closes.push(error),
      ...handlers,
    },
    onSuspended: () => void news.push("suspended"),
    onResumed: () => void news.push("resumed"),
    ...options,
  });
  return { peer, received, closes, news };
}

function hot(peer: ResumablePeer, number: number): void {
  peer.out.begin();
  peer.out.array(2);
  peer.out.uint(number);
  peer.out.string("x".repeat(number % 7));
  peer.out.end();
  peer.schedule();
}

/** A handshake between the two, as dial.ts and accept.ts make it. */
function join(left: Side, right: Side): [Wire, Wire] {
  const [one, two] = Wire.pair();
  const leftHas = left.peer.receivedBytes;
  const rightHas = right.peer.receivedBytes;
  right.peer.attach(two.asSocket, rightHas, leftHas);
  left.peer.attach(one.asSocket, leftHas, rightHas);
  return [one, two];
}

const numbers = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, index) => from + index);

describe("a session over one connection", () => {
  test("carries cold and hot frames in both directions, in order", async () => {
    const [left, right] = [side(), side()];
    join(left, right);
    left.peer.send({ t: "first" });
    hot(left.peer, 1);
    left.peer.send({ t: "second" });
    hot(right.peer, 2);
    await settled();
    expect(right.received).toEqual([{ t: "first" }, 1, { t: "second" }]);
    expect(left.received).toEqual([2]);
  });

  test("what is written before there is a connection leaves with the first", async () => {
    const [left, right] = [side(), side()];
    hot(left.peer, 1);
    await settled();
    expect(left.peer.unsentBytes).toBeGreaterThan(0);
    join(left, right);
    await settled();
    expect(right.received).toEqual([1]);
    expect(left.news).toEqual([]);
    expect(left.peer.unsentBytes).toBe(0);
  });

  test("what arrives is acknowledged with the next frame that leaves, and else after 50 ms", async () => {
    const [left, right] = [side(), side()];
    join(left, right);
    hot(left.peer, 1);
    await settled();
    expect(left.peer.awaitsAck).toBe(true);
    hot(right.peer, 2);
    await settled();
    expect(left.peer.awaitsAck).toBe(false);
    expect(right.peer.awaitsAck).toBe(true);
    await vi.advanceTimersByTimeAsync(49);
    await settled();
    expect(right.peer.awaitsAck).toBe(true);
    await vi.advanceTimersByTimeAsync(1);
    await settled();
    expect(right.peer.awaitsAck).toBe(false);
  });

  test("256 KiB are acknowledged at once", async () => {
    const [left, right] = [side(), side()];
    join(left, right);
    left.peer.send({ t: "large", bytes: Buffer.alloc(255 * 1024) });
    await settled();
    expect(left.peer.awaitsAck).toBe(true);
    left.peer.send({ t: "large", bytes: Buffer.alloc(1024) });
    await settled();
    expect(left.peer.awaitsAck).toBe(false);
  });

  test("of many small frames that are answered at once, few are acknowledged one by one", async () => {
    const left = side();
    const right = side({
      handlers: {
        onHotFrame: () => hot(right.peer, 6),
      },
    });
    const [, back] = join(left, right);
    for (let number = 0; number < 2_000; number++) {
      hot(left.peer, 6);
      left.peer.flush();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await settled();
    expect(left.received).toHaveLength(2_000);
    const acks = back.written.filter((bytes) => bytes.includes(Buffer.from([9, 0, 0, 0, 0xcf])));
    // The first, and then one for each 16 KiB.
    expect(acks).toHaveLength(1 + Math.floor((2_000 * 13) / (16 * 1024)));
  });

  test("acknowledgements alone are not answered", async () => {
    const [left, right] = [side(), side()];
    const [one, two] = join(left, right);
    hot(left.peer, 1);
    for (let round = 0; round < 5; round++) {
      await settled();
      await vi.advanceTimersByTimeAsync(100);
    }
    expect(one.written).toHaveLength(1);
    expect(two.written.map(({ length }) => length)).toEqual([13]);
  });

  test("acknowledgements of a long stream in one direction do not pile up where they were sent", async () => {
    const left = side();
    const [near, far] = Wire.pair();
    left.peer.attach(near.asSocket, 0, 0);
    const ack = Buffer.from([9, 0, 0, 0, 0xcf, 0, 0, 0, 0, 0, 0, 0, 0]);
    const many = (256 * 1024) / ack.length;
    for (let count = 1; count < many; count++) far.write(ack);
    await settled();
    expect(near.written).toEqual([]);
    far.write(ack);
    await settled();
    expect(Buffer.concat(near.written)).toEqual(Buffer.from([9, 0, 0, 0, 0xcf, 0, 0, 0, 0, 0, 4, 0, 1]));
  });
});

/** A peer whose other side is the test: what it is sent, and what it said. */
function alone(handlers: Partial<PeerHandlers> = {}) {
  const here = side({ handlers });
  const [near, far] = Wire.pair();
  here.peer.attach(near.asSocket, 0, 0);
  return { ...here, near, far, said: () => Buffer.concat(near.written) };
}

describe("what needs an acknowledgement is not mistaken for one", () => {
  const tiny = Buffer.from([1, 0, 0, 0, 0x90]);
  const ack = (position: number): Buffer => Buffer.from([9, 0, 0, 0, 0xcf, 0, 0, 0, 0, 0, 0, 0, position]);

  test("when an acknowledgement arrives in two parts", async () => {
    const { far, said } = alone({ onHotFrame() {} });
    far.write(Buffer.concat([tiny, ack(0).subarray(0, 5)]));
    await settled();
    await vi.advanceTimersByTimeAsync(50);
    expect(said()).toEqual(ack(10));
    far.write(Buffer.concat([ack(0).subarray(5), tiny]));
    await settled();
    await vi.advanceTimersByTimeAsync(50);
    expect(said()).toEqual(Buffer.concat([ack(10), ack(23)]));
  });

  test("when a handler flushes before the rest of a packet has been handed out", async () => {
    const { peer, far, said } = alone({
      onHotFrame() {
        if (peer.receivedBytes > 20) return;
        hot(peer, 0);
        peer.flush();
      },
    });
    const answer = Buffer.from([3, 0, 0, 0, 0x92, 0, 0xa0]);
    far.write(Buffer.concat([tiny, ack(0)]));
    await settled();
    far.write(tiny);
    await settled();
    await vi.advanceTimersByTimeAsync(50);
    await settled();
    expect(said()).toEqual(Buffer.concat([answer, ack(23)]));
  });
});

describe("a connection that breaks", () => {
  test("after any byte, in either direction, and anew while it is resumed, delivers everything once and in order", async () => {
    const total = 40;
    // Long enough for every position of the conversation, frames and acknowledgements.
    for (const direction of [0, 1] as const) {
      for (let position = 0; position < 420; position++) {
        const [left, right] = [side(), side()];
        let wires = join(left, right);
        wires[direction].budget = position;
        let cuts = 0;
        for (let number = 0; number < total; number++) {
          hot(left.peer, number);
          if (number % 3 === 0) hot(right.peer, number);
          if (number % 10 === 9) {
            left.peer.send({ t: "cold", number });
            await vi.advanceTimersByTimeAsync(60);
            await settled();
          }
          if (left.peer.isConnected && right.peer.isConnected) continue;
          wires[0].cut();
          await settled();
          wires = join(left, right);
          // The second connection ends in the middle of what is sent again.
          if (++cuts === 1) wires[direction].budget = position % 23;
        }
        for (let turn = 0; turn < 3; turn++) {
          await settled();
          if (left.peer.isConnected && right.peer.isConnected) continue;
          wires[0].cut();
          await settled();
          wires = join(left, right);
        }
        await settled();
        const expected = numbers(0, total).flatMap((number) =>
          number % 10 === 9 ? [number, { t: "cold", number }] : [number],
        );
        expect(right.received, `position ${position}, direction ${direction}`).toEqual(expected);
        expect(left.received).toEqual(numbers(0, total).filter((number) => number % 3 === 0));
        for (const { closes } of [left, right]) expect(closes).toEqual([]);
      }
    }
  });

  test("at random, with frames of all sizes and silence of all lengths, delivers everything once and in order", async () => {
    const action = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({
          kind: fc.constant("hot" as const),
          side: fc.nat(1),
          count: fc.integer({ min: 1, max: 20 }),
        }),
      },
      {
        weight: 2,
        arbitrary: fc.record({
          kind: fc.constant("cold" as const),
          side: fc.nat(1),
          bytes: fc.oneof(fc.nat(100), fc.nat(200_000)),
        }),
      },
      {
        weight: 3,
        arbitrary: fc.record({
          kind: fc.constant("cut" as const),
          side: fc.nat(1),
          after: fc.oneof(fc.nat(60), fc.nat(100_000)),
        }),
      },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.nat(120) }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant("join" as const), isEarly: fc.boolean() }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(action, { minLength: 1, maxLength: 40 }), async (actions) => {
        const sides = [side(), side()] as const;
        const [left, right] = sides;
        const sent: [unknown[], unknown[]] = [[], []];
        let wires = join(left, right);
        const rejoin = async (): Promise<void> => {
          wires[0].cut();
          await settled();
          wires = join(left, right);
        };
        for (const one of actions) {
          if (one.kind === "hot") {
            for (let count = 0; count < one.count; count++) {
              const list = sent[one.side] as unknown[];
              hot((sides[one.side] as Side).peer, list.length);
              list.push(list.length);
            }
          } else if (one.kind === "cold") {
            const message = { t: "cold", bytes: Buffer.alloc(one.bytes, one.bytes) };
            (sides[one.side] as Side).peer.send(message);
            (sent[one.side] as unknown[]).push(message);
          } else if (one.kind === "cut") (wires[one.side] as Wire).budget = one.after;
          else if (one.kind === "wait") {
            await vi.advanceTimersByTimeAsync(one.ms);
            await settled();
          } else if (one.isEarly) wires = join(left, right);
          else if (!left.peer.isConnected || !right.peer.isConnected) await rejoin();
        }
        await settled();
        await rejoin();
        await settled();
        expect(right.received).toEqual(sent[0]);
        expect(left.received).toEqual(sent[1]);
        for (const { closes } of sides) expect(closes).toEqual([]);
        await vi.advanceTimersByTimeAsync(60);
        await settled();
        for (const { peer } of sides) expect(peer.awaitsAck).toBe(false);
      }),
      { numRuns: 300 },
    );
  });

  test("is told, and so is the next one", async () => {
    const [left, right] = [side(), side()];
    const [wire] = join(left, right);
    await settled();
    wire.cut();
    await settled();
    expect([left.news, right.news]).toEqual([["suspended"], ["suspended"]]);
    expect(left.peer.isConnected).toBe(false);
    join(left, right);
    expect([left.news, right.news]).toEqual([
      ["suspended", "resumed"],
      ["suspended", "resumed"],
    ]);
    // One that takes the place of another is no news.
    join(left, right);
    await settled();
    expect(left.news).toHaveLength(2);
    expect(left.peer.isConnected && right.peer.isConnected).toBe(true);
  });

  test("what arrived after the other side was told is not handed out twice", async () => {
    const [left, right] = [side(), side()];
    join(left, right);
    hot(right.peer, 1);
    await settled();
    const told = left.peer.receivedBytes;
    hot(right.peer, 2);
    await settled();
    const [one, two] = Wire.pair();
    right.peer.attach(two.asSocket, right.peer.receivedBytes, told);
    left.peer.attach(one.asSocket, told, right.peer.receivedBytes);
    hot(right.peer, 3);
    await settled();
    expect(left.received).toEqual([1, 2, 3]);
  });
});

describe("a connection is given up", () => {
  test("when it broke between its handshake and its use", async () => {
    const { peer, news } = side();
    const [near] = Wire.pair();
    near.destroy();
    await settled();
    peer.attach(near.asSocket, 0, 0);
    expect(news).toEqual(["suspended"]);
  });

  test("when the other side says no more, though it takes no more either", async () => {
    const { peer, near, news } = alone();
    near._write = () => {};
    hot(peer, 1);
    await settled();
    near.push(null);
    await settled();
    expect(news).toEqual(["suspended"]);
  });
});

describe("a session ends", () => {
  test("by close: everything before has arrived, and both are told once", async () => {
    const [left, right] = [side(), side()];
    const [one, two] = join(left, right);
    hot(left.peer, 1);
    hot(right.peer, 2);
    left.peer.close();
    hot(left.peer, 3);
    await settled();
    expect(right.received.slice(0, 1)).toEqual([1]);
    expect(left.received).toEqual([2]);
    expect([left.closes, right.closes]).toEqual([[undefined], [undefined]]);
    expect([one.destroyed, two.destroyed]).toEqual([true, true]);
    expect(right.received).toEqual([1]);
  });

  test("by close, when the other side answers what comes after the goodbye late", async () => {
    const { peer, near, far, closes } = alone({ onHotFrame() {} });
    const other = side();
    const [theirs, ours] = Wire.pair();
    other.peer.attach(theirs.asSocket, 0, 0);
    far.write(Buffer.from([1, 0, 0, 0, 0x90]));
    await settled();
    peer.close();
    await settled();
    // The goodbye left together with an acknowledgement, which is still under way.
    expect(Buffer.concat(near.written)).toHaveLength(5 + 13);
    ours.write(Buffer.concat(near.written).subarray(0, 5));
    await settled();
    far.write(Buffer.concat(theirs.written).subarray(0, 13));
    await settled();
    expect(closes).toEqual([undefined]);
  });

  test("by close from both sides at once", async () => {
    const [left, right] = [side(), side()];
    join(left, right);
    hot(left.peer, 1);
    hot(right.peer, 2);
    left.peer.close();
    right.peer.close();
    await settled();
    expect([left.received, right.received]).toEqual([[2], [1]]);
    expect([left.closes, right.closes]).toEqual([[undefined], [undefined]]);
  });

  test("by a close without a connection, when there is one again", async () => {
    const [left, right] = [side(), side()];
    join(left, right)[0].cut();
    await settled();
    hot(left.peer, 1);
    left.peer.close();
    await settled();
    expect(left.closes).toEqual([]);
    join(left, right);
    await settled();
    expect(right.received).toEqual([1]);
    expect([left.closes, right.closes]).toEqual([[undefined], [undefined]]);
  });

  test("by a close that nobody hears, after five seconds", async () => {
    const [left, right] = [side(), side()];
    join(left, right)[0].cut();
    await settled();
    left.peer.close();
    await vi.advanceTimersByTimeAsync(4_999);
    expect(left.closes).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    await settled();
    expect(left.closes).toEqual([undefined]);
  });

  test("by its owner: at once, with the owner's reason here and a plain close there", async () => {
    const [left, right] = [side(), side()];
    join(left, right);
    const why = new Error("control has declared it dead");
    left.peer.destroy(why);
    expect(left.peer.isClosed).toBe(true);
    expect(left.closes).toEqual([]);
    await settled();
    expect([left.closes, right.closes]).toEqual([[why], [undefined]]);
  });

  test("when the other process is gone: without a connection at once, else when that has been read to its end", async () => {
    const [suspended, other] = [side(), side()];
    join(suspended, other)[0].cut();
    await settled();
    suspended.peer.otherIsGone();
    await settled();
    expect(suspended.closes).toMatchObject([{ code: "CONNECTION_LOST" }]);

    const [left, right] = [side(), side()];
    const [, theirs] = join(left, right);
    left.peer.otherIsGone();
    hot(right.peer, 7);
    await settled();
    expect([left.received, left.closes]).toEqual([[7], []]);
    theirs.cut();
    await settled();
    expect(left.closes).toMatchObject([{ code: "CONNECTION_LOST" }]);
  });

  test("when the other process is gone and its machine does not say so: after a second without a word", async () => {
    const [left, right] = [side(), side()];
    join(left, right);
    left.peer.otherIsGone();
    for (let seconds = 0; seconds < 3; seconds++) {
      hot(right.peer, seconds);
      await settled();
      await vi.advanceTimersByTimeAsync(1_000);
      await settled();
    }
    expect([left.received, left.closes]).toEqual([[0, 1, 2], []]);
    await vi.advanceTimersByTimeAsync(1_000);
    await settled();
    expect(left.closes).toMatchObject([{ code: "CONNECTION_LOST" }]);
  });

  test("after the longest time without a connection, and not before", async () => {
    const [left, right] = [side({ suspendedMsMax: 1_000 }), side()];
    let [wire] = join(left, right);
    wire.cut();
    await settled();
    await vi.advanceTimersByTimeAsync(999);
    [wire] = join(left, right);
    await vi.advanceTimersByTimeAsync(2_000);
    await settled();
    expect(left.closes).toEqual([]);
    wire.cut();
    await settled();
    await vi.advanceTimersByTimeAsync(1_000);
    await settled();
    expect(left.closes).toMatchObject([{ code: "CONNECTION_LOST", message: "there was no connection for 1000 ms" }]);
    expect(right.closes).toEqual([]);
  });

  test("when more is kept than is allowed; until then the pressure can be seen", async () => {
    const [left, right] = [side({ keptBytesMax: 1024 * 1024 }), side()];
    join(left, right)[0].cut();
    await settled();
    for (let number = 1; number <= 4; number++) {
      left.peer.send({ t: "large", bytes: Buffer.alloc(250_000) });
      await settled();
      expect(left.peer.unsentBytes).toBeGreaterThan(number * 250_000);
    }
    expect(left.peer.isClosed).toBe(false);
    left.peer.send({ t: "large", bytes: Buffer.alloc(250_000) });
    await settled();
    expect(left.closes).toMatchObject([
      {
        code: "CONNECTION_LOST",
        message:
          "more than 1048576 bytes were written that the other side has not acknowledged, and there is no connection to it",
      },
    ]);
  });

  test("on a connected peer that takes nothing, too", async () => {
    const left = side({ keptBytesMax: 8 * 1024 * 1024 });
    const [one] = Wire.pair();
    left.peer.attach(one.asSocket, 0, 0);
    for (let number = 0; number < 7; number++) left.peer.send({ t: "large", bytes: Buffer.alloc(1024 * 1024) });
    left.peer.flush();
    expect(left.peer.unsentBytes).toBeGreaterThan(2 * 1024 * 1024);
    left.peer.send({ t: "large", bytes: Buffer.alloc(1024 * 1024) });
    left.peer.flush();
    await settled();
    expect(left.closes).toMatchObject([
      { message: "more than 8388608 bytes were written that the other side has not acknowledged" },
    ]);
  });

  test.each([
    ["acknowledges what was never sent", Buffer.from([9, 0, 0, 0, 0xcf, 0, 0, 0, 0, 0, 0, 0, 200])],
    ["sends a frame that is no message", Buffer.from([2, 0, 0, 0, 0x81, 0xc1])],
    ["sends a frame that is too long", Buffer.from([255, 255, 255, 255])],
  ])("when the other side %s", async (_what, bytes) => {
    const left = side();
    const [one, two] = Wire.pair();
    left.peer.attach(one.asSocket, 0, 0);
    two.write(bytes);
    await settled();
    expect(left.closes).toEqual([expect.any(Error)]);
    expect(left.peer.isClosed).toBe(true);
  });

  test.each([
    [0, 100],
    [100, 0],
  ])("when the sides do not agree on what has arrived (told %i, theirs %i)", async (told, theirs) => {
    const left = side();
    const [one] = Wire.pair();
    left.peer.attach(one.asSocket, told, theirs);
    await settled();
    expect(left.closes).toMatchObject([{ message: expect.stringMatching(/do not agree/) }]);
  });

  test("when a handler throws", async () => {
    const [left, right] = [
      side(),
      side({
        handlers: {
          onMessage() {
            throw new TypeError("bad");
          },
        },
      }),
    ];
    join(left, right);
    left.peer.send({ t: "x" });
    await settled();
    expect(right.closes).toMatchObject([{ message: "bad" }]);
    expect(left.closes).toEqual([undefined]);
  });

  test("and takes no connection after that, and writes nothing", async () => {
    const [left, right] = [side(), side()];
    join(left, right);
    left.peer.destroy();
    const [one] = Wire.pair();
    left.peer.attach(one.asSocket, 0, 0);
    left.peer.send({ t: "x" });
    hot(left.peer, 1);
    left.peer.close();
    await settled();
    expect(one.destroyed).toBe(true);
    expect(left.closes).toEqual([undefined]);
    expect(right.received).toEqual([]);
  });
});
