import { describe, expect, it } from "vitest";
import { SPIN_GAP_MS, SPIN_MS_MAX, SpinRule } from "./spin.ts";

/** Activities at this interval, from time 0. Returns the time of the last. */
function activities(rule: SpinRule, count: number, intervalMs: number, fromMs = 0): number {
  for (let index = 0; index < count; index++) rule.active(fromMs + index * intervalMs);
  return fromMs + (count - 1) * intervalMs;
}

describe("looking without sleeping", () => {
  it("begins when activities follow each other quickly", () => {
    const rule = new SpinRule();
    rule.active(0);
    expect(rule.isWorthwhile(0, 1)).toBe(false);
    const now = activities(rule, 30, SPIN_GAP_MS / 2, 1);
    expect(rule.isWorthwhile(now, 1)).toBe(true);
  });

  it("never begins for calls that take longer than being woken", () => {
    const rule = new SpinRule();
    const now = activities(rule, 1_000, SPIN_GAP_MS * 2);
    expect(rule.isWorthwhile(now, 1)).toBe(false);
  });

  it("ends soon after the last activity", () => {
    const rule = new SpinRule();
    const now = activities(rule, 30, SPIN_GAP_MS / 2);
    expect(rule.isWorthwhile(now + SPIN_GAP_MS / 2, 1)).toBe(true);
    expect(rule.isWorthwhile(now + SPIN_MS_MAX * 1.1, 1)).toBe(false);
  });

  it("leaves the cores to the workers while more than one call is under way", () => {
    const rule = new SpinRule();
    const now = activities(rule, 30, SPIN_GAP_MS / 2);
    expect(rule.isWorthwhile(now, 2)).toBe(false);
    expect(rule.isWorthwhile(now, 0)).toBe(true);
  });

  it("goes on after one pause", () => {
    const rule = new SpinRule();
    const now = activities(rule, 30, SPIN_GAP_MS / 2);
    const later = activities(rule, 4, SPIN_GAP_MS / 2, now + 10_000);
    expect(rule.isWorthwhile(later, 1)).toBe(true);
  });
});
