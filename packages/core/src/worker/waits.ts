/**
 * What executions here wait for. A task that waits gives its CPU back at once, and the tasks behind it; a wait of a
 * second is told to the node, which looks for cycles.
 */
import { DeadlockError } from "../base/errors.ts";
import type { Seq } from "../base/ids.ts";
import type { OwnerRuntime } from "../owner/mod.ts";
import type { Deadlock, ToNode } from "../wire/mod.ts";
import type { Running } from "./running.ts";

const REPORT_AFTER_MS = 1_000;

interface Wait {
  readonly id: number;
  readonly running: Running;
  readonly timer: NodeJS.Timeout;
  isReported: boolean;
}

export class Waits {
  private readonly runtime: () => OwnerRuntime;
  private readonly toNode: (message: ToNode) => void;
  private readonly waits = new Map<Running, Wait[]>();
  private readonly byId = new Map<number, Wait>();
  private nextId = 1;
  private isBlocked = false;
  private isCheckScheduled = false;
  /** The running task of this worker, when it is one that tasks run in. */
  task: (() => Running | undefined) | undefined;
  /** Called when the running task begins or ceases to wait. */
  onBlocked: ((isBlocked: boolean) => void) | undefined;

  constructor(runtime: () => OwnerRuntime, toNode: (message: ToNode) => void) {
    this.runtime = runtime;
    this.toNode = toNode;
  }

  change(change: 1 | -1, running: Running, seqs: readonly Seq[]): void {
    if (change > 0) this.begin(running, seqs);
    else this.end(running);
    this.scheduleCheck();
  }

  /** It may have left waits behind that it never awaited. */
  ended(running: Running): void {
    if (!this.waits.has(running)) return;
    while (this.waits.has(running)) this.end(running);
    this.scheduleCheck();
  }

  private scheduleCheck(): void {
    if (this.isCheckScheduled) return;
    // What is satisfied within the turn is no wait.
    this.isCheckScheduled = true;
    setImmediate(() => {
      this.isCheckScheduled = false;
      this.check();
    });
  }

  private begin(running: Running, seqs: readonly Seq[]): void {
    const id = this.nextId++;
    const wait: Wait = {
      id,
      running,
      isReported: false,
      timer: setTimeout(() => this.report(wait, seqs), REPORT_AFTER_MS),
    };
    wait.timer.unref();
    const others = this.waits.get(running);
    if (others) others.push(wait);
    else this.waits.set(running, [wait]);
    this.byId.set(id, wait);
  }

  private end(running: Running): void {
    const waits = this.waits.get(running);
    const wait = waits?.pop();
    if (!wait) return;
    if (waits?.length === 0) this.waits.delete(running);
    clearTimeout(wait.timer);
    this.byId.delete(wait.id);
    if (wait.isReported) this.toNode({ t: "wait-report", started: [], ended: [wait.id] });
  }

  private check(): void {
    const task = this.task?.();
    const isBlocked = task !== undefined && task.waits > 0;
    if (isBlocked === this.isBlocked) return;
    this.isBlocked = isBlocked;
    this.toNode({ t: "blocked", blocked: isBlocked });
    this.onBlocked?.(isBlocked);
  }

  private report(wait: Wait, seqs: readonly Seq[]): void {
    const { engine } = this.runtime();
    const on: string[] = [];
    for (const seq of seqs) {
      const record = engine.objects.find(seq);
      if (!record || record.value) continue;
      const { task } = record;
      if (task?.actor) on.push(`actor:${task.actor.actorId}`);
      else if (record.isForeign || task) on.push(`task:${engine.objects.keyOf(record)}`);
    }
    if (on.length === 0) return;
    wait.isReported = true;
    const { running } = wait;
    this.toNode({
      t: "wait-report",
      started: [{ waitId: wait.id, by: running.waiter, slots: running.slots, name: running.name, on }],
      ended: [],
    });
  }

  /** The node found that this wait closes a cycle: the waits of its execution are rejected. */
  deadlocked(message: Deadlock): void {
    const wait = this.byId.get(message.waitId);
    wait?.running.rejectWaits(
      new DeadlockError(
        `${message.cycle}: none of them can go on; let one return before it waits, or raise maxConcurrency`,
      ),
    );
  }
}
