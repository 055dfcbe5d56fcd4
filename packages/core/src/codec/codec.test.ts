import assert from "node:assert/strict";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { decode, encode } from "./mod.ts";

const roundTrip = <T>(value: T): T => decode(encode(value).toBytes()) as T;

const cyclic: Record<string, unknown> = { name: "ring" };
cyclic.self = [cyclic];

function holey(first: number, third: number): number[] {
  const array = [first];
  array[2] = third;
  return array;
}

const float16 = (globalThis as { Float16Array?: new (from: number[]) => unknown }).Float16Array;

const rows: readonly (readonly [string, unknown])[] = [
  ["null, booleans, undefined", [null, true, false, undefined]],
  [
    "integers at every boundary",
    [
      0,
      1,
      127,
      128,
      255,
      256,
      65535,
      65536,
      2 ** 31 - 1,
      2 ** 31,
      2 ** 32 - 1,
      2 ** 32,
      2 ** 53,
      -1,
      -32,
      -33,
      -128,
      -129,
      -32768,
      -32769,
      -(2 ** 31),
      -(2 ** 31) - 1,
    ],
  ],
  ["-0, NaN, infinities, fractions", [-0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1.5, 5e-324]],
  ["bigints of 64 bits", [0n, 1n, -1n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n, -(2n ** 63n)]],
  ["bigints beyond 64 bits", [2n ** 64n, -(2n ** 63n) - 1n, 2n ** 71n, -(2n ** 71n), 2n ** 4000n, -(3n ** 777n)]],
  [
    "strings at every length of header",
    [
      "",
      "a",
      "x".repeat(31),
      "x".repeat(32),
      "x".repeat(40),
      "x".repeat(41),
      "x".repeat(255),
      "x".repeat(256),
      "x".repeat(70_000),
    ],
  ],
  ["strings beyond ASCII", ["é", "日本語", "🐟", "é".repeat(40), "日".repeat(300), "🐟".repeat(30_000)]],
  ["strings with lone surrogates", ["\ud800", "a\udc00b", "\ud800".repeat(100)]],
  [
    "holes and sparse arrays",
    [holey(1, 3), new Array(2), Array.from({ length: 100 }, (_, i) => i).concat(new Array(3))],
  ],
  [
    "arrays with extra properties",
    [
      "abc".match(/b/),
      Object.assign([1, 2], { note: "x" }),
      Object.assign(
        Array.from({ length: 500 }, (_, i) => i),
        { note: "x" },
      ),
    ],
  ],
  [
    "Map and Set, nested",
    [
      new Map<unknown, unknown>([
        [1, { a: 1 }],
        [{}, new Set([1, "1", Number.NaN])],
        ["k", new Map()],
      ]),
    ],
  ],
  [
    "dates",
    [
      new Date(0),
      new Date(-1),
      new Date(1_700_000_000_123),
      new Date(8.64e15),
      new Date(-8.64e15),
      new Date(Number.NaN),
    ],
  ],
  ["regular expressions", [/a+/dgimsuy, /[\u{1f41f}]/v]],
  ["boxed primitives", [new Number(1), new String("s"), new Boolean(false), Object(5n), Object(Symbol.for("s"))]],
  ["symbols", [Symbol.for("shared"), Symbol.iterator]],
  ["properties under shared symbols", { [Symbol.for("key")]: { a: 1 } }],
  ["URL and URLSearchParams", [new URL("https://user@host:1/p?q=1#h"), new URLSearchParams("a=1&a=2")]],
  ["objects without prototype", Object.assign(Object.create(null), { a: { b: 1 } })],
  [
    "own data that is not enumerable",
    Object.defineProperty({ a: 1 }, "hidden", { value: [2], writable: true, configurable: true }),
  ],
  ["an own __proto__", JSON.parse('{"__proto__": {"polluted": true}, "a": 1}')],
  ["keys of every kind", { "": 1, 1: 2, "a b": 3, 日本: 4, ["k".repeat(300)]: 5, "\ud800": 6 }],
  [
    "errors",
    [
      new Error("m", { cause: new TypeError("t", { cause: 5 }) }),
      Object.assign(new RangeError("r"), { code: "E_R", more: { a: 1 } }),
    ],
  ],
  ["AggregateError", new AggregateError([new Error("one"), 2], "several")],
  [
    "typed arrays of every kind",
    [
      new Int8Array([-1]),
      new Uint8Array([1]),
      new Uint8ClampedArray([255]),
      new Int16Array([-1]),
      new Uint16Array([1]),
      new Int32Array([-1]),
      new Uint32Array([1]),
      new Float32Array([1.5]),
      new Float64Array([-0, Number.NaN]),
      new BigInt64Array([-1n]),
      new BigUint64Array([1n]),
      ...(float16 ? [new float16([1.5])] : []),
    ],
  ],
  [
    "large typed arrays",
    [new Float64Array(1000).fill(1.5), new BigUint64Array(500).fill(7n), new Uint8Array(1024), new Uint8Array(1023)],
  ],
  [
    "Buffer, ArrayBuffer, DataView",
    [
      Buffer.from("short"),
      Buffer.alloc(5000, 1),
      new ArrayBuffer(10),
      new ArrayBuffer(10_000),
      new DataView(new ArrayBuffer(5000), 8, 100),
    ],
  ],
  [
    "empty buffers",
    [new Uint8Array(0), Buffer.alloc(0), new ArrayBuffer(0), new Float64Array(0), new DataView(new ArrayBuffer(0))],
  ],
  ["a cycle", cyclic],
];

describe("values arrive as they were", () => {
  for (const [name, value] of rows) {
    it(name, () => {
      assert.deepStrictEqual(roundTrip(value), value);
    });
  }

  it("a million indices far apart take the room of those that exist", () => {
    const sparse: number[] = [];
    sparse[4_000_000_000] = 1;
    const packed = encode(sparse);
    expect(packed.byteLength).toBeLessThan(64);
    const back = decode(packed.toBytes()) as number[];
    expect(back.length).toBe(4_000_000_001);
    expect(Object.keys(back)).toEqual(["4000000000"]);
  });

  it("the same object twice is one object, and equal objects stay two", () => {
    const shared = { a: 1 };
    const [first, second, third] = roundTrip([shared, shared, { a: 1 }]);
    expect(first).toBe(second);
    expect(first).not.toBe(third);
  });

  it("identity holds for hundreds of objects of every kind", () => {
    const kinds = [
      () => ({}),
      () => [],
      () => new Date(1),
      () => new Map(),
      () => Buffer.alloc(9),
      () => new Uint8Array(3),
      () => /x/,
      () => new Error("e"),
      () => new URL("a:b"),
      () => Object(1n),
    ];
    const objects = Array.from({ length: 300 }, (_, i) => (kinds[i % kinds.length] ?? Object)());
    const [first, second] = roundTrip([objects, objects.toReversed()]);
    for (const [i, one] of (first ?? []).entries()) expect(second?.[objects.length - 1 - i]).toBe(one);
  });

  it("cycles through Map, Set, Error and null-prototype objects close", () => {
    const map = new Map<unknown, unknown>();
    const set = new Set<unknown>([map]);
    const error = new Error("e", { cause: set });
    const bare: { error?: unknown } = Object.create(null);
    bare.error = error;
    map.set(bare, map);
    const back = roundTrip(map);
    const [key] = back.keys();
    expect(back.get(key)).toBe(back);
    const cause = (key as { error: Error }).error.cause;
    expect([...(cause as Set<unknown>)][0]).toBe(back);
  });

  it("as in structured clone: getters are evaluated, frozen objects arrive writable, lastIndex is reset", () => {
    const pattern = /a/g;
    pattern.test("aa");
    const frozen = Object.freeze({
      get now() {
        return 5;
      },
      pattern,
    });
    const back = roundTrip(frozen) as { now: number; pattern: RegExp };
    back.now = 6;
    expect(back.now).toBe(6);
    expect(back.pattern.lastIndex).toBe(0);
  });

  it("an own __proto__ is data and changes no prototype", () => {
    const back = roundTrip(JSON.parse('{"__proto__": {"polluted": true}}'));
    expect(Object.getPrototypeOf(back)).toBe(Object.prototype);
    expect(Object.keys(back)).toEqual(["__proto__"]);
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  it("arguments objects arrive as structured clone makes them", () => {
    function collect(..._rest: unknown[]): unknown {
      // biome-ignore lint/complexity/noArguments: the object itself is what is tested
      return arguments;
    }
    assert.deepStrictEqual(roundTrip(collect(1, "two")), { 0: 1, 1: "two" });
  });

  it("values of another realm arrive as this realm's", () => {
    const foreign: unknown = runInNewContext(
      "({ list: [1, { a: 2 }], map: new Map([[1, new Set([2])]]), error: new TypeError('t'), date: new Date(5) })",
    );
    const back = roundTrip(foreign) as { error: Error };
    assert.deepStrictEqual(
      { ...back, error: 0 },
      { list: [1, { a: 2 }], map: new Map([[1, new Set([2])]]), error: 0, date: new Date(5) },
    );
    expect(back.error).toBeInstanceOf(TypeError);
  });

  it("DOMException and errors keep name, message, stack and cause", () => {
    const dom = new DOMException("stop", "AbortError");
    const back = roundTrip(dom);
    expect(back).toBeInstanceOf(DOMException);
    expect([back.name, back.message, back.code, back.stack]).toEqual(["AbortError", "stop", 20, dom.stack]);
    const renamed = new Error("m");
    renamed.name = "Renamed";
    expect([roundTrip(renamed).name, roundTrip(renamed).stack]).toEqual(["Renamed", renamed.stack]);
    expect(Object.keys(roundTrip(renamed))).toEqual(["name"]);
  });

  it("errors of Node.js itself arrive with their codes", () => {
    let thrown: unknown;
    try {
      Buffer.alloc("x" as unknown as number);
    } catch (error) {
      thrown = error;
    }
    const back = roundTrip(thrown) as NodeJS.ErrnoException;
    expect(back).toBeInstanceOf(TypeError);
    expect(back.code).toBe("ERR_INVALID_ARG_TYPE");
  });

  it("many values encoded one after the other keep their bytes", () => {
    const packed = Array.from({ length: 5000 }, (_, i) => encode({ i, text: "x".repeat(i % 300) }).toBytes());
    for (const [i, bytes] of packed.entries()) expect(decode(bytes)).toEqual({ i, text: "x".repeat(i % 300) });
  });

  it("encoding inside encoding (a getter that encodes) disturbs neither", () => {
    let inner: Uint8Array | undefined;
    const value = {
      before: "b",
      get middle() {
        inner = encode({ inner: [1, 2, 3] }).toBytes();
        return 1;
      },
      after: "a",
    };
    expect(roundTrip(value)).toEqual({ before: "b", middle: 1, after: "a" });
    expect(decode(inner ?? new Uint8Array())).toEqual({ inner: [1, 2, 3] });
  });
});

describe("any depth of nesting arrives", () => {
  it("a linked list of a million objects", () => {
    let list: { next: unknown } | null = null;
    for (let i = 0; i < 1_000_000; i++) list = { next: list };
    let back = roundTrip(list) as { next: unknown } | null;
    let length = 0;
    while (back) {
      back = back.next as { next: unknown } | null;
      length++;
    }
    expect(length).toBe(1_000_000);
  });

  it("arrays, maps, sets, errors and null-prototype objects inside each other, 100,000 deep", () => {
    const wrap: readonly ((inner: unknown) => unknown)[] = [
      (inner) => [inner],
      (inner) => new Map([["k", inner]]),
      (inner) => new Set([inner]),
      (inner) => new Error("e", { cause: inner }),
      (inner) => Object.assign(Object.create(null), { inner }),
      (inner) => Object.assign([1], { inner }),
      (inner) => ({ inner }),
    ];
    Error.stackTraceLimit = 0;
    let value: unknown = "bottom";
    for (let i = 0; i < 100_000; i++) value = wrap[i % wrap.length]?.(value);
    Error.stackTraceLimit = 10;
    let at: unknown = roundTrip(value);
    let depth = 0;
    for (; at !== "bottom"; depth++) {
      if (at instanceof Map) at = at.get("k");
      else if (at instanceof Set) at = [...at][0];
      else if (at instanceof Error) at = at.cause;
      else if (Array.isArray(at) && !("inner" in at)) at = at[0];
      else at = (at as { inner: unknown }).inner;
    }
    expect(depth).toBe(100_000);
  });

  it("a back-reference from the bottom to the top", () => {
    const top: { next?: unknown } = {};
    let at = top;
    for (let i = 0; i < 1000; i++) {
      const next = {};
      at.next = next;
      at = next;
    }
    at.next = top;
    let back = roundTrip(top);
    const first = back;
    for (let i = 0; i < 1001; i++) back = back.next as typeof top;
    expect(back).toBe(first);
  });
});
