import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { LeaseId } from "../base/ids.ts";
import type { ToNode } from "../wire/mod.ts";
import { LeaseWatch } from "./lease-watch.ts";

const [L1, L2] = [1 as LeaseId, 2 as LeaseId];
let isIdle = true;
let told: ToNode[] = [];
let watch: LeaseWatch;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "hrtime"] });
  isIdle = true;
  told = [];
  watch = new LeaseWatch(
    (message) => void told.push(message),
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
  vi.advanceTimersByTime(9);
  runFor(5);
  vi.advanceTimersByTime(9);
  expect(takeTold()).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(takeTold()).toEqual([{ t: "lease-idle", leaseId: 1, idle: true }]);
  vi.advanceTimersByTime(100);
  expect(takeTold()).toEqual([]);
  runFor(1);
  expect(takeTold()).toEqual([{ t: "lease-idle", leaseId: 1, idle: false }]);
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
