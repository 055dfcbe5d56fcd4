/**
 * Handing over: tasks of a worker that its node sees through, because the thread of the worker, which runs user code,
 * may be busy for seconds.
 *
 * 1. What was not sent lies in a log that the node takes when the thread does not come back (submission-log.ts). What
 *    the log has no room for is sent to the node, and so are tasks whose arguments are not there, when a turn of the
 *    event loop ends and the program does not wait for the ends of all that it submitted.
 * 2. A task takes its record along: function, arguments, and the values or names of the arguments that are refs. Its
 *    returns keep their names. Here they are refs of another owner from then on, and held as such.
 * 3. The node runs the same owner engine for each worker that handed something over, under a name of its own among the
 *    holders (`adopt`). It publishes all returns, so whoever has the ref asks the directory.
 * 4. When the worker dies, its holds go. What others hold is still made; the rest is cancelled.
 *
 * Streams and actor calls stay: both need their owner's attention anyway.
 *
 * What stays here and makes a ref that others have got would be lost with this process. So the node has a copy of such a
 * task (`copy`) until it has the value, and sees the task through if this process ends first: see inheritance.ts.
 */
import { assert } from "../base/assert.ts";
import { type JobId, type ObjectKey, objectKeyOwner, objectKeySeq, type ProcessId, type Seq } from "../base/ids.ts";
import type { HandedTask, HandedTemplate, TaskHandover, ToNode, ValueRecord } from "../wire/mod.ts";
import type { OwnerEffects } from "./effects.ts";
import type { OwnerEngine } from "./engine.ts";
import { bytesOf, plainValue } from "./kept-bytes.ts";
import type { ObjectTable } from "./objects.ts";
import { type ObjectRecord, type Registered, TASK_STATE, type TaskOrigin, type TaskRecord } from "./records.ts";
import {
  handedOrigin,
  type LoggedArgument,
  packTemplate,
  type SubmissionLog,
  saysWhoDelivers,
} from "./submission-log.ts";
import type { TaskTable } from "./tasks.ts";

/** Tasks, and bytes of their arguments, in one message, so that the node has turns in between. */
const TASKS_MAX = 100;
const BYTES_MAX = 256 * 1024;

/** @param before of another task: the same one is one object, by which events tell them apart. */
function originOf(
  { parent: name, parentId }: HandedTask,
  giver: ProcessId,
  before: TaskOrigin | undefined,
): TaskOrigin | undefined {
  if (name === undefined) return undefined;
  const [owner, seq] = parentId ?? [giver, 0 as Seq];
  return before?.seq === seq && before.owner === owner && before.name === name ? before : { name, owner, seq };
}

export class Handover {
  /** Their arguments are not there. */
  readonly waiting = new Set<TaskRecord>();
  /** The job of what is submitted here; set by the runtime. */
  jobId: () => JobId = () => "" as JobId;
  /** Opens the log when something is submitted for the first time; set by the runtime. */
  openLog: () => SubmissionLog | undefined = () => undefined;
  /** Handed over and not known to have ended. */
  pending = 0;
  /** Something that was submitted since the last look is not in the log: it should leave within the call. */
  isUnlogged = false;
  /** A stream was submitted, or something that a lost copy is made by: they stay. */
  hasUnmovable = false;
  /** What is in the log names refs of which the node has not been told: that should leave within the call. */
  hasNews = false;
  private readonly effects: OwnerEffects;
  private readonly objects: ObjectTable;
  private readonly tasks: TaskTable;
  /** Submitted since it was last decided who sees them through. */
  private recent: TaskRecord[] = [];
  private log: SubmissionLog | undefined;
  private isLogOpened = false;
  /** Own objects that tasks in the log name, and that are not published. */
  private readonly named = new Map<TaskRecord, ObjectRecord[]>();
  /** That say who delivers what. */
  private messages = 0;
  private readonly sentTemplates = new Set<number>();
  /** Of these, those that the program can call no more. */
  private readonly unneeded: number[] = [];
  private readonly packedTemplates = new Map<number, Uint8Array>();
  /** Returns that have escaped, of whose tasks the node has no copies yet. */
  private escaped: ObjectRecord[] = [];

  constructor(effects: OwnerEffects, objects: ObjectTable, tasks: TaskTable) {
    this.effects = effects;
    this.objects = objects;
    this.tasks = tasks;
    tasks.handover = this;
    objects.onEscape = (record) => {
      if (record.task && isMovable(record.task)) this.escaped.push(record);
    };
  }

  /** The engine says something to the node. */
  told(message: ToNode): void {
    if (saysWhoDelivers(message)) this.messages++;
  }

  submitted(task: TaskRecord): void {
    this.recent.push(task);
    if (task.missing > 0) this.unsent(task);
  }

  /** It waits for its arguments, or its turn; also once more, after it had been sent. */
  unsent(task: TaskRecord): void {
    if (task.missing > 0) this.waiting.add(task);
    if (!isMovable(task)) {
      this.hasUnmovable = true;
      return;
    }
    if (task.loggedAt > 0) {
      if (!this.named.has(task)) return;
      // Its arguments are there: with their values it needs this process no more.
      this.log?.remove(task);
      this.named.delete(task);
    }
    if (!this.isLogOpened) {
      this.isLogOpened = true;
      this.log = this.openLog();
    }
    if (!this.note(task)) this.isUnlogged = true;
  }

  /** It was sent, or has ended. */
  left(task: TaskRecord): void {
    if (this.waiting.size > 0) this.waiting.delete(task);
    if (this.named.size > 0) this.named.delete(task);
    if (task.loggedAt > 0) this.log?.remove(task);
  }

  /** The program's code runs from here on. */
  leave(): void {
    const { log } = this;
    this.dropUnneeded();
    if (log && log.size > 0) log.open(this.messages);
  }

  /** To be called before anything is done with tasks. */
  enter(): void {
    const { log } = this;
    if (!log?.isOpen) return;
    if (log.close()) this.taken(log);
  }

  /** No task will name the function again. */
  unregistered(id: number): void {
    this.packedTemplates.delete(id);
    if (!this.sentTemplates.has(id)) return;
    this.unneeded.push(id);
    this.dropUnneeded();
  }

  /** What has gone to the node with these tasks though nobody can call it any more. */
  private dropUnregistered(tasks: readonly TaskRecord[]): void {
    const ids = new Set(tasks.flatMap(({ registered }) => (registered ? [registered.template.id] : [])));
    for (const id of ids) if (!this.tasks.isRegistered(id)) this.unregistered(id);
  }

  /** Tasks in the log may name them, and the node may take those at any time. */
  private dropUnneeded(): void {
    if (this.unneeded.length === 0 || (this.log && this.log.size > 0)) return;
    const ids = this.unneeded.splice(0);
    for (const id of ids) this.sentTemplates.delete(id);
    this.effects.toNode({ t: "template-drop", ids });
  }

  /** Something was submitted since the last decision. */
  get hasUndecided(): boolean {
    return this.recent.length > 0;
  }

  /** Tasks have not ended, here or at the node. */
  get isUnderWay(): boolean {
    return this.pending > 0 || this.waiting.size > 0 || this.tasks.sent.size > 0 || this.tasks.leases.hasQueued;
  }

  /**
   * Of what was submitted since the last decision, every argument is there, or the program waits for the ends of it all.
   */
  get isCovered(): boolean {
    const { recent } = this;
    if (this.waiting.size === 0) return true;
    if (recent.every((task) => isOver(task) || isWanted(task))) return true;
    const covered = new Set<TaskRecord>();
    const toVisit = recent.filter(isWanted);
    for (let task = toVisit.pop(); task; task = toVisit.pop()) {
      if (covered.has(task)) continue;
      covered.add(task);
      for (const dep of task.deps) if (dep.task && !dep.value) toVisit.push(dep.task);
    }
    return recent.every((task) => isOver(task) || covered.has(task));
  }

  /** What was submitted until now stays here, unless the program goes on before it has been sent. */
  keep(): void {
    if (this.recent.length > 0) this.recent = [];
  }

  /** Hands over everything that was not sent; false when there was nothing. */
  handOver(): boolean {
    this.keep();
    const tasks = this.tasks.leases.takeQueued(isMovable);
    for (const task of this.waiting) {
      if (task.state === TASK_STATE.waiting && !isMovable(task)) continue;
      this.waiting.delete(task);
      if (task.state === TASK_STATE.waiting) tasks.push(task);
    }
    // Arguments before those that take them.
    tasks.sort((a, b) => a.seq - b.seq);
    this.isUnlogged = false;
    const givenAway: ObjectRecord[] = [];
    const parcel = new Parcel((templates, handed) =>
      this.effects.toNode({ t: "task-handover", jobId: this.jobId(), templates, tasks: handed }),
    );
    for (const task of tasks) {
      const { registered } = task;
      if (!registered) continue;
      const template = this.templateOf(registered);
      const record = this.recordOf(task, registered);
      for (const each of task.returns) {
        givenAway.push(each);
        this.objects.giveAway(each);
      }
      this.left(task);
      this.tasks.givenAway(task);
      parcel.add(record, template);
    }
    parcel.send();
    this.dropUnregistered(tasks);
    for (const record of givenAway) this.objects.followUp(record);
    this.pending += tasks.length;
    return tasks.length > 0;
  }

  /** An entry in the log; false when it has no room. */
  private note(task: TaskRecord): boolean {
    const { log, objects } = this;
    const { registered } = task;
    if (!log || !registered || !this.noteTemplate(log, registered)) return false;
    if (task.nested.length > 0) this.publish(task.nested);
    const named: ObjectRecord[] = [];
    const deps = task.deps.map((dep): LoggedArgument => {
      const { value } = dep;
      if (value && value.at !== "stored" && value.nested.length === 0) return plainValue(value);
      const key = objects.keyOf(dep);
      if (!dep.isForeign && !dep.isPublished) {
        if (!value) {
          named.push(dep);
          return dep.seq;
        }
        this.publish([key]);
      }
      return key;
    });
    if (!log.add(task, registered.template.id, this.jobId(), deps)) return false;
    if (named.length > 0) this.named.set(task, named);
    return true;
  }

  private noteTemplate(log: SubmissionLog, { template, use }: Registered): boolean {
    const { id } = template;
    if (this.sentTemplates.has(id) || log.templates.has(id)) return true;
    const nested = use.captured;
    if (nested.length > 0) this.publish(nested);
    let packed = this.packedTemplates.get(id);
    if (!packed) {
      packed = packTemplate({ ...template, nested });
      this.packedTemplates.set(id, packed);
    }
    return log.addTemplate(id, packed);
  }

  private publish(keys: readonly ObjectKey[]): void {
    this.objects.publishNested(keys);
    this.hasNews = true;
  }

  /** The node has taken these out of the log: what {@link handOver} does, but for the message. */
  private taken(log: SubmissionLog): void {
    const { objects } = this;
    const tasks = this.tasks.leases.takeQueued((task) => task.loggedAt > 0);
    for (const task of this.waiting) if (task.loggedAt > 0) tasks.push(task);
    // Handles of actors that live here have left only now: see ActorTable.keepsAlive.
    for (const { nested, registered } of tasks) {
      objects.publishNested(nested);
      objects.publishNested(registered?.use.captured ?? []);
    }
    for (const id of log.templates) {
      this.sentTemplates.add(id);
      if (!this.tasks.isRegistered(id)) this.unregistered(id);
    }
    const givenAway = tasks.flatMap((task) => task.returns);
    for (const record of givenAway) objects.giveAway(record);
    // The node has published these in the name of this process.
    for (const task of tasks)
      objects.publishNested((this.named.get(task) ?? []).map((record) => objects.keyOf(record)));
    for (const task of tasks) {
      this.left(task);
      this.tasks.givenAway(task);
    }
    for (const record of givenAway) objects.followUp(record);
    this.pending += tasks.length;
  }

  /** Refs leave with the result of what submitted them: what makes them is not to end with this process. */
  escaping(keys: readonly ObjectKey[]): void {
    const isUnsent = (key: ObjectKey): boolean => {
      const task = this.objects.ownRecord(key)?.task;
      return task !== undefined && task.state < TASK_STATE.sent && isMovable(task);
    };
    if (keys.some(isUnsent)) this.handOver();
  }

  /**
   * Gives the node copies of the tasks whose refs have escaped. Those whose results they wait for escape with them.
   * Called once a turn.
   */
  copy(): void {
    let escaped: Seq[] = [];
    const copied: TaskRecord[] = [];
    const parcel = new Parcel((templates, tasks) => {
      this.effects.toNode({ t: "task-copy", jobId: this.jobId(), templates, tasks, escaped });
      escaped = [];
    });
    for (let record = this.escaped.pop(); record; record = this.escaped.pop()) {
      const { task, seq } = record;
      if (!task?.registered || task.state === TASK_STATE.done) continue;
      const template = this.templateOf(task.registered);
      escaped.push(seq);
      parcel.add(this.recordOf(task, task.registered), template);
      copied.push(task);
    }
    parcel.send();
    this.dropUnregistered(copied);
  }

  /** The node says that so many have ended. */
  ended(count: number): void {
    this.pending -= count;
  }

  private templateOf({ template, use }: Registered): HandedTemplate | undefined {
    if (this.sentTemplates.has(template.id)) return undefined;
    this.sentTemplates.add(template.id);
    const nested = use.captured;
    this.objects.publishNested(nested);
    return { ...template, nested };
  }

  private recordOf(task: TaskRecord, { template }: Registered): HandedTask {
    this.objects.publishNested(task.nested);
    return {
      seq: task.seq,
      template: template.id,
      attempt: task.attempt,
      failures: task.failures,
      args: bytesOf(task.args),
      deps: task.deps.map((dep) => this.argument(dep)),
      nested: task.nested,
      ...handedOrigin(task.parent),
    };
  }

  private argument(dep: ObjectRecord): ObjectKey | ValueRecord {
    const { value } = dep;
    if (value && value.at !== "stored" && value.nested.length === 0) return plainValue(value);
    const key = this.objects.keyOf(dep);
    this.objects.publishNested([key]);
    return key;
  }
}

/** Tasks on their way to the node, in messages that leave it turns in between. */
class Parcel {
  private readonly deliver: (templates: readonly HandedTemplate[], tasks: readonly HandedTask[]) => void;
  private templates: HandedTemplate[] = [];
  private tasks: HandedTask[] = [];
  private bytes = 0;

  constructor(deliver: Parcel["deliver"]) {
    this.deliver = deliver;
  }

  add(task: HandedTask, template: HandedTemplate | undefined): void {
    this.tasks.push(task);
    if (template) this.templates.push(template);
    this.bytes += task.args.length + (template?.code.length ?? 0);
    for (const dep of task.deps) if (typeof dep !== "string" && dep.at !== "stored") this.bytes += dep.bytes.length;
    if (this.tasks.length >= TASKS_MAX || this.bytes >= BYTES_MAX) this.send();
  }

  send(): void {
    if (this.tasks.length > 0) this.deliver(this.templates, this.tasks);
    this.templates = [];
    this.tasks = [];
    this.bytes = 0;
  }
}

const isOver = (task: TaskRecord): boolean => task.state === TASK_STATE.done || task.state === TASK_STATE.sent;
const isWanted = (task: TaskRecord): boolean => task.returns.some((record) => record.isWanted);

/** One that a lost copy is made again by stays with those who have the others. */
const isMovable = (task: TaskRecord): boolean =>
  task.registered !== undefined && !task.stream && task.returns.every((record) => !record.value);

/**
 * Takes over what `giver` has handed over. To be called before anything else that it sent after it: the keys that the
 * tasks name are held by the giver until then, and are granted to this engine, which is called `self` among the
 * holders, by itself.
 *
 * @param isHeldBack the tasks wait for `engine.tasks.letGo`, whatever else they wait for.
 */
export function adopt(
  engine: OwnerEngine,
  effects: Pick<OwnerEffects, "toNode">,
  { self, giver }: { readonly self: ProcessId; readonly giver: ProcessId },
  { templates, tasks }: Pick<TaskHandover, "templates" | "tasks">,
  isHeldBack = false,
): readonly TaskRecord[] {
  const { objects } = engine;
  const adopted: TaskRecord[] = [];
  /** Takes a hold on each key, and keeps it until `use` has made uses of them. */
  const withHolds = (keys: readonly ObjectKey[], use: () => void): void => {
    if (keys.length > 0) {
      effects.toNode({ t: "hold-grant", to: self, keys });
      objects.holds.receive(keys);
    }
    use();
    objects.holds.drop(keys);
  };
  for (const template of templates) withHolds(template.nested, () => engine.tasks.register(template));
  /** Neighbours are mostly of one. */
  let origin: TaskOrigin | undefined;
  for (const task of tasks) {
    const { seq, attempt, failures, args, deps, nested } = task;
    origin = originOf(task, giver, origin);
    const keys = [...deps.filter((dep) => typeof dep === "string"), ...nested];
    withHolds(keys, () => {
      const borrowed: Seq[] = [];
      const seqs = deps.map((dep) => {
        const own = typeof dep === "string" ? objects.ownRecord(dep) : undefined;
        if (own) return own.seq;
        const at = objects.takeSeq();
        if (typeof dep === "string") objects.borrow(at, objectKeyOwner(dep), objectKeySeq(dep));
        else objects.setValue(objects.create(at), dep);
        borrowed.push(at);
        return at;
      });
      engine.tasks.submit(seq, task.template, args, seqs, nested, origin, isHeldBack);
      const submitted = objects.get(seq).task;
      assert(submitted, "a record that was made for a task has it");
      submitted.attempt = attempt;
      submitted.failures = failures;
      adopted.push(submitted);
      for (const at of borrowed) objects.release(at);
      const returns = submitted.returns.map((each) => objects.keyOf(each));
      objects.publishNested(returns);
      effects.toNode({ t: "hold-grant", to: giver, keys: returns });
      for (const key of returns) {
        const own = objects.ownRecord(key);
        if (own) objects.dropUse(own);
      }
    });
  }
  return adopted;
}

/** The giver is gone, and its holds with it: what nobody holds is not made any more. */
export function cancelUnheld({ objects, tasks }: OwnerEngine, isHeld: (key: ObjectKey) => boolean): void {
  // Newest first: when a task goes, its arguments may be needed no more.
  for (const task of [...objects.pendingTasks()].sort((a, b) => b.seq - a.seq)) {
    if (task.returns.some((record) => record.uses > 0 || isHeld(objects.keyOf(record)))) continue;
    const message = `${task.name} was cancelled, because the process that submitted it is gone`;
    tasks.cancel(task, false, true, { code: "TASK_CANCELLED", kind: "cancelled", message });
  }
}
