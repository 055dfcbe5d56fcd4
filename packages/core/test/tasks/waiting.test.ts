import { explain, get, init, map, type ObjectRef, put, release, remote, shutdown, wait } from "mobula";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";
import { blockUntil, errorOf, note, notes, raise, raised } from "./helpers.ts";

const PENDING_MAX = 2_000;

beforeAll(async () => {
  await init({
    objectStoreBytes: 64 * 2 ** 20,
    resources: { cpu: 1 },
    maxPendingTasks: PENDING_MAX,
    infeasibleTimeoutMs: 300,
  });
});
afterAll(() => shutdown());

const quick = remote((value: number) => value);
const held = remote((folder: string) => {
  raise(folder, "runs");
  blockUntil(folder, "go");
  return "held";
});

describe("get", () => {
  test("keeps the order, takes tuples, duplicates and nothing", async () => {
    const one = quick.remote(1);
    expect(await get([one, put("two"), one] as const)).toEqual([1, "two", 1]);
    expect(await get([])).toEqual([]);
  });

  test("two gets of one ref are independent values", async () => {
    const ref = put({ list: [1] });
    const [first, second] = await Promise.all([get(ref), get(ref)]);
    first.list.push(2);
    expect(second.list).toEqual([1]);
  });

  test("the first error rejects, although others are pending", async () => {
    const folder = newFolder();
    const failing = remote(() => {
      throw new Error("first");
    }).remote();
    const pending = held.remote(folder);
    expect((await errorOf(get([pending, failing]))).message).toContain("first");
    raise(folder, "go");
    await get(pending);
  });

  test("a timeout names what it waits for and why", async () => {
    const folder = newFolder();
    const running = held.remote(folder);
    const queued = quick.remote(1);
    await raised(folder, "runs");
    const ofRunning = await errorOf(get(running, { timeoutMs: 30 }));
    expect(ofRunning).toMatchObject({ code: "GET_TIMEOUT", kind: "unavailable" });
    expect(ofRunning.message).toMatch(/30 ms.*1 of 1/);
    expect(ofRunning.message).toMatch(/pid \d+/);
    expect((await errorOf(get([queued, running], { timeoutMs: 30 }))).message).toMatch(/2 of 2.*waits for a worker/);
    expect((await explain(queued)).state).toBe("queued");
    raise(folder, "go");
    expect(await get([running, queued])).toEqual(["held", 1]);
  });

  test("an aborted signal rejects with its reason, before and during", async () => {
    const folder = newFolder();
    const ref = held.remote(folder);
    const reason = new Error("enough");
    expect(await errorOf(get(ref, { signal: AbortSignal.abort(reason) }))).toBe(reason);
    const controller = new AbortController();
    const waiting = errorOf(get(ref, { signal: controller.signal }));
    controller.abort(reason);
    expect(await waiting).toBe(reason);
    raise(folder, "go");
    await get(ref);
  });

  test("a pending get holds its ref", async () => {
    const folder = newFolder();
    const ref = held.remote(folder);
    const value = get(ref);
    release(ref);
    raise(folder, "go");
    expect(await value).toBe("held");
    expect(() => get(ref)).toThrow(expect.objectContaining({ code: "REF_RELEASED" }));
  });

  test("what is no ref is refused", () => {
    expect(() => get(5 as never)).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
    expect(() => get([put(1), Promise.resolve(put(2))] as never)).toThrow(/promise/);
  });
});

describe("wait", () => {
  test("gives what is ready and what is not, both in the order given", async () => {
    const folder = newFolder();
    const done = [put(1), put(2)];
    const pending = held.remote(folder);
    const result = await wait([pending, ...done], { numReturns: 2 });
    expect(result.ready).toEqual(done);
    expect(result.pending).toEqual([pending]);
    expect((await wait([pending, ...done])).ready).toEqual([done[0]]);
    raise(folder, "go");
    expect((await wait([pending, ...done], { numReturns: 3 })).pending).toEqual([]);
  });

  test("a timeout gives what there is; a failed task is ready", async () => {
    const folder = newFolder();
    const failing = remote(() => {
      throw new Error("ready all the same");
    }).remote();
    expect((await wait([failing])).ready).toEqual([failing]);
    await errorOf(failing);
    const pending = held.remote(folder);
    expect(await wait([pending], { timeoutMs: 20 })).toEqual({ ready: [], pending: [pending] });
    raise(folder, "go");
    await get(pending);
  });

  test.each([
    [
      "the same ref twice",
      () => {
        const ref = put(1);
        return wait([ref, ref]);
      },
    ],
    ["numReturns below 1", () => wait([put(1)], { numReturns: 0 })],
    ["numReturns above the number of refs", () => wait([put(1)], { numReturns: 2 })],
    ["what is no ref", () => wait([1 as never])],
  ])("%s is refused", async (_name, call) => {
    expect((await errorOf(call())).code).toBe("INVALID_OPTION");
  });
});

describe("nested tasks with one CPU", () => {
  const descend = remote(async (depth: number): Promise<number> => {
    if (depth === 0) return 0;
    return 1 + (await get(descend.remote(depth - 1)));
  });

  test("go to any depth", async () => {
    expect(await get(descend.remote(12))).toBe(12);
  });

  test("many parents with many children each finish", async () => {
    const parent = remote(async (value: number) => {
      const parts = await get([1, 2, 3].map((factor) => quick.remote(value * factor)));
      return parts.reduce((sum, part) => sum + part, 0);
    });
    const values = Array.from({ length: 12 }, (_, at) => at);
    expect(await get(values.map((value) => parent.remote(value)))).toEqual(values.map((value) => value * 6));
  });

  test("wait, two gets of one ref and a get that nobody awaits give the CPU up and take it back", async () => {
    const parent = remote(async () => {
      const refs = [quick.remote(1), quick.remote(2)];
      await wait(refs, { numReturns: 2 });
      const third = quick.remote(3);
      const [left, right] = await Promise.all([get(third), get(third)]);
      void get(quick.remote(4)).catch(() => {});
      return left + right;
    });
    expect(await get([parent.remote(), parent.remote(), parent.remote()])).toEqual([6, 6, 6]);
    expect(await get(quick.remote(1))).toBe(1);
  });

  test("a parent waits for a task that its driver submitted behind it", async () => {
    const folder = newFolder();
    const reader = remote(async (where: string, boxed: ObjectRef<number>[]) => {
      raise(where, "runs");
      return get(boxed[0] as ObjectRef<number>);
    });
    const go = held.remote(folder);
    const late = remote((_text: string) => 11).remote(go);
    const reading = Array.from({ length: 5 }, () => reader.remote(folder, [late]));
    raise(folder, "go");
    expect(await get(reading)).toEqual([11, 11, 11, 11, 11]);
  });
});

describe("order and limits", () => {
  test("higher priority goes first, as soon as there is room", async () => {
    const folder = newFolder();
    const log = remote((where: string, line: string) => note(where, line));
    const blocking = held.remote(folder);
    await raised(folder, "runs");
    const refs = [
      ...Array.from({ length: 5 }, () => log.options({ priority: -5 }).remote(folder, "low")),
      ...Array.from({ length: 5 }, () => log.remote(folder, "normal")),
      ...Array.from({ length: 5 }, () => log.options({ priority: 10 }).remote(folder, "high")),
    ];
    // The node has heard of all of them when it has answered.
    expect((await explain(refs.at(-1) as ObjectRef)).state).toBe("queued");
    raise(folder, "go");
    await get([blocking, ...refs]);
    const lines = notes(folder);
    expect(lines.slice(0, 5)).toEqual(["high", "high", "high", "high", "high"]);
    expect(lines.slice(10)).toEqual(["low", "low", "low", "low", "low"]);
  });

  test("quick tasks behind a long one are taken back and run elsewhere", async () => {
    const folder = newFolder();
    const sometimes = remote(
      (where: string, isLong: boolean) => {
        if (isLong) {
          note(where, "long");
          const until = performance.now() + 20;
          while (performance.now() < until);
          blockUntil(where, "go");
        }
        return isLong;
      },
      { numCpus: 0.5 },
    );
    // Known to be quick, so that many are sent ahead; seen by both workers to be long, so that results do not wait for the next.
    const long = [sometimes.remote(folder, true), sometimes.remote(folder, true)];
    await eventually(() => notes(folder).length === 2, "both workers run a long one");
    raise(folder, "go");
    await get(long);
    await get(Array.from({ length: 300 }, () => sometimes.remote(folder, false)));
    const other = newFolder();
    const refs = Array.from({ length: 400 }, (_, at) => sometimes.remote(other, at === 7));
    await get(refs.filter((_, at) => at !== 7));
    raise(other, "go");
    expect(await get(refs[7] as ObjectRef<boolean>)).toBe(true);
  });

  test("past maxPendingTasks .remote() throws, and works again when there is room; map waits instead", async () => {
    const folder = newFolder();
    const blocking = held.remote(folder);
    await raised(folder, "runs");
    const refs: ObjectRef<number>[] = [];
    const submit = (): void => {
      for (let at = 0; at <= PENDING_MAX; at++) refs.push(quick.remote(at));
    };
    expect(submit).toThrow(expect.objectContaining({ code: "PENDING_TASKS", kind: "exhausted" }));
    expect(submit).toThrow(/map\(\)/);
    expect(refs.length).toBeLessThan(PENDING_MAX);
    raise(folder, "go");
    await get([blocking, ...refs]);
    expect(await get(quick.remote(1))).toBe(1);
    let last = -1;
    for await (const value of map(
      quick,
      Array.from({ length: PENDING_MAX + 500 }, (_, at) => at),
    ))
      last = value;
    expect(last).toBe(PENDING_MAX + 499);
  });

  test("a demand that can never be met is an error, naming it", async () => {
    const huge = quick.options({ numCpus: 64, name: "huge" });
    const error = await errorOf(huge.remote(1));
    expect(error).toMatchObject({ code: "INFEASIBLE", kind: "invalid" });
    expect(error.message).toMatch(/64/);
    expect((await errorOf(huge.remote(2))).code).toBe("INFEASIBLE");
  });

  test("calls of two functions that take turns wait for nobody's idle time", async () => {
    const other = quick.options({ priority: 1 });
    await get([quick.remote(0), other.remote(0)]);
    const startedAt = performance.now();
    for (let at = 0; at < 10; at++) await get(at % 2 === 0 ? quick.remote(at) : other.remote(at));
    expect(performance.now() - startedAt).toBeLessThan(2_500);
  });
});

describe("failures that nobody reads", () => {
  const written: string[] = [];
  const spy = vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    written.push(String(text));
    return true;
  });
  const rejections: unknown[] = [];
  const onRejection = (error: unknown): void => void rejections.push(error);
  process.on("unhandledRejection", onRejection);
  afterEach(() => written.splice(0));
  afterAll(() => {
    spy.mockRestore();
    process.removeListener("unhandledRejection", onRejection);
  });

  const collect = (): void => (globalThis as { gc?: () => void }).gc?.();

  test("warn once, with the function's name, and are no unhandledRejection", async () => {
    const folder = newFolder();
    const forgotten = remote(
      (where: string) => {
        note(where, "ran");
        throw new Error("lost words");
      },
      { name: "forgotten" },
    );
    for (let at = 0; at < 3; at++) forgotten.remote(folder);
    await eventually(() => notes(folder).length === 3, "all have failed");
    await eventually(() => {
      collect();
      return written.some((text) => /forgotten.*lost words/.test(text));
    }, "a warning");
    await get(quick.remote(1));
    expect(written.filter((text) => text.includes("forgotten"))).toHaveLength(1);
    expect(rejections).toEqual([]);
  });

  test("do not warn when they were read, passed on or cancelled", async () => {
    const seen = remote(
      () => {
        throw new Error("seen");
      },
      { name: "seen" },
    );
    await (async () => {
      await errorOf(seen.remote());
      await errorOf(remote((value: unknown) => value).remote(seen.remote()));
      const folder = newFolder();
      const ref = held.options({ name: "seen" }).remote(folder);
      const { cancel } = await import("mobula");
      await cancel(ref);
      raise(folder, "go");
    })();
    for (let round = 0; round < 5; round++) {
      collect();
      await get(quick.remote(round));
    }
    expect(written.filter((text) => text.includes("seen"))).toEqual([]);
  });
});
