/** Checks the inference of the helpers, as `types.test-d.ts` does for the rest: the compiler is the test runner. */
import { ActorPool } from "./actor-pool.ts";
import { asCompleted } from "./as-completed.ts";
import { map } from "./map.ts";
import { Queue } from "./queue.ts";
import type { ActorHandle, ObjectRef, RemoteFunctionFactory } from "./types.ts";

declare const remote: RemoteFunctionFactory;
declare const ref: ObjectRef<number>;

class Worker {
  length(text: string): number {
    return text.length;
  }
}

export async function maps(): Promise<void> {
  // The parameter takes its type from the items.
  for await (const value of map((x) => x * 2, [1, 2, 3])) value satisfies number;
  for await (const value of map(async (x: string) => x.length, new Set(["a"]))) value satisfies number;
  for await (const value of map((x: number) => x > 1, [1, ref])) value satisfies boolean;
  const text = remote((x: number) => String(x));
  for await (const value of map(text, [1], { ordered: false })) value satisfies string;
  // @ts-expect-error a string is not a number
  map(text, ["a"]);
  // @ts-expect-error several results have no place in a loop of one result each
  map(text, [1], { numReturns: 2 });
  for await (const done of asCompleted([ref])) done satisfies ObjectRef<number>;
}

export async function pools(handle: ActorHandle<Worker>): Promise<void> {
  const pool = new ActorPool([handle]);
  for await (const value of pool.map((actor, text: string) => actor.length.remote(text), ["a"])) value satisfies number;
  // @ts-expect-error the values are not strings
  pool.map((actor, text: string) => actor.length.remote(text), [1]);
  const typed = new ActorPool<ActorHandle<Worker>, number>([handle]);
  typed.submit((actor, text: string) => actor.length.remote(text), "a");
  (await typed.getNext()) satisfies number;
}

export async function queues(): Promise<void> {
  const queue = new Queue<number>({ maxSize: 2, name: "numbers" });
  await queue.put(1);
  // @ts-expect-error a string is not a number
  await queue.put("1");
  (await queue.get()) satisfies number;
  (await queue.getAll()) satisfies number[];
  // A queue travels as an argument.
  remote(async (to: Queue<number>) => to.put(1)).remote(queue);
}
