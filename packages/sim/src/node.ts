/** A node's process: its engines as in production, composed as in `node/runtime.ts`, their commands carried out in virtual time. */
import {
  type JobId,
  type LeaseId,
  type NodeId,
  nodeTag,
  nodeTagOf,
  objectKey,
  type ProcessId,
  type ResourceUnits,
  type StoredName,
  type WorkerId,
} from "../../core/src/base/mod.ts";
import { specKeys } from "../../core/src/control/actor-record.ts";
import {
  CONTROL_HOME,
  CONTROL_MESSAGES,
  type Control,
  type ControlMessage,
  createControl,
  createRouter,
  holderOf,
  type Router,
} from "../../core/src/control/mod.ts";
import { storeRooms } from "../../core/src/head/store-rooms.ts";
import { isAboutBundles } from "../../core/src/node/bundles.ts";
import { ClusterActors } from "../../core/src/node/cluster-actors.ts";
import { Drain } from "../../core/src/node/drain.ts";
import { LeaseBroker } from "../../core/src/node/lease-broker.ts";
import { Neighbours } from "../../core/src/node/neighbours.ts";
import { available, bundleUse } from "../../core/src/node/node-queries.ts";
import { NodeObjects } from "../../core/src/node/objects.ts";
import { Orphans } from "../../core/src/node/orphans.ts";
import { ProcessWatch } from "../../core/src/node/process-watch.ts";
import { NodeRouting, type OtherBetweenNodes, packable } from "../../core/src/node/routing.ts";
import { nodeHolder, Succession } from "../../core/src/node/succession.ts";
import { adopt, Copies, cancelUnheld, saysWhoDelivers } from "../../core/src/owner/mod.ts";
import type { StoreRoom } from "../../core/src/pull/mod.ts";
import { LeaseEngine, type SchedulerCommand, type SchedulerEvent } from "../../core/src/scheduler/mod.ts";
import type { OwnedKey } from "../../core/src/store/mod.ts";
import {
  type ActorWorkerRequest,
  type BetweenNodes,
  NO_ROOM_NOW,
  type NodeDescription,
  type NodeUse,
} from "../../core/src/wire/cluster-messages.ts";
import type {
  FromNode,
  StorePinned,
  TaskHandover,
  ToNode,
  WorkerAddress,
  WorkerDeath,
} from "../../core/src/wire/mod.ts";
import { SimBulk } from "./bulk.ts";
import { BUNDLE_RESOURCE, BUNDLE_UNITS } from "./bundles.ts";
import { HeadLink } from "./head-link.ts";
import type { Place } from "./network.ts";
import { NodeGroups } from "./node-groups.ts";
import { NodeLinks } from "./node-links.ts";
import { SimProcess } from "./process.ts";
import { PAGE_BYTES, SimStore } from "./store.ts";
import { SimWorker } from "./worker.ts";
import type { World } from "./world.ts";

const TOTAL: ResourceUnits = { cpu: 40_000, slot: 20_000 };
const TICK_MS = 50;
const STORE_PAGES = 200;

interface Granted {
  readonly workerId: WorkerId;
  /** Of a lease. */
  clientId: ProcessId | undefined;
  readonly resources: ResourceUnits;
  isBlocked: boolean;
}

export interface SimNodeOptions {
  readonly name: string;
  readonly nodeId: NodeId;
  readonly machine: string;
  /** One of several. */
  readonly isClustered: boolean;
  readonly total?: ResourceUnits;
  /** Of its store. */
  readonly storePages?: number;
}

export class SimNode {
  readonly world: World;
  readonly nodeId: NodeId;
  readonly place: Place;
  readonly control: Control;
  readonly broker: LeaseBroker;
  readonly router: Router;
  readonly links: NodeLinks;
  readonly groups: NodeGroups;
  readonly store: SimStore;
  readonly bulk: SimBulk;
  private readonly ownObjects: NodeObjects;
  cluster: HeadLink | undefined;
  /** In a cluster, whose control has the say over actors. */
  private readonly clusterActors: ClusterActors | undefined;
  /** Its process has ended, or its machine is lost. */
  isOver = false;
  private readonly options: SimNodeOptions;
  private readonly total: ResourceUnits;
  private readonly startedMs: number;
  private steadySinceMs = Number.NEGATIVE_INFINITY;
  private readonly leases: LeaseEngine;
  private readonly neighbours: Neighbours;
  private readonly succession: Succession;
  readonly routing: NodeRouting;
  private readonly orphans = new Orphans({
    owners: () => this.processesHere().map(({ id }) => id),
    send: (to, message) => this.sendHere(to, message),
    published: (names) => this.control.storedAmong(names),
    // They may have been let go of while owners were asked, and then it is said twice, which does nothing.
    free: (names) => this.free(names.filter((name) => !this.world.stored.isFreed(name))),
  });
  private readonly watch = new ProcessWatch({
    isKnown: (home) => this.neighbours.get(home) !== undefined,
    watch: (process) => this.router.watch(process),
    send: (to, message) => this.sendHere(to, message),
    later: (ms, run) => this.laterUnless(ms, run),
  });
  private readonly drain = new Drain({
    steps: [
      {
        what: "tasks and actors",
        begin: () => {
          this.step({ kind: "drain-began" });
          this.broker.drain();
        },
        isDone: () => this.leases.isQuiet,
      },
      { what: "objects", isDone: () => this.leases.isQuiet && this.objects.moveOff(this.succession.lent()) },
      { what: "drivers", isDone: () => !this.processesHere().some(({ isDriver }) => isDriver) },
    ],
    end: () => this.leave(),
    log: (message) => this.world.note(this.place.name, message),
    later: (ms, run) => this.laterUnless(ms, run),
  });
  private drainsUntilMs = Number.POSITIVE_INFINITY;
  private readonly resumed: (() => void)[] = [];
  private readonly events: SchedulerEvent[] = [];
  private isStepping = false;
  private readonly deputies = new Map<ProcessId, SimProcess>();
  /** Of each process, that say who delivers what. */
  private readonly messages = new Map<ProcessId, number>();
  private readonly copies = new Map<ProcessId, Copies>();
  /** Tasks of owners that died, in the whole run. */
  inherited = 0;
  /** Tasks, in the whole run; those that were taken among them. */
  handedOver = 0;
  taken = 0;
  private readonly deaths = new Map<ProcessId, WorkerDeath>();
  /** Everything in use, kept apart from the engine that decides about it. */
  private readonly granted = new Map<string, Granted>();

  constructor(world: World, options: SimNodeOptions) {
    this.world = world;
    this.options = options;
    this.nodeId = options.nodeId;
    this.startedMs = world.clock.nowMs;
    this.total = { ...(options.total ?? TOTAL), ...(options.isClustered && { [BUNDLE_RESOURCE]: BUNDLE_UNITS }) };
    this.place = { name: options.name, machine: options.machine, isPaused: false, isLost: false, slowness: 1 };
    world.trace.name(this.nodeId, options.name);
    world.nodes.set(this.nodeId, this);
    this.links = new NodeLinks(this);
    const { clock, prng } = world;
    this.leases = new LeaseEngine({
      total: this.total,
      gpuIds: [],
      infeasibleTimeoutMs: 2_000,
      newWorkerId: () => prng.hex(8) as WorkerId,
      nodeName: options.name,
      ...(options.isClustered && { isShared: true }),
    });
    this.groups = new NodeGroups(this, {
      pool: this.leases.pool,
      mayPlace: () => !this.drain.hasBegun,
      feed: (event) => this.step(event),
    });
    const here = nodeTag(this.nodeId);
    const home = { here, actors: options.isClustered ? CONTROL_HOME : here };
    this.clusterActors = options.isClustered
      ? new ClusterActors(this.nodeId, {
          say: (message) => this.cluster?.say(message),
          request: (request) => this.requestActorWorker(request),
          release: (requestId) => this.releaseActorWorker(requestId),
          kill: (workerId, reason) => this.kill(workerId, reason),
          driverAt() {},
          send: (to, message) => this.sendHere(to, message),
          processes: () => this.processesHere().map(({ id }) => id),
          later: (ms, run) => this.laterUnless(ms, run),
          mentioned: () => [holderOf(here), this.control.actorsMentioned()],
        })
      : undefined;
    this.router = createRouter(home, {
      handle: (from, message) => this.control.handle(from, message),
      joined: (processId) => this.control.processJoined({ processId, role: "worker" }),
      gone: (process) => {
        this.step({ kind: "client-left", clientId: process });
        this.control.processGone(process);
        this.watch.gone(process);
      },
      send: (to, message) => this.sendHere(to, message),
      toHome: (to, message) => {
        if (to === CONTROL_HOME) this.clusterActors?.toControl(message);
        else this.neighbours.toHome(to, message);
      },
      isDead: (tag) => this.neighbours.isDead(tag),
      resolve: (tag) => this.neighbours.resolve(tag),
    });
    this.neighbours = new Neighbours(this.nodeId, {
      send: (node, message) => this.links.send(node, message),
      hear: (from, message) => this.fromNode(from, message),
      find: (tag) => this.cluster?.say({ t: "find-node", tag }),
      changed: (node) => this.links.know(node),
      died: (tag, node, homes) => {
        if (node) this.links.know(node);
        if (node) this.broker.nodeDied(node.nodeId, node.name);
        this.world.wake();
        this.succession.died(tag, homes);
      },
      heirNamed: (heir) => this.succession.heirNamed(heir),
    });
    this.broker = new LeaseBroker(this.nodeId, {
      hasControl: options.isClustered,
      misplaced: () => undefined,
      demandHere: (clientId, shape, demand, wanted) =>
        this.step({ kind: "demand-changed", clientId, shape, demand, wanted }),
      overHere: (clientId, shape) => this.step({ kind: "demand-over", clientId, shape }),
      returnHere: (clientId, leaseId, retire) => this.leaseReturned(clientId, leaseId, retire),
      toNode: (node, message) => this.links.send(node, message),
      divide: (message) => this.cluster?.say(message),
      granted: (message) => this.cluster?.say(message),
      forget: (key) => this.cluster?.say({ t: "forget-leases", key }),
      tell: (client, notice) => this.sendHere(client, notice),
      packable: (demand) => packable(demand.resources, this.leases.pool),
      namespaceOf: () => "",
      infeasibleMs: () => 0,
      preemptAfterMs: () => undefined,
      keptHere: (clientId, leaseId, forMs) => this.step({ kind: "lease-kept", clientId, leaseId, forMs }),
      isLimited: () => false,
    });
    this.control = createControl(
      {
        nowMs: () => clock.nowMs,
        send: (to, message) => this.send(to, message),
        requestActorWorker: (request) => this.requestActorWorker(request),
        releaseActorWorker: (requestId) => this.releaseActorWorker(requestId),
        killWorker: (workerId, intended) => this.kill(workerId, intended),
        freeStored: (names) => this.free(names),
        backUp: (key, value) => {
          world.wake();
          this.succession.backUp(key, value);
        },
        keepUp: (value) => this.objects.keepUpInherited(value),
        persist: (_changes, done) => this.later(world.delayMs(), () => done(undefined)),
      },
      {
        nodeId: this.nodeId,
        epoch: 1,
        ...(options.isClustered && {
          cluster: {
            ...home,
            elsewhere: this.router.holdsElsewhere,
            resolve: (tag: string) => this.neighbours.resolve(tag),
          },
        }),
      },
    );
    const self = (here + "0".repeat(16)) as ProcessId;
    const capacityBytes = (options.storePages ?? STORE_PAGES) * PAGE_BYTES;
    this.store = new SimStore(this, { self, capacityBytes, spillBytesMax: capacityBytes });
    this.bulk = new SimBulk(this);
    this.ownObjects = new NodeObjects({
      ...{ nodeId: this.nodeId, self, store: this.store, capacityBytes, links: this.bulk },
      // Some take nothing in stripes, as nodes of an older release.
      stripedBytesMin: world.prng.chance(0.2) ? Number.POSITIVE_INFINITY : 2 * PAGE_BYTES,
      onPinned: (process, pinned) => this.pinned(process, pinned),
      published: (names) => this.control.storedAmong(names),
      onOrphans: (names, workerId) => this.orphans.ask(names, workerId),
      send: (to, message) => this.neighbours.toHome(to, message),
      isDead: (tag) => this.neighbours.isDead(tag),
      resolve: (home) => this.neighbours.resolve(home),
      keeper: (besides) => this.keeper(besides),
      mayKeep: (tag) => (tag === here ? !this.drain.hasBegun : this.neighbours.get(tag)?.state === "alive"),
      findRooms: () => this.findRooms(),
      later: (ms, run) => this.laterUnless(ms, run),
      onCopied: (process, copied) => {
        world.stored.acknowledged(copied.name, this, copied.warning !== undefined);
        this.sendHere(process, copied);
      },
      onMoved: () => {
        this.drain.look();
        this.succession.moved();
      },
      offer: () => Promise.reject(new Error("all of these can be dialled")),
      nowMs: () => clock.nowMs,
      sleep: (ms, signal) => this.sleep(ms, signal),
      log() {},
    });
    const { control, router, objects, neighbours } = this;
    this.succession = new Succession(this.nodeId, {
      ...{ control, router, objects },
      resolve: (tag) => neighbours.resolve(tag),
      isDead: (tag) => neighbours.isDead(tag),
      living: () => [...neighbours.all()].map(([tag]) => tag),
      toHome: (tag, message) => neighbours.toHome(tag, message),
      toHeir: (heir, message) => {
        const node = neighbours.get(heir);
        if (node) this.links.send(node.nodeId, message);
      },
      processes: () => this.processesHere().map(({ id }) => id),
      send: (to, message) => this.sendHere(to, message),
      later: (ms, run) => this.laterAwake(ms, run),
    });
    const { nodeId, leases, broker, watch, clusterActors, succession } = this;
    const { local: localGroups } = this.groups;
    this.routing = new NodeRouting(
      { nodeId, leases, control, router, neighbours, broker, watch, objects, succession, localGroups, clusterActors },
      {
        feed: (event) => this.step(event),
        say: (message) => this.cluster?.say(message),
        jobAsked() {},
        leaseReturned: (client, leaseId, retire) => this.leaseReturned(client, leaseId, retire),
        other: (_from, message) => this.otherFromNode(message),
      },
    );
    this.control.processJoined({ processId: nodeHolder(this.nodeId), role: "worker" });
    if (options.isClustered && world.head) this.cluster = new HeadLink(this, world.head.addresses);
    this.tick();
  }

  /** As `node/store-rooms.ts`: what control answers, if it does. */
  private findRooms(): Promise<readonly StoreRoom[]> {
    const { world, nodeId, place } = this;
    return new Promise((resolve) => {
      this.later(2 * world.delayMs(), () => {
        const { life, place: there } = world.head?.leader ?? {};
        const isReached = life && !world.network.isCut(place.machine, there?.machine ?? "");
        world.wake();
        const rooms = isReached ? storeRooms(life.runtime.members.all(), nodeId, () => world.prng.float()) : undefined;
        const others = [...this.neighbours.all()].map(([node]) => ({
          node,
          freeBytes: 0,
          capacityBytes: 0,
          labels: {},
        }));
        const found = rooms?.map(({ nodeId: id, ...room }) => ({ node: nodeTag(id), ...room })) ?? others;
        const { capacityBytes } = this.store;
        const freeBytes = capacityBytes - this.store.usedBytes();
        resolve([...found, { node: nodeTag(nodeId), freeBytes, capacityBytes, labels: {} }]);
      });
    });
  }

  private sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      this.later(ms, () => {
        this.world.wake();
        resolve();
      });
      signal.addEventListener("abort", () => reject(signal.reason as Error));
    });
  }

  /** Later, unless the node is no more by then; when it is stopped, when it goes on. */
  later(ms: number, run: () => void): void {
    this.world.clock.schedule(ms, () => this.run(run));
  }

  private laterUnless(ms: number, run: () => void): () => void {
    let isDue = true;
    this.later(ms, () => isDue && run());
    return () => {
      isDue = false;
    };
  }

  /** The same, for what settles promises. */
  laterAwake(ms: number, run: () => void): () => void {
    return this.laterUnless(ms, () => {
      this.world.wake();
      run();
    });
  }

  /** At once, or when it goes on. */
  whenRunning(run: () => void): void {
    this.run(run);
  }

  private run(run: () => void): void {
    if (this.isOver) return;
    if (this.place.isPaused) this.resumed.push(run);
    else run();
  }

  whenResumed(run: () => void): void {
    this.resumed.push(run);
  }

  // ── other nodes ────────────────────────────────────────────────────────────────────────────────────────────────────

  get description(): NodeDescription {
    return {
      nodeId: this.nodeId,
      name: this.options.name,
      address: this.options.name,
      total: this.total,
      labels: {},
      objectStoreBytes: (this.options.storePages ?? STORE_PAGES) * PAGE_BYTES,
    };
  }

  use(isFirst: boolean): NodeUse {
    return {
      ...bundleUse(this.leases, isFirst),
      available: available(this.leases),
      inherited: this.control.inheritedHomes(),
      storeUsedBytes: this.store.usedBytes(),
      storeSpilledBytes: 0,
      events: { keptBytes: 0, droppedBatches: 0 },
    };
  }

  /** Since when nothing but the head itself has kept it from hearing this node. */
  reachableSinceMs(machine: string): number {
    const { clock, network } = this.world;
    const { isPaused, slowness } = this.place;
    if (isPaused || slowness > 1 || network.isCut(this.place.machine, machine)) return clock.nowMs;
    return Math.max(this.startedMs, this.steadySinceMs, network.healedAtMs(this.place.machine, machine));
  }

  private requestActorWorker({ requestId, jobId, demand, worker, expectsRoom }: ActorWorkerRequest): void {
    this.step({ kind: "worker-requested", requestId, jobId, demand, worker, refusal: expectsRoom && NO_ROOM_NOW });
  }

  private releaseActorWorker(requestId: number): void {
    this.granted.delete(`request ${requestId}`);
    this.step({ kind: "request-released", requestId });
  }

  /** Who has the say over actors. */
  private get actorControl(): Pick<Control, "actorWorkerReady" | "actorWorkerRefused" | "workerDied"> {
    return this.clusterActors ?? this.control;
  }

  private processesHere(): readonly SimProcess[] {
    return [...this.world.processes.values()].filter(
      ({ node, isAlive, hasJoined }) => node === this && isAlive && hasJoined,
    );
  }

  hears(from: NodeId, message: BetweenNodes): void {
    this.neighbours.fromNode(from, message);
  }

  knows(other: NodeId): boolean {
    return this.neighbours.get(nodeTag(other)) !== undefined;
  }

  private fromNode(from: NodeId, message: BetweenNodes): void {
    // What they are told may settle promises.
    this.world.wake();
    if (message.t === "heir-keeps" || message.t === "heir-drops" || message.t === "for-heir")
      this.world.heirs.hears(this, message);
    this.routing.fromNode(from, message);
  }

  private otherFromNode(message: OtherBetweenNodes): void {
    if (message.t === "worker-order" && message.kill !== undefined)
      this.killLeased(message.workerId, message.lease, message.kill);
  }

  // ── objects ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** What they are told may settle promises. */
  get objects(): NodeObjects {
    this.world.wake();
    return this.ownObjects;
  }

  /** As far as this node knows. */
  neighbour(tag: string): SimNode | undefined {
    const known = this.neighbours.get(tag);
    return known && this.world.nodes.get(known.nodeId);
  }

  has(name: StoredName): boolean {
    return this.ownObjects.has(name);
  }

  copiesOf(name: StoredName): number {
    return this.ownObjects.copiesOf(name).length;
  }

  private free(names: readonly StoredName[]): void {
    this.world.stored.freed(names);
    this.objects.free(names);
  }

  private pinned(process: ProcessId, pinned: StorePinned): void {
    const { error, name } = pinned;
    if (error?.code === "INTERNAL") this.world.failure ??= new Error(error.message);
    if (error?.code === "OBJECT_LOST") this.world.stored.notToBeHad(name, this);
    this.sendHere(process, pinned);
  }

  private leaseReturned(clientId: ProcessId, leaseId: LeaseId, retire: boolean): void {
    const granted = this.granted.get(`lease ${leaseId}`);
    if (granted?.clientId === clientId) this.granted.delete(`lease ${leaseId}`);
    this.step({ kind: "lease-returned", clientId, leaseId, retire });
  }

  private isHere(process: ProcessId): boolean {
    return nodeTagOf(process) === nodeTag(this.nodeId);
  }

  // ── drain ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  drains(deadlineMs: number): void {
    const { world } = this;
    const endsAtMs = world.clock.nowMs + deadlineMs;
    this.drainsUntilMs = Math.min(this.drainsUntilMs, endsAtMs);
    this.drain.begin(deadlineMs, world.clock.nowMs);
    // One that was stopped meanwhile ends when it goes on.
    this.later(deadlineMs + 1, () => {
      if (!this.isOver) world.fail("a drain ends by its deadline", `${this.nodeId} goes on`);
    });
  }

  private keeper(besides: ReadonlySet<string>): string | undefined {
    const here = nodeTag(this.nodeId);
    if (!besides.has(here) && !this.drain.hasBegun) return here;
    return [...this.neighbours.all()].find(([tag, { state }]) => state === "alive" && !besides.has(tag))?.[0];
  }

  /** All is done, or its time is over. */
  private leave(): void {
    const isInOrder = this.world.clock.nowMs < this.drainsUntilMs;
    if (!isInOrder) {
      this.ends(false);
      return;
    }
    this.world.wake();
    void this.succession.handOn().then(() => this.ends(this.world.clock.nowMs < this.drainsUntilMs));
  }

  private ends(isInOrder: boolean): void {
    if (this.isOver) return;
    if (isInOrder) this.world.stored.checkMoved(this);
    this.world.note(this.place.name, isInOrder ? "leaves" : "leaves what is here");
    this.cluster?.say({ t: "node-leave" });
    this.vanish();
    this.onExpelled("DRAINED");
  }

  // ── faults ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  pause(): void {
    this.world.note(this.place.name, "is stopped");
    this.world.network.stop(this.place);
  }

  resume(): void {
    this.world.note(this.place.name, "goes on");
    this.steadySinceMs = this.world.clock.nowMs;
    this.world.network.resume(this.place);
    for (const run of this.resumed.splice(0)) this.run(run);
  }

  /** Its machine is gone at once: nobody is told. */
  lose(): void {
    if (this.isOver) return;
    this.world.note(this.place.name, "is lost");
    this.place.isLost = true;
    this.vanish();
    this.world.network.lose(this.place.machine);
    if (this.world.prng.chance(0.5)) this.cluster?.reset();
  }

  /** Control has given it up: it ends its workers, and a new one begins on its machine. */
  expelled(code: string): void {
    if (this.isOver) return;
    this.world.note(this.place.name, `is refused: ${code}`);
    this.vanish();
    this.world.network.lose(this.place.machine);
    this.onExpelled(code);
  }

  onExpelled: (code: string) => void = () => {};

  private vanish(): void {
    this.world.stored.losing();
    this.isOver = true;
    this.groups.local.close();
    // One that was refused for its tag takes nothing with it of the other that has it.
    const tag = nodeTag(this.nodeId);
    const isTaken = [...this.world.nodes.values()].some(({ isOver, nodeId }) => !isOver && nodeTag(nodeId) === tag);
    if (!isTaken) this.world.lostTags.add(tag);
    for (const process of this.world.processes.values()) if (process.node === this) process.vanish();
  }

  private tick(): void {
    this.control.tick();
    for (const { process } of this.world.workers.values())
      if (process.node === this && process.isAlive && this.world.prng.chance(this.world.chances.taken))
        this.takeLog(process);
    this.step({ kind: "tick" });
    this.later(TICK_MS, () => this.tick());
  }

  hasCopies({ id }: SimProcess): boolean {
    return this.copies.get(id)?.isEmpty === false;
  }

  /** Others may have it keep something. */
  get mayKeep(): boolean {
    return !this.isOver && !this.drain.hasBegun;
  }

  get isAllBack(): boolean {
    return this.granted.size === 0;
  }

  describeGranted(): string {
    return [...this.granted.keys()].join(", ");
  }

  private send(to: ProcessId, message: FromNode): void {
    if (this.isHere(to)) this.sendHere(to, message);
    else this.router.send(to, message);
  }

  private sendHere(to: ProcessId, message: FromNode): void {
    if (message.t === "object-cancel") this.copies.get(to)?.cancelling(message);
    this.world.processes.get(to)?.fromNode(message);
  }

  // ── processes ──────────────────────────────────────────────────────────────────────────────────────────────────

  driverJoined(driver: SimProcess): void {
    const job = { jobId: driver.jobId, namespace: driver.jobId, name: "sim", metadata: {} };
    this.router.processJoined(driver.id);
    driver.hasJoined = true;
    this.clusterActors?.driverJoined(driver.id, job);
    this.control.processJoined({ processId: driver.id, role: "driver", job });
    this.step({ kind: "client-joined", clientId: driver.id, jobId: driver.jobId });
  }

  private startWorker(workerId: WorkerId): void {
    const { world } = this;
    this.later(20 + world.delayMs() * this.place.slowness, () => {
      const worker = new SimWorker(this, workerId);
      this.router.processJoined(worker.process.id);
      worker.process.hasJoined = true;
      this.control.processJoined({ processId: worker.process.id, role: "worker" });
      this.step({ kind: "worker-ready", workerId, clientId: worker.process.id });
    });
  }

  /** SIGKILL; what it sent before is still read. */
  kill(workerId: WorkerId, intended: string): void {
    this.end(workerId, { intended });
  }

  killAnywhere({ workerId, nodeId }: WorkerAddress, lease: LeaseId, why: string): void {
    if (nodeId === this.nodeId) this.killLeased(workerId, lease, why);
    else this.links.send(nodeId, { t: "worker-order", workerId, lease, kill: why });
  }

  private killLeased(workerId: WorkerId, lease: LeaseId | undefined, why: string): void {
    if (lease === undefined || this.leases.workerOf(lease) === workerId) this.kill(workerId, why);
  }

  crash(worker: SimWorker): void {
    this.world.note(this.place.name, `loses ${worker.process.place.name}`);
    this.world.crashed.add(worker.process.id);
    this.end(worker.workerId, {});
  }

  private end(workerId: WorkerId, why: { readonly intended?: string }): void {
    const worker = this.world.workers.get(workerId);
    if (worker === undefined || !worker.process.isAlive || worker.process.node !== this) return;
    const { pid, id } = worker.process;
    this.deaths.set(id, { workerId, pid, exitCode: null, signal: "SIGKILL", stderrTail: "", ...why });
    // To be killed on purpose is a crash too, for what it still owed, unless it was idle.
    if (why.intended !== "idle" && why.intended !== "retired") this.world.crashed.add(id);
    worker.die();
  }

  /** Everything it sent has been read. */
  disconnected(process: SimProcess): void {
    if (this.isOver) return;
    const death = this.deaths.get(process.id);
    const isRetired = death?.intended === "idle" || death?.intended === "retired";
    this.succeed(process);
    this.processLeft(process.id, isRetired);
    const deputy = this.deputies.get(process.id);
    this.deputies.delete(process.id);
    if (!isRetired) deputy?.turn((engine) => cancelUnheld(engine, (key) => this.control.isHeldBeside(key, deputy.id)));
    if (death === undefined) {
      this.drain.look();
      this.step({ kind: "client-left", clientId: process.id });
      return;
    }
    for (const [key, { workerId }] of this.granted) if (workerId === death.workerId) this.granted.delete(key);
    this.step({ kind: "worker-died", workerId: death.workerId, detail: "it was killed" });
    this.actorControl.workerDied(death);
  }

  /** All that it said was handled. */
  private processLeft(process: ProcessId, isRetired: boolean): void {
    this.routing.processLeft(process, isRetired);
    this.orphans.processGone(process);
    this.objects.processGone(process);
  }

  /** What it has made may be known to nobody: some of what it has said to others may not arrive. */
  storeLeft(process: ProcessId, keys: readonly OwnedKey[]): void {
    this.objects.orphaned(keys, this.deaths.get(process)?.workerId);
  }

  /** What begins in a worker is of the owner that has leased it, unless that one is dead. */
  checkLease({ workerId }: SimWorker, owner: SimProcess): void {
    if (this.isOver || !owner.isAlive || this.place.isPaused) return;
    for (const { clientId, workerId: id } of this.granted.values())
      if (id === workerId && clientId === owner.id) return;
    this.world.fail("a worker runs only what it is leased for", `${workerId} runs a task of ${owner.id}`);
  }

  // ── messages and commands ──────────────────────────────────────────────────────────────────────────────────────

  receive(from: SimProcess, message: ToNode): void {
    if (this.isOver) return;
    this.world.note(this.place.name, `hears ${message.t} of ${from.place.name}`, message);
    if (saysWhoDelivers(message)) this.messages.set(from.id, (this.messages.get(from.id) ?? 0) + 1);
    const isHeardOf = message.t === "actor-create" && !this.options.isClustered;
    if (isHeardOf && !this.world.isBorn(message.actorId)) this.world.born(message.actorId);
    if (message.t === "object-publish") {
      for (const { key, value } of message.objects) if (value) this.world.mentions(key, value.nested);
    }
    if (message.t === "actor-create" && this.options.isClustered) this.world.givesControl(specKeys(message.spec));
    if (message.t === "object-publish") this.copies.get(from.id)?.published(message.objects);
    if (CONTROL_MESSAGES.has(message.t)) {
      this.handle(from.id, message as ControlMessage);
      return;
    }
    switch (message.t) {
      case "task-handover":
        this.adopt(from, message);
        break;
      case "template-drop":
        this.deputies.get(from.id)?.turn(() => this.copies.get(from.id)?.dropTemplates(message.ids));
        break;
      case "task-copy":
        this.deputyOf(from, message.jobId).turn(() => this.copies.get(from.id)?.add(message));
        for (const seq of message.escaped) this.world.copied.add(objectKey(from.id, seq));
        break;
      case "lease-demand": {
        const { shape, wanted, demand, isOver } = message;
        const job = this.leases.tables.clients.get(from.id)?.job.id;
        if (job !== undefined) this.broker.demand(from.id, job, shape, demand, wanted, isOver);
        break;
      }
      case "lease-return":
        this.broker.giveBack(from.id, message.leaseId, message.retire ?? false);
        break;
      case "lease-idle":
      case "lease-ended":
        for (const { process, workerId } of this.world.workers.values()) {
          if (process !== from) continue;
          const { leaseId } = message;
          if (message.t === "lease-ended") this.step({ kind: "lease-ended", workerId, leaseId });
          else this.step({ kind: "lease-idle", workerId, leaseId, idle: message.idle });
        }
        break;
      case "blocked":
        this.blocked(from, message.blocked);
        break;
      case "process-watch":
        this.watch.add(from.id, message.processId);
        break;
      case "objects-stated":
        this.succession.answered(from.id, message);
        break;
      case "store-claims":
        this.orphans.answered(from.id, message);
        break;
      case "store-copies":
        this.objects.keepUp(from.id, message);
        break;
      case "store-free":
        this.free(message.names);
        break;
      case "store-pin":
        this.objects.pin(from.id, message);
        break;
      case "store-unpin":
        this.store.unpin(from.id, message.keys);
        break;
      case "query":
        this.world.wake();
        void this.groups.answer(message).then((answer) => this.sendHere(from.id, answer));
        break;
      default:
        break;
    }
  }

  /** A node by itself is the home of all keys. */
  private handle(from: ProcessId, message: ControlMessage): void {
    if (message.t === "hold-grant") this.world.gives(from, message.to, message.keys);
    if (this.options.isClustered) this.router.fromProcess(from, message);
    else this.control.handle(from, message);
  }

  // ── what was handed over ───────────────────────────────────────────────────────────────────────────────────────

  private deputyOf(giver: SimProcess, jobId: JobId): SimProcess {
    let deputy = this.deputies.get(giver.id);
    if (!deputy) {
      deputy = new SimProcess(this, { deputyOf: giver });
      this.deputies.set(giver.id, deputy);
      this.copies.set(giver.id, new Copies(deputy.engine, deputy, { self: deputy.id, giver: giver.id }));
      this.router.processJoined(deputy.id);
      deputy.hasJoined = true;
      this.control.processJoined({ processId: deputy.id, role: "worker" });
      this.step({ kind: "client-joined", clientId: deputy.id, jobId, isDeputy: true });
    }
    return deputy;
  }

  /** Its thread does not come back. */
  takeLog(from: SimProcess): void {
    const taken = from.takeLog(this.messages.get(from.id) ?? 0);
    if (!taken) return;
    this.taken += taken.handover.tasks.length;
    const objects = taken.unpublished.map((key) => ({ key }));
    if (objects.length > 0) this.handle(from.id, { t: "object-publish", objects });
    this.adopt(from, taken.handover);
  }

  private adopt(from: SimProcess, message: TaskHandover): void {
    const deputy = this.deputyOf(from, message.jobId);
    this.copies.get(from.id)?.handedOver(message);
    deputy.turn((engine) => {
      adopt(engine, deputy, { self: deputy.id, giver: from.id }, message);
      this.handedOver += message.tasks.length;
    });
  }

  /** It is dead: what it had not handed over is seen through by the copies. */
  private succeed(process: SimProcess): void {
    const deputy = this.deputies.get(process.id);
    const copies = this.copies.get(process.id);
    if (!deputy || !copies) return;
    deputy.turn(() => {
      this.inherited += copies.succeed(() => {
        const leases = [...this.leases.leasesOf(process.id)].flatMap(({ leaseId, workerId }) => {
          const worker = this.world.workers.get(workerId)?.address;
          return worker ? [{ leaseId, worker }] : [];
        });
        this.step({ kind: "leases-inherited", clientId: process.id, heir: deputy.id });
        for (const { leaseId } of leases) {
          const granted = this.granted.get(`lease ${leaseId}`);
          if (granted) granted.clientId = deputy.id;
        }
        return leases;
      });
    });
  }

  private blocked(from: SimProcess, isBlocked: boolean): void {
    for (const worker of this.world.workers.values()) {
      if (worker.process !== from) continue;
      for (const granted of this.granted.values()) {
        if (granted.workerId === worker.workerId) granted.isBlocked = isBlocked;
      }
      this.step({ kind: "worker-blocked", workerId: worker.workerId, blocked: isBlocked });
    }
  }

  private step(event: SchedulerEvent): void {
    this.events.push(event);
    if (this.isStepping) return;
    this.isStepping = true;
    for (let next = this.events.shift(); next; next = this.events.shift()) {
      for (const command of this.leases.step(next, this.world.clock.nowMs)) this.carryOut(command);
    }
    this.isStepping = false;
    this.drain.look();
    this.cluster?.changed();
  }

  private carryOut(command: SchedulerCommand): void {
    const { world } = this;
    if (isAboutBundles(command)) {
      this.groups.take(command);
      return;
    }
    switch (command.kind) {
      case "grant-lease": {
        const worker = world.workers.get(command.workerId);
        if (worker === undefined) throw new RangeError(`worker ${command.workerId} was granted before it started`);
        this.take(`lease ${command.leaseId}`, command.workerId, command.resources, command.clientId);
        const { leaseId, shape, jobId, resources, gpus } = command;
        this.send(worker.process.id, { t: "lease-begin", leaseId, jobId, namespace: jobId, resources, gpus });
        this.routing.tellOfLease(command.clientId, {
          t: "lease-granted",
          shape,
          leaseId,
          worker: worker.address,
          gpus,
        });
        break;
      }
      case "grant-request": {
        const worker = world.workers.get(command.workerId);
        if (worker === undefined) throw new RangeError(`worker ${command.workerId} was granted before it started`);
        this.take(`request ${command.requestId}`, command.workerId, command.resources);
        this.actorControl.actorWorkerReady(command.requestId, worker.address, command.gpus);
        break;
      }
      case "revoke-lease":
        this.routing.tellOfLease(command.clientId, { t: "lease-revoked", leaseId: command.leaseId });
        break;
      case "end-lease": {
        const worker = world.workers.get(command.workerId);
        if (worker) this.send(worker.process.id, { t: "lease-end", leaseId: command.leaseId });
        break;
      }
      case "reclaim-lease":
        this.granted.delete(`lease ${command.leaseId}`);
        this.routing.tellOfLease(command.clientId, {
          t: "lease-reclaimed",
          shape: command.shape,
          leaseId: command.leaseId,
        });
        break;
      case "lose-lease": {
        const worker = world.workers.get(command.workerId);
        const death = worker && this.deaths.get(worker.process.id);
        if (death) this.routing.tellOfLease(command.clientId, { t: "lease-lost", leaseId: command.leaseId, death });
        break;
      }
      case "refuse-demand":
        this.routing.tellOfLease(command.clientId, {
          t: "lease-refused",
          shape: command.shape,
          code: command.code ?? "INFEASIBLE",
          message: command.message,
        });
        break;
      case "prepare-environment":
        this.later(1_000 * this.place.slowness, () => {
          this.step({ kind: "environment-ready", envKey: command.envKey });
        });
        break;
      case "release-environment":
        break;
      case "refuse-request":
        if (command.code === NO_ROOM_NOW) this.cluster?.report();
        this.actorControl.actorWorkerRefused(command.requestId, command);
        break;
      case "start-worker":
        this.startWorker(command.workerId);
        break;
      case "stop-worker":
        this.kill(command.workerId, command.reason);
        break;
    }
  }

  /** Blocked work lends its CPUs, and may take them back when there are none: then nothing may be granted. */
  private take(key: string, workerId: WorkerId, resources: ResourceUnits, clientId?: ProcessId): void {
    if (this.drain.hasBegun) this.world.fail("a node that is drained takes no new work", `${key} at ${this.nodeId}`);
    this.granted.set(key, { workerId, resources, clientId, isBlocked: false });
    this.world.note(this.place.name, `grants ${key}`, { workerId, clientId, resources });
    this.checkRoom(key, resources);
  }

  /** After something was granted, or reserved. */
  checkRoom(what: string, resources: ResourceUnits): void {
    for (const [name, total] of Object.entries(this.total)) {
      if ((resources[name] ?? 0) === 0) continue;
      let used = this.groups.bundles.unitsOf(name);
      for (const one of this.granted.values()) {
        if (!(one.isBlocked && name === "cpu")) used += one.resources[name] ?? 0;
      }
      if (used > total) {
        this.world.fail(
          "resources are never granted twice",
          `${used} of ${total} ${name} after ${what} at ${this.nodeId}`,
        );
      }
    }
  }
}
