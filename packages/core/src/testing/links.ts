/** What stands between the members of a cluster: which pairs are cut, and how long bytes take. */

const pairOf = (a: string, b: string): string => (a < b ? `${a} ${b}` : `${b} ${a}`);

/** Everything that a network is told; each time all of it, so that nothing depends on an order. */
export interface LinkRules {
  /** Pairs, as {@link Links.pair} names them. */
  readonly cut: readonly string[];
  /** Milliseconds in each direction. */
  readonly delayed: readonly (readonly [string, number])[];
}

export class Links {
  private readonly cut = new Set<string>();
  private readonly delayed = new Map<string, number>();

  static readonly pair = pairOf;

  partition(a: readonly string[], b: readonly string[]): void {
    for (const pair of pairsOf(a, b)) this.cut.add(pair);
  }

  delay(a: readonly string[], b: readonly string[], ms: number): void {
    for (const pair of pairsOf(a, b)) this.delayed.set(pair, ms);
  }

  heal(): void {
    this.cut.clear();
    this.delayed.clear();
  }

  get rules(): LinkRules {
    return { cut: [...this.cut], delayed: [...this.delayed] };
  }
}

/** Nobody is cut off from itself. */
function* pairsOf(a: readonly string[], b: readonly string[]): Generator<string> {
  for (const one of a) for (const other of b) if (one !== other) yield pairOf(one, other);
}
