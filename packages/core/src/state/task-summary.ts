/** What became of all attempts: by function, and who called whom. */
import type { JobId } from "../base/ids.ts";
import { ATTEMPT_KINDS, ATTEMPT_OUTCOMES, type AttemptKind, type Tally, type TallyBook } from "../events/mod.ts";
import { type AttemptChunk, kindOf, STATE_OF } from "./attempt-chunk.ts";
import type { Dictionary } from "./dictionary.ts";
import type { TaskGraph, TaskRow, TaskSummaryRow } from "./rows.ts";

type Counts = Partial<Record<TaskRow["state"], number>>;

interface Sum {
  readonly name: string;
  readonly kind: AttemptKind;
  readonly counts: Counts;
  runMicros: number;
}

function addCounts(counts: Counts, tally: Tally): void {
  for (const [index, outcome] of ATTEMPT_OUTCOMES.entries()) {
    const count = tally.counts[index] ?? 0;
    if (count > 0) counts[STATE_OF[outcome]] = (counts[STATE_OF[outcome]] ?? 0) + count;
  }
}

function byFunction(tallies: Iterable<Tally>, sums = new Map<string, Sum>()): Map<string, Sum> {
  for (const tally of tallies) {
    const key = functionKey(tally.kind, tally.name);
    let sum = sums.get(key);
    if (!sum) {
      sum = { name: tally.name, kind: tally.kind, counts: {}, runMicros: 0 };
      sums.set(key, sum);
    }
    addCounts(sum.counts, tally);
    sum.runMicros += tally.runMicros;
  }
  return sums;
}

const functionKey = (kind: AttemptKind, name: string): string => `${kind} ${name}`;

/** @param p95s in milliseconds, by {@link functionKey}. */
export function summaryOf(book: TallyBook, p95s: ReadonlyMap<string, number>): TaskSummaryRow[] {
  const sums = new Map<string, Sum>();
  for (const [, tallies] of book.all()) byFunction(tallies, sums);
  return [...sums].map(([key, { name, kind, counts, runMicros }]) => {
    const runs = (counts.finished ?? 0) + (counts.failed ?? 0);
    const meanRunMs = runs > 0 ? runMicros / 1000 / runs : null;
    return { name, kind, counts, meanRunMs, p95RunMs: p95s.get(key) ?? null };
  });
}

export function totalsOf(book: TallyBook): Counts {
  const counts: Counts = {};
  for (const [, tallies] of book.all()) for (const tally of tallies) addCounts(counts, tally);
  return counts;
}

export function graphOf(book: TallyBook, job: JobId): TaskGraph | undefined {
  const tallies = book.of(job);
  if (!tallies) return undefined;
  const all = [...tallies];
  const nodes = [...byFunction(all).values()].map(({ name, kind, counts }) => ({ name, kind, counts }));
  const edges = new Map<string, { readonly from: string; readonly to: string; count: number }>();
  for (const { name: to, parent: from, counts } of all) {
    if (from === null) continue;
    const count = counts.reduce((sum, each) => sum + each, 0);
    const known = edges.get(`${from}\0${to}`);
    if (known) known.count += count;
    else edges.set(`${from}\0${to}`, { from, to, count });
  }
  return { nodes, edges: [...edges.values()] };
}

/** Percentiles of run times, made again when a hundredth of the rows is new: all rows are looked at. */
export class RunTimes {
  private made: ReadonlyMap<string, number> = new Map();
  private madeAt = Number.NEGATIVE_INFINITY;

  /** @param added how many rows ever were. @returns milliseconds, by {@link functionKey}. */
  p95s(chunks: readonly AttemptChunk[], names: Dictionary<string>, added: number): ReadonlyMap<string, number> {
    const rows = chunks.reduce((sum, { size }) => sum + size, 0);
    if (added - this.madeAt > rows / 100) {
      this.made = p95s(chunks, names, rows);
      this.madeAt = added;
    }
    return this.made;
  }
}

function p95s(chunks: readonly AttemptChunk[], names: Dictionary<string>, rows: number): Map<string, number> {
  const kinds = ATTEMPT_KINDS.length;
  const groups = names.end * kinds;
  const groupOf = (chunk: AttemptChunk, row: number): number =>
    (chunk.name[row] ?? 0) * kinds + ((chunk.flags[row] ?? 0) >> 3);
  // Where each group begins, and then where its next value goes.
  const starts = new Uint32Array(groups + 1);
  for (const chunk of chunks) {
    for (let row = 0; row < chunk.size; row++) {
      if (Number.isNaN(chunk.runMicros[row])) continue;
      const group = groupOf(chunk, row) + 1;
      starts[group] = (starts[group] ?? 0) + 1;
    }
  }
  for (let group = 1; group <= groups; group++) starts[group] = (starts[group] ?? 0) + (starts[group - 1] ?? 0);
  const ends = starts.slice(0, groups);
  const values = new Float32Array(rows);
  for (const chunk of chunks) {
    for (let row = 0; row < chunk.size; row++) {
      const micros = chunk.runMicros[row] ?? Number.NaN;
      if (Number.isNaN(micros)) continue;
      const group = groupOf(chunk, row);
      const at = ends[group] ?? 0;
      values[at] = micros;
      ends[group] = at + 1;
    }
  }
  const percentiles = new Map<string, number>();
  for (let group = 0; group < groups; group++) {
    const [start = 0, end = 0] = starts.subarray(group, group + 2);
    if (end === start) continue;
    const rank = start + Math.ceil(0.95 * (end - start)) - 1;
    const name = names.get(Math.floor(group / kinds)) ?? "";
    percentiles.set(functionKey(kindOf((group % kinds) << 3), name), select(values, start, end - 1, rank) / 1000);
  }
  return percentiles;
}

/** The value that would be at `rank` if these were sorted; moves them. @source Hoare 1961, "Find". */
function select(values: Float32Array, from: number, to: number, rank: number): number {
  let [low, high] = [from, to];
  while (low < high) {
    const pivot = values[(low + high) >> 1] ?? 0;
    let [left, right] = [low, high];
    while (left <= right) {
      while ((values[left] ?? 0) < pivot) left++;
      while ((values[right] ?? 0) > pivot) right--;
      if (left > right) break;
      const value = values[left] ?? 0;
      values[left++] = values[right] ?? 0;
      values[right--] = value;
    }
    if (rank <= right) high = right;
    else if (rank >= left) low = left;
    else break;
  }
  return values[rank] ?? 0;
}
