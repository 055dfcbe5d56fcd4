/** Strings that repeat, each by the number that it was first given. */
export class StringTable<T extends string = string> {
  private readonly indices = new Map<T, number>();

  indexOf(text: T): number {
    let index = this.indices.get(text);
    if (index === undefined) {
      index = this.indices.size;
      this.indices.set(text, index);
    }
    return index;
  }

  /** All of them in order; the table is empty then. */
  take(): T[] {
    const texts = [...this.indices.keys()];
    this.indices.clear();
    return texts;
  }
}
