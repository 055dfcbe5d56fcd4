import { describe, expect, test } from "vitest";
import { type ProcessId, type StoredName, storedName, type WorkerId } from "../base/ids.ts";
import { Orphans } from "./orphans.ts";

const A = "a" as ProcessId;
const B = "b" as ProcessId;
const worker = "w" as WorkerId;
const named = (key: number): StoredName => storedName("0000000a", key);

function orphans(owners: readonly ProcessId[], published: readonly StoredName[] = []) {
  const asked: ProcessId[] = [];
  const freed: StoredName[] = [];
  const subject = new Orphans({
    owners: () => owners,
    send: (to) => asked.push(to),
    published: (names) => published.filter((name) => names.has(name)),
    free: (names) => freed.push(...names),
  });
  return { subject, asked, freed };
}

describe("orphans", () => {
  test("what nobody knows is freed once all have answered", () => {
    const { subject, asked, freed } = orphans([A, B], [named(3)]);
    subject.ask([named(1), named(2), named(3), named(4)], worker);
    expect(asked).toEqual([A, B]);
    subject.answered(A, { t: "store-claims", id: 1, names: [named(2)] });
    expect(freed).toEqual([]);
    subject.answered(B, { t: "store-claims", id: 1, names: [] });
    expect(freed).toEqual([named(1), named(4)]);
    subject.answered(B, { t: "store-claims", id: 1, names: [] });
    expect(freed).toEqual([named(1), named(4)]);
  });

  test("one that is gone needs to say nothing, and with nobody left all is freed at once", () => {
    const { subject, freed } = orphans([A]);
    subject.ask([named(1)], worker);
    subject.processGone(A);
    expect(freed).toEqual([named(1)]);
    const alone = orphans([]);
    alone.subject.ask([named(7)], undefined);
    expect(alone.freed).toEqual([named(7)]);
  });

  test("no keys, no question", () => {
    const { subject, asked } = orphans([A]);
    subject.ask([], worker);
    expect(asked).toEqual([]);
  });
});
