/** What an owner knows of its objects, tasks, actors and leases. Plain records; the rules are in the files beside it. */

import type { ActorId, LeaseId, ObjectKey, Seq } from "../base/ids.ts";
import type {
  ActorState,
  ClaimsInfo,
  Demand,
  FrameWriter,
  ValueRecord,
  WorkerAddress,
  WorkerDeath,
} from "../wire/mod.ts";
import type { KeptBytes } from "./kept-bytes.ts";

/** A function with its options, registered once; calls name it by number. */
export interface Template {
  readonly id: number;
  readonly name: string;
  /** Packed function, sent once to each worker that runs it. */
  readonly code: Uint8Array;
  /** Refs and handles that the function has captured. */
  readonly nested: readonly NestedRef[];
  readonly demand: Demand;
  readonly numReturns: number;
  readonly isStream: boolean;
  readonly streamBufferItems: number;
  /** -1 for ever. */
  readonly maxRetries: number;
  readonly retryDelayMs: number;
  readonly timeoutMs: number;
  /** The worker ends after so many calls; 0 for never. */
  readonly maxCalls: number;
}

/** A template as the engine keeps it: with the queue it feeds and what its runs have taken. */
export interface Registered {
  readonly template: Template;
  readonly shape: Shape;
  /** Moving average of a run, microseconds; NaN while unknown. Shared by templates of one name and position. */
  readonly cost: { micros: number; runs: number };
  /** Absent when the function has captured none. */
  readonly captured: Captured | undefined;
}

/** Refs and handles in a function: held while it can be called, and until its last task has ended. */
export interface Captured {
  readonly keys: readonly ObjectKey[];
  /** Workers that have the function, and hold them too. */
  readonly links: Set<WorkerLink>;
  tasks: number;
  /** The program can call it no more. */
  isDropped: boolean;
}

/** A method with its per-call options, registered once. */
export interface MethodTemplate {
  readonly id: number;
  readonly name: string;
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

export class ObjectRecord {
  readonly seq: Seq;
  /** What will make it; kept while a lost copy could be made again. */
  task: TaskRecord | undefined;
  /** Set for a ref that another process owns: this record only caches its value. */
  readonly foreignKey: ObjectKey | undefined;
  value: ValueRecord | undefined = undefined;
  /** The program's ref, tasks that take it as argument, and values it is nested in. */
  uses = 1;
  /** The program waits for the value. */
  isWanted = false;
  /** The program waits to know that it is there. */
  isWatched = false;
  /** Others may ask the node's directory for it. */
  isPublished = false;
  /** Finished tasks whose lost returns would be made again from it. Keeps the record, not the value. */
  lineageUses = 0;
  /** No longer found by its number: only lineage still leads to it. */
  isDetached = false;
  /** The program has seen its error. */
  isRead = false;
  /** What its value takes in the object store, while it is kept for refs of this process. */
  keptBytes = 0;
  /** Calls that take it as argument and wait for it. */
  dependents: TaskRecord[] | undefined = undefined;

  constructor(seq: Seq, task: TaskRecord | undefined, foreignKey?: ObjectKey) {
    this.seq = seq;
    this.task = task;
    this.foreignKey = foreignKey;
  }
}

export const TASK_STATE = { waiting: 0, queued: 1, sent: 2, delayed: 3, done: 4 } as const;
export type TaskState = (typeof TASK_STATE)[keyof typeof TASK_STATE];

/** A task or an actor call, from submission until nothing of it is needed any more. */
export class TaskRecord {
  readonly seq: Seq;
  readonly registered: Registered | undefined;
  actor: ActorRecord | undefined;
  /** Undefined for the creation of an actor. */
  readonly method: MethodTemplate | undefined;
  args: Uint8Array | KeptBytes;
  deps: readonly ObjectRecord[];
  nested: readonly ObjectKey[];
  state: TaskState = TASK_STATE.waiting;
  attempt = 0;
  /** Attempts that failed and counted. */
  failures = 0;
  /** Arguments that have no value yet. */
  missing = 0;
  /** Kept after its end, to make a lost return again. */
  hasLineage = false;
  lease: Lease | undefined = undefined;
  claimSlot = 0;
  claimSequence = 0;
  sentAtMs = 0;
  /** From submission until the arguments were there. */
  readyAfterMicros = 0;
  readonly submittedAtMs: number;
  /** One record for each return; a stream's only record is its completion. */
  returns: readonly ObjectRecord[] = NO_RETURNS;
  stream: StreamRecord | undefined = undefined;

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
      this.method = what.method;
      this.registered = undefined;
    } else {
      this.registered = what;
      this.actor = undefined;
      this.method = undefined;
    }
    this.args = args;
    this.deps = deps;
    this.nested = nested;
    this.submittedAtMs = nowMs;
  }

  get isCall(): boolean {
    return this.actor !== undefined;
  }

  /** Nothing else of its actor, or of the tasks in its worker, runs at the same time. */
  get isSerial(): boolean {
    return this.actor === undefined || (this.actor.concurrency === 1 && this.stream === undefined);
  }

  get name(): string {
    if (this.registered) return this.registered.template.name;
    return `${this.actor?.className ?? "actor"}.${this.method?.name ?? "method"}`;
  }
}

const NO_RETURNS: readonly ObjectRecord[] = Object.freeze([]);

/** How far a generator has come, as its owner sees it. */
export interface StreamRecord {
  /** Items that came, in all attempts together: a retried producer makes the same ones again, which are dropped. */
  received: number;
  consumed: number;
  /** The program let go of the stream: items that still come are dropped. */
  isAbandoned: boolean;
}

/** How an owner reaches one worker: hot frames are written to `out` and leave after `schedule`. */
export interface WorkerLink {
  readonly address: WorkerAddress;
  readonly out: FrameWriter;
  schedule(): void;
  /** Templates and methods that this worker has been told of, and actors, each with the incarnation that was named. */
  readonly knownTemplates: Set<number>;
  readonly knownMethods: Set<number>;
  readonly knownActors: Map<number, number>;
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
export type { ClaimsInfo };

export interface Lease {
  readonly id: LeaseId;
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
  /** The last of the tasks that a worker without claim words was asked to give back. */
  askedBackTo: TaskRecord | undefined;
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
  /** Tasks sent and unfinished, over all leases. */
  inFlight: number;
  waitingSinceMs: number;
  /** Why the node refused it: every task of it fails with this. */
  refused: string | undefined;
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
  /** The worker said that nothing more comes of this incarnation. */
  isGone: boolean;
  /** What the node said after it had ended, while answers that the worker had sent before may still be on their way. */
  news: ActorState | undefined;
  cause: ActorCause | undefined;
  isSubscribed: boolean;
  /** The node knows that it is to come, because a handle left before its creation was sent. */
  isAnnounced: boolean;
  warnedBacklog: boolean;
}

export interface ActorCause {
  readonly code: string;
  readonly message: string;
  readonly error?: Uint8Array;
  readonly death?: WorkerDeath;
}
