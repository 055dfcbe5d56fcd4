/**
 * Proof that the work counted is the work that ran. Each task returns a stamp: the process (or thread) it ran in and
 * how many stamps that process has made. So many distinct stamps, without a gap in any process, is so many
 * executions: neither a lost task nor one that ran twice can hide. `peers/ray/evidence.py` makes the same stamps.
 */
import assert from "node:assert/strict";

/** More stamps than any process makes in a run; process ids end below 2^22, so that a stamp stays exact in a double. */
const STAMPS_PER_PROCESS_MAX = 2 ** 24;

let stampsMade = 0;

/** Called inside tasks: a number that no other execution returns. */
export function stamp(executor: number = process.pid): number {
  stampsMade += 1;
  return executor * STAMPS_PER_PROCESS_MAX + stampsMade;
}

/** Checks that `stamps` come from exactly `expected` executions and that nothing else ran meanwhile. */
export function assertExecutions(stamps: readonly number[], expected: number): void {
  assert.equal(stamps.length, expected, "results fetched");
  const sorted = Float64Array.from(stamps).sort();
  let executorStart = 0;
  for (let index = 1; index <= sorted.length; index += 1) {
    const previous = sorted[index - 1] ?? Number.NaN;
    const current = sorted[index] ?? Number.POSITIVE_INFINITY;
    if (executorOf(current) === executorOf(previous)) {
      assert.ok(current !== previous, `two results carry the stamp ${current}: a result was delivered twice`);
      continue;
    }
    const first = sorted[executorStart] ?? Number.NaN;
    const made = previous - first + 1;
    assert.equal(made, index - executorStart, `process ${executorOf(first)} ran ${made} tasks, results say otherwise`);
    executorStart = index;
  }
}

const executorOf = (value: number): number => Math.floor(value / STAMPS_PER_PROCESS_MAX);
