import { expect, test } from "vitest";
import type { JobId } from "../base/ids.ts";
import type { Tally } from "./event-batch.ts";
import { OTHER_FUNCTIONS, TallyBook } from "./tally-book.ts";

const tally = (name: string, parent: string | null = null, counts = [1, 0, 0, 0, 0]): Tally => ({
  ...{ name, parent, kind: "task", counts, runMicros: 10 },
});
const [first, second] = ["01010101", "02020202"] as [JobId, JobId];
const all = (book: TallyBook) => [...book.all()].map(([job, tallies]) => [job, [...tallies]]);

test("tallies of one function, submitted in one place, are one", () => {
  const book = new TallyBook();
  book.add(first, [tally("f"), tally("f", "main"), tally("f", null, [2, 1, 0, 0, 0])]);
  expect(all(book)).toEqual([[first, [{ ...tally("f", null, [3, 1, 0, 0, 0]), runMicros: 20 }, tally("f", "main")]]]);
});

test("when there are too many, those of the oldest job are one for each function, and nothing is lost", () => {
  const book = new TallyBook({ talliesMax: 3, functionsMax: 2 });
  book.add(first, [tally("f"), tally("f", "main"), tally("g")]);
  book.add(second, [tally("f")]);
  expect(all(book)).toEqual([
    ["", [{ ...tally("f", null, [2, 0, 0, 0, 0]), runMicros: 20 }, tally("g")]],
    [second, [tally("f")]],
  ]);
  expect([book.of(first), [...(book.of(second) ?? [])].length]).toEqual([undefined, 1]);
  book.add("" as JobId, [tally("h"), tally("i"), tally("g")]);
  const [, rest] = all(book)[0] as [JobId, Tally[]];
  expect(rest.map(({ name, counts }) => [name, counts[0]])).toEqual([
    ["f", 2],
    ["g", 2],
    [OTHER_FUNCTIONS, 2],
  ]);
});
