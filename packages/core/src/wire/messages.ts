/**
 * Every message between processes, as types. Cold messages (this file) are MessagePack maps with a `t` field. The hot
 * ones (tasks, calls and their results between an owner and a worker) are MessagePack arrays: see `hot.ts`.
 *
 * Everything here can arrive late, twice or never: receivers compare ids, `attempt`, `incarnation` and `epoch`, and
 * drop what no longer applies.
 */

import type { ErrorKind } from "../base/errors.ts";
import type { ActorId, JobId, LeaseId, NodeId, ObjectKey, ProcessId, Seq, StoredName, WorkerId } from "../base/ids.ts";
import type { Resources, ResourceUnits } from "../base/resources.ts";
import type { SpokenVersions } from "../base/wire-version.ts";
import type { AccessFiles } from "./access.ts";
import type { Explanation } from "./explanation.ts";
import type { Language } from "./language.ts";
import type { BarState } from "./progress-bars.ts";

// ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A finished object: its bytes, where its bytes are, or the error that took its place. */
export type ValueRecord =
  | { readonly at: "inline"; readonly bytes: Uint8Array; readonly nested: readonly ObjectKey[] }
  | StoredValue
  | { readonly at: "error"; readonly bytes: Uint8Array; readonly nested: readonly ObjectKey[] };

/** A value that lies in the store of a node. */
export interface StoredValue {
  readonly at: "stored";
  readonly name: StoredName;
  readonly size: number;
  /** The tag of its owner's node, which knows where there are copies of it, and has them freed. */
  readonly home: string;
  /** How many nodes are to keep it, for whoever becomes its home; one when left out. */
  readonly copies?: number;
  readonly nested: readonly ObjectKey[];
}
/** Names a sealed object within one node's store; never reused there. */
export type StoreKey = number;

/** Why a process ended. */
export interface WorkerDeath {
  readonly workerId: WorkerId;
  readonly pid: number;
  readonly exitCode: number | null;
  readonly signal: string | null;
  /** Last lines of its stderr. */
  readonly stderrTail: string;
  /** Set when memory was the reason: the words for the error, with how much it used. */
  readonly outOfMemory?: string;
  /** Set when the node ended it on purpose: "idle", "shutdown", "killed", "max-calls", "cancelled". */
  readonly intended?: string;
  /** Its node is gone, of this name: how it ended itself is not known. */
  readonly lostWith?: string;
}

// ── process → node ───────────────────────────────────────────────────────────────────────────────────────────────────

export interface Hello extends SpokenVersions {
  readonly t: "hello";
  readonly token: string;
  readonly language: Language;
  readonly role: "driver" | "worker" | "tool";
  readonly processId: ProcessId;
  readonly pid: number;
  /** A driver names its job; a worker has none until it is leased. */
  readonly job?: {
    readonly jobId: JobId;
    readonly namespace: string;
    readonly name: string;
    readonly metadata: Readonly<Record<string, string>>;
    /** How long what no node can take waits for one that can; left out, as long as the node says. */
    readonly infeasibleTimeoutMs?: number;
    /** What waits so long without room may end work of lower priority of other jobs; left out, as long as the node says; -1: never. */
    readonly preemptAfterMs?: number;
    /** What it may use at once in the whole cluster. */
    readonly quota?: ResourceUnits;
  };
  /** A worker's own id (given at spawn) and the path of the socket where owners reach it. */
  readonly workerId?: WorkerId;
  readonly address?: string;
  /** Where owners on other machines reach it, `host:port`. */
  readonly tcp?: string;
}

/** What a lease must offer. Two demands with equal `key` are interchangeable. */
export interface Demand {
  readonly key: string;
  readonly resources: ResourceUnits;
  /** -1000..1000; higher goes first within a job, and may end lower ones of other jobs. */
  readonly priority: number;
  readonly runtimeEnv?: RuntimeEnv;
  /** Left out: on any node, as the default policy sees fit. */
  readonly placement?: Placement;
  /** The tag of a node on which large arguments lie: there is best, and anywhere else will do. */
  readonly near?: string;
  /** For people: the function that waits. */
  readonly name: string;
}

export interface BundleChoice {
  readonly groupId: string;
  readonly index?: number;
  /** What the bundles of the group are, for the program that runs there; so many that follow each other are equal. */
  readonly sizes?: readonly (readonly [count: number, Resources])[];
  /** What it submits without saying where runs in the group too. */
  readonly captures?: true;
}

/** On which nodes something may run. */
export interface Placement {
  readonly strategy?: "spread" | { readonly nodeId: NodeId; readonly soft: boolean };
  /** From what this placement group has reserved: from the bundle with this index, or from any of the group. */
  readonly bundle?: BundleChoice;
  /** Labels of the node, as `labelSelector` gives them; tried in order. */
  readonly selectors?: readonly Readonly<Record<string, string>>[];
}

/** What a worker is started with, and what has to be on its machine first. */
export interface RuntimeEnv {
  readonly env?: Readonly<Record<string, string>>;
  /** A folder of the worker's machine. */
  readonly workingDir?: string;
  readonly nodeOptions?: readonly string[];
  /** A program's folder: it is brought to the worker's machine, where it is the working folder. */
  readonly files?: PackageRef;
  readonly npm?: NpmRef;
  /** A module among the files, by its path, whose default export a worker calls before its first task. */
  readonly setup?: { readonly module: string; readonly timeoutMs: number };
  /** For making it ready. */
  readonly timeoutMs?: number;
}
/** Files by what they hold: the hash and the length of their list, and the node where they are kept first. */
export interface PackageRef {
  readonly hash: string;
  readonly bytes: number;
  readonly node: NodeId;
  /** The folder that they were packed from, where the program runs: modules are named by it. */
  readonly root?: string;
}
export interface NpmRef {
  /** Where package.json and the lockfile are: a package of their own, or among the files of the environment. */
  readonly from: PackageRef | "files";
  readonly allowScripts: boolean;
  /** With what is only needed for development. */
  readonly dev: boolean;
}

/**
 * "I could use `wanted` leases of this shape in all, those I hold included." Declarative, so it can be repeated,
 * and a lower number withdraws what was not yet granted. `demand` comes with the first mention of a shape.
 */
export interface LeaseDemand {
  readonly t: "lease-demand";
  readonly shape: number;
  readonly demand?: Demand;
  readonly wanted: number;
  /** It is not asked by any more; a release before this one keeps it for as long as the owner lives. */
  readonly isOver?: true;
}
export interface LeaseReturn {
  readonly t: "lease-return";
  readonly leaseId: LeaseId;
  /** The worker must not be used again (maxCalls reached, stuck in a cancelled task). */
  readonly retire?: boolean;
}
/** Answers {@link LeasePreempted} and {@link LeaseQuestion}: what runs there is not ended, for so long or ever. */
export interface LeaseKept {
  readonly t: "lease-kept";
  readonly leaseId: LeaseId;
  readonly forMs?: number;
}
/** A worker's running task waits for objects (its CPUs go back, its GPUs stay) or goes on. Sent on changes only. */
export interface Blocked {
  readonly t: "blocked";
  readonly blocked: boolean;
}

/** The worker of a lease has had nothing to do for a while, or has again. Sent on changes only. */
export interface LeaseIdle {
  readonly t: "lease-idle";
  readonly leaseId: LeaseId;
  readonly idle: boolean;
}
/** The worker of a lease ended it, as the node asked: what its owner still sends comes back to that one unstarted. */
export interface LeaseEnded {
  readonly t: "lease-ended";
  readonly leaseId: LeaseId;
}

// The directory of escaped refs: those that left their owner inside a value. See control/README.md.

/** "These refs of mine may now be asked for." With a value when it is known. Comes before the message that carries them. */
export interface ObjectPublish {
  readonly t: "object-publish";
  readonly objects: readonly {
    readonly key: ObjectKey;
    readonly value?: ValueRecord;
    /** A call of this actor makes it: who waits for it waits for the actor, also while the call is queued. */
    readonly actor?: ActorId;
  }[];
}
/** The owner no longer needs its own hold on a published ref; others may still. */
export interface ObjectUnpublish {
  readonly t: "object-unpublish";
  readonly keys: readonly ObjectKey[];
  /** It could make them again, and is to be told ({@link ObjectUnheld}) when nobody holds them any more. */
  readonly isLent?: true;
}
/**
 * Holds are counted per process and are given by the sender of a ref, before it lets go of its own: `to` will hold
 * `count` more. A process that drops its last reference gives back all that it was given. A count may be negative for
 * a while (given back before the grant arrived); it is the sum that counts.
 */
export interface HoldGrant {
  readonly t: "hold-grant";
  readonly to: ProcessId;
  readonly keys: readonly ObjectKey[];
}
export interface HoldRelease {
  readonly t: "hold-release";
  readonly holds: readonly (readonly [ObjectKey, number])[];
}
/** What the sender holds of objects of a home that is dead: for its heir. */
export interface ObjectHolds {
  readonly t: "object-holds";
  readonly holds: readonly (readonly [ObjectKey, number])[];
}
/** Answers {@link ObjectNeeds}: for each key who is waited for, and the key of the call if that is an actor. */
export interface ObjectNeedsTold {
  readonly t: "object-needs-told";
  readonly asker: ProcessId;
  readonly needs: ObjectMakers["needs"] & {};
}
/** Asks for the value of escaped refs when there is one; each is answered once by {@link ObjectState}. */
export interface ObjectSubscribe {
  readonly t: "object-subscribe";
  readonly keys: readonly ObjectKey[];
  /** Of these it is asked who makes them, and what that waits for: {@link ObjectMakers} answers, if there is something to say. */
  readonly makersOf?: readonly ObjectKey[];
}
/** A value that lay in the store under this name is not to be had any more: whoever makes it makes it again, or says why not. */
export interface ObjectLost {
  readonly t: "object-lost";
  readonly key: ObjectKey;
  readonly name: StoredName;
}
/** Ends the task that makes an escaped ref. The node passes it on to the owner as it is. */
export interface ObjectCancel {
  readonly t: "object-cancel";
  readonly key: ObjectKey;
  readonly force: boolean;
  readonly isRecursive: boolean;
}
// Handing over: what a worker submits and does not wait for is its node's to see through. See owner/handover.ts.

/** A function with its options, as the tasks that are handed over name it. */
export interface HandedTemplate {
  readonly id: number;
  readonly name: string;
  /** Of the function. */
  readonly language: Language;
  /** Packed function, sent once to each worker that runs it. */
  readonly code: Uint8Array;
  /** Refs and handles that the function has captured. */
  readonly nested: readonly ObjectKey[];
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
export interface HandedTask {
  readonly seq: Seq;
  readonly template: number;
  readonly attempt: number;
  readonly failures: number;
  readonly args: Uint8Array;
  /** Small values as they are; everything else is published, or was handed over before. */
  readonly deps: readonly (ObjectKey | ValueRecord)[];
  readonly nested: readonly ObjectKey[];
  /** The function in which it was submitted. */
  readonly parent?: string;
  /** Its task or call; left out by releases that did not say it. */
  readonly parentId?: readonly [owner: ProcessId, seq: Seq];
}
/**
 * "These tasks of mine are yours." Their returns keep their names; the sender is granted a hold on each. It holds all
 * keys that are named here until this has been read.
 */
export interface TaskHandover {
  readonly t: "task-handover";
  readonly jobId: JobId;
  /** Those that were not sent before. */
  readonly templates: readonly HandedTemplate[];
  readonly tasks: readonly HandedTask[];
}
/** A worker's submission log was opened, and the node did not watch it. */
export interface LogOpened {
  readonly t: "log-opened";
}
/**
 * "These tasks of mine make refs that others may have by now": the node sees them through from the end of this process on,
 * unless it is told the values before, or the tasks are handed over.
 */
export interface TaskCopy {
  readonly t: "task-copy";
  readonly jobId: JobId;
  /** Those that were not sent before, with a copy or with what was handed over. */
  readonly templates: readonly HandedTemplate[];
  readonly tasks: readonly HandedTask[];
  /** Of each task the return that has escaped. */
  readonly escaped: readonly Seq[];
}
/** No task that is handed over will name these again. */
export interface TemplateDrop {
  readonly t: "template-drop";
  readonly ids: readonly number[];
}
/** Objects whose last reference is gone: their place in the store may be reused. */
export interface StoreFree {
  readonly t: "store-free";
  readonly names: readonly StoredName[];
}
/** So many nodes are to keep this, which the sender has put; answered by {@link StoreCopied}. */
export interface StoreCopies extends Pick<StoredValue, "name" | "size"> {
  readonly t: "store-copies";
  readonly copies: number;
}
/** Makes stored objects resident and pins them for this process; answered by {@link StorePinned}, one for each. */
export interface StorePin {
  readonly t: "store-pin";
  readonly values: readonly Pick<StoredValue, "name" | "size" | "home">[];
  /** For a task that waits to run, and not for a program that waits. */
  readonly isArgument?: boolean;
}
/** Gives pins back, one a key, as {@link StorePinned} told it. */
export interface StoreUnpin {
  readonly t: "store-unpin";
  readonly keys: readonly StoreKey[];
}

/** Objects that a dead process made and nobody has freed: which of them does the receiver know? */
export interface StoreOrphans {
  readonly t: "store-orphans";
  readonly id: number;
  readonly names: readonly StoredName[];
  /** The dead process, when it was a worker: what it sent is read to the end before the answer. */
  readonly workerId?: WorkerId;
}
/** The answer: those that have an owner here. */
export interface StoreClaims {
  readonly t: "store-claims";
  readonly id: number;
  readonly names: readonly StoredName[];
}

// Actors.

export interface ActorOptionsRecord {
  readonly name?: string;
  readonly namespace?: string;
  readonly getIfExists: boolean;
  readonly lifetime: "owner" | "detached";
  readonly resources: ResourceUnits;
  /** -1 for ever. */
  readonly maxRestarts: number;
  readonly isolation: "process" | "shared";
  readonly maxActorsPerWorker: number;
  /** Left out: 0. */
  readonly priority?: number;
  readonly runtimeEnv?: RuntimeEnv;
  readonly placement?: Placement;
}
/** What a worker needs to make the actor; opaque to control. */
export interface ActorSpec {
  readonly className: string;
  /** Hash of `code` and `host`, which are empty where the receiver was sent them before. */
  readonly codeKey: string;
  readonly code: Uint8Array;
  /** Packed constructor arguments with every top-level ref already replaced by its value. */
  readonly args: Uint8Array;
  readonly deps: readonly ValueRecord[];
  /** Refs and handles inside args and deps: held while the actor may start, and granted to each host. */
  readonly nested?: readonly ObjectKey[];
  /** Published refs whose values `deps` are: held while the actor may start, granted to nobody. */
  readonly keeps?: readonly ObjectKey[];
  /** maxConcurrency, concurrencyGroups, methods: read by the host only. */
  readonly host: Uint8Array;
  /** Who asked for it, when and in what, for events; left out by releases before this one. */
  readonly creator?: ActorCreator;
}
export interface ActorCreator {
  readonly processId: ProcessId;
  readonly pid: number;
  readonly submittedAtMs: number;
  readonly parent: readonly [owner: ProcessId, seq: Seq, name: string] | null;
}
export interface ActorCreate {
  readonly t: "actor-create";
  readonly actorId: ActorId;
  readonly options: ActorOptionsRecord;
  readonly spec: ActorSpec;
}
/**
 * A handle of an actor leaves its creator before the actor's {@link ActorCreate}, because arguments of its constructor
 * are not there yet; with `cause`, one of them failed and the actor will never be made.
 */
export interface ActorAnnounce {
  readonly t: "actor-announce";
  readonly actorId: ActorId;
  readonly className: string;
  readonly cause?: NonNullable<ActorState["cause"]>;
}
/** State of an actor, now and at each change, until unsubscribed. The creator is subscribed from the start. */
export interface ActorSubscribe {
  readonly t: "actor-subscribe";
  readonly actorId: ActorId;
}
export interface ActorUnsubscribe {
  readonly t: "actor-unsubscribe";
  readonly actorId: ActorId;
}
/** Handles are held like objects: the key is the actor's id. */
export interface ActorKill {
  readonly t: "actor-kill";
  readonly actorId: ActorId;
  readonly noRestart: boolean;
}
/** From the host: the constructor returned, or threw. */
export interface ActorCreated {
  readonly t: "actor-created";
  readonly actorId: ActorId;
  readonly incarnation: number;
  /** Packed error when the constructor threw. */
  readonly error?: Uint8Array;
}
/** From the host, at once: it has read {@link ActorStop}, so it is not stuck in synchronous code. */
export interface ActorStopping {
  readonly t: "actor-stopping";
  readonly actorId: ActorId;
  readonly incarnation: number;
}
/**
 * From the host: it does not end the actor that {@link ActorStop} says nobody holds, because the actor has passed its own
 * handle on. All that it has sent before was said earlier on this connection; `isUnderWay`: some of it has yet to be sent.
 */
export interface ActorHeld {
  readonly t: "actor-held";
  readonly actorId: ActorId;
  readonly incarnation: number;
  readonly isUnderWay: boolean;
}
/** From the host: the actor ended itself (exitActor, or after {@link ActorStop}). */
export interface ActorExited {
  readonly t: "actor-exited";
  readonly actorId: ActorId;
  readonly incarnation: number;
  readonly reason: string;
}

/** What the sender holds of actors, and of which it wants to hear: answers {@link StateHolds}. */
export interface ActorHolds {
  readonly t: "actor-holds";
  readonly holds: readonly (readonly [ActorId, number])[];
  readonly subscribed: readonly ActorId[];
}

/**
 * Waits that have lasted a second, so that control can find cycles. What was reported before may come again, when it waits
 * for something else.
 */
export interface WaitReport {
  readonly t: "wait-report";
  readonly started: readonly ReportedWait[];
  readonly ended: readonly number[];
  /** What was reported before and does not come again has ended. */
  readonly isAll?: true;
}
/**
 * `by` and `on` are `actor:<id>` or `task:<key>`, `on` also `group:<id>` of a placement group that is to be ready; every `on` must finish before the wait ends. `slots` is how many
 * executions `by` may have at once: it is stuck only when as many of them are part of the cycle.
 */
export interface ReportedWait {
  readonly waitId: number;
  readonly by: string;
  readonly slots: number;
  readonly name: string;
  readonly on: readonly string[];
  /** Which of the executions of `by` it is that waits. Processes of version 1 do not say, and answer no {@link WaitCheck}. */
  readonly execution?: number;
  /** The key of the call that it executes. */
  readonly executes?: string;
  /** For each of `on`: the key of the call, if it is an actor; else empty. */
  readonly calls?: readonly string[];
}
/** Answers {@link WaitCheck}: which of those still last, for what, and which calls are queued. */
export interface WaitChecked {
  readonly t: "wait-checked";
  readonly checkId: number;
  readonly waits: readonly ReportedWait[];
  readonly calls: readonly ObjectKey[];
}

/** Answers {@link Explain}. */
export interface Explained {
  readonly t: "explained";
  readonly id: number;
  readonly explanation: Explanation;
}
/** A question with one answer; `method` and the types are in `queries.ts`. */
export interface Query {
  readonly t: "query";
  readonly id: number;
  readonly method: string;
  readonly params: unknown;
}
/** What became of tasks and calls, for the timeline; the format is events/event-batch.ts. */
export interface EventBatch {
  readonly t: "events";
  readonly batch: Uint8Array;
}

/** A task or call that has not ended, as its owner knows it. Times are milliseconds since 1970. */
export interface OwnedTask {
  readonly seq: Seq;
  readonly attempt: number;
  readonly name: string;
  readonly kind: "task" | "actor-call" | "actor-creation";
  readonly state: "waiting" | "queued" | "running";
  readonly actorId?: ActorId;
  readonly submittedAtMs: number;
  /** Left out while an argument is missing. */
  readonly readyAtMs?: number;
  /** Left out while it is with no worker. */
  readonly sentAtMs?: number;
  readonly worker?: readonly [workerId: WorkerId, nodeId: NodeId, pid: number];
  /** What a running task has; of a call its actor has it. */
  readonly resources?: ResourceUnits;
  /** The placement group whose bundle a running task has it of. */
  readonly groupId?: string;
  /**
   * The task or call in which it was submitted, with 0 for what an actor does when it is made, and its function; null: the program
   * itself. Left out by releases that did not say it.
   */
  readonly parent?: readonly [owner: ProcessId, seq: Seq, name: string] | null;
  /** Of what runs, when it began at the earliest: it was sent, and what had run before it there had ended. */
  readonly startedAtMs?: number;
}
/** What runs in a worker, as that knows it itself, whoever has submitted it. */
export interface RunningTask {
  readonly owner: ProcessId;
  readonly seq: Seq;
  readonly attempt: number;
  readonly name: string;
  readonly kind: OwnedTask["kind"];
  readonly actorId?: ActorId;
  readonly startedAtMs: number | null;
}
export type LiveCount = readonly [name: string, kind: OwnedTask["kind"], state: OwnedTask["state"], count: number];
/** What the sender has submitted that has not ended; answers {@link ListTasks}. */
export interface TasksListed {
  readonly t: "tasks-listed";
  readonly id: number;
  /** By which its tasks are named: of a deputy that of the process that it stands for, as `pid` is. */
  readonly owner: ProcessId;
  readonly pid: number;
  readonly jobId: JobId;
  /** At most as many as were asked for. */
  readonly tasks: readonly OwnedTask[];
  /** Of all. */
  readonly counts: readonly LiveCount[];
  /** Actors with most calls that have not begun, and how many: only those with 100 and more. */
  readonly backlogs?: readonly (readonly [ActorId, number])[];
  /** Of a worker: at most as much as was asked for; releases before this one do not say it. */
  readonly running?: readonly RunningTask[];
}

/** All events before this were sent; answers {@link ReportEvents}. */
export interface EventsReported {
  readonly t: "events-reported";
  readonly id: number;
}

/** What can be said about keys that have a home. */
export type HomeMessage =
  | ObjectPublish
  | ObjectUnpublish
  | HoldGrant
  | HoldRelease
  | ObjectHolds
  | ObjectSubscribe
  | ObjectCancel
  | ObjectLost
  | ObjectNeedsTold
  | ActorCreate
  | ActorAnnounce
  | ActorSubscribe
  | ActorUnsubscribe
  | ActorKill
  | ActorCreated
  | ActorStopping
  | ActorHeld
  | ActorExited
  | ActorHolds
  | WaitReport
  | WaitChecked;

/** What the sender holds has been said: answers {@link StateObjects}. */
export interface ObjectsStated {
  readonly t: "objects-stated";
  readonly id: number;
}

/** This process has a session with one of another node: it is to be told when that is gone. */
export interface ProcessWatch {
  readonly t: "process-watch";
  readonly processId: ProcessId;
}

/** What the inspector of a driver's program says: answers, and what it tells by itself. */
export interface InspectorSaid {
  readonly t: "inspector-said";
  readonly channel: number;
  readonly text: string;
}

/** Of a driver: how far one of its bars is. Those of workers are in their output. */
export interface ProgressBarMoved {
  readonly t: "progress-bar";
  readonly bar: BarState;
}

export type ToNode =
  | Hello
  | ProgressBarMoved
  | InspectorSaid
  | ProcessWatch
  | LeaseDemand
  | LeaseReturn
  | LeaseKept
  | Blocked
  | LeaseIdle
  | LeaseEnded
  | HomeMessage
  | ObjectsStated
  | TaskHandover
  | TaskCopy
  | TemplateDrop
  | LogOpened
  | StoreFree
  | StoreCopies
  | StorePin
  | StoreUnpin
  | StoreClaims
  | Query
  | Explained
  | EventBatch
  | EventsReported
  | TasksListed;

// ── node → process ───────────────────────────────────────────────────────────────────────────────────────────────────

export interface Welcome {
  readonly t: "welcome";
  readonly version: number;
  readonly nodeId: NodeId;
  /** Grows with every restart of control; what carries an older one is stale. */
  readonly epoch: number;
  /** What turns the machine's monotonic clock into the time of day. */
  readonly clockOffsetMs: number;
  readonly capacity: ResourceUnits;
  readonly store: StoreInfo;
  /** A worker's: shared memory for what it has submitted and not sent. */
  readonly log?: ClaimsInfo;
  /** The node is one of several: with this, workers of the others are reached. */
  readonly access?: AccessFiles;
  /** Then modules that values name may have to come from another machine. */
  readonly code?: CodeInfo;
  /** Where a process keeps the files of what it packs; a node of before has nowhere. */
  readonly packages?: string;
}
/** About the files that modules are imported from. */
export interface CodeInfo {
  /** The same wherever the same files are seen; see code/same-files.ts. */
  readonly files: string;
  /** Known to the processes of one node; see code-proof.ts. */
  readonly key: string;
}
/** How to reach the store: a socket for blocking requests, and a file to map. */
export interface StoreInfo {
  readonly socketPath: string;
  readonly arenaPath: string;
  readonly arenaBytes: number;
}
export interface Refused {
  readonly t: "refused";
  readonly code: string;
  readonly kind: ErrorKind;
  readonly message: string;
}
/** A page of shared memory: `bytes` at `offset` of the file at `path`. */
export interface ClaimsInfo {
  readonly path: string;
  readonly offset: number;
  readonly bytes: number;
}
/** Given to a worker process at its start, as JSON in the environment variable MOBULA_WORKER. */
export interface WorkerConfig {
  readonly workerId: WorkerId;
  readonly processId: ProcessId;
  readonly nodeSocket: string;
  readonly token: string;
  /** The socket it must listen on. */
  readonly address: string;
  readonly nodePid: number;
  /** Owners on other machines reach it here. */
  readonly listen?: WorkerListens;
  /** Where the native library lies that processes share memory with, if the node knows. */
  readonly nativePath?: string;
  readonly claims?: ClaimsInfo;
  /** What the process was started with; what it submits starts from the same. */
  readonly runtimeEnv?: RuntimeEnv;
  /** It waits for a debugger, and pauses, before it runs a task or makes an actor. */
  readonly breaks?: true;
  /** Where it finds modules and packages, and the folder of the program that this stands for. */
  readonly environment?: { readonly modules: string; readonly from?: string };
}
export interface WorkerListens {
  /** An address of this machine. */
  readonly host: string;
  /** A port, or a range that is tried in order; 0 for any. */
  readonly ports: number | string;
  /** Where others reach it, if not at `host`. */
  readonly advertise?: string;
  readonly access: AccessFiles;
}
/** Where owners reach a worker. */
export interface WorkerAddress {
  readonly workerId: WorkerId;
  readonly processId: ProcessId;
  readonly nodeId: NodeId;
  readonly pid: number;
  readonly address: string;
  /** For those on other machines, `host:port`. */
  readonly tcp?: string;
  /** The shared memory that holds the worker's claim words; absent when it has none. */
  readonly claims?: ClaimsInfo;
}
export interface LeaseGranted {
  readonly t: "lease-granted";
  readonly shape: number;
  readonly leaseId: LeaseId;
  /** As its worker knows it, when it is of another node. */
  readonly idThere?: LeaseId;
  readonly worker: WorkerAddress;
  readonly gpus: readonly string[];
}
/** Others wait: give it back as soon as what runs is done; take back what has not started. */
export interface LeaseRevoked {
  readonly t: "lease-revoked";
  readonly leaseId: LeaseId;
}
/** As {@link LeaseRevoked}, but what runs is to end, for what these words say; unless it may not run again: {@link LeaseKept}. */
export interface LeasePreempted {
  readonly t: "lease-preempted";
  readonly leaseId: LeaseId;
  readonly by: string;
}
/** Whether what runs there might end for something of higher priority, which is not decided: {@link LeaseKept} answers, 0 ms if it may. */
export interface LeaseQuestion {
  readonly t: "lease-question";
  readonly leaseId: LeaseId;
}
/**
 * Its worker, which had nothing to do, ended it: what was sent and not begun is given back. The node has taken one off
 * the number of leases that the owner could use, which is to be said anew.
 */
export interface LeaseReclaimed {
  readonly t: "lease-reclaimed";
  readonly shape: number;
  readonly leaseId: LeaseId;
}
/** The worker is gone, and the lease with it. */
export interface LeaseLost {
  readonly t: "lease-lost";
  readonly leaseId: LeaseId;
  readonly death: WorkerDeath;
}
/** The shape can never be satisfied; sent after infeasibleTimeoutMs. `nodeId` answers "elsewhere" in a cluster. */
export interface LeaseRefused {
  readonly t: "lease-refused";
  readonly shape: number;
  readonly code: string;
  readonly message: string;
  /** A node may join that can take it: what is submitted later asks again. */
  readonly mayChange?: true;
}
/** No node can take the shape now; it waits for one that can, and is refused when none joins in time. */
export interface LeaseInfeasible {
  readonly t: "lease-infeasible";
  readonly shape: number;
  /** What is wanted, and why the best node cannot have it. */
  readonly message: string;
  readonly refusedInMs: number;
}
/** To a worker: end this lease, if you have nothing to do. Its owner may not hear for long that others wait. */
export interface LeaseEnd {
  readonly t: "lease-end";
  readonly leaseId: LeaseId;
}
/** To a worker: from now on you work under this lease (for this job, with these devices). */
export interface LeaseBegin {
  readonly t: "lease-begin";
  readonly leaseId: LeaseId;
  readonly jobId: JobId;
  readonly namespace: string;
  readonly resources: ResourceUnits;
  readonly gpus: readonly string[];
  /** The bundle of a placement group that it is granted from. */
  readonly bundle?: BundleChoice;
}
export interface ObjectState {
  readonly t: "object-state";
  readonly key: ObjectKey;
  readonly value: ValueRecord;
}
/** Nobody holds this any more, which the receiver has lent. */
export interface ObjectUnheld {
  readonly t: "object-unheld";
  readonly key: ObjectKey;
}
/** The last hold on an error is gone and nobody had asked for it; said to who sees handed over tasks through. */
export interface ObjectUnread {
  readonly t: "object-unread";
  readonly key: ObjectKey;
  readonly bytes: Uint8Array;
}
/** So many of the tasks that were handed over have ended since this was last said. */
export interface HandedEnded {
  readonly t: "handed-ended";
  readonly count: number;
}
/** What the owner of a task that was handed over would have told its program. */
export interface HandedNotice {
  readonly t: "handed-notice";
  readonly notice:
    | { readonly kind: "unread-failure"; readonly name: string; readonly bytes: Uint8Array }
    | { readonly kind: "warning"; readonly code: string; readonly message: string };
}
/** Nodes keep it, as many as were wanted, or as there are. */
export interface StoreCopied {
  readonly t: "store-copied";
  readonly name: StoredName;
  /** For people: why it is fewer. */
  readonly warning?: string;
}
/** An object is in memory at `offset`, and stays until unpinned. `error` is a packed error (lost, disk failed). */
export interface StorePinned {
  readonly t: "store-pinned";
  readonly name: StoredName;
  /** Of the object itself, or of this node's copy. */
  readonly key: StoreKey;
  readonly offset: number;
  readonly size: number;
  /** Memory has no room for it: the receiver reads it from this file, at `offset`, into memory of its own. */
  readonly file?: string;
  readonly error?: { readonly code: string; readonly kind: ErrorKind; readonly message: string };
}
export interface ActorState {
  readonly t: "actor-state";
  readonly actorId: ActorId;
  readonly state: "pending" | "alive" | "restarting" | "dead";
  /** Counts restarts from 0; a call names the incarnation it was sent to. */
  readonly incarnation: number;
  readonly worker?: WorkerAddress;
  readonly className: string;
  /** getIfExists found an actor of that name: calls go to that one. */
  readonly sameAs?: ActorId;
  /** Why it is dead: the words, and the cause as packed error or as code. */
  readonly cause?: {
    readonly code: string;
    readonly message: string;
    readonly error?: Uint8Array;
    readonly death?: WorkerDeath;
  };
}
/** To a host: make this actor. */
export interface ActorStart {
  readonly t: "actor-start";
  readonly actorId: ActorId;
  readonly incarnation: number;
  readonly jobId: JobId;
  readonly namespace: string;
  readonly name?: string;
  readonly resources: ResourceUnits;
  readonly gpus: readonly string[];
  readonly spec: ActorSpec;
  readonly bundle?: BundleChoice;
}
/** To a host: run the shutdown hook (at most `timeoutMs`), then say {@link ActorExited}. See control/README.md. */
export interface ActorStop {
  readonly t: "actor-stop";
  readonly actorId: ActorId;
  readonly reason: string;
  readonly timeoutMs: number;
  /** It is made again, so the host gives {@link RESTARTS} as reason of its end: another control may hear of that. */
  readonly restarts?: true;
}
/** The reason of an end that another incarnation is to follow. */
export const RESTARTS = "killed to be started again";
/** Do these waits still last, and are these calls queued? They seem to be part of a cycle. {@link WaitChecked} answers. */
export interface WaitCheck {
  readonly t: "wait-check";
  readonly checkId: number;
  readonly waits: readonly number[];
  readonly calls: readonly ObjectKey[];
}
/** Of those that {@link ObjectSubscribe} asked about, the ones that calls of actors make which have not ended. */
export interface ObjectMakers {
  readonly t: "object-makers";
  readonly makers: readonly (readonly [ObjectKey, ActorId])[];
  /** And those whose tasks wait for others, as {@link ReportedWait} names these, to be sent. */
  readonly needs?: readonly (readonly [ObjectKey, readonly (readonly [on: string, call: string])[]])[];
}
/** To who delivers these: what do they wait for? {@link ObjectNeedsTold} answers, if they do. */
export interface ObjectNeeds {
  readonly t: "object-needs";
  readonly asker: ProcessId;
  readonly keys: readonly ObjectKey[];
}
/** This wait closes a cycle: reject it. */
export interface Deadlock {
  readonly t: "deadlock";
  readonly waitId: number;
  readonly cycle: string;
}
/** The store is under pressure, or you are idle: collect garbage and give back what nobody uses. */
export interface Collect {
  readonly t: "collect";
}
export interface LogLines {
  readonly t: "log";
  readonly lines: readonly {
    readonly stream: "stdout" | "stderr";
    readonly name: string;
    readonly pid: number;
    readonly text: string;
    /** Other than 0: this line stands for so many more, of other workers. */
    readonly repeated: number;
    /** The name of the node where it was printed, if that is not the driver's. */
    readonly node?: string;
  }[];
}
export interface Answer {
  readonly t: "answer";
  readonly id: number;
  readonly result?: unknown;
  readonly error?: { readonly code: string; readonly kind: ErrorKind; readonly message: string };
}
/** Control has begun anew, and has to hear from everybody what it holds: {@link ActorHolds}. */
export interface StateHolds {
  readonly t: "state-holds";
}
/** These nodes are dead, and others have inherited their objects: say what you hold of those, then {@link ObjectsStated}. */
export interface StateObjects {
  readonly t: "state-objects";
  readonly id: number;
  /** Tags of the nodes. */
  readonly homes: readonly string[];
}
/** Somebody wants the timeline: send what events there are, then {@link EventsReported}. */
export interface ReportEvents {
  readonly t: "report-events";
  readonly id: number;
}

/** The node is going down in order; finish. */
export interface Goodbye {
  readonly t: "goodbye";
  readonly reason: string;
}

/** What {@link ProcessWatch} asked for, once; `isLost` when its node is gone and nothing that it sent is still to be awaited. */
export interface ProcessGone {
  readonly t: "process-gone";
  readonly processId: ProcessId;
  readonly isLost: boolean;
}

/** Somebody wants to know what the receiver has submitted that has not ended: it answers {@link TasksListed}. */
export interface ListTasks {
  readonly t: "list-tasks";
  readonly id: number;
  readonly limit: number;
}

/** Why an object of the receiver waits, failed or was slow: somebody asks who is not its owner. */
export interface Explain {
  readonly t: "explain";
  readonly id: number;
  readonly seq: Seq;
}

/**
 * To the inspector of a driver's program, which the I/O thread reaches while that computes, and without a port. A channel
 * begins with what is first said on it, and ends with null.
 */
export interface InspectorSay {
  readonly t: "inspector-say";
  readonly channel: number;
  readonly text: string | null;
}

export type FromNode =
  | Welcome
  | InspectorSay
  | ListTasks
  | ProcessGone
  | Refused
  | LeaseGranted
  | LeaseRevoked
  | LeasePreempted
  | LeaseQuestion
  | LeaseLost
  | LeaseReclaimed
  | LeaseRefused
  | LeaseInfeasible
  | LeaseBegin
  | LeaseEnd
  | ObjectState
  | ObjectCancel
  | ObjectLost
  | ObjectUnread
  | ObjectUnheld
  | HandedEnded
  | HandedNotice
  | StorePinned
  | StoreCopied
  | StoreOrphans
  | ActorState
  | ActorStart
  | ActorStop
  | Deadlock
  | WaitCheck
  | ObjectMakers
  | ObjectNeeds
  | Collect
  | LogLines
  | Answer
  | Explain
  | StateHolds
  | StateObjects
  | ReportEvents
  | Goodbye;
