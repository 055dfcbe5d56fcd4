/** One run: two drivers do random things on one node while workers crash; then all wind down, and nothing is left. */
import type { SimNode as Node } from "./node.ts";
import { SimNode } from "./node.ts";
import { SimProcess } from "./process.ts";
import type { SimWorker } from "./worker.ts";
import { InvariantViolation, World } from "./world.ts";

export interface SimulationOptions {
  readonly seed: number;
  /** Things that the drivers' programs do, together. */
  readonly steps: number;
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
  readonly deadActors: number;
}

/** Virtual time within which every call must have ended, and then everything be gone. */
const ENDING_MS = 180_000;

/** @throws Error that names the seed, the time and the invariant that was broken. */
export function simulate({ seed, steps }: SimulationOptions): SimulationResult {
  const world = new World(seed, { crash: 0.03, driverCrash: 0.002, handover: 0.2, taken: 0.3, delayMsMax: 40 });
  const run = new Run(world, steps);
  try {
    return { seed, steps, ...run.toEnd() };
  } catch (error) {
    const where = `seed ${seed}, ${steps} steps, event ${run.events}, ${(world.clock.nowMs - run.startedMs).toFixed(3)} ms`;
    const what = error instanceof InvariantViolation ? error.message : `an engine failed: ${String(error)}`;
    throw new Error(`${where}: ${what}`, { cause: error });
  }
}

class Run {
  readonly startedMs: number;
  events = 0;
  private readonly world: World;
  private readonly node: Node;
  private readonly drivers: readonly SimProcess[];
  private stepsLeft: number;
  private crashes = 0;

  constructor(world: World, steps: number) {
    this.world = world;
    this.startedMs = world.clock.nowMs;
    this.stepsLeft = steps;
    this.node = new SimNode(world);
    world.node = this.node;
    this.drivers = [new SimProcess(world), new SimProcess(world)];
    for (const driver of this.drivers) {
      this.node.driverJoined(driver);
      this.drive(driver);
    }
  }

  toEnd(): Omit<SimulationResult, "seed" | "steps"> {
    const { world, node } = this;
    this.runUntil(() => this.stepsLeft <= 0, Number.POSITIVE_INFINITY);
    // What waits for resources gets them only when the actors that have them end.
    this.repeat((process) => {
      if (this.drivers.includes(process)) process.program.dropEnded();
    });
    this.runUntil(() => this.living().every(({ program }) => program.unended.size === 0), ENDING_MS);
    for (const process of this.living()) {
      const [first] = process.program.unended;
      if (first) world.fail("every call ends", `${first[1]}, ${process.id} ${first[0]}`);
    }
    // Everybody lets go again and again: values that arrive late bring refs along.
    this.repeat((process) => {
      if (this.drivers.includes(process)) process.program.dropAll();
      else for (const worker of world.workers.values()) if (worker.process === process) worker.collect();
    });
    this.runUntil(() => this.isClean(), ENDING_MS);
    this.checkClean();
    return {
      events: this.events,
      virtualSeconds: Math.round((world.clock.nowMs - this.startedMs) / 1000),
      workers: world.workers.size,
      crashes: this.crashes,
      handedOver: node.handedOver,
      taken: node.taken,
      inherited: node.inherited,
      storedObjects: world.store.sealedCount,
      deadActors: node.control.stats().actors.dead,
    };
  }

  private drive(driver: SimProcess): void {
    const { world } = this;
    const { prng } = world;
    world.clock.schedule(prng.float() * 10, () => {
      if (this.stepsLeft <= 0 || !driver.isAlive) return;
      this.stepsLeft--;
      if (prng.chance(world.chances.crash)) {
        this.crashOne();
      }
      if (driver === this.drivers[1] && prng.chance(world.chances.driverCrash)) {
        world.crashed.add(driver.id);
        driver.die();
        return;
      }
      driver.turn(() => driver.program.act());
      this.drive(driver);
    });
  }

  /** An owner rather than others; and those that work for it, or for which it works, at about the same time. */
  private crashOne(): void {
    const { world, node } = this;
    const { prng } = world;
    const living = [...world.workers.values()].filter(({ process }) => process.isAlive);
    const owners = prng.chance(0.5) ? living.filter(({ process }) => node.hasCopies(process)) : [];
    const worker = prng.pick(owners.length > 0 ? owners : living);
    if (!worker) return;
    const related = living.filter((other) => other.runsFor === worker.process || other.process === worker.runsFor);
    this.crash(worker);
    for (const other of related) if (prng.chance(0.5)) world.clock.schedule(world.delayMs(), () => this.crash(other));
  }

  private crash(worker: SimWorker): void {
    if (!worker.process.isAlive) return;
    this.crashes++;
    this.node.crash(worker);
  }

  /** Has every process do something now and every half second from now on. */
  private repeat(action: (process: SimProcess) => void): void {
    for (const process of this.living()) process.turn(() => action(process));
    this.world.clock.schedule(500, () => this.repeat(action));
  }

  private living(): readonly SimProcess[] {
    return [...this.world.processes.values()].filter(({ isAlive }) => isAlive);
  }

  private runUntil(isOver: () => boolean, withinMs: number): void {
    const { clock } = this.world;
    const limitMs = clock.nowMs + withinMs;
    // Looking at everything after each event would take most of the time.
    for (let count = 0; clock.nowMs < limitMs; count++) {
      if (count % 64 === 0 && isOver()) return;
      if (!clock.step()) return;
      this.events++;
    }
  }

  private isClean(): boolean {
    const { control } = this.node;
    const { objects, actors } = control.stats();
    return (
      objects === 0 &&
      actors.pending + actors.alive + actors.restarting === 0 &&
      this.world.store.leaked().length === 0 &&
      this.node.isAllBack &&
      this.living().every(({ engine }) => engine.objects.size === 0)
    );
  }

  private checkClean(): void {
    const { world, node } = this;
    const { objects, actors } = node.control.stats();
    const leaked = world.store.leaked();
    if (leaked.length > 0) world.fail("every object is freed in the end", `store keys ${leaked.join(", ")}`);
    if (objects > 0) world.fail("every object is freed in the end", `${objects} in the directory`);
    for (const { id, engine } of this.living()) {
      if (engine.objects.size > 0) {
        world.fail("every object is freed in the end", `${engine.objects.size} with owner ${id}`);
      }
    }
    if (actors.pending + actors.alive + actors.restarting > 0) {
      world.fail("every actor ends with its last handle", JSON.stringify(actors));
    }
    if (!node.isAllBack) world.fail("what was granted comes back", node.describeGranted());
  }
}
