/**
 * The head at work: it hosts the engines that decide for all nodes, passes messages between them and the nodes, and writes
 * down what they say must last. It decides nothing itself.
 */
import { type Clock, every, machineClock, wallMs as machineWallMs } from "../base/clock.ts";
import { InvalidOptionError, isError, type MobulaError, NodeNotFoundError } from "../base/errors.ts";
import type { JobId, NodeId } from "../base/ids.ts";
import { PREEMPT_AFTER_MS } from "../base/limits.ts";
import { fromUnits, type ResourceUnits, sumOfUnits, toUnits } from "../base/resources.ts";
import { needsVersion } from "../base/wire-version.ts";
import {
  createMembers,
  isAboutKv,
  KvQuestions,
  type Member,
  type Members,
  type MembersEffects,
  NODE_PREFIX,
  nodeInfo,
  persistThrough,
  type StateStore,
  stateId,
} from "../control/mod.ts";
import { Asks, AuditNotes, answerTo, type NodeLog } from "../node/mod.ts";
import type { Peer, PeerHandlers } from "../transport/mod.ts";
import type { FromControl, HeadIdentity, ToControl } from "../wire/cluster-messages.ts";
import { type Answer, type HeadsInfo, pack, type Queries, type Query, unpack } from "../wire/mod.ts";
import { HeadActors } from "./actors.ts";
import { BackupReader } from "./backup.ts";
import type { Host } from "./door.ts";
import { HeadExplanations } from "./explanations.ts";
import type { Gate } from "./gate.ts";
import { earmarkAfterMs, HeadGroups, isAboutGroups } from "./groups.ts";
import { Heads } from "./heads.ts";
import { type JobPatience, LeaseDivisions } from "./lease-divisions.ts";
import type { LoopLag } from "./loop-lag.ts";
import { findProcesses } from "./processes.ts";
import type { Waiter } from "./quota-turns.ts";
import { Quotas } from "./quotas.ts";
import type { Refusals } from "./refusals.ts";
import { storeRooms } from "./store-rooms.ts";
import { sumUp } from "./waiting-demands.ts";

export interface HeadRuntimeOptions {
  readonly log: Pick<NodeLog, "write">;
  readonly refusals: Pick<Refusals, "recent">;
  readonly state: Pick<StateStore, "epoch" | "get" | "list" | "commit" | "snapshot">;
  readonly gate: Pick<Gate, "isOpen" | "pass">;
  /** Where the state is, for people; null when it is in the head's own folder. */
  readonly place: string | null;
  readonly loopLag: Pick<LoopLag, "maxMs">;
  /** Left out: that of the machine. */
  readonly clock?: Clock;
  /** Milliseconds since 1970. Left out: by the clock, if there is one, or the machine's. */
  readonly wallMs?: () => number;
  /** Left out: Math.random. */
  readonly random?: () => number;
  /** Left out: as the environment says. */
  readonly earmarkAfterMs?: number | undefined;
}

const TICK_MS = 250;
/** Leases are divided anew so often while some are missing. */
const DIVIDE_MS = 50;
const NEVER = Number.POSITIVE_INFINITY;
const DRAIN_MS_MAX = 24 * 60 * 60_000;

/** A connection, or a session. */
type Way = Pick<Peer, "send" | "close" | "destroy">;

export class HeadRuntime implements Host {
  readonly who: HeadIdentity;
  private readonly options: HeadRuntimeOptions;
  private readonly persist: ReturnType<typeof persistThrough>;
  private readonly kv: KvQuestions;
  private readonly audit = new AuditNotes();
  private readonly clock: Clock;
  readonly members: Members;
  private readonly quotas = new Quotas();
  readonly divisions: LeaseDivisions;
  private limitedTold = "[]";
  private readonly patience = new Map<JobId, JobPatience>();
  private quotaVersion = 0;
  readonly actors: HeadActors;
  readonly groups: HeadGroups;
  private readonly asks: Asks;
  private readonly explanations: HeadExplanations;
  /** Nodes that have a session. */
  private readonly peers = new Map<NodeId, Way>();
  private readonly endTimers: readonly (() => void)[];
  private readonly tools = new Set<Way>();
  private readonly heads: Heads;
  private haveGroupsChanged = false;
  private isToldSuspended = false;
  /** Where it listens for nodes. */
  private stateService: string | null = null;
  /** Where it answers over HTTP. */
  private dashboard: string | undefined;

  /** @param address where this head is reached. @throws MobulaError when the state cannot be read. */
  static async open(options: HeadRuntimeOptions, address: () => string): Promise<HeadRuntime> {
    const runtime = new HeadRuntime(options, address, await stateId(options.state));
    runtime.members.restore(await options.state.list(NODE_PREFIX), runtime.clock.nowMs());
    const living = [...runtime.members.all()].filter(({ state }) => state !== "dead");
    // What they offer counts before they are back, or a demand would be called infeasible; none of it is free until they say so.
    for (const member of living) runtime.see(member);
    const livingIds = living.map(({ description }) => description.nodeId);
    await runtime.groups.recover(new Set(livingIds));
    await runtime.actors.recover(
      livingIds,
      [...runtime.members.all()].flatMap(({ state, description, heir }) =>
        state === "dead" && heir ? [[description.nodeId, heir] as const] : [],
      ),
    );
    for (const { key, value } of await options.state.list(QUOTA_PREFIX)) {
      runtime.quotas.change(key.slice(QUOTA_PREFIX.length) as JobId, unpack(value) as ResourceUnits);
    }
    return runtime;
  }

  private constructor(options: HeadRuntimeOptions, address: () => string, id: string) {
    this.options = options;
    const { log, state, gate, clock = machineClock } = options;
    const { wallMs = options.clock?.nowMs ?? machineWallMs } = options;
    this.clock = clock;
    const { later } = clock;
    this.persist = persistThrough(state, later);
    this.kv = new KvQuestions(state);
    this.divisions = new LeaseDivisions(
      (to, message) => this.send(to, message),
      clock.nowMs,
      this.quotas,
      (job) => this.patience.get(job),
    );
    const preemptAfterMs = (job: JobId): number => this.patience.get(job)?.preemptAfterMs ?? PREEMPT_AFTER_MS;
    this.asks = new Asks((to, query) => this.send(to, query), clock);
    this.who = { epoch: state.epoch, state: id };
    this.heads = new Heads(address, () => this.tellHeads([...this.peers.keys()]));
    const { view } = this.divisions;
    this.groups = new HeadGroups({
      state,
      view,
      quotas: {
        allows: ({ groupId, jobId, bundles, priority }) =>
          this.isAllowed({
            id: `group ${groupId}`,
            job: jobId,
            units: sumOfUnits(bundles.map(({ units }) => units)),
            priority,
          }),
        left: ({ groupId, jobId }) => this.quotas.withdraw(jobId, `group ${groupId}`, clock.nowMs()),
        charge: ({ jobId, bundles }, count) =>
          this.quotas.charge(jobId, sumOfUnits(bundles.map(({ units }) => units)), count),
        describe: ({ jobId }) => this.quotas.describe(jobId),
      },
      preemption: {
        afterMs: ({ jobId }) => preemptAfterMs(jobId),
        victimsFor: ({ jobId, priority }) =>
          this.divisions.preemptions.victims(jobId, priority, Number.POSITIVE_INFINITY),
      },
      nowMs: clock.nowMs,
      wallMs,
      earmarkAfterMs: options.earmarkAfterMs ?? earmarkAfterMs(),
      later,
      send: (to, message) => this.send(to, message),
      changed: () => {
        this.haveGroupsChanged = true;
        this.divisions.groupsChanged();
      },
      news: (message) => log.write("warn", message),
    });
    this.divisions.groups = this.groups.host;
    this.actors = new HeadActors({
      state,
      view,
      groups: this.groups.host,
      nowMs: wallMs,
      later,
      send: (to, message) => this.send(to, message),
      quotas: this.quotas,
      isAllowed: (waiter) => this.isAllowed(waiter),
      mayPreempt: (urgent) => this.divisions.preemptions.mayHelp(urgent),
      planPreemption: (urgent) => this.divisions.preemptions.plan(urgent, 1, new Map(), clock.nowMs()),
      preemptAfterMs,
      leftQuota: (job, id) => this.quotas.withdraw(job, id, clock.nowMs()),
      jobBegan: ({ jobId, quota, infeasibleTimeoutMs: infeasibleMs, preemptAfterMs = PREEMPT_AFTER_MS }) => {
        this.patience.set(jobId, { infeasibleMs, preemptAfterMs: preemptAfterMs < 0 ? NEVER : preemptAfterMs });
        this.quotas.jobBegan(jobId, quota);
        this.tellLimits();
      },
      jobEnded: (jobId) => {
        this.groups.host.jobEnded(jobId);
        this.quotas.jobEnded(jobId);
        this.patience.delete(jobId);
        this.persist([{ key: QUOTA_PREFIX + jobId, value: null }], () => {});
        this.tellLimits();
      },
      jobsKnown: (jobs) => this.groups.host.jobsKnown(jobs),
    });
    this.explanations = new HeadExplanations({
      divisions: this.divisions,
      members: () => this.members.all(),
      asks: this.asks,
      wallMs,
      actor: (actorId) => this.actors.explain(actorId),
      group: (groupId) => this.groups.host.explain(groupId),
    });
    const memberOptions = { epoch: state.epoch, hasHeirs: true };
    const effects: MembersEffects = {
      send: (to, message) => this.send(to, message),
      refuse: (to, message) => {
        log.write("warn", `node ${to} is refused: ${message.message}`);
        const peer = this.peers.get(to);
        gate.pass(() => {
          peer?.send(message);
          peer?.close();
        });
      },
      persist: this.persist,
      joined: (member) => {
        const { name, nodeId } = member.description;
        log.write("info", `node ${name} (${nodeId}) has joined`);
        this.see(member);
      },
      changed: (member) => this.see(member),
      died: ({ description, ending, heir }) => {
        log.write("warn", `node ${description.name} (${description.nodeId}) is dead: ${ending}`);
        this.divisions.view.apply({ kind: "node-died", nodeId: description.nodeId });
        this.divisions.nodeGone(description.nodeId);
        this.quotas.nodeGone(description.nodeId);
        this.groups.nodeDied(description.nodeId);
        this.actors.nodeDied(description.nodeId, description.name, heir);
        this.asks.nodeDied(description.nodeId);
        this.peers.get(description.nodeId)?.destroy();
      },
      forgotten: (nodeId) => this.actors.forget(nodeId),
    };
    this.members = createMembers(effects, memberOptions);
    const tick = (): void => {
      if (!gate.isOpen) return;
      this.members.tick(clock.nowMs());
      this.actors.tick();
    };
    const divide = (): void => {
      this.tellSuspended();
      if (!gate.isOpen) return;
      this.groups.host.tick();
      if (this.haveGroupsChanged) this.actors.groupsChanged();
      this.haveGroupsChanged = false;
      this.quotas.tick(clock.nowMs());
      this.divisions.tick();
      if (this.quotas.version !== this.quotaVersion) {
        this.quotaVersion = this.quotas.version;
        this.actors.quotasChanged();
        this.groups.host.quotasChanged();
      }
      this.actors.place();
    };
    this.endTimers = [every(TICK_MS, tick, clock), every(DIVIDE_MS, divide, clock)];
  }

  get isSuspended(): boolean {
    return !this.options.gate.isOpen;
  }

  /** Does nothing more; who is connected has to look for another head. */
  stop(): void {
    for (const end of this.endTimers) end();
    for (const peer of [...this.peers.values(), ...this.tools]) peer.destroy();
    this.heads.stop();
  }

  // ── connections ────────────────────────────────────────────────────────────────────────────────────────────────────

  node(peer: Way, nodeId: NodeId): PeerHandlers {
    // Of two sessions of one node the newer one counts: the older one's end has not been noticed.
    this.peers.get(nodeId)?.destroy();
    this.peers.set(nodeId, peer);
    return {
      onMessage: (message) => this.fromNode(nodeId, message as ToControl),
      onClose: (error) => {
        if (this.peers.get(nodeId) === peer) this.peers.delete(nodeId);
        // A network that breaks is nothing to speak of. It joins again.
        if (error && !isError(error, "CONNECTION_LOST")) {
          this.options.log.write("error", `what node ${nodeId} said could not be taken: ${error.message}`);
        }
      },
    };
  }

  tool(peer: Peer): PeerHandlers {
    this.tools.add(peer);
    const backup = new BackupReader(this.options.state);
    return {
      onMessage: (message) => {
        if (message.t !== "query") return;
        const reply = (answer: Answer): void => this.options.gate.pass(() => peer.send(answer));
        const query = message as Query;
        // What nodes pass on they have noted themselves.
        this.audit.heard(query, "tool", {});
        if (query.method === "backup") void backup.answer(query).then(reply);
        else if (isAboutQuotas(query)) void this.quota(query).then(reply);
        else if (isAboutKv(query)) void answerTo(query.id, () => this.kv.answer(query)).then(reply);
        else if (query.method === "explain-id") void this.explain(query).then(reply);
        else if (isAboutProcesses(query)) void this.lookInto(query).then(reply);
        else reply(this.answer(query));
      },
      onClose: () => {
        this.tools.delete(peer);
        void backup.end();
      },
    };
  }

  standby(peer: Peer, address: string): PeerHandlers {
    return this.heads.add(peer, address);
  }

  stateServiceAt(address: string | undefined, url: string): void {
    this.dashboard = url;
    this.stateService = address ?? null;
    for (const nodeId of this.peers.keys()) this.tellStateServiceTo(nodeId);
  }

  private tellStateServiceTo(nodeId: NodeId): void {
    const { wireVersion = 1 } = this.members.get(nodeId)?.description ?? {};
    if (wireVersion >= 2) this.send(nodeId, { t: "state-service", address: this.stateService });
  }

  private fromNode(nodeId: NodeId, message: ToControl): void {
    const nowMs = this.clock.nowMs();
    switch (message.t) {
      case "node-join":
        if (message.node.nodeId !== nodeId) return;
        // It says anew what its owners want: something that it said before may have been lost.
        this.divisions.nodeGone(nodeId);
        this.members.join(message, nowMs);
        if (this.isMember(nodeId)) {
          this.actors.nodeJoined(nodeId);
          this.groups.host.nodeReported(nodeId, message.use.bundles ?? [], true);
          this.groups.nodeJoined(nodeId);
        }
        this.tellHeads([nodeId]);
        if (this.stateService !== null) this.tellStateServiceTo(nodeId);
        this.tellLimitsTo(nodeId, this.quotas.limited());
        return;
      case "node-report":
        if (message.use === undefined) needsVersion(2, "a report of nothing new");
        if (message.use) {
          this.quotas.reported(nodeId, message.use.blocked ?? []);
          this.divisions.preemptions.reported(nodeId, message.use.preemptable ?? []);
        }
        this.members.report(nodeId, message.use, nowMs);
        if (this.isMember(nodeId)) this.groups.host.nodeReported(nodeId, message.use?.bundles ?? [], false);
        return;
      case "node-leave":
        this.members.left(nodeId, nowMs);
        return;
      case "find-node":
        this.members.find(nodeId, message.tag);
        return;
      case "node-ends":
        this.divisions.view.apply({ kind: "node-draining", nodeId });
        this.groups.host.nodeDraining(nodeId);
        return;
      case "divide-leases":
        this.divisions.divide(nodeId, message);
        return;
      case "leases-granted":
        needsVersion(2, "leases that a node has granted");
        this.divisions.granted(nodeId, message);
        return;
      case "forget-leases":
        this.divisions.forget(nodeId, message.key);
        return;
      case "query":
        if (message.method === "explain-id" || message.method === "explain-leases")
          void this.explain(message).then((answer) => this.send(nodeId, answer));
        else if (isAboutQuotas(message)) void this.quota(message).then((answer) => this.send(nodeId, answer));
        else if (message.method === "find-process")
          void this.lookInto(message).then((answer) => this.send(nodeId, answer));
        else if (isAboutKv(message))
          void answerTo(message.id, () => this.kv.answer(message)).then((answer) => this.send(nodeId, answer));
        else if (isAboutGroups(message))
          void this.groups.answer(nodeId, message).then((answer) => this.send(nodeId, answer));
        else if (message.method === "store-rooms")
          this.send(nodeId, {
            t: "answer",
            id: message.id,
            result: storeRooms(this.members.all(), nodeId, this.options.random),
          });
        else this.send(nodeId, this.answer(message));
        return;
      case "answer":
        this.asks.answered(nodeId, message);
        return;
      case "groups-placed":
        needsVersion(2, "groups that a node has placed");
        if (this.isMember(nodeId)) this.groups.nodePlaced(nodeId, message);
        return;
      case "bundles-prepared":
      case "bundles-refused":
      case "bundles-committed":
      case "bundles-returned":
      case "bundles-reported":
      case "earmark-answered":
        if (this.isMember(nodeId)) this.groups.hear(nodeId, message);
        return;
      default:
        if (!this.isMember(nodeId)) return;
        this.actors.hear(nodeId, message);
        if (message.t === "node-statement") this.goesOnDraining(nodeId);
    }
  }

  /** A control before this one may have told only some of its actors to move. */
  private goesOnDraining(nodeId: NodeId): void {
    const member = this.members.get(nodeId);
    if (member?.state === "draining") this.actors.nodeDrains(nodeId, member.drainMs);
  }

  /** What one says that was given up does not count. */
  private isMember(nodeId: NodeId): boolean {
    return (this.members.get(nodeId)?.state ?? "dead") !== "dead";
  }

  private send(to: NodeId, message: FromControl): void {
    const peer = this.peers.get(to);
    if (peer) this.options.gate.pass(() => peer.send(message));
  }

  /** Nodes look for who leads now, if another does: they are not to be waited for there in vain. It orders nothing, so no gate. */
  private tellSuspended(): void {
    const { isSuspended } = this;
    if (isSuspended === this.isToldSuspended) return;
    this.isToldSuspended = isSuspended;
    const message: FromControl = { ...this.heads.message, ...(isSuspended && { isSuspended }) };
    for (const peer of this.peers.values()) peer.send(message);
  }

  private tellHeads(to: readonly NodeId[]): void {
    for (const nodeId of to) this.send(nodeId, this.heads.message);
  }

  /** By the quota of the job, beside what its tasks have. */
  private isAllowed(waiter: Waiter): boolean {
    return this.quotas.hasRoom(waiter, this.divisions.claimsOf(waiter.job), this.clock.nowMs());
  }

  private tellLimits(): void {
    const jobs = this.quotas.limited();
    const told = JSON.stringify(jobs.map((job) => [job, this.quotas.of(job)]));
    if (told === this.limitedTold) return;
    this.limitedTold = told;
    for (const nodeId of this.peers.keys()) this.tellLimitsTo(nodeId, jobs);
  }

  private tellLimitsTo(nodeId: NodeId, jobs: readonly JobId[]): void {
    const { wireVersion = 1 } = this.members.get(nodeId)?.description ?? {};
    // An older node takes half of what it has for such a job by itself, until it is upgraded.
    if (wireVersion >= 2)
      this.send(nodeId, { t: "limited-jobs", jobs, quotas: jobs.map((job) => this.quotas.of(job) ?? {}) });
  }

  /** What the placement engine knows of a node. */
  private see({ description, state, use }: Member): void {
    const { nodeId, name, total, labels, objectStoreBytes: capacityBytes } = description;
    const { view } = this.divisions;
    const store = { usedBytes: use.storeUsedBytes, capacityBytes };
    if (!view.node(nodeId)) view.apply({ kind: "node-joined", nodeId, name, total, labels, store });
    view.apply({ kind: "node-reported", nodeId, free: use.available, lasting: use.lasting ?? {}, store });
    if (state !== "draining" || view.node(nodeId)?.state.status === "draining") return;
    view.apply({ kind: "node-draining", nodeId });
    this.groups.host.nodeDraining(nodeId);
  }

  // ── questions ──────────────────────────────────────────────────────────────────────────────────────────────────────

  drainNode(nodeId: NodeId, deadlineMs: number): void {
    this.members.drain(nodeId, deadlineMs);
    this.actors.nodeDrains(nodeId, deadlineMs);
  }

  private drain(id: number, params: unknown): Answer {
    const { node, deadlineMs } = (params ?? {}) as { readonly node?: unknown; readonly deadlineMs?: unknown };
    try {
      if (
        typeof node !== "string" ||
        typeof deadlineMs !== "number" ||
        !(deadlineMs >= 0 && deadlineMs <= DRAIN_MS_MAX)
      ) {
        throw new InvalidOptionError("drain-node needs a node and a deadline of at most a day, in milliseconds");
      }
      const { nodeId, name } = nodeCalled(this.members.all(), node).description;
      this.options.log.write("info", `node ${name} (${nodeId}) is drained, within ${deadlineMs} ms`);
      this.drainNode(nodeId, deadlineMs);
      return { t: "answer", id, result: { nodeId, name } };
    } catch (error) {
      const { code, kind, message } = error as MobulaError; // As nodeCalled throws.
      return { t: "answer", id, error: { code, kind, message } };
    }
  }

  private quota({ id, method, params }: Query): Promise<Answer> {
    return answerTo(id, async () => {
      const { job, quota = null } = (params ?? {}) as Queries["set-quota"]["params"];
      if (typeof job !== "string" || !/^[0-9a-f]{8}$/.test(job)) {
        throw new InvalidOptionError(`"${String(job)}" is no id of a job, which has 8 hexadecimal digits`);
      }
      if (method === "set-quota") {
        const units = quota === null ? undefined : toUnits(quota);
        await new Promise<void>((resolve, reject) => {
          const value = units ? pack(units) : null;
          this.persist([{ key: QUOTA_PREFIX + job, value }], (error) => (error ? reject(error) : resolve()));
        });
        this.quotas.change(job, units);
        this.tellLimits();
        this.options.log.write(
          "info",
          `job ${job} ${units ? `has the quota ${JSON.stringify(quota)}` : "has no quota set"}`,
        );
      }
      const counts = this.quotas.of(job);
      return counts ? fromUnits(counts) : null;
    });
  }

  /** Nodes know their processes. */
  private lookInto({ id, method, params }: Query): Promise<Answer> {
    return answerTo(id, () => {
      const { nodeId } = (params ?? {}) as { readonly nodeId?: NodeId };
      if (nodeId !== undefined) return this.asks.ask(nodeId, method as "inspect-begin", params as never);
      if (method !== "find-process") throw new InvalidOptionError(`"${method}" needs the nodeId of the process`);
      const alive = [...this.members.all()].filter(({ state }) => state !== "dead");
      return findProcesses(this.asks, alive, String((params as { id?: unknown })?.id));
    });
  }

  private explain({ id, method, params }: Query): Promise<Answer> {
    return answerTo(id, () =>
      method === "explain-id"
        ? this.explanations.byId(String((params as { id?: unknown } | null)?.id))
        : this.explanations.leases(params as Queries["explain-leases"]["params"]),
    );
  }

  private answer({ id, method, params }: Query): Answer {
    if (method === "drain-node") return this.drain(id, params);
    if (method === "audit-notes") {
      const { sinceMs } = params as Queries["audit-notes"]["params"];
      return { t: "answer", id, result: this.audit.since(sinceMs) };
    }
    if (method === "nodes")
      return {
        t: "answer",
        id,
        result: [...this.members.all()].map(({ description, state, use }) => nodeInfo(description, state, use)),
      };
    if (method === "waiting-demands") {
      const all = [...this.divisions.waiting(), ...this.actors.waiting()];
      return { t: "answer", id, result: sumUp(this.divisions.view, all) };
    }
    if (method === "list-actors") {
      const { namespace = null } = (params ?? {}) as { readonly namespace?: string | null };
      return { t: "answer", id, result: this.actors.list(namespace) };
    }
    if (method === "actor-details") {
      const { since = null } = (params ?? {}) as { readonly since?: number | null };
      return { t: "answer", id, result: this.actors.details(since) };
    }
    if (method === "group-details") return { t: "answer", id, result: this.groups.host.details() };
    if (method === "heads") {
      const { leader, standbys } = this.heads;
      const { place, refusals } = this.options;
      const { epoch } = this.who;
      const loopLagMs = this.options.loopLag.maxMs;
      const { dashboard } = this;
      const result: HeadsInfo = {
        ...{ leader, epoch, standbys, state: place, refused: refusals.recent, loopLagMs },
        ...(dashboard !== undefined && { dashboard }),
      };
      return { t: "answer", id, result };
    }
    const message = `control does not answer "${method}"`;
    return { t: "answer", id, error: { code: "INVALID_OPTION", kind: "invalid", message } };
  }
}

/** Quotas that an administrator has set, by job. */
const QUOTA_PREFIX = "quota/";
const isAboutProcesses = ({ method }: Query): boolean => method === "find-process" || method.startsWith("inspect-");
const isAboutQuotas = ({ method }: Query): boolean => method === "quota" || method === "set-quota";

/** Which of the nodes that live is meant by an id or a name. @throws MobulaError that says which there are. */
function nodeCalled(members: Iterable<Member>, called: string): Member {
  const all = [...members];
  const living = all.filter(({ state }) => state !== "dead");
  const found = living.filter(({ description: { nodeId, name } }) => nodeId === called || name === called);
  const [first] = found;
  if (first && found.length === 1) return first;
  if (first) {
    const ids = found.map(({ description }) => description.nodeId).join(", ");
    throw new InvalidOptionError(`${found.length} nodes are called "${called}"; say which by its id: ${ids}`);
  }
  const dead = all.some(({ description: { nodeId, name } }) => nodeId === called || name === called);
  const names = living.map(({ description }) => description.name).join(", ");
  throw new NodeNotFoundError(
    dead ? `node "${called}" is dead already` : `no node is called "${called}"; those that live: ${names || "none"}`,
  );
}
