import { get, init, nodes, type ObjectRef, remote, runtimeContext, shutdown } from "mobula";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";
import { blockUntil, type DetailedError, errorOf, isAlive, note, notes, raise, raised } from "./helpers.ts";

beforeAll(async () => {
  await init({ objectStoreBytes: 64 * 2 ** 20, resources: { cpu: 2 } });
});
afterAll(() => shutdown());

/** Ends its process in the way given in the first `times` attempts. */
const fragile = remote((folder: string, times: number, how: "exit" | "kill") => {
  const { attempt } = runtimeContext();
  note(folder, `attempt ${attempt}`);
  if (attempt < times) {
    if (how === "exit") process.exit(7);
    process.kill(process.pid, "SIGKILL");
  }
  return attempt;
});

describe("system failures", () => {
  test.each(["exit", "kill"] as const)(
    "a task whose process ends by %s is run again, its attempts counted",
    async (how) => {
      const folder = newFolder();
      expect(await get(fragile.remote(folder, 2, how))).toBe(2);
      expect(notes(folder)).toEqual(["attempt 0", "attempt 1", "attempt 2"]);
    },
  );

  test("the default is 3 retries; then the error says how the process ended", async () => {
    const folder = newFolder();
    const error = await errorOf(fragile.remote(folder, 10, "exit"));
    expect(error).toMatchObject({ name: "WorkerDiedError", code: "WORKER_DIED", kind: "lost" });
    expect(error.message).toMatch(/fragile|anonymous/);
    expect(error.message).toMatch(/pid \d+/);
    expect(error.message).toMatch(/4 attempts/);
    expect(error.message).toMatch(/exit code 7/);
    expect(notes(folder)).toHaveLength(4);
  });

  test("maxRetries: 0 runs a task once, and the message names the signal and the last words", async () => {
    const crash = remote(
      () => {
        console.error("the last words");
        process.kill(process.pid, "SIGKILL");
      },
      { maxRetries: 0 },
    );
    const error = await errorOf(crash.remote());
    expect(error.message).toContain("SIGKILL");
    expect(error.message).toContain("the last words");
  });

  test("maxRetries: -1 goes on until it succeeds", async () => {
    const folder = newFolder();
    expect(await get(fragile.options({ maxRetries: -1 }).remote(folder, 6, "kill"))).toBe(6);
  });

  test("a task that a dead worker had not begun loses nothing, although it may not be retried", async () => {
    const folder = newFolder();
    const killer = remote((where: string) => {
      blockUntil(where, "go");
      process.kill(process.pid, "SIGKILL");
    });
    const innocent = remote(() => runtimeContext().attempt >= 0, { maxRetries: 0 });
    await get(Array.from({ length: 50 }, () => innocent.remote()));
    const killers = [killer, killer].map((each) => each.options({ maxRetries: 0 }).remote(folder));
    const others = Array.from({ length: 500 }, () => innocent.remote());
    raise(folder, "go");
    expect((await get(others)).every(Boolean)).toBe(true);
    for (const ref of killers) expect((await errorOf(ref)).code).toBe("WORKER_DIED");
  });

  test("what had finished before a task ended the process has finished", async () => {
    const folder = newFolder();
    const once = remote(
      (where: string, isLast: boolean) => {
        note(where, "ran");
        if (isLast) process.exit(1);
      },
      { maxRetries: 0 },
    );
    await get(once.remote(folder, false));
    const refs = Array.from({ length: 20 }, (_, at) => once.remote(folder, at === 19));
    const outcomes = await Promise.allSettled(refs.map((ref) => get(ref)));
    expect(outcomes.filter(({ status }) => status === "rejected")).toHaveLength(1);
    expect(notes(folder)).toHaveLength(21);
  });

  test("a stored result of a worker that dies later stays", async () => {
    const make = remote(() => [process.pid, new Uint8Array(400_000).fill(5)], { numReturns: 2 });
    const [pid, bytes] = make.remote() as unknown as [ObjectRef<number>, ObjectRef<Uint8Array>];
    process.kill(await get(pid), "SIGKILL");
    expect((await get(bytes))[399_999]).toBe(5);
  });
});

describe("exceptions", () => {
  class Passing extends Error {}
  class VeryPassing extends Passing {}

  const moody = (options: object) =>
    remote(
      (folder: string, times: number) => {
        const { attempt } = runtimeContext();
        note(folder, String(Date.now()));
        if (attempt < times) throw new VeryPassing(`attempt ${attempt}`);
        return attempt;
      },
      options as { maxRetries?: number },
    );

  test("are not retried by default", async () => {
    const folder = newFolder();
    expect((await errorOf(moody({}).remote(folder, 1))).cause).toBeInstanceOf(VeryPassing);
    expect(notes(folder)).toHaveLength(1);
  });

  test.each([
    ["true", true],
    ["a class, captured from the program, and its subclasses", [RangeError, Passing]],
    ["a function", (error: Error) => error.message.startsWith("attempt")],
  ])("are retried with retryExceptions: %s", async (_name, retryExceptions) => {
    expect(await get(moody({ retryExceptions }).remote(newFolder(), 2))).toBe(2);
  });

  test.each([
    ["other classes", [RangeError]],
    ["a function that says no", () => false],
    [
      "a function that throws",
      () => {
        throw new Error("confused");
      },
    ],
  ])("are not retried with %s", async (_name, retryExceptions) => {
    const folder = newFolder();
    await errorOf(moody({ retryExceptions }).remote(folder, 1));
    expect(notes(folder)).toHaveLength(1);
  });

  test("the last error is the one that is told, after maxRetries", async () => {
    const error = await errorOf(moody({ retryExceptions: true, maxRetries: 2 }).remote(newFolder(), 9));
    expect(error.message).toContain("attempt 2");
  });

  test("retryDelayMs passes between attempts", async () => {
    const folder = newFolder();
    await get(moody({ retryExceptions: true, retryDelayMs: 150 }).remote(folder, 1));
    const [first, second] = notes(folder).map(Number);
    expect((second ?? 0) - (first ?? 0)).toBeGreaterThanOrEqual(145);
  });
});

describe("timeoutMs", () => {
  test("ends the attempt and its process, and is not retried", async () => {
    const folder = newFolder();
    const slow = remote(
      async (where: string) => {
        note(where, String(process.pid));
        await new Promise(() => {});
      },
      { timeoutMs: 100, retryExceptions: true, name: "slow" },
    );
    const error = await errorOf(slow.remote(folder));
    expect(error).toMatchObject({ code: "TASK_TIMEOUT", kind: "unavailable" });
    expect(error.message).toMatch(/^slow did not finish within its timeoutMs of 100 ms: slow was sent to worker/);
    expect(error.message).toMatch(/slow.*100 ms/);
    const pid = Number(notes(folder)[0]);
    await eventually(() => !isAlive(pid), "its process ends");
    expect(notes(folder)).toHaveLength(1);
  });

  test("counts from the start of the attempt, not from the submission", async () => {
    const folder = newFolder();
    const block = remote((where: string) => blockUntil(where, "go"));
    const quick = remote(() => "in time", { timeoutMs: 600 });
    const blocks = [block.remote(folder), block.remote(folder)];
    const refs = Array.from({ length: 20 }, () => quick.remote());
    // One that needs no CPU begins after they were submitted; when its time is up, they have waited longer than theirs.
    const clock = remote(() => new Promise(() => {}), { timeoutMs: 600, numCpus: 0 });
    expect((await errorOf(clock.remote())).code).toBe("TASK_TIMEOUT");
    raise(folder, "go");
    await get(blocks);
    expect(new Set(await get(refs))).toEqual(new Set(["in time"]));
  });

  test("does not touch those that were sent to the same worker", async () => {
    const folder = newFolder();
    const tasks = remote(
      (where: string, at: number) => {
        note(where, String(at));
        if (at === 3) for (;;);
        return at;
      },
      { timeoutMs: 800, maxRetries: 0 },
    );
    const outcomes = await Promise.allSettled(Array.from({ length: 12 }, (_, at) => get(tasks.remote(folder, at))));
    expect(outcomes.map(({ status }) => status === "fulfilled")).toEqual(
      Array.from({ length: 12 }, (_, at) => at !== 3),
    );
    expect(((outcomes[3] as PromiseRejectedResult).reason as DetailedError).code).toBe("TASK_TIMEOUT");
    expect(notes(folder)).toHaveLength(12);
  });
});

describe("maxCalls", () => {
  test("a worker runs a function so many times and no more", async () => {
    const pid = remote(() => process.pid, { maxCalls: 3 });
    const pids = await get(Array.from({ length: 12 }, () => pid.remote()));
    const runs = new Map<number, number>();
    for (const each of pids) runs.set(each, (runs.get(each) ?? 0) + 1);
    expect(Math.max(...runs.values())).toBeLessThanOrEqual(3);
    for (const each of runs.keys()) await eventually(() => !isAlive(each) || (runs.get(each) ?? 0) < 3, "it ends");
  });

  test("calls are counted although the worker was idle in between", async () => {
    const pid = remote(() => process.pid, { maxCalls: 2 });
    const first = await get(pid.remote());
    await eventually(async () => (await nodes())[0]?.available.cpu === 2, "its lease has gone back");
    const more = [await get(pid.remote()), await get(pid.remote()), await get(pid.remote())];
    expect(more.filter((each) => each === first).length).toBeLessThanOrEqual(1);
    expect(new Set(more).size).toBeGreaterThan(1);
  });
});

test("a dead worker's task that waits for others is run again with them", async () => {
  const folder = newFolder();
  const child = remote((where: string) => note(where, "child"));
  const parent = remote(async (where: string) => {
    await get(child.remote(where));
    if (runtimeContext().attempt === 0) process.kill(process.pid, "SIGKILL");
    await get(child.remote(where));
    raise(where, "done");
    return runtimeContext().attempt;
  });
  expect(await get(parent.remote(folder))).toBe(1);
  await raised(folder, "done");
  expect(notes(folder)).toHaveLength(3);
});
