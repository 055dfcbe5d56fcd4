/** What an owner knows of its objects, tasks, actors and leases. Plain records; the rules are in the files beside it. */

import type { ActorId, LeaseId, ObjectKey, ProcessId, Seq } from "../base/ids.ts";
import type { AttemptKind } from "../events/mod.ts";
import type {
  ActorState,
  Demand,
  FrameWriter,
  HandedTemplate,
  ValueRecord,
  WorkerAddress,
  WorkerDeath,
} from "../wire/mod.ts";
import { KeptBytes, WHOLE } from "./kept-bytes.ts";

/** A function with its options, registered once; calls name it by number. */
export interface Template extends Omit<HandedTemplate, "nested"> {
  /** As the program names them. */
  readonly nested: readonly NestedRef[];
}

/** A template as the engine keeps it: with the queue it feeds and what its runs have taken. */
export interface Registered {
  readonly template: Template;
  readonly shape: Shape;
  /** Moving average of a run, microseconds; NaN while unknown. Shared by templates of one name and position. */
  readonly cost: { micros: number; runs: number };
  readonly use: TemplateUse;
  /** The same with other queues, for tasks whose large arguments lie on other nodes: by the tags of those. */
  readonly near: Map<string, Registered>;
}

/** Who has a function: while it can be called, and until its last task has ended. */
export interface TemplateUse {
  /** Refs and handles in it, which are held so long. */
  readonly captured: readonly ObjectKey[];
  /** Workers that know it, and hold them too. */
  readonly links: Set<WorkerLink>;
  tasks: number;
  /** The program can call it no more. */
  isDropped: boolean;
}

/** A method with its per-call options, registered once. */
export interface MethodTemplate {
  readonly id: number;
  readonly name: string;
  /** What its calls are called where they are shown; empty for the class and the method. */
  readonly displayName: string;
  readonly numReturns: number;
  readonly isStream: boolean;
  readonly streamBufferItems: number;
  readonly group: string;
  readonly maxRetries: number;
  readonly retryDelayMs: number;
  readonly timeoutMs: number;
  /** Packed rule for the exceptions to retry; empty for none. */
  readonly retry: Uint8Array;
}

/** A value or an actor handle inside other values: own objects by number, everything else by key. */
export type NestedRef = Seq | ObjectKey;

/** What few objects have, apart from their records: there may be a million of those. */
interface ObjectRarities {
  foreignOwner: ProcessId | undefined;
  foreignSeq: Seq;
  lineageUses: number;
  keptBytes: number;
  dependents: TaskRecord[] | undefined;
}

const WANTED = 1;
const WATCHED = 2;
const PUBLISHED = 4;
const DETACHED = 8;
const READ = 16;

export class ObjectRecord {
  readonly seq: Seq;
  /** What will make it; kept while a lost copy could be made again. */
  task: TaskRecord | undefined;
  value: ValueRecord | undefined = undefined;
  /** The program's ref, tasks that take it as argument, and values it is nested in. */
  uses = 1;
  private flags = 0;
  private rarities: ObjectRarities | undefined = undefined;

  constructor(seq: Seq, task: TaskRecord | undefined) {
    this.seq = seq;
    this.task = task;
  }

  private rare(): ObjectRarities {
    this.rarities ??= {
      foreignOwner: undefined,
      foreignSeq: this.seq,
      lineageUses: 0,
      keptBytes: 0,
      dependents: undefined,
    };
    return this.rarities;
  }

  private flag(bit: number, isSet: boolean): void {
    this.flags = isSet ? this.flags | bit : this.flags & ~bit;
  }

  /** Set for a ref that another process owns, or whose task was handed over: this record only caches its value. */
  get isForeign(): boolean {
    return this.foreignOwner !== undefined;
  }
  get foreignOwner(): ProcessId | undefined {
    return this.rarities?.foreignOwner;
  }
  /** Its number at its owner. */
  get foreignSeq(): Seq {
    return this.rarities?.foreignSeq ?? this.seq;
  }

  setForeign(owner: ProcessId, seq: Seq): void {
    const rarities = this.rare();
    rarities.foreignOwner = owner;
    rarities.foreignSeq = seq;
  }

  /** The program waits for the value. */
  get isWanted(): boolean {
    return (this.flags & WANTED) !== 0;
  }
  set isWanted(isSet: boolean) {
    this.flag(WANTED, isSet);
  }

  /** The program waits to know that it is there. */
  get isWatched(): boolean {
    return (this.flags & WATCHED) !== 0;
  }
  set isWatched(isSet: boolean) {
    this.flag(WATCHED, isSet);
  }

  /** Others may ask the node's directory for it. */
  get isPublished(): boolean {
    return (this.flags & PUBLISHED) !== 0;
  }
  set isPublished(isSet: boolean) {
    this.flag(PUBLISHED, isSet);
  }

  /** No longer found by its number: only lineage still leads to it. */
  get isDetached(): boolean {
    return (this.flags & DETACHED) !== 0;
  }
  set isDetached(isSet: boolean) {
    this.flag(DETACHED, isSet);
  }

  /** The program has seen its error. */
  get isRead(): boolean {
    return (this.flags & READ) !== 0;
  }
  set isRead(isSet: boolean) {
    this.flag(READ, isSet);
  }

  /** Finished tasks whose lost returns would be made again from it. Keeps the record, not the value. */
  get lineageUses(): number {
    return this.rarities?.lineageUses ?? 0;
  }
  set lineageUses(uses: number) {
    this.rare().lineageUses = uses;
  }

  /** What its value takes in the object store, while it is kept for refs of this process. */
  get keptBytes(): number {
    return this.rarities?.keptBytes ?? 0;
  }
  set keptBytes(bytes: number) {
    this.rare().keptBytes = bytes;
  }

  /** Calls that take it as argument and wait for it. */
  get dependents(): TaskRecord[] | undefined {
    return this.rarities?.dependents;
  }
  set dependents(tasks: TaskRecord[] | undefined) {
    this.rare().dependents = tasks;
  }
}

/** What runs, as what it submits knows it: made once, however much that is. */
export interface TaskOrigin {
  /** Of the function. */
  readonly name: string;
  readonly owner: ProcessId;
  /** 0 of what is no task or call: what an actor does when it is made. */
  readonly seq: Seq;
}

export const TASK_STATE = { waiting: 0, queued: 1, sent: 2, delayed: 3, done: 4 } as const;
export type TaskState = (typeof TASK_STATE)[keyof typeof TASK_STATE];

/** What few tasks have, apart from their records: a million of those may be queued. */
interface TaskRarities {
  deps: readonly ObjectRecord[];
  nested: readonly ObjectKey[];
  failures: number;
  preemptions: number;
  missing: number;
  readyAfterMicros: number;
  hasLineage: boolean;
  stream: StreamRecord | undefined;
  settledBy: Uint8Array | undefined;
}

/** A task or an actor call, from submission until nothing of it is needed any more. */
export class TaskRecord {
  readonly seq: Seq;
  /** What is run: a function, or a method of `actor`; undefined for the creation of an actor. */
  private what: Registered | MethodTemplate | undefined;
  actor: ActorRecord | undefined;
  private argsFrom: Uint8Array;
  private argsRange: number;
  state: TaskState = TASK_STATE.waiting;
  attempt = 0;
  lease: Lease | undefined = undefined;
  claimSlot = 0;
  claimSequence = 0;
  private readonly submittedTicks: number;
  private sentTicks = 0;
  private made: ObjectRecord | readonly ObjectRecord[] | undefined = undefined;
  private rarities: TaskRarities | undefined = undefined;
  /** The task or call in which it was submitted, where one was. */
  parent: TaskOrigin | undefined = undefined;

  constructor(
    seq: Seq,
    what: Registered | { readonly actor: ActorRecord; readonly method?: MethodTemplate },
    args: Uint8Array | KeptBytes,
    deps: readonly ObjectRecord[],
    nested: readonly ObjectKey[],
    nowMs: number,
  ) {
    this.seq = seq;
    if ("actor" in what) {
      this.actor = what.actor;
      this.what = what.method;
    } else {
      this.actor = undefined;
      this.what = what;
    }
    if (args instanceof KeptBytes) {
      this.argsFrom = args.slab;
      this.argsRange = args.range;
    } else {
      this.argsFrom = args;
      this.argsRange = WHOLE;
    }
    this.submittedTicks = toTicks(nowMs);
    if (deps.length > 0) this.rare().deps = deps;
    if (nested.length > 0) this.rare().nested = nested;
  }

  private rare(): TaskRarities {
    this.rarities ??= {
      deps: NO_RECORDS,
      nested: NO_KEYS,
      failures: 0,
      preemptions: 0,
      missing: 0,
      readyAfterMicros: 0,
      hasLineage: false,
      stream: undefined,
      settledBy: undefined,
    };
    return this.rarities;
  }

  /**
   * Where its entry in the submission log is; 0 for none. It has one only while it was not sent, and a claim only while
   * it is, so both have one place.
   */
  get loggedAt(): number {
    return this.claimSlot === 0 ? this.claimSequence : 0;
  }
  set loggedAt(at: number) {
    this.claimSequence = at;
  }

  get registered(): Registered | undefined {
    // Of tasks it is a function, see the constructor.
    return this.actor === undefined ? (this.what as Registered) : undefined;
  }

  set registered(registered: Registered) {
    this.what = registered;
  }

  /** Undefined for the creation of an actor. */
  get method(): MethodTemplate | undefined {
    return this.actor === undefined ? undefined : (this.what as MethodTemplate | undefined);
  }

  get args(): Uint8Array | KeptBytes {
    return this.argsRange === WHOLE ? this.argsFrom : new KeptBytes(this.argsFrom as Buffer, this.argsRange);
  }

  dropArgs(): void {
    this.argsFrom = NO_BYTES;
    this.argsRange = WHOLE;
  }

  get deps(): readonly ObjectRecord[] {
    return this.rarities?.deps ?? NO_RECORDS;
  }
  set deps(deps: readonly ObjectRecord[]) {
    if (this.rarities || deps.length > 0) this.rare().deps = deps;
  }

  get nested(): readonly ObjectKey[] {
    return this.rarities?.nested ?? NO_KEYS;
  }
  set nested(nested: readonly ObjectKey[]) {
    if (this.rarities || nested.length > 0) this.rare().nested = nested;
  }

  /** Attempts that failed and counted. */
  get failures(): number {
    return this.rarities?.failures ?? 0;
  }
  set failures(failures: number) {
    this.rare().failures = failures;
  }

  /** Attempts that were ended for something of higher priority, which count for nothing. */
  get preemptions(): number {
    return this.rarities?.preemptions ?? 0;
  }
  set preemptions(preemptions: number) {
    this.rare().preemptions = preemptions;
  }

  /** Arguments that have no value yet. */
  get missing(): number {
    return this.rarities?.missing ?? 0;
  }
  set missing(missing: number) {
    this.rare().missing = missing;
  }

  /** From submission until the arguments were there; undefined while they are not. */
  get readyAfterMicros(): number | undefined {
    const { rarities } = this;
    if (rarities === undefined) return 0;
    return rarities.missing > 0 ? undefined : rarities.readyAfterMicros;
  }
  set readyAfterMicros(micros: number) {
    this.rare().readyAfterMicros = micros;
  }

  /** The failure that it got for the program while its worker had it. */
  get settledBy(): Uint8Array | undefined {
    return this.rarities?.settledBy;
  }
  set settledBy(failure: Uint8Array) {
    this.rare().settledBy = failure;
  }

  /** Kept after its end, to make a lost return again. */
  get hasLineage(): boolean {
    return this.rarities?.hasLineage ?? false;
  }
  set hasLineage(hasLineage: boolean) {
    this.rare().hasLineage = hasLineage;
  }

  get stream(): StreamRecord | undefined {
    return this.rarities?.stream;
  }
  set stream(stream: StreamRecord | undefined) {
    this.rare().stream = stream;
  }

  get submittedAtMs(): number {
    return toMs(this.submittedTicks);
  }

  get sentAtMs(): number {
    return toMs(this.sentTicks);
  }
  set sentAtMs(ms: number) {
    this.sentTicks = toTicks(ms);
  }

  /** One record for each return; a stream's only record is its completion. */
  get returns(): readonly ObjectRecord[] {
    const { made } = this;
    if (made === undefined) return NO_RECORDS;
    return made instanceof ObjectRecord ? [made] : made;
  }
  set returns(records: readonly ObjectRecord[]) {
    this.made = records.length === 1 ? records[0] : records;
  }

  get kind(): Exclude<AttemptKind, "actor-creation"> {
    return this.actor === undefined ? "task" : "actor-call";
  }

  get actorId(): ActorId | undefined {
    return this.actor?.actorId;
  }

  /** With `className` it is what the name is made of. */
  get code(): object | undefined {
    return this.what;
  }

  get className(): string | undefined {
    return this.actor?.className;
  }

  /** Nothing else of its actor, or of the tasks in its worker, runs at the same time. */
  get isSerial(): boolean {
    return this.actor === undefined || (this.actor.concurrency === 1 && this.stream === undefined);
  }

  get name(): string {
    if (this.registered) return this.registered.template.name;
    return this.method?.displayName || `${this.actor?.className ?? "actor"}.${this.method?.name ?? "method"}`;
  }
}

const NO_RECORDS: readonly ObjectRecord[] = Object.freeze([]);
const NO_KEYS: readonly ObjectKey[] = Object.freeze([]);
const NO_BYTES = new Uint8Array(0);

/**
 * Times in records are whole ticks since the first one, counted from the least small integer: V8 keeps small integers
 * in the record itself and gives every other number an object of its own. After 18 hours they are such numbers.
 */
const TICKS_PER_MS = 64;
const FIRST_TICK = -(2 ** 31);
let originMs: number | undefined;

function toTicks(ms: number): number {
  originMs ??= Math.floor(ms);
  return FIRST_TICK + Math.round((ms - originMs) * TICKS_PER_MS);
}

const toMs = (ticks: number): number => (originMs ?? 0) + (ticks - FIRST_TICK) / TICKS_PER_MS;

/** How far a generator has come, as its owner sees it. */
export interface StreamRecord {
  /** Items that came, in all attempts together: a retried producer makes the same ones again, which are dropped. */
  received: number;
  consumed: number;
  /** Items that came in the attempt that runs. */
  made: number;
  /** The program let go of the stream: items that still come are dropped. */
  isAbandoned: boolean;
  /** The program knows how many items there are: an attempt from now on only makes lost ones again. */
  isEnded: boolean;
  /** Items that lie in the store and could be made again, with their places in the stream. */
  readonly stored: Map<ObjectRecord, number>;
  /** Those of them that were lost and are to come again, by their places. */
  readonly lost: Map<number, ObjectRecord>;
}

/** How an owner reaches one worker: hot frames are written to `out` and leave after `schedule`. */
export interface WorkerLink {
  readonly address: WorkerAddress;
  readonly out: FrameWriter;
  schedule(): void;
  /** Templates and methods that this worker has been told of, and actors, each with the incarnation that was named. */
  readonly knownTemplates: Set<number>;
  /** By number, which programs use again for other settings. */
  readonly knownMethods: Map<number, MethodTemplate>;
  readonly knownActors: Map<number, number>;
  /** The lease that was last named on it; 0 for none. */
  namedLease: number;
  readonly claims: ClaimTable | undefined;
  /** Set when the connection has ended; nothing sent afterwards arrives. */
  isBroken: boolean;
}

/** Words that an owner and its worker race for; see worker/claims.ts for the states. */
export interface ClaimTable {
  /** Prepares a word for a task that is about to be sent, and returns its slot; 0 when every word is in use. */
  acquire(): number;
  /** The sequence that the slot was last acquired with. */
  sequenceOf(slot: number): number;
  /** True when the task had not started and now never will. */
  takeBack(slot: number, sequence: number): boolean;
  /** True when the worker had taken it up. */
  wasStarted(slot: number, sequence: number): boolean;
  release(slot: number): void;
  /** Breaks a synchronous run of `seq`, if it is under the interruptible guard now; true when the signal was sent. */
  interrupt(seq: Seq): boolean;
}

export interface Preemption {
  readonly by: string;
  readonly askedAtMs: number;
  isSignalled: boolean;
  isForced: boolean;
}

export interface Lease {
  readonly id: LeaseId;
  /** As its worker knows it. */
  readonly idThere: LeaseId;
  readonly shape: Shape;
  readonly link: WorkerLink;
  /** Sent and unfinished, oldest first. */
  readonly inFlight: Map<Seq, TaskRecord>;
  /** A long task holds it up: what had not started was taken back, and nothing more is sent until a result comes. */
  isStuck: boolean;
  /** What the tasks in flight are expected to take, together. */
  backlogMicros: number;
  /** Last time that a result arrived or the first task was sent. */
  progressAtMs: number;
  idleSinceMs: number;
  /** Others wait for it: take no more work and give it back when empty. */
  isRevoked: boolean;
  /** The worker has ended it: what it has not begun of it, it never will. */
  isReclaimed: boolean;
  /** What runs there is to end for something of higher priority, in these words: first by its signal, then by force. */
  preemption: Preemption | undefined;
  /** The last of the tasks that a worker without claim words was asked to give back. */
  askedBackTo: TaskRecord | undefined;
  /** Its worker is to be killed for this task, when others have been given back. */
  condemned: { readonly task: TaskRecord; readonly reason: string; readonly atMs: number } | undefined;
  /** Set when the worker must not be used again. */
  isRetiring: boolean;
  /** How the worker died, while what it had said before is still on its way. */
  death: WorkerDeath | undefined;
}

/** All tasks that ask for the same thing. */
export interface Shape {
  readonly id: number;
  readonly demand: Demand;
  readonly queue: TaskQueue;
  readonly leases: Lease[];
  /** Last number told to the node. */
  wantedTold: number;
  isTold: boolean;
  isDirty: boolean;
  /** How many templates ask by it; without one, it is forgotten when nothing of it is left. */
  templates: number;
  isForgotten: boolean;
  /** Tasks sent and unfinished, over all leases. */
  inFlight: number;
  waitingSinceMs: number;
  /** Why the node refused it: every task of it fails with this. */
  refused: { readonly code: string; readonly message: string } | undefined;
  /** Of one lease that was another owner's: nothing is asked for by it. */
  readonly isInherited: boolean;
}

export interface TaskQueue {
  readonly size: number;
  push(task: TaskRecord): void;
  unshift(task: TaskRecord): void;
  shift(): TaskRecord | undefined;
  /** The next one, left where it is. */
  peek(): TaskRecord | undefined;
  remove(task: TaskRecord): boolean;
  [Symbol.iterator](): Iterator<TaskRecord>;
}

export interface ActorRecord {
  /** The number by which the program and the workers' connections name it. */
  readonly num: number;
  readonly actorId: ActorId;
  readonly className: string;
  state: "creating" | "pending" | "alive" | "restarting" | "dead";
  incarnation: number;
  link: WorkerLink | undefined;
  /** Calls not yet sent, in order. */
  readonly queue: TaskQueue;
  /** Sent, and not let go of by the worker: also those that were cancelled. */
  readonly inFlight: Map<Seq, TaskRecord>;
  /** How many calls may run at once in the actor. */
  readonly concurrency: number;
  /** Last time that the worker let go of a call. */
  progressAtMs: number;
  /** The worker said that nothing more comes of this incarnation. */
  isGone: boolean;
  /** What the node said after it had ended, while answers that the worker had sent before may still be on their way. */
  news: ActorState | undefined;
  cause: ActorCause | undefined;
  isSubscribed: boolean;
  /** The node knows that it is to come, because a handle left before its creation was sent. */
  isAnnounced: boolean;
  warnedBacklog: boolean;
  /** Handles by which the actor, which is hosted here, names itself: they keep it in this table, and do not hold it. */
  selfHandles: number;
}

export interface ActorCause {
  readonly code: string;
  readonly message: string;
  readonly error?: Uint8Array;
  readonly death?: WorkerDeath;
}
