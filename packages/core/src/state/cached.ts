/** Answers that may be a moment old: whoever asks meanwhile gets the same one, so that many who look cost as much as one. */
export class Cached<T> {
  private readonly make: () => Promise<T>;
  private readonly maxAgeMs: number;
  private made: { readonly value: Promise<T>; readonly atMs: number } | undefined;

  constructor(maxAgeMs: number, make: () => Promise<T>) {
    this.maxAgeMs = maxAgeMs;
    this.make = make;
  }

  get(nowMs: number = Date.now()): Promise<T> {
    if (this.made && nowMs - this.made.atMs < this.maxAgeMs) return this.made.value;
    const made = { value: this.make(), atMs: nowMs };
    this.made = made;
    // What failed is asked anew.
    made.value.catch(() => {
      if (this.made === made) this.made = undefined;
    });
    return made.value;
  }
}
