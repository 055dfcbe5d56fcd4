/** What all parts of a simulation share: time, chance, the processes, and the one way to report what must not be. */
import {
  type ActorId,
  createPrng,
  type ObjectKey,
  type Prng,
  type ProcessId,
  type WorkerId,
} from "../../core/src/base/mod.ts";
import { VirtualClock } from "./clock.ts";
import type { SimNode } from "./node.ts";
import type { SimProcess } from "./process.ts";
import { SimStore } from "./store.ts";
import type { SimWorker } from "./worker.ts";

/** The sentences that hold after every step; a run that breaks one ends with its name. */
export type Invariant =
  | "resources are never granted twice"
  | "a held object is never freed"
  | "an object is freed once"
  | "every object is freed in the end"
  | "every call ends"
  | "an owner that lives delivers"
  | "a task of which the node has a copy outlives its owner"
  | "at most one incarnation of an actor is alive"
  | "names are unique"
  | "an actor with a handle is not ended"
  | "every actor ends with its last handle"
  | "what was granted comes back";

export class InvariantViolation extends Error {
  readonly invariant: Invariant;
  constructor(invariant: Invariant, detail: string) {
    super(`${invariant}: ${detail}`);
    this.invariant = invariant;
  }
}

export interface Chances {
  /** Of a crash of some worker, at each step of a driver's program. */
  readonly crash: number;
  /** Of the second driver's death, at each of its steps. */
  readonly driverCrash: number;
  /** Of handing over what was not sent, at the end of each turn of a worker. */
  readonly handover: number;
  /** Of taking what a worker has submitted and not sent, at each tick of the node. */
  readonly taken: number;
  readonly delayMsMax: number;
}

export class World {
  readonly clock = new VirtualClock();
  readonly prng: Prng;
  readonly chances: Chances;
  readonly store = new SimStore(this);
  readonly processes = new Map<ProcessId, SimProcess>();
  readonly workers = new Map<WorkerId, SimWorker>();
  /** Those that were made to crash: only their objects may be lost. */
  readonly crashed = new Set<ProcessId>();
  /** Escaped refs of whose tasks the node has got copies. */
  readonly copied = new Set<ObjectKey>();
  /**
   * When each object and actor was made. A value only mentions what is older than itself: counting references does not
   * end cycles, and these runs are to end with nothing left. A named actor is born when the node has heard of it: until
   * then its handle may turn out to be one of any other actor of that name.
   */
  private readonly births = new Map<string, number>();
  /** Actors that ended because nobody had a handle. */
  private readonly outOfScope = new Set<string>();
  /** Set once, by the simulation. */
  node: SimNode | undefined;
  private nextPid = 1_000;

  constructor(seed: number, chances: Chances) {
    this.prng = createPrng(seed);
    this.chances = chances;
  }

  born(key: ObjectKey | ActorId): void {
    this.births.set(key, this.births.size);
  }

  isOlder(key: ObjectKey | ActorId, than: ObjectKey): boolean {
    return (this.births.get(key) ?? Number.POSITIVE_INFINITY) < (this.births.get(than) ?? 0);
  }

  isBorn(key: ObjectKey | ActorId): boolean {
    return this.births.has(key);
  }

  /** A host agrees to end an actor because nobody has a handle: so nobody else has, and none is under way. */
  endsOutOfScope(actorId: ActorId, host: SimProcess): void {
    this.outOfScope.add(actorId);
    for (const process of this.processes.values()) {
      if (process === host || !process.isAlive) continue;
      if (process.engine.objects.holds.isUsed(actorId as string as ObjectKey)) {
        this.fail("an actor with a handle is not ended", `${actorId}, which ${process.id} has a handle of`);
      }
    }
  }

  /** These have arrived, inside a value or a call. */
  arrive(keys: readonly ObjectKey[]): void {
    for (const key of keys) {
      if (this.outOfScope.has(key))
        this.fail("an actor with a handle is not ended", `${key}, a handle of which arrives`);
    }
  }

  newPid(): number {
    return this.nextPid++;
  }

  fail(invariant: Invariant, detail: string): never {
    throw new InvariantViolation(invariant, detail);
  }

  /** A time that a message or a step takes: mostly short, sometimes long. */
  delayMs(): number {
    const { prng, chances } = this;
    return prng.float() * (prng.chance(0.05) ? chances.delayMsMax : chances.delayMsMax / 20);
  }
}

/** One direction of a connection: what is sent arrives in order, after a delay; closing comes last. */
export class Channel {
  private readonly world: World;
  private lastMs = 0;
  private isClosed = false;

  constructor(world: World) {
    this.world = world;
  }

  send(deliver: () => void): void {
    if (this.isClosed) return;
    const { clock } = this.world;
    this.lastMs = Math.max(this.lastMs, clock.nowMs + this.world.delayMs());
    clock.schedule(this.lastMs - clock.nowMs, deliver);
  }

  close(closed: () => void): void {
    this.send(closed);
    this.isClosed = true;
  }
}
