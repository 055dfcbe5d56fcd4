import { describe, expect, test } from "vitest";
import type { ProcessId } from "../base/mod.ts";
import { createDeadlockFinder } from "./deadlock.ts";

const p1 = "p1" as ProcessId;
const p2 = "p2" as ProcessId;
const wait = (waitId: number, by: string, name: string, on: readonly string[], slots = 1) => ({
  waitId,
  by,
  name,
  on,
  slots,
});

describe("deadlocks", () => {
  test("the wait that closes a cycle is rejected, and the cycle is named", () => {
    const finder = createDeadlockFinder();
    expect(finder.report(p1, { started: [wait(1, "actor:a", "A.ping", ["actor:b"])], ended: [] })).toEqual([]);
    expect(finder.report(p2, { started: [wait(7, "actor:b", "B.pong", ["actor:a"])], ended: [] })).toEqual([
      { t: "deadlock", waitId: 7, cycle: "B.pong waits for A.ping waits for B.pong" },
    ]);
  });

  test("an actor that waits for itself is a cycle", () => {
    const finder = createDeadlockFinder();
    expect(finder.report(p1, { started: [wait(1, "actor:a", "A.ping", ["actor:a"])], ended: [] })).toEqual([
      { t: "deadlock", waitId: 1, cycle: "A.ping waits for A.ping" },
    ]);
  });

  test("tasks are part of cycles", () => {
    const finder = createDeadlockFinder();
    finder.report(p1, { started: [wait(1, "actor:a", "A.run", ["task:t"])], ended: [] });
    expect(finder.report(p2, { started: [wait(1, "task:t", "work", ["actor:b", "actor:a"])], ended: [] })).toEqual([
      { t: "deadlock", waitId: 1, cycle: "work waits for A.run waits for work" },
    ]);
  });

  test("a chain is no cycle", () => {
    const finder = createDeadlockFinder();
    finder.report(p1, { started: [wait(1, "actor:a", "A.f", ["actor:b"])], ended: [] });
    finder.report(p2, { started: [wait(1, "actor:b", "B.f", ["actor:c"])], ended: [] });
    expect(finder.report(p2, { started: [wait(2, "actor:d", "D.f", ["actor:a"])], ended: [] })).toEqual([]);
  });

  test("an actor with several executions is stuck only when all of them wait", () => {
    const finder = createDeadlockFinder();
    finder.report(p1, { started: [wait(1, "actor:b", "B.pong", ["actor:a"])], ended: [] });
    expect(finder.report(p2, { started: [wait(1, "actor:a", "A.one", ["actor:b"], 2)], ended: [] })).toEqual([]);
    expect(finder.report(p2, { started: [wait(2, "actor:a", "A.two", ["actor:b"], 2)], ended: [] })).toEqual([
      { t: "deadlock", waitId: 2, cycle: "A.two waits for B.pong waits for A.two" },
    ]);
  });

  test("a second execution that waits for something that runs keeps the actor going", () => {
    const finder = createDeadlockFinder();
    finder.report(p1, { started: [wait(1, "actor:b", "B.pong", ["actor:a"])], ended: [] });
    finder.report(p2, { started: [wait(1, "actor:a", "A.one", ["actor:b"], 2)], ended: [] });
    expect(finder.report(p2, { started: [wait(2, "actor:a", "A.two", ["task:runs"], 2)], ended: [] })).toEqual([]);
  });

  test("who waits for a cycle from outside is not rejected", () => {
    const finder = createDeadlockFinder();
    finder.report(p1, { started: [wait(1, "actor:a", "A.f", ["actor:b"])], ended: [] });
    expect(finder.report(p1, { started: [wait(2, "actor:b", "B.f", ["actor:a"])], ended: [] })).toHaveLength(1);
    expect(finder.report(p2, { started: [wait(1, "actor:c", "C.f", ["actor:a"])], ended: [] })).toEqual([]);
  });

  test("waits that ended, and those of processes that are gone, count no longer", () => {
    const finder = createDeadlockFinder();
    finder.report(p1, { started: [wait(1, "actor:a", "A.f", ["actor:b"])], ended: [] });
    finder.report(p1, { started: [], ended: [1] });
    expect(finder.report(p2, { started: [wait(1, "actor:b", "B.f", ["actor:a"])], ended: [] })).toEqual([]);
    finder.processGone(p2);
    expect(finder.report(p1, { started: [wait(2, "actor:a", "A.f", ["actor:b"])], ended: [] })).toEqual([]);
    expect(finder.size()).toBe(1);
  });

  test("the same report twice changes nothing", () => {
    const finder = createDeadlockFinder();
    const report = { started: [wait(1, "actor:a", "A.f", ["actor:b"])], ended: [] };
    finder.report(p1, report);
    finder.report(p1, report);
    expect(finder.size()).toBe(1);
    finder.report(p1, { started: [], ended: [1, 1] });
    expect(finder.size()).toBe(0);
  });
});
