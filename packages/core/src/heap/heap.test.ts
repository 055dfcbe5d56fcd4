/** Against snapshots of this process, which V8 itself has written. */
import { setTimeout as delay } from "node:timers/promises";
import { getHeapSnapshot } from "node:v8";
import { beforeAll, expect, test } from "vitest";
import { type HeapGraph, SnapshotReader, summaryOf, suspendedIn } from "./mod.ts";

class Kept {
  readonly bytes: readonly number[];
  constructor(length: number) {
    this.bytes = Array.from({ length }, (_, index) => index + 0.5);
  }
}
class Holder {
  readonly kept = new Kept(10_000);
  readonly inner: Holder | undefined;
  constructor(depth: number) {
    this.inner = depth > 0 ? new Holder(depth - 1) : undefined;
  }
}

const never: (() => void)[] = [];
async function innermost(): Promise<void> {
  await new Promise<void>((resolve) => never.push(resolve));
}
async function middle(): Promise<void> {
  await Promise.all([innermost(), delay(1)]);
}
async function outermost(): Promise<void> {
  await middle().then(() => 1);
}
async function* generates(): AsyncGenerator<number> {
  await innermost();
  yield 1;
}
async function iterates(): Promise<void> {
  for await (const _ of generates());
}
async function forgotten(): Promise<void> {
  await new Promise<void>(() => {});
}

const strange = { 'a "quoted" \\ name\n\u00e9 \u{1f600}': 1 };
const weak = new WeakMap<object, Kept>();
const key = {};

let text: Buffer;
let graph: HeapGraph;
let holders: readonly unknown[];
beforeAll(async () => {
  holders = [new Holder(2), strange, outermost(), iterates(), forgotten()];
  weak.set(key, new Kept(10_000));
  const chunks: Buffer[] = [];
  for await (const chunk of getHeapSnapshot()) chunks.push(chunk as Buffer);
  text = Buffer.concat(chunks);
  graph = read(text, 65_536);
}, 120_000);

function read(whole: Buffer, pieceBytes: number): HeapGraph {
  const reader = new SnapshotReader();
  for (let at = 0; at < whole.length; at += pieceBytes) reader.push(whole.subarray(at, at + pieceBytes));
  return reader.finish();
}

interface Written {
  readonly snapshot: { readonly meta: { readonly node_fields: readonly string[] } };
  readonly nodes: readonly number[];
  readonly edges: readonly number[];
  readonly strings: readonly string[];
}

test("what is read in pieces is what the whole file says", () => {
  const { snapshot, nodes, edges, strings } = JSON.parse(text.toString()) as Written;
  const { columns } = graph;
  const fields = snapshot.meta.node_fields;
  const width = fields.length;
  const column = (name: string): number[] => {
    const at = fields.indexOf(name);
    return Array.from({ length: nodes.length / width }, (_, node) => nodes[node * width + at] as number);
  };
  const isSame = (a: ArrayLike<number>, b: ArrayLike<number>): boolean =>
    a.length === b.length && Array.prototype.every.call(a, (value, at) => value === b[at]);
  expect(isSame(columns.name, column("name"))).toBe(true);
  expect(isSame(columns.id, column("id"))).toBe(true);
  expect(isSame(columns.selfSize, column("self_size"))).toBe(true);
  expect(
    isSame(
      columns.to,
      edges.filter((_, at) => at % 3 === 2).map((offset) => offset / width),
    ),
  ).toBe(true);
  expect(columns.strings.length).toBe(strings.length);
  expect(strings.every((string, at) => columns.strings[at] === string.slice(0, 256))).toBe(true);
});

test("pieces may be cut anywhere", () => {
  const small = Buffer.from(
    JSON.stringify({
      snapshot: {
        meta: {
          node_fields: ["type", "name", "id", "self_size", "edge_count", "detachedness"],
          node_types: [["hidden", "object"], "string"],
          edge_fields: ["type", "name_or_index", "to_node"],
          edge_types: [["internal", "element"], "string_or_number"],
        },
        node_count: 2,
        edge_count: 1,
      },
      nodes: [0, 0, 1, 0, 1, 0, 1, 1, 3, 24, 0, 0],
      edges: [0, 2, 6],
      trace_tree: [{ text: "}]" }],
      locations: [6, 7, 8, 9],
      strings: ["", 'One "of" \\ them', "é\n"],
    }),
  );
  for (const size of [1, 2, 3, 7, small.length]) {
    const { columns, ...rest } = read(small, size);
    expect(columns.strings).toEqual(["", 'One "of" \\ them', Buffer.from("é\n").toString("latin1")]);
    expect([...columns.to, ...columns.firstEdge, ...columns.locations]).toEqual([1, 0, 1, 1, 1, 7, 8, 9]);
    expect(rest).toBeDefined();
  }
  expect(() => read(small.subarray(0, small.length - 20), 64)).toThrow(/was cut off/);
  expect(() => read(Buffer.from("[1]"), 64)).toThrow(/no heap snapshot/);
  expect(() => read(Buffer.from('{"profile":1}'), 64)).toThrow(/no heap snapshot/);
});

test("the summary: what is of a kind, and what is there only because of it", () => {
  expect(holders.length).toBe(5);
  const { constructors, totalBytes } = summaryOf(graph);
  const of = (name: string) => constructors.find((one) => one.name === name);
  // Three arrays of 10,000 doubles, and a fourth that the key of a WeakMap keeps.
  expect(of("Kept")).toMatchObject({ count: 4 });
  expect(of("Kept")?.retainedBytes).toBeGreaterThan(4 * 80_000);
  expect(of("Kept")?.retainedBytes).toBeLessThan(4 * 100_000);
  // Each holds the next: what the inner ones retain is not counted again.
  expect(of("Holder")).toMatchObject({ count: 3 });
  expect(of("Holder")?.retainedBytes).toBeGreaterThan(3 * 80_000);
  expect(of("Holder")?.retainedBytes).toBeLessThan(3 * 100_000);
  expect(of("Holder")?.shallowBytes).toBeLessThan(500);
  const own = constructors.reduce((sum, one) => sum + one.shallowBytes, 0);
  expect(own).toBe(totalBytes);
});

test("async functions that wait, and who awaits whom; what nothing can wake is not there", () => {
  const chains = suspendedIn(graph).map(({ functions }) => functions.map(({ name }) => name).join(" < "));
  expect(chains).toContain("innermost < middle < outermost");
  expect(chains).toContain("innermost < generates < iterates");
  expect(chains.join(" ")).not.toContain("forgotten");
  const [place] = suspendedIn(graph).flatMap(({ functions }) => functions.filter(({ name }) => name === "middle"));
  expect(place?.url).toContain("heap.test.ts");
  expect(place?.place).toBeDefined();
});
