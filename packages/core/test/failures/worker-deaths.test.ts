/** A worker that dies at each stage of a task's life, in each way in which a process can die. */
import { cancel, get, init, nodes, type ObjectRef, put, release, remote, runtimeContext, shutdown, wait } from "mobula";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { isEmpty, until } from "../memory/store-state.ts";
import { newFolder } from "../new-folder.ts";
import { isAlive, raise, raised } from "../tasks/helpers.ts";

const MIB = 2 ** 20;
const collect = globalThis.gc ?? (() => {});

beforeAll(async () => {
  await init({ resources: { cpu: 2 }, objectStoreBytes: 64 * MIB });
});
afterAll(() => shutdown());
// A death leaves nothing in the store and no CPU taken.
afterEach(async () => {
  collect();
  await until(isEmpty);
  await eventually(async () => (await nodes())[0]?.available.cpu === 2, "no CPU is taken");
});

async function killed(pid: number): Promise<void> {
  process.kill(pid, "SIGKILL");
  await eventually(() => !isAlive(pid), `process ${pid} is gone`);
}

/** The error with which a promise rejects, and that it does. */
const failureOf = (promise: Promise<unknown>): Promise<Error & { code: string; kind: string; cause?: unknown }> =>
  promise.then(
    (value) => {
      throw new Error(`it was fulfilled with ${String(value)}`);
    },
    (error) => error,
  );

describe("while it runs", () => {
  test("a task whose worker is killed is run again, and its attempt says so", async () => {
    const task = remote((bytes: Uint8Array) => {
      const { attempt } = runtimeContext();
      if (attempt < 2) process.kill(process.pid, "SIGKILL");
      return [attempt, bytes[MIB]];
    });
    expect(await get(task.remote(put(new Uint8Array(2 * MIB).fill(7))))).toEqual([2, 7]);
  });

  test("without retries left the error has the signal and the worker's last words", async () => {
    const task = remote(
      async () => {
        await new Promise<void>((resolve) => process.stderr.write("these are my last words\n", () => resolve()));
        process.kill(process.pid, "SIGKILL");
      },
      { maxRetries: 1, name: "doomed" },
    );
    const error = await failureOf(get(task.remote()));
    expect(error).toMatchObject({ code: "WORKER_DIED", kind: "lost" });
    expect(error.message).toMatch(/doomed was running on worker \w+ \(pid \d+\) when that died, after 2 attempts/);
    expect(error.message).toMatch(/signal SIGKILL/);
    expect(error.message).toMatch(/these are my last words/);
  });

  test("a native crash is told by its signal", async () => {
    const task = remote(() => process.abort(), { maxRetries: 0 });
    const error = await failureOf(get(task.remote()));
    expect(error).toMatchObject({ code: "WORKER_DIED" });
    expect(error.message).toMatch(/SIGABRT/);
  });

  test("process.exit() is a system failure: retried, and told by its code, also while views of the store live", async () => {
    const leave = (bytes: Uint8Array): number => {
      if (runtimeContext().attempt === 0) process.exit(5);
      return bytes.length;
    };
    const ref = put(new Uint8Array(20 * MIB));
    expect(await get(remote(leave).remote(ref))).toBe(20 * MIB);
    const error = await failureOf(get(remote(leave, { maxRetries: 0 }).remote(ref)));
    expect(error).toMatchObject({ code: "WORKER_DIED" });
    expect(error.message).toMatch(/exit code 5/);
  });

  test("a stray rejection fails the task that runs; an exception that nothing catches ends its worker, with the words in the error", async () => {
    const reject = remote(async () => {
      void Promise.reject(new RangeError("stray"));
      await new Promise(() => {});
    });
    const rejected = await failureOf(get(reject.remote()));
    expect(rejected).toMatchObject({ code: "TASK_FAILED", cause: { name: "RangeError", message: "stray" } });
    const raise = remote(
      async () => {
        setTimeout(() => {
          throw new TypeError("thrown in a timer");
        }, 5);
        await new Promise(() => {});
      },
      { maxRetries: 0 },
    );
    const thrown = await failureOf(get(raise.remote()));
    expect(thrown).toMatchObject({ code: "WORKER_DIED" });
    expect(thrown.message).toMatch(/TypeError: thrown in a timer/);
  });
});

describe("before and after it runs", () => {
  test("tasks queued behind one that kills their worker use up no retry", async () => {
    const task = remote(
      (index: number, last: boolean) => {
        const until = performance.now() + 1;
        while (performance.now() < until);
        if (last && runtimeContext().attempt === 0) process.kill(process.pid, "SIGKILL");
        return index;
      },
      { maxRetries: 0 },
    );
    const refs = Array.from({ length: 400 }, (_, index) => task.remote(index, index === 100));
    const results = await Promise.allSettled(refs.map((ref) => get(ref)));
    const failed = results.flatMap((result, index) => (result.status === "rejected" ? [index] : []));
    expect(failed).toEqual([100]);
  });

  test("a worker that dies right after a task has returned: the result arrives, or is made again", async () => {
    const task = remote((index: number) => {
      if (runtimeContext().attempt === 0) setImmediate(() => process.kill(process.pid, "SIGKILL"));
      return index;
    });
    expect(await get([1, 2, 3, 4].map((index) => task.remote(index)))).toEqual([1, 2, 3, 4]);
  });

  test("what a worker stored and nobody heard of is freed when it dies", async () => {
    const task = remote(() => {
      const ref = put(new Uint8Array(2 * 2 ** 20).fill(6));
      if (runtimeContext().attempt === 0) process.kill(process.pid, "SIGKILL");
      return [ref];
    });
    const [ref] = await get(task.remote());
    if (!ref) throw new Error("a ref was returned");
    expect((await get(ref))[MIB]).toBe(6);
    release(ref);
    // afterEach sees that the store is empty, without the object of the first attempt.
  });

  test("a stored result survives the worker that made it", async () => {
    const task = remote((index: number) => [process.pid, new Uint8Array(MIB).fill(index)], { numReturns: 2 });
    const made = [1, 2, 3].map((index) => task.remote(index) as unknown as [ObjectRef<number>, ObjectRef<Uint8Array>]);
    const refs = made.map(([, bytes]) => bytes);
    await wait(refs, { numReturns: 3 });
    for (const pid of new Set(await get(made.map(([ref]) => ref)))) await killed(pid);
    expect((await get(refs)).map((bytes) => bytes[MIB - 1])).toEqual([1, 2, 3]);
    release(...refs);
  });
});

describe("while it streams", () => {
  test("items come once and in order over the death of their producer, stored ones too", async () => {
    const produce = remote(async function* (count: number) {
      for (let index = 0; index < count; index++) {
        if (index === 7 && runtimeContext().attempt === 0) process.kill(process.pid, "SIGKILL");
        yield index % 2 === 0 ? index : new Uint8Array(200_000).fill(index);
      }
    });
    const seen: number[] = [];
    for await (const value of produce.remote(12).values())
      seen.push(typeof value === "number" ? value : (value[9] ?? -1));
    expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  });

  test("without retries the last item rejects, those before it stay", async () => {
    const produce = remote(
      async function* () {
        yield 1;
        yield 2;
        process.kill(process.pid, "SIGKILL");
        yield 3;
      },
      { maxRetries: 0 },
    );
    const seen: number[] = [];
    const error = await failureOf(
      (async () => {
        for await (const value of produce.remote().values()) seen.push(value);
      })(),
    );
    expect(seen).toEqual([1, 2]);
    expect(error).toMatchObject({ code: "WORKER_DIED" });
  });
});

describe("while it owns what others hold", () => {
  test("objects that it put and returned refs of outlive it", async () => {
    const task = remote(
      () =>
        [process.pid, put(new Uint8Array(MIB).fill(4)), put({ small: 5 })] as [
          number,
          ObjectRef<Uint8Array>,
          ObjectRef<{ small: number }>,
        ],
    );
    const [pid, large, small] = await get(task.remote());
    await killed(pid);
    expect((await get(large))[3]).toBe(4);
    expect(await get(small)).toEqual({ small: 5 });
    release(large, small);
  });

  test("a task that it had submitted and whose ref it returned is finished for who holds that", async () => {
    const task = remote((where: string) => {
      const slow = remote(async () => {
        await raised(where, "go");
        return 5;
      });
      return [process.pid, slow.remote()] as [number, ObjectRef<number>];
    });
    for (let run = 0; run < 3; run++) {
      const folder = newFolder();
      const [pid, inner] = await get(task.remote(folder));
      if (run === 2) await killed(pid);
      raise(folder, "go");
      expect(await get(inner)).toBe(5);
    }
  });

  test("the result of a call that it had made is OWNER_DIED, and nobody waits for ever", async () => {
    const task = remote(() => {
      const actor = remote(
        class {
          never(): Promise<void> {
            return new Promise(() => {});
          }
        },
      ).remote();
      return [process.pid, actor.never.remote()] as [number, ObjectRef<void>];
    });
    const [pid, inner] = await get(task.remote());
    const failure = failureOf(get(inner));
    await killed(pid);
    const error = await failure;
    expect(error).toMatchObject({ code: "OWNER_DIED", kind: "lost" });
  });

  test("what a dead task had submitted does not go on", async () => {
    const parent = remote(
      async (where: string) => {
        const child = remote(async () => {
          raise(where, "child runs");
          await new Promise(() => {});
        });
        const ref = child.remote();
        await raised(where, "child runs");
        process.kill(process.pid, "SIGKILL");
        return await get(ref);
      },
      { maxRetries: 0 },
    );
    expect(await failureOf(get(parent.remote(newFolder())))).toMatchObject({ code: "WORKER_DIED" });
    // afterEach sees that both CPUs are free again.
  });
});

describe("endless loops", () => {
  test("a cancel breaks the loop and keeps the worker; force kills it", async () => {
    const folder = newFolder();
    const loop = remote((where: string, name: string) => {
      raise(where, name);
      for (;;);
    });
    const cancelled = loop.remote(folder, "first");
    await raised(folder, "first");
    await cancel(cancelled);
    expect(await failureOf(get(cancelled))).toMatchObject({ code: "TASK_CANCELLED" });
    const forced = loop.remote(folder, "second");
    await raised(folder, "second");
    await cancel(forced, { force: true });
    expect(await failureOf(get(forced))).toMatchObject({ code: "TASK_CANCELLED" });
  });

  test("timeoutMs ends one", async () => {
    const loop = remote(
      () => {
        for (;;);
      },
      { timeoutMs: 200 },
    );
    const before = performance.now();
    expect(await failureOf(get(loop.remote()))).toMatchObject({ code: "TASK_TIMEOUT" });
    expect(performance.now() - before).toBeLessThan(2_000);
  });
});
