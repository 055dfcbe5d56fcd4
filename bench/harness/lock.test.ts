import { expect, test } from "vitest";
import { takeBenchmarkLock } from "./lock.ts";

const name = `\0mobula-bench-lock-test-${process.pid}`;

test("a second benchmark is refused and told who holds the lock", async () => {
  await using _held = await takeBenchmarkLock(name);
  await expect(takeBenchmarkLock(name)).rejects.toThrow(`process ${process.pid}`);
});

test("the lock can be taken again once it is let go", async () => {
  {
    await using _held = await takeBenchmarkLock(name);
  }
  await using _again = await takeBenchmarkLock(name);
});
