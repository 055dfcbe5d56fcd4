/**
 * What a dead owner leaves behind in its worker: the task that runs, and an answer that was written to nobody. Either the
 * node's deputy of that owner asks for them (`TO_WORKER.inherit`), or this worker is ended.
 *
 * A task that computes keeps the thread, so that its owner's end is seen only when it has ended and has answered. So an
 * answer that took long to make is kept until the event loop has seen which connections have ended.
 */
import type { OwnerConnection } from "./connection.ts";
import type { TaskMessage } from "./task-runner.ts";

/** What took less is as quickly made again. */
const KEPT_FROM_MICROS = 10_000;
/** In which the end of a connection is seen for certain: time, and turns of the event loop after it. */
const KEPT_MS = 100;
const TURNS = 4;

interface Answer {
  readonly task: TaskMessage;
  /** Writes it once more. */
  readonly report: () => void;
}

export class Orphans {
  private kept: Answer | undefined;

  /** An answer was written. */
  answered(task: TaskMessage, runMicros: number, report: () => void): void {
    if (runMicros < KEPT_FROM_MICROS) return;
    const answer = { task, report };
    this.kept = answer;
    let turns = TURNS;
    const look = (): void => {
      if (this.kept !== answer) return;
      if (turns-- > 0) setImmediate(look);
      else if (!task.connection.isOver) this.kept = undefined;
    };
    // The thread may be busy with the next task: its turns count, and not only the time.
    setTimeout(look, KEPT_MS).unref();
  }

  /** Tells the heir of the running task and of the answer, and gives it that. */
  passTo(heir: OwnerConnection, running: TaskMessage | undefined): void {
    const { kept } = this;
    const tasks = [kept?.task, running]
      .filter((task) => task !== undefined)
      .filter(({ connection }) => connection.isOver && connection.ownerId === heir.ownerId);
    for (const task of tasks) task.connection = heir;
    heir.results.inherited(tasks);
    if (!kept || !tasks.includes(kept.task)) return;
    this.kept = undefined;
    kept.report();
  }

  /** Nobody has asked for it. */
  clear(): void {
    if (this.kept?.task.connection.isOver) this.kept = undefined;
  }
}
