/**
 * Actors as one caller sees them: creation once the constructor's arguments are there, calls in the order submitted,
 * and what becomes of calls when an actor restarts or dies.
 */
import type { ActorId, ObjectKey, Seq } from "../base/ids.ts";
import {
  type ActorCreator,
  type ActorOptionsRecord,
  type ActorSpec,
  type ActorState,
  type FailureRecord,
  NO_CLAIM,
  TO_WORKER,
  unpackFailure,
} from "../wire/mod.ts";
import { carries } from "./carries.ts";
import type { OwnerEffects } from "./effects.ts";
import { bytesOf, type KeptBytes, plainValue } from "./kept-bytes.ts";
import type { ObjectTable } from "./objects.ts";
import { Fifo } from "./queue.ts";
import {
  type ActorRecord,
  type MethodTemplate,
  type NestedRef,
  TASK_STATE,
  type TaskOrigin,
  TaskRecord,
  type WorkerLink,
} from "./records.ts";
import { depValues, type TaskTable, writePayload } from "./tasks.ts";

/** Calls that one caller has under way in one actor; the rest wait at the caller, where they can be cancelled. */
const IN_FLIGHT_MAX = 1_000;
const BACKLOG_WARNING = 5_000;

/** An actor as the program asks for it. */
export interface ActorCreation {
  /** By which the program names the handle. */
  readonly num: number;
  readonly actorId: ActorId;
  readonly concurrency: number;
  readonly options: ActorOptionsRecord;
  readonly spec: CreationSpec;
  readonly args: Uint8Array;
  readonly deps: readonly Seq[];
  readonly nested: readonly NestedRef[];
}
type CreationSpec = Omit<ActorSpec, "deps" | "args" | "nested" | "keeps" | "creator">;

/** An actor that does not live yet, as what is to be done. */
export interface ActorInMaking {
  readonly actorId: ActorId;
  readonly className: string;
  readonly creator: ActorCreator;
  /** Its arguments are there. */
  isSent: boolean;
}

export class ActorTable {
  private readonly effects: OwnerEffects;
  private readonly objects: ObjectTable;
  private readonly tasks: TaskTable;
  private readonly byNum = new Map<number, ActorRecord>();
  private readonly byId = new Map<ActorId, ActorRecord>();
  /** By the number that workers know them under. */
  private readonly byOwnNum = new Map<number, ActorRecord>();
  /** Classes that the node has not been sent; empty once it has. It keeps them for the whole job. */
  private readonly codes = new Map<string, { readonly code: Uint8Array; readonly host: Uint8Array }>();
  private readonly methods = new Map<number, MethodTemplate>();
  private readonly creations = new Map<TaskRecord, { options: ActorOptionsRecord; spec: CreationSpec }>();
  /** Actors that live in this process; true for those whose handles have left since their node was last told so. */
  private readonly hosted = new Map<ObjectKey, boolean>();
  private readonly selfNums = new Set<number>();
  private dirty = new Set<ActorRecord>();
  /** Those that this process has asked for and that do not live yet. */
  private readonly making = new Map<ActorId, ActorInMaking>();
  private readonly self: Pick<ActorCreator, "processId" | "pid">;

  constructor(
    effects: OwnerEffects,
    objects: ObjectTable,
    tasks: TaskTable,
    self: Pick<ActorCreator, "processId" | "pid">,
  ) {
    this.self = self;
    this.effects = effects;
    this.objects = objects;
    this.tasks = tasks;
    objects.onActorLeaves = (key) => {
      this.announce(this.byId.get(key as string as ActorId));
      if (this.hosted.has(key)) this.hosted.set(key, true);
    };
    tasks.calls = {
      ready: (task) => this.ready(task),
      ended: (task) => this.ended(task),
      left: (task) => this.left(task),
      withdraw: (task) => task.actor?.queue.remove(task) ?? false,
    };
  }

  registerMethod(method: MethodTemplate): void {
    this.methods.set(method.id, method);
  }

  find(num: number): ActorRecord | undefined {
    return this.byNum.get(num);
  }

  private record(num: number, actorId: ActorId, className: string, concurrency: number): ActorRecord {
    let actor = this.byId.get(actorId);
    if (!actor) {
      actor = {
        num,
        actorId,
        className,
        state: "pending",
        incarnation: 0,
        link: undefined,
        queue: new Fifo(),
        inFlight: new Map(),
        concurrency,
        isGone: false,
        news: undefined,
        cause: undefined,
        isSubscribed: false,
        isAnnounced: false,
        warnedBacklog: false,
        progressAtMs: 0,
        selfHandles: 0,
      };
      this.byId.set(actorId, actor);
      this.byOwnNum.set(num, actor);
    }
    this.byNum.set(num, actor);
    return actor;
  }

  /** A handle that the program has read from a value, or looked up by name. */
  borrow(num: number, actorId: ActorId, className: string, concurrency: number): void {
    this.record(num, actorId, className, concurrency);
    this.objects.holds.use(actorKey(actorId));
  }

  /** The handle by which an actor that is hosted here names itself. It holds nothing: see {@link keepsAlive}. */
  borrowSelf(num: number, actorId: ActorId, className: string, concurrency: number): void {
    this.record(num, actorId, className, concurrency).selfHandles++;
    this.selfNums.add(num);
  }

  /** A looked-up handle comes with a hold of its own. */
  received(actorId: ActorId): void {
    this.objects.holds.receive([actorKey(actorId)]);
    this.objects.holds.drop([actorKey(actorId)]);
  }

  /** The program's handle is gone. The last use of the actor in this process gives its holds back. */
  release(num: number): void {
    const actor = this.byNum.get(num);
    if (!actor) return;
    this.byNum.delete(num);
    if (this.selfNums.delete(num)) actor.selfHandles--;
    else this.objects.holds.drop([actorKey(actor.actorId)]);
    this.retireIfUnused(actor);
  }

  // ── actors that live here ──────────────────────────────────────────────────────────────────────────────────────

  hosts(actorId: ActorId): void {
    this.hosted.set(actorKey(actorId), false);
  }

  hostsNoMore(actorId: ActorId): void {
    this.hosted.delete(actorKey(actorId));
  }

  /**
   * Whether an actor that lives here is not to end, although its node sees nobody hold it: it has passed its own handle on.
   * - "left": what the node has read since may say who has it. It is told so after all of that, and decides again.
   * - "under way": the handle is in tasks or calls of this process that have not ended, wherever they are.
   */
  keepsAlive(actorId: ActorId): "left" | "under way" | undefined {
    const key = actorKey(actorId);
    const hasLeft = this.hosted.get(key) === true;
    if (hasLeft) this.hosted.set(key, false);
    if (this.objects.holds.isUsed(key)) {
      const tasks = [...this.objects.pendingTasks(), ...this.creations.keys()];
      if (carries(this.objects, tasks, key)) return "under way";
    }
    return hasLeft ? "left" : undefined;
  }

  private retireIfUnused(actor: ActorRecord): void {
    if (this.objects.holds.isUsed(actorKey(actor.actorId)) || actor.selfHandles > 0) return;
    if (actor.queue.size + actor.inFlight.size > 0) return;
    this.byId.delete(actor.actorId);
    this.making.delete(actor.actorId);
    this.byOwnNum.delete(actor.num);
    if (actor.isSubscribed) this.effects.toNode({ t: "actor-unsubscribe", actorId: actor.actorId });
    if (actor.link) this.effects.unlink(actor.link);
    actor.link = undefined;
  }

  /** Those that this process has asked for. */
  get inMaking(): Iterable<ActorInMaking> {
    return this.making.values();
  }

  create(creation: ActorCreation, parent?: TaskOrigin): void {
    const { num, actorId, concurrency, options, spec, args, deps, nested } = creation;
    const actor = this.record(num, actorId, spec.className, concurrency);
    actor.state = "creating";
    const creator: ActorCreator = {
      ...this.self,
      submittedAtMs: this.tasks.nowMs,
      parent: parent ? [parent.owner, parent.seq, parent.name] : null,
    };
    this.making.set(actorId, { actorId, className: spec.className, creator, isSent: false });
    // The program sends the code of a class with its first actor only.
    if (spec.code.length > 0 && !this.codes.has(spec.codeKey)) {
      this.codes.set(spec.codeKey, { code: spec.code, host: spec.host });
    }
    // The node grants its creator one hold; the handle is its first use, the creation another until it is sent.
    this.objects.holds.receive([actorKey(actorId)]);
    const task = new TaskRecord(
      -1 as Seq,
      { actor },
      args,
      this.tasks.useDeps(deps),
      this.objects.useNested(nested),
      0,
    );
    this.objects.holds.use(actorKey(actorId));
    this.creations.set(task, { options, spec });
    this.tasks.prepare(task, 0, false);
    if (task.missing === 0) this.tasks.calls?.ready(task);
  }

  private announce(actor: ActorRecord | undefined): void {
    if (actor?.state !== "creating" || actor.isAnnounced) return;
    actor.isAnnounced = true;
    this.effects.toNode({ t: "actor-announce", actorId: actor.actorId, className: actor.className });
  }

  private ready(task: TaskRecord): void {
    if (this.creations.has(task)) this.sendCreation(task);
    else if (task.state === TASK_STATE.waiting) this.requeue(task);
    else this.touch(task.actor);
  }

  private sendCreation(task: TaskRecord): void {
    const creation = this.creations.get(task);
    const { actor } = task;
    if (!creation || !actor) return;
    this.creations.delete(task);
    const failed = task.deps.find((dep) => dep.value?.at === "error");
    if (failed?.value?.at === "error") {
      failed.isRead = true;
      const error = failed.value.bytes;
      const cause = { code: "ACTOR_DIED", message: "an argument of its constructor failed", error };
      const { actorId, className } = actor;
      if (actor.isAnnounced) this.effects.toNode({ t: "actor-announce", actorId, className, cause });
      this.died(actor, cause);
    } else {
      const deps = depValues(task).map(plainValue);
      const nested = [...task.nested, ...deps.flatMap((dep) => dep.nested)];
      // A stored argument must outlive the program's ref of it, because a restart reads it again.
      const keeps = task.deps.filter((dep) => dep.value?.at === "stored").map((dep) => this.objects.keyOf(dep));
      this.objects.publishNested([...nested, ...keeps]);
      actor.state = "pending";
      actor.isSubscribed = true;
      const making = this.making.get(actor.actorId);
      const { codeKey } = creation.spec;
      const { code, host } = this.codes.get(codeKey) ?? creation.spec;
      this.codes.set(codeKey, SENT);
      this.effects.toNode({
        t: "actor-create",
        actorId: actor.actorId,
        options: creation.options,
        spec: {
          ...creation.spec,
          code,
          host,
          args: bytesOf(task.args),
          deps,
          nested,
          keeps,
          ...(making && { creator: making.creator }),
        },
      });
      if (making) making.isSent = true;
    }
    // The arguments stay for restarts: the node holds them through the refs named in the spec.
    for (const dep of task.deps) this.objects.dropUse(dep);
    this.objects.holds.drop(task.nested);
    this.objects.holds.drop([actorKey(actor.actorId)]);
    task.state = TASK_STATE.done;
  }

  call(
    seq: Seq,
    num: number,
    methodId: number,
    args: Uint8Array | KeptBytes,
    deps: readonly Seq[],
    nested: readonly NestedRef[],
    parent?: TaskOrigin,
  ): void {
    const actor = this.byNum.get(num);
    const method = this.methods.get(methodId);
    if (!actor || !method) throw new RangeError(`actor ${num} or method ${methodId} was not registered`);
    const task = new TaskRecord(
      seq,
      { actor, method },
      args,
      this.tasks.useDeps(deps),
      this.objects.useNested(nested),
      this.tasks.nowMs,
    );
    task.parent = parent;
    this.objects.holds.use(actorKey(actor.actorId));
    this.tasks.prepare(task, method.numReturns, method.isStream);
    task.state = TASK_STATE.queued;
    actor.queue.push(task);
    if (method.timeoutMs > 0) this.tasks.limit(task);
    this.subscribe(actor);
    if (!actor.warnedBacklog && actor.queue.size > BACKLOG_WARNING) {
      actor.warnedBacklog = true;
      this.effects.warn(
        "actor-backlog",
        `more than ${BACKLOG_WARNING} calls wait for actor ${actor.className}; it runs ${actor.concurrency} at a time: spread the work over several actors, or raise maxConcurrency`,
      );
    }
    this.touch(actor);
  }

  private subscribe(actor: ActorRecord): void {
    if (actor.isSubscribed || actor.state === "creating" || actor.state === "dead") return;
    actor.isSubscribed = true;
    this.effects.toNode({ t: "actor-subscribe", actorId: actor.actorId });
  }

  private touch(actor: ActorRecord | undefined): void {
    if (actor) this.dirty.add(actor);
  }

  flush(): void {
    if (this.dirty.size === 0) return;
    const { dirty } = this;
    this.dirty = new Set();
    for (const actor of dirty) {
      this.pump(actor);
      actor.link?.schedule();
    }
  }

  /** Sends calls in order; one whose arguments are not there holds back those behind it. */
  private pump(actor: ActorRecord): void {
    const { queue } = actor;
    for (let task = queue.peek(); task; task = queue.peek()) {
      const failed = task.deps.find((dep) => dep.value?.at === "error");
      if (failed?.value?.at === "error") {
        queue.shift();
        failed.isRead = true;
        this.tasks.failOf(task, failed.value, `${task.name} was not called, because one of its arguments failed`);
        continue;
      }
      if (actor.state === "dead") {
        queue.shift();
        this.tasks.fail(task, this.deathFailure(actor));
        continue;
      }
      // One of them may have been lost while the call was queued.
      if (task.missing === 0 && task.deps.length > 0) this.tasks.dependOnAll(task);
      const { link } = actor;
      if (task.missing > 0 || !link || link.isBroken || actor.isGone || actor.news) return;
      if (actor.inFlight.size >= IN_FLIGHT_MAX) return;
      queue.shift();
      this.send(task, actor);
    }
  }

  private send(task: TaskRecord, actor: ActorRecord): void {
    const { link } = actor;
    const { method } = task;
    if (!link || !method) return;
    const { out } = link;
    if (link.knownActors.get(actor.num) !== actor.incarnation) {
      link.knownActors.set(actor.num, actor.incarnation);
      out.begin();
      out.array(4);
      out.uint(TO_WORKER.actor);
      out.uint(actor.num);
      out.string(actor.actorId);
      out.uint(actor.incarnation);
      out.end();
    }
    if (link.knownMethods.get(method.id) !== method) {
      link.knownMethods.set(method.id, method);
      out.begin();
      out.array(10);
      out.uint(TO_WORKER.method);
      out.uint(method.id);
      out.string(method.name);
      out.string(method.displayName);
      out.uint(method.numReturns);
      out.string(method.group);
      out.bin(method.retry);
      out.uint(method.isStream ? method.streamBufferItems : 0);
      out.uint(method.maxRetries + 1);
      out.uint(method.retryDelayMs);
      out.end();
    }
    this.tasks.beginSending(task, link);
    task.state = TASK_STATE.sent;
    task.sentAtMs = this.tasks.nowMs;
    actor.inFlight.set(task.seq, task);
    out.begin();
    out.array(10);
    out.uint(TO_WORKER.call);
    out.uint(task.seq);
    out.uint(task.attempt);
    out.uint(actor.num);
    out.uint(method.id);
    writePayload(out, task);
    out.end();
  }

  /** The call is over for the program. */
  private ended(task: TaskRecord): void {
    const { actor } = task;
    if (!actor) return;
    this.objects.holds.drop([actorKey(actor.actorId)]);
    this.touch(actor);
    this.retireIfUnused(actor);
  }

  /** The worker has answered the call, or lost it, or it was taken back. */
  private left(task: TaskRecord): void {
    const { actor } = task;
    if (!actor?.inFlight.delete(task.seq)) return;
    actor.progressAtMs = this.tasks.nowMs;
    if (task.claimSlot > 0) actor.link?.claims?.release(task.claimSlot);
    task.claimSlot = NO_CLAIM;
    task.claimSequence = 0;
    this.touch(actor);
    if (actor.inFlight.size > 0) return;
    if (actor.news) this.hear(actor, actor.news);
    this.retireIfUnused(actor);
  }

  /** A call that did not start, or is to be repeated: to the front of its queue. */
  requeue(task: TaskRecord): void {
    const { actor, method } = task;
    if (!actor || task.state === TASK_STATE.done) return;
    task.state = TASK_STATE.queued;
    actor.queue.unshift(task);
    if (method && method.timeoutMs > 0) this.tasks.limit(task);
    this.touch(actor);
  }

  /** For a control that has begun anew. */
  stateHolds(): void {
    const subscribed: ActorId[] = [];
    for (const { actorId, isSubscribed, state } of this.byId.values()) {
      if (isSubscribed && state !== "dead") subscribed.push(actorId);
    }
    this.effects.toNode({ t: "actor-holds", holds: this.objects.holds.actorsGranted(), subscribed });
  }

  onState(message: ActorState): void {
    const actor = this.byId.get(message.actorId);
    if (actor && message.sameAs !== undefined && message.sameAs !== message.actorId) {
      this.redirect(actor, message.sameAs);
      return;
    }
    if (!actor || actor.state === "dead") return;
    // Control may have told of a restart and been killed before it was written down; an end is one all the same.
    if (message.incarnation < actor.incarnation && message.state !== "dead") return;
    // What the worker said last may not be here yet. It is told apart from what was lost once its connection has ended,
    // or once it has said that the actor is gone.
    if (isOver(actor, message) && actor.inFlight.size > 0 && !actor.isGone && actor.link && !actor.link.isBroken) {
      actor.news = message;
    } else this.hear(actor, message);
  }

  private hear(actor: ActorRecord, message: ActorState): void {
    actor.news = undefined;
    if (isOver(actor, message)) this.disconnected(actor, message);
    actor.incarnation = message.incarnation;
    if (message.state === "dead") {
      this.died(actor, message.cause ?? { code: "ACTOR_DIED", message: "it ended" });
      return;
    }
    actor.state = message.state;
    if (message.state === "alive") this.making.delete(actor.actorId);
    if (message.state === "alive" && message.worker && (!actor.link || actor.link.isBroken)) {
      actor.link = this.effects.link(message.worker);
    }
    this.touch(actor);
  }

  /** The worker has dropped an actor: everything that it had to say of its calls has arrived. */
  gone(link: WorkerLink, num: number, incarnation: number): void {
    const actor = this.byOwnNum.get(num);
    if (!actor || actor.link !== link || incarnation < actor.incarnation) return;
    actor.isGone = true;
    if (actor.news) this.hear(actor, actor.news);
  }

  onLinkClosed(link: WorkerLink): void {
    for (const actor of this.byId.values()) if (actor.link === link && actor.news) this.hear(actor, actor.news);
  }

  /** The name belonged to an actor already: the handle and what was called through it move over to that one. */
  private redirect(from: ActorRecord, toId: ActorId): void {
    const handles = [...this.byNum].filter(([, actor]) => actor === from).map(([num]) => num);
    const to = this.record(from.num, toId, from.className, from.concurrency);
    this.byNum.delete(from.num);
    for (const num of handles) this.byNum.set(num, to);
    this.byId.delete(from.actorId);
    this.making.delete(from.actorId);
    this.byOwnNum.delete(from.num);
    if (!this.byOwnNum.has(to.num)) this.byOwnNum.set(to.num, to);
    this.objects.holds.alias(actorKey(from.actorId), actorKey(toId));
    mergeCalls(from, to);
    this.subscribe(to);
    this.touch(to);
  }

  /**
   * The incarnation is over: calls that have not started go back in order, the others fail or are retried. Without a
   * claim word nobody knows whether a call has started.
   */
  private disconnected(actor: ActorRecord, message: ActorState): void {
    const { link } = actor;
    for (const task of [...actor.inFlight.values()].reverse()) {
      const { claimSlot, claimSequence } = task;
      const isUnstarted = claimSlot > 0 && (link?.claims?.takeBack(claimSlot, claimSequence) ?? false);
      this.tasks.leave(task, 0, "lost", undefined, !isUnstarted);
      if (task.state === TASK_STATE.done) continue;
      if (isUnstarted && message.state !== "dead") this.requeue(task);
      else if (message.state !== "dead" && this.tasks.mayRetry(task)) {
        task.failures++;
        task.attempt++;
        this.requeue(task);
      } else if (message.state === "dead") {
        this.tasks.fail(task, this.deathFailure({ ...actor, cause: message.cause }));
      } else {
        this.tasks.fail(task, {
          code: "ACTOR_UNAVAILABLE",
          kind: "unavailable",
          message: `actor ${actor.className} (${actor.actorId}) died while ${task.name} was running, and is being restarted; whether the call took effect is unknown: give it maxTaskRetries if it may run twice`,
        });
      }
    }
    if (link) this.effects.unlink(link);
    actor.link = undefined;
    actor.isGone = false;
  }

  private died(actor: ActorRecord, cause: NonNullable<ActorState["cause"]>): void {
    actor.state = "dead";
    this.making.delete(actor.actorId);
    actor.cause = cause;
    this.touch(actor);
  }

  private deathFailure(actor: Pick<ActorRecord, "className" | "actorId" | "cause">): FailureRecord {
    const { cause } = actor;
    const name = `actor ${actor.className} (${actor.actorId})`;
    const why = cause?.message ?? "it ended";
    if (cause?.code === "NAME_TAKEN") return { code: "NAME_TAKEN", kind: "invalid", message: cause.message };
    const because: FailureRecord | undefined = cause?.error
      ? unpackFailure(cause.error)
      : cause && cause.code !== "ACTOR_DIED"
        ? { code: cause.code, kind: kindOfCause(cause.code), message: cause.message }
        : undefined;
    return {
      code: "ACTOR_DIED",
      kind: "lost",
      message: why.includes(actor.actorId) ? why : `${name} is dead: ${why}`,
      ...(because && { because }),
    };
  }
}

function kindOfCause(code: string): FailureRecord["kind"] {
  if (code === "DISK_FULL") return "exhausted";
  return NOT_TO_BE_HAD.has(code) ? "invalid" : "lost";
}

/** In the order submitted: a call may need the result of one that went to the same actor under its other name. */
function mergeCalls(from: ActorRecord, to: ActorRecord): void {
  const calls = [...to.queue, ...from.queue].sort((a, b) => a.seq - b.seq);
  for (const { queue } of [from, to]) while (queue.size > 0) queue.shift();
  for (const task of calls) {
    task.actor = to;
    to.queue.push(task);
  }
}

/** The message tells of the end of the incarnation that calls were sent to. */
const isOver = (actor: ActorRecord, { state, incarnation }: ActorState): boolean =>
  incarnation > actor.incarnation || state === "restarting" || state === "dead";

/** What was asked for is nowhere. */
const NOT_TO_BE_HAD: ReadonlySet<string> = new Set(["INFEASIBLE", "NODE_NOT_FOUND"]);

const SENT = { code: new Uint8Array(0), host: new Uint8Array(0) };

/** Handles are held under the actor's id, in the same table as foreign refs. */
const actorKey = (actorId: ActorId): ObjectKey => actorId as string as ObjectKey;
