/** Tasks that have ended and are kept in mind, since what they gave may be lost: made again, and before them their arguments. */
import type { ObjectTable } from "./objects.ts";
import { type ObjectRecord, TASK_STATE, type TaskRecord } from "./records.ts";

export interface LineageOptions {
  readonly objects: ObjectTable;
  maxRetries(task: TaskRecord): number;
  mayRetry(task: TaskRecord): boolean;
  /** It has ended, and is to run again. */
  again(task: TaskRecord): void;
  /** It runs, and may be past the item that was lost. */
  restartStalled(task: TaskRecord): void;
  /** What it was made from is needed no more. */
  forget(task: TaskRecord): void;
}

export class Lineage {
  private readonly options: LineageOptions;

  constructor(options: LineageOptions) {
    this.options = options;
  }

  /** It has ended, and something that it gave may be lost. */
  keep(task: TaskRecord): void {
    const { objects } = this.options;
    task.hasLineage = true;
    for (const dep of task.deps) {
      objects.useLineage(dep);
      objects.dropUse(dep);
    }
    // All of its returns may have been let go of before it ended.
    this.dropUnneeded(task);
  }

  dropUnneeded(task: TaskRecord): void {
    const { deps, stream } = task;
    if (!task.hasLineage) return;
    if (stream ? stream.stored.size > 0 : task.returns.some((record) => this.isKept(record))) return;
    task.hasLineage = false;
    task.deps = NO_DEPS;
    this.options.forget(task);
    for (const dep of deps) this.options.objects.dropLineage(dep);
  }

  private isKept(record: ObjectRecord): boolean {
    return record.lineageUses > 0 || this.options.objects.find(record.seq) === record;
  }

  /**
   * A stored return was lost: run the task again, and before it whatever made its lost arguments. A generator makes all of
   * its items again, of which the lost ones are kept; while it runs, the attempt may be past the lost one, so its end
   * shows whether another one is needed.
   *
   * @returns why it is not; undefined when it is.
   */
  rebuild(task: TaskRecord, record: ObjectRecord): string | undefined {
    const { objects, restartStalled, again } = this.options;
    const { stream } = task;
    const whyNot = this.whyNever(task) ?? (task.state === TASK_STATE.done ? this.whyNotAgain(task) : undefined);
    if (whyNot !== undefined) return whyNot;
    const index = stream?.stored.get(record);
    if (stream && index !== undefined) stream.lost.set(index, record);
    if (task.state !== TASK_STATE.done) {
      restartStalled(task);
      return undefined;
    }
    for (const dep of task.deps) {
      dep.uses++;
      objects.dropLineage(dep);
    }
    task.hasLineage = false;
    task.failures++;
    task.attempt++;
    again(task);
    return undefined;
  }

  /** Why a stored return of it would not be made again; undefined when it would. */
  whyNotRebuilt(task: TaskRecord): string | undefined {
    return (
      this.whyNever(task) ?? (task.state === TASK_STATE.done && !task.hasLineage ? "nothing is kept of it" : undefined)
    );
  }

  whyNever(task: TaskRecord): string | undefined {
    if (task.actor) return `${task.name} is a call of an actor, which is not run again for what it gave`;
    return this.options.maxRetries(task) === 0 ? `${task.name} has maxRetries 0` : undefined;
  }

  private whyNotAgain(task: TaskRecord): string | undefined {
    const { maxRetries, mayRetry } = this.options;
    if (!task.hasLineage) return `${task.name} was cancelled or failed`;
    if (!mayRetry(task)) return `${task.name} has used up its ${maxRetries(task)} retries`;
    for (const dep of task.deps) {
      if (dep.value || dep.isForeign) continue;
      const whyNot = dep.task ? this.rebuild(dep.task, dep) : "it was put";
      if (whyNot !== undefined) return `an argument of ${task.name} is gone too: ${whyNot}`;
    }
    return undefined;
  }
}

const NO_DEPS: readonly ObjectRecord[] = Object.freeze([]);
