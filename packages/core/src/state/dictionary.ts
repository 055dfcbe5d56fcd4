/**
 * Values by small numbers, for columns; 0 is none. Rows lie in chunks that are dropped oldest first, so a value is not
 * needed any more when the newest chunk that has it is dropped: its number is then given to another.
 */
export class Dictionary<V> {
  private readonly ids = new Map<string, number>();
  private readonly keys: string[] = [""];
  private readonly values: (V | undefined)[] = [undefined];
  /** The newest chunk that has each. */
  private readonly newest: number[] = [-1];
  private readonly free: number[] = [];

  /** One more than the largest number. */
  get end(): number {
    return this.values.length;
  }

  /** Values that there are. */
  get size(): number {
    return this.ids.size;
  }

  get(id: number): V | undefined {
    return this.values[id];
  }

  /** The number of a value that `chunk` has. */
  intern(key: string, value: V, chunk: number): number {
    let id = this.ids.get(key);
    if (id === undefined) {
      id = this.free.pop() ?? this.values.length;
      this.ids.set(key, id);
      this.keys[id] = key;
      this.values[id] = value;
    }
    this.newest[id] = chunk;
    return id;
  }

  /** @param ids of the chunk, the oldest that there is. */
  dropped(ids: Uint32Array, chunk: number): void {
    for (const id of ids) {
      if (id === 0 || this.newest[id] !== chunk) continue;
      this.newest[id] = -1;
      this.ids.delete(this.keys[id] ?? "");
      this.keys[id] = "";
      this.values[id] = undefined;
      this.free.push(id);
    }
  }
}
