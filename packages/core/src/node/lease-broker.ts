/**
 * Where the leases come from that the owners of this node ask for: from its own lease engine, and from those of other
 * nodes. Pure: what it does to the world is a call of its effects.
 *
 * 1. An owner says how many leases of a shape it could use. What is little enough for this node is asked for here at once;
 *    control is asked to divide the rest, and says how many at which node.
 * 2. At another node the owner is a client like any other. A lease that is granted there gets an id of this node's; what is
 *    said of it goes both ways under that.
 * 3. A node that dies takes its leases with it: their owners are told.
 *
 * A node by itself asks its own engine for everything, and while control is away a node counts on itself alone.
 */

import type { JobId, LeaseId, NodeId, ProcessId } from "../base/ids.ts";
import { sum } from "../base/sum.ts";
import type {
  DivideLeases,
  LeaseAsk,
  LeaseGiveBack,
  LeaseKeptThere,
  LeasesDivided,
  LeasesGranted,
} from "../wire/cluster-messages.ts";
import type {
  Demand,
  LeaseGranted,
  LeaseInfeasible,
  LeaseLost,
  LeasePreempted,
  LeaseQuestion,
  LeaseReclaimed,
  LeaseRefused,
  LeaseRevoked,
  WorkerAddress,
  WorkerDeath,
} from "../wire/messages.ts";

/** What an engine says of leases to a client. */
export type LeaseNotice =
  | LeaseGranted
  | LeaseRevoked
  | LeasePreempted
  | LeaseQuestion
  | LeaseLost
  | LeaseReclaimed
  | LeaseRefused;

const LEASE_NOTICES: ReadonlySet<string> = new Set<LeaseNotice["t"]>([
  "lease-granted",
  "lease-revoked",
  "lease-preempted",
  "lease-question",
  "lease-lost",
  "lease-reclaimed",
  "lease-refused",
]);
export const isLeaseNotice = (message: { readonly t: string }): message is LeaseNotice => LEASE_NOTICES.has(message.t);

export interface LeaseBrokerEffects {
  /** It is a node of a cluster: what must be somewhere in particular is control's to place, if this is the only node too. */
  readonly hasControl: boolean;
  /** To this node's engine. */
  demandHere(
    client: ProcessId,
    shape: number,
    demand: Demand,
    wanted: number,
    preemptAfterMs: number | undefined,
  ): void;
  /** To this node's engine: nothing is asked for under the shape any more. */
  overHere(client: ProcessId, shape: number): void;
  keptHere(client: ProcessId, leaseId: LeaseId, forMs: number | undefined): void;
  returnHere(client: ProcessId, leaseId: LeaseId, retire: boolean): void;
  /** To another node. */
  toNode(node: NodeId, message: LeaseAsk | LeaseGiveBack | LeaseKeptThere): void;
  divide(message: DivideLeases): void;
  /** Of what control has divided. */
  granted(message: LeasesGranted): void;
  /** The owner asks for nothing under the key any more. */
  forget(key: string): void;
  tell(client: ProcessId, notice: LeaseNotice | LeaseInfeasible): void;
  /** The job has a quota: control is asked for all that it wants. */
  isLimited(job: JobId): boolean;
  /** How long what no node can take waits for one that can. */
  infeasibleMs(job: JobId): number;
  /** How long what has room nowhere waits before work of lower priority of other jobs is ended for it. */
  preemptAfterMs(job: JobId): number | undefined;
  /** How many leases of the demand this node takes without asking control: until it is half in use. */
  packable(demand: Demand): number;
  namespaceOf(job: JobId): string;
  /** Why this node by itself will not do for the demand, which wants to be somewhere in particular. */
  misplaced(demand: Demand): Pick<LeaseRefused, "code" | "message"> | undefined;
}

/** Leases of another node have ids from here on, so that they are none of this node's engine. */
const FOREIGN_IDS_FROM = 2 ** 40;
/** Control is to be asked anew, with all that it needs, whether the answer matters here or not. */
const AGAIN = "again";
/** It has heard since of leases that were granted: whatever is so next is news to it. */
const HEARD = "heard";

interface Part {
  /**
   * As the node was last told; undefined when it may count otherwise: with a lease that ended there it has taken one off,
   * and what was said to it in the meantime may have come before that, or after.
   */
  wanted: number | undefined;
  /** As the node was last told. */
  preemptAfterMs: number | undefined;
  readonly held: Set<LeaseId>;
  /** That workers of other nodes have ended, while the owner waits for what it had sent there to come back. */
  readonly ending: Set<LeaseId>;
}

interface Ask {
  readonly key: string;
  readonly client: ProcessId;
  readonly job: JobId;
  readonly shape: number;
  readonly demand: Demand;
  wanted: number;
  /** Its owner asks by it no more: it is forgotten with its last lease. */
  isOver: boolean;
  readonly parts: Map<NodeId, Part>;
  /** By the quota of its job; what it holds beyond the division has been called back. */
  isLimited: boolean;
  readonly calledBack: Set<LeaseId>;
  /** Control has it that work of lower priority makes room for it. */
  isUrgent: boolean;
  /** What control said last. */
  division: ReadonlyMap<NodeId, number> | undefined;
  /** What control was asked last; "" when it was asked nothing, so that it has nothing to forget. */
  asked: string;
}

interface Foreign {
  readonly ask: Ask;
  readonly node: NodeId;
  /** Its id there. */
  readonly leaseId: LeaseId;
  readonly worker: WorkerAddress;
}

export class LeaseBroker {
  private readonly here: NodeId;
  private readonly effects: LeaseBrokerEffects;
  private readonly asks = new Map<ProcessId, Map<number, Ask>>();
  private readonly byKey = new Map<string, Ask>();
  private readonly foreign = new Map<LeaseId, Foreign>();
  private readonly ids = new Map<string, LeaseId>();
  private nextId = FOREIGN_IDS_FROM;
  /** There are other nodes, and control says where to go. */
  private isClustered = false;
  /** Nothing more is to run here. */
  private isDraining = false;

  constructor(here: NodeId, effects: LeaseBrokerEffects) {
    this.here = here;
    this.effects = effects;
  }

  /** Control can be asked, and there is more than this node; or not. */
  clustered(isClustered: boolean): void {
    if (isClustered === this.isClustered) return;
    this.isClustered = isClustered;
    for (const ask of this.byKey.values()) {
      ask.division = undefined;
      if (ask.asked !== "") ask.asked = AGAIN;
      this.settle(ask);
    }
  }

  /** Control has taken this node in, for the first time or again: it may know nothing of what was said to it before. */
  welcomed(): void {
    for (const ask of this.byKey.values()) {
      if (ask.asked === "") continue;
      ask.asked = AGAIN;
      this.settle(ask);
    }
  }

  /** This node takes nothing more: what its owners want, and what they hold here, is to be had elsewhere. */
  drain(): void {
    this.isDraining = true;
    for (const ask of this.byKey.values()) this.settle(ask);
  }

  // ── owners of this node ────────────────────────────────────────────────────────────────────────────────────────────

  demand(
    client: ProcessId,
    job: JobId,
    shape: number,
    demand: Demand | undefined,
    wanted: number,
    isOver = false,
  ): void {
    let shapes = this.asks.get(client);
    if (!shapes) {
      shapes = new Map();
      this.asks.set(client, shapes);
    }
    let ask = shapes.get(shape);
    if (!ask) {
      if (!demand) return;
      const key = `${client}/${shape}`;
      ask = {
        ...{ key, client, job, shape, demand, wanted, isOver, parts: new Map(), division: undefined, asked: "" },
        ...{ isLimited: false, calledBack: new Set(), isUrgent: false },
      };
      shapes.set(shape, ask);
      this.byKey.set(key, ask);
    }
    ask.wanted = wanted;
    ask.isOver = isOver;
    this.settle(ask);
    this.forgetIfOver(ask);
  }

  private forgetIfOver(ask: Ask): void {
    const { client, shape, parts } = ask;
    if (!ask.isOver || [...parts.values()].some(({ held, ending }) => held.size + ending.size > 0)) return;
    if (ask.asked !== "") this.effects.forget(ask.key);
    ask.asked = "";
    for (const [node, part] of parts) {
      if (node === this.here) this.effects.overHere(client, shape);
      else this.tellPart(ask, node, part, 0);
    }
    this.byKey.delete(ask.key);
    this.asks.get(client)?.delete(shape);
  }

  /** What runs in a group may be refused now. */
  groupsChanged(): void {
    for (const ask of this.byKey.values()) if (ask.demand.placement?.bundle) this.settle(ask);
  }

  /** What this node's engine says to an owner. */
  fromHere(client: ProcessId, notice: LeaseNotice): void {
    const shapes = this.asks.get(client);
    if (notice.t === "lease-granted") {
      const ask = shapes?.get(notice.shape);
      if (ask && isTooMuch(ask)) {
        this.effects.returnHere(client, notice.leaseId, false);
        this.part(ask, this.here).wanted = undefined;
        this.settle(ask);
        return;
      }
      if (ask) this.granted(ask, this.here, notice.leaseId);
    } else if (isAnEnd(notice)) {
      this.endedHere(client, notice.leaseId);
      const ask = notice.t === "lease-reclaimed" ? shapes?.get(notice.shape) : undefined;
      // The owner says anew what it wants, and then so does this.
      if (ask) this.part(ask, this.here).wanted = undefined;
      if (ask && this.isDraining) this.settle(ask);
    }
    this.effects.tell(client, notice);
  }

  private granted(ask: Ask, node: NodeId, leaseId: LeaseId): void {
    const { held } = this.part(ask, node);
    held.add(leaseId);
    // What this node takes by itself, control has not held for it.
    const { key, division, asked } = ask;
    if (held.size > (division?.get(node) ?? 0) || asked === "" || asked === AGAIN) return;
    ask.asked = HEARD;
    this.effects.granted({ t: "leases-granted", key, node, count: held.size });
  }

  private endedHere(client: ProcessId, leaseId: LeaseId): void {
    for (const ask of this.asks.get(client)?.values() ?? []) {
      if (ask.parts.get(this.here)?.held.delete(leaseId)) this.forgetIfOver(ask);
    }
  }

  giveBack(client: ProcessId, leaseId: LeaseId, retire: boolean): void {
    const isEnding = this.isEnding(leaseId);
    const foreign = this.drop(leaseId);
    if (foreign) {
      this.lessOf(foreign.ask, leaseId);
      if (isEnding) return;
      this.effects.toNode(foreign.node, { t: "lease-give-back", client, leaseId: foreign.leaseId, retire });
      return;
    }
    const ask = [...(this.asks.get(client)?.values() ?? [])].find(({ parts }) =>
      parts.get(this.here)?.held.has(leaseId),
    );
    this.endedHere(client, leaseId);
    this.lessOf(ask, leaseId);
    this.effects.returnHere(client, leaseId, retire);
    // Its owner wants as many as before, and gets none for it here.
    if (this.isDraining) for (const ask of this.asks.get(client)?.values() ?? []) this.settle(ask);
  }

  /** Its owner does not give it up for others. */
  kept(client: ProcessId, leaseId: LeaseId, forMs: number | undefined): void {
    const foreign = this.foreign.get(leaseId);
    if (!foreign) this.effects.keptHere(client, leaseId, forMs);
    else {
      const about = { client, leaseId: foreign.leaseId, ...(forMs !== undefined && { forMs }) };
      this.effects.toNode(foreign.node, { t: "lease-kept-there", ...about });
    }
  }

  clientGone(client: ProcessId): void {
    for (const ask of this.asks.get(client)?.values() ?? []) {
      ask.wanted = 0;
      ask.isOver = false;
      if (ask.asked !== "") this.effects.forget(ask.key);
      for (const [node, part] of ask.parts) {
        for (const leaseId of [...part.held, ...part.ending]) this.drop(leaseId);
        if (node !== this.here && part.wanted !== 0) this.tellPart(ask, node, part, 0);
      }
      this.byKey.delete(ask.key);
    }
    this.asks.delete(client);
  }

  /** For explanations: what an owner asks for under a shape, and where more of it is missing. */
  asked(
    client: ProcessId,
    shape: number,
  ): { readonly key: string; readonly demand: Demand; readonly waitsAt: readonly NodeId[] } | undefined {
    const ask = this.asks.get(client)?.get(shape);
    if (!ask) return undefined;
    const waitsAt = [...ask.parts].flatMap(([node, { wanted = 0, held }]) => (wanted > held.size ? [node] : []));
    return { key: ask.key, demand: ask.demand, waitsAt };
  }

  /** Where the worker of a lease lives that another node granted. */
  nodeOf(workerId: string): NodeId | undefined {
    for (const { worker, node } of this.foreign.values()) if (worker.workerId === workerId) return node;
    return undefined;
  }

  // ── control and other nodes ────────────────────────────────────────────────────────────────────────────────────────

  divided({ key, at, refused, infeasible, limited, urgent }: LeasesDivided): void {
    const ask = this.byKey.get(key);
    if (!ask) return;
    if (refused) {
      if (!refused.mayChange) {
        // Nodes that were asked before would keep room for it.
        ask.wanted = 0;
        this.settle(ask);
      }
      this.effects.tell(ask.client, {
        t: "lease-refused",
        shape: ask.shape,
        ...refused,
      });
      return;
    }
    if (infeasible) this.effects.tell(ask.client, { t: "lease-infeasible", shape: ask.shape, ...infeasible });
    ask.division = new Map(at);
    ask.isLimited = limited ?? false;
    ask.isUrgent = urgent ?? false;
    this.settle(ask);
    if (limited) this.callBack(ask, ask.division);
  }

  /** Other jobs have quotas than before. */
  limitsChanged(): void {
    for (const ask of this.byKey.values()) this.settle(ask);
  }

  /** What is held beyond what the quota allows comes back when what runs there has ended. */
  private callBack(ask: Ask, division: ReadonlyMap<NodeId, number>): void {
    for (const [node, { held }] of ask.parts) {
      const kept = [...held].filter((id) => !ask.calledBack.has(id));
      for (const leaseId of kept.slice(division.get(node) ?? 0)) {
        ask.calledBack.add(leaseId);
        this.effects.tell(ask.client, { t: "lease-revoked", leaseId });
      }
    }
  }

  /** Before a lease is given back it is not asked for again. */
  private lessOf(ask: Ask | undefined, leaseId: LeaseId): void {
    if (!ask || this.byKey.get(ask.key) !== ask) return;
    ask.calledBack.delete(leaseId);
    if (ask.isLimited || this.effects.isLimited(ask.job)) this.settle(ask);
  }

  /** What the engine of another node says to an owner of this one. */
  fromNode(node: NodeId, client: ProcessId, notice: LeaseNotice): void {
    switch (notice.t) {
      case "lease-granted": {
        const ask = this.asks.get(client)?.get(notice.shape);
        if (!ask || isTooMuch(ask)) {
          this.effects.toNode(node, { t: "lease-give-back", client, leaseId: notice.leaseId, retire: false });
          if (ask) this.part(ask, node).wanted = undefined;
          if (ask) this.settle(ask);
          return;
        }
        const id = this.nextId++ as LeaseId;
        this.foreign.set(id, { ask, node, leaseId: notice.leaseId, worker: notice.worker });
        this.ids.set(foreignName(node, notice.leaseId), id);
        this.granted(ask, node, id);
        this.effects.tell(client, { ...notice, leaseId: id, idThere: notice.leaseId });
        return;
      }
      case "lease-refused": {
        const ask = this.asks.get(client)?.get(notice.shape);
        // Of a demand that cannot be there after all, control will see another way. An environment fails for all.
        if (!ask || notice.code !== "RUNTIME_ENV") return;
        this.part(ask, node).wanted = undefined;
        this.effects.tell(client, notice);
        return;
      }
      default: {
        const id = this.ids.get(foreignName(node, notice.leaseId));
        const foreign = id === undefined ? undefined : this.foreign.get(id);
        if (id === undefined || !foreign) {
          // It was given back meanwhile. The node takes one off all the same, and the owner has no reason to say anything.
          const ask = notice.t === "lease-reclaimed" ? this.asks.get(client)?.get(notice.shape) : undefined;
          if (!ask) return;
          this.part(ask, node).wanted = undefined;
          this.settle(ask);
          return;
        }
        if (notice.t === "lease-reclaimed") this.end(id, foreign);
        else if (isAnEnd(notice)) this.drop(id);
        this.effects.tell(client, { ...notice, leaseId: id });
      }
    }
  }

  nodeDied(node: NodeId, name: string): void {
    for (const [leaseId, { ask, worker, node: of }] of [...this.foreign]) {
      if (of !== node) continue;
      this.drop(leaseId);
      const death: WorkerDeath = {
        workerId: worker.workerId,
        pid: worker.pid,
        exitCode: null,
        signal: null,
        stderrTail: "",
        lostWith: name,
      };
      this.effects.tell(ask.client, { t: "lease-lost", leaseId, death });
    }
    for (const ask of this.byKey.values()) {
      if (!ask.parts.delete(node)) continue;
      // What waits at others goes on waiting there. Control divides it anew, and says so even if that is no news to it.
      const division = new Map(ask.division);
      division.delete(node);
      ask.division = division;
      if (ask.asked !== "") ask.asked = AGAIN;
      this.settle(ask);
    }
  }

  // ── dividing ───────────────────────────────────────────────────────────────────────────────────────────────────────

  private settle(ask: Ask): void {
    const { here } = this;
    const { placement, near } = ask.demand;
    const isLimited = ask.isLimited || this.effects.isLimited(ask.job);
    const isDivided = this.isClustered || (this.effects.hasControl && (placement !== undefined || isLimited));
    const targets = new Map<NodeId, number>(isDivided ? ask.division : undefined);
    if (isDivided) {
      const { held } = this.part(ask, here);
      const more = this.isDraining || placement || near || isLimited ? 0 : this.effects.packable(ask.demand);
      targets.set(here, Math.max(targets.get(here) ?? 0, held.size + more));
      this.askControl(ask);
    } else {
      const misplaced = this.effects.misplaced(ask.demand);
      if (misplaced) this.effects.tell(ask.client, { t: "lease-refused", shape: ask.shape, ...misplaced });
      else targets.set(here, ask.wanted);
    }
    this.trim(ask, targets);
    // Of a cluster control decides where.
    const preemptAfterMs = isDivided ? (ask.isUrgent ? 0 : undefined) : this.effects.preemptAfterMs(ask.job);
    for (const node of new Set([...ask.parts.keys(), ...targets.keys()])) {
      const part = this.part(ask, node);
      const wanted = targets.get(node) ?? 0;
      const isOther = preemptAfterMs !== part.preemptAfterMs && wanted > part.held.size;
      if (part.wanted !== wanted || isOther) this.tellPart(ask, node, part, wanted, preemptAfterMs);
    }
  }

  /** No more in all than is wanted, or allowed: first what is not granted is taken back, and elsewhere before here. */
  private trim(ask: Ask, targets: Map<NodeId, number>): void {
    for (const [node, { held }] of ask.parts) {
      if (held.size > (targets.get(node) ?? 0)) targets.set(node, held.size);
    }
    let surplus = sum(targets) - Math.min(ask.wanted, allowedOf(ask));
    const order = [...targets.keys()].sort((a, b) => Number(a === this.here) - Number(b === this.here));
    for (const isHeldToo of [false, true]) {
      for (const node of order) {
        const target = targets.get(node) ?? 0;
        const spare = isHeldToo ? target : Math.max(0, target - this.part(ask, node).held.size);
        const less = Math.max(0, Math.min(surplus, spare));
        targets.set(node, target - less);
        surplus -= less;
      }
    }
  }

  private askControl(ask: Ask): void {
    const granted = [...ask.parts].flatMap(([node, { held }]) => (held.size > 0 ? [[node, held.size] as const] : []));
    const isEnough = ask.wanted <= granted.reduce((sum, [, count]) => sum + count, 0);
    if (isEnough && ask.asked === "") return;
    const asked = JSON.stringify([ask.wanted, granted]);
    if (asked === ask.asked) return;
    const { key, demand, wanted, job } = ask;
    const isFirst = ask.asked === "" || ask.asked === AGAIN;
    ask.asked = asked;
    const preemptAfterMs = this.effects.preemptAfterMs(job);
    const about = isFirst && {
      ...{ demand, job, infeasibleMs: this.effects.infeasibleMs(job) },
      ...(preemptAfterMs !== undefined && { preemptAfterMs }),
    };
    this.effects.divide({ t: "divide-leases", key, wanted, granted, ...about });
  }

  private tellPart(ask: Ask, node: NodeId, part: Part, wanted: number, preemptAfterMs?: number): void {
    const { client, job, shape, demand } = ask;
    part.wanted = wanted;
    part.preemptAfterMs = preemptAfterMs;
    if (node === this.here) this.effects.demandHere(client, shape, demand, wanted, preemptAfterMs);
    else {
      const namespace = this.effects.namespaceOf(job);
      const about = {
        client,
        jobId: job,
        namespace,
        shape,
        demand,
        wanted,
        ...(ask.isOver && { isOver: true as const }),
      };
      this.effects.toNode(node, { t: "lease-ask", ...about, ...(preemptAfterMs === 0 && { urgent: true }) });
    }
  }

  private part(ask: Ask, node: NodeId): Part {
    let part = ask.parts.get(node);
    if (!part) {
      part = { wanted: 0, preemptAfterMs: undefined, held: new Set(), ending: new Set() };
      ask.parts.set(node, part);
    }
    return part;
  }

  private isEnding(leaseId: LeaseId): boolean {
    const foreign = this.foreign.get(leaseId);
    return foreign?.ask.parts.get(foreign.node)?.ending.has(leaseId) ?? false;
  }

  /** It counts no more, but should its node die before what was sent there has come back, its owner must hear of that. */
  private end(leaseId: LeaseId, { ask, node, leaseId: idThere }: Foreign): void {
    const part = this.part(ask, node);
    part.wanted = undefined;
    part.held.delete(leaseId);
    part.ending.add(leaseId);
    this.ids.delete(foreignName(node, idThere));
  }

  private drop(leaseId: LeaseId): Foreign | undefined {
    const foreign = this.foreign.get(leaseId);
    if (!foreign) return undefined;
    this.foreign.delete(leaseId);
    this.ids.delete(foreignName(foreign.node, foreign.leaseId));
    const part = foreign.ask.parts.get(foreign.node);
    part?.held.delete(leaseId);
    part?.ending.delete(leaseId);
    this.forgetIfOver(foreign.ask);
    return foreign;
  }
}

/** By the quota of its job. */
const allowedOf = ({ isLimited, division }: Ask): number =>
  isLimited && division ? sum(division) : Number.POSITIVE_INFINITY;

/** It has as much as it is allowed: it was granted when that was more. */
const isTooMuch = (ask: Ask): boolean =>
  [...ask.parts.values()].reduce((held, part) => held + part.held.size, 0) >= allowedOf(ask);

const isAnEnd = (notice: LeaseNotice): notice is LeaseLost | LeaseReclaimed =>
  notice.t === "lease-lost" || notice.t === "lease-reclaimed";

const foreignName = (node: NodeId, leaseId: LeaseId): string => `${node}/${leaseId}`;
