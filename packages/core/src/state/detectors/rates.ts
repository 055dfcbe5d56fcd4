/** What counters did in the last seconds. */

/** As long as alarms keep what they suspect, see {@link file://./alarms.ts}. */
const GAP_MS = 45_000;

/** Counters by name that only grow, each remembered for a while. */
export class Rates<K extends string> {
  private readonly windowMs: number;
  private readonly samples: {
    readonly atMs: number;
    readonly values: ReadonlyMap<string, Readonly<Record<K, number>>>;
  }[] = [];

  constructor(windowMs: number) {
    this.windowMs = windowMs;
  }

  /**
   * How much each has grown, and within what time; of those that were there at the beginning of the window or that have begun
   * since then. Undefined while the window is not full.
   */
  add(
    atMs: number,
    values: ReadonlyMap<string, Readonly<Record<K, number>>>,
  ): { readonly ms: number; of(name: string, key: K): number } | undefined {
    const { samples, windowMs } = this;
    // On a busy machine looks are far apart, and what counters did between them is known all the same; but not of one pause.
    const last = samples.at(-1);
    if (last && (atMs - last.atMs > GAP_MS || atMs < last.atMs)) samples.length = 0;
    samples.push({ atMs, values });
    while (samples.length > 2 && atMs - (samples[1]?.atMs ?? atMs) >= windowMs) samples.shift();
    const first = samples[0];
    if (!first || atMs - first.atMs < windowMs) return undefined;
    return {
      ms: atMs - first.atMs,
      // A counter that begins anew is one of another run.
      of: (name, key) => Math.max(0, (values.get(name)?.[key] ?? 0) - (first.values.get(name)?.[key] ?? 0)),
    };
  }
}
