/** What the lease engine is told, and what it orders. */
import type { JobId, LeaseId, ProcessId, WorkerId } from "../base/ids.ts";
import type { ResourceUnits } from "../base/resources.ts";
import type { Ending } from "../wire/cluster-messages.ts";
import type { BundleChoice, Demand, PackageRef, RuntimeEnv } from "../wire/messages.ts";

/**
 * Events. The same one twice, or one about something that is gone, changes nothing.
 *
 * A client is a process that submits tasks: a driver, or a worker whose task submits more.
 */
export type SchedulerEvent =
  /** `isDeputy`: it submits what workers of the job have handed over, and does not keep the job by being there. */
  | {
      readonly kind: "client-joined";
      readonly clientId: ProcessId;
      readonly jobId: JobId;
      readonly isDeputy?: boolean;
    }
  | { readonly kind: "client-left"; readonly clientId: ProcessId }
  /** Its leases are another's from now on, which knows what runs there; it asks for no more of them. */
  | { readonly kind: "leases-inherited"; readonly clientId: ProcessId; readonly heir: ProcessId }
  | {
      readonly kind: "demand-changed";
      readonly clientId: ProcessId;
      readonly shape: number;
      readonly demand?: Demand | undefined;
      readonly wanted: number;
      /** What waits so long without room is urgent, see {@link file://./preempt-pass.ts}; left out: never. */
      readonly preemptAfterMs?: number | undefined;
    }
  /** It is not asked by any more, and is forgotten with its last lease. */
  | { readonly kind: "demand-over"; readonly clientId: ProcessId; readonly shape: number }
  /** Its owner does not give it up for others, for so long or as long as what runs there now. */
  | {
      readonly kind: "lease-kept";
      readonly clientId: ProcessId;
      readonly leaseId: LeaseId;
      readonly forMs?: number | undefined;
    }
  | {
      readonly kind: "lease-returned";
      readonly clientId: ProcessId;
      readonly leaseId: LeaseId;
      readonly retire: boolean;
    }
  /** The worker has had nothing to do for a while, or has again. */
  | {
      readonly kind: "lease-idle";
      readonly workerId: WorkerId;
      readonly leaseId: LeaseId;
      readonly idle: boolean;
    }
  /** The worker has ended the lease, see the command `end-lease`. */
  | { readonly kind: "lease-ended"; readonly workerId: WorkerId; readonly leaseId: LeaseId }
  /** A worker process was started without the engine's order: the first ones, before the engine was loaded. */
  | { readonly kind: "workers-started"; readonly workerIds: readonly WorkerId[] }
  | { readonly kind: "worker-ready"; readonly workerId: WorkerId; readonly clientId: ProcessId }
  /** The process is gone. `detail` is for people: how it ended. */
  | { readonly kind: "worker-died"; readonly workerId: WorkerId; readonly detail: string }
  | { readonly kind: "worker-blocked"; readonly workerId: WorkerId; readonly blocked: boolean }
  /** What `prepare-environment` ordered is there. */
  | { readonly kind: "environment-ready"; readonly envKey: string }
  /** It cannot be had: for people, what was tried and how it failed. */
  | { readonly kind: "environment-failed"; readonly envKey: string; readonly message: string }
  /** For people: what is done for it now, in words that follow "waits for its environment". */
  | { readonly kind: "environment-progress"; readonly envKey: string; readonly words: string }
  /** Control needs a worker for actors ("fresh", nobody else uses it until it dies), or more resources in one it has. */
  | {
      readonly kind: "worker-requested";
      readonly requestId: number;
      readonly jobId: JobId;
      readonly demand: Demand;
      readonly worker: "fresh" | WorkerId;
      /** As of `demand-changed`. */
      readonly preemptAfterMs?: number | undefined;
      /** It does not wait for room: if there is none now it is refused with this. */
      readonly refusal?: string | undefined;
    }
  /** Withdrawn, or what was granted is no longer used. The worker goes on. */
  | { readonly kind: "request-released"; readonly requestId: number }
  /**
   * Control reserves bundles of a placement group: what they need is taken out of what is free here. `commit`: at once for
   * good; otherwise nothing runs in them before `bundles-committed`. `isOwn`: the node itself reserves them, and only what is
   * free now, is kept for nobody, and that nothing else waits for.
   */
  | ({
      readonly kind: "prepare-bundles";
      readonly bundles: readonly { readonly index: number; readonly units: ResourceUnits }[];
      readonly commit: boolean;
      readonly isOwn?: true;
    } & Reserved)
  | ({ readonly kind: "commit-bundles" } & Reserved)
  /** What runs in them is ended, or, when they have `moved`, ends by itself; what they had is free then. */
  | ({ readonly kind: "return-bundles"; readonly moved?: true } & Reserved)
  /** For so long no lease is granted that leaves less than this free; what has it now is called back. */
  | {
      readonly kind: "earmark";
      readonly groupId: string;
      readonly units: ResourceUnits;
      readonly forMs: number;
      /** What runs here may end for that; see `earmark-pass.ts`. */
      readonly ending?: Ending;
    }
  | { readonly kind: "clear-earmark"; readonly groupId: string }
  /** Nothing is granted any more, and leases are called back; what runs goes on. */
  | { readonly kind: "drain-began" }
  /** Nothing new is started or granted any more. */
  | { readonly kind: "shutdown-began" }
  | { readonly kind: "tick" };

/** The bundles of a group that one attempt to reserve it puts on this node. */
export interface Reserved {
  readonly groupId: string;
  readonly attempt: number;
}

export type SchedulerCommand =
  | {
      readonly kind: "grant-lease";
      readonly clientId: ProcessId;
      readonly shape: number;
      readonly leaseId: LeaseId;
      readonly workerId: WorkerId;
      readonly jobId: JobId;
      readonly resources: ResourceUnits;
      readonly gpus: readonly string[];
      readonly bundle?: BundleChoice;
    }
  | { readonly kind: "revoke-lease"; readonly clientId: ProcessId; readonly leaseId: LeaseId }
  /** Its owner is to end what runs there, if that can be run again: for `by`, in words. Answered by `lease-kept`, or by its end. */
  | {
      readonly kind: "preempt-lease";
      readonly clientId: ProcessId;
      readonly leaseId: LeaseId;
      readonly by: string;
    }
  /** Whether what runs there might end; nothing is decided. Answered by `lease-kept`, for 0 ms if it may. */
  | { readonly kind: "question-lease"; readonly clientId: ProcessId; readonly leaseId: LeaseId }
  /** The room that is kept for a group is free, or could be; or it could not. */
  | { readonly kind: "earmark-answered"; readonly groupId: string; readonly canEnd: boolean }
  /** Its worker, which is idle, is to end it: the owner's thread may be busy for long. */
  | { readonly kind: "end-lease"; readonly workerId: WorkerId; readonly leaseId: LeaseId }
  /** Its worker has ended it: the owner is to know. */
  | { readonly kind: "reclaim-lease"; readonly clientId: ProcessId; readonly shape: number; readonly leaseId: LeaseId }
  | {
      readonly kind: "lose-lease";
      readonly clientId: ProcessId;
      readonly leaseId: LeaseId;
      readonly workerId: WorkerId;
    }
  /** `code`: what is submitted later may find it otherwise; left out: it can never be. */
  | {
      readonly kind: "refuse-demand";
      readonly clientId: ProcessId;
      readonly shape: number;
      readonly code?: "RUNTIME_ENV";
      readonly message: string;
    }
  | {
      readonly kind: "grant-request";
      readonly requestId: number;
      readonly workerId: WorkerId;
      readonly resources: ResourceUnits;
      readonly gpus: readonly string[];
    }
  | {
      readonly kind: "refuse-request";
      readonly requestId: number;
      readonly code: string;
      readonly message: string;
    }
  | ({ readonly kind: "bundles-prepared" } & Reserved)
  /** There is no room for all of them; nothing of it is held. */
  | ({ readonly kind: "bundles-refused"; readonly reason: string } & Reserved)
  | ({ readonly kind: "bundles-committed" } & Reserved)
  | ({ readonly kind: "bundles-returned" } & Reserved)
  /** They were prepared long ago, and nothing was heard since. */
  | ({ readonly kind: "bundles-reported"; readonly isCommitted: boolean } & Reserved)
  | { readonly kind: "start-worker"; readonly workerId: WorkerId; readonly runtimeEnv: RuntimeEnv | undefined }
  | { readonly kind: "stop-worker"; readonly workerId: WorkerId; readonly reason: StopReason }
  /** Make it ready on this machine: answered by `environment-ready` or `environment-failed`. */
  | { readonly kind: "prepare-environment"; readonly envKey: string; readonly runtimeEnv: RuntimeEnv }
  /** Nobody needs it here any more; if it is still being made ready, that may end. */
  | { readonly kind: "release-environment"; readonly envKey: string };

/** Why a worker is ended on purpose. */
export type StopReason = "idle" | "retired" | "owner-gone" | "job-ended" | "group-removed";

/** Workers with equal keys are interchangeable before their first job. "" is the plain environment. */
export function runtimeEnvKey(env: RuntimeEnv | undefined): string {
  if (!env) return "";
  const variables = Object.entries(env.env ?? {}).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  const options = env.nodeOptions ?? [];
  const { workingDir, files, npm, setup } = env;
  const isPlain = workingDir === undefined && !files && !npm && !setup;
  if (variables.length === 0 && options.length === 0 && isPlain) return "";
  const named = [files && packageName(files), npm && [packageName(npm.from), npm.allowScripts, npm.dev], setup];
  return JSON.stringify([variables, workingDir ?? null, options, ...(isPlain ? [] : named.map((one) => one ?? null))]);
}

/** Wherever it comes from: equal files are one. */
const packageName = (files: PackageRef | "files"): readonly (string | null)[] =>
  files === "files" ? [files] : [files.hash, files.root ?? null];
