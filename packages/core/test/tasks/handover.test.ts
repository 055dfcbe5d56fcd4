import { execFileSync } from "node:child_process";
import { type ActorHandle, cancel, get, init, type ObjectRef, put, remote, runtimeContext, shutdown } from "mobula";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";
import { blockUntil, errorOf, isRaised, note, notes, raise, raised } from "./helpers.ts";

const STAGE = 333;

const read = remote((value: number) => value);
const square = remote((value: number) => value * value);
const sum = remote((...values: number[]) => values.reduce((total, value) => total + value, 0));

/** Three stages of about 1,000 tasks in all, whose arguments are refs of the stage before. */
function submitGraph(): ObjectRef<number>[] {
  const first = Array.from({ length: STAGE }, (_, at) => read.remote(at));
  const second = first.map((ref) => square.remote(ref));
  return second.map((ref, at) => sum.remote(ref, second[(at + 1) % STAGE] as ObjectRef<number>));
}
const GRAPH_TOTAL = 2 * Array.from({ length: STAGE }, (_, at) => at * at).reduce((left, right) => left + right, 0);

/** Nothing of the event loop runs meanwhile. */
function computeFor(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

/** The thread is blocked from the submission until the last task of the graph has run. */
async function submitAndBlock(folder: string, awaitsFirst: boolean): Promise<number> {
  const third = submitGraph();
  remote((where: string, ..._values: number[]) => raise(where, "done")).remote(
    folder,
    ...(third as unknown as number[]),
  );
  if (awaitsFirst) await get(third[0] as ObjectRef<number>);
  blockUntil(folder, "done");
  return (await get(third)).reduce((left, right) => left + right, 0);
}

class Submitter {
  submitAndBlock(folder: string): Promise<number> {
    return submitAndBlock(folder, false);
  }
}

class Box {
  #refs: ObjectRef<unknown>[] = [];
  put(refs: ObjectRef<unknown>[]): void {
    this.#refs = refs;
  }
  take(): ObjectRef<unknown>[] {
    return this.#refs;
  }
}

describe("what a worker submits goes on while it computes", () => {
  beforeAll(async () => {
    await init({ objectStoreBytes: 64 * 2 ** 20, resources: { cpu: 3 } });
    await get(sum.remote(square.remote(read.remote(2))));
  });
  afterAll(() => shutdown());

  test.each([false, true])(
    "a graph of three stages that a task submits ends meanwhile (it waited before: %s)",
    async (awaits) => {
      const outer = remote(submitAndBlock);
      expect(await get(outer.remote(newFolder(), awaits))).toBe(GRAPH_TOTAL);
    },
  );

  test("so does one that an actor submits", async () => {
    const actor = remote(Submitter).remote();
    expect(await get(actor.submitAndBlock.remote(newFolder()))).toBe(GRAPH_TOTAL);
  });

  test("also of a function that always came back at once, and now computes for the first time", async () => {
    const outer = remote(async (where: string, blocks: boolean) => {
      const beside = remote((place: string) => raise(place, "ran")).remote(where);
      if (blocks) blockUntil(where, "ran");
      await get(beside);
      const chain = square.remote(square.remote(read.remote(3)));
      const last = remote((place: string, _value: number) => raise(place, "chain ran")).remote(where, chain);
      if (blocks) blockUntil(where, "chain ran");
      await get([chain, last]);
    });
    for (let run = 0; run < 20; run++) await get(outer.remote(newFolder(), false));
    for (let run = 0; run < 3; run++) await get(outer.remote(newFolder(), true));
  });

  test("also while it waits for another program", async () => {
    const outer = remote(async (where: string) => {
      const beside = remote((place: string) => raise(place, "ran")).remote(where);
      // Ends when the task has run.
      execFileSync("/bin/sh", ["-c", 'until [ -e "$0/ran" ]; do sleep 0.01; done', where], { timeout: 20_000 });
      await get(beside);
      return isRaised(where, "ran");
    });
    expect(await get(outer.remote(newFolder()))).toBe(true);
  });

  test("what it submits while it computes, bit by bit, runs meanwhile too", async () => {
    const outer = remote(async (where: string) => {
      const parts: ObjectRef<unknown>[] = [];
      for (let part = 0; part < 10; part++) {
        parts.push(remote((place: string) => note(place, "part")).remote(where));
        computeFor(8);
      }
      while (notes(where).length < 3);
      await get(parts);
      return notes(where).length;
    });
    expect(await get(outer.remote(newFolder()))).toBe(10);
  });

  test("and what has arguments in the store, or refs and handles inside its own", async () => {
    const outer = remote(async (where: string, box: ActorHandle<Box>) => {
      const large = put(new Uint8Array(300_000).fill(1));
      const own = read.remote(5);
      const inside = remote(async (list: ObjectRef<number>[], bytes: Uint8Array) => {
        return ((await get(list[0] as ObjectRef<number>)) as number) + bytes.length;
      }).remote([own], large as never);
      const told = remote(async (to: { box: ActorHandle<Box> }, place: string, value: number) => {
        await get(to.box.put.remote([put(value)]));
        raise(place, "told");
      }).remote({ box }, where, inside);
      blockUntil(where, "told");
      await get(told);
      return get(inside);
    });
    const box = remote(Box).remote();
    expect(await get(outer.remote(newFolder(), box))).toBe(300_005);
    const [value] = await get(box.take.remote());
    expect(await get(value as ObjectRef<number>)).toBe(300_005);
  });

  test("one task beside which the worker computes runs meanwhile", async () => {
    const folder = newFolder();
    const outer = remote(async (where: string) => {
      const beside = remote((place: string) => raise(place, "ran")).remote(where);
      blockUntil(where, "ran");
      await get(beside);
      return true;
    });
    expect(await get(outer.remote(folder))).toBe(true);
  });

  test("values, nested refs, several returns and errors come back to the worker", async () => {
    const outer = remote(async () => {
      const two = remote((value: number) => [value, value + 1], { numReturns: 2 });
      const inside = remote(async (list: ObjectRef<number>[]) => (await get(list)).length);
      const throwing = remote((_value: number): number => {
        throw new Error("as asked");
      });
      const large = remote((bytes: number) => new Uint8Array(bytes).fill(7));
      const [left, right] = two.remote(read.remote(4));
      const failed = throwing.remote(left as ObjectRef<number>);
      const after = square.remote(failed);
      const buffer = large.remote(300_000);
      const length = remote((value: Uint8Array) => value.length + (value[9] ?? 0)).remote(buffer);
      const nested = inside.remote([left as ObjectRef<number>, right as ObjectRef<number>]);
      computeFor(50);
      const errors = await Promise.all(
        [failed, after].map((ref) =>
          get(ref).then(
            () => "none",
            (error: Error) => error.name,
          ),
        ),
      );
      return {
        both: await get([left, right] as ObjectRef<number>[]),
        nested: await get(nested),
        length: await get(length),
        errors,
      };
    });
    expect(await get(outer.remote())).toEqual({
      both: [4, 5],
      nested: 2,
      length: 300_007,
      errors: ["TaskError", "TaskError"],
    });
  });

  test("when the worker is killed, what others hold is still made, and the rest is cancelled", async () => {
    const folder = newFolder();
    const box = remote(Box).remote();
    const outer = remote(
      async (where: string, into: typeof box) => {
        const slow = remote(async (place: string) => {
          raise(place, "held runs");
          await new Promise<void>((resolve) => {
            const look = setInterval(() => {
              if (!isRaised(place, "go")) return;
              clearInterval(look);
              resolve();
            }, 5);
          });
          return 20;
        });
        const forgotten = remote(
          async (place: string) => {
            runtimeContext().signal.addEventListener("abort", () => raise(place, "told"));
            raise(place, "forgotten runs");
            await new Promise(() => {});
          },
          { numCpus: 0 },
        );
        const held = sum.remote(slow.remote(where), 1);
        forgotten.remote(where);
        blockUntil(where, "held runs");
        blockUntil(where, "forgotten runs");
        await get(into.put.remote([held]));
        raise(where, "handed on");
        blockUntil(where, "die");
        process.kill(process.pid, "SIGKILL");
        blockUntil(where, "never");
      },
      { maxRetries: 0 },
    ).remote(folder, box);
    await raised(folder, "handed on");
    raise(folder, "die");
    expect((await errorOf(outer)).code).toBe("WORKER_DIED");
    await raised(folder, "told");
    raise(folder, "go");
    const [held] = await get(box.take.remote());
    expect(await get(held as ObjectRef<number>)).toBe(21);
  });

  test("cancelling a task that computes cancels what it has handed over", async () => {
    const folder = newFolder();
    const outer = remote((where: string) => {
      const child = remote(
        async (place: string, name: string) => {
          runtimeContext().signal.addEventListener("abort", () => note(place, name));
          raise(place, `${name} runs`);
          await new Promise(() => {});
        },
        { numCpus: 0 },
      );
      const children = ["a", "b"].map((name) => child.remote(where, name));
      const queued = children.map((ref) => square.remote(ref as unknown as ObjectRef<number>));
      for (;;) if (queued.length === 0) break;
    }).remote(folder);
    await raised(folder, "a runs");
    await raised(folder, "b runs");
    await cancel(outer);
    expect((await errorOf(outer)).code).toBe("TASK_CANCELLED");
    await eventually(() => notes(folder).length === 2, "both children are told");
    expect(notes(folder).sort()).toEqual(["a", "b"]);
  });

  test("retries of what was handed over go on while the worker computes, and deadlines are kept", async () => {
    const outer = remote(async (where: string) => {
      const failing = remote(
        (place: string) => {
          if (note(place, "try") === 3) raise(place, "third try");
          throw new Error("again");
        },
        { retryExceptions: true, retryDelayMs: 50, maxRetries: 2 },
      ).remote(where);
      const endless = remote(
        () => {
          for (;;);
        },
        { timeoutMs: 200 },
      ).remote();
      blockUntil(where, "third try");
      return Promise.all(
        [failing, endless].map((ref) =>
          get(ref as ObjectRef<unknown>).then(
            () => "none",
            (error: Error & { code: string }) => error.code,
          ),
        ),
      );
    });
    expect(await get(outer.remote(newFolder()))).toEqual(["TASK_FAILED", "TASK_TIMEOUT"]);
  });
});

describe("with one CPU", () => {
  beforeAll(async () => {
    await init({ objectStoreBytes: 64 * 2 ** 20, resources: { cpu: 1 } });
  });
  afterAll(() => shutdown());

  test("a task that submits a graph and computes gets it when it waits, at any depth", async () => {
    const outer = remote(async (depth: number): Promise<number> => {
      const third = submitGraph();
      const deeper = depth > 0 ? outer.remote(depth - 1) : undefined;
      computeFor(100);
      const total = (await get(third)).reduce((left, right) => left + right, 0);
      return total + (deeper ? await get(deeper) : 0);
    });
    expect(await get(outer.remote(2))).toBe(3 * GRAPH_TOTAL);
  });
});
