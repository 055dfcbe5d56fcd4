import { describe, expect, test } from "vitest";
import type { ObjectKey, ProcessId } from "../base/mod.ts";
import { createHolds } from "./holds.ts";
import type { HeldKey } from "./keys.ts";

const KEY = "object" as ObjectKey;
const OTHER = "other" as ObjectKey;
const owner = "owner" as ProcessId;
const borrower = "borrower" as ProcessId;

function create() {
  const unheld: HeldKey[] = [];
  const holds = createHolds((key) => unheld.push(key));
  return {
    holds,
    settled: () => {
      holds.settle();
      return unheld.splice(0);
    },
  };
}

describe("holds", () => {
  test("a key is unheld when its last holder lets go", () => {
    const { holds, settled } = create();
    holds.add(KEY, owner, 1);
    holds.add(KEY, borrower, 2);
    holds.add(KEY, owner, -1);
    expect(settled()).toEqual([]);
    holds.add(KEY, borrower, -2);
    expect(settled()).toEqual([KEY]);
    expect(holds.size()).toBe(0);
  });

  test("a hold given back before its grant arrived does not cancel another process's hold", () => {
    const { holds, settled } = create();
    holds.add(KEY, owner, 1);
    holds.add(KEY, borrower, -1);
    expect(holds.isHeld(KEY)).toBe(true);
    expect(settled()).toEqual([]);
    holds.add(KEY, borrower, 1);
    expect(settled()).toEqual([]);
    holds.add(KEY, owner, -1);
    expect(settled()).toEqual([KEY]);
  });

  test("a pin keeps a key that no process holds", () => {
    const { holds, settled } = create();
    holds.add(KEY, owner, 1);
    holds.pin(KEY);
    holds.add(KEY, owner, -1);
    expect(settled()).toEqual([]);
    holds.unpin(KEY);
    expect(settled()).toEqual([KEY]);
  });

  test("a process that is gone holds nothing", () => {
    const { holds, settled } = create();
    holds.add(KEY, owner, 1);
    holds.add(KEY, borrower, 5);
    holds.add(OTHER, borrower, 1);
    holds.processGone(borrower);
    expect(settled()).toEqual([OTHER]);
    holds.processGone(owner);
    expect(settled()).toEqual([KEY]);
  });

  test("a key that is held again before settling is not reported", () => {
    const { holds, settled } = create();
    holds.add(KEY, owner, 1);
    holds.add(KEY, owner, -1);
    holds.add(KEY, borrower, 1);
    expect(settled()).toEqual([]);
  });

  test("a key that a value pins before settling is not reported, and the pin's end is", () => {
    const { holds, settled } = create();
    holds.add(KEY, owner, 1);
    holds.add(KEY, owner, -1);
    holds.pin(KEY);
    expect(settled()).toEqual([]);
    holds.unpin(KEY);
    expect(settled()).toEqual([KEY]);
  });

  test("merging keys adds up what each process holds", () => {
    const { holds, settled } = create();
    holds.add(KEY, owner, 1);
    holds.add(OTHER, owner, 1);
    holds.add(KEY, borrower, -1);
    holds.pin(KEY);
    holds.merge(KEY, OTHER);
    expect(holds.countOf(OTHER, owner)).toBe(2);
    expect(holds.countOf(OTHER, borrower)).toBe(-1);
    holds.unpin(OTHER);
    holds.add(OTHER, owner, -2);
    expect(settled()).toEqual([OTHER]);
  });

  test("a long chain of drops does not use the call stack", () => {
    const holds = createHolds((key) => {
      const next = Number(key) + 1;
      if (next < 100_000) holds.unpin(String(next) as ObjectKey);
    });
    for (let index = 1; index < 100_000; index++) holds.pin(String(index) as ObjectKey);
    holds.add("0" as ObjectKey, owner, 1);
    holds.add("0" as ObjectKey, owner, -1);
    holds.settle();
    expect(holds.size()).toBe(0);
  });
});
