/**
 * One run: drivers do random things while workers, and in a cluster machines, networks and control, fail; then all wind
 * down, and nothing is left.
 */
import { setImmediate as othersTurn } from "node:timers/promises";
import { type NodeId, nodeTag, nodeTagOf, type ObjectKey } from "../../core/src/base/mod.ts";
import { Faults } from "./faults.ts";
import { SimGroups } from "./groups.ts";
import { SimHeads } from "./heads.ts";
import { SimNode } from "./node.ts";
import { SimProcess } from "./process.ts";
import type { SimWorker } from "./worker.ts";
import { type Chances, InvariantViolation, World } from "./world.ts";

export interface SimulationOptions {
  readonly seed: number;
  /** Things that the drivers' programs do, together. */
  readonly steps: number;
  /** Left out: one, by itself. */
  readonly nodes?: number;
  /** Of a cluster: several share replicated state. Left out: drawn from the seed. */
  readonly heads?: number;
  /** What a failure shows: events in which one of these words occurs; left out, ids that have to do with it. */
  readonly about?: readonly string[];
  /** So many of them. */
  readonly lines?: number;
  /** Virtual time within which every call must have ended, and then everything be gone. */
  readonly endingMs?: number;
}

export interface SimulationResult {
  readonly seed: number;
  readonly steps: number;
  readonly events: number;
  readonly virtualSeconds: number;
  readonly workers: number;
  readonly crashes: number;
  readonly handedOver: number;
  readonly taken: number;
  readonly inherited: number;
  readonly storedObjects: number;
  /** Objects of nodes that were lost, which others had to keep for them. */
  readonly inheritedObjects: number;
  /** Objects that were brought to other nodes. */
  readonly copies: number;
  /** Objects that were put with copies, and had them. */
  readonly keptCopies: number;
  readonly deadActors: number;
  /** Of a cluster. */
  readonly nodes: number;
  readonly groups: number;
  /** Of those that were asked for, how many a node has placed by itself. */
  readonly localGroups: number;
  /** How often a head began to lead. */
  readonly terms: number;
  readonly faults: Readonly<Record<string, number>>;
  /** Of all that happened, in order. */
  readonly trace: string;
}

const ENDING_MS = 180_000;
/** By then actors have ended of whose last handles control knows that they are gone. */
const LAST_HANDLES_MS = 30_000;
/** One run in so many has replicated control, of so many heads. */
const REPLICATED_EACH = 4;
const HEADS = 3;
const ALONE: Chances = { crash: 0.03, driverCrash: 0.002, handover: 0.2, taken: 0.3, delayMsMax: 40 };
const CLUSTERED: Chances = { ...ALONE, crash: 0.04, driverCrash: 0.01, isBusy: true };
/** With so many of its turns a driver, or what it has started, asks for a placement group. */
/** Some processes stand still for a while before they are killed: what is written to them then is lost with them. */
const STUCK_MS_MAX = 500;
const GROUP_CHANCE = 0.25;
const TRACE_LINES = 60;
const NO_ACTORS = { actors: { pending: 0, alive: 0, restarting: 0 } };

/** A run that broke an invariant, with what led to it. */
export class SimulationFailure extends Error {
  readonly invariant: string;
  readonly trace: string;
  constructor(message: string, invariant: string, trace: string, cause: unknown) {
    super(message, { cause });
    this.invariant = invariant;
    this.trace = trace;
  }
}

/** @throws SimulationFailure that names the seed, the time and the invariant that was broken. */
export async function simulate({
  seed,
  steps,
  nodes,
  heads = seed % REPLICATED_EACH === 0 ? HEADS : 1,
  endingMs = ENDING_MS,
  about,
  lines = TRACE_LINES,
}: SimulationOptions): Promise<SimulationResult> {
  const world = new World(seed, nodes === undefined ? ALONE : CLUSTERED);
  const run = new Run(world, { steps, nodes, heads, endingMs });
  const onUnhandled = (error: unknown): void => {
    world.failure ??= error instanceof Error ? error : new Error(String(error));
  };
  process.on("unhandledRejection", onUnhandled);
  try {
    return { seed, steps, ...(await run.toEnd()) };
  } catch (error) {
    const where = `seed ${seed}, ${steps} steps, event ${run.events}, ${(world.clock.nowMs - run.startedMs).toFixed(3)} ms`;
    const isViolation = error instanceof InvariantViolation;
    const what = isViolation
      ? error.message
      : `an engine failed: ${error instanceof Error ? error.stack : String(error)}`;
    const words = about ?? (isViolation ? error.about : []);
    const trace = world.trace.tail(words, lines, run.startedMs) || world.trace.tail([], TRACE_LINES, run.startedMs);
    const invariant = isViolation ? error.invariant : "an engine failed";
    throw new SimulationFailure(`${where}: ${what}`, invariant, trace, error);
  } finally {
    process.off("unhandledRejection", onUnhandled);
  }
}

class Run {
  readonly startedMs: number;
  events = 0;
  private readonly world: World;
  private readonly drivers: SimProcess[] = [];
  private readonly faults: Faults;
  private readonly isClustered: boolean;
  private readonly endingMs: number;
  private stepsLeft: number;
  private crashes = 0;

  constructor(
    world: World,
    {
      steps,
      nodes,
      heads,
      endingMs,
    }: {
      readonly steps: number;
      readonly nodes: number | undefined;
      readonly heads: number;
      readonly endingMs: number;
    },
  ) {
    this.world = world;
    this.endingMs = endingMs;
    this.startedMs = world.clock.nowMs;
    this.stepsLeft = steps;
    this.faults = new Faults(world);
    this.isClustered = nodes !== undefined;
    if (nodes === undefined) {
      const node = new SimNode(world, {
        name: "n1",
        nodeId: "a0de".padEnd(32, "0") as NodeId,
        machine: "m1",
        isClustered: false,
      });
      this.addDriver(node);
      this.addDriver(node);
      return;
    }
    world.head = new SimHeads(world, heads);
    world.groups = new SimGroups(world);
    for (let count = 0; count < nodes; count++) {
      const node = this.faults.startNode();
      if (count < 3) this.addDriver(node);
    }
    this.faults.begin();
  }

  private addDriver(node: SimNode): void {
    const driver = new SimProcess(node, { name: "driver" });
    this.drivers.push(driver);
    node.driverJoined(driver);
    this.drive(driver);
  }

  async toEnd(): Promise<Omit<SimulationResult, "seed" | "steps">> {
    const { world } = this;
    await this.runUntil(
      () => this.stepsLeft <= 0 || !this.drivers.some(({ isAlive }) => isAlive),
      Number.POSITIVE_INFINITY,
    );
    this.faults.end();
    world.groups?.watchHalves();
    // What waits for resources gets them only when the actors that have them end.
    this.repeat((process) => {
      if (this.drivers.includes(process)) process.program.dropEnded();
    });
    await this.runUntil(() => this.isSettled(), this.endingMs);
    this.checkSettled();
    // Everybody lets go again and again: values that arrive late bring refs along.
    this.repeat((process) => {
      if (this.drivers.includes(process)) process.program.dropAll();
      else for (const worker of world.workers.values()) if (worker.process === process) worker.collect();
    });
    world.groups?.removeAll();
    if (this.isClustered) {
      await this.runUntil(() => this.isClean(), Math.min(LAST_HANDLES_MS, this.endingMs));
      if (this.livingActors() > 0) for (const driver of this.drivers) if (driver.isAlive) driver.die();
    }
    await this.runUntil(() => this.isClean(), this.endingMs);
    this.checkClean();
    const nodes = [...world.nodes.values()];
    const sum = (of: (node: SimNode) => number): number => nodes.reduce((total, node) => total + of(node), 0);
    return {
      events: this.events,
      virtualSeconds: Math.round((world.clock.nowMs - this.startedMs) / 1000),
      workers: world.workers.size,
      crashes: this.crashes,
      handedOver: sum((node) => node.handedOver),
      taken: sum((node) => node.taken),
      inherited: sum((node) => node.inherited),
      storedObjects: world.stored.count,
      inheritedObjects: world.heirs.inherited,
      copies: sum(({ bulk }) => bulk.done),
      keptCopies: world.stored.acknowledgedCopies,
      deadActors:
        (world.head?.runtime?.actors.stats().actors.dead ?? 0) + sum((node) => node.control.stats().actors.dead),
      nodes: nodes.length,
      groups: world.groups?.ready ?? 0,
      localGroups: world.groups?.local ?? 0,
      terms: world.head?.terms ?? 0,
      faults: this.faults.counts,
      trace: world.trace.digest(),
    };
  }

  private drive(driver: SimProcess): void {
    const { world } = this;
    const { prng } = world;
    // In a cluster there has to be time for machines to fail, and for others to notice: most for standbys.
    const pauseMs = !this.isClustered ? 10 : world.head?.servers ? 600 : 200;
    world.clock.schedule(prng.float() * pauseMs, () => {
      if (this.stepsLeft <= 0 || !driver.isAlive) return;
      const acts = this.isClustered ? prng.between(1, 5) : 1;
      this.stepsLeft -= acts;
      if (prng.chance(world.chances.crash)) {
        this.crashOne();
      }
      if (world.groups && prng.chance(GROUP_CHANCE)) world.groups.create();
      if (driver !== this.drivers[0] && prng.chance(world.chances.driverCrash)) {
        world.crashed.add(driver.id);
        driver.die();
        return;
      }
      driver.turn(() => {
        for (let act = 0; act < acts; act++) driver.program.act();
      });
      this.drive(driver);
    });
  }

  /** An owner rather than others; and those that work for it, or for which it works, at about the same time. */
  private crashOne(): void {
    const { world } = this;
    const { prng } = world;
    const living = [...world.workers.values()].filter(({ process }) => process.isAlive);
    const owners = prng.chance(0.5) ? living.filter(({ process }) => process.node.hasCopies(process)) : [];
    const worker = prng.pick(owners.length > 0 ? owners : living);
    if (!worker) return;
    const related = living.filter((other) => other.runsFor === worker.process || other.process === worker.runsFor);
    this.crash(worker);
    for (const other of related) if (prng.chance(0.5)) world.clock.schedule(world.delayMs(), () => this.crash(other));
  }

  private crash(worker: SimWorker): void {
    const { process } = worker;
    if (!process.isAlive || process.isStuck) return;
    this.crashes++;
    const { prng, clock } = this.world;
    if (prng.chance(0.7)) process.node.crash(worker);
    else {
      process.isStuck = true;
      clock.schedule(prng.float() * STUCK_MS_MAX, () => process.node.crash(worker));
    }
  }

  /** Has every process do something now and every half second from now on. */
  private repeat(action: (process: SimProcess) => void): void {
    for (const process of this.living()) process.turn(() => action(process));
    this.world.clock.schedule(500, () => this.repeat(action));
  }

  private living(): readonly SimProcess[] {
    return [...this.world.processes.values()].filter(({ isAlive }) => isAlive);
  }

  private nodes(): readonly SimNode[] {
    return [...this.world.nodes.values()].filter(({ isOver }) => !isOver);
  }

  private async runUntil(isOver: () => boolean, withinMs: number): Promise<void> {
    const { world } = this;
    const { clock } = world;
    const limitMs = clock.nowMs + withinMs;
    // Looking at everything after each event would take most of the time.
    for (let count = 0; clock.nowMs < limitMs; count++) {
      if (count % 64 === 0 && isOver()) return;
      if (!clock.step()) return;
      this.events++;
      if (world.isAwake) {
        world.isAwake = false;
        await othersTurn();
      }
      if (world.failure) throw world.failure;
    }
  }

  /** Faults are over: every call has ended, and control and nodes know the same. */
  private isSettled(): boolean {
    return (
      this.living().every(({ program, awaited }) => program.unended.size === 0 && awaited.size === 0) &&
      this.disagreement() === undefined &&
      this.world.stored.lacking === undefined &&
      !this.world.groups?.isWatching
    );
  }

  private checkSettled(): void {
    const { world } = this;
    for (const process of this.living()) {
      const [first] = process.program.unended;
      if (first) world.fail("every call ends", `${first[1]}, ${process.id} ${process.id}.${first[0].toString(36)}`);
      const [name] = process.awaited.keys();
      if (name !== undefined) world.fail("every pull ends or fails", `${name}, which ${process.id} waits for`);
    }
    const { lacking } = world.stored;
    if (lacking !== undefined) world.fail("what is put with copies is at so many nodes", lacking);
    const disagreement = this.disagreement();
    if (disagreement !== undefined) world.fail("control and nodes agree in the end", disagreement);
  }

  private disagreement(): string | undefined {
    const { head } = this.world;
    if (!head) return undefined;
    const { runtime } = head;
    if (!runtime) return "no head leads";
    for (const { description, state } of runtime.members.all()) {
      const node = this.world.nodes.get(description.nodeId);
      if (state !== "dead" && (!node || node.isOver))
        return `${description.nodeId} is over, and control believes it lives`;
    }
    for (const node of this.nodes()) {
      if (runtime.members.get(node.nodeId)?.state !== "alive") return `${node.nodeId} lives, and control does not know`;
      const unknown = this.nodes().find((other) => other !== node && !node.knows(other.nodeId));
      if (unknown) return `${node.nodeId} does not know ${unknown.nodeId}`;
    }
    return undefined;
  }

  /**
   * What was let go of while control was away it counts as held (control/recovery.ts), and what a lost machine gave may be given
   * back by nobody: such actors end with their jobs.
   */
  private livingActors(): number {
    const { pending, alive, restarting } = (this.world.head?.runtime?.actors.stats() ?? NO_ACTORS).actors;
    return pending + alive + restarting;
  }

  /** What may stay in the directory and the store of a node: what nobody knows to be held by nobody, and what would make it again. */
  private strays(node: SimNode): number {
    const homes = [nodeTag(node.nodeId), ...node.control.inheritedHomes()];
    const strays = this.world.strays(homes, this.lineage());
    let own = 0;
    for (const { engine } of this.living()) if (engine.objects.lentCount > 0) own += engine.objects.size;
    return strays + own;
  }

  /**
   * What owners hold to make again what they have let go of and others hold. When such an object mentions, by way of others,
   * what it is made again from, these keep each other (an open point).
   */
  private lineage(): ObjectKey[] {
    const homes = new Set(this.nodes().map(({ nodeId }) => nodeTag(nodeId)));
    const lending = [...this.living()].filter(({ engine: { objects } }) => objects.lentCount > 0);
    return lending.flatMap(({ engine }) => engine.objects.holds.objectsGranted(homes).map(([key]) => key));
  }

  /** Objects that an owner has though nobody needs them; lent ones are kept as long as their home takes them to be held. */
  private unfreed({ id, engine: { objects } }: SimProcess): number {
    const lent = objects.lentCount;
    if (lent === 0) return objects.size;
    return Math.max(0, lent - this.world.strays([nodeTagOf(id)], this.lineage()));
  }

  private isClean(): boolean {
    const { world } = this;
    return (
      this.nodes().every((node) => {
        const { control, isAllBack } = node;
        const { objects, actors } = control.stats();
        const strays = this.strays(node);
        if (objects > strays || world.stored.leaked(node).length > strays) return false;
        if (!world.stored.isTidy(node)) return false;
        return actors.pending + actors.alive + actors.restarting === 0 && isAllBack;
      }) &&
      this.living().every((process) => this.unfreed(process) === 0) &&
      this.livingActors() === 0 &&
      world.groups?.left === undefined &&
      this.heldOff() === undefined
    );
  }

  /** What control takes for used though nothing uses it. */
  private heldOff(): string | undefined {
    const { runtime } = this.world.head ?? {};
    if (!runtime) return undefined;
    for (const node of this.nodes()) {
      const { state } = runtime.divisions.view.node(node.nodeId) ?? {};
      for (const [name, total] of Object.entries(node.description.total)) {
        const free = state?.free.units[name] ?? 0;
        if (free !== total) return `${free} of ${total} ${name} of ${node.nodeId} are free for control`;
      }
    }
    return undefined;
  }

  private checkClean(): void {
    const { world } = this;
    if (this.livingActors() > 0) {
      const living = world.head?.runtime?.actors.list(null).filter(({ state }) => state !== "dead") ?? [];
      const which = living.map(({ actorId, state }) => `${actorId} (${state})`).join(", ");
      world.fail("every actor ends with its last handle", `for control these live: ${which}`);
    }
    for (const node of this.nodes()) {
      const { objects, actors } = node.control.stats();
      const strays = this.strays(node);
      const leaked = world.stored.leaked(node);
      if (leaked.length > strays) world.fail("every object is freed in the end", leaked.join(", "));
      world.stored.checkTidy(node);
      if (objects > strays)
        world.fail("every object is freed in the end", `${objects} in the directory of ${node.nodeId}`);
      if (actors.pending + actors.alive + actors.restarting > 0) {
        world.fail("every actor ends with its last handle", `${JSON.stringify(actors)} at ${node.nodeId}`);
      }
      if (!node.isAllBack) world.fail("what was granted comes back", `${node.describeGranted()} of ${node.nodeId}`);
    }
    for (const process of this.living()) {
      const unfreed = this.unfreed(process);
      if (unfreed > 0) world.fail("every object is freed in the end", `${unfreed} with owner ${process.id}`);
    }
    world.groups?.checkWhole();
    if (world.groups?.left !== undefined) world.fail("a removed group goes", world.groups.left);
    const heldOff = this.heldOff();
    if (heldOff !== undefined) world.fail("what was granted comes back", heldOff);
  }
}
