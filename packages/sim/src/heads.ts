/**
 * The heads of a cluster: one, whose state is on its disk; or several, with the production code of leadership, epochs and
 * fencing, over servers that all of them write to.
 */
import type { NodeId } from "../../core/src/base/mod.ts";
import type { HeadRuntime } from "../../core/src/head/runtime.ts";
import { AcknowledgedState } from "./acknowledged.ts";
import { Disk } from "./disk.ts";
import { type HeadLife, SimHead } from "./head.ts";
import { SimServers } from "./servers.ts";
import type { World } from "./world.ts";

/** A standby leads within so long, when there is one that reaches the servers. */
const VACANT_MS_MAX = 5_000;
const LOOK_MS = 250;

export class SimHeads {
  readonly world: World;
  readonly all: readonly SimHead[];
  readonly disk: Disk | undefined;
  readonly servers: SimServers | undefined;
  readonly acknowledged: AcknowledgedState;
  /** Nodes of whose death somebody was told. */
  readonly declaredDead = new Set<NodeId>();
  /** How often one began to lead. */
  terms = 0;
  /** Of a head on its disk. */
  epochs = 0;
  private ledAtMs: number;
  /** Since when each could lead without a break. */
  private readonly ableSinceMs = new Map<SimHead, number>();

  constructor(world: World, count: number) {
    this.world = world;
    this.acknowledged = new AcknowledgedState(world);
    this.ledAtMs = world.clock.nowMs;
    if (count > 1) this.servers = new SimServers(world);
    else this.disk = new Disk(world);
    this.all = Array.from({ length: count }, (_, at) => new SimHead(this, at === 0 ? "head" : `head${at + 1}`));
    for (const head of this.all) head.start();
    if (this.servers) this.look(this.servers);
  }

  /** Where nodes look for them at first. */
  get addresses(): string {
    return this.all.map(({ address }) => address).join(",");
  }

  at(address: string): SimHead {
    const head = this.all.find((one) => one.address === address);
    if (!head) throw new RangeError(`there is no head at ${address}`);
    return head;
  }

  /** The one that leads, unless it is stopped. */
  get leader(): SimHead | undefined {
    return this.all.find(({ isLeading, place }) => isLeading && !place.isPaused);
  }

  get life(): HeadLife | undefined {
    return this.leader?.life;
  }

  get runtime(): HeadRuntime | undefined {
    return this.life?.runtime;
  }

  get isFull(): boolean {
    return (this.disk ?? this.servers)?.isFull ?? false;
  }

  set isFull(isFull: boolean) {
    const store = this.disk ?? this.servers;
    if (store) store.isFull = isFull;
  }

  /** One leads, if it has not taken too long to find that it may. */
  begins(): void {
    this.terms++;
    this.ledAtMs = this.world.clock.nowMs;
  }

  /** This one acts. */
  checkAlone(acting: SimHead): void {
    const other = this.all.find((one) => one !== acting && one.isLeading);
    if (other)
      this.world.failSoon("one head leads at a time", `${acting.place.name} acts, and ${other.place.name} leads`);
  }

  private look(servers: SimServers): void {
    const { clock, network } = this.world;
    const { nowMs } = clock;
    const isAble = ({ isUp, place }: SimHead): boolean =>
      isUp && !place.isPaused && !network.isCut(place.machine, servers.machine);
    for (const head of this.all) {
      if (servers.areDown || servers.isFull || !isAble(head)) this.ableSinceMs.delete(head);
      else if (!this.ableSinceMs.has(head)) this.ableSinceMs.set(head, nowMs);
    }
    if (this.leader) this.ledAtMs = nowMs;
    const vacantMs = nowMs - Math.max(this.ledAtMs, Math.min(...this.ableSinceMs.values()));
    if (vacantMs > VACANT_MS_MAX)
      this.world.failSoon("a standby leads within 5 s", `none does for ${vacantMs.toFixed()} ms`);
    clock.schedule(LOOK_MS, () => this.look(servers));
  }
}
