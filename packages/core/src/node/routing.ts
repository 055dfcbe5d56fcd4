/**
 * What control and other nodes say to a node, passed to the engine that it is for, and what its engines say to processes, to
 * wherever these are. It decides nothing, and knows no sockets: the simulator's nodes have it too.
 */
import { type NodeId, nodeTag, nodeTagOf, type ProcessId } from "../base/ids.ts";
import type { ResourceUnits } from "../base/resources.ts";
import { CONTROL_HOME, type Control, type Router } from "../control/mod.ts";
import type { LeaseEngine, ResourcePool, SchedulerEvent } from "../scheduler/mod.ts";
import type {
  AboutCode,
  AboutCopies,
  BetweenHomes,
  BetweenNodes,
  ForHeir,
  NodeFound,
  NodeStanding,
  NodeWelcome,
  ToControl,
} from "../wire/cluster-messages.ts";
import type { LeaseGranted } from "../wire/messages.ts";
import type { ActorOrder, ClusterActors } from "./cluster-actors.ts";
import { isLeaseNotice, type LeaseBroker, type LeaseNotice } from "./lease-broker.ts";
import type { LocalGroups } from "./local-groups.ts";
import type { Neighbours } from "./neighbours.ts";
import type { NodeObjects } from "./objects.ts";
import type { ProcessWatch } from "./process-watch.ts";
import type { Succession } from "./succession.ts";

export type LeaseAsk = Extract<BetweenNodes, { readonly t: "lease-ask" }>;
type LeaseGivenBack = Extract<BetweenNodes, { readonly t: "lease-give-back" }>;

export interface NodeParts {
  readonly nodeId: NodeId;
  readonly leases: LeaseEngine;
  readonly control: Control;
  readonly router: Router;
  readonly neighbours: Neighbours;
  readonly broker: LeaseBroker;
  readonly watch: ProcessWatch;
  readonly objects: NodeObjects;
  readonly succession: Succession;
  readonly localGroups: LocalGroups;
  /** In a cluster, whose control has the say over actors. */
  readonly clusterActors: ClusterActors | undefined;
}

/** What else hears of it. */
export interface NodeRoutingEffects {
  /** To the lease engine. */
  feed(event: SchedulerEvent): void;
  say(message: ToControl): void;
  /** Another node asks for leases for a job that may not be known here. */
  jobAsked(from: NodeId, ask: LeaseAsk): void;
  leaseReturned(client: ProcessId, leaseId: LeaseGivenBack["leaseId"], retire: boolean): void;
  /** What is for no engine. */
  other(from: NodeId, message: OtherBetweenNodes): void;
}

/** Lines of logs, questions and their answers, what is to be done to a worker, modules. */
export type OtherBetweenNodes =
  | AboutCode
  | Extract<BetweenNodes, { readonly t: "job-log" | "query" | "answer" | "worker-order" }>;

export class NodeRouting {
  private readonly parts: NodeParts;
  private readonly effects: NodeRoutingEffects;
  private readonly here: string;

  constructor(parts: NodeParts, effects: NodeRoutingEffects) {
    this.parts = parts;
    this.effects = effects;
    this.here = nodeTag(parts.nodeId);
  }

  // ── control ────────────────────────────────────────────────────────────────────────────────────────────────────────

  welcomed({ nodes, dead, epoch }: NodeWelcome): void {
    const { localGroups, neighbours, broker, clusterActors, leases } = this.parts;
    // What it knows of groups is to be whole before it is asked about them.
    localGroups.welcomed();
    neighbours.welcomed(nodes, dead);
    this.nodesChanged();
    broker.welcomed();
    clusterActors?.welcomed(epoch);
    for (const held of leases.bundles.reserved()) this.effects.say({ t: "bundles-reported", ...held });
  }

  heardOf(nodes: readonly NodeStanding[]): void {
    this.parts.neighbours.heardOf(nodes);
    this.nodesChanged();
  }

  found({ tag, node }: NodeFound): void {
    this.parts.neighbours.found(tag, node);
    this.nodesChanged();
  }

  private nodesChanged(): void {
    const { watch, broker, neighbours, objects } = this.parts;
    watch.nodesChanged();
    broker.clustered(neighbours.size > 0);
    objects.nodesChanged();
  }

  /** What is said to control from now on is said to nobody. */
  controlLost(): void {
    this.parts.clusterActors?.lost();
    this.parts.localGroups.lost();
  }

  fromControl(message: ActorOrder | BetweenHomes | ForHeir): void {
    const { clusterActors: actors, router, succession } = this.parts;
    if (!actors) return;
    switch (message.t) {
      case "actor-worker-wanted":
      case "actor-worker-released":
      case "actor-recorded":
      case "actor-settled":
      case "worker-order":
        actors.order(message);
        return;
      case "for-heir":
        succession.hear(CONTROL_HOME, message);
        return;
      case "deliver": {
        const delivered = actors.delivered(message.to, message.message);
        if (delivered) router.fromHome(CONTROL_HOME, { ...message, message: delivered });
        return;
      }
      default:
        router.fromHome(CONTROL_HOME, message);
    }
  }

  // ── other nodes ────────────────────────────────────────────────────────────────────────────────────────────────────

  fromNode(from: NodeId, message: BetweenNodes): void {
    const { parts, effects } = this;
    switch (message.t) {
      case "lease-ask": {
        const { client, jobId, shape, demand, wanted, urgent, isOver } = message;
        if (isOver) {
          effects.feed({ kind: "demand-over", clientId: client, shape });
          return;
        }
        const preemptAfterMs = urgent ? 0 : undefined;
        effects.jobAsked(from, message);
        parts.router.watch(client);
        effects.feed({ kind: "client-joined", clientId: client, jobId });
        effects.feed({ kind: "demand-changed", clientId: client, shape, demand, wanted, preemptAfterMs });
        return;
      }
      case "lease-kept-there": {
        const { client, leaseId, forMs } = message;
        effects.feed({ kind: "lease-kept", clientId: client, leaseId, forMs });
        return;
      }
      case "lease-give-back":
        effects.leaseReturned(message.client, message.leaseId, message.retire);
        return;
      case "worker-order":
      case "job-log":
      case "query":
      case "answer":
        effects.other(from, message);
        return;
      case "heir-keeps":
      case "heir-drops":
      case "for-heir":
        parts.succession.hear(nodeTag(from), message);
        return;
      case "deliver":
        if (isLeaseNotice(message.message)) parts.broker.fromNode(from, message.to, message.message);
        else parts.router.fromHome(nodeTag(from), message);
        return;
      default:
        if (isAboutCopies(message)) parts.objects.hear(nodeTag(from), message);
        else if (isAboutCode(message)) effects.other(from, message);
        else parts.router.fromHome(nodeTag(from), message);
    }
  }

  // ── processes ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** What the lease engine says to a client, of this node or of another. */
  tellOfLease(client: ProcessId, notice: LeaseNotice): void {
    const { broker, router, clusterActors } = this.parts;
    // A node by itself has all processes.
    if (!clusterActors || nodeTagOf(client) === this.here) broker.fromHere(client, notice);
    else router.send(client, notice.t === "lease-granted" ? fromOutside(notice) : notice);
  }

  /** A process of this node is gone, and all that it said was handled. */
  processLeft(process: ProcessId, isRetired: boolean): void {
    const { control, clusterActors, router, broker, watch, succession } = this.parts;
    control.processGone(process, isRetired);
    clusterActors?.processGone(process, isRetired);
    router.processGone(process, isRetired);
    broker.clientGone(process);
    watch.left(process);
    succession.processGone(process);
  }
}

/** As owners of other machines reach the worker: its claim words are memory of this one. */
function fromOutside({ worker, ...notice }: LeaseGranted): LeaseGranted {
  const { claims: _claims, ...address } = worker;
  return { ...notice, worker: address };
}

const isAboutCode = (message: BetweenNodes): message is AboutCode => message.t.startsWith("code-");
const isAboutCopies = (message: BetweenNodes): message is AboutCopies => message.t.startsWith("copy-");

/** Below this use of a node demands are packed on it. */
const PACK_BELOW = 0.5;
/** Of demands that take nothing. */
const PACKED_MAX = 64;

/** How many demands are taken here before the node is half in use: what is packed, and not spread. */
export function packable(units: ResourceUnits, pool: Pick<ResourcePool, "total" | "available">): number {
  const { total } = pool;
  const free = pool.available();
  let count = Number.POSITIVE_INFINITY;
  for (const [name, needed] of Object.entries(units)) {
    const all = total[name] ?? 0;
    const used = all - (free[name] ?? 0);
    count = Math.min(count, Math.floor((all - used) / needed), Math.ceil((all * PACK_BELOW - used) / needed));
  }
  return Math.max(0, Math.min(count, PACKED_MAX));
}
