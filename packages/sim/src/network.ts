/**
 * Places, and the ways between them. A way is one direction of a connection and keeps what the transport promises: what
 * is sent arrives in order and once, after a delay. A cut between two machines holds everything up until it heals; a
 * place that is stopped reads nothing until it goes on; a machine that is lost takes with it what had not arrived.
 */
import { addTo } from "../../core/src/base/index-of-sets.ts";
import type { World } from "./world.ts";

/** A process, or the machine that it runs on: where messages come from and go to. */
export interface Place {
  readonly name: string;
  readonly machine: string;
  /** Stopped: it reads and says nothing. */
  isPaused: boolean;
  isLost: boolean;
  /** What takes it so many times longer than others. */
  slowness: number;
}

export interface Way {
  readonly from: Place;
  readonly to: Place;
}

export class Network {
  private readonly world: World;
  /** Pairs of machines that do not reach each other. */
  private readonly cuts = new Set<string>();
  private readonly heldUp = new Set<Channel>();
  private readonly healedMs = new Map<string, number>();
  private readonly channels = new Map<string, Set<Channel>>();

  constructor(world: World) {
    this.world = world;
  }

  cut(a: string, b: string): void {
    this.cuts.add(pair(a, b));
  }

  heal(a: string, b: string): void {
    if (this.cuts.delete(pair(a, b))) this.healedMs.set(pair(a, b), this.world.clock.nowMs);
    this.look();
  }

  isCut(a: string, b: string): boolean {
    return this.cuts.has(pair(a, b));
  }

  /** Since when they reach each other, if they do. */
  healedAtMs(a: string, b: string): number {
    return this.healedMs.get(pair(a, b)) ?? Number.NEGATIVE_INFINITY;
  }

  stop(place: Place): void {
    place.isPaused = true;
  }

  resume(place: Place): void {
    place.isPaused = false;
    this.look();
  }

  /** The machine is gone, and with it some of what it had sent: each way loses all from one message on. */
  lose(machine: string): void {
    for (const channel of this.channels.get(machine) ?? []) channel.lose();
    this.channels.delete(machine);
    this.look();
  }

  /** A way that leads off a machine. */
  leaves(machine: string, channel: Channel): void {
    addTo(this.channels, machine, channel);
  }

  closed(machine: string, channel: Channel): void {
    this.channels.get(machine)?.delete(channel);
  }

  holdUp(channel: Channel): void {
    this.heldUp.add(channel);
  }

  isHeldUp({ from, to }: Way): boolean {
    return to.isPaused || (from.machine !== to.machine && this.isCut(from.machine, to.machine));
  }

  private look(): void {
    for (const channel of this.heldUp) {
      if (channel.way && this.isHeldUp(channel.way)) continue;
      this.heldUp.delete(channel);
      this.world.clock.schedule(this.world.delayMs(), () => channel.goOn());
    }
  }
}

const pair = (a: string, b: string): string => (a < b ? `${a} ${b}` : `${b} ${a}`);

const SLOW_CHANCE = 0.1;
const SLOWNESS = 30;

/** One direction of a connection: what is sent arrives in order, after a delay; closing comes last. */
export class Channel {
  readonly way: Way | undefined;
  private readonly world: World;
  /** Some ways are longer than others, so news comes late that others have had by another way. */
  private readonly slowness: number = 1;
  /** How many have arrived. */
  arrived = 0;
  private lastMs = 0;
  private isClosed = false;
  /** Sent, and on its way. */
  private underWay = 0;
  /** How many of those still arrive, once the sender's machine is lost. */
  private arriving: number | undefined;
  private readonly waiting: (() => void)[] = [];

  constructor(world: World, way?: Way) {
    this.world = world;
    this.way = way;
    if (!way || way.from.machine === way.to.machine) return;
    world.network.leaves(way.from.machine, this);
    if (world.prng.chance(SLOW_CHANCE)) this.slowness = SLOWNESS;
  }

  get hasUnderWay(): boolean {
    return this.underWay > 0 || this.waiting.length > 0;
  }

  send(deliver: () => void): void {
    if (this.isClosed) return;
    const { clock } = this.world;
    const slowness = this.way ? Math.max(this.slowness, this.way.from.slowness, this.way.to.slowness) : 1;
    this.lastMs = Math.max(this.lastMs, clock.nowMs + this.world.delayMs() * slowness);
    this.underWay++;
    clock.schedule(this.lastMs - clock.nowMs, () => this.arrive(deliver));
  }

  close(closed: () => void): void {
    this.send(closed);
    this.isClosed = true;
  }

  /** At once: nothing more arrives, whatever is on its way. */
  cutOff(): void {
    this.isClosed = true;
    this.arriving = 0;
    this.waiting.length = 0;
  }

  lose(): void {
    this.isClosed = true;
    this.waiting.length = 0;
    this.arriving ??= this.world.prng.below(this.underWay + 1);
  }

  goOn(): void {
    const { network } = this.world;
    while (this.waiting.length > 0) {
      if (this.way && network.isHeldUp(this.way)) {
        network.holdUp(this);
        return;
      }
      this.arrived++;
      this.waiting.shift()?.();
    }
  }

  private arrive(deliver: () => void): void {
    this.underWay--;
    if (this.arriving !== undefined && --this.arriving < 0) return;
    const { network } = this.world;
    if (this.way && (this.waiting.length > 0 || network.isHeldUp(this.way))) {
      this.waiting.push(deliver);
      network.holdUp(this);
      return;
    }
    this.arrived++;
    deliver();
  }
}
