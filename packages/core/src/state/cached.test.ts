import { expect, test } from "vitest";
import { Fresh } from "./cached.ts";

test("an answer that is not fresh is given while the next is made, until it is too old", async () => {
  let made = 0;
  const given: (() => void)[] = [];
  const fresh = new Fresh({ freshMs: 10, maxAgeMs: 100 }, async () => {
    await new Promise<void>((resolve) => given.push(resolve));
    return ++made;
  });
  const first = fresh.get(0);
  given.shift()?.();
  expect(await first).toEqual({ value: 1, madeAtMs: 0 });
  expect((await fresh.get(9)).value).toBe(1);
  expect(given).toHaveLength(0);
  expect((await fresh.get(20)).value).toBe(1);
  expect((await fresh.get(30)).value).toBe(1);
  expect(given).toHaveLength(1);
  const late = fresh.get(150);
  given.shift()?.();
  expect(await late).toEqual({ value: 2, madeAtMs: 20 });
});

test("what fails is asked anew, and told to who waits for it", async () => {
  const away = () => Promise.reject(new Error("away"));
  const answers = [() => 1, away, away, () => 2];
  const fresh = new Fresh({ freshMs: 10, maxAgeMs: 100 }, async () => answers.shift()?.());
  expect((await fresh.get(0)).value).toBe(1);
  expect((await fresh.get(20)).value).toBe(1);
  await new Promise(setImmediate);
  await expect(fresh.get(200)).rejects.toThrow("away");
  expect((await fresh.get(300)).value).toBe(2);
});
