/**
 * Nodes that place groups by themselves, and a control, for tests: lease engines and group host as in production, an ordered way
 * between each node and control, and a state store of which what was not written yet is lost with control. What moves next is the
 * test's choice.
 */
import { ConnectionLostError } from "../base/errors.ts";
import type { JobId, NodeId, WorkerId } from "../base/ids.ts";
import { type Resources, toUnits } from "../base/resources.ts";
import { ClusterView, GROUP_PREFIX, GroupHost, REMOVED_GROUP_PREFIX } from "../placement/mod.ts";
import { LeaseEngine, type SchedulerEvent } from "../scheduler/mod.ts";
import type { BundlesAnswer, BundlesOrder, BundleUse, GroupsNoted, GroupsPlaced } from "../wire/cluster-messages.ts";
import type { GroupRequest } from "../wire/queries.ts";
import { answerOf, eventOf, isAboutBundles } from "./bundles.ts";
import { LocalGroups } from "./local-groups.ts";
import { available } from "./node-queries.ts";

export type ToHead =
  | BundlesAnswer
  | GroupsPlaced
  | { readonly t: "report"; readonly free: Resources; readonly uses: readonly BundleUse[] }
  | { readonly t: "ask"; run(host: GroupHost): void };
export type ToNode = BundlesOrder | GroupsNoted | { readonly t: "answer"; run(): void };

export const requestOf = (groupId: string, bundles: readonly Resources[], more: Partial<GroupRequest> = {}) => ({
  groupId,
  bundles: bundles.map(toUnits),
  strategy: "PACK" as const,
  selectors: [],
  jobId: "j" as JobId,
  namespace: "",
  lifetime: "owner" as const,
  ...more,
});

export class LocalNode {
  readonly id: NodeId;
  readonly engine: LeaseEngine;
  readonly local: LocalGroups;
  readonly toHead: ToHead[] = [];
  readonly toNode: ToNode[] = [];
  isAlive = true;
  isDraining = false;
  isLimited = false;
  isConnected = false;
  private readonly world: LocalWorld;
  private readonly timers: { readonly atMs: number; run(): void }[] = [];
  private readonly asked = new Set<(error: Error) => void>();

  constructor(world: LocalWorld, name: string, resources: Resources, gpuIds: readonly string[] = []) {
    this.world = world;
    this.id = name as NodeId;
    let workers = 0;
    const newWorkerId = (): WorkerId => `${name} ${++workers}` as WorkerId;
    this.engine = new LeaseEngine({
      ...{ total: toUnits(resources), gpuIds, infeasibleTimeoutMs: 1_000, newWorkerId, nodeName: name },
    });
    this.local = new LocalGroups({
      labels: { name },
      pool: this.engine.pool,
      mayPlace: () => !this.isDraining,
      isLimited: () => this.isLimited,
      feed: (event) => this.feed(event),
      isConnected: () => this.isConnected,
      report: (isAll) => this.report(isAll),
      say: (message) => this.say(message),
      later: (ms, run) => {
        const timer = { atMs: world.nowMs + ms, run };
        this.timers.push(timer);
        return () => void (this.timers.includes(timer) && this.timers.splice(this.timers.indexOf(timer), 1));
      },
      nowMs: () => world.nowMs,
    });
  }

  feed(event: SchedulerEvent): void {
    for (const command of this.engine.step(event, this.world.nowMs)) {
      if (!isAboutBundles(command)) continue;
      const answer = answerOf(command);
      if (this.local.take(answer)) continue;
      this.report();
      this.say(answer);
    }
  }

  report(isAll = false): void {
    if (!this.isConnected) return;
    this.local.tell();
    this.say({ t: "report", free: available(this.engine), uses: this.engine.bundles.use(isAll) });
  }

  say(message: ToHead): void {
    this.local.tell();
    if (this.isConnected) this.toHead.push(message);
  }

  create(request: GroupRequest): Promise<boolean> {
    return this.local.create(request, () =>
      this.ask((host, done) => {
        host.create(request, this.id);
        host.whenReady(request.groupId, (refusal) => done(refusal ? new Error(refusal.code) : undefined));
      }),
    );
  }

  remove(groupId: string): Promise<boolean> {
    return this.local.remove(groupId) ?? this.ask((host, done) => host.remove(groupId, () => done(undefined), this.id));
  }

  private ask(what: (host: GroupHost, done: (error: Error | undefined) => void) => void): Promise<boolean> {
    if (!this.isConnected) return Promise.reject(new ConnectionLostError("control is away"));
    const { life } = this.world;
    return new Promise((resolve, reject) => {
      this.asked.add(reject);
      const answer = (error: Error | undefined): void => {
        this.asked.delete(reject);
        if (error) reject(error);
        else resolve(true);
      };
      this.say({
        t: "ask",
        run: (host) =>
          what(host, (error) => {
            if (this.world.life === life) this.toNode.push({ t: "answer", run: () => answer(error) });
          }),
      });
    });
  }

  hear(message: ToNode): void {
    if (message.t === "answer") message.run();
    else if (message.t === "groups-noted") this.local.noted(message);
    else {
      this.local.order(message);
      this.feed(eventOf(message));
    }
  }

  tick(): void {
    for (const timer of [...this.timers]) {
      if (timer.atMs > this.world.nowMs) continue;
      this.timers.splice(this.timers.indexOf(timer), 1);
      timer.run();
    }
    this.feed({ kind: "tick" });
  }

  /** With what was on its way. */
  disconnected(): void {
    this.isConnected = false;
    this.toHead.length = 0;
    this.toNode.length = 0;
    this.local.lost();
    for (const reject of [...this.asked]) reject(new ConnectionLostError("control is away"));
    this.asked.clear();
  }

  welcomed(): void {
    this.isConnected = true;
    this.local.welcomed();
    for (const held of this.engine.bundles.reserved()) this.say({ t: "bundles-reported", ...held });
  }

  /** The bundles of the group that are usable here. */
  has(groupId: string): boolean {
    return [...this.engine.bundles.reserved()].some((one) => one.groupId === groupId && one.isCommitted);
  }
}

export class LocalWorld {
  nowMs = 0;
  readonly nodes: readonly LocalNode[];
  /** What is written down. */
  readonly records = new Map<string, Uint8Array>();
  host: GroupHost;
  view = new ClusterView();
  private readonly resources: readonly Resources[];
  private writes: (() => void)[] = [];
  private epoch = 1;
  /** Of control: what an earlier one says does not arrive. */
  life = 1;

  constructor(resources: readonly Resources[]) {
    this.resources = resources;
    this.nodes = resources.map((of, index) => new LocalNode(this, `n${index + 1}`, of));
    this.host = this.newHost();
    for (const node of this.nodes) this.join(node);
  }

  get living(): readonly LocalNode[] {
    return this.nodes.filter(({ isAlive }) => isAlive);
  }

  private newHost(): GroupHost {
    this.writes = [];
    const { writes, life } = this;
    const send = (id: NodeId, message: ToNode): void => {
      if (this.life === life) this.node(id).toNode.push(message);
    };
    return new GroupHost(this.view, this.epoch, {
      nowMs: () => this.nowMs,
      wallMs: () => this.nowMs,
      send,
      noted: send,
      persist: (changes, done) =>
        writes.push(() => {
          for (const { key, value } of changes) {
            if (![GROUP_PREFIX, REMOVED_GROUP_PREFIX].some((prefix) => key.startsWith(prefix)))
              throw new Error(`a record of a group is ${key}`);
            if (value) this.records.set(key, value);
            else this.records.delete(key);
          }
          done(undefined);
        }),
      changed() {},
      news(message) {
        throw new Error(message);
      },
    });
  }

  node(id: string): LocalNode {
    const node = this.nodes.find((one) => one.id === id);
    if (!node) throw new Error(`there is no node ${id}`);
    return node;
  }

  private join(node: LocalNode): void {
    const total = toUnits(this.resources[this.nodes.indexOf(node)] ?? {});
    this.view.apply({ kind: "node-joined", nodeId: node.id, name: node.id, total, labels: { name: node.id } });
    this.view.apply({ kind: "node-reported", nodeId: node.id, free: available(node.engine) });
    this.host.nodeReported(node.id, node.engine.bundles.use(true), true);
    if (node.isDraining) this.drains(node);
    this.host.nodeJoined(node.id);
    node.welcomed();
  }

  private drains(node: LocalNode): void {
    this.view.apply({ kind: "node-draining", nodeId: node.id });
    this.host.nodeDraining(node.id);
  }

  // ── what happens ───────────────────────────────────────────────────────────────────────────────────────────────────

  toHead(node: LocalNode): boolean {
    const message = node.isAlive ? node.toHead.shift() : undefined;
    if (!message) return false;
    if (message.t === "ask") message.run(this.host);
    else if (message.t === "groups-placed") this.host.nodePlaced(node.id, message);
    else if (message.t === "report") {
      this.view.apply({ kind: "node-reported", nodeId: node.id, free: message.free });
      this.host.nodeReported(node.id, message.uses, false);
    } else this.host.hear(node.id, message);
    return true;
  }

  toNode(node: LocalNode): boolean {
    const message = node.isAlive ? node.toNode.shift() : undefined;
    if (message) node.hear(message);
    return message !== undefined;
  }

  write(): boolean {
    const write = this.writes.shift();
    write?.();
    return write !== undefined;
  }

  pass(ms: number): void {
    this.nowMs += ms;
    for (const node of this.living) node.tick();
    this.host.tick();
  }

  kill(node: LocalNode): void {
    if (!node.isAlive) return;
    node.isAlive = false;
    node.disconnected();
    this.view.apply({ kind: "node-died", nodeId: node.id });
    this.host.nodeDied(node.id);
  }

  drain(node: LocalNode): void {
    if (!node.isAlive || node.isDraining) return;
    node.local.tell();
    node.isDraining = true;
    node.feed({ kind: "drain-began" });
    this.drains(node);
  }

  /** Of control; what it had not written down is lost, and it is away until {@link restart}. */
  crash(): void {
    this.life++;
    this.writes = [];
    for (const node of this.living) node.disconnected();
  }

  restart(): void {
    this.epoch++;
    this.view = new ClusterView();
    this.host = this.newHost();
    const records = (prefix: string): { readonly key: string; readonly value: Uint8Array }[] =>
      [...this.records].flatMap(([key, value]) => (key.startsWith(prefix) ? [{ key, value }] : []));
    this.host.restore(records(GROUP_PREFIX), records(REMOVED_GROUP_PREFIX));
    for (const node of this.nodes) {
      if (node.isAlive) this.join(node);
      else this.host.nodeDied(node.id);
    }
  }

  /** Until nothing moves. */
  async settle(): Promise<void> {
    for (let round = 0; round < 1_000; round++) {
      // What is said at the end of a turn.
      await new Promise(setImmediate);
      let moved = this.write();
      for (const node of this.living) {
        while (this.toHead(node)) moved = true;
        while (this.toNode(node)) moved = true;
      }
      if (!moved) return;
    }
    throw new Error("it never settles");
  }
}
