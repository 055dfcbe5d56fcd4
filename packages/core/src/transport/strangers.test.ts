import { expect, test, vi } from "vitest";
import { Strangers } from "./strangers.ts";

/** Strangers by number, and a clock that is moved by hand. */
function room() {
  let nowMs = 0;
  const strangers = new Strangers(10_000, () => nowMs);
  const ended: number[] = [];
  let count = 0;
  return {
    ended,
    meet() {
      const number = count++;
      return strangers.meet(() => ended.push(number)).part;
    },
    pass: (ms: number) => {
      nowMs += ms;
    },
  };
}

test("the 257th is turned away while the others have hardly had time to say hello", () => {
  const { meet, ended, pass } = room();
  for (let count = 0; count < 256; count++) meet();
  pass(999);
  meet();
  expect(ended).toEqual([256]);
});

test("who holds its place for long makes room for who is new", () => {
  const { meet, ended, pass } = room();
  for (let count = 0; count < 256; count++) meet();
  pass(1_000);
  for (let count = 0; count < 3; count++) meet();
  expect(ended).toEqual([0, 1, 2]);
});

test("who has said hello or gone takes no place", () => {
  const { meet, ended } = room();
  for (let count = 0; count < 1_000; count++) {
    const part = meet();
    part();
    part();
  }
  for (let count = 0; count < 256; count++) meet();
  expect(ended).toEqual([]);
});

test("nobody stays longer than the time for hello", () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    const { meet, ended } = room();
    meet();
    meet()();
    vi.advanceTimersByTime(9_999);
    expect(ended).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(ended).toEqual([0]);
  } finally {
    vi.useRealTimers();
  }
});
