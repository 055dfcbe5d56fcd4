import { createSecretKey, generateKeyPairSync } from "node:crypto";
import { EventEmitter } from "node:events";
import { Socket } from "node:net";
import { Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import { encode, inspectSerializability, problemOf } from "./mod.ts";

function why(value: unknown): string {
  try {
    encode([0, [1, { weak: value }]], { root: "args" });
  } catch (error) {
    expect(error).toMatchObject({ code: "NOT_SERIALIZABLE", kind: "invalid" });
    return (error as Error).message;
  }
  return "nothing was refused";
}

// By name, since the type library is older than the class.
const iterators = Reflect.get(globalThis, "Iterator") as { from(source: number[]): unknown };
const detached = new ArrayBuffer(8);
structuredClone(detached, { transfer: [detached] });

const rows: readonly (readonly [string, () => unknown, string])[] = [
  ["a pending promise", () => new Promise(() => {}), "a promise"],
  ["a settled promise", () => Promise.resolve(1), "a promise"],
  ["a WeakMap", () => new WeakMap(), "a WeakMap"],
  ["a WeakSet", () => new WeakSet(), "a WeakSet"],
  ["a WeakRef", () => new WeakRef({}), "a WeakRef"],
  ["a socket", () => new Socket(), "a socket (Socket)"],
  ["a stream", () => Readable.from([]), "a stream (Readable)"],
  ["process.env", () => process.env, "process.env"],
  ["a generator", () => (function* () {})(), "a generator"],
  ["an asynchronous generator", () => (async function* () {})(), "a generator"],
  ["an array's iterator", () => [1].values(), "an iterator"],
  ["a map's iterator", () => new Map().keys(), "an iterator"],
  [
    "an iterator helper",
    () => (iterators.from([1]) as { map(fn: (x: number) => number): unknown }).map((x) => x),
    "an iterator",
  ],
  ["a string's iterator", () => ""[Symbol.iterator](), "an iterator"],
  ["a proxy", () => new Proxy({}, {}), "a proxy"],
  ["a proxied array", () => new Proxy([1], {}), "a proxy"],
  ["a proxied function", () => new Proxy(() => 1, {}), "a proxy"],
  ["a secret key", () => createSecretKey(Buffer.alloc(8)), "a SecretKeyObject"],
  ["a private key", () => generateKeyPairSync("ed25519").privateKey, "a PrivateKeyObject"],
  ["a MessagePort", () => new MessageChannel().port1, "a MessagePort"],
  ["a local symbol", () => Symbol("mine"), "a symbol that exists only in this process"],
  ["a function", () => () => 1, "a function"],
  ["a native function", () => Math.max, "a function"],
  ["a class", () => class Mine {}, "the class Mine"],
  ["a SharedArrayBuffer", () => new SharedArrayBuffer(8), "a SharedArrayBuffer"],
  ["a view of shared memory", () => new Uint8Array(new SharedArrayBuffer(8)), "a SharedArrayBuffer"],
  ["a detached ArrayBuffer", () => detached, "a detached ArrayBuffer"],
  ["an AbortSignal", () => new AbortController().signal, "an AbortSignal"],
  ["an EventEmitter", () => new EventEmitter(), "an EventEmitter"],
  [
    "a timer",
    () => {
      const timer = setTimeout(() => {}, 1);
      clearTimeout(timer);
      return timer;
    },
    "a property under a symbol",
  ],
  ["a formatter of the engine", () => new Intl.NumberFormat(), "a NumberFormat, whose state is inside the engine"],
  ["an object of a native class's prototype", () => Object.create(Promise.prototype), "a Promise, whose state"],
];

describe("what cannot be shipped is refused with its path, its type and a way out", () => {
  for (const [name, make, words] of rows) {
    it(name, () => {
      const message = why(make());
      expect(message.startsWith("args[1][1].weak")).toBe(true);
      expect(message).toContain(`cannot be shipped: it is ${words}`);
      expect(message).toMatch(/; .{8,}/);
    });
  }

  it("data under a local symbol", () => {
    expect(why({ [Symbol("mine")]: 1 })).toBe(
      "args[1][1].weak[Symbol(mine)] cannot be shipped: it is a property under a symbol that exists only in this process; use Symbol.for(name) as its key, or registerSerializer the class",
    );
  });

  it("paths through maps, sets, odd names, causes and deep nesting are JavaScript's notation", () => {
    const bad = Promise.resolve();
    const path = (value: unknown, root = "args") => {
      try {
        encode(value, { root });
      } catch (error) {
        return problemOf(error)?.path;
      }
      return undefined;
    };
    expect(path([0, new Map([["key", bad]])])).toBe('args[1].get("key")');
    expect(path([new Map([[{}, bad]])])).toBe("args[0].entries()[0][1]");
    expect(path([new Map([[bad, 1]])])).toBe("args[0].keys()[0]");
    expect(path([new Set([1, bad])])).toBe("args[0].values()[1]");
    expect(path([{ "not a name": [bad] }])).toBe('args[0]["not a name"][0]');
    expect(path(new Error("e", { cause: { bad } }), "value")).toBe("value.cause.bad");
    expect(path(bad, "value")).toBe("value");
    let deep: unknown = bad;
    for (let i = 0; i < 400; i++) deep = { n: deep };
    expect(path(deep, "value")).toMatch(/^value….*\.n$/);
    let less: unknown = { bad };
    for (let i = 0; i < 190; i++) less = [less];
    expect(path([less, 1])?.endsWith("[0].bad")).toBe(true);
  });

  it("a getter that throws is named, with its error as the cause", () => {
    const value = {
      inner: {
        get broken() {
          throw new RangeError("no");
        },
      },
    };
    try {
      encode(value);
      expect.unreachable();
    } catch (error) {
      expect((error as Error).message).toContain(
        "value.inner.broken cannot be shipped: it is a value whose reading failed (RangeError: no)",
      );
      expect((error as Error).cause).toBeInstanceOf(RangeError);
    }
  });

  it("after a refusal the next value is encoded as ever", () => {
    const before = encode([1, "two"]).toBytes();
    for (let i = 0; i < 100; i++) expect(() => encode(["x".repeat(i * 1000), Promise.resolve()])).toThrow();
    expect(encode([1, "two"]).toBytes()).toEqual(before);
  });
});

describe("inspectSerializability", () => {
  it("lists every problem in the words of the errors", () => {
    const value = { a: Promise.resolve(), ok: [1, { b: new Map([["k", new WeakMap()]]) }], c: new Proxy({}, {}) };
    const { ok, problems } = inspectSerializability(value);
    expect(ok).toBe(false);
    expect(problems.map((problem) => problem.path)).toEqual(["value.a", 'value.ok[1].b.get("k")', "value.c"]);
    for (const { path, type, advice } of problems) {
      const at = path === "value.a" ? value.a : path === "value.c" ? value.c : undefined;
      if (at) expect(() => encode(at, { root: path })).toThrow(`${path} cannot be shipped: it is ${type}; ${advice}`);
    }
  });

  it("goes on past a getter that throws", () => {
    const value = {
      get first(): never {
        throw new Error("no");
      },
      get second(): unknown {
        return [Promise.resolve()];
      },
    };
    const paths = inspectSerializability(value).problems.map((problem) => problem.path);
    expect(paths).toEqual(["value.first", "value.second[0]"]);
  });

  it("says yes to what can be shipped", () => {
    expect(inspectSerializability({ a: [1, new Date(), Buffer.alloc(5000)] })).toEqual({ ok: true, problems: [] });
  });
});
