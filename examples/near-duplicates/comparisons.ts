/** Deals candidate pairs out in tasks that each need the shingles of only a few batches. */
import type { Batch } from "./files.ts";

const TASK_PAIRS_MAX = 1_000;
const TASK_BATCHES_MAX = 12;

export interface ComparisonTask {
  /** The batches whose shingles it needs. */
  readonly batches: readonly number[];
  /** For each pair: which of `batches` and which file in it, twice; see `comparePairs`. */
  readonly places: Uint32Array;
  /** The numbers of the two files, in turn. */
  readonly files: Uint32Array;
}

/** @param pairs numbers of files, smaller and larger in turn, each pair once. */
export function planComparisons(batches: readonly Batch[], pairs: Uint32Array): ComparisonTask[] {
  const fileCount = batches.reduce((sum, batch) => sum + batch.files.length, 0);
  const batchOf = new Uint32Array(fileCount);
  for (const { index, first, files } of batches) batchOf.fill(index, first, first + files.length);

  const order = Uint32Array.from({ length: pairs.length / 2 }, (_, pair) => pair);
  const file = (pair: number, side: 0 | 1) => pairs[pair * 2 + side] ?? 0;
  const batch = (pair: number, side: 0 | 1) => batchOf[file(pair, side)] ?? 0;
  order.sort(
    (x, y) =>
      batch(x, 0) - batch(y, 0) || batch(x, 1) - batch(y, 1) || file(x, 0) - file(y, 0) || file(x, 1) - file(y, 1),
  );

  const tasks: ComparisonTask[] = [];
  let slots = new Map<number, number>();
  let taken: number[] = [];
  const close = () => {
    if (taken.length === 0) return;
    const places = new Uint32Array(taken.length * 4);
    const files = new Uint32Array(taken.length * 2);
    for (const [index, pair] of taken.entries()) {
      for (const side of [0, 1] as const) {
        const inBatch = batch(pair, side);
        files[index * 2 + side] = file(pair, side);
        places[index * 4 + side * 2] = slots.get(inBatch) ?? 0;
        places[index * 4 + side * 2 + 1] = file(pair, side) - (batches[inBatch]?.first ?? 0);
      }
    }
    tasks.push({ batches: [...slots.keys()], places, files });
    slots = new Map();
    taken = [];
  };
  for (const pair of order) {
    const needed = new Set([batch(pair, 0), batch(pair, 1)]);
    const added = [...needed].filter((each) => !slots.has(each));
    if (taken.length >= TASK_PAIRS_MAX || slots.size + added.length > TASK_BATCHES_MAX) close();
    for (const each of needed) if (!slots.has(each)) slots.set(each, slots.size);
    taken.push(pair);
  }
  close();
  return tasks;
}
