/**
 * Deputies: for each worker that handed tasks over, an owner engine in the node's process that sees them through. The
 * worker's thread runs user code, and may be busy for seconds.
 *
 * A deputy numbers for its worker (results keep their names) and holds for itself, under an id of its own: it outlives
 * the worker as long as others hold what it makes. What it says to the node is handled at once; what the node says to
 * it waits for the end of the turn, since an engine that speaks is not ready to listen.
 */
import type { JobId, ObjectKey, ProcessId, Seq } from "../base/ids.ts";
import { adopt, Copies, cancelUnheld, DEPUTY_SEQS_FROM, type InheritedLease, OwnerRuntime } from "../owner/mod.ts";
import { mapClaims } from "../store/mod.ts";
import type { Explanation } from "../wire/explanation.ts";
import type {
  FromNode,
  HandedNotice,
  ObjectCancel,
  ObjectPublish,
  ObjectUnread,
  TaskCopy,
  TaskHandover,
  TemplateDrop,
  ToNode,
  Welcome,
} from "../wire/messages.ts";

export interface DeputiesOptions {
  readonly newId: () => ProcessId;
  readonly place: () => Pick<Welcome, "nodeId" | "access">;
  /** A deputy has come: it holds and leases from now on. */
  joined(deputy: ProcessId, jobId: JobId): void;
  left(deputy: ProcessId): void;
  /** Handles what a deputy says as if it had come from a process. */
  handle(from: ProcessId, message: ToNode): void;
  send(to: ProcessId, message: FromNode): void;
  pidOf(giver: ProcessId): number | undefined;
  isHeldBeside(key: ObjectKey, process: ProcessId): boolean;
  /** The leases that a process had are its deputy's from now on. */
  inheritLeases(from: ProcessId, deputy: ProcessId): readonly InheritedLease[];
}

/** The worker hears of ends by so many, and when all have ended: it counts what is pending. */
const ENDED_TOLD_BY = 1_000;
/** Errors that somebody may still ask for, whose tasks' names are kept. */
const FAILURES_MAX = 10_000;

export class Deputies {
  private readonly options: DeputiesOptions;
  private readonly byGiver = new Map<ProcessId, Deputy>();
  private readonly byId = new Map<ProcessId, Deputy>();

  constructor(options: DeputiesOptions) {
    this.options = options;
  }

  ids(): Iterable<ProcessId> {
    return this.byId.keys();
  }

  handOver(giver: ProcessId, message: TaskHandover): void {
    this.deputyOf(giver, message.jobId).adopt(message);
  }

  copy(giver: ProcessId, message: TaskCopy): void {
    this.deputyOf(giver, message.jobId).copy(message);
  }

  /** A task is to be cancelled by its owner, which may be dead already. */
  cancelling(giver: ProcessId, message: ObjectCancel): void {
    this.byGiver.get(giver)?.copies.cancelling(message);
  }

  published(giver: ProcessId, { objects }: ObjectPublish): void {
    this.byGiver.get(giver)?.published(objects);
  }

  private deputyOf(giver: ProcessId, jobId: JobId): Deputy {
    let deputy = this.byGiver.get(giver);
    if (!deputy) {
      const made = new Deputy(giver, jobId, this.options, () => {
        this.byId.delete(made.id);
        this.options.left(made.id);
      });
      deputy = made;
      this.byGiver.set(giver, deputy);
      this.byId.set(deputy.id, deputy);
      this.options.joined(deputy.id, jobId);
    }
    return deputy;
  }

  dropTemplates(giver: ProcessId, { ids }: TemplateDrop): void {
    this.byGiver.get(giver)?.dropTemplates(ids);
  }

  /** What is known of an object of `giver` that was handed over; undefined when it was not. */
  explain(giver: ProcessId, seq: Seq): Promise<Explanation> | undefined {
    for (const { runtime } of this.deputiesOf(giver)) {
      if (runtime.engine.objects.find(seq)) return runtime.explain({ seq }, true);
    }
    return undefined;
  }

  private *deputiesOf(giver: ProcessId): Generator<Deputy> {
    for (const deputy of this.byId.values()) if (deputy.giver === giver) yield deputy;
  }

  /** True when the process is a deputy. */
  deliver(to: ProcessId, message: FromNode): boolean {
    const deputy = this.byId.get(to);
    deputy?.deliver(message);
    return deputy !== undefined;
  }

  /** It is dead; its holds and leases are still there. What it had not handed over is seen through by its copies. */
  succeed(giver: ProcessId): void {
    this.byGiver.get(giver)?.succeed();
  }

  /** Its holds are gone. `retired`: it had nothing to do, and what it started may end. */
  giverGone(giver: ProcessId, retired: boolean): void {
    const deputy = this.byGiver.get(giver);
    this.byGiver.delete(giver);
    deputy?.giverGone(retired);
  }

  close(): void {
    for (const deputy of this.byId.values()) deputy.runtime.close();
  }
}

class Deputy {
  readonly id: ProcessId;
  readonly runtime: OwnerRuntime;
  readonly copies: Copies;
  readonly giver: ProcessId;
  private readonly options: DeputiesOptions;
  private readonly onEnd: () => void;
  private inbox: FromNode[] = [];
  private adopted = 0;
  private endedTold = 0;
  private isAlone = false;
  private isOver = false;
  /** Failed tasks whose errors others may ask for. */
  private readonly failures = new Map<ObjectKey, string>();

  constructor(giver: ProcessId, jobId: JobId, options: DeputiesOptions, onEnd: () => void) {
    this.giver = giver;
    this.id = options.newId();
    this.options = options;
    this.onEnd = onEnd;
    const pid = options.pidOf(giver);
    this.runtime = new OwnerRuntime({
      ...(pid !== undefined && { pid }),
      self: giver,
      processId: this.id,
      engine: { engineSeqsFrom: DEPUTY_SEQS_FROM },
      jobId: () => jobId,
      place: options.place(),
      node: { send: (message) => options.handle(this.id, message as ToNode), flush() {} },
      mapClaims,
      afterFlush: () => this.turnEnded(),
    });
    this.copies = new Copies(this.runtime.engine, this.runtime, { self: this.id, giver });
    this.runtime.program = {
      ...NOBODY_WAITS,
      unreadFailure: (name, bytes) => this.notice({ kind: "unread-failure", name, bytes }),
      warn: (code, message) => this.notice({ kind: "warning", code, message }),
      escapedFailure: (key, name) => this.failed(key, name),
    };
  }

  adopt(message: TaskHandover): void {
    const { runtime, giver, id } = this;
    this.copies.handedOver(message);
    adopt(runtime.enter(), runtime, { self: id, giver }, message);
    this.adopted += message.tasks.length;
    runtime.schedule();
  }

  copy(message: TaskCopy): void {
    this.runtime.enter();
    this.copies.add(message);
    this.runtime.schedule();
  }

  published(objects: ObjectPublish["objects"]): void {
    if (this.copies.isEmpty) return;
    this.copies.published(objects);
    this.runtime.schedule();
  }

  succeed(): void {
    this.runtime.enter();
    this.adopted += this.copies.succeed(() => this.options.inheritLeases(this.giver, this.id));
    this.runtime.schedule();
  }

  dropTemplates(ids: readonly number[]): void {
    this.copies.dropTemplates(ids);
    this.runtime.schedule();
  }

  deliver(message: FromNode): void {
    this.inbox.push(message);
    if (this.inbox.length === 1) queueMicrotask(this.listen);
  }

  private readonly listen = (): void => {
    for (let messages = this.inbox; messages.length > 0; messages = this.inbox) {
      this.inbox = [];
      for (const message of messages) {
        if (message.t === "object-unread") this.unread(message);
        else this.runtime.onNodeMessage(message);
      }
    }
  };

  giverGone(retired: boolean): void {
    this.isAlone = true;
    if (!retired) cancelUnheld(this.runtime.enter(), (key) => this.options.isHeldBeside(key, this.id));
    this.runtime.schedule();
  }

  private turnEnded(): void {
    const { endedCount } = this.runtime.engine.tasks;
    const isIdle = endedCount === this.adopted;
    const untold = endedCount - this.endedTold;
    if (untold >= ENDED_TOLD_BY || (isIdle && untold > 0)) {
      this.endedTold = endedCount;
      this.options.send(this.giver, { t: "handed-ended", count: untold });
    }
    const { isActive, objects } = this.runtime.engine;
    // What others hold is made again when it is lost.
    if (!this.isAlone || !isIdle || isActive || objects.lentCount > 0 || this.isOver) return;
    this.isOver = true;
    this.runtime.close();
    this.onEnd();
  }

  private notice(notice: HandedNotice["notice"]): void {
    this.options.send(this.giver, { t: "handed-notice", notice });
  }

  private failed(key: ObjectKey, name: string): void {
    this.failures.set(key, name);
    if (this.failures.size <= FAILURES_MAX) return;
    for (const oldest of this.failures.keys()) {
      this.failures.delete(oldest);
      break;
    }
  }

  private unread({ key, bytes }: ObjectUnread): void {
    const name = this.failures.get(key);
    if (name !== undefined) this.notice({ kind: "unread-failure", name, bytes });
    this.failures.delete(key);
  }
}

/** The program is elsewhere: it asks the directory for what it wants. */
const NOBODY_WAITS = {
  value() {},
  pinned() {},
  ready() {},
  streamItem() {},
  streamValue() {},
  streamEnd() {},
  kept() {},
};
