import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { HeapTrim } from "./heap-trim.ts";

const MIB = 2 ** 20;
let slackMib: number;
let usedMib: number;
let trims: number;
let trim: HeapTrim;

beforeEach(() => {
  vi.useFakeTimers();
  slackMib = 20;
  usedMib = 10;
  trims = 0;
  trim = new HeapTrim({
    heap: () => ({ usedBytes: usedMib * MIB, slackBytes: slackMib * MIB }),
    trim: () => {
      trims++;
      slackMib = 1;
    },
    nowMs: () => Date.now(),
  });
});
afterEach(() => {
  trim.close();
  vi.useRealTimers();
});

test("memory is given back once, when nothing has happened for a while", () => {
  trim.active();
  vi.advanceTimersByTime(3_900);
  trim.active();
  vi.advanceTimersByTime(1_999);
  expect(trims).toBe(0);
  vi.advanceTimersByTime(2_001);
  expect(trims).toBe(1);
  slackMib = 20;
  vi.advanceTimersByTime(600_000);
  expect(trims).toBe(1);
});

test("bursts that follow each other cost one collection in half a minute", () => {
  for (let burst = 0; burst < 10; burst++) {
    slackMib = 20;
    trim.active();
    vi.advanceTimersByTime(6_000);
  }
  expect(trims).toBe(2);
  vi.advanceTimersByTime(30_000);
  expect(trims).toBe(3);
});

test("a heap with little to give, or one that would stand still for long, is left alone", () => {
  slackMib = 2;
  trim.active();
  vi.advanceTimersByTime(10_000);
  slackMib = 200;
  usedMib = 500;
  trim.active();
  vi.advanceTimersByTime(10_000);
  expect(trims).toBe(0);
});
