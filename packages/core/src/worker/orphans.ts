/**
 * What a dead owner leaves behind in its worker: the task that runs, and answers that it has not heard. Either the node's
 * deputy of that owner asks for them (`TO_WORKER.inherit`), or this worker is ended.
 *
 * An answer that was written may lie in a socket of an owner that is dead, or that does not come to read it before it is. So
 * what took long to make is kept until the owner says that it has heard it (`TO_WORKER.heard`).
 */
import { ANSWER_KEPT_FROM_MICROS } from "../wire/mod.ts";
import type { OwnerConnection } from "./connection.ts";
import type { TaskMessage } from "./task-runner.ts";

/** Answers, whose values may be large: more than an owner that does not listen has sent long tasks ahead. */
const KEPT_MAX = 16;

interface Answer {
  readonly task: TaskMessage;
  /** Writes it once more. */
  readonly report: () => void;
}

export class Orphans {
  private kept: Answer[] = [];

  /** An answer was written. */
  answered(task: TaskMessage, runMicros: number, report: () => void): void {
    // Streams end with their owner.
    if (runMicros < ANSWER_KEPT_FROM_MICROS || task.template.isStream) return;
    this.kept.push({ task, report });
    if (this.kept.length > KEPT_MAX) this.kept.shift();
  }

  heard(owner: OwnerConnection, seq: number, attempt: number): void {
    const at = this.kept.findIndex(
      ({ task }) => task.seq === seq && task.attempt === attempt && task.connection === owner,
    );
    if (at >= 0) this.kept.splice(at, 1);
  }

  /** Tells the heir of the running task and of the answers, and gives it those. */
  passTo(heir: OwnerConnection, running: TaskMessage | undefined): void {
    const isLeft = ({ connection }: TaskMessage): boolean => connection.isOver && connection.ownerId === heir.ownerId;
    const answers = this.kept.filter(({ task }) => isLeft(task));
    const tasks = answers.map(({ task }) => task);
    if (running && isLeft(running)) tasks.push(running);
    for (const task of tasks) task.connection = heir;
    heir.results.inherited(tasks);
    for (const { report } of answers) report();
  }

  /** This worker is leased anew: who had it before has heard what it will hear, or nobody has asked for it. */
  clear(): void {
    this.kept = [];
  }
}
