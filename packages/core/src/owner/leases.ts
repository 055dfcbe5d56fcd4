/**
 * Leases: which workers this owner may push tasks to, how many tasks each is given ahead, and when they go back.
 *
 * 1. The owner tells its node how many leases of a shape it could use; the node grants them as it sees fit.
 * 2. A lease is filled up to a few milliseconds of expected work: deep for microsecond tasks, one for long ones.
 * 3. A worker that a long task holds up has its unstarted tasks taken back, by a compare-and-swap on the claim word.
 * 4. One whose work is to end for something of higher priority is told so; unless it may not run again, it is ended then.
 * 5. An idle lease goes back after half a second, at once when the node calls it back because others wait.
 */
import type { LeaseId } from "../base/ids.ts";
import { LEASE_IDLE_MS, PREEMPT_GRACE_MS, PREEMPT_NOTICE_MS } from "../base/limits.ts";
import type { Demand, LeaseGranted, LeasePreempted, LeaseReclaimed, WorkerDeath } from "../wire/mod.ts";
import type { OwnerEffects } from "./effects.ts";
import { Fifo } from "./queue.ts";
import { type Lease, type Shape, TASK_STATE, type TaskRecord, type WorkerLink } from "./records.ts";

/** Expected work, in microseconds, that a worker is given ahead. */
const BACKLOG_MICROS_MAX = 4_000;
/** A function that has not run yet is taken to need this long. */
const UNKNOWN_COST_MICROS = 2_000;
const COST_MICROS_MIN = 2;
const IN_FLIGHT_MAX = 512;
/** Tasks given to one lease before the next one has its turn. */
const TURN = 16;
/** A worker that finished nothing for so long is held up by its first task. */
const STUCK_MS = 10;
/** One that does not give back for so long what it was asked for is held up by the task that it is to be killed for. */
const GIVEN_BACK_MS = 500;
/** The node is told of a lease that has had nothing to do for so long, so that it calls it back when others wait. */
const IDLE_TOLD_MS = 10;
/** A function that has run so often and took less than this is better called with batches. */
const TINY_RUNS = 10_000;
const TINY_MICROS = 100;
/** What was ended for others before may run on for so long, twice as long each time, so that it gets done in the end. */
const PROTECTED_MS = 2_000;
const PROTECTED_MS_MAX = 60_000;
/** How many leases beyond those it holds an owner asks for at once. */
const WANTED_AHEAD = 64;

export interface LeaseListener {
  /** It waits for its turn. */
  queued(task: TaskRecord): void;
  /** It is about to be sent. */
  unqueued(task: TaskRecord): void;
  /** False when a value that it needs was lost while it was queued: then it waits for that again. */
  isReady(task: TaskRecord): boolean;
  /** Writes the task's frame to the lease's worker. */
  send(task: TaskRecord, lease: Lease): void;
  /** The worker died with this task on it, which is to be detached; `started` when it may have begun to run. */
  attemptLost(task: TaskRecord, lease: Lease, started: boolean): void;
  /** It is no longer on its way to a worker, nor in one. */
  unsent(task: TaskRecord): void;
  /** Whether an attempt of it may be ended and made again. */
  mayEnd(task: TaskRecord): boolean;
  /** Tells the worker that the attempt is to end. */
  signal(task: TaskRecord, lease: Lease): void;
}

export class LeaseTable {
  private readonly effects: OwnerEffects;
  private readonly listener: LeaseListener;
  private readonly shapes = new Map<string, Shape>();
  private readonly byId = new Map<number, Shape>();
  private nextShape = 0;
  private readonly leases = new Map<LeaseId, Lease>();
  private dirty: Shape[] = [];
  /** Runs of templates that have a `maxCalls`, by worker and template. */
  private readonly calls = new WeakMap<WorkerLink, Map<number, number>>();
  nowMs = 0;

  constructor(effects: OwnerEffects, listener: LeaseListener) {
    this.effects = effects;
    this.listener = listener;
  }

  /** Whether `tick` has something to watch over. */
  get isActive(): boolean {
    return this.leases.size > 0;
  }

  shapeOf(demand: Demand): Shape {
    let shape = this.shapes.get(demand.key);
    if (!shape) {
      shape = {
        id: this.nextShape++,
        demand,
        queue: new Fifo(),
        leases: [],
        wantedTold: 0,
        isTold: false,
        isDirty: false,
        templates: 0,
        isForgotten: false,
        inFlight: 0,
        waitingSinceMs: this.nowMs,
        refused: undefined,
        isInherited: false,
      };
      this.shapes.set(demand.key, shape);
      this.byId.set(shape.id, shape);
    }
    return shape;
  }

  /** A template that has asked by it is gone. */
  templateLeft(shape: Shape): void {
    shape.templates--;
    this.touch(shape);
  }

  /**
   * A program makes new demands for as long as it runs, one for each placement group at least: what nobody can ask by any more
   * must not stay, here or with those who were asked.
   */
  private forgetIfOver(shape: Shape): void {
    const { templates, queue, leases, inFlight, isInherited, isForgotten, id, demand } = shape;
    if (templates > 0 || queue.size > 0 || leases.length > 0 || inFlight > 0 || isInherited || isForgotten) return;
    shape.isForgotten = true;
    this.byId.delete(id);
    if (this.shapes.get(demand.key) === shape) this.shapes.delete(demand.key);
    if (shape.isTold) this.effects.toNode({ t: "lease-demand", shape: id, wanted: 0, isOver: true });
    shape.isTold = false;
    shape.wantedTold = 0;
  }

  shape(id: number): Shape | undefined {
    return this.byId.get(id);
  }

  find(id: LeaseId): Lease | undefined {
    return this.leases.get(id);
  }

  enqueue(task: TaskRecord, shape: Shape, first = false): void {
    task.state = TASK_STATE.queued;
    if (shape.isForgotten) {
      // What a task that is made again has given is needed still, though nobody can submit another one.
      shape.isForgotten = false;
      this.byId.set(shape.id, shape);
    }
    if (shape.queue.size === 0) shape.waitingSinceMs = this.nowMs;
    if (first) shape.queue.unshift(task);
    else shape.queue.push(task);
    this.touch(shape);
    this.listener.queued(task);
  }

  get hasQueued(): boolean {
    for (const { queue } of this.byId.values()) if (queue.size > 0) return true;
    return false;
  }

  /** Takes the queued tasks that `isMovable` names out of their queues. */
  takeQueued(isMovable: (task: TaskRecord) => boolean): TaskRecord[] {
    const taken: TaskRecord[] = [];
    for (const shape of this.byId.values()) {
      const { queue } = shape;
      if (queue.size === 0) continue;
      const kept: TaskRecord[] = [];
      for (let task = queue.shift(); task; task = queue.shift()) (isMovable(task) ? taken : kept).push(task);
      for (const task of kept) queue.push(task);
      this.touch(shape);
    }
    return taken;
  }

  touch(shape: Shape): void {
    if (shape.isDirty) return;
    shape.isDirty = true;
    this.dirty.push(shape);
  }

  /** Fills leases from the queues and tells the node what is missing. Called once a turn. */
  flush(): void {
    const { dirty } = this;
    if (dirty.length === 0) return;
    this.dirty = [];
    for (const shape of dirty) {
      shape.isDirty = false;
      this.fill(shape);
      this.tellWanted(shape);
      this.forgetIfOver(shape);
    }
  }

  private fill(shape: Shape): void {
    const { queue, leases } = shape;
    let sentAny = queue.size > 0;
    while (sentAny && queue.size > 0) {
      sentAny = false;
      for (const lease of leases) {
        for (let turn = 0; turn < TURN && this.hasRoom(lease); turn++) {
          const task = queue.shift();
          if (!task) break;
          if (task.deps.length > 0 && !this.listener.isReady(task)) continue;
          this.assign(task, lease);
          sentAny = true;
        }
      }
    }
    for (const lease of leases) lease.link.schedule();
    for (let at = leases.length - 1; at >= 0; at--) {
      const lease = leases[at];
      if (lease && lease.inFlight.size === 0 && (lease.isRevoked || lease.isRetiring)) this.giveBack(lease);
    }
  }

  private hasRoom(lease: Lease): boolean {
    if (lease.isRevoked || lease.isRetiring || lease.isStuck || lease.link.isBroken || lease.death) return false;
    const { size } = lease.inFlight;
    // Without claim words what is sent behind a long task can only be had back from a worker that hears of it.
    if (size > 0 && !lease.link.claims && this.nowMs - lease.progressAtMs >= STUCK_MS) return false;
    return size === 0 || (lease.backlogMicros < BACKLOG_MICROS_MAX && size < IN_FLIGHT_MAX);
  }

  private assign(task: TaskRecord, lease: Lease): void {
    const { registered } = task;
    if (!registered) return;
    if (lease.inFlight.size === 0) lease.progressAtMs = this.nowMs;
    lease.inFlight.set(task.seq, task);
    lease.shape.inFlight++;
    const { template, cost } = registered;
    // Without claim words nobody would know which task the worker is at when its time is up: it is given one at a time.
    const isAlone = template.timeoutMs > 0 && !lease.link.claims;
    lease.backlogMicros += isAlone ? BACKLOG_MICROS_MAX : expected(cost.micros);
    if (template.maxCalls > 0 && this.countCall(lease.link, template.id) >= template.maxCalls) lease.isRetiring = true;
    this.listener.unqueued(task);
    task.state = TASK_STATE.sent;
    task.lease = lease;
    task.sentAtMs = this.nowMs;
    this.listener.send(task, lease);
  }

  /** Calls are counted for each worker: it may come back under another lease. */
  private countCall(link: WorkerLink, templateId: number): number {
    let counts = this.calls.get(link);
    if (!counts) {
      counts = new Map();
      this.calls.set(link, counts);
    }
    const count = (counts.get(templateId) ?? 0) + 1;
    counts.set(templateId, count);
    return count;
  }

  /** Whether the task may have begun to run: its claim word says so, or, without one, its place among those sent. */
  mayRun(task: TaskRecord, lease: Lease): boolean {
    const { claims } = lease.link;
    if (claims && task.claimSlot > 0) return claims.wasStarted(task.claimSlot, task.claimSequence);
    const [first] = lease.inFlight.values();
    return first === task;
  }

  /**
   * Has the worker killed for a task that runs there. What has not begun is had back first, so that it loses nothing. Nobody is
   * killed when the task has ended meanwhile: one that was sent behind it has begun, its answer comes, or its lease has
   * ended (which the worker's node knows).
   */
  kill(task: TaskRecord, lease: Lease, reason: string): void {
    if (lease.inFlight.size > 1) this.takeBackUnstarted(lease);
    if (this.hasBegunBehind(task, lease)) return;
    lease.isRetiring = true;
    lease.condemned ??= { task, reason, atMs: this.nowMs };
    this.killCondemned(lease);
  }

  private hasBegunBehind(task: TaskRecord, { inFlight, link: { claims } }: Lease): boolean {
    let isBehind = false;
    for (const other of inFlight.values()) {
      if (isBehind && other.claimSlot > 0 && claims?.wasStarted(other.claimSlot, other.claimSequence)) return true;
      if (other === task) isBehind = true;
    }
    return false;
  }

  private killCondemned(lease: Lease): void {
    const { condemned, inFlight, link } = lease;
    if (!condemned) return;
    if (inFlight.get(condemned.task.seq) === condemned.task) {
      // A worker without claim words is asked for the others: it gives them back, or answers because the task has ended.
      if (!link.claims && inFlight.size > 1 && this.nowMs - condemned.atMs < GIVEN_BACK_MS) return;
      this.effects.killWorker(lease, condemned.reason);
    }
    lease.condemned = undefined;
  }

  /** The task is no longer with the worker: finished, taken back, or given back. */
  detach(task: TaskRecord, lease: Lease): void {
    if (!lease.inFlight.delete(task.seq)) return;
    lease.shape.inFlight--;
    task.lease = undefined;
    if (task.claimSlot > 0) {
      lease.link.claims?.release(task.claimSlot);
      task.claimSlot = 0;
      task.claimSequence = 0;
    }
    if (lease.inFlight.size === 0) {
      lease.isStuck = false;
      lease.backlogMicros = 0;
      lease.idleSinceMs = this.nowMs;
    } else {
      const { registered } = task;
      if (registered) lease.backlogMicros = Math.max(0, lease.backlogMicros - expected(registered.cost.micros));
    }
    this.touch(lease.shape);
  }

  finished(task: TaskRecord, lease: Lease, runMicros: number): void {
    lease.isStuck = false;
    lease.progressAtMs = this.nowMs;
    this.detach(task, lease);
    const cost = task.registered?.cost;
    if (!cost) return;
    cost.micros = Number.isNaN(cost.micros) ? runMicros : cost.micros + (runMicros - cost.micros) / 8;
    if (++cost.runs === TINY_RUNS && cost.micros < TINY_MICROS) {
      this.effects.warn(
        "tiny-tasks",
        `${task.name} has run ${TINY_RUNS.toLocaleString("en-US")} times and took about ${Math.max(1, Math.round(cost.micros))} µs each time, no more than a call itself costs: let each call work on a batch of items`,
      );
    }
  }

  private tellWanted(shape: Shape): void {
    if (shape.isInherited) return;
    const held = shape.leases.length;
    const wanted = wantedOf(shape);
    const missing = Math.max(0, wanted - held);
    const missingTold = Math.max(0, shape.wantedTold - held);
    // The node was told of idle leases that are in use again: it must not take them for spare ones.
    const isUnderstated = wanted > shape.wantedTold && shape.wantedTold < held;
    if (!isUnderstated && (missing === missingTold || (missing > 0 && missing < missingTold))) return;
    this.sayWanted(shape, wanted);
  }

  private sayWanted(shape: Shape, wanted: number): void {
    shape.wantedTold = wanted;
    if (shape.isTold) this.effects.toNode({ t: "lease-demand", shape: shape.id, wanted });
    else this.effects.toNode({ t: "lease-demand", shape: shape.id, wanted, demand: shape.demand });
    shape.isTold = true;
  }

  granted(message: LeaseGranted): void {
    const shape = this.byId.get(message.shape);
    if (!shape) this.effects.toNode({ t: "lease-return", leaseId: message.leaseId });
    if (!shape || this.leases.has(message.leaseId)) return;
    const { leaseId: id, idThere = id, worker } = message;
    this.add({ id, idThere, shape, link: this.effects.link(worker), isRetiring: false });
    this.touch(shape);
  }

  /** What a dead owner's worker is at; it is to be ended afterwards, because that owner's claims are on it. */
  inherited(leaseId: LeaseId, link: WorkerLink, shape: Shape): Lease {
    return this.add({
      id: leaseId,
      idThere: leaseId,
      shape: {
        ...shape,
        queue: new Fifo(),
        leases: [],
        inFlight: 0,
        isDirty: false,
        isForgotten: false,
        isInherited: true,
      },
      link,
      isRetiring: true,
    });
  }

  private add(parts: Pick<Lease, "id" | "idThere" | "shape" | "link" | "isRetiring">): Lease {
    const lease: Lease = {
      ...parts,
      inFlight: new Map(),
      backlogMicros: 0,
      isStuck: false,
      progressAtMs: this.nowMs,
      idleSinceMs: this.nowMs,
      isRevoked: false,
      isReclaimed: false,
      preemption: undefined,
      askedBackTo: undefined,
      condemned: undefined,
      death: undefined,
    };
    this.leases.set(lease.id, lease);
    lease.shape.leases.push(lease);
    return lease;
  }

  takeOver(task: TaskRecord, lease: Lease): void {
    lease.inFlight.set(task.seq, task);
    lease.shape.inFlight++;
    task.state = TASK_STATE.sent;
    task.lease = lease;
    task.sentAtMs = this.nowMs;
    this.touch(lease.shape);
  }

  revoked(id: LeaseId): void {
    const lease = this.leases.get(id);
    if (!lease) return;
    lease.isRevoked = true;
    if (lease.inFlight.size > 1) this.takeBackUnstarted(lease);
    this.touch(lease.shape);
  }

  /** See {@link LeasePreempted}. */
  preempted({ leaseId, by }: LeasePreempted): void {
    const lease = this.leases.get(leaseId);
    if (!lease || lease.preemption) return;
    this.revoked(leaseId);
    if (this.keep(lease, (task) => this.mayRun(task, lease))) return;
    lease.preemption = { by, askedAtMs: this.nowMs, isSignalled: false, isForced: false };
  }

  /** See {@link LeaseQuestion}: nothing changes. */
  questioned(leaseId: LeaseId): void {
    const lease = this.leases.get(leaseId);
    if (!lease || lease.preemption || this.keep(lease, (task) => this.mayRun(task, lease))) return;
    this.effects.toNode({ t: "lease-kept", leaseId, forMs: 0 });
  }

  /** True when it is kept for what runs there, as its node is told. */
  private keep(lease: Lease, mayRun: (task: TaskRecord) => boolean): boolean {
    let keptMs = 0;
    for (const task of lease.inFlight.values()) {
      if (task.state === TASK_STATE.done || !mayRun(task)) continue;
      if (!this.listener.mayEnd(task)) keptMs = Number.POSITIVE_INFINITY;
      else keptMs = Math.max(keptMs, task.sentAtMs + protectedMs(task) - this.nowMs);
    }
    if (keptMs <= 0) return false;
    lease.preemption = undefined;
    this.effects.toNode({ t: "lease-kept", leaseId: lease.id, ...(Number.isFinite(keptMs) && { forMs: keptMs }) });
    return true;
  }

  private endPreempted(lease: Lease): void {
    const { preemption, inFlight } = lease;
    if (!preemption || inFlight.size === 0) return;
    const elapsedMs = this.nowMs - preemption.askedAtMs;
    if (elapsedMs < PREEMPT_NOTICE_MS) return;
    if (!preemption.isSignalled) {
      // A worker without claim words may have begun one more meanwhile.
      if (this.keep(lease, () => true)) return;
      preemption.isSignalled = true;
      // What does not heed its signal must not run on beside others.
      lease.isRetiring = true;
      for (const task of inFlight.values()) this.listener.signal(task, lease);
    } else if (elapsedMs >= PREEMPT_NOTICE_MS + PREEMPT_GRACE_MS && !preemption.isForced) {
      preemption.isForced = true;
      this.effects.killWorker(lease, `preempted for ${preemption.by}`);
    }
  }

  /** What the worker has begun ends, and what it is giving back arrives; the rest is ours again. */
  reclaimed({ leaseId, shape: shapeId }: LeaseReclaimed): void {
    const lease = this.leases.get(leaseId);
    if (lease) {
      lease.isRevoked = true;
      lease.isReclaimed = true;
      this.takeBack([...lease.inFlight.values()], lease);
      if (lease.link.isBroken) this.lose(lease);
    }
    const shape = this.byId.get(shapeId);
    if (!shape) return;
    this.sayWanted(shape, wantedOf(shape));
    this.touch(shape);
  }

  /**
   * The worker is gone, says the node. What it had said before may not be here yet: its tasks are lost when its
   * connection has ended too.
   */
  died(lease: Lease, death: WorkerDeath): void {
    lease.death = death;
    if (lease.link.isBroken) this.lose(lease);
  }

  /** The node will say what became of the worker, if it has not. */
  onLinkClosed(link: WorkerLink): void {
    for (const lease of this.leases.values())
      if (lease.link === link && (lease.death || lease.isReclaimed)) this.lose(lease);
  }

  /** Tasks that have not started lose nothing, and go before others again. */
  private lose(lease: Lease): void {
    this.drop(lease);
    const tasks = [...lease.inFlight.values()];
    const started = new Set(tasks.filter((task) => this.mayRun(task, lease)));
    // The first of them is to be the first again.
    for (const task of tasks.reverse()) this.listener.attemptLost(task, lease, started.has(task));
    this.touch(lease.shape);
  }

  private giveBack(lease: Lease): void {
    this.drop(lease);
    if (lease.isReclaimed) {
      // The node of the owner minds those of other nodes until then, should they die.
      if (lease.idThere !== lease.id) this.effects.toNode({ t: "lease-return", leaseId: lease.id });
      return;
    }
    if (lease.isRetiring) {
      // Before the number: the node must not take the worker for an idle one that others may have.
      this.effects.toNode({ t: "lease-return", leaseId: lease.id, retire: true });
      this.tellWanted(lease.shape);
      return;
    }
    // First the number, which counts held ones: else the node grants at once again what comes back.
    this.tellWanted(lease.shape);
    this.effects.toNode({ t: "lease-return", leaseId: lease.id });
  }

  private drop(lease: Lease): void {
    this.leases.delete(lease.id);
    const at = lease.shape.leases.indexOf(lease);
    if (at >= 0) lease.shape.leases.splice(at, 1);
    this.effects.unlink(lease.link);
    this.touch(lease.shape);
  }

  /** A task that the worker gave back unstarted, because what runs there waits, or that was taken back. */
  returned(task: TaskRecord, lease: Lease): void {
    this.listener.unsent(task);
    lease.isStuck = true;
    this.detach(task, lease);
    if (task.state === TASK_STATE.sent) this.enqueue(task, lease.shape, true);
  }

  private takeBackUnstarted(lease: Lease): void {
    const { claims } = lease.link;
    lease.isStuck = true;
    const [, ...later] = lease.inFlight.values();
    if (!claims) {
      // Asked once for each: the answer may take as long as the task that runs.
      const newest = later.at(-1);
      if (newest && newest !== lease.askedBackTo) {
        lease.askedBackTo = newest;
        this.askBack?.(
          lease,
          later.map((task) => task.seq),
        );
      }
      return;
    }
    this.takeBack(later, lease);
  }

  /** Those whose claim words say that they have not begun, newest first: the first is to be the first again. */
  private takeBack(tasks: TaskRecord[], lease: Lease): void {
    const { claims } = lease.link;
    for (const task of tasks.reverse()) {
      if (task.claimSlot > 0 && claims?.takeBack(task.claimSlot, task.claimSequence)) this.returned(task, lease);
    }
  }

  /** Asks a worker without claim words to give tasks back. */
  askBack: ((lease: Lease, seqs: readonly number[]) => void) | undefined;

  /** Called about every 10 ms while there are leases. */
  tick(): void {
    for (const lease of this.leases.values()) {
      const { size } = lease.inFlight;
      if (lease.preemption) this.endPreempted(lease);
      if (lease.condemned) this.killCondemned(lease);
      if (size === 0) {
        const idleMs = this.nowMs - lease.idleSinceMs;
        if (idleMs >= LEASE_IDLE_MS && lease.shape.queue.size === 0) this.giveBack(lease);
        else if (idleMs >= IDLE_TOLD_MS) this.tellIdle(lease.shape);
      } else if (size > 1 && this.nowMs - lease.progressAtMs >= STUCK_MS) {
        this.takeBackUnstarted(lease);
      }
    }
  }

  /**
   * Gives back now what has nothing to do; true when there was any. For an owner whose thread may be busy for long from
   * here on, and would not hear that others wait.
   */
  giveBackIdle(): boolean {
    const idle = [...this.leases.values()].filter(
      ({ inFlight, shape }) => inFlight.size === 0 && shape.queue.size === 0,
    );
    for (const lease of idle) this.giveBack(lease);
    return idle.length > 0;
  }

  private tellIdle(shape: Shape): void {
    const used = shape.queue.size + shape.inFlight;
    if (shape.wantedTold > used) this.sayWanted(shape, used);
  }

  all(): IterableIterator<Lease> {
    return this.leases.values();
  }
}

const protectedMs = ({ preemptions }: TaskRecord): number =>
  preemptions === 0 ? 0 : Math.min(PROTECTED_MS * 2 ** (preemptions - 1), PROTECTED_MS_MAX);

const wantedOf = ({ queue, inFlight, leases }: Shape): number =>
  Math.min(queue.size + inFlight, leases.length + WANTED_AHEAD);

const expected = (micros: number): number =>
  Number.isNaN(micros) ? UNKNOWN_COST_MICROS : Math.max(COST_MICROS_MIN, micros);
