import { expect, test } from "vitest";
import { EventFloods } from "./event-floods.ts";
import { EventLog } from "./event-log.ts";

test("what happens very often is told in sums, after the first of each minute", () => {
  let nowMs = 0;
  const log = new EventLog();
  const floods = new EventFloods(
    (event) => log.add(event),
    () => nowMs,
  );
  const kill = (id: number, source = "job a"): void =>
    floods.note(source, {
      atMs: nowMs,
      severity: "info",
      kind: "actor-kill",
      message: `killed ${id}`,
      subjects: [`${id}`],
    });
  const told = (): (readonly [string, number])[] =>
    [...log.newest()].reverse().map(({ message, count }) => [message, count] as const);

  for (let id = 1; id <= 1_020; id++) kill(id);
  kill(1, "job b");
  floods.tell();
  expect(told()).toHaveLength(21);
  expect(told()[19]).toEqual(["killed 20", 1]);
  expect(told()[20]).toEqual(["killed 1", 1]);

  nowMs = 10_000;
  floods.tell();
  expect(told()).toHaveLength(22);
  expect(told()[21]).toEqual(["killed 1020; and 999 more like it within 10 s", 1_000]);
  const [sum] = log.newest();
  expect(sum?.subjects).toHaveLength(200);

  // One of a sum that is alone is told as it is.
  kill(2_000);
  nowMs = 20_000;
  floods.tell();
  expect(told()[22]).toEqual(["killed 2000", 1]);

  nowMs = 70_000;
  floods.tell();
  kill(3_000);
  expect(told()[23]).toEqual(["killed 3000", 1]);
});
