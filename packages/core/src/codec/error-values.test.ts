import { describe, expect, it } from "vitest";
import { isError, SerializationError, TaskError, WorkerDiedError } from "../base/errors.ts";
import { knownFunctions, LimitError } from "./fixtures/known-functions.ts";
import { decodeError, encodeError } from "./mod.ts";

const customizer = knownFunctions();
const roundTrip = (thrown: unknown): unknown =>
  decodeError(encodeError(thrown, { customizer }).toBytes(), { customizer });

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

  it("an error whose class cannot be shipped, as the built-in class it derives from, with name and fields", () => {
    class Unshippable extends RangeError {
      code = "E_UNSHIPPABLE";
      socket = Promise.resolve();
      details = { at: [1, 2] };
      override name = "Unshippable";
    }
    const error = new Unshippable("m", { cause: new Unshippable("inner") });
    const back = roundTrip(error) as Unshippable;
    expect(back).toBeInstanceOf(RangeError);
    expect([back.name, back.message, back.code, back.details, back.stack]).toEqual([
      "Unshippable",
      "m",
      "E_UNSHIPPABLE",
      { at: [1, 2] },
      error.stack,
    ]);
    expect("socket" in back).toBe(false);
    expect((back.cause as Error).message).toBe("inner");
  });

  it("an error that is its own cause, and something unshippable that is no error", () => {
    class Local extends Error {}
    const error = new Local("self");
    error.cause = error;
    expect((roundTrip(error) as Error).message).toBe("self");
    expect(roundTrip(() => 1)).toMatchObject({ name: "UnshippableError" });
    expect(roundTrip(Promise.resolve())).toMatchObject({
      message: "[object Promise] was thrown, which cannot be shipped",
    });
  });
});
