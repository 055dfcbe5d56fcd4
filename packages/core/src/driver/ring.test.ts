import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { newRing, RingConsumer, RingProducer } from "./ring.ts";

const BYTES = 256;
/** More than can be in it: one that has lost its way would hand out records for ever. */
const RECORDS_MAX = BYTES;

function create() {
  const memory = newRing(BYTES);
  const apart: Uint8Array[] = [];
  let rung = 0;
  const producer = new RingProducer(memory, {
    ring: () => rung++,
    // As a port does it: the producer may use its bytes again at once.
    sendApart: (bytes) => apart.push(Uint8Array.from(bytes)),
  });
  const consumer = new RingConsumer(memory, () => apart.shift() ?? expect.unreachable("nothing travelled apart"));
  return {
    producer,
    consumer,
    push: (text: string) => producer.push(Buffer.from(`<${text}>`), 1, 1 + text.length),
    drain(max = RECORDS_MAX): string[] {
      const records: string[] = [];
      consumer.drain((bytes, start, end) => records.push(bytes.toString("latin1", start, end)), max);
      return records;
    },
    takeRung: () => {
      const count = rung;
      rung = 0;
      return count;
    },
  };
}

describe("records", () => {
  test("come out as they went in, whatever their sizes, and none is lost or overwritten when the ring is full", () => {
    const step = fc.oneof(
      // Past a quarter of the ring they travel apart.
      { weight: 3, arbitrary: fc.integer({ min: 0, max: 90 }).map((length) => ({ length })) },
      { weight: 1, arbitrary: fc.integer({ min: 1, max: 4 }).map((max) => ({ max })) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200, size: "max" }), (steps) => {
        const { push, drain } = create();
        const waiting: string[] = [];
        for (const [index, one] of steps.entries()) {
          if ("max" in one) expect(drain(one.max)).toEqual(waiting.splice(0, one.max));
          else {
            const text = String.fromCharCode(97 + (index % 26)).repeat(one.length);
            if (push(text)) waiting.push(text);
            else expect(waiting, "an empty ring has room").not.toEqual([]);
          }
        }
        expect(drain()).toEqual(waiting);
      }),
      { numRuns: 300 },
    );
  });

  test("what a handler throws on is not handed out again", () => {
    const { push, drain, consumer } = create();
    for (const text of ["one", "two", "three"]) push(text);
    const fail = (): never => {
      throw new Error("bad record");
    };
    expect(() => consumer.drain(fail)).toThrow("bad record");
    expect(drain()).toEqual(["two", "three"]);
  });

  test("a number beside the stream is the one set last", () => {
    const { producer, consumer } = create();
    producer.counter = 2 ** 40;
    expect(consumer.counter).toBe(2 ** 40);
  });
});

describe("the bell", () => {
  test("a consumer that falls asleep or dozes while a record comes in is told to look again", () => {
    const { push, drain, consumer } = create();
    expect([consumer.sleep(), consumer.doze()]).toEqual([false, false]);
    push("late");
    expect([consumer.sleep(), consumer.doze()]).toEqual([true, true]);
    drain();
    expect([consumer.sleep(), consumer.doze()]).toEqual([false, false]);
  });

  test("rings once for a consumer that sleeps, and not for one that is awake", () => {
    const { producer, consumer, takeRung } = create();
    consumer.stayAwake();
    producer.wake();
    producer.nudge();
    expect(takeRung()).toBe(0);
    consumer.sleep();
    expect(producer.isConsumerAsleep).toBe(true);
    producer.wake();
    producer.wake();
    producer.nudge();
    expect(takeRung()).toBe(1);
  });

  test("a dozing consumer is rung by a nudge only", () => {
    const { producer, consumer, takeRung } = create();
    consumer.doze();
    producer.wake();
    expect(takeRung()).toBe(0);
    producer.nudge();
    producer.nudge();
    expect(takeRung()).toBe(1);
  });

  test("a producer without room is rung back once for its wish", () => {
    const { producer, consumer } = create();
    expect(consumer.takeRoomWish()).toBe(false);
    producer.wantRoom();
    expect([consumer.takeRoomWish(), consumer.takeRoomWish()]).toEqual([true, false]);
  });
});
