/** Placement groups of a node by itself: what the head does in a cluster, for the one node that there is. */
import { type Clock, later, wallMs } from "../base/clock.ts";
import type { JobId, NodeId } from "../base/ids.ts";
import type { ResourceUnits } from "../base/resources.ts";
import { answerGroupQuery, ClusterView, GroupHost, type GroupSpec, type Victim } from "../placement/mod.ts";
import type { SchedulerCommand, SchedulerEvent } from "../scheduler/mod.ts";
import type { Preemptable } from "../wire/cluster-messages.ts";
import type { Demand, LeaseRefused } from "../wire/messages.ts";
import type { GroupDetails } from "../wire/queries.ts";
import { answerOf, eventOf, isAboutBundles } from "./bundles.ts";

/** Of time that counts from 1970. */
export interface OwnGroupsClock extends Clock {
  /** Calls it again and again, so long apart; what it returns ends that. */
  every(ms: number, run: () => void): () => void;
}

export const ownGroupsClock: OwnGroupsClock = {
  nowMs: wallMs,
  later,
  // A process need not live for that.
  every(ms, run) {
    const timer = setInterval(run, ms).unref();
    return () => clearInterval(timer);
  },
};

export interface OwnGroupsOptions extends OwnGroupsClock {
  readonly nodeId: NodeId;
  readonly name: string;
  readonly total: ResourceUnits;
  available(): ResourceUnits;
  /** What of it actors and groups have. */
  lasting(): ResourceUnits;
  /** How long a group of the job waits before work of others ends for it. */
  preemptAfterMs(job: JobId): number;
  /** What may end for others. */
  preemptable(): readonly Preemptable[];
  /** To the lease engine. */
  feed(event: SchedulerEvent): void;
  /** What runs in groups may be refused now. */
  changed(): void;
}

const TICK_MS = 50;
/** Changes of this one node; each group makes some, and only those that wait are explained. */
const JOURNAL_MAX = 4_096;
const NO_STORE = { usedBytes: 0, capacityBytes: 0 };

export class OwnGroups {
  private readonly options: OwnGroupsOptions;
  private readonly view = new ClusterView({ journalMax: JOURNAL_MAX });
  private readonly host: GroupHost;
  private stopTicking: (() => void) | undefined;

  constructor(options: OwnGroupsOptions) {
    this.options = options;
    const { nodeId, name, total, feed, changed, nowMs } = options;
    this.view.apply({ kind: "node-joined", nodeId, name, total, labels: {}, store: NO_STORE });
    this.host = new GroupHost(
      this.view,
      1,
      {
        nowMs,
        wallMs: nowMs,
        send: (_node, order) => feed(eventOf(order)),
        // Nobody places groups but this host.
        noted() {},
        // They end with the node.
        persist: (_changes, done) => done(undefined),
        changed,
        news() {},
      },
      {
        preemption: {
          afterMs: ({ jobId }) => options.preemptAfterMs(jobId),
          victimsFor: (spec) => this.victimsFor(spec),
        },
      },
    );
  }

  query(method: string, params: unknown): ReturnType<typeof answerGroupQuery> {
    this.look();
    this.startTicking();
    return answerGroupQuery(this.host, method, params, this.options);
  }

  details(): readonly GroupDetails[] {
    return this.host.details();
  }

  /** What the lease engine says; false when it is not about bundles. */
  take(command: SchedulerCommand): boolean {
    if (!isAboutBundles(command)) return false;
    this.host.hear(this.options.nodeId, answerOf(command));
    return true;
  }

  /** Why the demand will never run in the group that it names. */
  misplaced({ placement, resources }: Demand): Pick<LeaseRefused, "code" | "message"> | undefined {
    const { bundle } = placement ?? {};
    if (!bundle) return undefined;
    this.startTicking();
    const places = this.host.placesFor(bundle.groupId, bundle.index, resources);
    return places.kind === "refused" ? places : undefined;
  }

  jobEnded(jobId: JobId): void {
    this.host.jobEnded(jobId);
  }

  close(): void {
    this.stopTicking?.();
  }

  private startTicking(): void {
    this.stopTicking ??= this.options.every(TICK_MS, () => this.tick());
  }

  private victimsFor({ jobId, priority }: GroupSpec): Victim[] {
    const { nodeId, preemptable } = this.options;
    return preemptable().flatMap(([job, lower, units, count], kind) => {
      const alike = { nodeId, priority: lower, isRetriable: true, startedMs: 0, units };
      const ids = job === jobId || lower >= priority ? 0 : count;
      return Array.from({ length: ids }, (_, at) => ({ id: `${kind} ${at}`, ...alike }));
    });
  }

  private look(): void {
    const { nodeId, available, lasting } = this.options;
    this.view.apply({ kind: "node-reported", nodeId, free: available(), lasting: lasting(), store: NO_STORE });
  }

  private tick(): void {
    this.look();
    this.host.tick();
    if (!this.host.isIdle) return;
    this.stopTicking?.();
    this.stopTicking = undefined;
  }
}
