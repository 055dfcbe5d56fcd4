/**
 * The life of a task at its owner: submitted, waiting for arguments, queued, sent, finished; and again, when an attempt
 * was lost or its error is one to retry. Actor calls share everything here but where they are queued and sent.
 */
import { nodeTag, type ObjectKey, type Seq } from "../base/ids.ts";
import type { AttemptOutcome } from "../events/mod.ts";
import {
  type FailureRecord,
  type FrameWriter,
  type LeaseRefused,
  NO_CLAIM,
  packFailure,
  TO_WORKER,
  unpackFailure,
  type ValueRecord,
  type WorkerAddress,
  writeKeys,
  writeValues,
} from "../wire/mod.ts";
import type { OwnerEffects } from "./effects.ts";
import type { Handover } from "./handover.ts";
import { type KeptBytes, writeKept } from "./kept-bytes.ts";
import { LeaseTable } from "./leases.ts";
import { Lineage } from "./lineage.ts";
import { lostFailure } from "./lost-failure.ts";
import type { ObjectTable } from "./objects.ts";
import {
  type Lease,
  type NestedRef,
  type ObjectRecord,
  TASK_STATE,
  type TaskOrigin,
  TaskRecord,
  type Template,
  type WorkerLink,
} from "./records.ts";
import { Streams } from "./streams.ts";
import { Templates } from "./templates.ts";

/** A task whose worker ran out of memory waits before it is tried again: 0.5 s, then twice as long each time. */
const MEMORY_RETRY_MS = 500;
const MEMORY_RETRY_MS_MAX = 60_000;

export interface CallQueue {
  /** The call's arguments are ready, or it was put back: sent in its turn. */
  ready(task: TaskRecord): void;
  /** The call ended, however. */
  ended(task: TaskRecord): void;
  /** The worker let go of a call that was sent. */
  left(task: TaskRecord): void;
  /** Takes a call that was not sent out of its queue. */
  withdraw(task: TaskRecord): boolean;
}

/** What runs on another node, and may not have begun, is interrupted again so often. */
const INTERRUPT_ELSEWHERE_MS = 100;
/**
 * A generator that is cancelled is ended by its worker, between two of its steps, and cleans up; only one that has not
 * come so far by then is interrupted. An interrupt in a step ends the generator without its `finally`.
 */
const STREAM_GRACE_MS = 250;

export class TaskTable {
  readonly leases: LeaseTable;
  private readonly effects: OwnerEffects;
  private readonly objects: ObjectTable;
  readonly templates: Templates;
  readonly lineage: Lineage;
  readonly streams: Streams;
  /** Sent and unfinished tasks and calls. */
  readonly sent = new Map<Seq, TaskRecord>();
  private readonly delayed = new Map<TaskRecord, number>();
  private readonly limited = new Set<TaskRecord>();
  /** Settled for the program, but their workers have not let go of them: cancelled; and when they may be interrupted. */
  private readonly interrupted = new Map<TaskRecord, number>();
  private interruptedAtMs = 0;
  calls: CallQueue | undefined;
  /** Sentences: what a task or call waits for, or where it runs. */
  whyUnfinished: (task: TaskRecord) => string = () => "";
  /** Told of tasks that wait, where they may be handed over. */
  handover: Handover | undefined;
  /** Tasks and calls that ended, since the start: the program counts what is pending by it. */
  endedCount = 0;
  nowMs = 0;

  constructor(effects: OwnerEffects, objects: ObjectTable) {
    this.effects = effects;
    this.objects = objects;
    this.leases = new LeaseTable(effects, {
      queued: (task) => this.handover?.unsent(task),
      unqueued: (task) => this.handover?.left(task),
      isReady: (task) => {
        if (task.deps.every(({ value }) => value && value.at !== "error")) return true;
        this.handover?.left(task);
        this.requeue(task);
        return false;
      },
      send: (task, lease) => this.send(task, lease),
      attemptLost: (task, lease, started) => this.attemptLost(task, lease, started),
      unsent: (task) => this.unsent(task),
      mayEnd: (task) => this.maxRetries(task) !== 0 && this.mayRetry(task),
      signal: (task, { link }) => this.tellCancelled(task, link, "TASK_PREEMPTED", true),
    });
    const grant = (keys: readonly ObjectKey[], link: WorkerLink): void => this.grant(keys, link);
    this.templates = new Templates({ objects, leases: this.leases, grant });
    this.lineage = new Lineage({
      objects,
      maxRetries: (task) => this.maxRetries(task),
      mayRetry: (task) => this.mayRetry(task),
      again: (task) => {
        this.endedCount--;
        this.requeue(task);
      },
      restartStalled: (task) => this.streams.restartStalled(task),
      forget: (task) => this.forget(task),
    });
    const { leases, lineage } = this;
    this.streams = new Streams({ objects, leases, lineage, effects, end: (task, isKept) => this.end(task, isKept) });
    objects.listener = {
      dependencyReady: (task) => {
        if (--task.missing > 0) return;
        task.readyAfterMicros = Math.round((this.nowMs - task.submittedAtMs) * 1000);
        if (task.state === TASK_STATE.waiting) {
          this.handover?.waiting.delete(task);
          this.enqueue(task);
        } else if (task.state === TASK_STATE.queued && task.actor) this.calls?.ready(task);
      },
      returnDropped: (task, record) => {
        task.stream?.stored.delete(record);
        this.lineage.dropUnneeded(task);
      },
      isRemakeable: (task) => this.lineage.whyNever(task) === undefined,
      rebuild: (task, record) => this.lineage.rebuild(task, record),
    };
  }

  get isActive(): boolean {
    const timed = this.delayed.size + this.limited.size + this.interrupted.size;
    return this.sent.size > 0 || timed > 0 || this.leases.isActive;
  }

  register(template: Template): void {
    this.templates.register(template);
    this.effects.codePacked?.(template.name, template.code.length);
  }

  isRegistered(id: number): boolean {
    return this.templates.get(id) !== undefined;
  }

  unregister(id: number): void {
    if (!this.isRegistered(id)) return;
    this.handover?.unregistered(id);
    this.templates.unregister(id);
  }

  submit(
    seq: Seq,
    templateId: number,
    args: Uint8Array | KeptBytes,
    deps: readonly Seq[],
    nested: readonly NestedRef[],
    parent?: TaskOrigin,
    isHeldBack = false,
  ): void {
    const registered = this.templates.get(templateId);
    if (!registered) throw new RangeError(`template ${templateId} was not registered`);
    const { template } = registered;
    const task = new TaskRecord(seq, registered, args, this.useDeps(deps), this.objects.useNested(nested), this.nowMs);
    task.parent = parent;
    this.templates.taken(registered);
    this.prepare(task, template.numReturns, template.isStream);
    this.handover?.submitted(task);
    if (isHeldBack) task.missing++;
    if (task.missing === 0) this.enqueue(task);
  }

  /** It was held back as if an argument of it were missing. */
  letGo(task: TaskRecord): void {
    if (--task.missing === 0 && task.state === TASK_STATE.waiting) this.enqueue(task);
  }

  /** An attempt of it was begun under another owner, which is dead: whether it ended nobody knows. */
  lostTrack(task: TaskRecord): void {
    if (task.state !== TASK_STATE.waiting) return;
    if (this.mayRetry(task)) {
      task.failures++;
      task.attempt++;
      this.letGo(task);
      return;
    }
    const message = `the process that owned ${task.name} has ended, and nobody knows whether the task has run: give it maxRetries if it may run twice`;
    this.fail(task, { code: "OWNER_DIED", kind: "lost", message });
  }

  /** It runs, or has run, on the worker of an inherited lease. */
  takeOver(task: TaskRecord, attempt: number, lease: Lease): void {
    task.missing--;
    task.failures += Math.max(0, attempt - task.attempt);
    task.attempt = attempt;
    this.leases.takeOver(task, lease);
    this.sent.set(task.seq, task);
    const { registered } = task;
    if (registered && registered.template.timeoutMs > 0) this.limited.add(task);
  }

  useDeps(deps: readonly Seq[]): readonly ObjectRecord[] {
    if (deps.length === 0) return NO_DEPS;
    return deps.map((dep) => {
      const record = this.objects.get(dep);
      record.uses++;
      return record;
    });
  }

  /** Makes the records of the returns and counts the arguments that are missing. */
  prepare(task: TaskRecord, numReturns: number, isStream: boolean): void {
    if (isStream) {
      task.stream = {
        received: 0,
        consumed: 0,
        made: 0,
        isAbandoned: false,
        isEnded: false,
        stored: new Map(),
        lost: new Map(),
      };
      task.returns = [this.objects.create(task.seq, task)];
    } else if (numReturns === 1) task.returns = [this.objects.create(task.seq, task)];
    else {
      task.returns = Array.from({ length: numReturns }, (_, index) =>
        this.objects.create((task.seq + index) as Seq, task),
      );
    }
    this.dependOnAll(task);
  }

  private enqueue(task: TaskRecord, first = false): void {
    const failed = task.deps.find((dep) => dep.value?.at === "error");
    // The creation of an actor fails in its own way: the actor is dead.
    const isCreation = task.actor !== undefined && task.method === undefined;
    if (failed?.value?.at === "error" && !isCreation) {
      failed.isRead = true;
      this.failOf(task, failed.value, `${task.name} was not run, because one of its arguments failed`);
      return;
    }
    if (task.actor) this.calls?.ready(task);
    else if (task.registered) {
      if (task.deps.length > 0) task.registered = this.templates.nearest(task, task.registered);
      const { shape } = task.registered;
      if (shape.refused !== undefined) this.fail(task, { ...shape.refused, kind: "invalid" });
      else this.leases.enqueue(task, shape, first);
    }
  }

  // ── sending ────────────────────────────────────────────────────────────────────────────────────────────────────

  private send(task: TaskRecord, lease: Lease): void {
    const { registered } = task;
    if (!registered) return;
    const { link } = lease;
    const { template } = registered;
    const { out } = link;
    if (link.namedLease !== lease.idThere) {
      link.namedLease = lease.idThere;
      out.begin();
      out.array(2);
      out.uint(TO_WORKER.lease);
      out.uint(lease.idThere);
      out.end();
    }
    this.templates.introduce(registered, link);
    this.beginSending(task, link);
    if (template.timeoutMs > 0) this.limited.add(task);
    out.begin();
    out.array(9);
    out.uint(TO_WORKER.task);
    out.uint(task.seq);
    out.uint(task.attempt);
    out.uint(template.id);
    writePayload(out, task);
    out.end();
  }

  /** A task or call is about to be sent: it has a claim word, and the worker holds the refs in its arguments. */
  beginSending(task: TaskRecord, link: WorkerLink): void {
    task.claimSlot = link.claims?.acquire() ?? NO_CLAIM;
    task.claimSequence = task.claimSlot > 0 && link.claims ? link.claims.sequenceOf(task.claimSlot) : 0;
    this.grantNested(task, link);
    this.sent.set(task.seq, task);
  }

  /** Refs inside the arguments can be asked for, and are held by the worker, before it gets them. */
  private grantNested(task: TaskRecord, link: WorkerLink): void {
    let keys: readonly ObjectKey[] = task.nested;
    for (const dep of task.deps) if (dep.value && dep.value.nested.length > 0) keys = keys.concat(dep.value.nested);
    if (keys.length > 0) this.grant(keys, link);
  }

  private grant(keys: readonly ObjectKey[], link: WorkerLink): void {
    this.objects.publishNested(keys);
    this.effects.toNode({ t: "hold-grant", to: link.address.processId, keys });
  }

  // ── results ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The attempt that a message speaks of, when it is the current one and this worker's. */
  current(link: WorkerLink, seq: Seq, attempt: number): TaskRecord | undefined {
    const task = this.sent.get(seq);
    if (!task || task.attempt !== attempt) return undefined;
    return (task.lease ?? task.actor)?.link === link ? task : undefined;
  }

  succeeded(task: TaskRecord, runMicros: number, values: readonly ValueRecord[]): void {
    const isWrong = values.length !== task.returns.length;
    const failure = isWrong ? packFailure(wrongCount(task, values.length)) : undefined;
    const wasCancelled = !this.leave(task, runMicros, failure ? "error" : "ok", failure);
    for (const value of values) if (value.nested.length > 0) this.objects.holds.receive(value.nested);
    if (wasCancelled || failure) {
      for (const value of values) this.discard(value);
      if (failure) this.settle(task, { at: "error", bytes: failure, nested: [] });
      return;
    }
    let isStored = false;
    const { returns } = task;
    for (let index = 0; index < values.length; index++) {
      const value = values[index];
      const record = returns[index];
      if (!value || !record) continue;
      // A task that ran again for one lost return leaves the others as they are.
      if (record.value || !isNeeded(record)) this.discard(value);
      else {
        this.objects.setValue(record, value);
        // Also when the record has let go of it at once: others may hold it.
        if (value.at === "stored") isStored = true;
      }
      if (record.value?.at === "stored") isStored = true;
    }
    this.end(task, isStored);
  }

  /** User code threw. */
  threw(
    task: TaskRecord,
    runMicros: number,
    bytes: Uint8Array,
    nested: readonly ObjectKey[],
    isRetryable: boolean,
  ): void {
    const preemption = task.lease?.preemption;
    const wasCancelled = !this.leave(task, runMicros, preemption?.isSignalled ? "preempted" : "error", bytes);
    if (nested.length > 0) this.objects.holds.receive(nested);
    if (wasCancelled) {
      this.objects.holds.drop(nested);
      return;
    }
    if (preemption?.isSignalled) {
      this.objects.holds.drop(nested);
      this.preempted(task, preemption.by);
      return;
    }
    if (isRetryable && this.mayRetry(task)) {
      this.objects.holds.drop(nested);
      this.retry(task, this.retryDelayMs(task));
      return;
    }
    this.settle(task, { at: "error", bytes, nested });
    this.objects.holds.drop(nested);
  }

  /** A worker could not begin it, because stored arguments are not to be had: it waits until they are made again. */
  argumentsLost(task: TaskRecord, names: ReadonlySet<string>): void {
    if (!this.leave(task, 0, "lost", undefined, false)) return;
    for (const dep of task.deps) {
      const { value } = dep;
      if (value?.at !== "stored" || !names.has(value.name)) continue;
      const message = `no node that lives has object ${this.objects.keyOf(dep)}, an argument of ${task.name}`;
      this.objects.lose(dep, { code: "OBJECT_LOST", kind: "lost", message });
    }
    this.requeue(task);
  }

  attemptLost(task: TaskRecord, lease: Lease, started: boolean): void {
    const { death, preemption } = lease;
    if (!this.leave(task, 0, preemption?.isSignalled ? "preempted" : "lost", undefined, started)) return;
    if (!started) {
      this.enqueue(task, true);
      return;
    }
    if (death?.lostWith !== undefined) this.streams.loseItemsAt(nodeTag(lease.link.address.nodeId), task);
    if (preemption?.isSignalled) {
      this.preempted(task, preemption.by);
      return;
    }
    if (this.mayRetry(task)) {
      const delay = death?.outOfMemory
        ? Math.min(MEMORY_RETRY_MS * 2 ** task.failures, MEMORY_RETRY_MS_MAX)
        : this.retryDelayMs(task);
      this.retry(task, delay);
      return;
    }
    this.fail(task, lostFailure(task, lease, death));
  }

  /** The attempt was ended for something of higher priority: it counts for nothing. */
  private preempted(task: TaskRecord, by: string): void {
    task.preemptions++;
    task.attempt++;
    this.effects.warn(
      "preempted",
      `${task.name} was ended for ${by}; it runs again, and has lost none of its retries. Tasks with maxRetries 0 are not ended`,
    );
    this.requeue(task);
  }

  /** Takes the task off its worker; false when it was settled before (cancelled, timed out). */
  leave(task: TaskRecord, runMicros: number, outcome: AttemptOutcome, failure?: Uint8Array, started = true): boolean {
    this.forgetSent(task);
    const { lease } = task;
    const worker = (lease?.link ?? task.actor?.link)?.address;
    if (task.state === TASK_STATE.done) this.tellSettled(task, started ? worker : undefined, runMicros);
    else if (started && worker) this.effects.taskEvent(task, worker, runMicros, this.nowMs, outcome, failure);
    // This attempt goes on.
    else task.state = TASK_STATE.waiting;
    if (lease) {
      if (outcome === "lost" || outcome === "preempted") this.leases.detach(task, lease);
      else this.leases.finished(task, lease, runMicros);
    } else if (task.actor) this.calls?.left(task);
    return task.state !== TASK_STATE.done;
  }

  /** Its worker gave it back, or dropped it because it was cancelled. */
  unsent(task: TaskRecord): void {
    this.forgetSent(task);
    if (task.state === TASK_STATE.done) this.tellSettled(task, undefined, 0);
    if (task.actor) this.calls?.left(task);
  }

  /** The attempt is over that had ended for the program before its worker let go of it. */
  private tellSettled(task: TaskRecord, worker: WorkerAddress | undefined, runMicros: number): void {
    if (task.settledBy) this.tellFailed(task, task.settledBy, worker, runMicros);
  }

  private tellFailed(
    task: TaskRecord,
    failure: Uint8Array,
    worker: WorkerAddress | undefined = undefined,
    runMicros = 0,
  ): void {
    const outcome = unpackFailure(failure).kind === "cancelled" ? "cancelled" : "error";
    this.effects.taskEvent(task, worker, runMicros, this.nowMs, outcome, failure);
  }

  private forgetSent(task: TaskRecord): void {
    this.sent.delete(task.seq);
    if (this.limited.size > 0) this.limited.delete(task);
    if (this.interrupted.size > 0) this.interrupted.delete(task);
  }

  private maxRetries(task: TaskRecord): number {
    return task.registered?.template.maxRetries ?? task.method?.maxRetries ?? 0;
  }

  private retryDelayMs(task: TaskRecord): number {
    return task.registered?.template.retryDelayMs ?? task.method?.retryDelayMs ?? 0;
  }

  mayRetry(task: TaskRecord): boolean {
    const max = this.maxRetries(task);
    return max < 0 || task.failures < max;
  }

  retry(task: TaskRecord, delayMs: number): void {
    task.failures++;
    task.attempt++;
    if (delayMs > 0) {
      task.state = TASK_STATE.delayed;
      this.delayed.set(task, this.nowMs + delayMs);
    } else this.requeue(task);
  }

  private requeue(task: TaskRecord): void {
    task.state = TASK_STATE.waiting;
    if (task.stream) task.stream.made = 0;
    this.dependOnAll(task);
    if (task.missing > 0) this.handover?.unsent(task);
    else this.enqueue(task);
  }

  /** Counts what of its arguments is not there, and is told when that is. */
  dependOnAll(task: TaskRecord): void {
    for (const dep of task.deps) if (this.objects.dependOn(dep, task)) task.missing++;
  }

  // ── ends ───────────────────────────────────────────────────────────────────────────────────────────────────────

  fail(task: TaskRecord, failure: FailureRecord): void {
    this.settle(task, { at: "error", bytes: packFailure(failure), nested: [] });
  }

  /** The error of an argument is the reason; refs inside it stay held. */
  failOf(task: TaskRecord, argument: ValueRecord & { readonly at: "error" }, message: string): void {
    const failure: FailureRecord = {
      code: "TASK_FAILED",
      kind: "task",
      message,
      because: unpackFailure(argument.bytes),
    };
    this.settle(task, { at: "error", bytes: packFailure(failure), nested: argument.nested });
  }

  /** Every return gets this error. */
  private settle(task: TaskRecord, error: ValueRecord & { readonly at: "error" }): void {
    if (task.state === TASK_STATE.done) return;
    // What was sent has been told of, or its worker still has it.
    if (task.state !== TASK_STATE.sent) this.tellFailed(task, error.bytes);
    else if (this.sent.has(task.seq)) task.settledBy = error.bytes;
    if (task.stream) this.streams.failed(task, error);
    const [first] = task.returns;
    if (first && !first.isRead && !task.returns.some(isNeeded)) this.effects.unreadFailure(task.name, error.bytes);
    for (const record of task.returns) {
      if (record.value || !isNeeded(record)) continue;
      // Each return that has the error holds the refs in it.
      for (const key of error.nested) this.objects.holds.use(key);
      this.objects.setValue(record, error);
    }
    this.end(task, false);
  }

  end(task: TaskRecord, keepLineage: boolean): void {
    if (task.state === TASK_STATE.done) return;
    task.state = TASK_STATE.done;
    this.endedCount++;
    this.handover?.left(task);
    if (task.actor) this.calls?.ended(task);
    for (const record of task.returns) this.objects.taskEnded(record);
    if (keepLineage && this.maxRetries(task) !== 0) {
      this.lineage.keep(task);
      return;
    }
    this.endedHere(task);
    // A value that cannot be lost needs its task no more; an error's is named when nobody reads it.
    for (const record of task.returns) if (record.value?.at === "inline") record.task = undefined;
  }

  /** It is somebody else's from now on. */
  givenAway(task: TaskRecord): void {
    task.state = TASK_STATE.done;
    this.endedHere(task);
    task.returns = [];
  }

  private endedHere(task: TaskRecord): void {
    this.forget(task);
    for (const dep of task.deps) this.objects.dropUse(dep);
    task.deps = NO_DEPS;
  }

  private forget(task: TaskRecord): void {
    if (task.nested.length > 0) this.objects.holds.drop(task.nested);
    task.nested = NO_KEYS;
    task.dropArgs();
    if (task.registered) this.templates.left(task.registered);
  }

  discard(value: ValueRecord): void {
    if (value.at === "stored") this.effects.toNode({ t: "store-free", names: [value.name] });
    if (value.nested.length > 0) this.objects.holds.drop(value.nested);
  }

  // ── cancelling and deadlines ───────────────────────────────────────────────────────────────────────────────────

  /**
   * Ends the task for the program at once. What runs gets its signal and is interrupted, a generator only when it does
   * not end by itself; `force` kills its worker. Returns false when it had already ended.
   */
  cancel(task: TaskRecord, force: boolean, isRecursive: boolean, failure: FailureRecord): boolean {
    if (task.state === TASK_STATE.done) return false;
    const wasSent = task.state === TASK_STATE.sent;
    if (task.state === TASK_STATE.queued) {
      if (task.actor) this.calls?.withdraw(task);
      else task.registered?.shape.queue.remove(task);
    }
    this.delayed.delete(task);
    const { lease, actor } = task;
    // Whoever cancels knows: an error that nobody reads is no news.
    for (const record of task.returns) record.isRead = true;
    this.settle(task, { at: "error", bytes: packFailure(failure), nested: [] });
    if (!wasSent) {
      if (task.registered) this.leases.touch(task.registered.shape);
      return true;
    }
    const link = lease?.link ?? actor?.link;
    if (!link) return true;
    if (task.claimSlot > 0 && link.claims?.takeBack(task.claimSlot, task.claimSequence)) {
      this.unsent(task);
      if (lease) this.leases.detach(task, lease);
      return true;
    }
    this.tellCancelled(task, link, failure.code, isRecursive);
    this.interrupted.set(task, task.stream ? this.nowMs + STREAM_GRACE_MS : 0);
    if (!task.stream) this.interrupt(task, link);
    if (force && lease && this.leases.mayRun(task, lease)) {
      this.leases.kill(task, lease, failure.message);
    }
    return true;
  }

  private tellCancelled(task: TaskRecord, link: WorkerLink, code: string, isRecursive: boolean): void {
    const { out } = link;
    out.begin();
    out.array(4);
    out.uint(TO_WORKER.cancel);
    out.uint(task.seq);
    out.string(code);
    out.bool(isRecursive);
    out.end();
    link.schedule();
  }

  /** Called about every 10 ms while the engine is active. */
  tick(): void {
    this.leases.tick();
    for (const [task, atMs] of this.delayed) {
      if (atMs > this.nowMs) continue;
      this.delayed.delete(task);
      this.requeue(task);
    }
    for (const task of this.limited) {
      const { lease } = task;
      if (task.actor) {
        this.expireCall(task);
        continue;
      }
      // The time of a task begins when it does, not when it was sent to wait behind others.
      if (lease && !this.leases.mayRun(task, lease)) {
        task.sentAtMs = this.nowMs;
        continue;
      }
      const limit = task.registered?.template.timeoutMs ?? 0;
      if (limit <= 0 || this.nowMs - task.sentAtMs < limit) continue;
      this.limited.delete(task);
      this.cancel(task, lease !== undefined, true, this.timeoutOf(task, limit));
    }
    for (const [task, fromMs] of this.interrupted) {
      const link = task.lease?.link ?? task.actor?.link;
      if (!link || link.isBroken) this.interrupted.delete(task);
      else if (this.nowMs < fromMs) continue;
      else if (link.claims || this.nowMs - this.interruptedAtMs >= INTERRUPT_ELSEWHERE_MS) this.interrupt(task, link);
    }
  }

  private interrupt(task: TaskRecord, link: WorkerLink): void {
    if (link.claims) {
      link.claims.interrupt(task.seq);
      return;
    }
    this.interruptedAtMs = this.nowMs;
    this.effects.interrupt?.(link.address, task.seq);
  }

  /** A call counts from its submission, and only stops being waited for: what runs in the actor goes on. */
  private expireCall(task: TaskRecord): void {
    const limit = task.method?.timeoutMs ?? 0;
    if (task.state !== TASK_STATE.done) {
      if (this.nowMs - task.submittedAtMs < limit) return;
      const failure = this.timeoutOf(task, limit);
      if (task.state === TASK_STATE.queued) this.calls?.withdraw(task);
      this.fail(task, failure);
    }
    this.limited.delete(task);
  }

  private timeoutOf(task: TaskRecord, limitMs: number): FailureRecord {
    const message = `${task.name} did not finish within its timeoutMs of ${limitMs} ms: ${this.whyUnfinished(task)}`;
    return { code: "TASK_TIMEOUT", kind: "unavailable", message };
  }

  limit(task: TaskRecord): void {
    this.limited.add(task);
  }

  /** No node can ever satisfy a shape: all that waits for it fails. */
  refuse(shapeId: number, { code, message, mayChange }: Pick<LeaseRefused, "code" | "message" | "mayChange">): void {
    const shape = this.leases.shape(shapeId);
    if (!shape) return;
    if (mayChange) this.leases.touch(shape);
    else shape.refused = { code, message };
    for (let task = shape.queue.shift(); task; task = shape.queue.shift()) {
      this.fail(task, { code, kind: "invalid", message });
    }
  }
}

function wrongCount({ name, returns }: TaskRecord, count: number): FailureRecord {
  const message = `${name} gave ${count} values, but numReturns is ${returns.length}`;
  return { code: "TASK_FAILED", kind: "task", message };
}

/** The fields that the frames of tasks and of calls end with. */
export function writePayload(out: FrameWriter, task: TaskRecord): void {
  out.uint(task.claimSlot);
  out.uint(task.claimSequence);
  writeKept(out, task.args);
  writeKeys(out, task.nested);
  writeValues(out, depValues(task));
}

/** The values of the arguments that are refs, in order; all are there by the time that this is asked. */
export function depValues(task: TaskRecord): readonly ValueRecord[] {
  if (task.deps.length === 0) return NO_VALUES;
  const values: ValueRecord[] = [];
  for (const dep of task.deps) if (dep.value) values.push(dep.value);
  return values;
}

const isNeeded = (record: ObjectRecord): boolean =>
  record.uses > 0 || record.isPublished || record.isWanted || record.isWatched || record.lineageUses > 0;

const NO_DEPS: readonly ObjectRecord[] = Object.freeze([]);
const NO_KEYS: readonly ObjectKey[] = Object.freeze([]);
const NO_VALUES: readonly ValueRecord[] = Object.freeze([]);
