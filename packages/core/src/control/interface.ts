/**
 * What control offers its host (the node's process, or the simulator) and what it asks of it. Control is a pure
 * engine: it never awaits, and its only clock is `nowMs`. Everything it does to the world is a call of `ControlEffects`,
 * made synchronously while it handles an event.
 */
import type { ActorId, JobId, MobulaError, NodeId, ObjectKey, ProcessId, StoredName, WorkerId } from "../base/mod.ts";
import type { ResourceUnits } from "../base/resources.ts";
import type { ActorWorkerRequest, NodeStatement } from "../wire/cluster-messages.ts";
import type { Explanation } from "../wire/explanation.ts";
import type {
  ActorState,
  FromNode,
  HomeMessage,
  Query,
  StoredValue,
  ValueRecord,
  WorkerAddress,
  WorkerDeath,
} from "../wire/messages.ts";
import type { ActorInfo, Queries } from "../wire/queries.ts";
import type { Home, HomeOptions } from "./homes.ts";
import type { StateChange } from "./kv.ts";

export type { ActorWorkerRequest } from "../wire/cluster-messages.ts";

/** The messages that the node passes on to control as they come, in the order of each connection. */
export type ControlMessage = HomeMessage;

/** Their `t`, for the node's dispatch. */
export const CONTROL_MESSAGES: ReadonlySet<string> = new Set<ControlMessage["t"]>([
  "object-publish",
  "object-unpublish",
  "hold-grant",
  "hold-release",
  "object-holds",
  "object-subscribe",
  "object-cancel",
  "object-lost",
  "object-needs-told",
  "actor-create",
  "actor-announce",
  "actor-subscribe",
  "actor-unsubscribe",
  "actor-kill",
  "actor-created",
  "actor-stopping",
  "actor-held",
  "actor-exited",
  "actor-holds",
  "wait-report",
  "wait-checked",
]);

/** The queries that {@link Control.query} answers. */
export const CONTROL_QUERIES: ReadonlySet<string> = new Set([
  "get-actor",
  "list-actors",
  "actor-details",
  "explain-actor",
  "explain-wait",
  "kill-actor",
]);

export interface JobInfo {
  readonly jobId: JobId;
  readonly namespace: string;
  readonly name: string;
  readonly metadata: Readonly<Record<string, string>>;
}

/** A process that has said hello. */
export interface JoinedProcess {
  readonly processId: ProcessId;
  readonly role: "driver" | "worker" | "tool";
  /** A driver's job. */
  readonly job?: JobInfo;
}

export interface ControlEffects {
  /** Milliseconds since the epoch; never goes back. */
  nowMs(): number;
  /** To a connected process; nothing happens when it is gone. */
  send(to: ProcessId, message: FromNode): void;
  requestActorWorker(request: ActorWorkerRequest): void;
  /**
   * Withdraws a request that was not answered yet, or gives back the resources of one that was. The worker itself goes
   * on. Not called for a worker that died: the host takes back everything that was granted there by itself.
   */
  releaseActorWorker(requestId: number): void;
  /** Why an {@link ActorWorkerRequest} is not answered, or where its worker is and why there. */
  explainRequest?(requestId: number): RequestExplanation;
  /** Ends a worker by SIGKILL, now; {@link Control.workerDied} follows, with `intended` in the death. */
  killWorker(workerId: WorkerId, intended: string): void;
  /** In a cluster: the heir of this home is to keep this value; undefined: no more. */
  backUp?(key: ObjectKey, value: ValueRecord | undefined): void;
  /** In a cluster: so many nodes as it says are to keep this value, which is this home's from now on. */
  keepUp?(value: StoredValue): void;
  /** Published objects that nobody holds any more. */
  freeStored(names: readonly StoredName[]): void;
  /**
   * In a cluster: that it was created is written down, or that nothing comes of it.
   *
   * @param codeKey of its class, if that is written down too.
   */
  actorRecorded?(creator: ProcessId, actorId: ActorId, codeKey?: string): void;
  /** In a cluster: what became of an incarnation that lived in the worker is written down. */
  actorSettled?(worker: WorkerAddress, actorId: ActorId, incarnation: number): void;
  /** Makes the changes durable, all or none, and then calls `done`: at once when they are kept in memory only. */
  persist(changes: readonly StateChange[], done: (error: MobulaError | undefined) => void): void;
}

export type RequestExplanation = Pick<Explanation, "sentences" | "considered" | "verdicts">;

/** Who holds an object whose home is here, as far as it is published. */
export interface ObjectHolds {
  readonly isPublished: boolean;
  readonly holders: readonly ProcessId[];
  /** How many values mention it. */
  readonly pins: number;
}

export interface ControlOptions {
  readonly nodeId: NodeId;
  /** Of the state store, see kv.ts. */
  readonly epoch: number;
  /** How long an actor may take for its shutdown hook; default ACTOR_SHUTDOWN_MS. */
  readonly shutdownMs?: number;
  /** In a cluster: which keys are this one's, and how it holds others. Left out, all are. */
  readonly cluster?: HomeOptions;
}

export interface Control {
  readonly epoch: number;

  /** `ready` is called when the job is durable: send Welcome then. */
  processJoined(process: JoinedProcess, ready?: (error: MobulaError | undefined) => void): void;
  /**
   * Its connection is closed, and all that it sent was handled. `retired`: it was ended on purpose while it had nothing
   * to do (idle, maxCalls), so the actors it created live on while somebody holds them.
   */
  processGone(processId: ProcessId, retired?: boolean): void;
  handle(from: ProcessId, message: ControlMessage): void;
  /** Answers a query of CONTROL_QUERIES by an Answer, now or later. */
  query(from: ProcessId, query: Query): void;

  actorWorkerReady(requestId: number, worker: WorkerAddress, gpus: readonly string[]): void;
  /** `code` is INFEASIBLE or the code of what prevents workers from starting. */
  actorWorkerRefused(requestId: number, reason: { readonly code: string; readonly message: string }): void;
  /**
   * The process behind a worker is gone; {@link processGone} came before, so what it said at last (an actor that had
   * exited) counts. Repeated or unknown ones change nothing.
   */
  workerDied(death: WorkerDeath): void;

  /** The node of these workers is drained, within so long: its actors move off if they may be made again. */
  moveActors(workers: readonly WorkerId[], deadlineMs: number): void;
  /** Deadlines that have passed take effect. Call it at least once a second. */
  tick(): void;
  /** Asks every actor to end in order; `done` once all have (at most shutdownMs and a grace later, given ticks). */
  shutdown(done: () => void): void;
  /** Puts back what a state store remembers of an earlier run; before the first process joins. */
  restore(entries: readonly { readonly key: string; readonly value: Uint8Array }[]): void;

  /**
   * In a cluster, instead of {@link restore}: jobs and actors have gone on, and their nodes will say so. Nobody's end is
   * concluded from silence before {@link allStated}.
   */
  recover(entries: readonly { readonly key: string; readonly value: Uint8Array }[]): void;
  /** A node says what it has; it may do so again. Gives the actors among them that do not count (any more). */
  stated(statement: StatedWorkers): readonly ActorId[];
  /** All nodes have spoken that live; `haveDied`: others had lived when the control before this one was killed. */
  allStated(haveDied: boolean): void;

  // In a cluster, of homes that are dead; see directory.ts.

  /** What processes of other nodes hold here, with its value. */
  heldAbroad(): Iterable<readonly [ObjectKey, ValueRecord]>;
  /** This home is the heir of another one, and is to keep these values. It has been granted holds on what they mention. */
  keepFor(home: Home, objects: readonly (readonly [ObjectKey, ValueRecord])[]): void;
  dropFor(home: Home, keys: readonly ObjectKey[]): void;
  keptFor(homes: readonly Home[]): readonly (readonly [ObjectKey, ValueRecord])[];
  /** Another has kept these for a home whose heir this one is; what this one has of it is newer. */
  handedOn(objects: readonly (readonly [ObjectKey, ValueRecord])[]): void;
  /**
   * These homes are dead.
   *
   * @param isHeir their objects are this one's from now on.
   * @param heir whoever's they are else: what was kept for them is kept for it. Left out: nobody's, and it goes.
   */
  homesDied(homes: readonly Home[], isHeir: boolean, heir?: Home): void;
  valuesInherited(homes: readonly Home[]): void;
  holdsInherited(homes: readonly Home[]): void;
  inheritedHomes(): readonly Home[];
  /** What this home holds of objects of these homes, because values here mention them. */
  objectsMentioned(homes: ReadonlySet<Home>): readonly (readonly [ObjectKey, number])[];

  /** What this home holds of actors, because values here mention them. */
  actorsMentioned(): (readonly [ActorId, number])[];
  /** Something besides this process holds the object: another process, or a value that is kept. */
  isHeldBeside(key: ObjectKey, processId: ProcessId): boolean;
  /** What an actor has or is to have. */
  resourcesOf(actorId: ActorId): ResourceUnits | undefined;
  listActors(namespace: string | null): readonly ActorInfo[];
  /** @param since the version of an earlier answer, or null for all. */
  actorDetails(since: number | null): Queries["actor-details"]["result"];
  holdsOf(key: ObjectKey): ObjectHolds;
  /** Published ones whose home is here, with their values if those have come. */
  objects(): Iterable<readonly [ObjectKey, ValueRecord | undefined]>;
  /** Undefined when no such actor is known. */
  explainActor(actorId: ActorId): Explanation | undefined;
  /** Of these places in the store, the ones that hold published values. */
  storedAmong(names: ReadonlySet<StoredName>): readonly StoredName[];
  stats(): ControlStats;
}

/** What a node has, as it says to control when they meet. */
export interface StatedWorkers {
  readonly workers: NodeStatement["workers"];
  /** Processes that hold, of which each will say what. */
  readonly processes: readonly ProcessId[];
  readonly retired: readonly ProcessId[];
}

export interface ControlStats {
  readonly objects: number;
  readonly parkedObjects: number;
  readonly actors: Readonly<Record<ActorState["state"], number>>;
  readonly waits: number;
}
