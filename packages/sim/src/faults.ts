/** What goes wrong in a cluster, at random, until it is told to stop; then everything is whole again. */
import { type NodeId, nodeTag } from "../../core/src/base/mod.ts";
import type { SimHead } from "./head.ts";
import type { SimHeads } from "./heads.ts";
import { SimNode } from "./node.ts";
import type { SimServers } from "./servers.ts";
import type { World } from "./world.ts";

/** Between two faults, on average. */
const FAULT_MS = 400;
/** A short one is a pause for everybody; a long one is a death. */
const SHORT_MS = 3_000;
const LONG_MS = 6_000;
const UNHEARD_MS = 15_000;
const DRAIN_MS = 20_000;

export class Faults {
  /** How often each kind was brought about. */
  readonly counts: Record<string, number> = {};
  private readonly world: World;
  private readonly repairs = new Set<() => void>();
  private isOver = false;
  private machines = 0;

  constructor(world: World) {
    this.world = world;
  }

  begin(): void {
    this.next();
  }

  /** No more of them, and what is broken is mended. */
  end(): void {
    this.isOver = true;
    for (const repair of [...this.repairs]) repair();
  }

  startNode(machine = `m${++this.machines}`): SimNode {
    const { world } = this;
    const { prng } = world;
    const name = `n${world.nodes.size + 1}`;
    let id = prng.hex(16);
    // One that looks like another: control is to refuse it.
    const other = prng.chance(0.1) ? prng.pick(this.living()) : undefined;
    if (other) id = nodeTag(other.nodeId) + id.slice(8);
    const total = { cpu: prng.between(2, 4) * 10_000, slot: 20_000 };
    const storePages = prng.between(16, 120);
    const node = new SimNode(world, { name, nodeId: id as NodeId, machine, isClustered: true, total, storePages });
    world.note(name, `starts on ${machine}`);
    node.onExpelled = () => this.startLater(machine);
    return node;
  }

  private startLater(machine: string): void {
    const { clock, prng } = this.world;
    clock.schedule(prng.float() * SHORT_MS, () => this.startNode(machine));
  }

  living(): SimNode[] {
    return [...this.world.nodes.values()].filter(({ isOver }) => !isOver);
  }

  private next(): void {
    const { clock, prng } = this.world;
    clock.schedule(prng.float() * 2 * FAULT_MS, () => {
      if (this.isOver) return;
      this.bringAbout();
      this.next();
    });
  }

  private bringAbout(): void {
    const { world } = this;
    const { prng, network, head } = world;
    const node = prng.pick(this.living());
    if (!node || !head) return;
    if (head.servers && prng.chance(0.3)) {
      this.ofServers(head, head.servers);
      return;
    }
    const one = this.someHead(head);
    const roll = prng.below(100);
    if (roll < 8) {
      // Some machine goes on in any case.
      if (this.living().length < 3) return;
      this.count("machine lost");
      node.lose();
      this.startLater(`m${++this.machines}`);
    } else if (roll < 18) {
      if (node.place.isPaused) return;
      this.count("node stopped");
      node.pause();
      this.mendLater(() => node.resume());
    } else if (roll < 32) {
      const other = prng.pick(this.living());
      if (other && other !== node) this.cut("nodes cut off from each other", node.place.machine, other.place.machine);
    } else if (roll < 45) this.cut("node cut off from control", node.place.machine, one.place.machine);
    else if (roll < 50) {
      this.count("node cut off from all");
      for (const { place } of [...this.living(), ...head.all]) {
        if (place.machine !== node.place.machine) network.cut(node.place.machine, place.machine);
      }
      const { machine } = node.place;
      this.mendLater(() => {
        for (const { place } of [...world.nodes.values(), ...head.all]) network.heal(machine, place.machine);
      });
    } else if (roll < 53) {
      const { runtime } = head;
      if (!runtime || this.living().length < 3) return;
      this.count("node drained");
      runtime.drainNode(node.nodeId, prng.float() * DRAIN_MS);
    } else if (roll < 60) {
      this.count("connection to control reset");
      node.cluster?.reset();
    } else if (roll < 68) {
      if (!one.isUp) return;
      this.count("control crashed");
      one.crash();
      this.mendLater(() => one.start(), head.servers ? LONG_MS : SHORT_MS);
    } else if (roll < 74) {
      if (one.place.isPaused) return;
      this.count("control stopped");
      one.pause();
      this.mendLater(() => one.resume());
    } else if (roll < 80) {
      if (head.isFull) return;
      this.count("disk of control full");
      head.isFull = true;
      this.mendLater(() => {
        head.isFull = false;
      }, SHORT_MS);
    } else if (roll < 83) {
      this.count("disk of control full while a node is cut off, and control crashes");
      head.isFull = true;
      const { machine } = node.place;
      network.cut(machine, one.place.machine);
      world.clock.schedule(LONG_MS, () => {
        if (this.isOver) return;
        one.crash();
        this.mendLater(() => one.start(), SHORT_MS);
      });
      this.mendAfter(LONG_MS + SHORT_MS, () => {
        head.isFull = false;
        network.heal(machine, one.place.machine);
      });
    } else if (roll < 86) {
      if (node.store.isDiskFull) return;
      this.count("disk of a store full");
      node.store.isDiskFull = true;
      this.mendLater(() => {
        node.store.isDiskFull = false;
      });
    } else if (roll < 91) {
      if (node.place.slowness > 1) return;
      this.count("node slow");
      node.place.slowness = prng.between(5, 40);
      this.mendLater(() => {
        node.place.slowness = 1;
      });
    } else if (this.living().length < 6) {
      this.count("node added");
      this.startNode();
    }
  }

  /** Rather the one that leads. */
  private someHead(heads: SimHeads): SimHead {
    const { prng } = this.world;
    return (prng.chance(0.7) ? heads.leader : undefined) ?? prng.pick(heads.all) ?? (heads.all[0] as SimHead);
  }

  /** Of replicated state. */
  private ofServers(heads: SimHeads, servers: SimServers): void {
    const { prng } = this.world;
    const roll = prng.below(10);
    if (roll < 6) {
      const { machine } = this.someHead(heads).place;
      // As long as it takes to find that the one which leads does nothing, and for a new one to give up nodes that it does not hear.
      this.cut("head cut off from its state", machine, servers.machine, prng.chance(0.3) ? UNHEARD_MS : SHORT_MS);
    } else if (roll < 8) {
      if (servers.areDown) return;
      this.count("servers of control down");
      servers.areDown = true;
      this.mendLater(() => {
        servers.areDown = false;
      });
    } else {
      if (servers.areWeak) return;
      this.count("servers of control change their leader");
      servers.areWeak = true;
      this.mendLater(() => {
        servers.areWeak = false;
      });
    }
  }

  private cut(what: string, a: string, b: string, forMs?: number): void {
    const { network } = this.world;
    if (network.isCut(a, b)) return;
    this.count(what);
    network.cut(a, b);
    this.mendLater(() => network.heal(a, b), forMs);
  }

  private mendLater(repair: () => void, atMost = this.world.prng.chance(0.3) ? LONG_MS : SHORT_MS): void {
    this.mendAfter(this.world.prng.float() * atMost, repair);
  }

  private mendAfter(ms: number, repair: () => void): void {
    const mend = (): void => {
      if (this.repairs.delete(mend)) repair();
    };
    this.repairs.add(mend);
    this.world.clock.schedule(ms, mend);
  }

  private count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
    this.world.note("faults", what);
  }
}
