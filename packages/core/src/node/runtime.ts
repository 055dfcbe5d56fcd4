/**
 * The node at work: it hosts the lease engine, control and the store, passes messages between them and the processes,
 * and carries out what they order. It decides nothing itself.
 */

import { mkdirSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { assert, unreachable } from "../base/assert.ts";
import { clockOffsetMs, monotonicMs, wallMs } from "../base/clock.ts";
import { ConnectionLostError, InvalidOptionError, type MobulaError } from "../base/errors.ts";
import { HeapShrinker } from "../base/heap-shrinker.ts";
import {
  type JobId,
  type LeaseId,
  type NodeId,
  newProcessId,
  newWorkerId,
  nodeTag,
  nodeTagOf,
  type ProcessId,
  type WorkerId,
} from "../base/ids.ts";
import { OWN_NAMESPACES, PREEMPT_AFTER_MS } from "../base/limits.ts";
import { needsVersion, WIRE_VERSION } from "../base/wire-version.ts";
import {
  type ActorWorkerRequest,
  CONTROL_HOME,
  CONTROL_MESSAGES,
  CONTROL_QUERIES,
  type Control,
  type ControlMessage,
  createMemoryState,
  createRouter,
  type Home,
  holderOf,
  KvQuestions,
  persistThrough,
  type Router,
} from "../control/mod.ts";
import { BulkLinks, type StoreRoom } from "../pull/mod.ts";
import type { LeaseEngine, SchedulerCommand, SchedulerEvent, StopReason } from "../scheduler/mod.ts";
import { type OwnedKey, type StoreServer, startStore } from "../store/mod.ts";
import { Access, type Peer } from "../transport/mod.ts";
import { NO_ROOM_NOW, type NodeDescription, type WorkerOrder } from "../wire/cluster-messages.ts";
import type {
  Answer,
  Demand,
  FromNode,
  Hello,
  LogLines,
  Query,
  ToNode,
  Welcome,
  WorkerDeath,
} from "../wire/messages.ts";
import { readBar } from "../wire/mod.ts";
import type { JoinInfo, LiveRun, Queries } from "../wire/queries.ts";
import { answerTo } from "./asks.ts";
import { AuditNotes, userOf } from "./audit-notes.ts";
import { BulkDials } from "./bulk-dials.ts";
import { answerOf, BundleAnswers, eventOf, isAboutBundles } from "./bundles.ts";
import type { ClaimPages } from "./claims.ts";
import { ClusterActors } from "./cluster-actors.ts";
import { ClusterLink } from "./cluster-link.ts";
import type { ClusterConfig, NodeConfig } from "./config.ts";
import { acceptConnections } from "./connections.ts";
import { describeExit } from "./death.ts";
import { Deputies } from "./deputies.ts";
import { Drain } from "./drain.ts";
import { DriverInspectors } from "./driver-inspectors.ts";
import type { EarlySocket } from "./early-socket.ts";
import { NodeEnvironments } from "./environments.ts";
import { EventRing } from "./event-ring.ts";
import { Explanations } from "./explanations.ts";
import { ForeignPrograms } from "./foreign-programs.ts";
import { watchGpus } from "./gpu.ts";
import type { GpuWatch } from "./gpu-watch.ts";
import { NodeGpus } from "./gpus.ts";
import { tcpWays } from "./head-ways.ts";
import { trimHeapSoon, trimHeapWhenGrown } from "./heap-trim.ts";
import { type InspectedProcess, Inspections } from "./inspections.ts";
import type { LeaseBroker } from "./lease-broker.ts";
import { LeaseLoop } from "./lease-loop.ts";
import { LiveTasks } from "./live-tasks.ts";
import type { LocalGroups } from "./local-groups.ts";
import { Logs } from "./logs.ts";
import { describeMachine, type Machine } from "./machine.ts";
import { MemoryMonitor } from "./memory-monitor.ts";
import { misplacedOn } from "./misplaced.ts";
import { Neighbours } from "./neighbours.ts";
import type { NodeLog } from "./node-log.ts";
import { answerQuery, available, bundleUse, nodeUse } from "./node-queries.ts";
import { type ObjectProcess, objectDetails } from "./object-details.ts";
import { NodeObjects } from "./objects.ts";
import { Orphans } from "./orphans.ts";
import { type OwnGroups, ownGroupsClock } from "./own-groups.ts";
import { NodePeers } from "./peers.ts";
import { type Duty, ProcessDetails } from "./process-details.ts";
import { ProcessWatch } from "./process-watch.ts";
import { ProgressBars } from "./progress-bars.ts";
import { BROKER, CONTROL, LEASES, LOCAL_GROUPS, OWN_GROUPS } from "./recorded-engines.ts";
import { recorded } from "./recording.ts";
import { type LeaseAsk, NodeRouting, type OtherBetweenNodes, packable } from "./routing.ts";
import { logFolderOf } from "./session-folder.ts";
import type { SpawnOptions, StartedWorker } from "./spawn.ts";
import { findStandingNode } from "./standing.ts";
import { StateLink } from "./state-link.ts";
import { findStoreRooms } from "./store-rooms.ts";
import { SubmissionWatch } from "./submission-watch.ts";
import { nodeHolder, Succession } from "./succession.ts";
import { Timeline } from "./timeline.ts";
import { type OpenedLimits, openLimits } from "./worker-limits.ts";
import { WorkerPool } from "./worker-pool.ts";

export interface NodeRuntimeOptions {
  readonly config: NodeConfig;
  readonly claims: ClaimPages;
  readonly socket: EarlySocket;
  readonly log: NodeLog;
  /** Workers that were started before this was loaded. */
  readonly firstWorkers: readonly StartedWorker[];
  readonly command?: SpawnOptions["command"];
  /** The only driver of an embedded node has gone. */
  onDriverGone(): void;
  /** It was drained, and is to end. */
  onDrained(): void;
  /** Of its cluster, as soon as that has begun. */
  headAddress(): Promise<string>;
  /** Its cluster has given it up: nothing that runs here counts any more. */
  onExpelled(cluster: ClusterConfig): void;
}

interface Member {
  readonly joinedAtMs: number;
  readonly processId: ProcessId;
  readonly role: Hello["role"];
  readonly pid: number;
  readonly peer: Peer;
  readonly jobId: JobId | undefined;
  readonly job: Hello["job"];
  readonly workerId: WorkerId | undefined;
}

/** For workers to end by themselves when the node does; those in an endless loop are killed then. */
const SHUTDOWN_GRACE_MS = 1_000;
/** How long the first worker has the machine for itself. */
const FIRST_WORKER_MS = 200;
const CONTROL_TICK_MS = 250;
/** How long a worker may take to end by itself, by why it should. */
const GRACE_MS: Readonly<Record<StopReason, number>> = {
  idle: 2_000,
  retired: 2_000,
  "job-ended": 2_000,
  "owner-gone": 200,
  "group-removed": 200,
};
const INTENDED: Readonly<Record<StopReason, string>> = {
  idle: "idle",
  retired: "max-calls",
  "job-ended": "idle",
  "owner-gone": "killed",
  "group-removed": "group-removed",
};
/** A driver that does not read its log lines keeps at most so much in the node. */
const LOG_BYTES_UNSENT_MAX = 4 * 2 ** 20;
const LOG_HOPS_MAX = 8;
/** What the state service asks each second, and what others answer to that: a node that does nothing else is idle. */
const LOOKING: ReadonlySet<string> = new Set<ToNode["t"]>(["query", "tasks-listed"]);

export class NodeRuntime {
  readonly machine: Machine;
  description: NodeDescription;
  private readonly options: NodeRuntimeOptions;
  readonly config: NodeConfig;
  /** What the kernel keeps its workers to. */
  readonly limits: OpenedLimits;
  private readonly log: NodeLog;
  readonly store: StoreServer;
  private readonly objects: NodeObjects;
  readonly engine: LeaseEngine;
  readonly ownGroups: OwnGroups;
  readonly kv: KvQuestions;
  /** In a cluster. */
  readonly localGroups: LocalGroups;
  private readonly bundleAnswers = new BundleAnswers({
    say: (answer) => this.cluster?.say(answer),
    report: () => this.cluster?.report(),
  });
  private readonly control: Control;
  /** In a cluster, whose control has the say over actors. */
  private readonly clusterActors: ClusterActors | undefined;
  readonly pool: WorkerPool;
  private readonly logs: Logs;
  private readonly events = new EventRing();
  private readonly shrinker = new HeapShrinker({ trim: trimHeapSoon });
  readonly timeline: Timeline;
  readonly liveTasks: LiveTasks;
  readonly bars = new ProgressBars(wallMs);
  private readonly monitor: MemoryMonitor;
  private readonly members = new Map<ProcessId, Member>();
  private readonly requests = new Map<number, ActorWorkerRequest>();
  /** What a worker does now, for people and for the memory monitor; none: it is idle. */
  private readonly duties = new Map<WorkerId, Duty>();
  private readonly deputies = new Deputies({
    newId: () => newProcessId(this.config.nodeId),
    place: () => this.place,
    joined: (deputy, jobId) => {
      this.router.processJoined(deputy);
      this.control.processJoined({ processId: deputy, role: "worker" });
      this.feed({ kind: "client-joined", clientId: deputy, jobId, isDeputy: true });
    },
    left: (deputy) => {
      this.feed({ kind: "client-left", clientId: deputy });
      this.routing.processLeft(deputy, false);
      this.orphans.processGone(deputy);
      this.timeline.processGone(deputy);
      this.liveTasks.processGone(deputy);
    },
    handle: (from, message) => this.handle(from, message as Exclude<ToNode, Hello>), // An owner never says hello.
    send: (to, message) => this.send(to, message),
    pidOf: (giver) => this.members.get(giver)?.pid,
    isHeldBeside: (key, process) => this.control.isHeldBeside(key, process),
    inheritLeases: (from, deputy) => {
      const leases = [...this.engine.leasesOf(from)].flatMap(({ leaseId, workerId }) => {
        const worker = this.pool.address(workerId);
        return worker ? [{ leaseId, worker }] : [];
      });
      this.feed({ kind: "leases-inherited", clientId: from, heir: deputy });
      return leases;
    },
  });
  private readonly submissions = new SubmissionWatch({
    publish: (owner, keys) => this.handle(owner, { t: "object-publish", objects: keys.map((key) => ({ key })) }),
    handOver: (giver, message) => this.deputies.handOver(giver, message),
  });
  private readonly orphans = new Orphans({
    owners: () => this.owners(),
    send: (to, message) => this.send(to, message),
    published: (names) => this.control.storedAmong(names),
    free: (names) => this.objects.free(names),
  });
  /** Workers that died, until the store has read what they sent it. */
  private readonly makers = new Map<ProcessId, WorkerId>();
  private readonly namespaces = new Map<JobId, string>();
  /** Jobs with a quota. */
  limited: ReadonlySet<JobId> = new Set();
  /** Jobs that have come from other nodes, with the node that was first to ask for one. */
  private readonly jobsElsewhere = new Map<JobId, NodeId>();
  /** Deaths whose events are being handled. */
  private readonly deaths = new Map<WorkerId, WorkerDeath>();
  private readonly loop: LeaseLoop;
  /** Workers that were ordered before the first one was ready, for it is the one that a first task waits for. */
  private ordered: (SchedulerCommand & { kind: "start-worker" })[] | undefined = [];
  private isStopping = false;
  private isExpelled = false;
  /** Why it ends, for those that are connected. */
  private farewell = "it was shut down";
  objectDetails(params: Queries["object-details"]["params"]): Queries["object-details"]["result"] {
    const { store, control, config } = this;
    const processOf = (process: ProcessId): ObjectProcess | undefined => {
      const member = this.members.get(process);
      if (!member) return undefined;
      const { role, pid, jobId, workerId } = member;
      return { role, pid, jobId: jobId ?? (workerId && this.duties.get(workerId)?.jobId) };
    };
    const nameOf = (key: number) => this.objects.nameOf(key);
    return objectDetails({ nodeId: config.nodeId, store, control, nameOf, processOf }, params);
  }

  get logFolder(): string {
    return logFolderOf(this.config.sessionDir);
  }

  /** What is said of processes to people. */
  readonly processes = new ProcessDetails({
    nodeId: () => this.config.nodeId,
    workers: () => this.pool.all(),
    dutyOf: (workerId) => this.duties.get(workerId),
    drivers: () => [...this.members.values()].filter(({ role }) => role === "driver"),
  });
  private readonly gpuWatch: GpuWatch | undefined;
  private readonly gpus: NodeGpus;
  /** To the other nodes. */
  private access: Access | undefined;
  private peers: NodePeers | undefined;
  private readonly neighbours: Neighbours;
  private readonly router: Router;
  private readonly succession: Succession;
  private readonly routing: NodeRouting;
  private readonly broker: LeaseBroker;
  private readonly watch = new ProcessWatch({
    isKnown: (home) => this.neighbours.get(home) !== undefined,
    watch: (process) => this.router.watch(process),
    send: (to, message) => this.sendHere(to, message),
    later,
  });
  private readonly bulkDials: BulkDials;
  /** Modules of programs, from other machines and for them; in a cluster. */
  readonly code: ForeignPrograms | undefined;
  readonly environments: NodeEnvironments;
  cluster: ClusterLink | undefined;
  private stateLink: StateLink | undefined;
  /** In whose name the state service asks. */
  private readonly stateAsker = newProcessId();
  readonly explanations: Explanations;
  private readonly driverInspectors = new DriverInspectors((to, message) => this.sendHere(to, message));
  readonly inspections: Inspections;
  readonly audit = new AuditNotes();
  private readonly drain = new Drain({
    steps: [
      {
        what: "tasks and actors",
        begin: () => {
          this.feed({ kind: "drain-began" });
          this.broker.drain();
        },
        isDone: () => this.engine.isQuiet,
      },
      // What runs may make more.
      { what: "objects", isDone: () => this.engine.isQuiet && this.objects.moveOff(this.succession.lent()) },
      { what: "drivers", isDone: () => ![...this.members.values()].some(({ role }) => role === "driver") },
    ],
    end: () => this.options.onDrained(),
    log: (message) => this.log.write("info", message),
  });
  private readonly controlTimer: NodeJS.Timeout;
  private readonly stopTrimming = trimHeapWhenGrown();

  /** @throws MobulaError when the store or the socket cannot be opened. */
  static async open(options: NodeRuntimeOptions): Promise<NodeRuntime> {
    const { config, log } = options;
    const warn = (message: string): void => log.write("warn", message);
    const limits = await openLimits(config, warn);
    const machine = describeMachine(config, warn, limits.limits?.memoryFolder);
    const spillDirectory = config.spillDirectory ?? join(config.sessionDir, "spill");
    if (config.spillBytesMax !== 0) makeFolder(spillDirectory, log);
    let runtime: NodeRuntime | undefined;
    const self = newProcessId(config.nodeId);
    const store = await startStore({
      self,
      directory: config.sessionDir,
      capacityBytes: machine.objectStoreBytes,
      spillDirectory,
      spillBytesMax: config.spillBytesMax ?? Number.MAX_SAFE_INTEGER,
      putTimeoutMs: config.putTimeoutMs,
      ownsPages: limits.limits?.memoryFolder !== undefined,
      now: monotonicMs,
      log: warn,
      requestCollect: (processIds) => {
        for (const id of processIds) runtime?.send(id, { t: "collect" });
      },
      onPinned: (processId, pinned) => runtime?.objects.pinned(processId, pinned),
      onCopyDropped: (key, owner) => runtime?.objects.copyDropped(key, owner),
      ...(config.cluster && {
        peers: {
          find: () => runtime?.objects.findPeers(),
          relieve: async (objects) => (await runtime?.objects.relieve(objects)) ?? [],
        },
      }),
      onProcessGone: (processId, keys) => runtime?.storeLeft(processId, keys),
    });
    runtime = new NodeRuntime(options, machine, store, self, limits);
    runtime.accept();
    await runtime.joinCluster();
    const opened = runtime;
    // Should the first worker be slow.
    setTimeout(() => {
      if (opened.ordered) opened.startOrdered();
    }, FIRST_WORKER_MS);
    return runtime;
  }

  private constructor(
    options: NodeRuntimeOptions,
    machine: Machine,
    store: StoreServer,
    self: ProcessId,
    limits: OpenedLimits,
  ) {
    this.options = options;
    this.limits = limits;
    this.machine = machine;
    this.store = store;
    const { config } = options;
    this.config = config;
    this.log = options.log;
    this.bulkDials = new BulkDials({
      here: config.nodeId,
      access: () => {
        // Nobody is known to dial before the node has joined.
        assert(this.access !== undefined, "an object of another node without a cluster");
        return this.access;
      },
      standing: (tag) => this.neighbours.get(tag),
      tell: (tag) => this.neighbours.toHome(tag, { t: "copy-dial" }),
    });
    this.objects = new NodeObjects({
      ...{ nodeId: config.nodeId, self, store, capacityBytes: machine.objectStoreBytes, nowMs: monotonicMs },
      onPinned: (process, pinned) => this.send(process, pinned),
      onOrphans: (names, workerId) => this.orphans.ask(names, workerId),
      published: (names) => this.control.storedAmong(names),
      send: (to, message) => this.neighbours.toHome(to, message),
      isDead: (tag) => this.isDeadHome(tag),
      resolve: (tag) => this.neighbours.resolve(tag),
      keeper: (besides) => this.keeper(besides),
      mayKeep: (tag) => this.mayKeep(tag),
      findRooms: () => this.findRooms(),
      onCopied: (process, copied) => this.send(process, copied),
      onMoved: () => {
        this.drain.look();
        this.succession.moved();
      },
      links: new BulkLinks(async (tag) => this.bulkDials.dial(tag)),
      offer: (tag) => this.bulkDials.offer(tag),
      openCode: (name) => this.code?.programs.open(name),
      log: (message) => this.log.write("warn", message),
    });
    this.code =
      config.cluster &&
      new ForeignPrograms({
        ...{ nodeId: config.nodeId, sessionDir: config.sessionDir },
        send: (to, message) => this.neighbours.toHome(to, message),
        isDead: (tag) => this.isDeadHome(tag),
        others: () => [...this.neighbours.all()].map(([tag]) => tag),
        nameOf: (tag) => this.neighbours.get(tag)?.name ?? tag,
        dial: async (tag) => this.bulkDials.dial(tag),
        log: (message) => this.log.write("warn", message),
      });
    this.environments = new NodeEnvironments({
      ...{ config, code: this.code },
      feed: (event) => this.feed(event),
      jobsWaitingFor: (envKey) => this.engine.jobsWaitingFor(envKey),
      sendLines: (jobId, message) => this.sendLines(jobId, message),
      log: (message) => this.log.write("info", message),
    });
    const { name } = config;
    const leaseOptions = {
      total: machine.total,
      gpuIds: machine.gpuIds,
      infeasibleTimeoutMs: config.infeasibleTimeoutMs,
      nodeName: name,
      isShared: config.standing,
    };
    this.engine = recorded(LEASES, name, leaseOptions, { newWorkerId });
    this.gpuWatch = watchGpus(machine.gpuIds, process.env, (message) => this.log.write("warn", message));
    this.gpus = new NodeGpus({
      ...{ ids: machine.gpuIds, watch: this.gpuWatch },
      free: () => this.engine.pool.freeDevices(),
      holdings: () => this.engine.gpuHolders(),
      processes: () => this.processes.pids(),
    });
    this.description = {
      nodeId: config.nodeId,
      name: config.name,
      address: null,
      total: this.engine.pool.total,
      labels: config.cluster?.labels ?? {},
      objectStoreBytes: machine.objectStoreBytes,
      wireVersion: WIRE_VERSION,
    };
    const { nodeId, labels, total } = this.description;
    this.ownGroups = recorded(
      OWN_GROUPS,
      name,
      { nodeId, name, total },
      {
        available: () => available(this.engine),
        lasting: () => this.engine.lasting(),
        preemptable: () => this.engine.preemptable(wallMs()),
        preemptAfterMs: (job) => preemptAfter(this.jobOf(job)?.preemptAfterMs) ?? Number.POSITIVE_INFINITY,
        feed: (event) => this.feed(event),
        changed: () => this.groupsChanged(),
        ...ownGroupsClock,
      },
    );
    this.localGroups = recorded(
      LOCAL_GROUPS,
      name,
      { labels, total },
      {
        freeOf: (resource) => this.engine.pool.freeOf(resource),
        mayPlace: () => this.cluster?.isOfVersion(2) === true && !this.isStopping && !this.drain.hasBegun,
        isLimited: (job) => this.isLimited(job),
        feed: (event) => this.feed(event),
        isConnected: () => this.cluster?.isConnected === true,
        report: (isAll) => this.cluster?.report(isAll),
        say: (message) => this.cluster?.say(message),
        later,
        nowMs: monotonicMs,
      },
    );
    this.loop = new LeaseLoop(this.engine, (command) => this.obey(command));
    this.logs = new Logs({
      sessionDir: config.sessionDir,
      nodeId,
      nowMs: wallMs,
      send: (jobId, message) => this.sendLines(jobId, message),
      onBar: (maker, bar) => this.bars.update(maker, bar),
    });
    this.pool = new WorkerPool({
      config,
      claims: options.claims,
      logs: this.logs,
      command: options.command,
      monitor: () => this.monitor,
      limits: limits.limits,
      onDied: (death, processId) => this.workerDied(death, processId),
    });
    this.timeline = new Timeline({
      ring: this.events,
      workers: () => [
        ...[...this.members.values()].filter(({ role }) => role === "worker").map(({ processId }) => processId),
        ...this.deputies.ids(),
      ],
      send: (to, message) => this.send(to, message),
    });
    this.liveTasks = new LiveTasks({
      owners: () => [
        ...[...this.members.values()].flatMap(({ role, pid, processId }) =>
          role === "tool" || this.isOwn(processId) ? [] : [[processId, `${role} ${pid}`] as const],
        ),
        ...[...this.deputies.ids()].map((id) => [id, "what is looked after for a worker"] as const),
      ],
      send: (to, message) => this.send(to, message),
      placeOf: (process) => this.placeOf(process),
      pidOf: (process) => this.members.get(process)?.pid,
    });
    const here = nodeTag(config.nodeId);
    const home = { here, actors: config.cluster ? CONTROL_HOME : here };
    this.clusterActors =
      config.cluster &&
      new ClusterActors(config.nodeId, {
        say: (message) => this.cluster?.say(message),
        request: (request) => this.requestActorWorker(request),
        release: (requestId) => this.releaseActorWorker(requestId),
        kill: (workerId, reason) => this.pool.kill(workerId, reason),
        driverAt: (jobId, node) => void (this.jobsElsewhere.has(jobId) || this.jobsElsewhere.set(jobId, node)),
        send: (to, message) => this.sendHere(to, message),
        processes: () => this.owners(),
        later,
        mentioned: () => [holderOf(here), this.control.actorsMentioned()],
      });
    this.router = createRouter(home, {
      handle: (from, message) => this.control.handle(from, message),
      joined: (processId) => this.control.processJoined({ processId, role: "worker" }),
      gone: (process) => {
        this.feed({ kind: "client-left", clientId: process });
        this.control.processGone(process);
        this.watch.gone(process);
        this.forgetJobs();
      },
      send: (to, message) => this.sendHere(to, message),
      toHome: (to, message) => {
        if (to === CONTROL_HOME) this.clusterActors?.toControl(message);
        else this.neighbours.toHome(to, message);
      },
      isDead: (tag) => this.isDeadHome(tag),
      resolve: (tag) => this.neighbours.resolve(tag),
    });
    this.neighbours = new Neighbours(config.nodeId, {
      send: (node, message) => this.peers?.send(node, message),
      hear: (from, message) => this.routing.fromNode(from, message),
      find: (tag) => this.cluster?.say({ t: "find-node", tag }),
      changed: (node) => {
        this.peers?.know(node);
        this.explanations.heardOf(node);
      },
      died: (tag, node, homes) => {
        if (node) this.peers?.know(node);
        if (node) this.explanations.asks.nodeDied(node.nodeId);
        if (node) this.broker.nodeDied(node.nodeId, node.name);
        this.succession.died(tag, homes);
        this.code?.nodeDied(tag);
      },
      heirNamed: (heir) => this.succession.heirNamed(heir),
    });
    this.broker = recorded(
      BROKER,
      name,
      { here: nodeId, hasControl: config.cluster !== undefined },
      {
        demandHere: (clientId, shape, demand, wanted, preemptAfterMs) =>
          this.feed({ kind: "demand-changed", clientId, shape, demand, wanted, preemptAfterMs }),
        overHere: (clientId, shape) => this.feed({ kind: "demand-over", clientId, shape }),
        keptHere: (clientId, leaseId, forMs) => this.feed({ kind: "lease-kept", clientId, leaseId, forMs }),
        returnHere: (client, leaseId, retire) => this.leaseReturned(client, leaseId, retire),
        toNode: (node, message) => this.peers?.send(node, message),
        divide: (message) => this.cluster?.say(message),
        granted: (message) => {
          if (this.cluster?.isOfVersion(2)) this.cluster.say(message);
        },
        forget: (key) => this.cluster?.say({ t: "forget-leases", key }),
        tell: (client, notice) => this.sendHere(client, notice),
        packable: (demand) => packable(demand.resources, this.engine.pool),
        namespaceOf: (job) => this.namespaces.get(job) ?? "",
        isLimited: (job) => this.isLimited(job),
        infeasibleMs: (job) => this.jobOf(job)?.infeasibleTimeoutMs ?? config.infeasibleTimeoutMs,
        preemptAfterMs: (job) => preemptAfter(this.jobOf(job)?.preemptAfterMs),
        misplaced: (demand) => this.misplaced(demand),
      },
    );
    this.explanations = new Explanations(config, {
      control: config.cluster && ((method, params) => this.theCluster.query(method, params)),
      actor: (actorId) => this.control.explainActor(actorId),
      engine: () => this.engine,
      send: (to, query) => this.peers?.send(to, query),
      node: (tag) => this.neighbours.get(tag),
      isDead: (tag) => this.neighbours.isDead(tag),
      asked: (client, shape) => this.broker.asked(client, shape),
      toOwner: (owner, message) => {
        const member = this.members.get(owner);
        member?.peer.send(message);
        return member !== undefined;
      },
      deputy: (owner, seq) => this.deputies.explain(owner, seq),
      holds: (key) => this.control.holdsOf(key),
      copies: (name) => this.objects.copiesOf(name),
      copiesWanted: (name) => this.objects.copiesWanted(name),
      describeProcess: (process) => {
        const member = this.members.get(process);
        return member && `${member.role} ${member.pid}`;
      },
    });
    this.inspections = new Inspections(config, {
      processes: () => this.inspected(),
      ask: (to, method, params) => this.explanations.asks.ask(to, method, params),
      everywhere: config.cluster && ((params) => this.theCluster.query("find-process", params)),
    });
    // It ends with this process: what outlives nodes is at the head.
    const state = createMemoryState();
    this.kv = new KvQuestions(state);
    const { holdsElsewhere } = this.router;
    this.control = recorded(
      CONTROL,
      name,
      { nodeId, epoch: state.epoch, home: config.cluster && home },
      {
        nowMs: wallMs,
        send: (to, message) => this.send(to, message),
        requestActorWorker: (request) => this.requestActorWorker(request),
        releaseActorWorker: (requestId) => this.releaseActorWorker(requestId),
        killWorker: (workerId, intended) => this.pool.kill(workerId, intended),
        freeStored: (names) => this.objects.free(names),
        backUp: (key, value) => this.succession.backUp(key, value),
        keepUp: (value) => this.objects.keepUpInherited(value),
        persist: persistThrough(state),
        explainRequest: (requestId) => this.engine.explainRequest(requestId, wallMs()) ?? { sentences: [] },
        grant: (key, to) => holdsElsewhere.grant(key, to),
        release: (key, count) => holdsElsewhere.release(key, count),
        resolve: (tag) => this.neighbours.resolve(tag),
      },
    );
    const { control, router, objects, neighbours } = this;
    this.succession = new Succession(config.nodeId, {
      ...{ control, router, objects },
      resolve: (home) => neighbours.resolve(home),
      isDead: (home) => this.isDeadHome(home),
      living: () => [...neighbours.all()].map(([tag]) => tag),
      toHome: (home, message) => neighbours.toHome(home, message),
      toHeir: (heir, message) => {
        const node = neighbours.get(heir);
        if (node) this.peers?.send(node.nodeId, message);
      },
      processes: () => this.owners(),
      send: (to, message) => this.sendHere(to, message),
    });
    const { engine: leases, broker, watch, localGroups, clusterActors, succession } = this;
    this.routing = new NodeRouting(
      {
        nodeId: config.nodeId,
        ...{ leases, control, router, neighbours, broker, watch, objects, succession, localGroups, clusterActors },
      },
      {
        feed: (event) => this.feed(event),
        say: (message) => this.cluster?.say(message),
        jobAsked: (from, ask) => this.jobAsked(from, ask),
        leaseReturned: (client, leaseId, retire) => this.leaseReturned(client, leaseId, retire),
        other: (from, message) => this.otherFromNode(from, message),
      },
    );
    control.processJoined({ processId: nodeHolder(config.nodeId), role: "worker" });
    for (const worker of options.firstWorkers) this.pool.adopt(worker);
    this.monitor = new MemoryMonitor({
      config: config.memoryMonitor,
      cgroup: limits.limits?.memoryFolder,
      workers: () => this.monitoredWorkers(),
      onPressure: () => {
        for (const { peer } of this.members.values()) peer.send({ t: "collect" });
      },
      end: (workerId, words) => {
        this.log.write("warn", words);
        this.pool.kill(workerId, undefined, words);
      },
    });
    this.controlTimer = setInterval(() => this.control.tick(), CONTROL_TICK_MS);
    // All at once: told of one by one, the engine would order those it has not heard of yet a second time.
    this.feed({ kind: "workers-started", workerIds: options.firstWorkers.map(({ workerId }) => workerId) });
  }

  joinInfo(): JoinInfo | null {
    const { cluster: configured, sessionDir } = this.config;
    const logFolder = logFolderOf(sessionDir);
    // What "auto" leads to, for programs of this machine.
    if (findStandingNode(join(sessionDir, ".."))?.sessionDir === sessionDir)
      return { address: "auto", tokenFile: null, tls: {}, logFolder };
    if (!configured || !this.cluster) return null;
    const { tokenFile, tls = {} } = configured.access;
    return { address: this.cluster.headAddresses, tokenFile, tls, logFolder };
  }

  private async joinCluster(): Promise<void> {
    const { cluster: configured, nodeId } = this.config;
    if (!configured) return;
    const cluster = { ...configured, address: await this.options.headAddress() };
    const onNews = (message: string): void => this.log.write("warn", message);
    const access = await Access.open(cluster.access, onNews);
    this.access = access;
    this.peers = await NodePeers.open({
      here: nodeId,
      ...cluster,
      host: cluster.host,
      access,
      onMessage: (from, message) => this.neighbours.fromNode(from, message),
      onBulk: (socket) => this.objects.serve(socket),
      onBulkSource: (from, socket) => this.bulkDials.arrived(from, socket),
      onNews,
    });
    this.description = { ...this.description, address: this.peers.address };
    await ClusterLink.join({
      ...cluster,
      ways: tcpWays(access, nodeId),
      node: this.description,
      isPatient: this.config.restarts !== undefined,
      use: (isFirst) => ({
        ...nodeUse(this),
        ...bundleUse(this.engine, isFirst),
        inherited: this.control.inheritedHomes(),
      }),
      onNodes: (nodes) => this.routing.heardOf(nodes),
      onWelcomed: (welcome, link) => {
        this.cluster = link;
        this.routing.welcomed(welcome);
      },
      onFound: (found) => this.routing.found(found),
      onDivided: (message) => this.broker.divided(message),
      onBundles: (order) => {
        this.localGroups.order(order);
        this.feed(eventOf(order));
      },
      onGroupsNoted: (noted) => this.localGroups.noted(noted),
      onSaying: () => this.localGroups.tell(),
      onLimits: (jobs, quotas) => {
        this.limited = new Set(jobs);
        this.limits.limits?.limitJobs(new Map(jobs.map((job, at) => [job, quotas[at] ?? {}])));
        this.broker.limitsChanged();
      },
      onStateService: (address) => this.stateServiceAt(address),
      onDrain: (deadlineMs) => this.drain.begin(deadlineMs, monotonicMs()),
      onActors: (message) => this.routing.fromControl(message),
      onQuery: (query) => void this.answerAsked(query).then((answer) => this.cluster?.say(answer)),
      onLost: () => this.routing.controlLost(),
      onExpelled: (error) => {
        this.log.write("error", `this node was given up by its cluster: ${error.message}`);
        this.isExpelled = true;
        this.farewell = `its cluster has given it up: ${error.message}`;
        this.options.onExpelled(cluster);
      },
      onNews,
    });
  }

  /** It listens for nodes there; undefined: nowhere. */
  stateServiceAt(address: string | undefined): void {
    this.stateLink ??= new StateLink({
      nodeId: this.config.nodeId,
      name: this.config.name,
      ring: this.events,
      token: () => this.access?.token() ?? this.config.token,
      tls: this.access?.tls,
      answer: (query) => answerQuery(this, this.stateAsker, query),
      sample: () => {
        const { spilledBytesTotal, restoredBytesTotal } = this.store.stats();
        const gpus = this.gpus.sample();
        return { ...this.processes.sample(), spilledBytesTotal, restoredBytesTotal, ...(gpus && { gpus }) };
      },
      onNews: (message) => this.log.write("warn", message),
    });
    this.stateLink.to(address);
  }

  // ── other nodes ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** What other nodes say that is for no engine. */
  private otherFromNode(from: NodeId, message: OtherBetweenNodes): void {
    switch (message.t) {
      case "job-log": {
        const { jobId, hops } = message;
        const { name: node = from } = this.neighbours.get(nodeTag(from)) ?? {};
        const lines = message.lines.map((line) => ({ node, ...line }));
        const hasDriver = [...this.members.values()].some((member) => member.jobId === jobId);
        if (hasDriver) this.logs.arrived(jobId, lines);
        else this.sendLines(jobId, { t: "log", lines }, hops);
        return;
      }
      case "query":
        void this.answerAsked(message).then((answer) => this.peers?.send(from, answer));
        return;
      case "answer":
        this.explanations.asks.answered(from, message);
        return;
      case "worker-order":
        if (message.kill !== undefined && this.isLeased(message)) this.pool.kill(message.workerId, message.kill);
        if (message.interrupt !== undefined) this.pool.interrupt(message.workerId, message.interrupt);
        return;
      default:
        this.code?.programs.hear(nodeTag(from), message);
    }
  }

  /** Whether a worker that is to be killed still works under the lease for which it is. */
  private isLeased({ workerId, lease }: WorkerOrder): boolean {
    return lease === undefined || this.engine.workerOf(lease) === workerId;
  }

  private jobAsked(from: NodeId, { jobId, namespace }: LeaseAsk): void {
    this.namespaces.set(jobId, namespace);
    if (!this.jobsElsewhere.has(jobId)) this.jobsElsewhere.set(jobId, from);
  }

  /** By control, or by another node. */
  private answerAsked({ id, method, params }: Query): Promise<Answer> {
    return answerTo(id, () => {
      if (this.explanations.isMine(method)) return this.explanations.answer(undefined, method, params);
      if (this.inspections.isMine(method)) return this.inspections.answer(method, params, false);
      throw new InvalidOptionError(`a node does not answer "${method}" to others`);
    });
  }

  /** Of a node that has joined. */
  private get theCluster(): ClusterLink {
    if (!this.cluster) throw new ConnectionLostError("this node is only joining its cluster");
    return this.cluster;
  }

  /** Dead, or never to be heard: neither of the two nodes can be dialled. */
  private isDeadHome(tag: Home): boolean {
    const node = this.neighbours.get(tag);
    return this.neighbours.isDead(tag) || (node !== undefined && this.peers?.isOutOfReach(node.address) === true);
  }

  /** A node that is to live on: this one first, to whose owners what is kept belongs. */
  private keeper(besides: ReadonlySet<Home>): Home | undefined {
    const here = nodeTag(this.config.nodeId);
    if (!besides.has(here) && !this.drain.hasBegun && !this.isStopping) return here;
    const able = [...this.neighbours.all()].filter(([tag, { state }]) => state === "alive" && !besides.has(tag));
    // One that only dials out ends with its driver.
    return (able.find(([, { address }]) => address !== null) ?? able[0])?.[0];
  }

  private mayKeep(tag: Home): boolean {
    if (tag !== nodeTag(this.config.nodeId)) {
      const node = this.neighbours.get(tag);
      return node?.state === "alive" && node.address !== null;
    }
    const endsWithDriver = this.config.cluster !== undefined && this.description.address === null;
    return !endsWithDriver && !this.drain.hasBegun && !this.isStopping;
  }

  private findRooms(): Promise<readonly StoreRoom[]> {
    const { usedBytes, unsealedBytes, capacityBytes } = this.store.stats();
    return findStoreRooms({
      ask: () => this.cluster?.query("store-rooms", null),
      others: () => this.neighbours.all(),
      own: () => ({
        node: nodeTag(this.config.nodeId),
        ...{ capacityBytes, freeBytes: capacityBytes - usedBytes + unsealedBytes },
        labels: this.description.labels,
      }),
    });
  }

  /** Drivers, workers, and who stands in for workers. */
  private owners(): readonly ProcessId[] {
    return [
      ...[...this.members.values()].flatMap(({ role, processId }) => (role === "tool" ? [] : [processId])),
      ...this.deputies.ids(),
    ];
  }

  /** Those that may be looked into. */
  private *inspected(): Generator<InspectedProcess> {
    for (const { role, pid, processId, workerId } of this.members.values()) {
      if (role === "tool") continue;
      const open = (timeoutMs: number) =>
        workerId ? this.pool.openInspector(workerId, timeoutMs) : this.driverInspectors.open(processId, timeoutMs);
      yield { pid, role, processId, workerId: workerId ?? null, open };
    }
  }

  orderElsewhere(order: Omit<WorkerOrder, "t">, at?: NodeId): boolean {
    const node = at ?? this.broker.nodeOf(order.workerId) ?? this.clusterActors?.nodeOf(order.workerId);
    if (node) this.peers?.send(node, { t: "worker-order", ...order });
    return node !== undefined;
  }

  private leaseReturned(clientId: ProcessId, leaseId: LeaseId, retire: boolean): void {
    const worker = this.engine.workerOf(leaseId);
    if (worker) this.duties.delete(worker);
    this.feed({ kind: "lease-returned", clientId, leaseId, retire });
  }

  private accept(): void {
    acceptConnections({
      socket: this.options.socket,
      // Who knows the cluster's may join any of its nodes.
      tokens: () => [this.config.token, ...(this.access?.tokens() ?? [])],
      onHello: (hello, peer) => this.welcome(hello, peer),
      onMessage: (from, message) => {
        this.submissions.heard(from, message);
        this.handle(from, message);
      },
      onClose: (processId, error) => this.disconnected(processId, error),
      onFailure: (processId, error) =>
        this.log.write("error", `a message of process ${processId} failed: ${(error as Error).stack ?? String(error)}`),
    });
  }

  /**
   * Ends everything in order: actors run their shutdown hooks (unless `atOnce`), workers end, the store and the socket
   * are removed. To be called once; {@link hurry} hurries it.
   */
  async stop(atOnce: boolean): Promise<void> {
    if (!this.isStopping) {
      this.isStopping = true;
      this.feed({ kind: "shutdown-began" });
    }
    if (!atOnce) {
      await this.clusterActors?.shutdown();
      await new Promise<void>((resolve) => this.control.shutdown(resolve));
      if (this.config.cluster) await this.succession.handOn();
    }
    this.stateLink?.close();
    this.gpuWatch?.[Symbol.dispose]();
    await this.environments.close();
    await this.cluster?.leave();
    for (const { peer, role } of this.members.values()) {
      if (role === "worker") continue;
      this.logs.flush();
      peer.send({ t: "goodbye", reason: this.farewell });
      peer.flush();
    }
    if (atOnce) this.pool.killAll("shutdown");
    await this.pool.stopAll("shutdown", atOnce ? 0 : SHUTDOWN_GRACE_MS);
    if (atOnce) this.logs.flush();
    else await this.logs.drain();
    for (const { peer } of this.members.values()) peer.flush();
    this.inspections.close();
    this.submissions.close();
    this.deputies.close();
    clearInterval(this.controlTimer);
    this.drain.close();
    this.ownGroups.close();
    this.localGroups.close();
    this.clusterActors?.close();
    this.succession.close();
    this.stopTrimming();
    this.loop.close();
    this.shrinker.close();
    this.monitor[Symbol.dispose]();
    await this.options.socket.close();
    this.objects.close();
    this.code?.close();
    await this.store.close();
    this.limits.limits?.close(this.isExpelled && this.config.standing);
  }

  /** Why nothing more should be expected of it. */
  get notReady(): string | undefined {
    if (this.isStopping) return "this node is ending";
    return this.drain.hasBegun ? "this node is being drained" : undefined;
  }

  /** Hurries a shutdown that is under way. */
  hurry(): void {
    this.pool.killAll("shutdown");
  }

  /** For its processes: with what it gives access by they reach workers of other nodes. */
  private get place(): Pick<Welcome, "nodeId" | "access" | "code"> {
    const { nodeId, cluster } = this.config;
    return cluster ? { nodeId, access: cluster.access, ...(this.code && { code: this.code.info }) } : { nodeId };
  }

  /** Drivers of the runtime itself, such as the one that looks after submitted jobs: what they call is nobody's work. */
  private isOwn(processId: ProcessId): boolean {
    return this.members.get(processId)?.job?.namespace.startsWith(OWN_NAMESPACES) === true;
  }

  // ── processes come and go ──────────────────────────────────────────────────────────────────────────────────────────

  private welcome(hello: Hello, peer: Peer): void {
    const { processId, role, job, workerId } = hello;
    if (this.isStopping) throw new ConnectionLostError("the node is shutting down");
    if (!this.isHere(processId)) {
      throw new ConnectionLostError(`the id of process ${processId} is not one of this node's: it begins otherwise`);
    }
    if (this.members.has(processId)) throw new ConnectionLostError(`process ${processId} is connected already`);
    if (role === "driver") {
      if (!job) throw new ConnectionLostError("a driver's hello must name its job");
      if (job.quota && !this.config.cluster) {
        throw new InvalidOptionError(
          'init() option "quota" is for clusters: what a program may use of a node of its own is its option "resources"',
        );
      }
      const hasDriver = [...this.members.values()].some((member) => member.role === "driver");
      if (!this.config.standing && hasDriver) {
        throw new ConnectionLostError(
          "this node is embedded in another driver; start one to share with `mobula start`",
        );
      }
      this.namespaces.set(job.jobId, job.namespace);
    }
    if (role === "worker" && (!workerId || !this.pool.connected(workerId, processId, peer, hello.tcp))) {
      throw new ConnectionLostError(`the node has not started a worker ${String(workerId)}`);
    }
    this.members.set(processId, {
      joinedAtMs: wallMs(),
      processId,
      role,
      pid: hello.pid,
      peer,
      jobId: job?.jobId,
      job,
      workerId: role === "worker" ? workerId : undefined,
    });
    const log = role === "worker" ? this.submissions.add(processId, hello.pid) : undefined;
    const joined = role === "driver" && job ? { processId, role, job } : { processId, role };
    this.router.processJoined(processId);
    if (role === "driver" && job) this.clusterActors?.driverJoined(processId, job);
    this.control.processJoined(joined, (error) => {
      if (error) {
        peer.send({ t: "refused", code: error.code, kind: error.kind, message: error.message });
        peer.close();
        return;
      }
      this.send(processId, {
        t: "welcome",
        version: WIRE_VERSION,
        ...this.place,
        epoch: this.control.epoch,
        clockOffsetMs: clockOffsetMs(),
        capacity: this.engine.pool.total,
        store: this.store.info,
        packages: this.environments.packagesFolder,
        ...(log && { log }),
      });
    });
    if (role === "driver" && job) this.feed({ kind: "client-joined", clientId: processId, jobId: job.jobId });
    else if (workerId && role === "worker") {
      this.feed({ kind: "worker-ready", workerId, clientId: processId });
      if (this.ordered) this.startOrdered();
    }
  }

  private disconnected(processId: ProcessId, error: Error | undefined): void {
    const member = this.members.get(processId);
    if (!member) return;
    this.log.write("debug", `${member.role} ${processId} disconnected${error ? `: ${error.message}` : ""}`);
    if (member.workerId) {
      // Its death is told when its process is gone, see workerDied.
      this.pool.disconnected(member.workerId);
      return;
    }
    this.members.delete(processId);
    this.driverInspectors.left(processId);
    this.bars.processGone(processId);
    this.feed({ kind: "client-left", clientId: processId });
    this.routing.processLeft(processId, false);
    this.orphans.processGone(processId);
    this.objects.processGone(processId);
    this.liveTasks.processGone(processId);
    if (member.role !== "driver") return;
    if (member.jobId) this.ownGroups.jobEnded(member.jobId);
    if (member.jobId) {
      this.logs.jobEnded(member.jobId);
      // Detached actors go on submitting for a job without a driver.
      this.forgetJobs();
    }
    if (!this.config.standing) this.options.onDriverGone();
  }

  private placeOf(process: ProcessId): LiveRun["worker"] | undefined {
    const { workerId, pid } = this.members.get(process) ?? {};
    return workerId && pid !== undefined ? [workerId, this.config.nodeId, pid] : undefined;
  }

  private workerDied(death: WorkerDeath, processId: ProcessId | undefined): void {
    const { workerId } = death;
    const how = death.outOfMemory ?? describeExit(death.exitCode, death.signal);
    // While the node ends, those that start are ended too.
    const isStillborn = processId === undefined && death.intended === undefined && !this.isStopping;
    const words = `worker ${death.pid} ended${isStillborn ? " before it was ready" : ""}: ${death.intended ?? how}`;
    if (isStillborn) this.log.write("warn", `${words}; ${death.stderrTail}`);
    else this.log.write(death.intended ? "debug" : "info", words);
    this.deaths.set(workerId, death);
    this.bars.processGone(workerId);
    const detail = death.stderrTail === "" ? how : `${how}, ${death.stderrTail}`;
    this.duties.delete(workerId);
    if (processId !== undefined) {
      this.members.delete(processId);
      this.timeline.processGone(processId);
      this.liveTasks.processGone(processId);
      const isRetired = death.intended === "idle" || death.intended === "max-calls";
      this.deputies.succeed(processId);
      this.routing.processLeft(processId, isRetired);
      this.submissions.remove(processId);
      this.deputies.giverGone(processId, isRetired);
      this.orphans.processGone(processId);
      this.makers.set(processId, workerId);
      this.objects.processGone(processId);
    }
    this.feed({ kind: "worker-died", workerId, detail });
    this.actorControl.workerDied(death);
    this.deaths.delete(workerId);
  }

  private storeLeft(processId: ProcessId, keys: readonly OwnedKey[]): void {
    const workerId = this.makers.get(processId);
    this.makers.delete(processId);
    if (!this.isStopping) this.objects.orphaned(keys, workerId);
  }

  // ── messages ───────────────────────────────────────────────────────────────────────────────────────────────────────

  private handle(from: ProcessId, message: Exclude<ToNode, Hello>): void {
    if (!LOOKING.has(message.t)) this.shrinker.active();
    if (message.t === "object-publish") this.deputies.published(from, message);
    if (CONTROL_MESSAGES.has(message.t)) {
      // Their `t` is in the set. A node by itself is the home of all keys.
      if (this.config.cluster) this.router.fromProcess(from, message as ControlMessage);
      else this.control.handle(from, message as ControlMessage);
      return;
    }
    switch (message.t) {
      case "task-handover":
        this.deputies.handOver(from, message);
        return;
      case "log-opened":
        this.submissions.watch(from);
        return;
      case "task-copy":
        this.deputies.copy(from, message);
        return;
      case "template-drop":
        this.deputies.dropTemplates(from, message);
        return;
      case "lease-demand": {
        const { shape, demand, wanted, isOver } = message;
        const job = this.engine.tables.clients.get(from)?.job.id;
        if (job !== undefined) this.broker.demand(from, job, shape, demand, wanted, isOver);
        return;
      }
      case "lease-kept":
        this.broker.kept(from, message.leaseId, message.forMs);
        return;
      case "lease-return":
        this.broker.giveBack(from, message.leaseId, message.retire ?? false);
        return;
      case "lease-idle": {
        const { leaseId, idle } = message;
        const workerId = this.members.get(from)?.workerId;
        if (workerId) this.feed({ kind: "lease-idle", workerId, leaseId, idle });
        return;
      }
      case "lease-ended": {
        const { leaseId } = message;
        const workerId = this.members.get(from)?.workerId;
        if (!workerId) return;
        if (this.engine.workerOf(leaseId) === workerId) this.duties.delete(workerId);
        this.feed({ kind: "lease-ended", workerId, leaseId });
        return;
      }
      case "blocked": {
        const workerId = this.members.get(from)?.workerId;
        if (workerId) this.feed({ kind: "worker-blocked", workerId, blocked: message.blocked });
        return;
      }
      case "store-free":
        this.objects.free(message.names);
        return;
      case "store-copies":
        needsVersion(2, "copies of what is put");
        this.objects.keepUp(from, message);
        return;
      case "store-pin":
        this.objects.pin(from, message);
        return;
      case "objects-stated":
        this.succession.answered(from, message);
        return;
      case "store-claims":
        this.orphans.answered(from, message);
        return;
      case "store-unpin":
        this.store.unpin(from, message.keys);
        return;
      case "events":
        if (!this.isOwn(from)) this.events.push(message.batch);
        return;
      case "inspector-said":
        this.driverInspectors.heard(from, message);
        return;
      case "explained":
        this.explanations.explained(message.id, message.explanation);
        return;
      case "events-reported":
        this.timeline.reported(from, message.id);
        return;
      case "progress-bar":
        needsVersion(2, "bars of drivers");
        this.barMoved(from, message.bar);
        return;
      case "tasks-listed":
        this.liveTasks.listed(from, message);
        return;
      case "process-watch":
        this.watch.add(from, message.processId);
        return;
      case "query": {
        this.noteAsker(from, message);
        if (CONTROL_QUERIES.has(message.method)) {
          if (this.clusterActors) this.clusterActors.ask(from, message);
          else this.control.query(from, message);
          return;
        }
        void answerQuery(this, from, message).then((answer) => this.send(from, answer));
        return;
      }
      default:
        // A newer peer may say things that this version does not know.
        this.log.write("warn", `an unknown message "${String((message as { t: unknown }).t)}" was ignored`);
    }
  }

  private barMoved(from: ProcessId, said: unknown): void {
    const { pid, jobId } = this.members.get(from) ?? {};
    const bar = readBar(said);
    if (bar && pid !== undefined && jobId) this.bars.update({ process: from, pid, jobId, taskId: null }, bar);
  }

  /** A process of this machine: what the node knows of it counts, whatever it says. */
  private noteAsker(from: ProcessId, query: Query): void {
    const member = this.members.get(from);
    if (!member) return;
    const { role, pid, job, workerId } = member;
    const jobId = job?.jobId ?? (workerId && this.duties.get(workerId)?.jobId);
    this.audit.heard(query, role, { pid, host: hostname(), ...userOf(pid), ...(jobId && { jobId }) });
  }

  /** What the job's driver has said of it, if that is here. */
  private jobOf(jobId: JobId): Hello["job"] {
    for (const { job } of this.members.values()) if (job?.jobId === jobId) return job;
    return undefined;
  }

  private isLimited(jobId: JobId): boolean {
    return this.limited.has(jobId) || this.jobOf(jobId)?.quota !== undefined;
  }

  /** A node by itself has all processes. */
  private isHere(process: ProcessId): boolean {
    return !this.config.cluster || nodeTagOf(process) === nodeTag(this.config.nodeId);
  }

  private send(to: ProcessId, message: FromNode): void {
    if (this.isHere(to)) this.sendHere(to, message);
    else this.router.send(to, message);
  }

  private sendHere(to: ProcessId, message: FromNode): void {
    if (message.t === "object-cancel") this.deputies.cancelling(to, message);
    const member = this.members.get(to);
    if (member) member.peer.send(message);
    else this.deputies.deliver(to, message);
  }

  /** @param hops nodes by which the lines have come: a job whose driver has left has no node that they belong to. */
  private sendLines(jobId: JobId, message: LogLines, hops = 0): boolean {
    let isTaken = true;
    let hasDriver = false;
    for (const { jobId: job, peer } of this.members.values()) {
      if (job !== jobId) continue;
      hasDriver = true;
      if (peer.unsentBytes > LOG_BYTES_UNSENT_MAX) isTaken = false;
      else peer.send(message);
    }
    const home = hasDriver ? undefined : this.jobsElsewhere.get(jobId);
    if (home && hops < LOG_HOPS_MAX) {
      this.peers?.send(home, { t: "job-log", jobId, lines: message.lines, hops: hops + 1 });
    }
    return isTaken;
  }

  /** What is known of jobs of which nothing is left here. */
  private forgetJobs(): void {
    for (const jobId of this.namespaces.keys()) {
      if (this.engine.hasJob(jobId)) continue;
      this.namespaces.delete(jobId);
      this.jobsElsewhere.delete(jobId);
    }
    this.code?.programs.forget((jobId) => this.engine.hasJob(jobId));
  }

  // ── the lease engine ───────────────────────────────────────────────────────────────────────────────────────────────

  private feed(event: SchedulerEvent): void {
    this.loop.feed(event);
    this.drain.look();
    this.cluster?.changed();
  }

  private obey(command: SchedulerCommand): void {
    if (isAboutBundles(command)) {
      const answer = answerOf(command);
      if (this.config.cluster) this.localGroups.take(answer) || this.bundleAnswers.add(answer);
      else this.ownGroups.take(command);
      return;
    }
    switch (command.kind) {
      case "start-worker":
        if (this.ordered) this.ordered.push(command);
        else this.startWorker(command);
        return;
      case "prepare-environment":
      case "release-environment":
        this.environments.obey(command);
        return;
      case "stop-worker":
        this.pool.stop(command.workerId, INTENDED[command.reason], GRACE_MS[command.reason]);
        return;
      case "grant-lease": {
        const { workerId, leaseId, jobId, resources, gpus, clientId, shape, bundle } = command;
        const worker = this.pool.address(workerId);
        // A worker that died a moment ago: its death is on the way, and takes the lease back.
        if (!worker) return;
        this.logs.assign(workerId, jobId);
        this.limits.limits?.leased(workerId, jobId, resources);
        this.duties.set(workerId, { label: "", sinceMs: wallMs(), isRetriable: true, jobId, isActor: false });
        const namespace = this.namespaces.get(jobId) ?? "";
        // The worker hears of its lease before anybody can push a task to it.
        const peer = this.pool.get(workerId)?.peer;
        peer?.send({ t: "lease-begin", leaseId, jobId, namespace, resources, gpus, ...(bundle && { bundle }) });
        peer?.flush();
        this.routing.tellOfLease(clientId, { t: "lease-granted", shape, leaseId, worker, gpus });
        return;
      }
      case "revoke-lease":
        this.routing.tellOfLease(command.clientId, { t: "lease-revoked", leaseId: command.leaseId });
        return;
      case "preempt-lease":
        this.routing.tellOfLease(command.clientId, { t: "lease-preempted", leaseId: command.leaseId, by: command.by });
        return;
      case "question-lease":
        this.routing.tellOfLease(command.clientId, { t: "lease-question", leaseId: command.leaseId });
        return;
      case "end-lease":
        this.pool.get(command.workerId)?.peer?.send({ t: "lease-end", leaseId: command.leaseId });
        return;
      case "reclaim-lease":
        this.routing.tellOfLease(command.clientId, {
          t: "lease-reclaimed",
          shape: command.shape,
          leaseId: command.leaseId,
        });
        return;
      case "lose-lease": {
        const death = this.deaths.get(command.workerId);
        if (death) this.routing.tellOfLease(command.clientId, { t: "lease-lost", leaseId: command.leaseId, death });
        return;
      }
      case "refuse-demand": {
        const { clientId, shape, code = "INFEASIBLE", message } = command;
        // An environment may be had later, what fits nowhere may not.
        const mayChange = code !== "INFEASIBLE" && { mayChange: true as const };
        this.routing.tellOfLease(clientId, { t: "lease-refused", shape, code, message, ...mayChange });
        return;
      }
      case "grant-request": {
        const { requestId, workerId, resources, gpus } = command;
        const request = this.requests.get(requestId);
        const worker = this.pool.address(workerId);
        if (!request) return;
        this.requests.delete(requestId);
        if (!worker) {
          this.requestAgain(request);
          return;
        }
        this.logs.assign(workerId, request.jobId);
        this.limits.limits?.requested(requestId, workerId, request.jobId, resources);
        if (request.worker === "fresh") {
          const { label, retriable, jobId } = request;
          this.duties.set(workerId, { label, sinceMs: wallMs(), isRetriable: retriable, jobId, isActor: true });
        }
        this.actorControl.actorWorkerReady(requestId, worker, gpus);
        return;
      }
      case "refuse-request":
        this.requests.delete(command.requestId);
        // Or control would choose this node again.
        if (command.code === NO_ROOM_NOW) this.cluster?.report();
        this.actorControl.actorWorkerRefused(command.requestId, { code: command.code, message: command.message });
        return;
      default:
        unreachable(command);
    }
  }

  private startOrdered(): void {
    const ordered = this.ordered ?? [];
    this.ordered = undefined;
    // Each start takes milliseconds, in which others would wait for this process.
    const startNext = (): void => {
      const command = ordered.shift();
      if (!command || this.isStopping) return;
      this.startWorker(command);
      setImmediate(startNext);
    };
    setImmediate(startNext);
  }

  private startWorker({ workerId, runtimeEnv }: SchedulerCommand & { kind: "start-worker" }): void {
    try {
      this.pool.start(workerId, runtimeEnv, this.environments.find(runtimeEnv));
    } catch (error) {
      // Out of descriptors or processes, or options that spawn refuses: like a process that dies at its start.
      this.log.write("error", `a worker could not be started: ${(error as MobulaError).message}`);
      this.feed({ kind: "worker-died", workerId, detail: (error as Error).message });
    }
  }

  /** Who has the say over actors. */
  private get actorControl(): Pick<Control, "actorWorkerReady" | "actorWorkerRefused" | "workerDied"> {
    return this.clusterActors ?? this.control;
  }

  private releaseActorWorker(requestId: number): void {
    this.requests.delete(requestId);
    this.limits.limits?.released(requestId);
    this.feed({ kind: "request-released", requestId });
  }

  /** Why this node, which is one by itself, will not do. */
  private misplaced(demand: Demand): ReturnType<typeof misplacedOn> {
    return misplacedOn(this.config, demand) ?? this.ownGroups.misplaced(demand);
  }

  private groupsChanged(): void {
    this.broker.groupsChanged();
    for (const { requestId, demand } of [...this.requests.values()]) {
      const misplaced = demand.placement?.bundle && this.ownGroups.misplaced(demand);
      if (!misplaced) continue;
      this.releaseActorWorker(requestId);
      this.actorControl.actorWorkerRefused(requestId, misplaced);
    }
  }

  private requestActorWorker(request: ActorWorkerRequest): void {
    const { requestId, jobId, demand, worker } = request;
    const misplaced = this.config.cluster ? undefined : this.misplaced(demand);
    if (misplaced) {
      this.actorControl.actorWorkerRefused(requestId, misplaced);
      return;
    }
    this.requests.set(requestId, request);
    this.namespaces.set(jobId, request.namespace);
    const atOnce = request.urgent ? 0 : undefined;
    const preemptAfterMs = this.config.cluster ? atOnce : preemptAfter(this.jobOf(jobId)?.preemptAfterMs);
    const refusal = request.expectsRoom && NO_ROOM_NOW;
    this.feed({ kind: "worker-requested", requestId, jobId, demand, worker, preemptAfterMs, refusal });
  }

  /** The worker chosen for it died at this moment. */
  private requestAgain(request: ActorWorkerRequest): void {
    const { requestId, worker } = request;
    this.feed({ kind: "request-released", requestId });
    if (worker === "fresh") this.requestActorWorker(request);
    else this.actorControl.actorWorkerRefused(requestId, { code: "WORKER_DIED", message: `worker ${worker} is gone` });
  }

  private *monitoredWorkers() {
    for (const { workerId, pid, startedAtMs } of this.pool.all()) {
      const duty = this.duties.get(workerId);
      yield {
        workerId,
        pid,
        isIdle: !duty,
        isRetriable: duty?.isRetriable ?? true,
        sinceMs: duty?.sinceMs ?? startedAtMs,
        label: duty?.label ?? "idle",
      };
    }
  }
}

/** Keeps no process alive. */
function later(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms).unref();
  return () => clearTimeout(timer);
}

/** Of what a job says; negative: never. */
const preemptAfter = (ms = PREEMPT_AFTER_MS): number | undefined => (ms < 0 ? undefined : ms);

/** A folder that cannot be made is reported by the store too, which then does without. */
function makeFolder(path: string, log: NodeLog): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    log.write("warn", `the folder for spilled objects cannot be made: ${(error as Error).message}`);
  }
}
