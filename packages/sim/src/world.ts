/** What all parts of a simulation share: time, chance, the processes, and the one way to report what must not be. */
import {
  type ActorId,
  createPrng,
  isObjectKey,
  type NodeId,
  nodeTagOf,
  type ObjectKey,
  objectKeyOwner,
  type Prng,
  type ProcessId,
  storedNameTag,
  type WorkerId,
} from "../../core/src/base/mod.ts";
import type { StoredValue } from "../../core/src/wire/messages.ts";
import { VirtualClock } from "./clock.ts";
import type { SimGroups } from "./groups.ts";
import type { SimHeads } from "./heads.ts";
import { Heirs } from "./heirs.ts";
import { Network } from "./network.ts";
import type { SimNode } from "./node.ts";
import type { SimProcess } from "./process.ts";
import { StoredObjects } from "./stored-objects.ts";
import { Trace } from "./trace.ts";
import type { SimWorker } from "./worker.ts";

/** The sentences that hold after every step; a run that breaks one ends with its name. */
export type Invariant =
  | "resources are never granted twice"
  | "an attempt ends once"
  | "what was answered is not made again"
  | "a held object is never freed"
  | "an object is freed once"
  | "every object is freed in the end"
  | "no object is lost while there is a copy"
  | "no object is lost that can be made again"
  | "no object is lost that an heir has"
  | "a copy goes with its object"
  | "what is put with copies is at so many nodes"
  | "what is put with copies survives the loss of all but one"
  | "what is read is what was made"
  | "a store is never over its limit"
  | "a drain in order loses nothing"
  | "a drain ends by its deadline"
  | "a node that is drained takes no new work"
  | "every pull ends or fails"
  | "every call ends"
  | "an owner that lives delivers"
  | "a task of which the node has a copy outlives its owner"
  | "at most one incarnation of an actor is alive"
  | "names are unique"
  | "an actor with a handle is not ended"
  | "every actor ends with its last handle"
  | "what was granted comes back"
  | "calls of one caller begin in the order in which they were made"
  | "a worker runs only what it is leased for"
  | "a node that was declared dead is never believed again"
  | "no two living nodes have one tag"
  | "a node of which something was heard is not declared dead"
  | "a group is ready only when all of it is reserved"
  | "a group is reserved whole or not at all"
  | "a removed group goes"
  | "what was acknowledged is there after a restart"
  | "what was acknowledged is there for the next leader"
  | "one head leads at a time"
  | "a standby leads within 5 s"
  | "a node obeys no head that another has followed"
  | "a node that reaches the head that leads is not declared dead"
  | "control and nodes agree in the end";

export class InvariantViolation extends Error {
  readonly invariant: Invariant;
  /** Ids by which what led to it can be found. */
  readonly about: readonly string[];
  constructor(invariant: Invariant, detail: string) {
    super(`${invariant}: ${detail}`);
    this.invariant = invariant;
    const names = detail.match(/\b[0-9a-f]{8}\.[0-9a-z]{2,}/g);
    this.about = names ?? detail.match(/[0-9a-f]{16,40}(\.[0-9a-z]+)?/g) ?? [];
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
  /** Tasks take so long that one node is not enough, and make more of others. */
  readonly isBusy?: boolean;
}

export class World {
  readonly clock = new VirtualClock();
  readonly prng: Prng;
  readonly chances: Chances;
  readonly network = new Network(this);
  readonly trace = new Trace();
  readonly stored = new StoredObjects(this);
  readonly heirs = new Heirs(this);
  readonly processes = new Map<ProcessId, SimProcess>();
  readonly workers = new Map<WorkerId, SimWorker>();
  /** Those that were made to crash: only their objects may be lost. */
  readonly crashed = new Set<ProcessId>();
  /** Escaped refs of whose tasks the node has got copies. */
  readonly copied = new Set<ObjectKey>();
  /** Objects that their owners could not make again by the time that they let go of them. */
  readonly madeOnce = new Set<ObjectKey>();
  /**
   * When each object and actor was made. A value only mentions what is older than itself: counting references does not
   * end cycles, and these runs are to end with nothing left. A named actor is born when the node has heard of it: until
   * then its handle may turn out to be one of any other actor of that name.
   */
  private readonly births = new Map<string, number>();
  /** Actors that ended because nobody had a handle. */
  private readonly outOfScope = new Set<string>();
  /** The nodes that had a handle of an actor, by their tags. */
  private readonly handlesAt = new Map<string, Set<string>>();
  /** Calls that could not begin, since an argument was lost, by caller and number: they come once more, behind others. */
  readonly sentBack = new Set<string>();
  /** Tasks whose answers, which their owners had not heard, were given to their heirs: by heir and number. */
  readonly answeredHeirs = new Set<string>();
  readonly nodes = new Map<NodeId, SimNode>();
  /** Tags of nodes whose machines were lost, or which control has given up. */
  readonly lostTags = new Set<string>();
  /**
   * Keys on which a process has given holds to one of another node, by the process. When its machine is lost, what carried the
   * refs may be lost with it, and then nobody gives the holds back: an open point of the design (docs/design/cluster.md).
   */
  private readonly given = new Map<ProcessId, Set<ObjectKey>>();
  private readonly held = new Set<ObjectKey>();
  private readonly mentioned = new Map<ObjectKey, readonly ObjectKey[]>();
  /** Of a cluster; set once, by the simulation. */
  head: SimHeads | undefined;
  groups: SimGroups | undefined;
  private nextPid = 1_000;
  /** Promises were settled: what waits for them is to go on before time does. */
  isAwake = false;
  /** What ends the run before the next event: engines that wait would catch what is thrown. */
  failure: Error | undefined;

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

  /** Handles among the keys are at the process, or on their way there. */
  reaches(keys: readonly (ObjectKey | ActorId)[], process: ProcessId): void {
    for (const key of keys) {
      if (isObjectKey(key as ObjectKey)) continue;
      const tags = this.handlesAt.get(key) ?? new Set();
      tags.add(nodeTagOf(process));
      this.handlesAt.set(key, tags);
    }
  }

  /** A machine is lost that had a handle of it: what that had given others may have been lost with it. */
  isAstray(actorId: string): boolean {
    for (const tag of this.handlesAt.get(actorId) ?? []) if (this.lostTags.has(tag)) return true;
    return false;
  }

  /** What one holds that was given up does not count. */
  private hasHandle({ id, isAlive, engine }: SimProcess, actorId: ActorId): boolean {
    return isAlive && !this.lostTags.has(nodeTagOf(id)) && engine.objects.holds.isUsed(actorId as string as ObjectKey);
  }

  isHandled(actorId: ActorId): boolean {
    for (const process of this.processes.values()) if (this.hasHandle(process, actorId)) return true;
    return false;
  }

  /** A host agrees to end an actor because nobody has a handle: so nobody else has, and none is under way. */
  endsOutOfScope(actorId: ActorId, host: SimProcess): void {
    if (this.lostTags.has(nodeTagOf(host.id)) || this.isAstray(actorId)) return;
    this.outOfScope.add(actorId);
    for (const process of this.processes.values()) {
      if (process !== host && this.hasHandle(process, actorId)) {
        this.fail("an actor with a handle is not ended", `${actorId}, which ${process.id} has a handle of`);
      }
    }
  }

  /** These have arrived, inside a value or a call. */
  arrive(keys: readonly ObjectKey[], at: ProcessId): void {
    this.reaches(keys, at);
    for (const key of keys) {
      if (this.outOfScope.has(key) && !this.isAstray(key))
        this.fail("an actor with a handle is not ended", `${key}, a handle of which arrives`);
    }
  }

  gives(from: ProcessId, to: ProcessId, keys: readonly ObjectKey[]): void {
    if (nodeTagOf(from) === nodeTagOf(to)) return;
    const given = this.given.get(from) ?? new Set();
    for (const key of keys) if (isObjectKey(key)) given.add(key);
    this.given.set(from, given);
  }

  /** What an actor is made with is held by control too, whose word that it needs it no more may be lost: an open point as well. */
  givesControl(keys: readonly ObjectKey[]): void {
    for (const key of keys) this.held.add(key);
  }

  /** A value that may be held for longer than the object is of use keeps what it mentions. */
  mentions(key: ObjectKey, nested: readonly ObjectKey[]): void {
    if (nested.length > 0) this.mentioned.set(key, nested);
  }

  /**
   * How many objects of these homes' processes may be held by nobody who knows, since a machine was lost, or by control, or by what
   * is needed to make others again.
   */
  strays(homes: readonly string[], lineage: readonly ObjectKey[]): number {
    const keys = new Set<ObjectKey>([...this.held, ...lineage]);
    for (const [from, given] of this.given)
      if (this.lostTags.has(nodeTagOf(from))) for (const key of given) keys.add(key);
    // The set grows while it is gone through.
    for (const key of keys)
      for (const nested of this.mentioned.get(key) ?? []) if (isObjectKey(nested)) keys.add(nested);
    let count = 0;
    for (const key of keys) if (homes.includes(nodeTagOf(objectKeyOwner(key)))) count++;
    return count;
  }

  /** Its home is lost, or the machine that made it: an owner lets go of what it has made again. */
  mayBeLost({ name, home }: Pick<StoredValue, "name" | "home">): boolean {
    return this.lostTags.has(home) || this.lostTags.has(storedNameTag(name));
  }

  /** For the trace. */
  note(who: string, what: string, about?: unknown): void {
    this.trace.add(this.clock.nowMs, who, what, about);
  }

  newPid(): number {
    return this.nextPid++;
  }

  wake(): void {
    this.isAwake = true;
  }

  fail(invariant: Invariant, detail: string): never {
    throw new InvariantViolation(invariant, detail);
  }

  /** The same, where what is thrown would be caught. */
  failSoon(invariant: Invariant, detail: string): void {
    this.failure ??= new InvariantViolation(invariant, detail);
  }

  /** A time that a message or a step takes: mostly short, sometimes long. */
  delayMs(): number {
    const { prng, chances } = this;
    return prng.float() * (prng.chance(0.05) ? chances.delayMsMax : chances.delayMsMax / 20);
  }
}
