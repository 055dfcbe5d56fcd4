/** A node's side of its connection to control, as `node/cluster-link.ts`: joins, reports, redials. */
import type { FromControl, ToControl } from "../../core/src/wire/cluster-messages.ts";
import type { BundleOrder, BundleReply } from "./bundles.ts";
import { Connection } from "./connection.ts";
import type { SimNode } from "./node.ts";

export type ToHead = ToControl | BundleReply;
export type FromHead = FromControl | BundleOrder;

const REPORT_MS = 1_000;
const CHANGE_MS = 50;
const REDIAL_MS_MIN = 50;
const REDIAL_MS_MAX = 1_000;

export class HeadLink {
  private readonly node: SimNode;
  private connection: Connection | undefined;
  private memberSince: number | undefined;
  private isReportDue = false;
  private waitMs = REDIAL_MS_MIN;

  constructor(node: SimNode) {
    this.node = node;
    this.dial();
    this.reportEachSecond();
  }

  get isMember(): boolean {
    return this.memberSince !== undefined;
  }

  /** Nothing is read of one that has ended. */
  isOn(connection: Connection): boolean {
    return this.connection === connection;
  }

  changed(): void {
    if (this.isReportDue) return;
    this.isReportDue = true;
    this.node.later(CHANGE_MS, () => this.report());
  }

  /** Nothing happens while control cannot be reached. */
  say(message: ToHead): void {
    const { connection, node } = this;
    const { head } = node.world;
    if (!connection || !head) return;
    const life = head.life;
    connection.sayToHead(() => {
      if (life.isAlive) life.hear(node, connection, message);
    });
  }

  /** The network drops the connection. */
  reset(): void {
    this.connection?.break();
  }

  private reportEachSecond(): void {
    this.node.later(REPORT_MS, () => {
      this.report();
      this.reportEachSecond();
    });
  }

  private report(): void {
    this.isReportDue = false;
    if (this.memberSince === undefined) return;
    this.say({ t: "node-report", use: this.node.use });
    for (const ask of this.node.bundles.asks(this.node.world.clock.nowMs)) this.say(ask);
  }

  private dial(): void {
    const { node } = this;
    const { world } = node;
    const { prng, network, head } = world;
    if (this.connection || node.isOver || !head) return;
    const reached = head.life.isAlive && !network.isCut(node.place.machine, head.place.machine);
    if (!reached) {
      this.redial();
      return;
    }
    this.waitMs = REDIAL_MS_MIN;
    const life = head.life;
    const connection: Connection = new Connection(world, node.place, head.place, {
      onHeadClosed: () => life.closed(node.nodeId, connection),
      onNodeClosed: () => {
        if (this.connection !== connection) return;
        this.connection = undefined;
        node.controlLost();
        this.redial();
      },
    });
    this.connection = connection;
    life.dialled.add(connection);
    connection.sayToHead(() => {
      if (life.isAlive) life.connected(node, connection);
    });
    const { memberSince } = this;
    const join: ToHead = {
      t: "node-join",
      node: node.description,
      use: node.use,
      ...(memberSince !== undefined && { memberSince }),
    };
    this.say(join);
    // What a node says twice means the same as once.
    if (prng.chance(0.1)) this.say(join);
    for (const report of node.bundles.report()) this.say(report);
  }

  private redial(): void {
    const { node } = this;
    node.later(this.waitMs * (0.5 + node.world.prng.float()), () => this.dial());
    this.waitMs = Math.min(2 * this.waitMs, REDIAL_MS_MAX);
  }

  hear(message: FromHead): void {
    const { node } = this;
    if (!("t" in message)) {
      const reply = node.bundles.obey(message, node.world.clock.nowMs);
      if (reply) this.say(reply);
      this.changed();
      return;
    }
    switch (message.t) {
      case "node-welcome":
        this.memberSince = message.epoch;
        node.welcomed(message.nodes, message.epoch);
        return;
      case "nodes-changed":
        node.heardOf(message.nodes);
        return;
      case "node-refused":
        node.expelled(message.code);
        return;
      case "node-found":
        node.found(message);
        return;
      case "leases-divided":
        node.broker.divided(message);
        return;
      case "node-drain":
        node.drains(message.deadlineMs);
        return;
      case "known-heads":
      case "answer":
      case "query":
      case "prepare-bundles":
      case "commit-bundles":
      case "return-bundles":
      case "earmark":
      case "clear-earmark":
      case "for-heir":
      case "limited-jobs":
        return;
      default:
        node.fromControl(message);
    }
  }
}
