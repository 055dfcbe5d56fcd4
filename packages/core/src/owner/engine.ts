/**
 * The owner engine: everything one process owns. Messages and requests go in, effects come out; it awaits nothing and
 * reads no clock, so the simulator runs it as it is.
 *
 * The runtime must: set the time with `at` before it hands anything in; call `flush` when it has handed in all that it
 * had (once a turn); call `tick` about every 10 ms while `isActive`.
 */
import { objectKeySeq, type ProcessId, type Seq } from "../base/ids.ts";
import { encode } from "../codec/mod.ts";
import {
  ANSWER_KEPT_FROM_MICROS,
  type FrameReader,
  type FromNode,
  readKeys,
  readValue,
  readValues,
  TO_OWNER,
  TO_WORKER,
  type ToNode,
  type ValueRecord,
} from "../wire/mod.ts";
import { ActorTable } from "./actors.ts";
import { awaitedFor, depsOf, missingAmong } from "./awaited.ts";
import type { OwnerEffects } from "./effects.ts";
import { whyUnfinished } from "./explain.ts";
import { Handover } from "./handover.ts";
import { Inheritance } from "./inheritance.ts";
import { keepValue } from "./kept-bytes.ts";
import { ObjectTable } from "./objects.ts";
import { TASK_STATE, type TaskRecord, type WorkerLink } from "./records.ts";
import { TaskTable } from "./tasks.ts";

export interface OwnerEngineOptions {
  /** This engine runs on a thread that runs user code: see handover.ts. */
  readonly handsOver?: boolean;
  /** Where its own numbers begin, when another engine numbers for the same owner. */
  readonly engineSeqsFrom?: number;
  /** Of the process that submits. */
  readonly pid?: number;
}

export class OwnerEngine {
  readonly objects: ObjectTable;
  readonly tasks: TaskTable;
  readonly actors: ActorTable;
  /** In a worker: what it does not wait for goes to its node. */
  readonly handover: Handover | undefined;
  /** What it took on from an owner that died. */
  readonly inheritance: Inheritance;
  private readonly effects: OwnerEffects;
  /** Answers that workers keep until it is said that they were heard: seqs and attempts. */
  private readonly heard = new Map<WorkerLink, number[]>();

  constructor(self: ProcessId, outside: OwnerEffects, options: OwnerEngineOptions = {}) {
    const effects = options.handsOver
      ? { ...outside, toNode: (message: ToNode) => this.tell(outside, message) }
      : outside;
    this.effects = effects;
    this.objects = new ObjectTable(self, effects, options.engineSeqsFrom);
    this.tasks = new TaskTable(effects, this.objects);
    this.tasks.whyUnfinished = (task) => whyUnfinished(this, task, this.tasks.nowMs);
    if (options.handsOver) this.handover = new Handover(effects, this.objects, this.tasks);
    this.actors = new ActorTable(effects, this.objects, this.tasks, { processId: self, pid: options.pid ?? 0 });
    this.inheritance = new Inheritance(effects, this.tasks);
    this.tasks.leases.askBack = (lease, seqs) => {
      const { out } = lease.link;
      out.begin();
      out.array(seqs.length + 1);
      out.uint(TO_WORKER.takeBack);
      for (const seq of seqs) out.uint(seq);
      out.end();
      lease.link.schedule();
    };
  }

  private tell(outside: OwnerEffects, message: ToNode): void {
    this.handover?.told(message);
    outside.toNode(message);
  }

  get isActive(): boolean {
    return this.tasks.isActive;
  }

  at(nowMs: number): void {
    this.tasks.nowMs = nowMs;
    this.tasks.leases.nowMs = nowMs;
  }

  flush(): void {
    // Before the next attempt of one of them.
    if (this.heard.size > 0) this.tellHeard();
    this.actors.flush();
    this.tasks.leases.flush();
    // Calls and tasks that were sent have refs in their arguments.
    this.handover?.copy();
    this.objects.flush();
  }

  /**
   * The answers of this turn, which have come to be values: what the node is to know of those was said before, and leaves
   * before (`OwnerRuntime.finishTurn`).
   */
  private tellHeard(): void {
    for (const [link, answers] of this.heard) {
      const { out } = link;
      out.begin();
      out.array(1 + answers.length);
      out.uint(TO_WORKER.heard);
      for (const field of answers) out.uint(field);
      out.end();
      link.schedule();
    }
    this.heard.clear();
  }

  tick(): void {
    this.tasks.tick();
    this.flush();
  }

  // ── from the node ──────────────────────────────────────────────────────────────────────────────────────────────

  /** True when the message was for the engine. */
  onNodeMessage(message: FromNode): boolean {
    switch (message.t) {
      case "lease-granted":
        this.tasks.leases.granted(message);
        return true;
      case "lease-revoked":
        this.tasks.leases.revoked(message.leaseId);
        return true;
      case "lease-preempted":
        this.tasks.leases.preempted(message);
        return true;
      case "lease-question":
        this.tasks.leases.questioned(message.leaseId);
        return true;
      case "lease-reclaimed":
        this.tasks.leases.reclaimed(message);
        return true;
      case "lease-lost": {
        const lease = this.tasks.leases.find(message.leaseId);
        if (lease) this.tasks.leases.died(lease, message.death);
        else this.inheritance.died(message.leaseId, message.death);
        return true;
      }
      case "lease-infeasible": {
        const { message: words, refusedInMs } = message;
        const wait = `it waits ${Math.ceil(refusedInMs / 1000)} s for a node that can, and fails then`;
        this.effects.warn("infeasible", `${words}; ${wait}`);
        return true;
      }
      case "lease-refused":
        this.tasks.refuse(message.shape, message);
        return true;
      case "object-state":
        this.objects.onObjectState(message.key, message.value);
        return true;
      case "object-cancel":
        if (this.objects.find(objectKeySeq(message.key)))
          this.cancel(objectKeySeq(message.key), message.force, message.isRecursive);
        return true;
      case "object-unheld":
        this.objects.onUnheld(message.key);
        return true;
      case "object-lost":
        this.objects.onLost(message.key, message.name);
        return true;
      case "object-needs": {
        const needs = message.keys.flatMap((key) => {
          const record = this.objects.find(objectKeySeq(key));
          const needed = record ? [...missingAmong(depsOf(record))] : [];
          const awaited = needed.map((one) => awaitedFor(this.objects, one)).filter((one) => one !== undefined);
          return awaited.length > 0 ? [[key, awaited] as const] : [];
        });
        if (needs.length > 0) this.effects.toNode({ t: "object-needs-told", asker: message.asker, needs });
        return true;
      }
      case "handed-ended":
        this.tasks.endedCount += message.count;
        this.handover?.ended(message.count);
        return true;
      case "handed-notice": {
        const { notice } = message;
        if (notice.kind === "warning") this.effects.warn(notice.code, notice.message);
        else this.effects.unreadFailure(notice.name, notice.bytes);
        return true;
      }
      case "store-copied":
        this.objects.onCopied(message);
        return true;
      case "store-pinned":
        return this.objects.onPinned(message);
      case "actor-state":
        this.actors.onState(message);
        return true;
      case "state-objects":
        this.objects.stateHolds(message.id, new Set(message.homes));
        return true;
      case "state-holds":
        this.actors.stateHolds();
        return true;
      default:
        return false;
    }
  }

  // ── from workers ───────────────────────────────────────────────────────────────────────────────────────────────

  onWorkerFrame(link: WorkerLink, reader: FrameReader): void {
    const fields = reader.array();
    const kind = reader.uint();
    switch (kind) {
      case TO_OWNER.ok: {
        const seq = reader.uint() as Seq;
        const attempt = reader.uint();
        const runMicros = reader.uint();
        const task = this.tasks.current(link, seq, attempt);
        if (runMicros >= ANSWER_KEPT_FROM_MICROS) this.hear(link, seq, attempt, task);
        const bytes = reader.bin();
        if (task) this.tasks.succeeded(task, runMicros, [keepValue(bytes)]);
        return;
      }
      case TO_OWNER.results: {
        const seq = reader.uint() as Seq;
        const attempt = reader.uint();
        const runMicros = reader.uint();
        const task = this.tasks.current(link, seq, attempt);
        if (runMicros >= ANSWER_KEPT_FROM_MICROS) this.hear(link, seq, attempt, task);
        const values = readValues(reader);
        if (task) this.tasks.succeeded(task, runMicros, values);
        else this.discardAll(values);
        return;
      }
      case TO_OWNER.error: {
        const seq = reader.uint() as Seq;
        const attempt = reader.uint();
        const runMicros = reader.uint();
        const task = this.tasks.current(link, seq, attempt);
        if (runMicros >= ANSWER_KEPT_FROM_MICROS) this.hear(link, seq, attempt, task);
        const bytes = Buffer.from(reader.bin());
        const nested = readKeys(reader);
        const isRetryable = reader.bool();
        if (task) this.tasks.threw(task, runMicros, bytes, nested, isRetryable);
        else this.discardAll([{ at: "error", bytes, nested }]);
        return;
      }
      case TO_OWNER.streamItem: {
        const task = this.tasks.current(link, reader.uint() as Seq, reader.uint());
        const index = reader.uint();
        const value = readValue(reader);
        this.objects.holds.receive(value.nested);
        if (!task?.stream || task.state === TASK_STATE.done || task.stream.isAbandoned) this.tasks.discard(value);
        else {
          this.streamItem(task, index, value);
          this.tasks.streams.restartStalled(task);
        }
        return;
      }
      case TO_OWNER.streamEnd: {
        const task = this.tasks.current(link, reader.uint() as Seq, reader.uint());
        const runMicros = reader.uint();
        const count = reader.uint();
        if (task) this.streamEnd(task, runMicros, count);
        return;
      }
      case TO_OWNER.returned: {
        const returned: TaskRecord[] = [];
        for (let field = 1; field < fields; field++) {
          const task = this.tasks.sent.get(reader.uint() as Seq);
          if (task && (task.lease?.link ?? task.actor?.link) === link) returned.push(task);
        }
        // The first of them is to be the first again.
        for (const task of returned.reverse()) {
          if (task.lease) this.tasks.leases.returned(task, task.lease);
          else if (task.actor) {
            this.tasks.unsent(task);
            this.actors.requeue(task);
          }
        }
        return;
      }
      case TO_OWNER.argumentsLost: {
        const task = this.tasks.current(link, reader.uint() as Seq, reader.uint());
        const names = new Set<string>();
        for (let field = 3; field < fields; field++) names.add(reader.string());
        if (task) this.tasks.argumentsLost(task, names);
        return;
      }
      case TO_OWNER.inherited:
        this.inheritance.answered(link, reader, fields);
        return;
      case TO_OWNER.actorGone:
        this.actors.gone(link, reader.uint(), reader.uint());
        return;
      default:
        return;
    }
  }

  /** An answer that its worker keeps. */
  private hear(link: WorkerLink, seq: Seq, attempt: number, task: TaskRecord | undefined): void {
    // Calls have no heirs.
    if (task?.actor) return;
    const answers = this.heard.get(link);
    if (answers) answers.push(seq, attempt);
    else this.heard.set(link, [seq, attempt]);
  }

  private discardAll(values: readonly ValueRecord[]): void {
    for (const value of values) {
      this.objects.holds.receive(value.nested);
      this.tasks.discard(value);
    }
  }

  private streamItem(task: TaskRecord, index: number, value: ValueRecord): void {
    const { stream } = task;
    if (!stream) return;
    stream.made = index + 1;
    if (index < stream.received || stream.isEnded) {
      // A producer that runs again makes the same items, and may have to be told how many were taken long ago.
      const lost = stream.lost.get(index);
      stream.lost.delete(index);
      if (lost) this.objects.setValue(lost, value);
      else this.tasks.discard(value);
      this.acknowledge(task);
      return;
    }
    stream.received = index + 1;
    // Whoever reads a stream reads its values: a small one goes along, and there is nothing more to keep of it.
    if (value.at === "inline" && value.nested.length === 0) {
      this.effects.streamValue(task.seq, value.bytes);
      return;
    }
    const item = this.objects.createUnnumbered(task);
    this.objects.setValue(item, value);
    if (value.at === "stored") this.tasks.streams.itemStored(task, item, index);
    this.effects.streamItem(task.seq, item.seq);
  }

  private streamEnd(task: TaskRecord, runMicros: number, count: number): void {
    const { stream } = task;
    if (!this.tasks.leave(task, runMicros, "ok") || !stream) return;
    const completion = task.returns[0];
    if (!stream.isEnded) {
      this.effects.streamEnd(task.seq, count);
      if (completion) this.objects.setValue(completion, { at: "inline", bytes: NOTHING, nested: [] });
    }
    this.tasks.streams.ended(task, stream, count);
  }

  /** The program took `consumed` items of the stream in all. */
  consumed(seq: Seq, consumed: number): void {
    const task = this.objects.find(seq)?.task;
    if (!task?.stream || task.state === TASK_STATE.done) return;
    task.stream.consumed = Math.max(task.stream.consumed, consumed);
    this.acknowledge(task);
  }

  private acknowledge(task: TaskRecord): void {
    const { stream } = task;
    const link = task.lease?.link ?? task.actor?.link;
    if (!link || !stream) return;
    const { out } = link;
    out.begin();
    out.array(3);
    out.uint(TO_WORKER.streamAck);
    out.uint(task.seq);
    // Nobody reads along when it only makes again what was lost.
    out.uint(stream.isEnded ? stream.received : stream.consumed);
    out.end();
    link.schedule();
  }

  /** The connection to a worker ended. The node will say what became of the worker. */
  onLinkClosed(link: WorkerLink): void {
    link.isBroken = true;
    this.heard.delete(link);
    this.tasks.templates.onLinkClosed(link);
    this.tasks.leases.onLinkClosed(link);
    this.inheritance.onLinkClosed(link);
    this.actors.onLinkClosed(link);
  }

  // ── from the program ───────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Ends the task or call that makes `seq`, also that of another owner; false when it is not known or has ended.
   * Recursive cancelling is the worker's part: it knows what the task submitted, and is told with the cancel message.
   */
  cancel(seq: Seq, force: boolean, isRecursive: boolean): boolean {
    const record = this.objects.find(seq);
    if (record?.isForeign && !record.value) {
      this.effects.toNode({ t: "object-cancel", key: this.objects.keyOf(record), force, isRecursive });
      return true;
    }
    if (!record && this.handover && this.handover.pending > 0) {
      // Its ref is gone; it may be among what was handed over.
      this.effects.toNode({ t: "object-cancel", key: this.objects.ownKey(seq), force, isRecursive });
      return true;
    }
    const task = record?.task;
    if (!task) return false;
    const message = `${task.name} was cancelled`;
    return this.tasks.cancel(task, force, isRecursive, { code: "TASK_CANCELLED", kind: "cancelled", message });
  }

  /** The program let go of a stream: no item is wanted any more, and the producer is stopped. */
  abandonStream(seq: Seq): void {
    const task = this.objects.find(seq)?.task;
    if (!task?.stream || task.stream.isAbandoned || task.stream.isEnded) return;
    task.stream.isAbandoned = true;
    this.tasks.cancel(task, false, true, {
      code: "TASK_CANCELLED",
      kind: "cancelled",
      message: `${task.name}: its consumer left`,
    });
  }
}

/** What a stream's completion resolves to. */
const NOTHING = encode(undefined).toBytes();
