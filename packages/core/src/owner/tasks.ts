/**
 * The life of a task at its owner: submitted, waiting for arguments, queued, sent, finished; and again, when an attempt
 * was lost or its error is one to retry. Actor calls share everything here but where they are queued and sent.
 */
import { nodeTag, type ObjectKey, type Seq, storedNameTag } from "../base/ids.ts";
import {
  type FailureRecord,
  type FrameWriter,
  type LeaseRefused,
  NO_CLAIM,
  packFailure,
  TEMPLATE_FLAGS,
  TO_WORKER,
  unpackFailure,
  type ValueRecord,
  type WorkerDeath,
  writeKeys,
  writeValues,
} from "../wire/mod.ts";
import type { OwnerEffects, TaskOutcome } from "./effects.ts";
import type { Handover } from "./handover.ts";
import { type KeptBytes, writeKept } from "./kept-bytes.ts";
import { LeaseTable } from "./leases.ts";
import { nearTo, nodeOfArguments } from "./locality.ts";
import type { ObjectTable } from "./objects.ts";
import {
  type Lease,
  type NestedRef,
  type ObjectRecord,
  type Registered,
  type StreamRecord,
  TASK_STATE,
  TaskRecord,
  type Template,
  type WorkerLink,
} from "./records.ts";

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
  private readonly templates = new Map<number, Registered>();
  private readonly costs = new Map<string, { micros: number; runs: number }>();
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
        this.dropUnneededLineage(task);
      },
      isRemakeable: (task) => this.whyNever(task) === undefined,
      rebuild: (task, record) => this.rebuild(task, record),
    };
  }

  get isActive(): boolean {
    const timed = this.delayed.size + this.limited.size + this.interrupted.size;
    return this.sent.size > 0 || timed > 0 || this.leases.isActive;
  }

  register(template: Template): void {
    let cost = this.costs.get(template.name);
    if (!cost) {
      cost = { micros: Number.NaN, runs: 0 };
      this.costs.set(template.name, cost);
    }
    const keys = this.objects.useNested(template.nested);
    const captured = keys.length > 0 ? { keys, links: new Set<WorkerLink>(), tasks: 0, isDropped: false } : undefined;
    const shape = this.leases.shapeOf(template.demand);
    this.templates.set(template.id, { template, shape, cost, captured, near: new Map() });
  }

  isRegistered(id: number): boolean {
    return this.templates.has(id);
  }

  /** No call will name it again; those under way keep what they need. */
  unregister(id: number): void {
    const registered = this.templates.get(id);
    if (!registered) return;
    this.templates.delete(id);
    this.handover?.unregistered(id);
    if (!registered.captured) return;
    registered.captured.isDropped = true;
    this.letGoOfCaptured(registered);
  }

  private letGoOfCaptured({ template, captured }: Registered): void {
    if (!captured?.isDropped || captured.tasks > 0) return;
    this.objects.holds.drop(captured.keys);
    for (const link of captured.links) {
      if (link.isBroken) continue;
      link.knownTemplates.delete(template.id);
      link.out.begin();
      link.out.array(2);
      link.out.uint(TO_WORKER.forgetTemplate);
      link.out.uint(template.id);
      link.out.end();
      link.schedule();
    }
  }

  submit(
    seq: Seq,
    templateId: number,
    args: Uint8Array | KeptBytes,
    deps: readonly Seq[],
    nested: readonly NestedRef[],
    isHeldBack = false,
  ): void {
    const registered = this.templates.get(templateId);
    if (!registered) throw new RangeError(`template ${templateId} was not registered`);
    const { template } = registered;
    const task = new TaskRecord(seq, registered, args, this.useDeps(deps), this.objects.useNested(nested), this.nowMs);
    if (registered.captured) registered.captured.tasks++;
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
      if (task.deps.length > 0) task.registered = this.nearest(task, task.registered);
      const { shape } = task.registered;
      if (shape.refused !== undefined) this.fail(task, { ...shape.refused, kind: "invalid" });
      else this.leases.enqueue(task, shape, first);
    }
  }

  /** With the queue for where its large arguments lie. */
  private nearest(task: TaskRecord, registered: Registered): Registered {
    const { near, template } = registered;
    // Where it is to run is said already.
    const tag = template.demand.placement ? undefined : nodeOfArguments(task.deps, this.objects.here);
    if (tag === undefined) return near.get(this.objects.here) ?? registered;
    let there = near.get(tag);
    if (!there) {
      if (!near.has(this.objects.here)) near.set(this.objects.here, registered);
      there = { ...registered, shape: this.leases.shapeOf(nearTo(template.demand, tag)) };
      near.set(tag, there);
    }
    return there;
  }

  // ── sending ────────────────────────────────────────────────────────────────────────────────────────────────────

  private send(task: TaskRecord, lease: Lease): void {
    const { registered } = task;
    if (!registered) return;
    const { link } = lease;
    const { template, captured } = registered;
    const { out } = link;
    if (link.namedLease !== lease.idThere) {
      link.namedLease = lease.idThere;
      out.begin();
      out.array(2);
      out.uint(TO_WORKER.lease);
      out.uint(lease.idThere);
      out.end();
    }
    if (!link.knownTemplates.has(template.id)) {
      link.knownTemplates.add(template.id);
      if (captured) {
        captured.links.add(link);
        this.grant(captured.keys, link);
      }
      out.begin();
      out.array(9);
      out.uint(TO_WORKER.template);
      out.uint(template.id);
      out.string(template.name);
      out.string(template.language);
      out.bin(template.code);
      out.uint(template.numReturns);
      const isPrompt = template.timeoutMs > 0 || template.maxRetries === 0;
      out.uint((template.isStream ? TEMPLATE_FLAGS.stream : 0) | (isPrompt ? TEMPLATE_FLAGS.prompt : 0));
      out.uint(template.streamBufferItems);
      writeKeys(out, captured ? captured.keys : NO_KEYS);
      out.end();
    }
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
    const wasCancelled = !this.leave(task, runMicros, "ok");
    for (const value of values) if (value.nested.length > 0) this.objects.holds.receive(value.nested);
    if (wasCancelled || values.length !== task.returns.length) {
      for (const value of values) this.discard(value);
      if (!wasCancelled) {
        this.fail(task, {
          code: "TASK_FAILED",
          kind: "task",
          message: `${task.name} gave ${values.length} values, but numReturns is ${task.returns.length}`,
        });
      }
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
    const wasCancelled = !this.leave(task, runMicros, preemption?.isSignalled ? "preempted" : "error");
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
    if (!this.leave(task, 0, "lost", false)) return;
    for (const dep of task.deps) {
      const { value } = dep;
      if (value?.at !== "stored" || !names.has(value.name)) continue;
      const message = `no node that lives has an argument of ${task.name}`;
      this.objects.lose(dep, { code: "OBJECT_LOST", kind: "lost", message });
    }
    this.requeue(task);
  }

  attemptLost(task: TaskRecord, lease: Lease, started: boolean): void {
    const { death, preemption } = lease;
    if (!this.leave(task, 0, preemption?.isSignalled ? "preempted" : "lost", started)) return;
    if (!started) {
      this.enqueue(task, true);
      return;
    }
    if (death?.lostWith !== undefined) this.loseItemsAt(nodeTag(lease.link.address.nodeId), task);
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
  leave(task: TaskRecord, runMicros: number, outcome: TaskOutcome, started = true): boolean {
    this.forgetSent(task);
    const { lease } = task;
    const worker = (lease?.link ?? task.actor?.link)?.address;
    if (worker && started) this.effects.taskEvent(task, worker, runMicros, this.nowMs, outcome);
    if (lease) {
      if (outcome === "lost" || outcome === "preempted") this.leases.detach(task, lease);
      else this.leases.finished(task, lease, runMicros);
    } else if (task.actor) this.calls?.left(task);
    return task.state !== TASK_STATE.done;
  }

  /** Its worker gave it back, or dropped it because it was cancelled. */
  unsent(task: TaskRecord): void {
    this.forgetSent(task);
    if (task.actor) this.calls?.left(task);
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
    if (task.stream) this.endStream(task, error);
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

  /** A stream's error is its last item. */
  private endStream(task: TaskRecord, error: ValueRecord): void {
    const { stream } = task;
    if (!stream) return;
    for (const item of stream.lost.values()) this.setLost(item, error);
    stream.lost.clear();
    const completion = task.returns[0];
    if (completion) completion.isRead = true;
    if (stream.isEnded) return;
    stream.isEnded = true;
    if (!stream.isAbandoned) {
      const item = this.objects.createUnnumbered(task);
      item.isRead = true;
      stream.received++;
      for (const key of error.nested) this.objects.holds.use(key);
      this.objects.setValue(item, error);
      this.effects.streamItem(task.seq, item.seq);
    }
    this.effects.streamEnd(task.seq, stream.received);
  }

  /** Whoever wanted the item reads the error. */
  private setLost(item: ObjectRecord, error: ValueRecord): void {
    item.isRead = true;
    for (const key of error.nested) this.objects.holds.use(key);
    this.objects.setValue(item, error);
  }

  /** An item that lies in the store is kept in mind as long as it may have to be made again. */
  itemStored(task: TaskRecord, item: ObjectRecord, index: number): void {
    if (this.whyNever(task) === undefined) task.stream?.stored.set(item, index);
  }

  /** The attempt that follows makes the items again anyway, so it need not be found out for each that it is lost. */
  private loseItemsAt(node: string, { name, stream }: TaskRecord): void {
    for (const item of [...(stream?.stored.keys() ?? [])]) {
      if (item.value?.at !== "stored" || storedNameTag(item.value.name) !== node) continue;
      this.objects.lose(item, {
        code: "OBJECT_LOST",
        kind: "lost",
        message: `an item of ${name} was on a node that died`,
      });
    }
  }

  /**
   * An attempt that is past a lost item makes it no more, and when it waits for the consumer, who may be waiting for that item, it
   * does not end either: then its worker is ended, and it begins again.
   */
  restartStalled(task: TaskRecord): void {
    const { stream } = task;
    // Asked for each item that comes, and hardly ever so.
    if (!stream || stream.lost.size === 0 || stream.isEnded) return;
    const { lease, registered } = task;
    if (!lease || !registered) return;
    if (stream.made <= stream.consumed + registered.template.streamBufferItems) return;
    const lost = [...stream.lost.keys()].find((index) => index < stream.made);
    if (lost === undefined) return;
    this.leases.condemn(lease);
    this.effects.killWorker(lease.link.address, `${task.name} begins again, since its item ${lost} is lost`);
  }

  /** The generator has made `count` items and no more. */
  streamEnded(task: TaskRecord, stream: StreamRecord, count: number): void {
    stream.isEnded = true;
    this.end(task, stream.stored.size > 0);
    for (const [index, item] of stream.lost) {
      const whyNot =
        index < count ? this.rebuild(task, item) : `${task.name} made only ${count} items when it ran again`;
      if (whyNot === undefined) continue;
      stream.lost.delete(index);
      const message = `item ${index} of ${task.name} was lost, and was not made again: ${whyNot}`;
      this.setLost(item, {
        at: "error",
        bytes: packFailure({ code: "OBJECT_LOST", kind: "lost", message }),
        nested: [],
      });
    }
  }

  end(task: TaskRecord, keepLineage: boolean): void {
    if (task.state === TASK_STATE.done) return;
    task.state = TASK_STATE.done;
    this.endedCount++;
    this.handover?.left(task);
    if (task.actor) this.calls?.ended(task);
    for (const record of task.returns) this.objects.taskEnded(record);
    if (keepLineage && this.maxRetries(task) !== 0) {
      task.hasLineage = true;
      for (const dep of task.deps) {
        this.objects.useLineage(dep);
        this.objects.dropUse(dep);
      }
      // All of its returns may have been let go of before it ended.
      this.dropUnneededLineage(task);
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
    const { registered } = task;
    if (!registered?.captured) return;
    registered.captured.tasks--;
    this.letGoOfCaptured(registered);
  }

  private dropUnneededLineage(task: TaskRecord): void {
    const { deps, stream } = task;
    if (!task.hasLineage) return;
    if (stream ? stream.stored.size > 0 : task.returns.some((record) => this.isKept(record))) return;
    task.hasLineage = false;
    task.deps = NO_DEPS;
    this.forget(task);
    for (const dep of deps) this.objects.dropLineage(dep);
  }

  private isKept(record: ObjectRecord): boolean {
    return record.lineageUses > 0 || this.objects.find(record.seq) === record;
  }

  /**
   * A stored return was lost: run the task again, and before it whatever made its lost arguments. A generator makes all of
   * its items again, of which the lost ones are kept; while it runs, the attempt may be past the lost one, so its end
   * shows whether another one is needed.
   */
  private rebuild(task: TaskRecord, record: ObjectRecord): string | undefined {
    const { stream } = task;
    const whyNot = this.whyNever(task) ?? (task.state === TASK_STATE.done ? this.whyNotAgain(task) : undefined);
    if (whyNot !== undefined) return whyNot;
    const index = stream?.stored.get(record);
    if (stream && index !== undefined) stream.lost.set(index, record);
    if (task.state !== TASK_STATE.done) {
      this.restartStalled(task);
      return undefined;
    }
    for (const dep of task.deps) {
      dep.uses++;
      this.objects.dropLineage(dep);
    }
    task.hasLineage = false;
    task.failures++;
    task.attempt++;
    this.endedCount--;
    this.requeue(task);
    return undefined;
  }

  /** Why a stored return of it would not be made again; undefined when it would. */
  whyNotRebuilt(task: TaskRecord): string | undefined {
    return (
      this.whyNever(task) ?? (task.state === TASK_STATE.done && !task.hasLineage ? "nothing is kept of it" : undefined)
    );
  }

  private whyNever(task: TaskRecord): string | undefined {
    if (task.actor) return `${task.name} is a call of an actor, which is not run again for what it gave`;
    return this.maxRetries(task) === 0 ? `${task.name} has maxRetries 0` : undefined;
  }

  private whyNotAgain(task: TaskRecord): string | undefined {
    if (!task.hasLineage) return `${task.name} was cancelled or failed`;
    if (!this.mayRetry(task)) return `${task.name} has used up its ${this.maxRetries(task)} retries`;
    for (const dep of task.deps) {
      if (dep.value || dep.isForeign) continue;
      const whyNot = dep.task ? this.rebuild(dep.task, dep) : "it was put";
      if (whyNot !== undefined) return `an argument of ${task.name} is gone too: ${whyNot}`;
    }
    return undefined;
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
      this.leases.condemn(lease);
      this.effects.killWorker(lease.link.address, failure.message);
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

function lostFailure(task: TaskRecord, lease: Lease, death: WorkerDeath | undefined): FailureRecord {
  const where = `worker ${lease.link.address.workerId} (pid ${lease.link.address.pid})`;
  const attempts = task.failures > 0 ? `, after ${task.failures + 1} attempts` : "";
  if (death?.outOfMemory) {
    return {
      code: "OUT_OF_MEMORY",
      kind: "exhausted",
      message: `${task.name} was ended on ${where}${attempts}: ${death.outOfMemory}`,
    };
  }
  const how = death ? describeDeath(death) : "its connection was lost";
  return {
    code: "WORKER_DIED",
    kind: "lost",
    message: `${task.name} was running on ${where} when that died${attempts}: ${how}`,
  };
}

function describeDeath(death: WorkerDeath): string {
  if (death.lostWith !== undefined) return `its node, ${death.lostWith}, died`;
  const how = death.signal ? `signal ${death.signal}` : `exit code ${death.exitCode ?? "unknown"}`;
  const why = death.intended ? ` (ended on purpose: ${death.intended})` : "";
  const tail = death.stderrTail.trim();
  return `${how}${why}${tail ? `\n${tail}` : ""}`;
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
