/** The engine's tables: jobs, the clients of a job, what each asks for, what is held, and the workers. */
import type { JobId, LeaseId, ProcessId, WorkerId } from "../base/ids.ts";
import type { ResourceUnits } from "../base/resources.ts";
import type { Placement, RuntimeEnv } from "../wire/messages.ts";
import type { Flow } from "./fairness.ts";
import type { Allocation, ResourcePool } from "./resource-pool.ts";

export interface Job extends Flow {
  readonly id: JobId;
  /** What it has in each placement group is counted by itself: nobody else could have it. */
  readonly inGroups: Map<string, Flow>;
  readonly clients: Set<Client>;
  /** Requests of control for the job's actors: they keep it alive without a driver. */
  requests: number;
}

/** A submitter; all that control asks for a job's actors is one submitter more, without an id. */
export interface Client extends Flow {
  readonly id: ProcessId | undefined;
  readonly job: Job;
  /** Submits what workers have handed over to the node; being there, it does not keep the job. */
  readonly isDeputy: boolean;
  readonly asks: Map<number | string, Ask>;
  readonly inGroups: Map<string, Flow>;
}

/** One shape that a client asks for. */
export interface Ask extends Flow {
  client: Client;
  /** What its use counts for: the job's and the client's own, or theirs in its placement group. */
  jobFlow: Flow;
  clientFlow: Flow;
  /** It is granted from this bundle of a placement group only; without an index from any of the group. */
  readonly bundle: Placement["bundle"];
  /** Of leases: the client's own number for it; a name for what it inherited, and for requests of control. */
  shape: number | string;
  readonly name: string;
  readonly resources: ResourceUnits;
  /** What one lease of it counts in the shares, see {@link file://./fairness.ts}. */
  readonly cost: number;
  readonly priority: number;
  readonly envKey: string;
  readonly runtimeEnv: RuntimeEnv | undefined;
  /** Something has to be on this machine before a worker can start in its environment. */
  readonly needsPreparation: boolean;
  readonly held: Set<Holding>;
  /** Leases in all that the client can use. Requests of control wait in `queue` instead. */
  wanted: number;
  readonly queue: Set<Request>;
  /** Set for requests of control: the worker that they need. */
  readonly target: "fresh" | Worker | undefined;
  /** Since when something of it waits. */
  waitingSinceMs: number | undefined;
  preemptAfterMs: number | undefined;
  /** It has waited so long that lower priorities of other jobs make room for it, until nothing of it waits. */
  isUrgent: boolean;
  /** For so many leases of it others were told to end: so much is kept for it. */
  roomComing: number;
  /** The highest priority of something urgent that is not above its own. */
  level: number;
  infeasibleSinceMs: number | undefined;
  /** It was refused; it is asked for again by a changed demand. */
  isRefused: boolean;
  /** Nobody will ask by it again: it is forgotten with its last lease. */
  isOver: boolean;
  /** Grants that this pass has promised to workers which are still starting. */
  promised: number;
}

/** Resources in use: by a lease, or by a request of control. */
export interface Holding {
  readonly ask: Ask;
  readonly worker: Worker;
  /** What it was taken from: the node's, or that of a bundle. */
  readonly pool: ResourcePool;
  /** Without the CPUs while blocked. */
  allocation: Allocation;
  isBlocked: boolean;
  isRevoked: boolean;
  /**
   * What runs there was asked to end for an urgent demand, or its owner whether it might; `keptUntilMs`: the owner has said no, or
   * to a question when it may.
   */
  preemption: { readonly askedAtMs: number; readonly keptUntilMs?: number; readonly isQuestion?: true } | undefined;
  /** Its worker says that it has nothing to do. */
  isIdle: boolean;
  readonly grantedAtMs: number;
  readonly leaseId: LeaseId | undefined;
  readonly request: Request | undefined;
}

export interface Request {
  readonly id: number;
  readonly ask: Ask;
  /** The code with which it is refused when there is no room for it now; undefined: it waits. */
  readonly refusal: string | undefined;
  holding: Holding | undefined;
}

export interface Worker {
  readonly id: WorkerId;
  readonly envKey: string;
  readonly runtimeEnv: RuntimeEnv | undefined;
  state: "starting" | "idle" | "leased" | "hosting" | "stopping";
  clientId: ProcessId | undefined;
  /** Set by the first lease or request, for good: a worker serves one job. */
  job: Job | undefined;
  lease: Holding | undefined;
  /** For actors; the worker is nobody else's until it dies. */
  readonly requests: Set<Request>;
  /** A device's memory is only surely free when the process that used it is gone. */
  hasUsedGpu: boolean;
  sinceMs: number;
}
