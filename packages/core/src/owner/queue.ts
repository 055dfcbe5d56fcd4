/** A first-in first-out queue of tasks that gives memory back as it drains. */
import type { TaskQueue, TaskRecord } from "./records.ts";

const COMPACT_AT = 1024;

export class Fifo implements TaskQueue {
  private items: (TaskRecord | undefined)[] = [];
  private head = 0;
  private removed = 0;

  get size(): number {
    return this.items.length - this.head - this.removed;
  }

  push(task: TaskRecord): void {
    this.items.push(task);
  }

  unshift(task: TaskRecord): void {
    if (this.head > 0) this.items[--this.head] = task;
    else this.items.unshift(task);
  }

  shift(): TaskRecord | undefined {
    while (this.head < this.items.length) {
      const task = this.items[this.head];
      this.items[this.head++] = undefined;
      if (this.head >= COMPACT_AT && this.head * 2 >= this.items.length) {
        this.items = this.items.slice(this.head);
        this.head = 0;
      }
      if (task) return task;
      this.removed--;
    }
    this.items = [];
    this.head = 0;
    return undefined;
  }

  /** Leaves a hole, so that cancelling one of many costs a search and no move; at either end, not even a search. */
  remove(task: TaskRecord): boolean {
    const { items } = this;
    if (items.length > this.head && items.at(-1) === task) {
      items.pop();
      while (items.length > this.head && items.at(-1) === undefined) {
        items.pop();
        this.removed--;
      }
      return true;
    }
    const at = items.indexOf(task, this.head);
    if (at < 0) return false;
    items[at] = undefined;
    this.removed++;
    this.peek();
    return true;
  }

  peek(): TaskRecord | undefined {
    while (this.head < this.items.length) {
      const task = this.items[this.head];
      if (task) return task;
      this.head++;
      this.removed--;
    }
    return undefined;
  }

  *[Symbol.iterator](): Iterator<TaskRecord> {
    for (let at = this.head; at < this.items.length; at++) {
      const task = this.items[at];
      if (task) yield task;
    }
  }
}
