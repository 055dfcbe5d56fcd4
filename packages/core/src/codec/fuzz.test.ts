import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MobulaError } from "../base/errors.ts";
import { Box, knownFunctions, Labels, Point, Ref } from "./fixtures/known-functions.ts";
import { type ByteSource, decode, encode } from "./mod.ts";

const customizer = knownFunctions();

/** Decodes, and fails unless that ends with a value or a MobulaError. */
function survives(bytes: Uint8Array): void {
  // A copy at the end of its memory, so that reading past the end would show.
  const exact = new Uint8Array(bytes);
  const source: ByteSource = {
    byteLength: exact.length,
    copy: (offset, length) => inside(exact, offset, length),
    view: (offset, length) => inside(exact, offset, length).buffer,
  };
  for (const from of [exact, source]) {
    try {
      decode(from, { customizer });
    } catch (error) {
      // The customizer of the test throws plain errors for tags it does not know; they pass as they are.
      if (!(error instanceof MobulaError) && !(error instanceof Error && error.message.startsWith("unknown tag")))
        throw error;
    }
  }
}

function inside(bytes: Uint8Array, offset: number, length: number): Uint8Array<ArrayBuffer> {
  expect(offset).toBeGreaterThanOrEqual(0);
  expect(offset + length).toBeLessThanOrEqual(bytes.length);
  return new Uint8Array(bytes.slice(offset, offset + length));
}

const pool = new ArrayBuffer(4096);
const point = new Point(1, 2);
const box = new Box();
box.content = [box, point, new Ref(4)];
let deep: unknown = 1;
for (let i = 0; i < 400; i++) deep = { n: [deep] };

const samples: readonly Uint8Array[] = [
  [1, "two", { three: 3.5, four: [null, undefined, true] }, 5n, 2n ** 90n, "日本", "\ud800"],
  [
    new Map([[1, { a: [1] }]]),
    new Set(["x"]),
    new Date(5),
    new Date(Number.NaN),
    /a/g,
    new URL("a:b"),
    Symbol.for("s"),
    Symbol.iterator,
  ],
  [
    new Uint8Array(pool, 0, 2000),
    new Float64Array(pool, 8, 4),
    new Uint8Array(3),
    Buffer.alloc(9),
    new DataView(new ArrayBuffer(3000)),
  ],
  [new ArrayBuffer(2000, { maxByteLength: 4000 }), Object.assign([1], { x: 1 }), Object.create(null), new Array(3)],
  [
    point,
    point,
    new Labels([["a", 1]]),
    box,
    new Error("e", { cause: new AggregateError([1], "m") }),
    new DOMException("m", "AbortError"),
    Object(1n),
  ],
  [deep],
].map((value) => new Uint8Array(encode(value, { customizer }).toBytes()));

describe("whatever the bytes, decoding ends with a value or a clear error", () => {
  it("truncated at every length", () => {
    for (const sample of samples) {
      const step = Math.max(1, Math.floor(sample.length / 700));
      for (let length = 0; length < sample.length; length += step) survives(sample.subarray(0, length));
    }
  });

  it("with any byte replaced", () => {
    fc.assert(
      fc.property(
        fc.nat(samples.length - 1),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (which, changes) => {
          const bytes = new Uint8Array(samples[which] ?? []);
          // The first 600 bytes hold all that is structure; changing what a buffer holds would test nothing.
          for (const [at, value] of changes) bytes[at % Math.min(bytes.length, 600)] = value;
          survives(bytes);
        },
      ),
      { numRuns: 6000 },
    );
  });

  it("with any extension type and node kind, and any bytes behind a valid header", () => {
    const marks = fc.constantFrom(
      0x91,
      0x92,
      0x93,
      0x94,
      0x95,
      0x81,
      0xc7,
      0xd4,
      0xd5,
      0xd6,
      0xdd,
      0xdf,
      0xc9,
      0xdb,
      0xc6,
    );
    const byte = fc.oneof(
      { weight: 2, arbitrary: fc.nat(20) },
      { weight: 2, arbitrary: marks },
      { weight: 1, arbitrary: fc.nat(255) },
    );
    fc.assert(
      fc.property(fc.array(byte, { maxLength: 60 }), fc.boolean(), (body, tracks) => {
        survives(Uint8Array.from([tracks ? 0x11 : 0x10, 0, 0, 0, body.length, 0, 0, 0, ...body]));
      }),
      { numRuns: 20_000 },
    );
  });

  it("announcing lengths that are not there allocates nothing", () => {
    const huge = [0xff, 0xff, 0xff, 0xff];
    const bodies = [
      [0xdd, ...huge],
      [0xdf, ...huge],
      [0xdb, ...huge],
      [0xc6, ...huge],
      [0xc9, ...huge, 7],
      [0x92, 0xd4, 4, 4, 0xdd, ...huge],
      [0x93, 0xd4, 4, 6, 0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0, 0x90],
      [0xd6, 3, ...huge],
    ];
    for (const body of bodies) {
      const bytes = Uint8Array.from([0x11, 0, 0, 0, body.length, 0, 0, 0, ...body]);
      expect(() => decode(bytes)).toThrow(MobulaError);
    }
    const table = new Uint8Array(40);
    table.set([0x10, 1, 0, 0, 1, 0, 0, 0, ...new Array(8).fill(0xff), 0xc0]);
    expect(() => decode(table)).toThrow("reaches past the end");
  });

  it("nested without end is refused before the stack ends", () => {
    for (const [open, width] of [
      [[0x91], 1],
      [[0x81, 0xa1, 0x61], 3],
      [[0x92, 0xd4, 4, 10], 4],
      [[0x92, 0xd4, 4, 5, 0x91], 5],
      [[0x94, 0xd4, 4, 8, 0x80], 5],
      [[0x93, 0xd4, 4, 7], 4],
    ] as const) {
      const count = 200_000;
      const body = new Uint8Array(count * width);
      for (let i = 0; i < count; i++) body.set(open, i * width);
      const bytes = new Uint8Array(8 + body.length);
      new DataView(bytes.buffer).setUint32(4, body.length, true);
      bytes[0] = 0x10;
      bytes.set(body, 8);
      expect(() => decode(bytes)).toThrow("nested too deeply");
    }
  });

  it("of another version names the version", () => {
    expect(() => decode(Uint8Array.from([0x20, 0, 0, 0, 1, 0, 0, 0, 0xc0]))).toThrow("format version 2 instead of 1");
  });
});
