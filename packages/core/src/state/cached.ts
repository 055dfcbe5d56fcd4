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

/**
 * The same for answers that take long: one that is not fresh is given all the same, until it is too old, while the next is on its
 * way. So those who look again and again do not wait.
 */
export class Fresh<T> {
  private readonly make: () => Promise<T>;
  private readonly ages: { readonly freshMs: number; readonly maxAgeMs: number };
  private last: { readonly value: T; readonly madeAtMs: number } | undefined;
  private next: Promise<{ readonly value: T; readonly madeAtMs: number }> | undefined;

  constructor(ages: { readonly freshMs: number; readonly maxAgeMs: number }, make: () => Promise<T>) {
    this.ages = ages;
    this.make = make;
  }

  async get(nowMs: number = Date.now()): Promise<{ readonly value: T; readonly madeAtMs: number }> {
    const { last, ages } = this;
    const ageMs = last ? nowMs - last.madeAtMs : Number.POSITIVE_INFINITY;
    if (last && ageMs < ages.freshMs) return last;
    const next = this.renew(nowMs);
    if (!last || ageMs >= ages.maxAgeMs) return next;
    // Whoever waits for it is told of its error; the next who asks tries again.
    next.catch(() => {});
    return last;
  }

  private renew(madeAtMs: number): Promise<{ readonly value: T; readonly madeAtMs: number }> {
    this.next ??= this.make()
      .then((value) => {
        this.last = { value, madeAtMs };
        return this.last;
      })
      .finally(() => {
        this.next = undefined;
      });
    return this.next;
  }
}
