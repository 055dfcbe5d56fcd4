import { fork } from "node:child_process";
import os from "node:os";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { decode, encode } from "../codec/mod.ts";
import { isFunction } from "./free-names.ts";
import { createFunctionCustomizer } from "./mod.ts";

// vitest rewrites imports to `__vite_ssr_import_0__.name` and runs each module as a function.

const customizer = createFunctionCustomizer();
const child = fork(fileURLToPath(new URL("./fixtures/receiver.ts", import.meta.url)), [], {
  serialization: "advanced",
  execArgv: [],
});
let moduleVariable = 1;

beforeAll(() => new Promise((resolve) => child.once("message", resolve)));
afterAll(() => child.disconnect());

async function call<A extends unknown[], R>(fn: (...args: A) => R, ...args: A): Promise<Awaited<R>> {
  const bytes = encode([fn, args], { customizer }).toBytes();
  const reply = await new Promise<{ bytes?: Uint8Array; error?: { stack: string } }>((resolve) => {
    child.once("message", resolve);
    child.send({ id: 1, bytes, units: [], modules: [] });
  });
  if (!reply.bytes) throw new Error(reply.error?.stack);
  return decode(reply.bytes, { customizer }) as Awaited<R>;
}

test("a closure with a module variable", async () => {
  moduleVariable = 5;
  const local = 2;
  expect(await call((x: number) => x + local + moduleVariable, 1)).toBe(8);
});

test("imports of built-in modules and packages are imported again", async () => {
  expect(await call(() => [path.join("a", "b"), os.EOL, typeof fileURLToPath])).toEqual([
    path.join("a", "b"),
    os.EOL,
    "function",
  ]);
});

test("imports of the program's own modules are imported again", async () => {
  expect(await call(() => isFunction({ type: "ArrowFunctionExpression" } as never))).toBe(true);
});

test("an export of another module travels by name", async () => {
  const packed = encode(isFunction, { customizer }).toBytes();
  expect(packed.length).toBeLessThan(200);
  expect(await call(isFunction as (node: never) => boolean, { type: "Literal" } as never)).toBe(false);
});

test("import.meta and import()", async () => {
  const [url, joined] = await call(async () => {
    const dynamic = await import("node:path");
    return [import.meta.url, dynamic.join("x", "y")] as const;
  });
  expect(url).toBe(import.meta.url);
  expect(joined).toBe(path.join("x", "y"));
});

test("shared variables, classes and errors", async () => {
  let n = 0;
  const add = () => ++n;
  const read = () => n;
  class Local {
    #v = 3;
    value() {
      return this.#v + n;
    }
  }
  expect(await call((a, r) => [a(), r(), new Local().value()], add, read)).toEqual([1, 1, 4]);
});
