import assert from "node:assert/strict";
import { describe, expect, it } from "vitest";
import { MobulaError } from "../base/errors.ts";
import {
  Bits,
  Box,
  Guarded,
  knownFunctions,
  Labels,
  LimitError,
  Point,
  Point3,
  Ref,
  Stack,
  Temperature,
  temperatureSerializer,
} from "./fixtures/known-functions.ts";
import { type Customizer, combineCustomizers, decode, encode, SerializerRegistry } from "./mod.ts";

const customizer = knownFunctions();
const roundTrip = <T>(value: T): T => decode(encode(value, { customizer }).toBytes(), { customizer }) as T;

describe("instances of the program's classes", () => {
  it("keep their prototype, their inherited methods and their fields", () => {
    const [point, deep] = roundTrip([new Point(3, 4), new Point3(1, 2)] as const);
    assert.deepStrictEqual([point, deep], [new Point(3, 4), new Point3(1, 2)]);
    expect(point.length).toBe(5);
    expect(deep).toBeInstanceOf(Point);
  });

  it("keep own data that is not enumerable, as such", () => {
    const point = new Point(1, 2);
    Object.defineProperty(point, "origin", { value: [point], writable: true, configurable: true });
    const back = roundTrip(point) as Point & { origin: Point[] };
    expect(back.origin[0]).toBe(back);
    expect(Object.keys(back)).toEqual(["x", "y"]);
  });

  it("set no accessor of their class when an own property has its name", () => {
    expect(Object.getOwnPropertyDescriptor(roundTrip(Guarded.shadowed()), "secret")?.value).toBe(5);
  });

  it("of built-in classes extended keep both halves", () => {
    const labels = new Labels([
      ["a", 1],
      ["b", 2],
    ]);
    labels.owner = "me";
    const back = roundTrip(labels);
    expect([back.total(), back.owner, back.size]).toEqual([3, "me", 2]);
    const stack = roundTrip(Stack.from([1, 2, 3]) as Stack<number>);
    expect([stack.peek(), stack.length, Array.isArray(stack)]).toEqual([3, 3, true]);
    const long = Stack.from({ length: 300 }, (_, i) => i) as Stack<number>;
    assert.deepStrictEqual(roundTrip(Object.assign(long, { note: "x" })), long);
    for (const length of [10, 5000]) {
      const bits = new Bits(length).fill(3);
      bits.name = `bits of ${length}`;
      const received = roundTrip(bits);
      expect(received).toBeInstanceOf(Bits);
      expect([received.name, received.length, received[5]]).toEqual([`bits of ${length}`, length, 3]);
    }
  });

  it("of error classes keep class, fields, stack and cause", () => {
    const error = new LimitError("too much", 7, { cause: new LimitError("inner", 1) });
    const back = roundTrip(error);
    expect(back).toBeInstanceOf(LimitError);
    expect([back.message, back.limit, back.name, back.stack]).toEqual(["too much", 7, "LimitError", error.stack]);
    expect((back.cause as LimitError).limit).toBe(1);
  });

  it("in cycles with themselves, in Maps and arrays, stay one", () => {
    const point = new Point(1, 2) as Point & { all?: unknown };
    const labels = new Labels() as Labels & { points?: unknown };
    labels.points = [point, labels];
    point.all = new Map([[point, labels]]);
    const back = roundTrip(point);
    const [[key, value]] = [...(back.all as Map<Point, Labels & { points: unknown[] }>)] as [
      [Point, Labels & { points: unknown[] }],
    ];
    expect(key).toBe(back);
    expect(value.points).toEqual([back, value]);
  });

  it("of an object made with Object.create(other) inherit from what the other was", () => {
    const base = { kind: "base" };
    const [first, second] = roundTrip([Object.assign(Object.create(base), { own: 1 }), Object.create(base)]);
    expect([first.kind, first.own]).toEqual(["base", 1]);
    expect(Object.getPrototypeOf(first)).toBe(Object.getPrototypeOf(second));
  });

  it("with private state are refused by name, also when the state is inherited", () => {
    class Warmer extends Temperature {}
    class Methodical {
      #hidden(): number {
        return 1;
      }
      seen(): number {
        return this.#hidden();
      }
    }
    const why = (value: unknown) => () => encode([{ value }], { root: "args", customizer });
    expect(why(new Temperature(1))).toThrow(
      "args[0].value cannot be shipped: it is a Temperature with private state (#kelvin) without a serializer; registerSerializer(Temperature, { serialize, deserialize })",
    );
    expect(why(new Warmer(1))).toThrow("private state (#kelvin)");
    expect(why(new Methodical())).toThrow("private state (#hidden)");
  });

  it("with a # in texts, comments and static parts only are not taken for private ones", () => {
    class Harmless {
      static #count = 0;
      text = "#notPrivate"; // #neither
      static next(): number {
        return ++Harmless.#count;
      }
    }
    const ships: Customizer = {
      encode: (value) => (value === Harmless ? { tag: 1, head: null } : undefined),
      begin: () => ({ value: Harmless }),
    };
    const back = decode(encode(new Harmless(), { customizer: ships }).toBytes(), { customizer: ships });
    expect(back).toBeInstanceOf(Harmless);
    expect(Harmless.next()).toBe(1);
  });
});

describe("registered serializers", () => {
  it("carry private state, once for each instance, and are learnt by who receives them", () => {
    const here = new SerializerRegistry();
    here.register(Temperature, temperatureSerializer as never);
    const there = new SerializerRegistry();
    const warm = new Temperature(300);
    const bytes = encode([warm, { again: warm }], { customizer, serializers: here }).toBytes();
    const [first, second] = decode(bytes, { customizer, serializers: there }) as [Temperature, { again: Temperature }];
    expect(first).toBeInstanceOf(Temperature);
    expect(first.kelvin).toBe(300);
    expect(second.again).toBe(first);
    expect(there.find(Temperature)).toBeDefined();
    // The receiver can now answer with an instance of its own.
    const answer = encode(new Temperature(5), { customizer, serializers: there }).toBytes();
    expect((decode(answer, { customizer }) as Temperature).kelvin).toBe(5);
  });

  it("see complete data, however deep", () => {
    class Chain {
      readonly #head: unknown;
      constructor(head: unknown) {
        this.#head = head;
      }
      depth(): number {
        let depth = 0;
        for (let at = this.#head; at !== null; at = (at as { next: unknown }).next) depth++;
        return depth;
      }
      static pack = (chain: Chain): unknown => chain.#head;
      static unpack = (head: unknown): Chain => {
        const chain = new Chain(head);
        seen.push(chain.depth());
        return chain;
      };
    }
    const seen: number[] = [];
    const functions = [Chain, Chain.pack, Chain.unpack];
    const ships: Customizer = {
      encode: (value) =>
        functions.includes(value as never) ? { tag: 1, head: functions.indexOf(value as never) } : undefined,
      begin: (_tag, head) => ({ value: functions[Number(head)] }),
    };
    const serializers = new SerializerRegistry();
    serializers.register(Chain, { serialize: Chain.pack as never, deserialize: Chain.unpack });
    let list: unknown = null;
    for (let i = 0; i < 5000; i++) list = { next: list };
    const bytes = encode({ chain: new Chain(list), after: [1] }, { customizer: ships, serializers }).toBytes();
    const back = decode(bytes, { customizer: ships }) as { chain: Chain; after: number[] };
    expect([seen, back.chain.depth(), back.after]).toEqual([[5000], 5000, [1]]);
  });

  it("whose data contains the instance itself are refused", () => {
    const serializers = new SerializerRegistry();
    serializers.register(Temperature, {
      serialize: (value) => ({ value }),
      deserialize: temperatureSerializer.deserialize as never,
    });
    const ships: Customizer = {
      encode: (value) => (typeof value === "function" ? { tag: 1, head: null } : undefined),
      begin: () => ({ value: null }),
    };
    expect(() => encode(new Temperature(1), { customizer: ships, serializers })).toThrow("break the cycle");
  });

  it("that are not what they should be are refused at registration", () => {
    const registry = new SerializerRegistry();
    expect(() => registry.register({} as never, temperatureSerializer as never)).toThrow("must be a class");
    expect(() => registry.register(Temperature, { serialize: 1 } as never)).toThrow("both functions");
  });
});

describe("customizers", () => {
  it("report refs once each, in the order met", () => {
    const [first, second] = [new Ref(1), new Ref(2)];
    const packed = encode([{ second }, first, second], { customizer });
    expect(packed.nested).toEqual([second, first]);
    expect(decode(packed.toBytes(), { customizer })).toEqual([{ second: new Ref(2) }, new Ref(1), new Ref(2)]);
    expect(encode([1], { customizer }).nested).toEqual([]);
  });

  it("are asked once for each object, and their children may lead back to them", () => {
    const asked: unknown[] = [];
    const counting: Customizer = {
      encode: (value, session) => {
        asked.push(value);
        return customizer.encode(value, session);
      },
      begin: customizer.begin,
    };
    const box = new Box();
    box.content = { box, list: [box] };
    const back = decode(encode([box, box], { customizer: counting }).toBytes(), { customizer }) as [Box, Box];
    expect(asked).toEqual([box, box.content]);
    expect(back[0]).toBe(back[1]);
    expect(back[0].content).toEqual({ box: back[0], list: [back[0]] });
  });

  it("read nodes with nothing but a text from its bytes, where they can", () => {
    class Name {
      readonly text: string;
      readonly how: string;
      constructor(text: string, how: string) {
        this.text = text;
        this.how = how;
      }
    }
    const names: Customizer = {
      encode: (value) => (value instanceof Name ? { tag: 7, head: value.text } : undefined),
      begin: (_tag, head) => ({ value: new Name(head as string, "begun") }),
      leaf: (_tag, bytes, start, end) =>
        end - start === 2 ? undefined : new Name(bytes.toString("utf8", start, end), "leaf"),
    };
    const combined = combineCustomizers([{ firstTag: 7, lastTag: 7, customizer: names }]);
    const long = new Name("n".repeat(200), "");
    const list = [new Name("a", ""), long, new Name("", ""), new Name("ab", ""), long];
    const bytes = encode(list, { customizer: combined }).toBytes();
    const back = decode(bytes, { customizer: combined }) as Name[];
    expect(back.map(({ text }) => text)).toEqual(list.map(({ text }) => text));
    expect(back.map(({ how }) => how)).toEqual(["leaf", "leaf", "leaf", "begun", "leaf"]);
    expect(back[4]).toBe(back[1]);
    for (let end = 0; end < bytes.length; end++)
      expect(() => decode(bytes.subarray(0, end), { customizer: combined })).toThrow(MobulaError);
  });

  it("call their children by name in messages", () => {
    const box = new Box();
    box.content = { socket: Promise.resolve() };
    expect(() => encode([box], { root: "args", customizer })).toThrow(
      /^captured content\.socket cannot be shipped: it is a promise/,
    );
  });

  it("nest to any depth", () => {
    let box = new Box();
    for (let i = 0; i < 50_000; i++) {
      const outer = new Box();
      outer.content = [box];
      box = outer;
    }
    let at: unknown = roundTrip(box);
    let depth = 0;
    for (; at !== undefined; depth++)
      at = (at as Box).content === undefined ? undefined : ((at as Box).content as Box[])[0];
    expect(depth).toBe(50_001);
  });

  it("may put an instance into what its own class needs, since that is filled in afterwards", () => {
    class Node1 {
      name = "n";
    }
    const instance = new Node1();
    const scope = { captured: instance as unknown };
    const made: { captured?: unknown } = {};
    const ships: Customizer = {
      encode(value) {
        if (value === Node1) return { tag: 1, head: "member", early: [scope] };
        return value === scope ? { tag: 2, head: "scope", children: [scope.captured] } : undefined;
      },
      begin(tag, _head, early) {
        if (tag === 2) return { value: made, finish: ([captured]) => Object.assign(made, { captured }) };
        expect(early).toEqual([made]);
        return { value: Node1 };
      },
    };
    const back = decode(encode([instance], { customizer: ships }).toBytes(), { customizer: ships }) as Node1[];
    expect(back[0]).toBeInstanceOf(Node1);
    expect(made.captured).toBe(back[0]);
  });

  it("pass their own errors on as they are, in both directions", () => {
    class Odd extends Error {}
    const failing: Customizer = {
      encode: () => ({ tag: 1, head: null }),
      begin: () => {
        throw new Odd("begin");
      },
    };
    const bytes = encode({}, { customizer: failing }).toBytes();
    expect(() => decode(bytes, { customizer: failing })).toThrow(Odd);
  });
});
