/**
 * What executions here wait for. A task that waits gives its CPU back at once, and the tasks behind it; a wait of a
 * second is told to control, which looks for cycles, and asks again before it takes one for real (control/deadlock.ts).
 */
import { DeadlockError } from "../base/errors.ts";
import type { ActorId, ObjectKey, Seq } from "../base/ids.ts";
import { type Awaited, awaitedFor, missingAmong, type OwnerRuntime } from "../owner/mod.ts";
import type { Deadlock, ObjectMakers, ReportedWait, ToNode, WaitCheck } from "../wire/mod.ts";
import type { Running } from "./running.ts";

const REPORT_AFTER_MS = 1_000;

interface Wait {
  readonly id: number;
  readonly running: Running;
  readonly seqs: readonly Seq[];
  readonly timer: NodeJS.Timeout;
  isReported: boolean;
}

const TASK_PARTY = "task:";

export class Waits {
  private readonly runtime: () => OwnerRuntime;
  private readonly toNode: (message: ToNode) => void;
  private readonly waits = new Map<Running, Wait[]>();
  private readonly byId = new Map<number, Wait>();
  /** Numbers of executions that have been reported. */
  private readonly executions = new WeakMap<Running, number>();
  /** Of refs of other processes: which were asked about, those that calls of actors make, and what others wait for. */
  private readonly asked = new Set<ObjectKey>();
  private readonly makers = new Map<ObjectKey, ActorId>();
  private readonly needs = new Map<string, readonly Awaited[]>();
  private hasReported = false;
  private nextId = 1;
  private nextExecution = 1;
  private isBlocked = false;
  private isCheckScheduled = false;
  /** The call waits for its turn in an actor here. */
  isQueued: (key: ObjectKey) => boolean = () => false;
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
    else this.end(running, seqs);
    this.scheduleCheck();
  }

  /** It may have left waits behind that it never awaited. */
  ended(running: Running): void {
    if (!this.waits.has(running)) return;
    for (const { seqs } of [...(this.waits.get(running) ?? [])]) this.end(running, seqs);
    this.scheduleCheck();
  }

  private scheduleCheck(): void {
    if (this.isCheckScheduled) return;
    // What is satisfied within the turn is no wait.
    this.isCheckScheduled = true;
    setImmediate(() => {
      this.isCheckScheduled = false;
      this.tellBlocked();
    });
  }

  private begin(running: Running, seqs: readonly Seq[]): void {
    const id = this.nextId++;
    const wait: Wait = {
      id,
      running,
      seqs,
      isReported: false,
      timer: setTimeout(() => this.report(wait), REPORT_AFTER_MS),
    };
    wait.timer.unref();
    const others = this.waits.get(running);
    if (others) others.push(wait);
    else this.waits.set(running, [wait]);
    this.byId.set(id, wait);
  }

  private end(running: Running, seqs: readonly Seq[]): void {
    const waits = this.waits.get(running) ?? [];
    const at = waits.findIndex((one) => one.seqs === seqs);
    const [wait] = at < 0 ? [] : waits.splice(at, 1);
    if (!wait) return;
    if (waits.length === 0) this.waits.delete(running);
    clearTimeout(wait.timer);
    this.byId.delete(wait.id);
    if (!wait.isReported) return;
    this.toNode({ t: "wait-report", started: [], ended: [wait.id] });
    if (this.byId.size > 0) return;
    for (const known of [this.asked, this.makers, this.needs]) known.clear();
  }

  private tellBlocked(): void {
    const task = this.task?.();
    const isBlocked = task !== undefined && task.waits > 0;
    if (isBlocked === this.isBlocked) return;
    this.isBlocked = isBlocked;
    this.toNode({ t: "blocked", blocked: isBlocked });
    this.onBlocked?.(isBlocked);
  }

  private report(wait: Wait): void {
    const started = this.describe(wait);
    if (!started) return;
    wait.isReported = true;
    this.hasReported = true;
    this.toNode({ t: "wait-report", started: [started], ended: [] });
    this.askFor(started.on);
  }

  /** Others may know more of what these tasks are: calls of actors, or tasks that wait themselves to be sent. */
  private askFor(parties: readonly string[]): void {
    const makersOf: ObjectKey[] = [];
    for (const party of parties) {
      const key = party.slice(TASK_PARTY.length) as ObjectKey;
      if (!party.startsWith(TASK_PARTY) || this.asked.has(key)) continue;
      this.asked.add(key);
      makersOf.push(key);
    }
    if (makersOf.length > 0) this.toNode({ t: "object-subscribe", keys: [], makersOf });
  }

  /** As it is now; undefined when there is nothing that it waits for. */
  private describe({ id, running, seqs }: Wait): ReportedWait | undefined {
    const { objects } = this.runtime().engine;
    const awaited: Awaited[] = [];
    for (const record of missingAmong(seqs.map((seq) => objects.find(seq)))) {
      const one = awaitedFor(objects, record) ?? this.runtime().expectedFrom(record);
      if (one) this.resolve(one, awaited);
    }
    if (awaited.length === 0) return undefined;
    let execution = this.executions.get(running);
    if (execution === undefined) {
      execution = this.nextExecution++;
      this.executions.set(running, execution);
    }
    return {
      ...{ waitId: id, by: running.waiter, slots: running.slots, name: running.name, execution },
      ...(running.call !== undefined && { executes: running.call }),
      on: awaited.map(([party]) => party),
      calls: awaited.map(([, call]) => call),
    };
  }

  /** With what others have told of it. */
  private resolve(one: Awaited, into: Awaited[]): void {
    const [party] = one;
    if (into.some(([known, call]) => known === party && call === one[1])) return;
    const key = party.slice(TASK_PARTY.length) as ObjectKey;
    const maker = party.startsWith(TASK_PARTY) ? this.makers.get(key) : undefined;
    into.push(maker === undefined ? one : [`actor:${maker}`, key]);
    for (const other of this.needs.get(party) ?? []) this.resolve(other, into);
  }

  /** Who makes refs of other processes, and what their tasks wait for: who waits for them waits for that. */
  madeBy({ makers, needs = [] }: ObjectMakers): void {
    for (const [key, maker] of makers) this.makers.set(key, maker);
    for (const [key, awaited] of needs) {
      this.needs.set(TASK_PARTY + key, awaited);
      this.askFor(awaited.map(([party]) => party));
    }
    const started = this.reported();
    if (started.length > 0) this.toNode({ t: "wait-report", started, ended: [] });
  }

  private reported(): ReportedWait[] {
    const reported: ReportedWait[] = [];
    for (const wait of this.byId.values()) {
      const described = wait.isReported ? this.describe(wait) : undefined;
      if (described) reported.push(described);
    }
    return reported;
  }

  /** To a control that was away, which may be another one. */
  state(): void {
    if (!this.hasReported) return;
    this.toNode({ t: "wait-report", started: this.reported(), ended: [], isAll: true });
  }

  check({ checkId, waits, calls }: WaitCheck): void {
    const lasting: ReportedWait[] = [];
    for (const id of waits) {
      const wait = this.byId.get(id);
      if (!wait) continue;
      const others = this.waits.get(wait.running) ?? [];
      const news = others.filter(({ isReported }) => !isReported);
      for (const other of news) this.report(other);
      // Control is to know all that the execution waits for before it says anything of it.
      const described = news.length === 0 ? this.describe(wait) : undefined;
      if (described) lasting.push(described);
    }
    this.toNode({ t: "wait-checked", checkId, waits: lasting, calls: calls.filter((key) => this.isQueued(key)) });
  }

  /** Control found that this wait closes a cycle: the waits of its execution are rejected. */
  deadlocked(message: Deadlock): void {
    const wait = this.byId.get(message.waitId);
    wait?.running.rejectWaits(
      new DeadlockError(
        `${message.cycle}: none of them can go on; let one return before it waits, or raise maxConcurrency`,
      ),
    );
  }
}
