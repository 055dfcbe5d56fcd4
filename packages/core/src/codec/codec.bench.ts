/**
 * The codec beside msgpackr, v8.serialize and JSON on small values. Run by hand: `node codec.bench.ts [seconds]`. It
 * does not measure functions, refs, or memory, and on a busy machine only the ratios mean something.
 */
import { deserialize, serialize } from "node:v8";
import { Packr } from "msgpackr";
import { decode, encode } from "./mod.ts";

const plain = new Packr({ useRecords: false });

const record = (i: number) => ({
  id: i,
  name: `customer ${i}`,
  email: `customer${i}@example.com`,
  active: i % 2 === 0,
  balance: i * 1.25,
  tags: ["new", "priority", "eu"],
  address: { street: "Long Street 12", city: "Springfield", zip: `${10_000 + i}` },
});

const values: readonly (readonly [string, readonly unknown[]])[] = [
  ["[]", [[]]],
  ["[1, 2]", Array.from({ length: 64 }, (_, i) => [i, 2])],
  ['["some text", {x, y}]', Array.from({ length: 64 }, (_, i) => ["some text", { x: i, y: 2 }])],
  ["record of ~200 B", Array.from({ length: 64 }, (_, i) => record(i))],
  ["100 records", [Array.from({ length: 100 }, (_, i) => record(i))]],
  ["1,000 numbers", [Array.from({ length: 1000 }, (_, i) => i * 3)]],
  ["Float64Array of 100", [new Float64Array(100).fill(1.5)]],
  ["1 MiB Uint8Array", [new Uint8Array(1 << 20)]],
];

const codecs: readonly {
  readonly name: string;
  pack(value: unknown): Uint8Array | string;
  unpack(bytes: Uint8Array | string): unknown;
}[] = [
  { name: "mobula", pack: (value) => encode(value).toBytes(), unpack: (bytes) => decode(bytes as Uint8Array) },
  { name: "msgpackr", pack: (value) => plain.pack(value), unpack: (bytes) => plain.unpack(bytes as Uint8Array) },
  { name: "v8", pack: (value) => serialize(value), unpack: (bytes) => deserialize(bytes as Uint8Array) },
  { name: "JSON", pack: (value) => JSON.stringify(value), unpack: (text) => JSON.parse(text as string) },
];

const seconds = Number(process.argv[2] ?? 0.3);
let kept: unknown;

/** Microseconds a call, the best of three rounds. */
function measure<T>(run: (item: T) => unknown, items: readonly T[]): number {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 3; round++) {
    const end = performance.now() + (seconds * 1000) / 3;
    let calls = 0;
    const start = performance.now();
    let now = start;
    // At least once: a pause of the machine may be longer than the whole round.
    do {
      for (const item of items) kept = run(item);
      calls += items.length;
      if (calls % 64 === 0 || items.length === 1) now = performance.now();
    } while (now < end);
    best = Math.min(best, ((now - start) * 1000) / calls);
  }
  return best;
}

console.log(["value".padEnd(24), ...codecs.map((codec) => codec.name.padStart(16))].join(""));
for (const [name, items] of values) {
  const cells = codecs.map((codec) => {
    const there = measure((item) => codec.pack(item), items);
    const bytes = items.map((item) => codec.pack(item));
    const back = measure((item) => codec.unpack(item), bytes);
    return `${there.toFixed(2)} / ${back.toFixed(2)}`.padStart(16);
  });
  console.log(name.padEnd(24) + cells.join(""));
}
console.log("microseconds to encode / to decode");
// What was made last is looked at, so that making it cannot be left out.
if (kept === undefined) throw new Error("nothing was measured");
