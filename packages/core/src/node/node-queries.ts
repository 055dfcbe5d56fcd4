/** Answers what processes ask their node; questions about actors go to control. */
import { InvalidOptionError } from "../base/errors.ts";
import type { JobId, NodeId, ProcessId, WorkerId } from "../base/ids.ts";
import { fromUnits, type ResourceUnits } from "../base/resources.ts";
import { type KvQuestions, nodeInfo } from "../control/mod.ts";
import type { LeaseEngine } from "../scheduler/mod.ts";
import type { StoreServer } from "../store/mod.ts";
import type { NodeDescription, NodeUse, WorkerOrder } from "../wire/cluster-messages.ts";
import type { Answer, Query } from "../wire/messages.ts";
import type { JoinInfo, Queries } from "../wire/queries.ts";
import { answerTo } from "./asks.ts";
import type { AuditNotes } from "./audit-notes.ts";
import { type ClusterLink, sumOf } from "./cluster-link.ts";
import type { Explanations } from "./explanations.ts";
import type { ForeignPrograms } from "./foreign-programs.ts";
import type { Inspections } from "./inspections.ts";
import type { LiveTasks } from "./live-tasks.ts";
import type { LocalGroups } from "./local-groups.ts";
import { logFiles, logLines } from "./log-reader.ts";
import type { OwnGroups } from "./own-groups.ts";
import type { ProcessDetails } from "./process-details.ts";
import type { ProgressBars } from "./progress-bars.ts";
import type { Timeline } from "./timeline.ts";
import type { WorkerPool } from "./worker-pool.ts";

export interface QueryContext {
  /** Jobs with a quota. */
  readonly limited: ReadonlySet<JobId>;
  readonly explanations: Explanations;
  readonly inspections: Inspections;
  readonly description: NodeDescription;
  readonly engine: LeaseEngine;
  readonly store: StoreServer;
  readonly pool: WorkerPool;
  readonly timeline: Timeline;
  readonly liveTasks: LiveTasks;
  readonly bars: ProgressBars;
  readonly cluster: ClusterLink | undefined;
  readonly code: ForeignPrograms | undefined;
  /** Of a node by itself. */
  readonly ownGroups: OwnGroups;
  readonly localGroups: LocalGroups;
  readonly processes: ProcessDetails;
  readonly logFolder: string;
  readonly audit: AuditNotes;
  objectDetails(params: Queries["object-details"]["params"]): Queries["object-details"]["result"];
  /** Of a node by itself. */
  readonly kv: KvQuestions;
  /** How programs that its processes start join it. */
  joinInfo(): JoinInfo | null;
  /** False when the worker is not one that another node lent. */
  orderElsewhere(order: Omit<WorkerOrder, "t">, node?: NodeId): boolean;
}

type Results = { readonly [M in keyof Queries]: Queries[M]["result"] };

/** Resolves to the answer; a failed question is an answer too. */
export function answerQuery(context: QueryContext, from: ProcessId, query: Query): Promise<Answer> {
  return answerTo(query.id, () => result(context, from, query));
}

async function result(context: QueryContext, from: ProcessId, query: Query): Promise<Results[keyof Results]> {
  const { engine, pool, timeline, cluster, ownGroups, localGroups, explanations } = context;
  if (explanations.isMine(query.method)) return explanations.answer(from, query.method, query.params) as never;
  if (context.inspections.isMine(query.method))
    return context.inspections.answer(query.method, query.params, true) as never;
  switch (query.method) {
    case "nodes":
      return cluster ? cluster.query("nodes", null) : [nodeInfo(context.description, "alive", nodeUse(context))];
    case "heads":
      if (!cluster) throw new InvalidOptionError("this node is in no cluster, so it has no head");
      return cluster.query("heads", null);
    case "waiting-demands":
      return cluster ? cluster.query("waiting-demands", null) : engine.waiting();
    case "available-resources":
      if (cluster) return sumOf(await cluster.query("nodes", null), "available");
      return fromUnits(available(engine));
    case "cluster-resources":
      return cluster ? sumOf(await cluster.query("nodes", null), "resources") : fromUnits(engine.pool.total);
    case "create-group":
    case "await-group":
    case "remove-group":
      if (cluster) return askAboutGroup(localGroups, cluster, query);
      return ownGroups.query(query.method, query.params);
    case "find-group":
    case "why-group":
      return cluster ? cluster.query(query.method, query.params as never) : ownGroups.query(query.method, query.params);
    case "quota":
    case "set-quota":
      if (!cluster) throw new InvalidOptionError("this node is in no cluster, and quotas are those of a cluster");
      return cluster.query(query.method, query.params as never);
    case "group-details":
      return cluster ? cluster.query("group-details", null) : ownGroups.details();
    case "worker-details":
      return context.processes.workers();
    case "object-details":
      return context.objectDetails(query.params as Queries["object-details"]["params"]);
    case "log-files":
      return logFiles(context.logFolder);
    case "log-lines":
      return logLines(context.logFolder, query.params as Queries["log-lines"]["params"]);
    case "job-details":
      return context.processes.jobs();
    case "kv-get":
    case "kv-list":
    case "kv-commit":
      return cluster ? cluster.query(query.method, query.params as never) : context.kv.answer(query);
    case "join-info":
      return context.joinInfo();
    case "audit-notes":
      return context.audit.since((query.params as Queries["audit-notes"]["params"]).sinceMs);
    case "drain-node":
      if (!cluster)
        throw new InvalidOptionError("this node is in no cluster that could drain it; `mobula stop` ends it");
      return cluster.query("drain-node", query.params as Queries["drain-node"]["params"]);
    case "kill-worker": {
      const { workerId, reason, nodeId, lease } = query.params as Queries["kill-worker"]["params"];
      const order = { workerId: workerId as WorkerId, kill: String(reason), ...(lease !== undefined && { lease }) };
      if (context.orderElsewhere(order, nodeId)) return null;
      if (lease !== undefined && engine.workerOf(lease) !== workerId) return null;
      const gone = pool.gone(workerId as WorkerId);
      pool.kill(workerId as WorkerId, String(reason));
      await gone;
      return null;
    }
    case "interrupt-worker": {
      const { workerId, key } = query.params as Queries["interrupt-worker"]["params"];
      const interrupted = workerId as WorkerId;
      if (!context.orderElsewhere({ workerId: interrupted, interrupt: key })) pool.interrupt(interrupted, key);
      return null;
    }
    case "obtain-code":
      if (!context.code) throw new InvalidOptionError("this node is in no cluster that modules could come from");
      return context.code.programs.obtain(query.params as Queries["obtain-code"]["params"]);
    case "live-tasks":
      return context.liveTasks.list(query.params as Queries["live-tasks"]["params"]);
    case "progress-bars":
      return context.bars.list((query.params as Queries["progress-bars"]["params"]).job);
    case "timeline":
      return timeline.collect();
    default:
      throw new Error(`this node does not know the question "${query.method}"`);
  }
}

/** To create a group, await or remove it: what this node can answer itself is not asked of control. */
export function askAboutGroup(
  groups: LocalGroups,
  cluster: Pick<ClusterLink, "query">,
  { method, params }: Query,
): boolean | Promise<boolean> {
  switch (method) {
    case "create-group": {
      const request = params as Queries["create-group"]["params"];
      return groups.create(request, () => cluster.query("create-group", request));
    }
    case "remove-group": {
      const removal = params as Queries["remove-group"]["params"];
      return groups.remove(removal.groupId) ?? cluster.query("remove-group", removal);
    }
    default: {
      const awaited = params as Queries["await-group"]["params"];
      return groups.has(awaited.groupId) || cluster.query("await-group", awaited);
    }
  }
}

/** Nothing is less than free, even while more runs than fits. */
export function available(engine: LeaseEngine): ResourceUnits {
  const units = Object.entries(engine.pool.available()).map(([name, amount]) => [name, Math.max(0, amount)] as const);
  return Object.fromEntries(units);
}

/** What this node tells its cluster. */
export function nodeUse({
  engine,
  store,
  timeline,
  limited,
}: Pick<QueryContext, "engine" | "store" | "timeline" | "limited">): NodeUse {
  const { usedBytes, unsealedBytes, spilledBytes } = store.stats();
  const blocked = limited.size > 0 ? engine.blockedOf(limited) : [];
  const preemptable = engine.preemptable(Date.now());
  const lasting = engine.lasting();
  return {
    available: available(engine),
    ...(Object.keys(lasting).length > 0 && { lasting }),
    ...(blocked.length > 0 && { blocked }),
    ...(preemptable.length > 0 && { preemptable }),
    // What processes have leased to put objects into holds none yet: it is no more in use than what is free.
    storeUsedBytes: usedBytes - unsealedBytes,
    storeSpilledBytes: spilledBytes,
    events: timeline.kept,
  };
}

/** Of placement groups, what is to be said of bundles here; nothing on nodes that have none. */
export function bundleUse({ bundles }: LeaseEngine, isFirst: boolean): Pick<NodeUse, "bundles"> {
  const uses = bundles.use(isFirst);
  return uses.length > 0 ? { bundles: uses } : {};
}
