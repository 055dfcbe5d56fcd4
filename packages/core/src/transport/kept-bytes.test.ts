import fc from "fast-check";
import { expect, test } from "vitest";
import { KeptBytes } from "./kept-bytes.ts";

test("what is kept is what was put in and has not been released, without anything empty", () => {
  const step = fc.oneof(
    fc.record({ push: fc.uint8Array({ minLength: 1, maxLength: 20 }) }),
    fc.record({ release: fc.float({ min: 0, max: 1, noNaN: true }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const kept = new KeptBytes();
      let all = Buffer.alloc(0);
      let released = 0;
      for (const one of steps) {
        if ("push" in one) {
          kept.push(Buffer.from(one.push));
          all = Buffer.concat([all, one.push]);
        } else {
          released += Math.round((all.length - released) * one.release);
          kept.release(released);
        }
        const parts = [...kept.all()];
        expect(Buffer.concat(parts)).toEqual(all.subarray(released));
        expect(parts.every(({ length }) => length > 0)).toBe(true);
        expect([kept.from, kept.to, kept.bytes]).toEqual([released, all.length, all.length - released]);
      }
    }),
  );
});

test("thousands of parts that are released one by one are given back", () => {
  const kept = new KeptBytes();
  for (let count = 0; count < 5_000; count++) kept.push(Buffer.from([count % 256]));
  for (let position = 1; position <= 4_999; position++) kept.release(position);
  expect([...kept.all()]).toEqual([Buffer.from([4_999 % 256])]);
  kept.clear();
  expect([...kept.all()]).toEqual([]);
});

test("a position that was never there is our own mistake", () => {
  const kept = new KeptBytes();
  kept.push(Buffer.alloc(2));
  expect(() => kept.release(3)).toThrow(/outside what is kept/);
});
