import {
  get,
  init,
  isObjectRef,
  type ObjectRef,
  put,
  release,
  remote,
  runtimeContext,
  shutdown,
  type TaskOptions,
} from "mobula";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { newFolder } from "../new-folder.ts";
import { blockUntil, errorOf, note, notes, raise, raised } from "./helpers.ts";

beforeAll(async () => {
  await init({ objectStoreBytes: 64 * 2 ** 20, resources: { cpu: 2, slots: 1 } });
});
afterAll(() => shutdown());

class Placed {
  where(): { actorId: string | undefined } {
    return { actorId: runtimeContext().actorId };
  }
}

const identity = remote((value: number) => value);
const lengthOf = remote((bytes: Uint8Array) => bytes);
const add = remote((left: number, right: number) => left + right);

describe("arguments", () => {
  test("a ref as an argument is replaced by its value, however the value came about", async () => {
    expect(await get(add.remote(put(1), add.remote(identity.remote(2), 3)))).toBe(6);
  });

  test("the same ref may appear twice", async () => {
    const one = put(21);
    expect(await get(add.remote(one, one))).toBe(42);
  });

  test("an argument that is not ready yet is waited for", async () => {
    const folder = newFolder();
    const late = remote((where: string) => {
      blockUntil(where, "go");
      return 5;
    }).remote(folder);
    const sum = add.remote(late, 1);
    raise(folder, "go");
    expect(await get(sum)).toBe(6);
  });

  test("a ref inside a container stays a ref, and is read in the task", async () => {
    const inner = add.remote(1, 2);
    const read = remote(async (boxed: { refs: ObjectRef<number>[] }) => {
      if (!boxed.refs.every((ref) => isObjectRef(ref))) throw new Error("not refs");
      return get(boxed.refs);
    });
    expect(await get(read.remote({ refs: [inner, put(7)] }))).toEqual([3, 7]);
  });

  test("a nested ref outlives the driver's own ref of it", async () => {
    const folder = newFolder();
    const read = remote(async (where: string, boxed: ObjectRef<number[]>[]) => {
      blockUntil(where, "go");
      return (await get(boxed[0] as ObjectRef<number[]>)).length;
    });
    const inner = put(new Array(50_000).fill(1));
    const length = read.remote(folder, [inner]);
    release(inner);
    raise(folder, "go");
    expect(await get(length)).toBe(50_000);
  });

  test("large and small arguments, inline and stored, arrive together", async () => {
    const sizes = remote((...parts: Uint8Array[]) => parts.map((part) => part.length));
    const parts = [10, 200_000, 3_000_000].map((bytes) => new Uint8Array(bytes));
    expect(await get(sizes.remote(...parts, put(new Uint8Array(500_000)), lengthOf.remote(new Uint8Array(7))))).toEqual(
      [10, 200_000, 3_000_000, 500_000, 7],
    );
  });

  test("a task may write into its argument; nobody else sees it", async () => {
    const shared = put(new Uint8Array(300_000));
    const scribble = remote((bytes: Uint8Array) => bytes.fill(9)[0]);
    expect(await get([scribble.remote(shared), scribble.remote(shared)])).toEqual([9, 9]);
    expect((await get(shared))[0]).toBe(0);
  });

  test("a released ref is refused, at the call", () => {
    const ref = put(1);
    release(ref);
    expect(() => add.remote(ref, 1)).toThrow(expect.objectContaining({ code: "REF_RELEASED" }));
  });
});

describe("captures", () => {
  test("are taken at the first submission; a refused call captures nothing", async () => {
    let factor = 1;
    const times = remote((value: number) => value * factor);
    class Multiplier {
      readonly by = factor;
      times(value: number): number {
        return value * this.by * factor;
      }
    }
    const type = remote(Multiplier);
    const refused = expect.objectContaining({ code: "NOT_SERIALIZABLE" });
    const notShippable = new WeakMap() as unknown as number;
    expect(() => times.remote(notShippable)).toThrow(refused);
    expect(() => (type as unknown as { remote(value: number): void }).remote(notShippable)).toThrow(refused);
    factor = 10;
    expect(await get(times.remote(1))).toBe(10);
    using multiplier = type.remote();
    expect(await get(multiplier.times.remote(1))).toBe(100);
    factor = 1_000;
    expect(() => times.remote(notShippable)).toThrow(refused);
    expect(await get(times.remote(1))).toBe(10);
  });

  test("are shared with functions among the arguments of the call, and not from call to call", async () => {
    let count = 0;
    const state = { count: 0 };
    const increment = (by: number): void => {
      count += by;
      state.count += by;
    };
    const counted = remote((run: (by: number) => void, by: number, bytes: Uint8Array) => {
      run(by);
      run(by);
      return [count, state.count, bytes.length];
    });
    const large = new Uint8Array(300_000);
    for (let call = 0; call < 3; call++) {
      expect(await get(counted.remote(increment, identity.remote(2), large))).toEqual([4, 4, 300_000]);
    }
    expect([count, state.count]).toEqual([0, 0]);
    const ofObject = remote((run: (by: number) => void) => {
      run(1);
      return state.count;
    });
    expect(await get(ofObject.remote(increment))).toBe(1);
  });

  test("are shared by a generator, its argument and its retries", async () => {
    let attempts = 0;
    const generate = remote(
      function* (note: () => void) {
        note();
        yield attempts;
        if (runtimeContext().attempt === 0) throw new Error("once");
        yield -1;
      },
      { retryExceptions: () => attempts === 1, maxRetries: 1 },
    );
    const items: number[] = [];
    const note = (): void => {
      attempts++;
    };
    for await (const ref of generate.remote(note)) items.push(await get(ref));
    expect(items).toEqual([1, -1]);
  });

  test("that functions of one scope have of their own are apart, though they look the same", async () => {
    const counter = () => {
      let count = 0;
      return { add: () => ++count, read: () => count };
    };
    const [mine, yours] = [counter(), counter()];
    const read = remote((add: () => number, reader: () => number) => [add(), reader(), yours.read()]);
    expect(await get(read.remote(mine.add, mine.read))).toEqual([1, 1, 0]);
    expect(await get(read.remote(yours.add, mine.read))).toEqual([1, 0, 1]);
  });

  test("cannot be shared by an actor and what it is given: refused by name", async () => {
    let count = 0;
    class Counting {
      count(increment: () => void): number {
        increment();
        return count;
      }
    }
    const type = remote(Counting);
    const create = type as unknown as { remote(increment: () => void): { release(): void } };
    const refused = expect.objectContaining({
      code: "NOT_SERIALIZABLE",
      message: expect.stringContaining("class Counting have functions that use count, and so does the class"),
    });
    expect(() => create.remote(() => count++)).toThrow(refused);
    using counting = type.remote();
    expect(await get(counting.count.remote(() => count++))).toBe(0);
  });
});

describe("results", () => {
  test("sync and async functions give their value, undefined and null included", async () => {
    const values = [
      remote(() => {}).remote(),
      remote(async () => null).remote(),
      remote(() => Promise.resolve("later")).remote(),
      remote(() => new Map([[1, new Date(5)]])).remote(),
    ];
    expect(await get(values)).toEqual([undefined, null, "later", new Map([[1, new Date(5)]])]);
  });

  test("several returns are refs of their own, of any size", async () => {
    const split = remote((text: string) => [text.slice(0, 1), new Uint8Array(400_000).fill(1)], { numReturns: 2 });
    const [head, body] = split.remote("abc") as unknown as [ObjectRef<string>, ObjectRef<Uint8Array>];
    expect(await get(head)).toBe("a");
    expect((await get(body)).length).toBe(400_000);
  });

  test("more or fewer values than numReturns reject every ref", async () => {
    for (const made of [[1], [1, 2, 3], 5]) {
      const refs = remote((values: unknown) => values, { numReturns: 2 }).remote(made) as unknown as ObjectRef[];
      expect(refs).toHaveLength(2);
      for (const ref of refs) {
        const error = await errorOf(ref);
        expect(error.code).toBe("TASK_FAILED");
        expect(String(error.cause)).toMatch(/numReturns 2/);
      }
    }
  });

  test("one return may be dropped while the other is read", async () => {
    const pair = remote(() => [new Uint8Array(200_000), 2], { numReturns: 2 });
    const [first, second] = pair.remote() as unknown as [ObjectRef, ObjectRef<number>];
    release(first);
    expect(await get(second)).toBe(2);
  });

  test("a task returns the ref of a task of its own", async () => {
    const outer = remote((value: number) => [add.remote(value, 1)]);
    const [inner] = await get(outer.remote(4));
    expect(await get(inner as ObjectRef<number>)).toBe(5);
  });

  test("a ref may be the whole result, and passes through two tasks that finish before its own", async () => {
    const folder = newFolder();
    const slow = remote((where: string) => {
      blockUntil(where, "go");
      return "done";
    });
    const inner = remote((where: string) => slow.remote(where));
    const outer = remote(async (where: string) => get(inner.remote(where)));
    const ref = (await get(outer.remote(folder))) as unknown as ObjectRef<string>;
    raise(folder, "go");
    expect(await get(ref)).toBe("done");
  });

  test("a ref outlives the worker that made it", async () => {
    const make = remote(async () => {
      const refs = [put("small, stored inside a list"), put(new Uint8Array(500_000).fill(3)), add.remote(20, 22)];
      await get(refs[2] as ObjectRef<number>);
      return { pid: process.pid, refs };
    });
    const { pid, refs } = await get(make.remote());
    process.kill(pid, "SIGKILL");
    const [text, bytes, sum] = await get(refs as [ObjectRef<string>, ObjectRef<Uint8Array>, ObjectRef<number>]);
    expect([text, bytes[499_999], sum]).toEqual(["small, stored inside a list", 3, 42]);
  });

  test("a result that cannot be shipped rejects with the reason as cause", async () => {
    const error = await errorOf(remote(() => ({ deep: [Promise.resolve(1)] })).remote());
    expect(error.code).toBe("TASK_FAILED");
    expect(error.cause).toMatchObject({ code: "NOT_SERIALIZABLE" });
    expect(String(error.cause)).toContain("deep[0]");
  });
});

describe("errors", () => {
  class Refusal extends Error {
    readonly status: number;
    constructor(message: string, status: number, options?: ErrorOptions) {
      super(message, options);
      this.status = status;
    }
  }

  test("the cause is the user's error with its class, fields and own cause", async () => {
    const fail = remote(
      () => {
        const refusal = new Refusal("no", 403);
        refusal.cause = new RangeError("deeper");
        throw refusal;
      },
      { name: "guarded" },
    );
    const error = await errorOf(fail.remote());
    expect(error).toMatchObject({ name: "TaskError", code: "TASK_FAILED", kind: "task" });
    expect(error.message).toMatch(/^guarded failed .*pid \d+, attempt 0.*: no$/s);
    expect(error.cause).toBeInstanceOf(Refusal);
    expect(error.cause).toMatchObject({ message: "no", status: 403, cause: new RangeError("deeper") });
  });

  test("a field that cannot be shipped is left out and named, and the rest of the error arrives", async () => {
    class RequestError extends Error {
      override name = "RequestError";
      readonly code = "ECONNRESET";
      readonly config: { readonly url: string };
      readonly request: unknown;
      constructor(message: string, url: string, request: unknown) {
        super(message);
        this.config = { url };
        this.request = { socket: request };
      }
    }
    const request = async (url: string): Promise<never> => {
      const { Socket } = await import("node:net");
      throw new Refusal("gave up", 502, { cause: new RequestError("socket hang up", url, new Socket()) });
    };
    const error = await errorOf(remote(request, { name: "requesting" }).remote("http://a"));
    expect(error.message).toMatch(
      /^requesting failed \(.*\): gave up \(left out, because it cannot be shipped: error\.cause\.request\.socket, a socket \(Socket\)\)$/,
    );
    expect(error.cause).toBeInstanceOf(Refusal);
    expect(error.cause).toMatchObject({ message: "gave up", status: 502 });
    const cause = (error.cause as Error).cause as RequestError;
    expect(cause).toBeInstanceOf(RequestError);
    expect(cause).toMatchObject({
      name: "RequestError",
      message: "socket hang up",
      code: "ECONNRESET",
      config: { url: "http://a" },
    });
    expect(cause.stack).toContain("values.test.ts");
    // The frames of the runtime that received it would say nothing.
    expect(error.stack).toBe(`TaskError: ${error.message}`);
    expect("request" in cause).toBe(false);
  });

  test("an error whose class cannot be shipped has its name, its fields and what it derives from", async () => {
    const fail = remote((): number => {
      class Sealed extends RangeError {
        readonly #seal = Promise.resolve();
        readonly at = 5;
        broken(): Promise<void> {
          return this.#seal;
        }
      }
      throw new Sealed("no");
    });
    const error = await errorOf(fail.remote());
    expect(error.message).toMatch(/: no \(left out, because it cannot be shipped: its class Sealed /);
    expect(error.cause).toBeInstanceOf(RangeError);
    expect(error.cause).toMatchObject({ name: "Sealed", message: "no", at: 5 });
  });

  test("what is thrown need not be an error", async () => {
    for (const thrown of ["text", 5, undefined, null, { code: 1 }]) {
      const error = await errorOf(
        remote((value: unknown) => {
          throw value;
        }).remote(thrown),
      );
      expect(error.code).toBe("TASK_FAILED");
      expect(error.cause).toEqual(thrown);
    }
  });

  test("each hop through tasks wraps once", async () => {
    const fail = remote((): number => {
      throw new Refusal("root", 1);
    });
    const error = await errorOf(add.remote(add.remote(fail.remote(), 1), 1));
    const hops: DetailedCause[] = [];
    for (let at: DetailedCause | undefined = error; at; at = at.cause as DetailedCause | undefined) hops.push(at);
    expect(hops.map((hop) => hop.code ?? hop.message)).toEqual(["TASK_FAILED", "TASK_FAILED", "TASK_FAILED", "root"]);
  });

  test("a rejection that nobody handles fails the task while it runs", async () => {
    const stray = remote(async () => {
      void Promise.reject(new Refusal("stray", 2));
      await new Promise(() => {});
    });
    const error = await errorOf(stray.remote());
    expect(error.cause).toMatchObject({ message: "stray", status: 2 });
  });

  test("a rejection after the task has ended does no harm", async () => {
    const folder = newFolder();
    const late = remote((where: string) => {
      setTimeout(() => {
        raise(where, "rejected");
        void Promise.reject(new Error("late"));
      }, 5);
      return process.pid;
    });
    const pid = await get(late.remote(folder));
    await raised(folder, "rejected");
    // Two that wait for each other run in the two workers.
    const alive = remote(async (where: string, mine: string, other: string) => {
      raise(where, mine);
      await raised(where, other);
      return process.pid;
    });
    expect(await get([alive.remote(folder, "a", "b"), alive.remote(folder, "b", "a")])).toContain(pid);
  });

  interface DetailedCause extends Error {
    readonly code?: string;
  }
});

describe("options", () => {
  const options = (given: object) => () => remote(() => 1, given as never);

  test.each([
    ["an unknown option", { cpus: 1 }, /cpus/],
    ["a negative amount", { numCpus: -1 }, /numCpus/],
    ["finer than 0.0001", { numCpus: 0.00001 }, /numCpus/],
    ["more than one GPU that is not whole", { numGpus: 1.5 }, /numGpus/],
    ["cpu inside resources", { resources: { cpu: 1 } }, /numCpus/],
    ["gpu inside resources", { resources: { gpu: 1 } }, /numGpus/],
    ["numReturns of 0", { numReturns: 0 }, /numReturns/],
    ["a priority beyond 1000", { priority: 1001 }, /priority/],
    ["retryExceptions that are no errors", { retryExceptions: ["Error"] }, /retryExceptions/],
    ["a timeoutMs of 0", { timeoutMs: 0 }, /timeoutMs/],
    ["maxRetries below -1", { maxRetries: -2 }, /maxRetries/],
    ["a stream buffer of 0", { streamBufferItems: 0 }, /streamBufferItems/],
  ])("%s is refused at the call", (_name, given, named) => {
    expect(options(given)).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
    expect(options(given)).toThrow(named);
  });

  test("on one machine there is no other node, and none with labels: what asks for one is refused by name", async () => {
    const picky = (options: TaskOptions) =>
      get(remote(() => runtimeContext().nodeId, { name: "picky", ...options }).remote());
    const here = await picky({});
    expect(await picky({ schedulingStrategy: { nodeId: here }, labelSelector: { zone: "!a" } })).toBe(here);
    expect(await picky({ schedulingStrategy: { nodeId: "elsewhere", soft: true } })).toBe(here);
    const elsewhere = { schedulingStrategy: { nodeId: "elsewhere" } };
    await expect(picky(elsewhere)).rejects.toMatchObject({
      code: "NODE_NOT_FOUND",
      message: expect.stringMatching(/picky.*elsewhere/),
    });
    const labelled = { labelSelector: [{ zone: "a" }, { zone: "b" }] };
    await expect(picky(labelled)).rejects.toMatchObject({
      code: "INFEASIBLE",
      message: expect.stringMatching(/picky.*no labels/),
    });
    class Place {
      at(): string {
        return runtimeContext().nodeId;
      }
    }
    await expect(get(remote(Place, labelled).remote().at.remote())).rejects.toThrow(/no labels/);
  });

  test("options() overrides for one call and leaves the function as it was", async () => {
    const named = remote(() => runtimeContext().resources, { numCpus: 1 });
    expect(await get(named.options({ numCpus: 0.5, resources: { slots: 1 } }).remote())).toMatchObject({
      cpu: 0.5,
      slots: 1,
    });
    expect(await get(named.remote())).toEqual({ cpu: 1 });
  });

  test("a task knows where it runs", async () => {
    const context = await get(
      remote(() => {
        const { jobId, taskId, actorId, nodeId, workerId, attempt, signal, wasRestarted } = runtimeContext();
        return { jobId, taskId, actorId, nodeId, workerId, attempt, aborted: signal.aborted, wasRestarted };
      }).remote(),
    );
    const own = runtimeContext();
    expect(context).toMatchObject({ jobId: own.jobId, nodeId: own.nodeId, attempt: 0, aborted: false });
    expect(context.taskId).toMatch(/^[0-9a-f]{48}$/);
    expect(context.actorId).toBeUndefined();
    expect(own.taskId).toBeUndefined();
  });

  test("ids have the lengths of Ray's, and stay the same over retries", async () => {
    const folder = newFolder();
    const twice = remote(
      (where: string) => {
        const { taskId, attempt } = runtimeContext();
        note(where, `${taskId}`);
        if (attempt === 0) process.kill(process.pid, "SIGKILL");
        if (attempt === 1) throw new Error("again");
        return taskId;
      },
      { retryExceptions: true },
    );
    const ref = twice.remote(folder);
    const taskId = await get(ref);
    expect(notes(folder)).toEqual([taskId, taskId, taskId]);
    using actor = remote(Placed).remote();
    const { actorId } = await get(actor.where.remote());
    const bytes = [runtimeContext().jobId, actorId, taskId, ref.id].map((id) => `${id}`.length / 2);
    expect(bytes).toEqual([4, 16, 24, 28]);
    expect(ref.id.startsWith(`${taskId}`)).toBe(true);
  });
});
