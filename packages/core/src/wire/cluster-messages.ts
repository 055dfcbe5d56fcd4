/**
 * What a node and control say to each other. Like everything else here it may arrive late, twice or never; what a node
 * says twice means the same as once.
 */
import type { ErrorKind } from "../base/errors.ts";
import type { ActorId, JobId, LeaseId, NodeId, ObjectKey, ProcessId, StoredName, WorkerId } from "../base/ids.ts";
import type { ResourceUnits } from "../base/resources.ts";
import type {
  ActorCreated,
  ActorExited,
  Answer,
  Demand,
  FromNode,
  Hello,
  HomeMessage,
  LeaseRefused,
  LogLines,
  Query,
  ValueRecord,
  WorkerAddress,
  WorkerDeath,
} from "./messages.ts";
import type { CodeWanted, GroupRequest, NodeInfo } from "./queries.ts";

/** What a node is, from its joining to its end. */
export interface NodeDescription {
  readonly nodeId: NodeId;
  /** For people. */
  readonly name: string;
  /** Where other nodes reach it, `host:port`; null for one that only dials out. */
  readonly address: string | null;
  readonly total: ResourceUnits;
  readonly labels: Readonly<Record<string, string>>;
  readonly objectStoreBytes: number;
  /** The newest that it speaks; absent from nodes of version 1. */
  readonly wireVersion?: number;
}

/** What of a node changes. */
export interface NodeUse {
  readonly available: ResourceUnits;
  /** What actors and placement groups have; left out when they have nothing, and by older nodes. */
  readonly lasting?: ResourceUnits;
  /** Of jobs with a quota, what tasks have leased and given back while they wait for others. */
  readonly blocked?: readonly (readonly [JobId, ResourceUnits])[];
  /** What runs and may be ended for something of higher priority. */
  readonly preemptable?: readonly Preemptable[];
  readonly storeUsedBytes: number;
  readonly storeSpilledBytes: number;
  readonly events: NodeInfo["events"];
  /** Tags of dead nodes whose objects it has inherited, of which some are still needed. */
  readonly inherited?: readonly string[];
  /** Of placement groups, bundles here: those in which something was ever used in a {@link NodeJoin}, else those in which it changed. */
  readonly bundles?: readonly BundleUse[];
}
/** So many leases of a job that are alike. */
export type Preemptable = readonly [job: JobId, priority: number, units: ResourceUnits, count: number];
/** What is free in bundles that one attempt has reserved. */
export interface BundleUse {
  readonly groupId: string;
  readonly attempt: number;
  /** For each its index, what is free, and free units of each GPU if it has any. */
  readonly free: readonly (readonly [number, ResourceUnits, (readonly number[])?])[];
}

export type NodeState = "alive" | "draining" | "dead";

// ── node → control ───────────────────────────────────────────────────────────────────────────────────────────────────

/** The first message of a node. */
export interface NodeJoin {
  readonly t: "node-join";
  readonly node: NodeDescription;
  readonly use: NodeUse;
  /** The epoch in which it was last welcomed: it was a member before, and has work. Absent when it is new. */
  readonly memberSince?: number;
}
/** Said each second, and sooner when something has changed. That it comes says that the node lives. */
export interface NodeReport {
  readonly t: "node-report";
  /** Left out, since wire version 2, when it is as it was said last. */
  readonly use?: NodeUse;
}
/** It ends in order, and nothing of it is left. */
export interface NodeLeave {
  readonly t: "node-leave";
}

/** It is about to end in order: nothing new is for it. */
export interface NodeEnds {
  readonly t: "node-ends";
}

/** How many leases of a shape an owner of the sender could use in all, and what it has: {@link LeasesDivided} answers. */
export interface DivideLeases {
  readonly t: "divide-leases";
  /** Names the owner and its shape at the sender. */
  readonly key: string;
  readonly wanted: number;
  readonly granted: readonly (readonly [NodeId, number])[];
  /** With the first mention, and so are the others. */
  readonly demand?: Demand;
  readonly job?: JobId;
  /** How long what no node can take waits for one that can. */
  readonly infeasibleMs?: number;
  /** How long it waits before work of lower priority of other jobs is ended for it; left out: for ever. */
  readonly preemptAfterMs?: number;
}
/**
 * A node has granted some of what control had divided. It reports them as in use: without this they would count twice, and nothing
 * else says so as long as the owner wants the same number. No answer is wanted.
 */
export interface LeasesGranted {
  readonly t: "leases-granted";
  readonly key: string;
  readonly node: NodeId;
  /** In all. */
  readonly count: number;
}
export interface ForgetLeases {
  readonly t: "forget-leases";
  readonly key: string;
}

/**
 * What the sender has that control must know, whenever they meet: a control that was started again finds in it what goes on, and
 * for one that was not it changes nothing. What processes hold they say themselves, twice: some was under way the first time.
 */
export interface NodeStatement {
  readonly t: "node-statement";
  /** Those that hold and own. */
  readonly processes: readonly ProcessId[];
  /** Processes that have ended while they had nothing to do, and may have made actors. */
  readonly retired: readonly ProcessId[];
  readonly jobs: readonly Omit<JobBegan, "t">[];
  /** Workers that were given for actors. */
  readonly workers: readonly StatedWorker[];
}
export interface StatedWorker {
  readonly worker: WorkerAddress;
  readonly requestId: number;
  readonly actors: readonly StatedActor[];
  /** It is dead. */
  readonly death?: WorkerDeath;
}
export interface StatedActor {
  readonly actorId: ActorId;
  readonly incarnation: number;
  readonly gpus: readonly string[];
  /** Of what it has reserved in a shared worker. */
  readonly requestId?: number;
  /** What its host has said of it last. */
  readonly said?: ActorCreated | ActorExited;
}
/** A driver of the sender's node has begun a job; before anything else that it says. */
export interface JobBegan {
  readonly t: "job-began";
  readonly driver: ProcessId;
  readonly job: NonNullable<Hello["job"]>;
}
/** A question of a process of the sender's node, which is answered by a {@link Deliver}. */
export interface AskControl {
  readonly t: "ask-control";
  readonly from: ProcessId;
  readonly query: Query;
}
/** Answers {@link ActorWorkerWanted}: the worker is there, or what was wanted is free in it. */
export interface ActorWorkerReady {
  readonly t: "actor-worker-ready";
  readonly requestId: number;
  readonly worker: WorkerAddress;
  readonly gpus: readonly string[];
}
/** Answers {@link ActorWorkerWanted}: it will never be there. */
export interface ActorWorkerRefused {
  readonly t: "actor-worker-refused";
  readonly requestId: number;
  readonly code: string;
  readonly message: string;
}
/** A worker that was given for actors is gone, and all that was said there has been said before. */
export interface ActorWorkerDied {
  readonly t: "actor-worker-died";
  readonly death: WorkerDeath;
}

/** Which node has this tag? {@link NodeFound} answers. */
export interface FindNode {
  readonly t: "find-node";
  readonly tag: string;
}

/** What becomes of a reservation at the sender, see the placement engine's group-protocol. */
export type BundlesAnswer =
  | ({ readonly t: "bundles-prepared" | "bundles-committed" | "bundles-returned" } & ReservedBundles)
  | ({ readonly t: "bundles-refused"; readonly reason: string } & ReservedBundles)
  | ({ readonly t: "bundles-reported"; readonly isCommitted: boolean } & ReservedBundles)
  /** Of an earmark with an {@link Ending}: whether the room is free or may be. It may be said again, and change. */
  | { readonly t: "earmark-answered"; readonly groupId: string; readonly canEnd: boolean };
/** The bundles of a placement group that one attempt to reserve it puts on one node. */
export interface ReservedBundles {
  readonly groupId: string;
  readonly attempt: number;
}

/**
 * Placement groups that the sender has placed on itself, whole. It says so again when it joins again, until {@link GroupsNoted} says
 * that it need not.
 */
export interface GroupsPlaced {
  readonly t: "groups-placed";
  readonly placed: readonly GroupRequest[];
  /** Of such groups, those that it has removed. */
  readonly removed: readonly string[];
  /** Those that were gone before anything was said of them; what names them is refused from now on. */
  readonly over: readonly string[];
}

export type ToControl =
  | BundlesAnswer
  | GroupsPlaced
  | NodeJoin
  | NodeReport
  | NodeLeave
  | NodeEnds
  | FindNode
  | DivideLeases
  | LeasesGranted
  | ForgetLeases
  | Query
  | Answer
  | NodeStatement
  | JobBegan
  | AskControl
  | ActorWorkerReady
  | ActorWorkerRefused
  | ActorWorkerDied
  | BetweenHomes;
// ── control → node ───────────────────────────────────────────────────────────────────────────────────────────────────

/** What a head says of itself to whoever connects. Of one state, the head with the highest epoch leads. */
export interface HeadIdentity {
  readonly epoch: number;
  /** Which state it is: another one when it was made anew or put back from a backup. */
  readonly state: string;
}
export interface NodeWelcome {
  readonly t: "node-welcome";
  readonly epoch: number;
  /** All that are not dead, the new one included. */
  readonly nodes: readonly NodeStanding[];
  /** Of the dead ones, those that have an heir. */
  readonly dead?: readonly NodeStanding[];
}
/** Final: it ends its workers and, unless it was new, joins under another id. */
export interface NodeRefused {
  readonly t: "node-refused";
  readonly code: string;
  readonly kind: ErrorKind;
  readonly message: string;
}
export interface NodeStanding {
  readonly nodeId: NodeId;
  readonly name: string;
  readonly address: string | null;
  readonly state: NodeState;
  /** Who has the say over the objects of its processes when it is dead, and keeps the values of those that others hold until then. */
  readonly heir?: NodeId;
}
/** Others that joined, changed or died. */
export interface NodesChanged {
  readonly t: "nodes-changed";
  readonly nodes: readonly NodeStanding[];
}

/** `node` is null when no node that lives has the tag. */
export interface NodeFound {
  readonly t: "node-found";
  readonly tag: string;
  readonly node: NodeStanding | null;
}

/** All heads that are known, the leader first: one of the others may lead when that is lost. */
export interface KnownHeads {
  readonly t: "known-heads";
  readonly addresses: readonly string[];
  /** Who says it cannot act, since its state takes nothing: by now another may lead. */
  readonly isSuspended?: true;
}

/** In all at each node, what is granted included; said anew when it changes. */
export interface LeasesDivided {
  readonly t: "leases-divided";
  readonly key: string;
  readonly at: readonly (readonly [NodeId, number])[];
  /** No node can ever take it. */
  readonly refused?: Pick<LeaseRefused, "code" | "message" | "mayChange">;
  /** No node can take it now, and it is refused in so long: the words for people. */
  readonly infeasible?: { readonly message: string; readonly refusedInMs: number };
  /** By the quota of its job: what is held beyond this is given back when what runs there has ended. */
  readonly limited?: true;
  /** Nodes are to end work of lower priority of other jobs for what is not granted. */
  readonly urgent?: true;
}

/** Jobs that have a quota: control is asked for all that they want. All that there are, whenever they change. */
export interface LimitedJobs {
  readonly t: "limited-jobs";
  readonly jobs: readonly JobId[];
  /** Of each, in the same order. A head that is older does not say them. */
  readonly quotas?: readonly ResourceUnits[];
}

/** Where the state service listens for nodes, `host:port`; null: there is none now. */
export interface StateServiceAt {
  readonly t: "state-service";
  readonly address: string | null;
}

/** The node takes nothing new, and ends when nothing is left of what it does, or when so much time has gone by. */
export interface NodeDrain {
  readonly t: "node-drain";
  readonly deadlineMs: number;
}

/** A worker for an actor (or for many, when shared), or room in one that there is. */
export interface ActorWorkerRequest {
  /** Chosen by control, never reused. */
  readonly requestId: number;
  readonly jobId: JobId;
  readonly namespace: string;
  readonly demand: Demand;
  /**
   * "fresh": a worker that nobody else uses, until it dies. A worker's id: only the demand's resources are wanted, for
   * an actor that will join those in this worker.
   */
  readonly worker: "fresh" | WorkerId;
  /** For logs and people: "Counter", "Counter (name)", "shared actors". */
  readonly label: string;
  /** Whether what runs there would be started again after a crash; the memory monitor prefers such workers. */
  readonly retriable: boolean;
  /** Who has asked for the actor: its node is taken before others. Left out when it is made again. */
  readonly creator?: ProcessId;
  /** Whose room it is, in a worker that there is. */
  readonly actorId?: ActorId;
  /** Of a worker that several will share: what the first of them will want in it. */
  readonly room?: ResourceUnits;
  /** It has waited so long that work of lower priority in other jobs ends for it. */
  readonly urgent?: true;
  /** Control takes it that there is room for it now. If not it is refused with {@link NO_ROOM_NOW}, to be made elsewhere. */
  readonly expectsRoom?: true;
}
/** Why room in a worker is refused that may be had in one of another node. */
export const NO_ROOM_THERE = "NO_ROOM_THERE";
export const NO_ROOM_NOW = "NO_ROOM_NOW";
/** Answered by {@link ActorWorkerReady} or {@link ActorWorkerRefused}, once, unless it was released before. */
export interface ActorWorkerWanted {
  readonly t: "actor-worker-wanted";
  readonly request: ActorWorkerRequest;
  /** Where the job's driver is: what the worker prints is for there. */
  readonly driverAt?: NodeId;
}
/** That a process of the receiver created it is written down, or that nothing comes of it. */
export interface ActorRecorded {
  readonly t: "actor-recorded";
  readonly actorId: ActorId;
  /** Of its class, if that is written down too; left out by releases before this one. */
  readonly codeKey?: string;
}
/** What became of an actor that lived at the receiver is written down: it need not be said again. */
export interface ActorSettled {
  readonly t: "actor-settled";
  readonly actorId: ActorId;
  readonly incarnation: number;
}
/** What was wanted is not, or no longer. */
export interface ActorWorkerReleased {
  readonly t: "actor-worker-released";
  readonly requestId: number;
}

/** What placement groups are to have of the receiver; the first three are answered by {@link BundlesAnswer}. */
export type BundlesOrder =
  | ({
      readonly t: "prepare-bundles";
      readonly bundles: readonly { readonly index: number; readonly units: ResourceUnits }[];
      readonly commit: boolean;
    } & ReservedBundles)
  | ({ readonly t: "commit-bundles" } & ReservedBundles)
  /** `moved`: they have another place, since the node is drained; what runs in them may go on until it ends. */
  | ({ readonly t: "return-bundles"; readonly moved?: true } & ReservedBundles)
  | {
      readonly t: "earmark";
      readonly groupId: string;
      readonly units: ResourceUnits;
      readonly forMs: number;
      readonly ending?: Ending;
    }
  | { readonly t: "clear-earmark"; readonly groupId: string };
/** What may run again and has a lower priority in other jobs ends for a group. */
export interface Ending {
  readonly job: JobId;
  readonly priority: number;
  /** Whom it is for, in words that follow "for". */
  readonly by: string;
  /** False: it is only asked whether enough may end there, which "earmark-answered" says. */
  readonly isDecided: boolean;
}

/** Of {@link GroupsPlaced}, what is written down: it need not be said again. */
export interface GroupsNoted {
  readonly t: "groups-noted";
  readonly placed: readonly string[];
  readonly removed: readonly string[];
}

export type FromControl =
  | BundlesOrder
  | GroupsNoted
  | NodeWelcome
  | NodeRefused
  | NodesChanged
  | NodeFound
  | KnownHeads
  | LeasesDivided
  | NodeDrain
  | LimitedJobs
  | StateServiceAt
  | Query
  | Answer
  | ActorWorkerWanted
  | ActorWorkerReleased
  | ActorRecorded
  | ActorSettled
  | WorkerOrder
  | BetweenHomes
  | ForHeir;

// ── node → node ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** An owner of the sender could use so many leases of the receiver, those it has included; as {@link LeaseDemand}. */
export interface LeaseAsk {
  readonly t: "lease-ask";
  readonly client: ProcessId;
  readonly jobId: JobId;
  readonly namespace: string;
  readonly shape: number;
  readonly demand: Demand;
  readonly wanted: number;
  /** As in {@link LeasesDivided}. */
  readonly urgent?: true;
  readonly isOver?: true;
}
/** As {@link LeaseKept}. */
export interface LeaseKeptThere {
  readonly t: "lease-kept-there";
  readonly client: ProcessId;
  readonly leaseId: LeaseId;
  readonly forMs?: number;
}
/** As {@link LeaseReturn}. */
export interface LeaseGiveBack {
  readonly t: "lease-give-back";
  readonly client: ProcessId;
  readonly leaseId: LeaseId;
  readonly retire: boolean;
}

/** A worker of the receiver is to be killed, or interrupted when it runs what can be: for an owner elsewhere, or control. */
export interface WorkerOrder {
  readonly t: "worker-order";
  readonly workerId: WorkerId;
  /** The reason. */
  readonly kill?: string;
  /** Under which it must work to be killed, if that is said; nodes of earlier releases do not look at it. */
  readonly lease?: LeaseId;
  /** What it must be running, as its claim words name it. */
  readonly interrupt?: number;
}

/** What workers of the sender have printed for a job whose driver is at the receiver, or on the way to it. */
export interface JobLog {
  readonly t: "job-log";
  readonly jobId: JobId;
  readonly lines: LogLines["lines"];
  /** Nodes that it has come by. */
  readonly hops: number;
}

export type BetweenNodes =
  | LeaseAsk
  | LeaseGiveBack
  | LeaseKeptThere
  | WorkerOrder
  | JobLog
  | AboutCopies
  | AboutCode
  | BetweenHomes
  | ForHeir
  | HeirKeeps
  | HeirDrops
  | Query
  | Answer;

// Modules of programs, which are files of the machine where the program runs.

/** What must the sender have to import these? {@link CodeAnswer} says, and the files are fetched as objects are. */
export interface CodeAsk {
  readonly t: "code-ask";
  readonly id: number;
  readonly wanted: CodeWanted;
  /** To a node that `via` names: the answer is to wait until it has them, or cannot get them. */
  readonly waits?: true;
}
export interface CodeAnswer {
  readonly t: "code-answer";
  readonly id: number;
  /** In this order: what one lists may already be in those before it. */
  readonly manifests?: readonly ManifestName[];
  /** The tag of a node that has them too, or will in a moment: it is to give the files, as long as it does. */
  readonly via?: string;
  readonly error?: { readonly code: string; readonly kind: ErrorKind; readonly message: string };
}
/** A list of files, by its hash; `size` in bytes. */
export interface ManifestName {
  readonly hash: string;
  readonly size: number;
}
export type AboutCode = CodeAsk | CodeAnswer;

// What outlives its home: see node/succession.ts.

/** To the heir of the sender: values of its processes that others hold. It had been granted holds on what they mention before. */
export interface HeirKeeps {
  readonly t: "heir-keeps";
  readonly objects: readonly { readonly key: ObjectKey; readonly value: ValueRecord }[];
}
/** They are needed no more, or another heir keeps them. */
export interface HeirDrops {
  readonly t: "heir-drops";
  readonly keys: readonly ObjectKey[];
}
/** What was for a home that is dead, to its heir, which may not have heard of the death yet. */
export interface ForHeir {
  readonly t: "for-heir";
  /** Its tag. */
  readonly of: string;
  /** `heir-keeps`: of one that was to be its heir before. */
  readonly message: BetweenHomes | AboutCopies | HomeStated | HeirKeeps;
}
/** All processes of the sender have said what they hold of the home that is dead. Said twice: some was under way the first time. */
export interface HomeStated {
  readonly t: "home-stated";
}

// Objects. The home of an object's owner knows where there are copies of it.

/** To the home: the sender is to have a copy, and asks of whom to get it. {@link CopyFrom} answers. */
export interface CopyLocate {
  readonly t: "copy-locate";
  readonly name: StoredName;
  /** Where it was not to be had: the tag of the node that the last answer named. `isSlow`: it is, but another would be better. */
  readonly failed?: { readonly source: string; readonly isGone: boolean; readonly isSlow?: true };
  /** It can be taken in so many equal parts, each of another source. One: it is small. Processes of version 1 do not say it. */
  readonly stripes?: number;
  /** Asked only for this one of them, whose source failed. */
  readonly stripe?: number;
}
/** The tag of a node that has it, or receives it. Null: nobody has it; with `retry`, nobody who can be reached now. */
export interface CopyFrom {
  readonly t: "copy-from";
  readonly name: StoredName;
  /** Of all of it, where neither of the next two is said. */
  readonly source: string | null;
  readonly retry?: boolean;
  /** Of each stripe. */
  readonly sources?: readonly string[];
  /** The one that was asked for. */
  readonly stripe?: number;
}
/** To the home: the sender has a whole copy, or has none any more. */
export interface CopyHeld {
  readonly t: "copy-held";
  readonly name: StoredName;
  readonly isHeld: boolean;
}
/** Nobody needs these any more: the objects themselves, and copies that there are or will be. */
export interface CopyFree {
  readonly t: "copy-free";
  readonly names: readonly StoredName[];
}
/** The copy of the receiver counts as the object itself from now on. */
export interface CopyKeep {
  readonly t: "copy-keep";
  readonly name: StoredName;
}
/** To the node that made it: is it there? What was freed is known to be, for that was said on the same way. */
export interface CopyCheck {
  readonly t: "copy-check";
  readonly name: StoredName;
}
export interface CopyChecked {
  readonly t: "copy-checked";
  readonly name: StoredName;
  readonly exists: boolean;
}
/** To the home: the sender ends before long. Another node is to keep it; answered by {@link CopyMoved} when one does. */
export interface CopyMove {
  readonly t: "copy-move";
  readonly name: StoredName;
  readonly size: number;
  /** The sender does not end, but has no room for it, and the node with this tag, and no other, may have. */
  readonly to?: string;
}
export interface CopyMoved {
  readonly t: "copy-moved";
  readonly name: StoredName;
  /** The node that was named in the question does not keep it. */
  readonly isRefused?: true;
}
/** From the home: the receiver is to have a copy, though nothing there has asked for one. */
export interface CopyWant {
  readonly t: "copy-want";
  readonly name: StoredName;
  readonly size: number;
  /** Only if it has plenty of room: else it says that it has none of it ({@link CopyHeld}). */
  readonly isRelief?: true;
}
/** To a node that has no address: it dials the sender, which then asks it for objects on that connection. */
export interface CopyDial {
  readonly t: "copy-dial";
}
/** A worker of the sender has died. To the home: does anybody there know these, which it has made? If not they are freed. */
export interface CopyOrphans {
  readonly t: "copy-orphans";
  readonly names: readonly StoredName[];
  readonly workerId?: WorkerId;
}

/** To the heir of a home: what the sender has in its store of what belonged there. */
export interface CopyStated {
  readonly t: "copy-stated";
  readonly names: readonly StoredName[];
}

export type AboutCopies =
  | CopyStated
  | CopyLocate
  | CopyFrom
  | CopyHeld
  | CopyFree
  | CopyKeep
  | CopyCheck
  | CopyChecked
  | CopyMove
  | CopyMoved
  | CopyWant
  | CopyDial
  | CopyOrphans;

// ── between homes: nodes, and control ────────────────────────────────────────────────────────────────────────────────

/** What a process of the sender's node says about keys whose home is the receiver; in the order in which it was said. */
export interface Relay {
  readonly t: "relay";
  readonly from: ProcessId;
  readonly message: HomeMessage;
}
/** For a process of the receiver's node. */
export interface Deliver {
  readonly t: "deliver";
  readonly to: ProcessId;
  readonly message: FromNode;
}
/** The sender keeps something for these processes of the receiver's node: it is to be told when they are gone. */
export interface WatchProcesses {
  readonly t: "watch-processes";
  readonly processes: readonly ProcessId[];
}
/** They are gone, and nothing more is said by them. */
export interface ProcessesGone {
  readonly t: "processes-gone";
  readonly processes: readonly ProcessId[];
  /** They were ended on purpose, while they had nothing to do. */
  readonly retired?: boolean;
}

export type BetweenHomes = Relay | Deliver | WatchProcesses | ProcessesGone;
