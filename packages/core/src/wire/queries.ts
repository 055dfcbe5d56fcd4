/** Questions a process can ask its node (`Query`/`Answer`): method name → parameters and result. */
import type { ActorId, JobId, LeaseId, NodeId, ObjectKey, ProcessId, StoredName, WorkerId } from "../base/ids.ts";
import type { Resources, ResourceUnits } from "../base/resources.ts";
import type { AskedBy, AuditNotes } from "./audit.ts";
import type { Explanation } from "./explanation.ts";
import type { FoundProcess, InspectedThing, SnapshotProgress, SuspendedAsked } from "./inspection.ts";
import type { Demand, LiveCount, OwnedTask, RunningTask } from "./messages.ts";

/** A node, as `nodes()` lists it. */
export interface NodeInfo {
  readonly nodeId: NodeId;
  /** For people. */
  readonly name: string;
  /** On one machine always `"alive"`. */
  readonly state: "alive" | "draining" | "dead";
  /** Where other nodes reach it, `host:port`; null for one that only dials out, or is in no cluster. */
  readonly address: string | null;
  /** What it has; memory in bytes. */
  readonly resources: Resources;
  /** What of it no task or actor holds now. */
  readonly available: Resources;
  readonly labels: Readonly<Record<string, string>>;
  /** Bytes of objects in memory, of those on disk, and what the store can hold in memory. */
  readonly objectStore: { readonly usedBytes: number; readonly spilledBytes: number; readonly capacityBytes: number };
  /** The version of the messages that its release speaks: all nodes need not be upgraded at once, but before the next one. */
  readonly wireVersion: number;
  /** Bytes of events that are kept for the timeline, at most 32 MiB, and how many batches made room for newer ones. */
  readonly events: { readonly keptBytes: number; readonly droppedBatches: number };
}

/** An actor, as `listActors()` lists it. */
export interface ActorInfo {
  readonly actorId: ActorId;
  /** Null for an actor without a name. */
  readonly name: string | null;
  readonly namespace: string;
  readonly className: string;
  readonly state: "pending" | "alive" | "restarting" | "dead";
  /** Of the process that it lives in; null while it has none. */
  readonly pid: number | null;
  readonly restarts: number;
  /** Of a dead one: the code of the error that its calls are rejected with. Control of earlier versions leaves it out. */
  readonly causeCode?: string | null;
}

/** An actor with all that control knows of it. */
export interface ActorDetails extends ActorInfo {
  readonly jobId: JobId;
  readonly nodeId: NodeId | null;
  readonly workerId: string | null;
  /** -1: any number. */
  readonly maxRestarts: number;
  readonly isDetached: boolean;
  readonly isShared: boolean;
  readonly placementGroupId: string | null;
  readonly resources: Resources;
  /** When it came into its state, in milliseconds since 1970. */
  readonly sinceMs: number;
  readonly cause: string | null;
  /** Of the error that its calls are rejected with. */
  readonly causeCode: string | null;
}

/** A placement group with where its bundles are. */
export interface GroupDetails {
  readonly request: GroupRequest;
  readonly state: "pending" | "created" | "rescheduling" | "removed" | "infeasible";
  /** Where each bundle is, in their order. */
  readonly nodes: readonly (NodeId | null)[];
}

/** A job whose driver is connected. */
export interface JobDetails {
  readonly jobId: JobId;
  readonly name: string;
  readonly namespace: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly nodeId: NodeId;
  readonly driverPid: number | null;
  readonly sinceMs: number;
}

/** An object that lies in the store of a node, or whose refs have left an owner there. */
export interface ObjectDetails {
  /** Null while its refs have not left its owner. */
  readonly key: ObjectKey | null;
  /** Null of what no store has. */
  readonly stored: StoredName | null;
  readonly owner: ProcessId;
  readonly ownerPid: number | null;
  /** Of its owner; null when that is not known. */
  readonly jobId: JobId | null;
  readonly sizeBytes: number | null;
  /** `owner`: with its owner, or on the way. */
  readonly place: "memory" | "disk" | "owner";
  readonly isCopy: boolean;
  readonly isOwnedHere: boolean;
  readonly callSite: string | null;
  /** Processes, and values that mention it. */
  readonly holds: number;
  readonly holders: readonly string[];
  /** When it was made, or of a copy when that was; left out of what no store has, and by older nodes. */
  readonly createdAtMs?: number;
}

/** A process that a node looks after. */
export interface WorkerDetails {
  /** Of a driver, of its process. */
  readonly workerId: string;
  readonly kind: "worker" | "driver";
  readonly state: "starting" | "idle" | "busy" | "actor";
  readonly pid: number;
  readonly jobId: JobId | null;
  /** What it does, in words. */
  readonly task: string | null;
  readonly runningForMs: number | null;
  readonly memoryBytes: number | null;
  /** Of one core, since the last time that it was asked for. */
  readonly cpuPercent: number | null;
  readonly startedAtMs: number | null;
}

/** The heads of a cluster, each as `host:port`. */
export interface HeadsInfo {
  readonly leader: string;
  /** Of the leader: how many have led before. */
  readonly epoch: number;
  readonly standbys: readonly string[];
  /** Where replicated state is, without what must be kept secret; null: in a file of the head. */
  readonly state: string | null;
  /** Where its state service answers over HTTP, if it has one. */
  readonly dashboard?: string;
  /** By how much the leader's loop was late at most, in the last minute or two, in milliseconds. */
  readonly loopLagMs?: number;
  /** From where connections were refused in the last minute, and why; heads before wire version 2 do not say. */
  readonly refused?: readonly { readonly from: string; readonly message: string }[];
}

/** Whether what leases say of CPUs and memory is kept by the kernel, see node/worker-limits.ts. */
export type LimitsInfo =
  | { readonly controllers: readonly ("memory" | "cpu")[]; readonly place: string }
  | { readonly controllers: readonly []; readonly why: string; readonly advice: string };

/** A placement group, as a program asks for it. */
export interface GroupRequest {
  /** 16 bytes, hex. */
  readonly groupId: string;
  readonly bundles: readonly ResourceUnits[];
  readonly strategy: "PACK" | "SPREAD" | "STRICT_PACK" | "STRICT_SPREAD";
  /** Tried in order, for all bundles together. */
  readonly selectors: readonly Readonly<Record<string, string>>[];
  readonly topology?: string;
  /** Left out: 0. */
  readonly priority?: number;
  readonly jobId: JobId;
  readonly namespace: string;
  readonly name?: string;
  readonly lifetime: "owner" | "detached";
  /** When control or the node heard of it first; releases before this one do not note it. */
  readonly createdAtMs?: number;
}

/** Modules that a value names, and which run of which program has them; proven by who has packed the value, see code-proof.ts. */
export interface CodeWanted {
  /** On whose machine the program runs. */
  readonly node: NodeId;
  readonly job: JobId;
  readonly modules: readonly string[];
  readonly origins: readonly string[];
  readonly proof: string;
}

export interface CodeObtained {
  /**
   * Folders: below the last one lies all that is there of the program, each file at the path that it has where the program
   * runs. Real paths may lead to the ones before.
   */
  readonly roots: readonly string[];
  /** Of the machine where the program runs: `linux-x64`. */
  readonly platform: string;
}

/** What waits for resources anywhere, by what it is: tasks by the workers that their owners could use. */
export interface WaitingDemand {
  readonly kind: "task" | "actor";
  readonly name: string;
  readonly count: number;
  readonly resources: Resources;
  /** For people, with what is said of labels and nodes. */
  readonly wish: string;
  /** The placement group in which it wants to run. */
  readonly groupId?: string;
  readonly jobs: readonly JobId[];
  /** No node can ever take it, as things are. */
  readonly isInfeasible: boolean;
  readonly why: string;
}

/** How much room there is in the store of a node that may keep something for others. */
export interface StoreRoomInfo {
  readonly nodeId: NodeId;
  readonly freeBytes: number;
  readonly capacityBytes: number;
  readonly labels: Readonly<Record<string, string>>;
}

/** A task or call that has not ended, and whose it is. */
export interface LiveTask extends OwnedTask {
  readonly owner: ProcessId;
  readonly ownerPid: number;
  readonly jobId: JobId;
}

/** What runs in a worker of the node that answers. */
export interface LiveRun extends RunningTask {
  readonly jobId: JobId;
  /** Null when its owner is on another node. */
  readonly ownerPid: number | null;
  readonly worker: readonly [workerId: WorkerId, nodeId: NodeId, pid: number];
}

/** A bar that a program has made with `progressBar`. */
export interface BarOfJob {
  /** Of its process and number: no other one of the node has it. */
  readonly barId: string;
  readonly label: string;
  readonly done: number;
  readonly total: number | null;
  readonly isClosed: boolean;
  readonly pid: number;
  /** Of the task or call that made it; null: a driver. */
  readonly taskId: string | null;
  readonly startedAtMs: number;
  readonly updatedAtMs: number;
  /** Since it was made, by the node's clock; of a closed one until then. */
  readonly tookMs: number;
}

/** One of the keys that control keeps for tools and actors, see control/kv-questions.ts. */
export interface KvEntry {
  readonly key: string;
  /** Of the commit that wrote it. */
  readonly revision: number;
  readonly value?: Uint8Array;
}

export interface KvChange {
  readonly key: string;
  /** null deletes the key. */
  readonly value: Uint8Array | null;
  /** The revision that the key must have now, 0 for "must not exist"; left out: whatever it has. */
  readonly expect?: number;
}

/** How a program that a process of a node starts joins the node's cluster. */
export interface JoinInfo {
  /** As `init` takes it. */
  readonly address: string;
  /** The file with the cluster's tokens; null where none is needed. */
  readonly tokenFile: string | null;
  readonly tls: { readonly cert?: string; readonly key?: string; readonly ca?: string; readonly serverName?: string };
  /** Where the node keeps what processes print. */
  readonly logFolder: string;
}

export interface Queries {
  "kv-get": { params: { key: string }; result: { readonly value: Uint8Array; readonly revision: number } | null };
  /** By key, from the one behind `after`; `keysOnly` leaves the values out. */
  "kv-list": {
    params: { prefix: string; after?: string; limit?: number; keysOnly?: boolean };
    result: { readonly entries: readonly KvEntry[]; readonly isLast: boolean };
  };
  /** All or nothing. On a conflict: which key has which revision. */
  "kv-commit": {
    params: { changes: readonly KvChange[] };
    result:
      | { readonly kind: "committed"; readonly revision: number }
      | { readonly kind: "conflict"; readonly key: string; readonly revision: number };
  };
  /** Of a process, to its own node; null when nobody can join it. */
  "join-info": { params: null; result: JoinInfo | null };
  /** Answered when they can be imported. */
  "obtain-code": { params: CodeWanted; result: CodeObtained };
  /** The most first. */
  "waiting-demands": { params: null; result: readonly WaitingDemand[] };
  /** Whether all of it is reserved, and written down; it may take so long that this is to be asked again. */
  "create-group": { params: GroupRequest; result: boolean };
  /** The same of a group that somebody else has created. */
  "await-group": { params: { groupId: string }; result: boolean };
  /** Why it waits, or where it is, and what each node had to say to that. */
  "why-group": { params: { groupId: string }; result: Explanation };
  /** Whether what it had is free; it may take so long that this is to be asked again. */
  "remove-group": { params: { groupId: string; by?: AskedBy }; result: boolean };
  /** Of a node or the head: who has asked it to end something, since then (milliseconds since 1970), and what. */
  "audit-notes": { params: { sinceMs: number }; result: AuditNotes };
  "find-group": { params: { name: string; namespace: string }; result: GroupRequest | null };
  nodes: { params: null; result: readonly NodeInfo[] };
  heads: { params: null; result: HeadsInfo };
  /** Of the head, by a node: others with room in their stores, the most first; not all of many. */
  "store-rooms": { params: null; result: readonly StoreRoomInfo[] };
  /** Of the head, by a tool: the next piece of a backup of its state; null after the last one. */
  backup: { params: null; result: { readonly bytes: Uint8Array | null } };
  "available-resources": { params: null; result: Resources };
  "cluster-resources": { params: null; result: Resources };
  /** Takes a node, by its id or its name, out of the cluster; answered when that has begun. */
  "drain-node": {
    params: { node: string; deadlineMs: number; by?: AskedBy };
    result: { nodeId: NodeId; name: string };
  };
  /** `host` is what its creator said in `ActorSpec.host`: its methods and concurrency. */
  "get-actor": {
    params: { name: string; namespace: string };
    result: { actorId: ActorId; className: string; host: Uint8Array };
  };
  /** All that are remembered; `since` is the version of an earlier answer: only those that have changed since then. */
  "actor-details": {
    params: { since: number | null };
    /** `isAll`: what is not among them is gone. */
    result: { version: number; isAll: boolean; actors: readonly ActorDetails[]; gone: readonly ActorId[] };
  };
  "group-details": { params: null; result: readonly GroupDetails[] };
  /** Of a node: of the drivers and workers there. */
  "job-details": { params: null; result: readonly JobDetails[] };
  /** Of a node: files of its run, the newest first. */
  "log-files": {
    params: null;
    result: readonly { readonly file: string; readonly sizeBytes: number; readonly modifiedAtMs: number }[];
  };
  /**
   * Of a node: the last `lines` of a file, or of all files of workers (null), those that contain both texts; or with `after`, as an
   * earlier answer gave it, what has come since. `isCut`: there is more than could be read.
   */
  "log-lines": {
    params: {
      readonly file: string | null;
      readonly id: string | null;
      readonly search: string | null;
      readonly lines: number;
      readonly after: Readonly<Record<string, number>> | null;
    };
    result: {
      readonly lines: readonly string[];
      readonly after: Readonly<Record<string, number>>;
      readonly isCut: boolean;
    };
  };
  /** Of a node: the largest objects, and all of them by call site. */
  "object-details": {
    params: { limit: number };
    result: {
      objects: readonly ObjectDetails[];
      total: number;
      sites: readonly {
        readonly callSite: string;
        readonly objects: number;
        readonly sizeBytes: number;
        readonly spilledBytes: number;
        readonly holders: number;
        /** Besides: of what nobody has a ref of any more, and which is there because it is read; left out by releases before this one. */
        readonly freedBytes?: number;
      }[];
    };
  };
  "worker-details": { params: null; result: readonly WorkerDetails[] };
  "list-actors": { params: { namespace: string | null }; result: readonly ActorInfo[] };
  /** Why leases of a shape are missing, or why the node `at` was chosen for one of them. */
  /** What a job may use at once in the whole cluster; null: what it says itself. Answered with what counts now. */
  "set-quota": { params: { job: JobId; quota: Resources | null; by?: AskedBy }; result: Resources | null };
  quota: { params: { job: JobId }; result: Resources | null };
  "explain-shape": { params: { shape: number; at?: NodeId }; result: Explanation };
  /** The same of a broker's demand, from control. */
  "explain-leases": {
    params: { node: NodeId; key: string; demand: Demand; at?: NodeId };
    result: Explanation;
  };
  /** Why a node grants no more leases of a shape to an owner, of whatever node. */
  "explain-waiting": { params: { client: ProcessId; shape: number }; result: Explanation };
  /** Of an object, a task, an actor or a placement group, by its id; asked of any node, or of control. */
  "explain-id": { params: { id: string }; result: Explanation };
  /** Where a stored object is, and who holds it; asked of the node of its owner. */
  "explain-object": { params: { key: ObjectKey; name?: StoredName }; result: Explanation };
  /** For people: `node two (10.0.0.2:20001)`, of those that are known. */
  "node-names": { params: { ids: readonly NodeId[] }; result: readonly (readonly [NodeId, string])[] };
  /** What the system says of a process of a node. */
  "explain-process": { params: { pid: number; nodeId: NodeId }; result: string | null };
  /** Workers and drivers with this pid or worker id: those of the node that is asked, or else of all nodes of its cluster. */
  "find-process": { params: { id: string; nodeId?: NodeId }; result: readonly FoundProcess[] };
  /**
   * Looks into a worker or driver: its stack, or a profile of `seconds` (1 to 300, default 10). What it gives is read by
   * "inspect-read" with the same `nodeId`: a stack as JSON (`InspectedStack`), a profile as the file that it is.
   * @param isForced take a snapshot of the heap although the memory for it is not there.
   * @param isHeld keep the inspector open after a snapshot, until that is read no more: "suspended" needs that.
   * @param snapshot,functions,executions for "suspended": the inspection that took the snapshot, and numbers of objects in it.
   */
  "inspect-begin": {
    params: {
      pid: number;
      what: InspectedThing;
      seconds?: number;
      nodeId?: NodeId;
      isForced?: boolean;
      isHeld?: boolean;
      snapshot?: string;
      functions?: readonly SuspendedAsked[];
      executions?: readonly number[];
    };
    result: { inspection: string };
  };
  /** Answered within a second; not done: ask again within 10 s, or it is ended. At most 512 KiB from `offset` on. */
  "inspect-read": {
    params: { inspection: string; offset: number; nodeId?: NodeId };
    result:
      | { isDone: false; progress?: SnapshotProgress }
      | { isDone: true; totalBytes: number; bytes: Uint8Array; stillMs?: number };
  };
  "explain-actor": { params: { actorId: ActorId }; result: Explanation };
  /** What `task:<key>` or `actor:<id>` waits for itself, when that has lasted a second. */
  "explain-wait": { params: { by: string }; result: Explanation };
  /** Resolves when the kill has taken effect. */
  "kill-actor": { params: { actorId: ActorId; noRestart: boolean; by?: AskedBy }; result: null };
  /**
   * Ends a worker (force cancel); resolves when its process is gone. `nodeId`: where it is, if that is not this node. With
   * `lease` (as its worker knows it) only if it still works under that: else somebody else may have it by now.
   */
  "kill-worker": { params: { workerId: string; reason: string; nodeId?: NodeId; lease?: LeaseId }; result: null };
  /** Sends SIGINT to a worker if its claim words say that it runs what `key` names and can be interrupted. */
  "interrupt-worker": { params: { workerId: string; key: number }; result: null };
  /** Answered by the owner itself: failed tasks whose refs are held and were never asked for. */
  "unread-failures": { params: null; result: readonly { readonly name: string; readonly bytes: Uint8Array }[] };
  /**
   * Of a node: what its processes have submitted that has not ended, at most `limit` of it, and the counts of all; of one job
   * or of all. Who did not answer is named.
   */
  "live-tasks": {
    params: { limit: number; job?: string };
    result: {
      rows: readonly LiveTask[];
      counts: readonly (readonly [...LiveCount, jobId: JobId])[];
      /** Actors with most calls of owners here that have not begun; left out by older nodes. */
      backlogs?: readonly (readonly [ActorId, number])[];
      /** What runs in workers here, as they or the node know it; left out by older nodes. */
      running?: readonly LiveRun[];
      /** Owners that have answered for themselves. */
      heard?: readonly ProcessId[];
      partial: readonly string[];
    };
  };
  /** Of a node: bars of programs there. Older nodes know of none, and of no such question. */
  "progress-bars": { params: { job: string }; result: readonly BarOfJob[] };
  /** The newest events of all processes, see events/event-batch.ts; `droppedBatches` made room for them. */
  timeline: { params: null; result: { batches: readonly Uint8Array[]; droppedBatches: number } };
}
