import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Alarms } from "./alarms.ts";
import type { Detector } from "./detector.ts";
import { Observer, type ObserverOptions } from "./observer.ts";
import { node, noted } from "./test-observation.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const FULL = { storeUsedBytes: 95, storeCapacityBytes: 100 };

test("what is stored is asked for as soon as a store is nearly full, and no more often for one that stays so", async () => {
  let asked = 0;
  let answerMs = 0;
  const askAll = async (kind: string) => {
    if (kind === "object-details") {
      asked++;
      vi.advanceTimersByTime(answerMs);
    }
    const site = { callSite: "put() main.ts:7", objects: 3, sizeBytes: 95, spilledBytes: 0, holders: 1 };
    return { partial: [], answers: [["a", { sites: [site], objects: [], rows: [], counts: [], partial: [] }]] };
  };
  const sites: (readonly string[])[] = [];
  const detector: Detector = {
    ...{ kind: "sites", pace: "control", raiseAfterMs: 0, clearAfterMs: 0 },
    look: ({ sites: seen }) => {
      sites.push(seen.map(({ callSite }) => callSite));
      return [];
    },
  };
  const observer = new Observer({
    alarms: new Alarms([detector], noted().note),
    ask: async () => ({ waitsFor: [] }),
    links: { askAll, get: () => undefined },
    sources: { waiting: async () => [], groups: async () => ({ rows: [] }), actorTable: [] },
    tasks: { functions: () => [], packed: () => [], puts: () => [], endedSummary: async () => [] },
  } as unknown as ObserverOptions);
  await observer.look([node("a"), node("b")]);
  await observer.look([node("a"), node("b")]);
  expect(asked).toBe(1);
  answerMs = 100;
  await observer.look([node("a", FULL), node("b")]);
  expect(asked).toBe(2);
  expect(sites.at(-1)).toEqual(["put() main.ts:7"]);
  await observer.look([node("a", FULL), node("b")]);
  expect(asked).toBe(2);
  // Not before it has rested for as long as the answer asks for.
  await observer.look([node("a", FULL), node("b", FULL)]);
  expect(asked).toBe(2);
  vi.advanceTimersByTime(2_000);
  await observer.look([node("a", FULL), node("b", FULL)]);
  expect(asked).toBe(3);
});
