/** What an owner has submitted that has not ended: exact counts, and some of it. */
import { type ActorId, creationTask } from "../base/ids.ts";
import type { Demand, LiveCount, OwnedTask } from "../wire/mod.ts";
import type { ActorInMaking } from "./actors.ts";
import type { OwnerEngine } from "./engine.ts";
import { TASK_STATE, type TaskRecord } from "./records.ts";

export interface OwnedTasks {
  /** What runs first, then the oldest. */
  readonly tasks: readonly OwnedTask[];
  readonly counts: readonly LiveCount[];
  /** Actors with most calls that have not begun. */
  readonly backlogs: readonly (readonly [ActorId, number])[];
}

/** Functions beyond are counted together. */
const COUNTS_MAX = 10_000;
const BACKLOGS_MAX = 20;
const BACKLOG_CALLS = 100;

type States = Record<OwnedTask["state"], number>;

/** Counts by function. Names are made once for each, not for each task: there may be a million of one. */
class Counter {
  private readonly byName = new Map<string, { readonly kind: OwnedTask["kind"]; readonly states: States }>();
  private code: object | undefined;
  private className: string | undefined;
  private states: States | undefined;
  private readonly calls = new Map<ActorId, { count: number }>();
  private actorId: ActorId | undefined;
  private backlog: { count: number } | undefined;

  add(task: TaskRecord, state: OwnedTask["state"]): void {
    if (!this.states || this.code !== task.code || this.className !== task.className) this.states = this.statesOf(task);
    this.code = task.code;
    this.className = task.className;
    this.states[state]++;
    if (task.actorId !== undefined && state !== "running") this.addCall(task.actorId);
  }

  private addCall(actorId: ActorId): void {
    if (!this.backlog || this.actorId !== actorId) {
      this.actorId = actorId;
      this.backlog = this.calls.get(actorId);
      if (!this.backlog) {
        this.backlog = { count: 0 };
        this.calls.set(actorId, this.backlog);
      }
    }
    this.backlog.count++;
  }

  backlogs(): (readonly [ActorId, number])[] {
    const long = [...this.calls].flatMap(([id, { count }]) => (count >= BACKLOG_CALLS ? [[id, count] as const] : []));
    return long.sort(([, a], [, b]) => b - a).slice(0, BACKLOGS_MAX);
  }

  private statesOf({ name, kind }: TaskRecord): States {
    const key = this.byName.has(name) || this.byName.size < COUNTS_MAX ? name : OTHER;
    let known = this.byName.get(key);
    if (!known) {
      known = { kind, states: { waiting: 0, queued: 0, running: 0 } };
      this.byName.set(key, known);
    }
    return known.states;
  }

  *counts(): Generator<LiveCount> {
    for (const [name, { kind, states }] of this.byName)
      for (const state of STATES) if (states[state] > 0) yield [name, kind, state, states[state]];
  }
}

const STATES = ["waiting", "queued", "running"] as const;
const OTHER = "other";

export function liveTasks({ objects, tasks: table, actors }: OwnerEngine, limit: number): OwnedTasks {
  const tasks: OwnedTask[] = [];
  const counter = new Counter();
  const sent = new Set<TaskRecord>();
  for (const task of table.sent.values()) {
    sent.add(task);
    const state = isRunning(table, task) ? "running" : "queued";
    // One that was cancelled and had not begun has ended.
    if (state === "queued" && task.state === TASK_STATE.done) continue;
    counter.add(task, state);
    if (state === "running" && tasks.length < limit) tasks.push(describe(task, state));
  }
  for (const task of objects.unended()) {
    const isSent = sent.has(task);
    const state = task.missing > 0 ? "waiting" : "queued";
    if (!isSent) counter.add(task, state);
    if (tasks.length < limit && (!isSent || !isRunning(table, task))) tasks.push(describe(task, state));
  }
  const creations = [...actors.inMaking].map(describeCreation);
  const counts = [...counter.counts(), ...countsOf(creations)];
  return { tasks: [...tasks, ...creations].slice(0, limit), counts, backlogs: counter.backlogs() };
}

function describeCreation({ actorId, className, creator, isSent }: ActorInMaking): OwnedTask {
  const { submittedAtMs, parent } = creator;
  const { seq } = creationTask(actorId);
  const state = isSent ? "queued" : "waiting";
  const name = `${className}.constructor`;
  return { seq, attempt: 0, name, kind: "actor-creation", state, actorId, submittedAtMs, parent };
}

function countsOf(creations: readonly OwnedTask[]): LiveCount[] {
  const all = Map.groupBy(creations, ({ name, state }) => `${state} ${name}`);
  return [...all.values()].flatMap((same) => {
    const [first] = same;
    return first ? [[first.name, first.kind, first.state, same.length] as const] : [];
  });
}

/** What was sent may still stand in the queue of its worker: its claim word says so, or, without one, its place. */
function isRunning({ leases }: OwnerEngine["tasks"], task: TaskRecord): boolean {
  const { lease, actor } = task;
  if (lease) return leases.mayRun(task, lease);
  if (!actor) return false;
  const claims = actor.link?.claims;
  if (claims && task.claimSlot > 0) return claims.wasStarted(task.claimSlot, task.claimSequence);
  let before = 0;
  for (const other of actor.inFlight.values()) {
    if (other === task) return true;
    if (++before >= actor.concurrency) return false;
  }
  return false;
}

const heldBy = ({ resources, placement }: Demand): Pick<OwnedTask, "resources" | "groupId"> => ({
  resources,
  ...(placement?.bundle && { groupId: placement.bundle.groupId }),
});

/** Known to a moment of what runs alone in its worker, since results come one after the other. */
function startOf({ sentAtMs, lease, actor }: TaskRecord): number {
  return Math.max(sentAtMs, lease?.progressAtMs ?? (actor?.concurrency === 1 ? actor.progressAtMs : 0));
}

function describe(task: TaskRecord, state: OwnedTask["state"]): OwnedTask {
  const worker = (task.lease?.link ?? task.actor?.link)?.address;
  const { seq, attempt, name, kind, actorId, submittedAtMs, readyAfterMicros, parent } = task;
  const isSent = task.state === TASK_STATE.sent || state === "running";
  return {
    ...{ seq, attempt, name, kind, state, submittedAtMs },
    parent: parent ? [parent.owner, parent.seq, parent.name] : null,
    ...(actorId !== undefined && { actorId }),
    ...(readyAfterMicros !== undefined && { readyAtMs: submittedAtMs + readyAfterMicros / 1000 }),
    ...(isSent && { sentAtMs: task.sentAtMs }),
    ...(state === "running" && task.lease && heldBy(task.lease.shape.demand)),
    ...(state === "running" && { startedAtMs: startOf(task) }),
    ...(isSent && worker && { worker: [worker.workerId, worker.nodeId, worker.pid] as const }),
  };
}
