import { cancel, get, init, type ObjectRef, put, remote, runtimeContext, shutdown, wait } from "mobula";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";
import { blockUntil, errorOf, isAlive, note, notes, raise, raised } from "./helpers.ts";

beforeAll(async () => {
  await init({ objectStoreBytes: 64 * 2 ** 20, resources: { cpu: 1 } });
});
afterAll(() => shutdown());

const block = remote((folder: string) => {
  raise(folder, "blocks");
  blockUntil(folder, "go");
});
const run = remote((folder: string, line: string) => {
  note(folder, line);
  return process.pid;
});
const pidOf = remote(() => process.pid);

describe("before it runs", () => {
  test("a queued task is dropped and never runs", async () => {
    const folder = newFolder();
    const blocking = block.remote(folder);
    const queued = Array.from({ length: 5 }, (_, at) => run.remote(folder, String(at)));
    await raised(folder, "blocks");
    await cancel(queued[2] as ObjectRef);
    expect(await errorOf(queued[2] as ObjectRef)).toMatchObject({ code: "TASK_CANCELLED", kind: "cancelled" });
    raise(folder, "go");
    await get([blocking, ...queued.filter((_, at) => at !== 2)]);
    expect(notes(folder).sort()).toEqual(["0", "1", "3", "4"]);
  });

  test("a task that waits for its arguments is dropped, and what depends on it fails with the reason", async () => {
    const folder = newFolder();
    const gate = remote((where: string) => {
      blockUntil(where, "go");
      return "argument";
    }).remote(folder);
    const waiting = run.remote(folder, gate);
    const dependent = remote((pid: number) => pid).remote(waiting);
    await cancel(waiting);
    expect((await errorOf(waiting)).code).toBe("TASK_CANCELLED");
    expect((await errorOf(dependent)).cause).toMatchObject({ code: "TASK_CANCELLED" });
    raise(folder, "go");
    await get(gate);
    await get(pidOf.remote());
    expect(notes(folder)).toEqual([]);
  });

  test("a task that waits for its next attempt is not tried again", async () => {
    const folder = newFolder();
    const failing = remote(
      (where: string) => {
        note(where, "ran");
        throw new Error("again");
      },
      { retryExceptions: true, retryDelayMs: 60_000 },
    ).remote(folder);
    await eventually(() => notes(folder).length === 1, "the first attempt");
    await cancel(failing);
    expect((await errorOf(failing)).code).toBe("TASK_CANCELLED");
  });

  test("cancelling thousands of queued tasks takes no long time", async () => {
    const folder = newFolder();
    const blocking = block.remote(folder);
    await raised(folder, "blocks");
    const queued = Array.from({ length: 20_000 }, () => pidOf.remote());
    const startedAt = performance.now();
    await Promise.all(queued.map((ref) => cancel(ref)));
    expect((await errorOf(queued.at(-1) as ObjectRef)).code).toBe("TASK_CANCELLED");
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    raise(folder, "go");
    await get(blocking);
    expect(await get(pidOf.remote())).toBeGreaterThan(0);
  });

  test("cancelling what has ended changes nothing", async () => {
    const ref = put(1);
    await cancel(ref);
    expect(await get(ref)).toBe(1);
    const done = pidOf.remote();
    const pid = await get(done);
    await cancel(done);
    expect(await get(done)).toBe(pid);
  });
});

describe("while it runs", () => {
  test("an async task gets its signal; the ref rejects at once", async () => {
    const folder = newFolder();
    const patient = remote(async (where: string) => {
      const { signal } = runtimeContext();
      // Once it waits: before, the cancel would break it.
      queueMicrotask(() => raise(where, "runs"));
      await new Promise<void>((resolve) => {
        signal.addEventListener("abort", () => {
          note(where, (signal.reason as { code: string }).code);
          resolve();
        });
      });
      return process.pid;
    });
    const ref = patient.remote(folder);
    await raised(folder, "runs");
    await cancel(ref);
    expect((await errorOf(ref)).code).toBe("TASK_CANCELLED");
    await eventually(() => notes(folder)[0] === "TASK_CANCELLED", "the signal is aborted");
  });

  test("its own pending gets reject", async () => {
    const folder = newFolder();
    const waiting = remote(async (where: string) => {
      const never = remote(async () => new Promise(() => {})).remote();
      queueMicrotask(() => raise(where, "runs"));
      try {
        await get(never);
      } catch (error) {
        note(where, (error as { code: string }).code);
      }
    });
    const ref = waiting.remote(folder);
    await raised(folder, "runs");
    await cancel(ref);
    await eventually(() => notes(folder)[0] === "TASK_CANCELLED", "its get rejects");
  });

  test("a synchronous loop ends, and its process serves the next task", async () => {
    const folder = newFolder();
    const loop = remote((where: string) => {
      note(where, String(process.pid));
      for (;;);
    });
    const ref = loop.remote(folder);
    await eventually(() => notes(folder).length > 0, "it loops");
    await cancel(ref);
    expect((await errorOf(ref)).code).toBe("TASK_CANCELLED");
    expect(await get(pidOf.remote())).toBe(Number(notes(folder)[0]));
  });

  test("a function that was quick before and loops now ends too, and harms nothing around it", async () => {
    const folder = newFolder();
    const sometimes = remote((where: string, input: number) => {
      if (input !== 500) return input;
      note(where, String(process.pid));
      for (;;);
    });
    await get(Array.from({ length: 200 }, (_, at) => sometimes.remote(folder, at)));
    const refs = Array.from({ length: 1_000 }, (_, at) => sometimes.remote(folder, at));
    const [stuck] = refs.splice(500, 1);
    await eventually(() => notes(folder).length > 0, "it loops");
    await cancel(stuck as ObjectRef);
    expect((await errorOf(stuck as ObjectRef)).code).toBe("TASK_CANCELLED");
    expect(await get(refs)).toEqual(Array.from({ length: 1_000 }, (_, at) => at).filter((at) => at !== 500));
    expect(await get(pidOf.remote())).toBe(Number(notes(folder)[0]));
    expect(notes(folder)).toHaveLength(1);
  });

  test("a cancel that comes when the task ends hits nothing else", async () => {
    const spin = remote((micros: number) => {
      const end = performance.now() + micros / 1_000;
      while (performance.now() < end);
      return process.pid;
    });
    const pid = await get(pidOf.remote());
    for (let round = 0; round < 300; round++) {
      const first = spin.remote(300);
      const others = [spin.remote(50), spin.remote(50)];
      await wait([first], { timeoutMs: 1 });
      await cancel(first);
      expect(await get(others)).toEqual([pid, pid]);
    }
  });

  test("a loop that prints ends, and what is printed later still leaves", async () => {
    const folder = newFolder();
    const loop = remote((where: string) => {
      note(where, String(process.pid));
      for (;;) process.stdout.write("");
    });
    const print = remote(async () => {
      await new Promise((resolve) => process.stdout.write("", resolve));
      return process.pid;
    });
    for (let round = 1; round <= 5; round++) {
      const ref = loop.remote(folder);
      await eventually(() => notes(folder).length === round, "it loops");
      await cancel(ref);
      expect(await get(print.remote())).toBe(Number(notes(folder)[round - 1]));
    }
  });

  test("a listener of the program for SIGINT changes nothing", async () => {
    const folder = newFolder();
    const loop = remote((where: string) => {
      process.on("SIGINT", () => process.exit(1));
      note(where, String(process.pid));
      for (;;);
    });
    for (let round = 1; round <= 2; round++) {
      const ref = loop.remote(folder);
      await eventually(() => notes(folder).length === round, "it loops");
      await cancel(ref);
      expect(await get(pidOf.remote())).toBe(Number(notes(folder)[0]));
    }
  });

  test("a loop after an await ends by force", async () => {
    const folder = newFolder();
    const loop = remote(async (where: string) => {
      await null;
      note(where, String(process.pid));
      for (;;);
    });
    const ref = loop.remote(folder);
    await eventually(() => notes(folder).length > 0, "it loops");
    await cancel(ref, { force: true });
    expect((await errorOf(ref)).code).toBe("TASK_CANCELLED");
    await eventually(() => !isAlive(Number(notes(folder)[0])), "its process ends");
    expect(await get(pidOf.remote())).toBeGreaterThan(0);
  });

  test("a task that heeds nothing is left to itself, and others run", async () => {
    const deaf = remote(async (where: string) => {
      raise(where, "runs");
      await new Promise(() => {});
    });
    const folder = newFolder();
    const ref = deaf.remote(folder);
    await raised(folder, "runs");
    await cancel(ref);
    expect(await get(pidOf.remote(), { timeoutMs: 10_000 })).toBeGreaterThan(0);
  });

  test("force ends the process, and nothing else of it is lost", async () => {
    const folder = newFolder();
    const deaf = remote(async (where: string) => {
      note(where, String(process.pid));
      await new Promise(() => {});
    });
    const ref = deaf.remote(folder);
    const others = Array.from({ length: 50 }, () => run.options({ maxRetries: 0 }).remote(newFolder(), "other"));
    await eventually(() => notes(folder).length > 0, "it runs");
    await cancel(ref, { force: true });
    const pid = Number(notes(folder)[0]);
    await eventually(() => !isAlive(pid), "its process ends");
    expect((await get(others)).includes(pid)).toBe(false);
    expect(notes(folder)).toHaveLength(1);
  });
});

describe("children", () => {
  const family = (folder: string) =>
    remote(async (where: string) => {
      const { signal } = runtimeContext();
      signal.addEventListener("abort", () => note(where, "parent"));
      const grandchild = remote(async (place: string) => {
        runtimeContext().signal.addEventListener("abort", () => note(place, "grandchild"));
        raise(place, "grandchild runs");
        await new Promise(() => {});
      });
      const child = remote(async (place: string) => {
        runtimeContext().signal.addEventListener("abort", () => note(place, "child"));
        await get(grandchild.remote(place));
      });
      await get(child.remote(where));
    }).remote(folder);

  test("are cancelled with their parent, at any depth", async () => {
    const folder = newFolder();
    const parent = family(folder);
    await raised(folder, "grandchild runs");
    await cancel(parent);
    await eventually(() => notes(folder).length === 3, "all three are told");
    expect(notes(folder).sort()).toEqual(["child", "grandchild", "parent"]);
  });

  test("go on with recursive: false", async () => {
    const folder = newFolder();
    const child = remote((where: string) => {
      raise(where, "child runs");
      blockUntil(where, "go");
      raise(where, "child done");
    });
    const parent = remote(async (where: string) => get(child.remote(where))).remote(folder);
    await raised(folder, "child runs");
    await cancel(parent, { recursive: false });
    expect((await errorOf(parent)).code).toBe("TASK_CANCELLED");
    raise(folder, "go");
    await raised(folder, "child done");
  });

  test("whose refs the parent dropped are cancelled too", async () => {
    const folder = newFolder();
    const parent = remote(async (where: string) => {
      remote(async (place: string) => {
        runtimeContext().signal.addEventListener("abort", () => raise(place, "child told"));
        raise(place, "child runs");
        await new Promise(() => {});
      }).remote(where);
      // The wait gives the CPU to the child; nothing holds its ref.
      const never = remote(async () => new Promise(() => {}), { numCpus: 0 }).remote();
      await get(never);
    }).remote(folder);
    await raised(folder, "child runs");
    await cancel(parent);
    await raised(folder, "child told");
  });
});

test("a ref of another process's task can be cancelled too", async () => {
  const folder = newFolder();
  const make = remote((where: string) => [
    remote(async (place: string) => {
      runtimeContext().signal.addEventListener("abort", () => raise(place, "told"));
      raise(place, "runs");
      await new Promise(() => {});
    }).remote(where),
  ]);
  const [inner] = await get(make.remote(folder));
  await raised(folder, "runs");
  await cancel(inner as unknown as ObjectRef);
  expect((await errorOf(inner as unknown as ObjectRef)).code).toBe("TASK_CANCELLED");
  await raised(folder, "told");
});

test("cancel refuses what is no ref, and unknown options", async () => {
  expect((await errorOf(cancel(5 as never))).code).toBe("INVALID_OPTION");
  expect((await errorOf(cancel(pidOf.remote(), { harder: true } as never))).code).toBe("INVALID_OPTION");
});
