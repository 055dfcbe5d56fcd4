import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { knownFunctions, Labels, LimitError, Point3 } from "./fixtures/known-functions.ts";
import { decode, encode } from "./mod.ts";

/** Another process that decodes what it gets and sends it back encoded anew. */
let child: ChildProcess;
const waiting: ((answer: Uint8Array) => void)[] = [];
const customizer = knownFunctions();

beforeAll(() => {
  child = spawn(process.execPath, [fileURLToPath(new URL("fixtures/echo.ts", import.meta.url))], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  let received = Buffer.alloc(0);
  child.stdout?.on("data", (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    while (received.length >= 4 && received.length >= 4 + received.readUInt32LE(0)) {
      const end = 4 + received.readUInt32LE(0);
      waiting.shift()?.(received.subarray(4, end));
      received = received.subarray(end);
    }
  });
});

afterAll(async () => {
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
});

async function throughTheOther<T>(value: T): Promise<T> {
  const bytes = encode(value, { customizer }).toBytes();
  const header = Buffer.alloc(4);
  header.writeUInt32LE(bytes.length);
  const answer = new Promise<Uint8Array>((resolve) => waiting.push(resolve));
  child.stdin?.write(Buffer.concat([header, bytes]));
  return decode(await answer, { customizer }) as T;
}

const anything = fc.anything({
  maxDepth: 4,
  withBigInt: true,
  withBoxedValues: true,
  withDate: true,
  withMap: true,
  withSet: true,
  withTypedArray: true,
  withSparseArray: true,
  withNullPrototype: true,
  withUnicodeString: true,
});

describe("between two processes", () => {
  it("any data arrives as it was", async () => {
    await fc.assert(
      fc.asyncProperty(anything, async (value) => {
        assert.deepStrictEqual(await throughTheOther(value), value);
      }),
      { numRuns: 1500 },
    );
  });

  it("any graph keeps its shape: who is the same as whom, cycles included", async () => {
    const edges = fc.array(fc.tuple(fc.nat(30), fc.nat(30)), { maxLength: 80 });
    const kinds = fc.array(fc.nat(3), { minLength: 31, maxLength: 31 });
    await fc.assert(
      fc.asyncProperty(kinds, edges, async (kindOf, list) => {
        const nodes: unknown[] = kindOf.map((kind, id) =>
          kind === 0 ? { id } : kind === 1 ? [id] : kind === 2 ? new Map([["id", id]]) : new Set([id]),
        );
        for (const [from, to] of list) {
          const node = nodes[from];
          if (node instanceof Map) node.set(nodes[to], nodes[to]);
          else if (node instanceof Set) node.add(nodes[to]);
          else if (Array.isArray(node)) node.push(nodes[to]);
          else Object.assign(node as object, { [`to${to}`]: nodes[to] });
        }
        assert.deepStrictEqual(shape(await throughTheOther(nodes[0])), shape(nodes[0]));
      }),
      { numRuns: 400 },
    );
  });

  it("typed arrays of any size and offset keep their bytes, and share memory as before", async () => {
    const view = fc.tuple(fc.nat(3000), fc.nat(3000));
    await fc.assert(
      fc.asyncProperty(fc.array(view, { minLength: 1, maxLength: 6 }), async (ranges) => {
        const buffer = new Uint8Array(6000).map((_, i) => i * 7).buffer;
        const views = ranges.map(([offset, length]) => new Uint8Array(buffer, offset, length));
        const back = await throughTheOther(views);
        assert.deepStrictEqual(back, views);
        for (const [i, one] of views.entries()) {
          for (const [j, other] of views.entries()) {
            const overlaps =
              one.byteOffset < other.byteOffset + other.length && other.byteOffset < one.byteOffset + one.length;
            if (overlaps && one.length > 0 && other.length > 0) expect(back[i]?.buffer).toBe(back[j]?.buffer);
          }
        }
      }),
      { numRuns: 150 },
    );
  });

  it("instances, errors and what lies 20,000 levels deep", async () => {
    let deep: { n: unknown } = { n: 0 };
    for (let i = 0; i < 20_000; i++) deep = { n: deep };
    const labels = new Labels([["a", 1]]);
    const value = { point: new Point3(1, 2), labels, error: new LimitError("m", 3, { cause: labels }) };
    const back = await throughTheOther(value);
    assert.deepStrictEqual(back, value);
    expect(back.error.cause).toBe(back.labels);
    let at: unknown = await throughTheOther(deep);
    let depth = 0;
    for (; typeof at === "object"; depth++) at = (at as { n: unknown }).n;
    expect(depth).toBe(20_001);
  });
});

/** A graph as numbers: its objects in the order in which they are reached, and what each leads to. */
function shape(root: unknown): unknown[] {
  const numbers = new Map<unknown, number>();
  const found: unknown[] = [];
  const queue: unknown[] = [];
  const see = (value: unknown): unknown => {
    if (typeof value !== "object" || value === null) return value;
    if (!numbers.has(value)) {
      numbers.set(value, numbers.size);
      queue.push(value);
    }
    return `#${numbers.get(value)}`;
  };
  see(root);
  for (let value = queue.shift(); value !== undefined; value = queue.shift()) {
    if (value instanceof Map) found.push(["map", ...[...value].flat().map(see)]);
    else if (value instanceof Set) found.push(["set", ...[...value].map(see)]);
    else if (Array.isArray(value)) found.push(["array", ...value.map(see)]);
    else
      found.push([
        "object",
        ...Object.entries(value as object)
          .flat()
          .map(see),
      ]);
  }
  return found;
}
