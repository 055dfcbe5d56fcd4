import { describe, expect, test } from "vitest";
import type { ObjectKey, ProcessId } from "../base/mod.ts";
import type { Deadlock, ReportedWait, WaitCheck } from "../wire/messages.ts";
import { createDeadlockFinder } from "./deadlock.ts";

const p1 = "p1" as ProcessId;
const p2 = "p2" as ProcessId;
/** One of a process that is not asked again. */
const wait = (waitId: number, by: string, name: string, on: readonly string[], slots = 1): ReportedWait => ({
  waitId,
  by,
  name,
  on,
  slots,
});
const checkable = (one: ReportedWait, execution: number, calls: readonly string[]): ReportedWait => ({
  ...one,
  execution,
  calls,
});

function setUp(canonical = (party: string) => party) {
  let sent: (readonly [ProcessId, WaitCheck | Deadlock])[] = [];
  const finder = createDeadlockFinder({ send: (to, message) => void sent.push([to, message]), canonical });
  const taken = () => {
    const [all, none]: [typeof sent, typeof sent] = [sent, []];
    sent = none;
    return all;
  };
  return {
    finder,
    taken,
    report(from: ProcessId, report: { started: readonly ReportedWait[]; ended: readonly number[]; isAll?: true }) {
      finder.report(from, report);
      return taken().map(([, message]) => message);
    },
  };
}

describe("deadlocks", () => {
  test("the wait that closes a cycle is rejected, and the cycle is named", () => {
    const finder = setUp();
    expect(finder.report(p1, { started: [wait(1, "actor:a", "A.ping", ["actor:b"])], ended: [] })).toEqual([]);
    expect(finder.report(p2, { started: [wait(7, "actor:b", "B.pong", ["actor:a"])], ended: [] })).toEqual([
      { t: "deadlock", waitId: 7, cycle: "B.pong waits for A.ping waits for B.pong" },
    ]);
  });

  test("an actor that waits for itself is a cycle", () => {
    const finder = setUp();
    expect(finder.report(p1, { started: [wait(1, "actor:a", "A.ping", ["actor:a"])], ended: [] })).toEqual([
      { t: "deadlock", waitId: 1, cycle: "A.ping waits for A.ping" },
    ]);
  });

  test("tasks are part of cycles", () => {
    const finder = setUp();
    finder.report(p1, { started: [wait(1, "actor:a", "A.run", ["task:t"])], ended: [] });
    expect(finder.report(p2, { started: [wait(1, "task:t", "work", ["actor:b", "actor:a"])], ended: [] })).toEqual([
      { t: "deadlock", waitId: 1, cycle: "work waits for A.run waits for work" },
    ]);
  });

  test("a chain is no cycle", () => {
    const finder = setUp();
    finder.report(p1, { started: [wait(1, "actor:a", "A.f", ["actor:b"])], ended: [] });
    finder.report(p2, { started: [wait(1, "actor:b", "B.f", ["actor:c"])], ended: [] });
    expect(finder.report(p2, { started: [wait(2, "actor:d", "D.f", ["actor:a"])], ended: [] })).toEqual([]);
  });

  test("an actor with several executions is stuck only when all of them wait", () => {
    const finder = setUp();
    finder.report(p1, { started: [wait(1, "actor:b", "B.pong", ["actor:a"])], ended: [] });
    expect(finder.report(p2, { started: [wait(1, "actor:a", "A.one", ["actor:b"], 2)], ended: [] })).toEqual([]);
    expect(finder.report(p2, { started: [wait(2, "actor:a", "A.two", ["actor:b"], 2)], ended: [] })).toEqual([
      { t: "deadlock", waitId: 2, cycle: "A.two waits for B.pong waits for A.two" },
    ]);
  });

  test("a second execution that waits for something that runs keeps the actor going", () => {
    const finder = setUp();
    finder.report(p1, { started: [wait(1, "actor:b", "B.pong", ["actor:a"])], ended: [] });
    finder.report(p2, { started: [wait(1, "actor:a", "A.one", ["actor:b"], 2)], ended: [] });
    expect(finder.report(p2, { started: [wait(2, "actor:a", "A.two", ["task:runs"], 2)], ended: [] })).toEqual([]);
  });

  test("who waits for a cycle from outside is not rejected", () => {
    const finder = setUp();
    finder.report(p1, { started: [wait(1, "actor:a", "A.f", ["actor:b"])], ended: [] });
    expect(finder.report(p1, { started: [wait(2, "actor:b", "B.f", ["actor:a"])], ended: [] })).toHaveLength(1);
    expect(finder.report(p2, { started: [wait(1, "actor:c", "C.f", ["actor:a"])], ended: [] })).toEqual([]);
  });

  test("waits that ended, and those of processes that are gone, count no longer", () => {
    const finder = setUp();
    finder.report(p1, { started: [wait(1, "actor:a", "A.f", ["actor:b"])], ended: [] });
    finder.report(p1, { started: [], ended: [1] });
    expect(finder.report(p2, { started: [wait(1, "actor:b", "B.f", ["actor:a"])], ended: [] })).toEqual([]);
    finder.finder.processGone(p2);
    expect(finder.report(p1, { started: [wait(2, "actor:a", "A.f", ["actor:b"])], ended: [] })).toEqual([]);
    expect(finder.finder.size()).toBe(1);
  });

  test("the same report twice changes nothing", () => {
    const finder = setUp();
    const report = { started: [wait(1, "actor:a", "A.f", ["actor:b"])], ended: [] };
    finder.report(p1, report);
    finder.report(p1, report);
    expect(finder.finder.size()).toBe(1);
    finder.report(p1, { started: [], ended: [1, 1] });
    expect(finder.finder.size()).toBe(0);
  });

  test("an execution that waits for several things at once is one", () => {
    const { report } = setUp();
    report(p1, { started: [wait(1, "actor:b", "B.pong", ["actor:a"])], ended: [] });
    const both = [1, 2].map((id) => ({ ...wait(id, "actor:a", "A.both", ["actor:b"], 2), execution: 1, calls: ["c"] }));
    expect(report(p2, { started: both, ended: [] })).toEqual([]);
  });

  test("what an execution waits for besides keeps it going, until that has ended", () => {
    const { report, finder, taken } = setUp();
    report(p1, { started: [wait(1, "actor:b", "B.pong", ["actor:a"])], ended: [] });
    const one = checkable(wait(1, "actor:a", "A.both", ["actor:b"]), 1, ["c"]);
    const two = checkable(wait(2, "actor:a", "A.both", ["task:runs"]), 1, [""]);
    expect(report(p2, { started: [one, two], ended: [] })).toMatchObject([{ t: "wait-check", waits: [1] }]);
    finder.checked(p2, { t: "wait-checked", checkId: 1, waits: [one], calls: [] });
    expect(taken()).toEqual([]);
    expect(report(p2, { started: [], ended: [2] })).toMatchObject([{ t: "wait-check", waits: [1] }]);
  });
});

describe("before a wait is rejected", () => {
  const a = checkable(wait(1, "actor:a", "A.f", ["actor:b"]), 1, ["call of b"]);
  const b = checkable(wait(7, "actor:b", "B.f", ["actor:a"]), 1, ["call of a"]);
  const [ofA, ofB] = ["call of a", "call of b"].map((key) => [key as ObjectKey]) as [ObjectKey[], ObjectKey[]];
  const asked = () => {
    const s = setUp();
    expect(s.report(p1, { started: [a], ended: [] })).toEqual([]);
    s.finder.report(p2, { started: [b], ended: [] });
    expect(s.taken()).toEqual([
      [p2, { t: "wait-check", checkId: 1, waits: [7], calls: ofB }],
      [p1, { t: "wait-check", checkId: 1, waits: [1], calls: ofA }],
    ]);
    return s;
  };

  test("everybody in the cycle says that it is so", () => {
    const { finder, taken } = asked();
    finder.checked(p1, { t: "wait-checked", checkId: 1, waits: [a], calls: ofA });
    expect(taken()).toEqual([]);
    finder.checked(p2, { t: "wait-checked", checkId: 1, waits: [b], calls: ofB });
    expect(taken()).toEqual([[p2, { t: "deadlock", waitId: 7, cycle: "B.f waits for A.f waits for B.f" }]]);
  });

  test("a wait that has ended meanwhile is none", () => {
    const { finder, taken } = asked();
    finder.report(p1, { started: [], ended: [1] });
    finder.checked(p1, { t: "wait-checked", checkId: 1, waits: [], calls: ofA });
    finder.checked(p2, { t: "wait-checked", checkId: 1, waits: [b], calls: ofB });
    finder.tick();
    expect(taken()).toEqual([]);
  });

  test("a call whose answer is under way is not waited for long, and it is asked again", () => {
    const { finder, taken } = asked();
    finder.checked(p1, { t: "wait-checked", checkId: 1, waits: [a], calls: ofA });
    finder.checked(p2, { t: "wait-checked", checkId: 1, waits: [b], calls: [] });
    expect(taken()).toEqual([]);
    finder.tick();
    expect(taken()).toMatchObject([
      [p2, { checkId: 2 }],
      [p1, { checkId: 2 }],
    ]);
  });

  test("what it waits for is taken from the answer", () => {
    const { finder, taken } = asked();
    const less = { ...a, on: ["actor:c"], calls: ["call of c"] };
    finder.checked(p1, { t: "wait-checked", checkId: 1, waits: [less], calls: ofA });
    finder.checked(p2, { t: "wait-checked", checkId: 1, waits: [b], calls: ofB });
    finder.tick();
    expect(taken()).toEqual([]);
  });

  test("who is gone is not waited for, and the others are asked anew when one begins anew", () => {
    const one = asked();
    one.finder.processGone(p1);
    one.finder.checked(p2, { t: "wait-checked", checkId: 1, waits: [b], calls: ofB });
    one.finder.tick();
    expect(one.taken()).toEqual([]);

    const two = asked();
    two.finder.checked(p1, { t: "wait-checked", checkId: 1, waits: [a], calls: ofA });
    two.finder.report(p2, { started: [b], ended: [], isAll: true });
    expect(two.taken()).toEqual([]);
    two.finder.tick();
    expect(two.taken()).toHaveLength(2);
  });
});

test("all that a process waits for takes the place of what it had reported", () => {
  const { report, finder } = setUp();
  report(p1, { started: [wait(1, "actor:a", "A.f", ["actor:b"]), wait(2, "actor:a", "A.g", ["actor:b"])], ended: [] });
  report(p1, { started: [wait(2, "actor:a", "A.g", ["actor:b"])], ended: [], isAll: true });
  expect(finder.size()).toBe(1);
});

test("an actor is known by the id that counts", () => {
  const { report } = setUp((party) => (party === "actor:alias" ? "actor:a" : party));
  report(p1, { started: [wait(1, "actor:a", "A.f", ["actor:b"])], ended: [] });
  expect(report(p2, { started: [wait(1, "actor:b", "B.f", ["actor:alias"])], ended: [] })).toHaveLength(1);
});

test("chains of thousands of waits cost little, whichever end is reported first", () => {
  const { finder } = setUp();
  const length = 5_000;
  const startedAt = process.cpuUsage().user;
  for (const isFromEnd of [true, false]) {
    for (let at = 0; at < length; at++) {
      const number = isFromEnd ? length - at : at;
      const from = `${isFromEnd}/${number}` as ProcessId;
      finder.report(from, { started: [wait(1, `task:${from}`, "t", [`task:${isFromEnd}/${number + 1}`])], ended: [] });
    }
  }
  expect((process.cpuUsage().user - startedAt) / 1_000).toBeLessThan(1_000);
});
