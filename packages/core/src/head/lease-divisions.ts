/**
 * How many leases of a shape each node is asked for: what nodes' brokers want, divided over the cluster by the placement
 * engine, and divided anew when there is room that was not there.
 */

import { type JobId, type NodeId, nodeTag } from "../base/ids.ts";
import { addTo, removeFrom } from "../base/index-of-sets.ts";
import { sum } from "../base/sum.ts";
import {
  ClusterView,
  type Division,
  type Explained,
  explainNow,
  explainPacked,
  GroupDivider,
  type GroupDivision,
  type GroupRoom,
  LeaseDivider,
  type LocalBytes,
  type PlacementStrategy,
  type Shape,
} from "../placement/mod.ts";
import type { DivideLeases, LeasesDivided, LeasesGranted } from "../wire/cluster-messages.ts";
import type { Demand, Placement } from "../wire/messages.ts";
import { localityOf, placementOf } from "./demand.ts";
import { moveTo, Preemptions } from "./preemptions.ts";
import { type Claim, Quotas } from "./quotas.ts";
import type { Waiting } from "./waiting-demands.ts";

interface Ask {
  readonly node: NodeId;
  readonly key: string;
  readonly shape: Shape;
  readonly strategy: PlacementStrategy;
  readonly locality: readonly LocalBytes[] | undefined;
  readonly bundle: Placement["bundle"];
  readonly job: JobId | undefined;
  readonly infeasibleMs: number;
  /** No node can take it. */
  infeasibleSinceMs: number | undefined;
  readonly priority: number;
  readonly preemptAfterMs: number;
  /** Since when it waits, without having been granted any more. */
  waitingSinceMs: number | undefined;
  /** It has waited so long that work of lower priority ends for it, at these nodes: for so many leases, since when. */
  isUrgent: boolean;
  readonly planned: Map<NodeId, number[]>;
  lookedAtMs: number;
  /** How many leases the quota of its job allows. */
  allowed: number;
  wanted: number;
  granted: ReadonlyMap<NodeId, number>;
  /** What the node was told last. */
  told: string;
}

/** What the program of a job has said of how long what it asks for waits. */
export interface JobPatience {
  readonly infeasibleMs?: number | undefined;
  /** Before work of lower priority of other jobs ends for it; default for ever. */
  readonly preemptAfterMs: number;
}

export class LeaseDivisions {
  readonly view = new ClusterView();
  /** What may end for others, as nodes say. */
  readonly preemptions = new Preemptions(this.view);
  private readonly divider = new LeaseDivider(this.view);
  private readonly asks = new Map<NodeId, Map<string, Ask>>();
  private readonly send: (to: NodeId, message: LeasesDivided) => void;
  private readonly nowMs: () => number;
  private readonly quotas: Quotas;
  private readonly patienceOf: (job: JobId) => JobPatience | undefined;
  private quotaVersion = 0;
  /** Of what does not run in placement groups. */
  private readonly byJob = new Map<JobId, Set<Ask>>();
  /** Those that wait for a node that could take them. */
  private readonly infeasible = new Set<Ask>();
  private roomVersion = 0;
  private haveGroupsChanged = false;
  /** Of what runs in placement groups. */
  private groupDivider: GroupDivider | undefined;

  /** @param patienceOf of jobs that are known here; where it says nothing, what the node that asks has said counts. */
  constructor(
    send: (to: NodeId, message: LeasesDivided) => void,
    nowMs: () => number,
    quotas = new Quotas(),
    patienceOf: (job: JobId) => JobPatience | undefined = () => undefined,
  ) {
    this.send = send;
    this.quotas = quotas;
    this.patienceOf = patienceOf;
    this.nowMs = nowMs;
  }

  /** Who says where there is room in placement groups. */
  set groups(room: GroupRoom) {
    this.groupDivider = new GroupDivider(room);
  }

  divide(node: NodeId, message: DivideLeases): void {
    const { key, wanted, granted, demand, job } = message;
    let asks = this.asks.get(node);
    if (!asks) {
      asks = new Map();
      this.asks.set(node, asks);
    }
    let ask = asks.get(key);
    if (!ask) {
      if (!demand) return;
      // A task of a task may be asked for by a node that knows its job by name only.
      const said = job === undefined ? undefined : this.patienceOf(job);
      ask = {
        node,
        key,
        ...placementOf(demand),
        locality: localityOf(demand, (tag) => this.nodeTagged(tag)),
        bundle: demand.placement?.bundle,
        job,
        infeasibleMs: said?.infeasibleMs ?? message.infeasibleMs ?? INFEASIBLE_MS,
        infeasibleSinceMs: undefined,
        priority: demand.priority,
        preemptAfterMs: said?.preemptAfterMs ?? message.preemptAfterMs ?? Number.POSITIVE_INFINITY,
        waitingSinceMs: undefined,
        isUrgent: false,
        planned: new Map(),
        lookedAtMs: Number.NEGATIVE_INFINITY,
        allowed: Number.POSITIVE_INFINITY,
        wanted,
        granted: new Map(),
        told: "",
      };
      asks.set(key, ask);
      if (job !== undefined && !ask.bundle) addTo(this.byJob, job, ask);
    }
    ask.wanted = wanted;
    const had = sum(ask.granted);
    this.take(ask, new Map(granted));
    ask.told = "";
    if (ask.job !== undefined && had > sum(ask.granted)) this.quotas.returned(ask.job);
    if (ask.job !== undefined && this.quotas.of(ask.job)) this.shareOut(ask.job);
    else this.tell(ask);
  }

  /** A node has granted some of what was asked for there. */
  granted(node: NodeId, { key, node: at, count }: LeasesGranted): void {
    const ask = this.asks.get(node)?.get(key);
    if (!ask || ask.bundle || count <= (ask.granted.get(at) ?? 0)) return;
    this.take(ask, new Map(ask.granted).set(at, count));
    this.divider.granted(nameOf(node, key), at, count);
  }

  private take(ask: Ask, granted: ReadonlyMap<NodeId, number>): void {
    for (const [node, count] of granted) {
      const more = count - (ask.granted.get(node) ?? 0);
      const planned = ask.planned.get(node);
      if (more > 0) planned?.splice(0, more);
    }
    const isServed = sum(granted) > sum(ask.granted);
    ask.granted = granted;
    if (missingOf(ask) <= 0) {
      ask.waitingSinceMs = undefined;
      ask.isUrgent = false;
      ask.planned.clear();
    } else if (isServed || ask.waitingSinceMs === undefined) ask.waitingSinceMs = this.nowMs();
  }

  /** What has waited long without room anywhere, work of lower priority ends for. */
  private preempt(): void {
    const nowMs = this.nowMs();
    for (const asks of this.asks.values()) {
      for (const ask of asks.values()) {
        const { bundle, waitingSinceMs, preemptAfterMs, node, key, strategy } = ask;
        if (bundle || waitingSinceMs === undefined || nowMs - waitingSinceMs < preemptAfterMs) continue;
        if (nowMs - ask.lookedAtMs < PREEMPT_LOOK_MS) continue;
        ask.lookedAtMs = nowMs;
        const withRoom = this.divider.withRoom(nameOf(node, key));
        const missing = missingOf(ask) - sum(withRoom);
        if (!ask.isUrgent && (missing <= 0 || !this.preemptions.mayHelp(ask))) continue;
        const only = typeof strategy === "object" && !strategy.soft ? strategy.nodeId : undefined;
        const hasChanged = this.preemptions.plan({ ...ask, only }, missing, withRoom, nowMs);
        if (ask.isUrgent && !hasChanged) continue;
        ask.isUrgent = true;
        this.tell(ask);
      }
    }
  }

  /** What the job may have is divided anew among what it asks for. */
  private shareOut(job: JobId): void {
    const asks = [...(this.byJob.get(job) ?? [])];
    const parts = this.quotas.divide(job, claimsOf(asks));
    const isLess = new Set<Ask>();
    for (const [index, ask] of asks.entries()) {
      const allowed = parts?.[index] ?? Number.POSITIVE_INFINITY;
      if (allowed < ask.allowed) isLess.add(ask);
      ask.allowed = allowed;
    }
    // What may have less hears of it before what may have more: its node refuses what is granted to it after that.
    for (const ask of isLess) this.tell(ask);
    for (const ask of asks) if (!isLess.has(ask)) this.tell(ask);
  }

  /** What the job asks for, as far as its quota is concerned. */
  claimsOf(job: JobId): Claim[] {
    return claimsOf([...(this.byJob.get(job) ?? [])]);
  }

  forget(node: NodeId, key: string): void {
    this.divider.forget(nameOf(node, key));
    this.groupDivider?.forget(nameOf(node, key));
    const ask = this.asks.get(node)?.get(key);
    if (ask) this.infeasible.delete(ask);
    this.asks.get(node)?.delete(key);
    if (ask?.job === undefined || !removeFrom(this.byJob, ask.job, ask)) return;
    // What it had, others may have.
    this.quotaVersion = -1;
  }

  nodeGone(node: NodeId): void {
    for (const key of [...(this.asks.get(node)?.keys() ?? [])]) this.forget(node, key);
    this.asks.delete(node);
    this.preemptions.nodeGone(node);
  }

  /** Things may run elsewhere in their groups than before. */
  groupsChanged(): void {
    this.haveGroupsChanged = true;
  }

  /** Call it several times a second. */
  tick(): void {
    if (this.haveGroupsChanged) {
      this.haveGroupsChanged = false;
      for (const asks of this.asks.values()) for (const ask of asks.values()) if (ask.bundle) this.tell(ask);
    }
    this.refuseLate();
    this.preempt();
    if (this.quotas.version !== this.quotaVersion) {
      this.quotaVersion = this.quotas.version;
      for (const [job, asks] of this.byJob) {
        if (this.quotas.of(job) || [...asks].some(({ allowed }) => Number.isFinite(allowed))) this.shareOut(job);
      }
    }
    if (this.view.roomVersion === this.roomVersion) return;
    this.roomVersion = this.view.roomVersion;
    const waiting = [...this.asks.values()].flatMap((asks) =>
      [...asks.values()].filter(({ bundle, wanted, granted }) => !bundle && wanted > sum(granted)),
    );
    // What is urgent has the first choice.
    const urgent = waiting.filter(({ isUrgent }) => isUrgent).sort((a, b) => b.priority - a.priority);
    for (const ask of [...urgent, ...waiting.filter(({ isUrgent }) => !isUrgent)]) this.tell(ask);
    // What was let go of and held again while dividing is no new room.
    this.roomVersion = this.view.roomVersion;
  }

  /**
   * Why leases of a node's demand wait, or why the node `at` was chosen for one: control decided it, or the node by itself, since
   * it was less than half in use.
   */
  explain(node: NodeId, key: string, demand: Demand, at: NodeId | undefined): Explained {
    const { view, divider } = this;
    const name = nameOf(node, key);
    const request = { ...placementOf(demand), from: node, locality: localityOf(demand, (tag) => this.nodeTagged(tag)) };
    if (at === undefined) {
      const ask = this.asks.get(node)?.get(key);
      const explained = divider.explain(name) ?? explainNow(view, request);
      const why = ask?.isUrgent ? this.withUrgency(ask, explained) : explained;
      if (!ask || ask.allowed >= ask.wanted) return why;
      const quota = `${this.quotas.describe(ask.job)} ${ask.shape.name} may have ${ask.allowed} of the ${ask.wanted} leases that it could use.`;
      // What stands in the way is no node.
      return ask.allowed <= sum(ask.granted)
        ? { sentences: [quota], considered: [] }
        : { ...why, sentences: [quota, ...why.sentences] };
    }
    const decided = divider.explainAt(name, at);
    if (decided) return decided;
    const there = view.node(at);
    if (there && at === node && !demand.placement && demand.near === undefined)
      return explainPacked(view, request, there);
    const sentence = `Why ${there?.name ?? `node ${at}`} was chosen is not remembered.`;
    return { sentences: [sentence], considered: [] };
  }

  private withUrgency({ planned, priority }: Ask, why: Explained): Explained {
    const at = [...planned].map(([id, { length }]) => `${length} at ${this.view.node(id)?.name ?? id}`);
    const where = at.length > 0 ? `, for ${at.join(", ")}` : ", and finds none";
    const sentence = `It has waited so long that what may run again and has a lower priority than ${priority} in other jobs ends for it${where}.`;
    return { ...why, sentences: [...why.sentences, sentence] };
  }

  private nodeTagged(tag: string): NodeId | undefined {
    for (const { id } of this.view.nodes()) if (nodeTag(id) === tag) return id;
    return undefined;
  }

  private tell(ask: Ask): void {
    const { node, key, shape, strategy, locality, granted, bundle } = ask;
    // Of a quota, what it has in hand is allowed for as well.
    const isLimited = Number.isFinite(ask.allowed);
    const wanted = isLimited ? Math.min(Math.max(ask.wanted, sum(granted)), ask.allowed) : ask.wanted;
    const inGroup =
      bundle && this.groupDivider?.divide(nameOf(node, key), { bundle, units: shape.units, wanted, granted });
    const division =
      inGroup ??
      this.divider.divide(nameOf(node, key), {
        shape,
        strategy,
        locality,
        from: node,
        wanted,
        granted,
      });
    const message: LeasesDivided = {
      ...{ t: "leases-divided", key, ...this.answer(ask, division) },
      ...(isLimited && { limited: true }),
      ...(ask.isUrgent && { urgent: true }),
    };
    // How long it still waits is no news.
    const told = JSON.stringify([
      message.at,
      message.refused ?? null,
      message.infeasible?.message,
      message.limited,
      ask.isUrgent,
    ]);
    if (told === ask.told) return;
    ask.told = told;
    this.send(node, message);
  }

  /** What no node can take is refused when none has joined that can. */
  private answer(ask: Ask, division: Division | GroupDivision): Pick<LeasesDivided, "at" | "refused" | "infeasible"> {
    const { infeasibleMs, strategy, bundle } = ask;
    this.infeasible.delete(ask);
    if (division.kind === "divided") {
      // What wants nothing now may want the same again.
      if (ask.wanted > sum(ask.granted)) ask.infeasibleSinceMs = undefined;
      if (!ask.isUrgent) return { at: [...division.at] };
      return { at: [...moveTo(ask, division.at, this.divider.withRoom(nameOf(ask.node, ask.key)))] };
    }
    const { code, message } = division;
    // One node that was named will not be another; and groups have waited before they are infeasible.
    const isFinal = code !== "INFEASIBLE" || typeof strategy === "object" || bundle !== undefined;
    if (isFinal) return { at: [], refused: { code, message } };
    const nowMs = this.nowMs();
    ask.infeasibleSinceMs ??= nowMs;
    const refusedInMs = ask.infeasibleSinceMs + infeasibleMs - nowMs;
    if (refusedInMs <= 0) return { at: [], refused: { code, message, mayChange: true } };
    this.infeasible.add(ask);
    return { at: [...ask.granted], infeasible: { message, refusedInMs } };
  }

  private refuseLate(): void {
    const nowMs = this.nowMs();
    for (const ask of [...this.infeasible]) {
      if (nowMs - (ask.infeasibleSinceMs ?? nowMs) >= ask.infeasibleMs) this.tell(ask);
    }
  }

  /** What is asked for and not granted. */
  *waiting(): Generator<Waiting> {
    for (const asks of this.asks.values()) {
      for (const { job, wanted, granted, allowed, shape, strategy, locality, node, bundle } of asks.values()) {
        const count = wanted - sum(granted);
        const why = allowed <= sum(granted) ? this.quotas.describe(job) : undefined;
        const request = { shape, strategy, locality, from: node };
        if (count > 0) yield { kind: "task", job, count, request, groupId: bundle?.groupId, why };
      }
    }
  }
}

const claimsOf = (asks: readonly Ask[]): Claim[] =>
  asks.map(({ shape, priority, wanted, granted, allowed }) => ({
    ...{ units: shape.units, priority, wanted, allowed },
    granted: sum(granted),
  }));

const missingOf = ({ wanted, allowed, granted }: Ask): number => Math.min(wanted, allowed) - sum(granted);

/** What has waited long is looked at this often. */
const PREEMPT_LOOK_MS = 500;
/** Of a node that does not say how long. */
const INFEASIBLE_MS = 10_000;

const nameOf = (node: NodeId, key: string): string => `${node}/${key}`;
