export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** How many rounds gave a value. */
  readonly rounds: number;
}

/** Median and extremes; undefined when there is nothing to summarise. */
export function summarise(values: readonly number[]): Summary | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  const at = (index: number): number => sorted[index] ?? Number.NaN;
  const middle = Math.floor(sorted.length / 2);
  const median = sorted.length % 2 === 1 ? at(middle) : (at(middle - 1) + at(middle)) / 2;
  return { median, min: at(0), max: at(sorted.length - 1), rounds: sorted.length };
}

/** How many times better `ours` is than `theirs`: above 1 means that ours wins, whichever way the unit points. */
export function timesBetter(ours: number, theirs: number, better: "higher" | "lower"): number {
  return better === "higher" ? ours / theirs : theirs / ours;
}
