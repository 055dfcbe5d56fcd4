import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { LeaseId } from "../base/ids.ts";
import type { ToNode } from "../wire/mod.ts";
import { LeaseWatch } from "./lease-watch.ts";

const [L1, L2] = [1 as LeaseId, 2 as LeaseId];
let isIdle = true;
let told: ToNode[] = [];
let flushed = 0;
let watch: LeaseWatch;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "hrtime"] });
  isIdle = true;
  told = [];
  watch = new LeaseWatch(
    (message) => void told.push(message),
    () => void flushed++,
    () => isIdle,
  );
});
afterEach(() => vi.useRealTimers());

const runFor = (ms: number): void => {
  isIdle = false;
  watch.becameBusy();
  vi.advanceTimersByTime(ms);
  isIdle = true;
  watch.becameIdle();
};
const takeTold = (): ToNode[] => told.splice(0);

test("the node is told once of a lease that has had nothing to do for 10 ms, and when it has again", () => {
  watch.begin(L1);
  runFor(5);
  vi.advanceTimersByTime(9);
  expect(takeTold()).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(takeTold()).toEqual([{ t: "lease-idle", leaseId: 1, idle: true }]);
  vi.advanceTimersByTime(100);
  expect(takeTold()).toEqual([]);
  flushed = 0;
  runFor(1);
  expect(takeTold()).toEqual([{ t: "lease-idle", leaseId: 1, idle: false }]);
  // It is not to wait for the end of a loop.
  expect(flushed).toBe(1);
  vi.advanceTimersByTime(10);
  expect(takeTold()).toEqual([{ t: "lease-idle", leaseId: 1, idle: true }]);
});

test("a worker without a lease, or with work, says nothing", () => {
  watch.becameIdle();
  vi.advanceTimersByTime(50);
  watch.begin(L1);
  isIdle = false;
  vi.advanceTimersByTime(50);
  expect(takeTold()).toEqual([]);
});

test("an idle lease ends when the node asks: what comes under it later is refused, under the next one it is not", () => {
  watch.begin(L1);
  watch.end(L2);
  expect(takeTold()).toEqual([]);
  watch.end(L1);
  expect(takeTold()).toEqual([{ t: "lease-ended", leaseId: 1 }]);
  expect([watch.hasEnded(1), watch.hasEnded(2)]).toEqual([true, false]);
  watch.begin(L2);
  expect([watch.hasEnded(1), watch.hasEnded(2)]).toEqual([true, false]);
});

test("one that has work does not end", () => {
  watch.begin(L1);
  isIdle = false;
  watch.end(L1);
  expect(takeTold()).toEqual([]);
  expect(watch.hasEnded(1)).toBe(false);
});

test("the first task of a lease may be long on its way", () => {
  watch.begin(L1);
  vi.advanceTimersByTime(199);
  expect(takeTold()).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(takeTold()).toEqual([{ t: "lease-idle", leaseId: 1, idle: true }]);
});
