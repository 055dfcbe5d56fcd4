/** Control of a cluster: the production engines, one life after another over the same disk, as `head/runtime.ts` runs them. */
import { type ActorId, type MobulaError, type NodeId, nodeTag } from "../../core/src/base/mod.ts";
import type { StateChange } from "../../core/src/control/kv.ts";
import {
  ACTOR_PREFIXES,
  createMembers,
  JOB_PREFIX,
  type Member,
  type Members,
  NODE_PREFIX,
} from "../../core/src/control/mod.ts";
import { HeadActors } from "../../core/src/head/actors.ts";
import { LeaseDivisions } from "../../core/src/head/lease-divisions.ts";
import { Quotas } from "../../core/src/head/quotas.ts";
import {
  type ClusterView,
  type GroupCommand,
  GroupEngine,
  type GroupEvent,
  GroupHost,
  type GroupRecord,
} from "../../core/src/placement/mod.ts";
import { pack, unpack } from "../../core/src/wire/mod.ts";
import type { Connection } from "./connection.ts";
import { Disk } from "./disk.ts";
import type { FromHead, ToHead } from "./head-link.ts";
import type { Place } from "./network.ts";
import type { SimNode } from "./node.ts";
import { stateOver } from "./state.ts";
import type { World } from "./world.ts";

const TICK_MS = 250;
const DIVIDE_MS = 50;
const GROUP_TICK_MS = 100;
const GROUP_PREFIX = "group/";
/** By which an engine knows the attempts of those before it. */
const ATTEMPTS = 2 ** 32;
/** A node is declared dead when nothing was heard of it for so long; less is a false death. */
const SILENCE_MS = 3_900;
/** A shorter one it need not notice. */
const OWN_PAUSE_MS = 1_300;

export class SimHead {
  readonly world: World;
  readonly place: Place = { name: "head", machine: "head", isPaused: false, isLost: false, slowness: 1 };
  readonly disk: Disk;
  life: HeadLife;
  /** Nodes of whose death somebody was told. */
  readonly declaredDead = new Set<NodeId>();
  private epoch = 1;
  private stoppedAtMs = 0;

  constructor(world: World) {
    this.world = world;
    this.disk = new Disk(world);
    this.life = new HeadLife(this, this.epoch);
  }

  crash(): void {
    if (!this.life.isAlive) return;
    this.world.note("head", "crashes");
    this.life.end();
    this.disk.crash();
  }

  restart(): void {
    if (this.life.isAlive) return;
    this.life = new HeadLife(this, ++this.epoch);
    this.world.note("head", `starts, epoch ${this.epoch}`);
    this.life.restore(this.disk.entries());
  }

  pause(): void {
    this.world.note("head", "is stopped");
    this.stoppedAtMs = this.world.clock.nowMs;
    this.world.network.stop(this.place);
  }

  resume(): void {
    this.world.note("head", "goes on");
    this.life.resumed(this.stoppedAtMs);
    this.world.network.resume(this.place);
  }
}

export class HeadLife {
  readonly members: Members;
  readonly divisions: LeaseDivisions;
  readonly groups: GroupEngine;
  readonly actors: HeadActors;
  readonly epoch: number;
  isAlive = true;
  private readonly head: SimHead;
  private readonly world: World;
  /** All that were dialled: those that nothing was heard on break too, when this life ends. */
  readonly dialled = new Set<Connection>();
  private readonly connections = new Map<NodeId, Connection>();
  private readonly nodes = new Map<NodeId, SimNode>();
  private readonly heardAtMs = new Map<NodeId, number>();
  private readonly beganAtMs: number;
  private resumedAtMs = Number.NEGATIVE_INFINITY;
  /** Commands of the group engine that wait for what goes before them to be saved. */
  private readonly commands: GroupCommand[] = [];
  private isSaving = false;

  constructor(head: SimHead, epoch: number) {
    this.head = head;
    this.world = head.world;
    this.epoch = epoch;
    const { world } = this;
    this.beganAtMs = world.clock.nowMs;
    this.divisions = new LeaseDivisions(
      (to, message) => this.send(to, message),
      () => world.clock.nowMs,
    );
    this.groups = new GroupEngine(this.divisions.view, {
      infeasibleTimeoutMs: 60_000,
      firstAttempt: epoch * ATTEMPTS,
    });
    this.actors = new HeadActors({
      state: stateOver(epoch, (changes, done) => this.persist(changes, done)),
      view: this.divisions.view,
      groups: NO_GROUPS(this.divisions.view, epoch),
      nowMs: () => world.clock.nowMs,
      later: (ms, run) => world.clock.schedule(ms, () => this.isAlive && run()),
      send: (to, message) => this.send(to, message),
      quotas: new Quotas(),
      isAllowed: () => true,
      leftQuota() {},
      jobBegan() {
        // It has no quota.
      },
      jobsKnown() {
        // Nothing here goes by them.
      },
      jobEnded() {
        // The groups of these runs are of no job.
      },
    });
    this.members = createMembers(
      {
        send: (to, message) => this.send(to, message),
        refuse: (to, message) => {
          this.checkRefusal(to, message.code);
          this.send(to, message);
          this.connections.get(to)?.closedByHead();
        },
        persist: (changes, done) => this.persist(changes, done),
        joined: (member) => {
          this.joined(member);
          this.see(member);
        },
        changed: (member) => this.see(member),
        died: ({ description: { nodeId, name }, ending }) => {
          world.note("head", `${world.trace.nameOf(nodeId)} is dead: ${ending}`);
          head.declaredDead.add(nodeId);
          world.lostTags.add(nodeTag(nodeId));
          this.divisions.view.apply({ kind: "node-died", nodeId });
          this.divisions.nodeGone(nodeId);
          this.feed({ kind: "node-died", nodeId });
          this.actors.nodeDied(nodeId, name, undefined);
          this.connections.get(nodeId)?.break();
        },
      },
      { epoch },
    );
    this.each(TICK_MS, () => this.look());
    this.each(TICK_MS, () => this.actors.tick());
    this.each(DIVIDE_MS, () => {
      this.divisions.tick();
      this.actors.place();
    });
    this.each(GROUP_TICK_MS, () => this.feed({ kind: "tick" }));
  }

  /** As somebody asks for it. */
  drain(nodeId: NodeId, deadlineMs: number): void {
    this.members.drain(nodeId, deadlineMs);
    this.actors.nodeDrains(nodeId, deadlineMs);
  }

  restore(entries: readonly { readonly key: string; readonly value: Uint8Array }[]): void {
    this.members.restore(entries, this.world.clock.nowMs);
    const living = [...this.members.all()].filter(({ state }) => state !== "dead");
    for (const member of living) this.see(member);
    const about = (prefix: string) => entries.filter(({ key }) => key.startsWith(prefix));
    this.actors.restore(
      living.map(({ description }) => description.nodeId),
      [...about(ACTOR_PREFIXES), ...about(JOB_PREFIX)],
    );
    for (const { key, value } of entries) {
      if (key.startsWith(GROUP_PREFIX)) this.feed({ kind: "group-restored", record: unpack(value) as GroupRecord });
    }
    for (const { key } of entries) {
      if (!key.startsWith(NODE_PREFIX)) continue;
      const member = this.members.get(key.slice(NODE_PREFIX.length) as NodeId);
      if (member?.state === "dead") this.feed({ kind: "node-died", nodeId: member.description.nodeId });
    }
  }

  end(): void {
    this.isAlive = false;
    for (const connection of this.dialled) connection.break();
  }

  /** Its timers are due before it reads what has come meanwhile. */
  resumed(stoppedAtMs: number): void {
    if (!this.isAlive) return;
    const { nowMs } = this.world.clock;
    if (nowMs - Math.max(stoppedAtMs, this.beganAtMs) > OWN_PAUSE_MS) this.resumedAtMs = nowMs;
    this.look();
  }

  private look(): void {
    this.checkSilence();
    this.members.tick(this.world.clock.nowMs);
  }

  private each(ms: number, run: () => void): void {
    this.world.clock.schedule(ms, () => {
      if (!this.isAlive) return;
      if (!this.head.place.isPaused) run();
      this.each(ms, run);
    });
  }

  private persist(changes: readonly StateChange[], done: (error: MobulaError | undefined) => void): void {
    this.head.disk.commit(changes, (error) => {
      if (this.isAlive) done(error);
    });
  }

  // ── nodes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  connected(node: SimNode, connection: Connection): void {
    this.connections.get(node.nodeId)?.break();
    this.connections.set(node.nodeId, connection);
    this.nodes.set(node.nodeId, node);
  }

  closed(nodeId: NodeId, connection: Connection): void {
    this.dialled.delete(connection);
    if (this.connections.get(nodeId) === connection) this.connections.delete(nodeId);
  }

  hear(node: SimNode, connection: Connection, message: ToHead): void {
    const { nodeId } = node;
    if (this.connections.get(nodeId) !== connection) return;
    const { nowMs } = this.world.clock;
    if (!("t" in message)) {
      this.world.note("head", `hears ${message.kind} of ${node.place.name}`, message);
      this.feed(message);
      return;
    }
    if (message.t === "node-report" || message.t === "node-join") this.heardAtMs.set(nodeId, nowMs);
    if (message.t !== "node-report") this.world.note("head", `hears ${message.t} of ${node.place.name}`, message);
    switch (message.t) {
      case "node-join":
        this.divisions.nodeGone(nodeId);
        this.members.join(message, nowMs);
        if (this.isMember(nodeId)) {
          this.actors.nodeJoined(nodeId);
          this.feed({ kind: "node-joined", nodeId });
        }
        return;
      case "node-report":
        this.members.report(nodeId, message.use, nowMs);
        return;
      case "node-leave":
        this.members.left(nodeId, nowMs);
        return;
      case "find-node":
        this.members.find(nodeId, message.tag);
        return;
      case "divide-leases":
        this.divisions.divide(nodeId, message);
        return;
      case "forget-leases":
        this.divisions.forget(nodeId, message.key);
        return;
      case "node-ends":
      case "query":
      case "bundles-prepared":
      case "bundles-refused":
      case "bundles-committed":
      case "bundles-returned":
      case "bundles-reported":
      case "earmark-answered":
      case "answer":
        return;
      default:
        if (message.t === "relay" && message.message.t === "actor-create") this.heardOf(message.message.actorId);
        if (this.isMember(nodeId)) this.actors.hear(nodeId, message);
    }
  }

  /** What one says that was given up does not count. */
  private isMember(nodeId: NodeId): boolean {
    return (this.members.get(nodeId)?.state ?? "dead") !== "dead";
  }

  private heardOf(actorId: ActorId): void {
    if (!this.world.isBorn(actorId)) this.world.born(actorId);
  }

  private send(to: NodeId, message: FromHead): void {
    if ("t" in message && message.t === "node-welcome" && this.head.declaredDead.has(to)) {
      this.world.fail("a node that was declared dead is never believed again", to);
    }
    const node = this.nodes.get(to);
    if (!node) return;
    const connection = this.connections.get(to);
    connection?.sayToNode(() => {
      if (node.isOver || !node.cluster?.isOn(connection)) return;
      this.world.note(node.place.name, `hears ${"t" in message ? message.t : message.kind} of head`, message);
      node.cluster.hear(message);
    });
  }

  private see({ description, state, use }: Member): void {
    const { nodeId, name, total, labels, objectStoreBytes: capacityBytes } = description;
    const { view } = this.divisions;
    const store = { usedBytes: 0, capacityBytes };
    if (!view.node(nodeId)) view.apply({ kind: "node-joined", nodeId, name, total, labels, store });
    view.apply({ kind: "node-reported", nodeId, free: use.available, store });
    if (state === "draining" && view.node(nodeId)?.state.status !== "draining") {
      view.apply({ kind: "node-draining", nodeId });
      this.feed({ kind: "node-draining", nodeId });
    }
    this.feed({ kind: "view-changed" });
  }

  private joined({ description: { nodeId } }: Member): void {
    for (const other of this.members.all()) {
      const { description, state } = other;
      if (state === "dead" || description.nodeId === nodeId) continue;
      if (nodeTag(description.nodeId) === nodeTag(nodeId)) {
        this.world.fail("no two living nodes have one tag", `${nodeId} and ${description.nodeId}`);
      }
    }
  }

  private checkRefusal(nodeId: NodeId, code: string): void {
    if (code !== "NODE_DEAD" || this.head.declaredDead.has(nodeId)) return;
    if (this.members.get(nodeId)?.state === "dead") return;
    this.world.fail("what was acknowledged is there after a restart", `${nodeId}, which had been welcomed, is refused`);
  }

  /** Those that control is about to give up: nothing of them may have come lately. */
  private checkSilence(): void {
    const { nowMs } = this.world.clock;
    const before = [...this.members.all()].filter(({ state }) => state !== "dead");
    this.world.clock.schedule(0, () => {
      if (!this.isAlive) return;
      for (const { description, state, ending } of before) {
        if (state !== "dead" || ending === "it has left") continue;
        const heardMs = this.heardAtMs.get(description.nodeId) ?? Number.NEGATIVE_INFINITY;
        // Who was stopped itself could not hear.
        if (nowMs - Math.max(heardMs, this.resumedAtMs) < SILENCE_MS) {
          const detail = `${description.nodeId}, ${(nowMs - heardMs).toFixed()} ms after it was heard`;
          this.world.fail("a node of which something was heard is not declared dead", detail);
        }
      }
    });
  }

  // ── groups ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  feed(event: GroupEvent): void {
    this.commands.push(...this.groups.step(event, this.world.clock.nowMs));
    this.obey();
  }

  private obey(): void {
    while (!this.isSaving) {
      const command = this.commands.shift();
      if (!command) return;
      if (command.kind === "save-group" || command.kind === "forget-group") {
        this.save(command);
        return;
      }
      if ("attempt" in command) this.send(command.nodeId, command);
      else this.world.groups?.told(command);
    }
  }

  private save(command: GroupCommand & { readonly kind: "save-group" | "forget-group" }): void {
    this.isSaving = true;
    const change: StateChange =
      command.kind === "save-group"
        ? { key: GROUP_PREFIX + command.record.spec.groupId, value: pack(command.record) }
        : { key: GROUP_PREFIX + command.groupId, value: null };
    this.persist([change], (error) => {
      this.isSaving = false;
      if (error) {
        // A full disk: tried again until it takes it, since what comes behind must not overtake it.
        this.commands.unshift(command);
        this.world.clock.schedule(GROUP_TICK_MS, () => {
          if (this.isAlive) this.obey();
        });
        return;
      }
      this.obey();
    });
  }
}

/** These actors run in no placement groups. */
const NO_GROUPS = (view: ClusterView, epoch: number): GroupHost =>
  new GroupHost(view, epoch, {
    nowMs: () => 0,
    send() {},
    persist: (_changes, done) => done(undefined),
    changed() {},
    news() {},
  });
