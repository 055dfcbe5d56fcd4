import { cancel, explain, get, init, type ObjectRefStream, put, remote, shutdown, wait } from "mobula";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";
import { raised } from "../tasks/helpers.ts";
import { AnyName, Counter, type DetailedError, Grouped, Moody, Recorder } from "./classes.ts";
import { errorOf, newGate, waitingAt } from "./helpers.ts";

beforeAll(async () => {
  await init({ objectStoreBytes: 64 * 2 ** 20, resources: { cpu: 4 } });
});
afterAll(() => shutdown());

class Pair {
  pair(): [string, string] {
    return ["first", "second"];
  }
}

const behind = remote(async (gate: ReturnType<typeof newGate>, value: number) => {
  await get(gate.pass.remote());
  return value;
});

describe("order", () => {
  test("calls of one caller run in the order submitted", async () => {
    const counter = remote(Counter).remote();
    const values = await get(Array.from({ length: 2_000 }, () => counter.add.remote(1)));
    expect(values).toEqual(Array.from({ length: 2_000 }, (_, index) => index + 1));
  });

  test("a call whose argument is pending holds back those behind it", async () => {
    const gate = newGate();
    const recorder = remote(Recorder).remote();
    const late = behind.remote(gate, 1);
    const name = remote((value: number) => `late ${value}`).remote(late);
    const calls = [recorder.add.remote("first"), recorder.add.remote(name), recorder.add.remote("last")];
    await waitingAt(gate, 1);
    await get(calls[0] as (typeof calls)[0]);
    const { ready } = await wait(calls, { numReturns: 3, timeoutMs: 50 });
    expect(ready).toEqual([calls[0]]);
    gate.open.remote();
    await get(calls);
    expect(await get(recorder.all.remote())).toEqual(["first", "late 1", "last"]);
  });

  test("with a concurrency of 1 a call starts when the one before has settled, async methods included", async () => {
    const counter = remote(Counter).remote();
    const gate = newGate();
    const calls = [counter.addBehind.remote(gate), counter.addBehind.remote(gate), counter.add.remote(10)];
    await waitingAt(gate, 1);
    gate.open.remote();
    expect(await get(calls)).toEqual([1, 2, 12]);
    expect(await get(counter.most.remote())).toBe(1);
  });

  test("callers in different processes each see their own order", async () => {
    const recorder = remote(Recorder).remote();
    const write = remote(async (boxed: { to: typeof recorder }, name: string) => {
      await get(Array.from({ length: 50 }, (_, index) => boxed.to.add.remote(`${name} ${index}`)));
    });
    await get(["a", "b", "c"].map((name) => write.remote({ to: recorder }, name)));
    const entries = await get(recorder.all.remote());
    expect(entries).toHaveLength(150);
    for (const name of ["a", "b", "c"]) {
      const own = entries.filter((entry) => entry.startsWith(name));
      expect(own).toEqual(Array.from({ length: 50 }, (_, index) => `${name} ${index}`));
    }
  });
});

describe("concurrency", () => {
  test("maxConcurrency calls run at once, and not one more", async () => {
    const counter = remote(Counter, { maxConcurrency: 3 }).remote();
    const gate = newGate();
    const calls = Array.from({ length: 5 }, () => counter.addBehind.remote(gate));
    await waitingAt(gate, 3);
    gate.open.remote();
    await get(calls);
    expect(await get(counter.most.remote())).toBe(3);
  });

  test("groups have a concurrency of their own, by class option and by call", async () => {
    const type = remote(Grouped, {
      concurrencyGroups: { io: 2, spare: 1 },
      methods: { fetch: { concurrencyGroup: "io" } },
    });
    const actor = type.remote();
    const gate = newGate();
    const slow = actor.slow.remote(gate);
    const fetches = [actor.fetch.remote(gate), actor.fetch.remote(gate), actor.fetch.remote(gate)];
    await waitingAt(gate, 3);
    expect(await get(actor.quick.options({ concurrencyGroup: "spare" }).remote())).toBe("quick");
    const quick = actor.quick.remote();
    const { pending } = await wait([quick], { timeoutMs: 50 });
    expect(pending).toEqual([quick]);
    expect(await get(gate.waiting.remote())).toBe(3);
    gate.open.remote();
    expect(await get([slow, ...fetches, quick])).toEqual(["slow", "fetched", "fetched", "fetched", "quick"]);
    expect(() => actor.quick.options({ concurrencyGroup: "no" })).toThrow(/io, spare/);
  });

  test("maxPendingCalls is thrown at the call, and is free again when calls have ended", async () => {
    const counter = remote(Counter, { maxPendingCalls: 2 }).remote();
    const gate = newGate();
    const calls = [counter.addBehind.remote(gate), counter.add.remote()];
    expect(() => counter.add.remote()).toThrow(expect.objectContaining({ code: "PENDING_CALLS", kind: "exhausted" }));
    gate.open.remote();
    await get(calls);
    await eventually(async () => {
      try {
        return await get(counter.get.remote());
      } catch (error) {
        if ((error as { code?: string }).code !== "PENDING_CALLS") throw error;
        return undefined;
      }
    }, "a call is accepted again");
  });

  test("maxPendingCalls counts a stream until its generator has ended, however it ends", async () => {
    const type = remote(Counter, { maxPendingCalls: 1 });
    const ways = async (): Promise<string[]> => {
      const counter = type.remote();
      const accepted: string[] = [];
      const expectPending = (): void => {
        try {
          counter.get.remote();
        } catch (error) {
          if ((error as { code?: string }).code === "PENDING_CALLS") return;
          throw error;
        }
        throw new Error(`a stream was not counted as pending after: ${accepted.join(", ")}`);
      };
      const ended = async (stream: ObjectRefStream<number>, how: string): Promise<void> => {
        await wait([stream.completed()]);
        await get(counter.get.remote());
        accepted.push(how);
      };

      const read = counter.count.options({ streamBufferItems: 1 }).remote(20);
      expectPending();
      let taken = 0;
      for await (const _ of read.values()) if (++taken < 10) expectPending();
      await ended(read, "read to its end");

      const cancelled = counter.count.options({ streamBufferItems: 1 }).remote(1_000);
      await cancelled.next();
      expectPending();
      await cancel(cancelled);
      await ended(cancelled, "cancelled");

      const left = counter.count.options({ streamBufferItems: 1 }).remote(1_000);
      for await (const _ of left.values()) break;
      await ended(left, "left");

      const failing = counter.countThenFail.remote(1);
      expectPending();
      await ended(failing, "failed");
      return accepted;
    };
    const all = ["read to its end", "cancelled", "left", "failed"];
    expect(await ways()).toEqual(all);
    // Where the owner is on the same thread.
    expect(await get(remote(ways).remote())).toEqual(all);
  });
});

describe("values and errors", () => {
  test("an error keeps its class, its fields and its cause", async () => {
    const counter = remote(Counter).remote(7);
    for (const ref of [counter.fail.remote("sync"), counter.failLater.remote("async")]) {
      const error = await errorOf(ref);
      expect(error).toMatchObject({ name: "TaskError", code: "TASK_FAILED", kind: "task" });
      expect(error.message).toMatch(/Counter\.fail.*pid \d+.*attempt 0/);
      const cause = error.cause as DetailedError;
      expect(cause).toMatchObject({ name: "DetailedError", detail: { at: 7 } });
      expect(cause.cause).toBeInstanceOf(RangeError);
    }
    expect(await get(counter.get.remote())).toBe(7);
  });

  test("a method's name is what its calls are called in errors and explanations", async () => {
    const type = remote(Counter, { methods: { fail: { name: "giving up" }, count: { name: "counting" } } });
    const counter = type.remote();
    expect((await errorOf(counter.fail.remote("no"))).message).toMatch(/^giving up failed \(.*\): no$/);
    const named = counter.fail.options({ name: "only this once" });
    expect((await errorOf(named.remote("no"))).message).toMatch(/^only this once failed/);
    expect((await errorOf(counter.failLater.remote("no"))).message).toMatch(/^Counter\.failLater failed/);
    // A handle that was passed on says the same of its methods.
    const fail = remote((boxed: { to: typeof counter }) => get(boxed.to.fail.remote("no")));
    expect((await errorOf(fail.remote({ to: counter }))).message).toContain("giving up failed");
    const gate = newGate();
    const waiting = counter.addBehind.options({ name: "waiting at the gate" }).remote(gate);
    await waitingAt(gate, 1);
    expect((await explain(waiting)).sentences.join(" ")).toMatch(/^waiting at the gate was sent to/);
    const late = counter.add.options({ name: "too late", timeoutMs: 20 }).remote();
    expect((await errorOf(late)).message).toMatch(
      /^too late did not finish within its timeoutMs of 20 ms: too late was sent to .*waits there behind 1 call/,
    );
    gate.open.remote();
    expect(await get(waiting)).toBe(1);
    expect((await explain(waiting)).sentences.join(" ")).toContain("waiting at the gate ran");
  });

  test("a failed argument fails the call, and the actor goes on", async () => {
    const counter = remote(Counter).remote();
    const bad = remote((): number => {
      throw new TypeError("no number");
    }).remote();
    const error = await errorOf(counter.add.remote(bad));
    expect(error).toMatchObject({ code: "TASK_FAILED" });
    expect((error.cause as Error).cause).toBeInstanceOf(TypeError);
    expect(await get(counter.add.remote(1))).toBe(1);
  });

  test("large arguments and results, refs as arguments and inside them", async () => {
    const counter = remote(Counter).remote(3);
    const values = new Float64Array(500_000).fill(0.5);
    expect(await get(counter.sum.remote(values))).toBe(250_000);
    expect(await get(counter.sum.remote(put(values)))).toBe(250_000);
    const bytes = await get(counter.bytes.remote(2_000_000));
    expect([bytes.length, bytes[0], bytes.at(-1)]).toEqual([2_000_000, 3, 3]);
    expect(await get(counter.refsInside.remote({ ref: put(11) }))).toBe(11);
    expect(await get(counter.refsInside.remote({ ref: counter.get.remote() as never }))).toBe(3);
  });

  test("several returns, and too few of them", async () => {
    const counter = remote(Counter).remote();
    const [word, number] = counter.pair.options({ numReturns: 2 }).remote();
    expect(await get([word, number] as const)).toEqual(["two", 2]);
    const refs = counter.pair.options({ numReturns: 3 }).remote() as unknown as [typeof word, typeof word, typeof word];
    for (const ref of refs) expect((await errorOf(ref)).message).toMatch(/numReturns 3/);
  });

  test("methods may have any name, and may be fields", async () => {
    const actor = remote(AnyName).remote();
    const calls = [actor.client, actor.meta, actor.num, actor.actorId, actor.check, actor.arrow];
    const names = await get(calls.map((method) => method.remote()));
    expect(names).toEqual(["client", "meta", "num", "actorId", "check", "arrow"]);
  });

  test("an unknown method rejects, and names the class", async () => {
    const counter = remote(Counter).remote() as unknown as Record<string, { remote(): ReturnType<typeof put> }>;
    const error = await errorOf(counter.missing?.remote() as never);
    expect(error.message).toMatch(/Counter has no method missing/);
  });
});

describe("streams", () => {
  test("a generator method gives a stream", async () => {
    const counter = remote(Counter).remote();
    const values: number[] = [];
    for await (const value of counter.count.remote(40).values()) values.push(value);
    expect(values).toEqual(Array.from({ length: 40 }, (_, index) => index));
  });

  test("a paused stream holds neither the serial actor's calls nor runs ahead of its reader", async () => {
    const counter = remote(Counter).remote();
    const stream = counter.count.options({ streamBufferItems: 4 }).remote(1_000);
    await eventually(async () => (await get(counter.get.remote())) >= 4, "the producer has filled its buffer");
    expect(await get(counter.get.remote())).toBeLessThanOrEqual(5);
    let seen = 0;
    for await (const value of stream.values()) {
      expect(value).toBe(seen++);
      if (seen === 100) break;
    }
    expect(await get(counter.pid.remote())).toBeGreaterThan(0);
  });

  test("an error is the stream's last ref", async () => {
    const counter = remote(Counter).remote();
    const stream = counter.countThenFail.remote(3);
    const values: number[] = [];
    const reading = (async () => {
      for await (const value of stream.values()) values.push(value);
    })();
    await expect(reading).rejects.toMatchObject({ code: "TASK_FAILED", cause: { name: "DetailedError" } });
    expect(values).toEqual([0, 1, 2]);
  });
});

describe("a method that is a field", () => {
  test("has what options say of it, and the actor's retries", async () => {
    class Fields {
      attempts = 0;
      readonly slow = () => new Promise<never>(() => {});
      readonly flaky = (): number => {
        if (++this.attempts < 3) throw new Error("not yet");
        return this.attempts;
      };
    }
    const type = remote(Fields, {
      maxTaskRetries: 2,
      maxConcurrency: 2,
      methods: { slow: { timeoutMs: 100, name: "the slow one" } },
    });
    const actor = type.remote();
    const flaky = actor.flaky.options({ retryExceptions: true }).remote();
    expect(await errorOf(actor.slow.remote())).toMatchObject({
      code: "TASK_TIMEOUT",
      message: expect.stringContaining("the slow one"),
    });
    expect(await get(flaky)).toBe(3);
  });
});

describe("options of one call", () => {
  test("hold for it although thousands of others were given since", async () => {
    const counter = remote(Counter).remote();
    const first = counter.fail.options({ name: "the first" });
    const names = Array.from({ length: 2_500 }, (_, index) => `call ${index}`);
    const messages = names.map(async (name) => (await errorOf(counter.fail.options({ name }).remote("x"))).message);
    for (const [index, message] of (await Promise.all(messages)).entries()) {
      expect(message).toContain(`${names[index]} failed`);
    }
    expect((await errorOf(first.remote("x"))).message).toContain("the first failed");
    expect((await errorOf(counter.fail.remote("x"))).message).toContain("Counter.fail failed");
  });
});

describe("retries of errors", () => {
  test("retryExceptions repeats a call in its place", async () => {
    const type = remote(Counter, { maxTaskRetries: 5, methods: { flaky: { retryExceptions: true } } });
    const counter = type.remote();
    const calls = [counter.flaky.remote(3), counter.add.remote(100)] as const;
    expect(await get(calls)).toEqual([{ attempts: 4, attempt: 3 }, 104]);
  });

  test("no more often than maxTaskRetries, and only what the rule names", async () => {
    const counter = remote(Counter).remote();
    const flaky = counter.flaky.options({ maxTaskRetries: 2, retryExceptions: true, retryDelayMs: 1 });
    expect((await errorOf(flaky.remote(10))).cause).toMatchObject({ detail: { at: 3 } });
    const other = counter.flaky.options({ maxTaskRetries: 2, retryExceptions: [TypeError] });
    expect((await errorOf(other.remote(10))).cause).toMatchObject({ detail: { at: 4 } });
  });
});

describe("cancelling", () => {
  test("a call that waits is dropped", async () => {
    const counter = remote(Counter).remote();
    const gate = newGate();
    const running = counter.addBehind.remote(gate);
    const waiting = counter.add.remote(1_000);
    const last = counter.add.remote(1);
    await waitingAt(gate, 1);
    await cancel(waiting);
    expect(await errorOf(waiting)).toMatchObject({ code: "TASK_CANCELLED", kind: "cancelled" });
    gate.open.remote();
    expect(await get([running, last])).toEqual([1, 2]);
  });

  test("a running call gets its signal, and its ref rejects at once", async () => {
    const counter = remote(Counter).remote();
    const gate = newGate();
    const running = counter.untilAborted.remote(gate);
    await waitingAt(gate, 1);
    await cancel(running);
    expect(await errorOf(running)).toMatchObject({ code: "TASK_CANCELLED" });
    expect(await get(counter.get.remote())).toBe(-1);
    gate.open.remote();
  });

  test("a synchronous loop is interrupted, and the actor keeps its state and its process", async () => {
    const counter = remote(Counter).remote(41);
    const pid = await get(counter.pid.remote());
    const spinning = counter.spin.remote();
    const after = counter.get.remote();
    await eventually(async () => {
      const explanation = await explain(spinning);
      return explanation.sentences.length > 0;
    }, "the call is under way");
    await cancel(spinning);
    expect(await errorOf(spinning)).toMatchObject({ code: "TASK_CANCELLED" });
    expect([41, 42]).toContain(await get(after));
    expect(await get(counter.pid.remote())).toBe(pid);
  });

  test("a method that was quick before and loops now is interrupted; calls around it, in the same actor, are not", async () => {
    const moody = remote(Moody).remote();
    const folder = newFolder();
    await get(Array.from({ length: 200 }, () => moody.step.remote(folder, false)));
    const before = Array.from({ length: 50 }, () => moody.step.remote(folder, false));
    const stuck = moody.step.remote(folder, true);
    const after = Array.from({ length: 50 }, () => moody.step.remote(folder, false));
    await raised(folder, "loops");
    await cancel(stuck);
    expect(await errorOf(stuck)).toMatchObject({ code: "TASK_CANCELLED" });
    expect(await get(before)).toEqual(Array.from({ length: 50 }, (_, at) => 201 + at));
    expect(await get(after)).toEqual(Array.from({ length: 50 }, (_, at) => 252 + at));
  });

  test("force is refused, for streams and each of several returns too", async () => {
    const counter = remote(Counter).remote();
    const call = counter.add.remote();
    const [, second] = remote(Pair).remote().pair.options({ numReturns: 2 }).remote();
    const stream = counter.count.remote(3);
    for (const result of [call, second, stream]) {
      await expect(cancel(result, { force: true })).rejects.toMatchObject({ code: "INVALID_OPTION" });
    }
    expect(await get([call, second])).toEqual([1, "second"]);
    const values: number[] = [];
    for await (const value of stream.values()) values.push(value);
    expect(values).toEqual([0, 1, 2]);
  });

  test("timeoutMs rejects the call and interrupts nothing", async () => {
    const counter = remote(Counter).remote();
    const gate = newGate();
    await get(counter.get.remote());
    const slow = counter.addBehind.options({ timeoutMs: 1_500 }).remote(gate, 5);
    await waitingAt(gate, 1);
    expect(await errorOf(slow)).toMatchObject({ code: "TASK_TIMEOUT", kind: "unavailable" });
    gate.open.remote();
    expect(await get(counter.get.remote())).toBe(5);
  });
});
