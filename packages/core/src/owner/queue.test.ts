import { describe, expect, test } from "vitest";
import { createPrng } from "../base/prng.ts";
import { Fifo } from "./queue.ts";
import type { TaskRecord } from "./records.ts";

/** A queue looks at nothing of its tasks. */
const task = (seq: number): TaskRecord => ({ seq }) as unknown as TaskRecord;

describe("a queue of tasks", () => {
  test("does as a list would, whatever is pushed, put back, taken and removed", () => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    const random = createPrng(seed);
    const queue = new Fifo();
    let list: TaskRecord[] = [];
    for (let step = 0; step < 20_000; step++) {
      const one = task(step);
      switch (random.below(6)) {
        case 0:
        case 1:
          queue.push(one);
          list.push(one);
          break;
        case 2:
          queue.unshift(one);
          list.unshift(one);
          break;
        case 3:
          expect(queue.shift(), `seed ${seed}`).toBe(list.shift());
          break;
        default: {
          const victim = random.pick(list) ?? one;
          expect(queue.remove(victim), `seed ${seed}`).toBe(list.includes(victim));
          list = list.filter((each) => each !== victim);
        }
      }
      expect(queue.size, `seed ${seed}`).toBe(list.length);
      expect(queue.peek(), `seed ${seed}`).toBe(list[0]);
    }
    expect([...queue]).toEqual(list);
  });

  test("removing all of many, from either end, needs no search for each", () => {
    for (const isBackwards of [false, true]) {
      const queue = new Fifo();
      const tasks = Array.from({ length: 300_000 }, (_, seq) => task(seq));
      for (const each of tasks) queue.push(each);
      const startedAt = performance.now();
      for (const each of isBackwards ? tasks.reverse() : tasks) queue.remove(each);
      expect(queue.size).toBe(0);
      expect(performance.now() - startedAt).toBeLessThan(5_000);
    }
  });
});
