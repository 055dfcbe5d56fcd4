import { beforeEach, expect, test } from "vitest";
import { asCompleted } from "./as-completed.ts";
import { installCore } from "./core-port.ts";
import { type FakeCore, fakeCore } from "./fake-core.ts";
import type { ObjectRef } from "./types.ts";

let core: FakeCore;
beforeEach(() => {
  core = fakeCore();
  installCore(core);
});

const wait = () => core.remote((promise: Promise<string>) => promise);
function door() {
  const made = Promise.withResolvers<string>();
  // The task that awaits it has the rejection; this only tells Node.js so.
  made.promise.catch(() => {});
  return made;
}

test("refs come in the order in which they finish, failed ones too", async () => {
  const doors = [door(), door(), door()];
  const refs = doors.map(({ promise }) => wait().remote(promise));
  const order = asCompleted(refs);
  const seen: number[] = [];
  for (const next of [1, 2, 0]) {
    const step = order.next();
    if (next === 2) doors[next]?.reject(new Error("failed"));
    else doors[next]?.resolve("done");
    const { value } = await step;
    seen.push(refs.indexOf(value as ObjectRef<string>));
  }
  expect(seen).toEqual([1, 2, 0]);
  expect((await order.next()).done).toBe(true);
  // The refs stay the caller's.
  expect(core.live.size).toBe(3);
});

test("leaving the loop cancels nothing", async () => {
  const never = wait().remote(new Promise(() => {}));
  const ready = core.put("a");
  for await (const ref of asCompleted([never, ready])) {
    expect(ref).toBe(ready);
    break;
  }
  expect(core.cancelled.size).toBe(0);
});

test("refs from an async source are yielded while the source goes on, at most 1,000 unfinished at a time", async () => {
  let made = 0;
  const all = Promise.withResolvers<string>();
  const first = core.put("first");
  async function* source() {
    yield first;
    for (; made < 3_000; made++) yield wait().remote(all.promise);
  }
  const order = asCompleted(source());
  expect((await order.next()).value).toBe(first);
  const second = order.next();
  // Everything that can happen without a task finishing has happened after enough turns of the loop.
  for (let turn = 0; turn < 5_000; turn++) await Promise.resolve();
  expect(made).toBeLessThanOrEqual(1_001);
  all.resolve("done");
  await second;
  let rest = 2;
  for await (const _ of order) rest++;
  expect(rest).toBe(3_001);
});

test("an error of the source comes after the refs before it", async () => {
  const ref = core.put(1);
  async function* source() {
    yield ref;
    throw new Error("source broke");
  }
  const order = asCompleted(source());
  expect((await order.next()).value).toBe(ref);
  await expect(order.next()).rejects.toThrow("source broke");
});

test("what is not a ref and what comes twice is refused at the call", () => {
  const ref = core.put(1);
  expect(() => asCompleted([5 as never])).toThrow(/got 5 at \[0\]/);
  expect(() => asCompleted([ref, ref])).toThrow(/same ref twice/);
  expect(() => asCompleted(5 as never)).toThrow(/must be an iterable/);
});
