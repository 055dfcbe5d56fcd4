/** Virtual time: events in order of their time, and of their scheduling where times are equal. */

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

export class VirtualClock {
  nowMs = 1_800_000_000_000;
  private order = 0;
  /** A binary heap, the next event first. */
  private readonly heap: Event[] = [];

  schedule(delayMs: number, run: () => void): void {
    const { heap } = this;
    const event: Event = { atMs: this.nowMs + delayMs, order: this.order++, run };
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || isBefore(above, event)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = event;
  }

  /** Runs the next event; false when there is none. */
  step(): boolean {
    const { heap } = this;
    const next = heap[0];
    const last = heap.pop();
    if (next === undefined || last === undefined) return false;
    if (heap.length > 0) this.sink(last);
    this.nowMs = next.atMs;
    next.run();
    return true;
  }

  private sink(event: Event): void {
    const { heap } = this;
    let at = 0;
    for (;;) {
      const left = heap[2 * at + 1];
      const right = heap[2 * at + 2];
      if (left === undefined) break;
      const [child, index] = right !== undefined && isBefore(right, left) ? [right, 2 * at + 2] : [left, 2 * at + 1];
      if (isBefore(event, child)) break;
      heap[at] = child;
      at = index;
    }
    heap[at] = event;
  }
}

const isBefore = (a: Event, b: Event): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
