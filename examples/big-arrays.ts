/** Large arrays lie in shared memory: stored once, and viewed by every process instead of copied. */
import { create, get, init, put, release, remote, shutdown } from "mobula";

const ITEMS = 4_000_000; // 32 MB

await init();

// Stored once, however many tasks read it.
const numbers = put(Float64Array.from({ length: ITEMS }, (_, index) => index));
const sumOf = remote((values: Float64Array, from: number, to: number) => {
  let sum = 0;
  for (let index = from; index < to; index++) sum += values[index] ?? 0;
  return sum;
});
const PARTS = 8;
const parts = Array.from({ length: PARTS }, (_, part) =>
  sumOf.remote(numbers, (part * ITEMS) / PARTS, ((part + 1) * ITEMS) / PARTS),
);
const sum = (await get(parts)).reduce((a, b) => a + b, 0);
console.log("sum", sum, sum === (ITEMS * (ITEMS - 1)) / 2);

// What a task writes into its argument is its own affair: nobody else sees it.
const scribble = remote((values: Float64Array) => {
  values.fill(-1);
  return values[0];
});
console.log("inside the task", await get(scribble.remote(numbers)), "and outside", (await get(numbers))[0]);

// Results are large objects too. Here they go from task to task and never through this process.
const double = remote((values: Float64Array) => values.map((value) => value * 2));
const last = remote((values: Float64Array) => values.at(-1));
console.log("last, doubled twice", await get(last.remote(double.remote(double.remote(numbers)))));

// An object can be written where it will lie, without a copy of it anywhere.
const image = create(16 * 1024 * 1024);
image.view.fill(7);
const sealed = image.seal();
const countOf = remote((pixels: Uint8Array, value: number) =>
  pixels.reduce((n, each) => n + Number(each === value), 0),
);
console.log("sevens", await get(countOf.remote(sealed, 7)));

// Refs are released when they are collected; saying so frees the memory at once.
release(numbers, sealed);
await shutdown();
