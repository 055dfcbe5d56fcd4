import { describe, expect, it } from "vitest";
import { isError, SerializationError, TaskError, WorkerDiedError } from "../base/errors.ts";
import { knownFunctions, LimitError } from "./fixtures/known-functions.ts";
import { decode, encode, shippableError } from "./mod.ts";

const customizer = knownFunctions();
const context = { root: "error", customizer };
const roundTrip = (value: unknown): unknown => decode(encode(value, context).toBytes(), context);

/** What arrives of something that cannot be shipped as it is, and what is said to be missing. */
function arrives(thrown: unknown): { back: unknown; leftOut: readonly string[] } {
  expect(() => encode(thrown, context)).toThrow(SerializationError);
  const { error, leftOut } = shippableError(thrown, (value, path) => void encode(value, { ...context, root: path }));
  return { back: roundTrip(error), leftOut };
}

describe("what was thrown arrives", () => {
  it("an error of the program with class, fields, stack and cause", () => {
    const error = new LimitError("too much", 7, { cause: new TypeError("t") });
    const back = roundTrip(error) as LimitError;
    expect(back).toBeInstanceOf(LimitError);
    expect([back.limit, back.stack, (back.cause as Error).name]).toEqual([7, error.stack, "TypeError"]);
  });

  it("things that are no errors, undefined included", () => {
    for (const thrown of [undefined, null, 0, "text", { code: 5 }, [1]]) expect(roundTrip(thrown)).toEqual(thrown);
  });

  it("errors of the runtime by their code, with what they wrap", () => {
    const error = new TaskError("task f failed", { cause: new WorkerDiedError("worker died") });
    const back = roundTrip(error) as Error;
    expect(back).toBeInstanceOf(TaskError);
    expect(isError(back, "TASK_FAILED")).toBe(true);
    expect([back.message, back.name, back.stack]).toEqual([error.message, "TaskError", error.stack]);
    expect(Object.keys(back).sort()).toEqual(Object.keys(error).sort());
    expect(isError(back.cause, "WORKER_DIED")).toBe(true);
    expect(roundTrip(new SerializationError("no"))).toBeInstanceOf(SerializationError);
  });
});

describe("of an error with something that cannot be shipped", () => {
  it("the class and everything else arrive, and what is missing is named", () => {
    const error = Object.assign(new LimitError("too much", 7, { cause: new TypeError("t") }), {
      request: { socket: Promise.resolve() },
      "left-over": new WeakMap(),
      details: { at: [1, 2] },
    });
    const { back, leftOut } = arrives(error);
    expect(back).toBeInstanceOf(LimitError);
    expect(back).toMatchObject({ name: "LimitError", message: "too much", limit: 7, details: { at: [1, 2] } });
    expect((back as Error).stack).toBe(error.stack);
    expect((back as Error).cause).toMatchObject({ name: "TypeError", message: "t" });
    expect(Object.keys(back as object)).not.toContain("request");
    expect(leftOut).toEqual([
      "error.request.socket, a promise",
      'error["left-over"], a WeakMap, whose content cannot be listed',
    ]);
  });

  it("errors below it as well, each once, and an error of the runtime by its code", () => {
    const inner = Object.assign(new LimitError("inner", 1), { socket: Promise.resolve() });
    const all = new AggregateError([inner, inner, 5], "all", {
      cause: new TaskError("task f failed", { cause: inner }),
    });
    const { back, leftOut } = arrives(all);
    expect(back).toBeInstanceOf(AggregateError);
    const { errors, cause } = back as AggregateError;
    expect(errors).toEqual([expect.objectContaining({ limit: 1 }), expect.objectContaining({ limit: 1 }), 5]);
    expect(errors[0]).toBe(errors[1]);
    expect(isError(cause, "TASK_FAILED")).toBe(true);
    expect((cause as Error).cause).toBe(errors[0]);
    expect(leftOut).toEqual(["error.cause.cause.socket, a promise"]);
  });

  it("a class that cannot be shipped becomes the built-in class it derives from, with name and fields", () => {
    class Unshippable extends RangeError {
      code = "E_UNSHIPPABLE";
      socket = Promise.resolve();
      details = { at: [1, 2] };
      get failing(): string {
        throw new Error("no");
      }
    }
    const error = new Unshippable("m", { cause: new Unshippable("inner") });
    const { back, leftOut } = arrives(error);
    expect(back).toBeInstanceOf(RangeError);
    expect(back).toMatchObject({
      name: "Unshippable",
      message: "m",
      code: "E_UNSHIPPABLE",
      details: { at: [1, 2] },
      stack: error.stack,
    });
    expect("socket" in (back as object)).toBe(false);
    expect((back as Error).cause).toMatchObject({ name: "Unshippable", message: "inner" });
    expect(leftOut).toEqual([
      "error.cause.socket, a promise",
      "its class Unshippable (error.cause.constructor, the class Unshippable)",
      "error.socket, a promise",
      "its class Unshippable (error.constructor, the class Unshippable)",
    ]);
  });

  it("a field that cannot be read is named", () => {
    const error = new LimitError("m", 1);
    Object.defineProperty(error, "late", {
      enumerable: true,
      get() {
        throw new RangeError("too early");
      },
    });
    const { back, leftOut } = arrives(error);
    expect(back).toBeInstanceOf(LimitError);
    expect(leftOut).toEqual(["error.late, which cannot be read (RangeError: too early)"]);
  });

  it("an error that is its own cause stays that, and a chain of causes ends somewhere", () => {
    const error = Object.assign(new LimitError("self", 1), { socket: Promise.resolve() });
    error.cause = error;
    const self = arrives(error).back as Error;
    expect([self.message, self.cause]).toEqual(["self", self]);

    let last: Error = Object.assign(new Error("the first"), { socket: Promise.resolve() });
    for (let hop = 0; hop < 30; hop++) last = new Error(`hop ${hop}`, { cause: last });
    const { back, leftOut } = arrives(last);
    let hops = 0;
    for (let at = back as Error | undefined; at; at = at.cause as Error | undefined) hops++;
    expect([hops, leftOut.length]).toEqual([21, 1]);
    expect(leftOut[0]).toMatch(/which is too far down$/);
  });

  it("what is no error is described", () => {
    const { back, leftOut } = arrives({ status: 500, body: Promise.resolve() });
    expect(back).toMatchObject({ name: "UnshippableError", message: expect.stringContaining("status: 500") });
    expect(leftOut).toEqual(["error.body, a promise"]);
    expect(arrives(() => 1).back).toMatchObject({ name: "UnshippableError" });
  });
});
