import { expect, test } from "vitest";
import { Alarms } from "./alarms.ts";
import type { Detector, Finding } from "./detector.ts";
import { noted, observation } from "./test-observation.ts";

function fake(): Detector & { findings: readonly Finding[] } {
  return {
    ...{ kind: "odd", pace: "control", raiseAfterMs: 3_000, clearAfterMs: 5_000, findings: [] as readonly Finding[] },
    look() {
      return this.findings;
    },
  };
}
const finding = (key: string, message = `${key} is odd`): Finding => ({
  ...{ key, severity: "warning", message, remedy: "make it even", subjects: [key, "node a"] },
});

test("an alarm is raised once, when something has looked wrong for long enough, and is told when it is over", () => {
  const detector = fake();
  const { events, note } = noted();
  const alarms = new Alarms([detector], note);
  const second = (at: number, ...findings: readonly Finding[]): void => {
    detector.findings = findings;
    alarms.look("control", observation(at * 1_000));
  };
  for (const at of [0, 1, 2]) second(at, finding("x"));
  expect(events).toEqual([]);
  for (const at of [3, 4, 5]) second(at, finding("x", `x is odd for ${at} s`));
  expect(events).toMatchObject([{ kind: "odd", severity: "warning", atMs: 3_000, remedy: "make it even" }]);
  expect(alarms.current()).toMatchObject([{ eventId: "1", message: "x is odd for 5 s" }]);
  expect(alarms.about("node a", "else")).toHaveLength(1);
  expect(alarms.about("else")).toEqual([]);
  // For a moment it is not there, and then again: the same alarm.
  second(7);
  second(9, finding("x"));
  expect(events).toHaveLength(1);
  for (const at of [10, 12]) second(at);
  expect(alarms.current()).toHaveLength(1);
  second(14);
  expect(alarms.current()).toEqual([]);
  expect(events[1]).toMatchObject({
    kind: "odd",
    severity: "info",
    message: "over, after 9 s: x is odd",
    remedy: null,
  });
});

test("what looks wrong now and then, or before and after a pause of those who look, is no alarm", () => {
  const detector = fake();
  const { events, note } = noted();
  const alarms = new Alarms([detector], note);
  for (let at = 0; at < 60; at++) {
    detector.findings = at % 3 === 2 ? [] : [finding("x")];
    alarms.look("control", observation(at * 1_000));
  }
  detector.findings = [finding("y")];
  for (const at of [60, 61, 180, 181]) alarms.look("control", observation(at * 1_000));
  expect(events).toEqual([]);
});

test("detectors look at their pace, and one that finds very much is heard of its first twenty", () => {
  const detector = fake();
  const { events, note } = noted();
  const alarms = new Alarms([detector], note);
  detector.findings = Array.from({ length: 100 }, (_, n) => finding(`x${n}`));
  for (const at of [0, 4_000]) alarms.look("tasks", observation(at));
  expect(events).toEqual([]);
  for (const at of [0, 4_000]) alarms.look("control", observation(at));
  expect(events).toHaveLength(20);
});
