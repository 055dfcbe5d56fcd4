import { describe, expect, test } from "vitest";
import type { ProcessId, WorkerId } from "../base/ids.ts";
import { Orphans } from "./orphans.ts";

const A = "a" as ProcessId;
const B = "b" as ProcessId;
const worker = "w" as WorkerId;

function orphans(owners: readonly ProcessId[], published: readonly number[] = []) {
  const asked: ProcessId[] = [];
  const freed: number[] = [];
  const subject = new Orphans({
    owners: () => owners,
    send: (to) => asked.push(to),
    published: (keys) => published.filter((key) => keys.has(key)),
    free: (keys) => freed.push(...keys),
  });
  return { subject, asked, freed };
}

describe("orphans", () => {
  test("what nobody knows is freed once all have answered", () => {
    const { subject, asked, freed } = orphans([A, B], [3]);
    subject.ask([1, 2, 3, 4], worker);
    expect(asked).toEqual([A, B]);
    subject.answered(A, { t: "store-claims", id: 1, keys: [2] });
    expect(freed).toEqual([]);
    subject.answered(B, { t: "store-claims", id: 1, keys: [] });
    expect(freed).toEqual([1, 4]);
    subject.answered(B, { t: "store-claims", id: 1, keys: [] });
    expect(freed).toEqual([1, 4]);
  });

  test("one that is gone needs to say nothing, and with nobody left all is freed at once", () => {
    const { subject, freed } = orphans([A]);
    subject.ask([1], worker);
    subject.processGone(A);
    expect(freed).toEqual([1]);
    const alone = orphans([]);
    alone.subject.ask([7], undefined);
    expect(alone.freed).toEqual([7]);
  });

  test("no keys, no question", () => {
    const { subject, asked } = orphans([A]);
    subject.ask([], worker);
    expect(asked).toEqual([]);
  });
});
