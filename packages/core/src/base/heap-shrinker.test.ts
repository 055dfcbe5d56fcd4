import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { HeapShrinker } from "./heap-shrinker.ts";

const MIB = 2 ** 20;
let slackMib: number;
let usedMib: number;
let shrinks: number;
let trims: number;
let shrinker: HeapShrinker;

beforeEach(() => {
  vi.useFakeTimers();
  slackMib = 20;
  usedMib = 10;
  shrinks = 0;
  trims = 0;
  shrinker = new HeapShrinker({
    heap: () => ({ usedBytes: usedMib * MIB, slackBytes: slackMib * MIB }),
    shrink: () => {
      shrinks++;
      slackMib = 1;
    },
    trim: () => void trims++,
    nowMs: () => Date.now(),
  });
});
afterEach(() => {
  shrinker.close();
  vi.useRealTimers();
});

test("memory is given back once, when nothing has happened for a while", () => {
  shrinker.active();
  vi.advanceTimersByTime(1_900);
  shrinker.active();
  vi.advanceTimersByTime(999);
  expect(shrinks).toBe(0);
  vi.advanceTimersByTime(1_001);
  expect(shrinks).toBe(1);
  slackMib = 20;
  vi.advanceTimersByTime(600_000);
  expect(shrinks).toBe(1);
});

test("bursts that follow each other cost one collection in half a minute", () => {
  for (let burst = 0; burst < 10; burst++) {
    slackMib = 20;
    shrinker.active();
    vi.advanceTimersByTime(6_000);
  }
  expect(shrinks).toBe(2);
  vi.advanceTimersByTime(30_000);
  expect([shrinks, trims]).toEqual([3, 3]);
});

test("a heap with little to give, or one that would stand still for long, is left alone, but for what is free beside it", () => {
  slackMib = 2;
  shrinker.active();
  vi.advanceTimersByTime(10_000);
  slackMib = 200;
  usedMib = 500;
  shrinker.active();
  vi.advanceTimersByTime(30_000);
  expect(shrinks).toBe(0);
  expect(trims).toBe(2);
});
