/**
 * Refs and actor handles that others own, as this process holds them.
 *
 * The sender of a ref grants the receiver a hold before it lets go of its own. Here are counted the holds that were
 * granted to this process and the uses it makes of them; with the last use, all grants go back at once.
 */
import {
  type ActorId,
  isObjectKey,
  nodeTagOf,
  type ObjectKey,
  objectKey,
  objectKeyOwner,
  objectKeySeq,
  type ProcessId,
  type Seq,
} from "../base/ids.ts";

interface Hold {
  granted: number;
  uses: number;
}

/** Refs come by the ten thousand, most of them of few owners: by number, each takes a tenth of the time of its name. */
type Numbered = Map<Seq, Hold>;

export class HoldTable {
  private readonly objects = new Map<ProcessId, Numbered>();
  /** The owner of the last access: its neighbours follow. */
  private lastOwner: ProcessId | undefined;
  private last: Numbered | undefined;
  private readonly actors = new Map<ObjectKey, Hold>();
  /** Ids of actors that getIfExists found under another one. */
  private readonly aliases = new Map<ObjectKey, ObjectKey>();
  private returned: (readonly [ObjectKey, number])[] = [];
  private readonly onFirstUse: (owner: ProcessId, seq: Seq) => void;
  private readonly onLastUse: (owner: ProcessId, seq: Seq) => void;

  /** The callbacks tell when an object begins and ceases to be used here. */
  constructor(onFirstUse: (owner: ProcessId, seq: Seq) => void, onLastUse: (owner: ProcessId, seq: Seq) => void) {
    this.onFirstUse = onFirstUse;
    this.onLastUse = onLastUse;
  }

  get size(): number {
    let size = this.actors.size;
    for (const numbered of this.objects.values()) size += numbered.size;
    return size;
  }

  /** A value with these keys inside arrived: each was granted once, and the value makes one use of each. */
  receive(keys: readonly ObjectKey[]): void {
    for (const key of keys) {
      const hold = this.entry(key);
      hold.granted++;
      hold.uses++;
    }
  }

  use(key: ObjectKey): void {
    this.entry(key).uses++;
  }

  useObject(owner: ProcessId, seq: Seq): void {
    this.objectEntry(owner, seq).uses++;
  }

  /** From now on, what is said of `from` is meant of `to`; the node counts the same way. Both are actors. */
  alias(from: ObjectKey, to: ObjectKey): void {
    const hold = this.actors.get(from);
    this.aliases.set(from, to);
    if (!hold) return;
    this.actors.delete(from);
    const target = this.entry(to);
    target.granted += hold.granted;
    target.uses += hold.uses;
  }

  private canonical(actor: ObjectKey): ObjectKey {
    return this.aliases.size === 0 ? actor : (this.aliases.get(actor) ?? actor);
  }

  isUsed(key: ObjectKey): boolean {
    if (!isObjectKey(key)) return this.actors.has(this.canonical(key));
    return this.numbered(objectKeyOwner(key))?.has(objectKeySeq(key)) === true;
  }

  drop(keys: readonly ObjectKey[]): void {
    for (const key of keys) {
      if (isObjectKey(key)) this.dropObject(objectKeyOwner(key), objectKeySeq(key));
      else this.dropActor(this.canonical(key));
    }
  }

  dropObject(owner: ProcessId, seq: Seq): void {
    const numbered = this.numbered(owner);
    const hold = numbered?.get(seq);
    if (!numbered || !hold || --hold.uses > 0) return;
    numbered.delete(seq);
    if (numbered.size === 0) this.forgetOwner(owner);
    if (hold.granted > 0) this.returned.push([objectKey(owner, seq), hold.granted]);
    this.onLastUse(owner, seq);
  }

  private dropActor(key: ObjectKey): void {
    const hold = this.actors.get(key);
    if (!hold || --hold.uses > 0) return;
    this.actors.delete(key);
    if (hold.granted > 0) this.returned.push([key, hold.granted]);
  }

  /** What this process was granted of actors and has not given back. */
  actorsGranted(): (readonly [ActorId, number])[] {
    const granted: (readonly [ActorId, number])[] = [];
    for (const [key, hold] of this.actors) {
      if (hold.granted > 0) granted.push([key as string as ActorId, hold.granted]);
    }
    return granted;
  }

  /** The same of objects whose owners lived on these nodes, by their tags. */
  objectsGranted(homes: ReadonlySet<string>): (readonly [ObjectKey, number])[] {
    const granted: (readonly [ObjectKey, number])[] = [];
    for (const [owner, numbered] of this.objects) {
      if (!homes.has(nodeTagOf(owner))) continue;
      for (const [seq, hold] of numbered) if (hold.granted > 0) granted.push([objectKey(owner, seq), hold.granted]);
    }
    return granted;
  }

  /** Holds to give back to the node, taken once. */
  takeReturned(): readonly (readonly [ObjectKey, number])[] {
    if (this.returned.length === 0) return NONE;
    const taken = this.returned;
    this.returned = [];
    return taken;
  }

  private entry(name: ObjectKey): Hold {
    if (isObjectKey(name)) return this.objectEntry(objectKeyOwner(name), objectKeySeq(name));
    const key = this.canonical(name);
    let hold = this.actors.get(key);
    if (!hold) {
      hold = { granted: 0, uses: 0 };
      this.actors.set(key, hold);
    }
    return hold;
  }

  private objectEntry(owner: ProcessId, seq: Seq): Hold {
    let numbered = this.numbered(owner);
    if (!numbered) {
      numbered = new Map();
      this.objects.set(owner, numbered);
    }
    let hold = numbered.get(seq);
    if (!hold) {
      hold = { granted: 0, uses: 0 };
      numbered.set(seq, hold);
      this.onFirstUse(owner, seq);
    }
    return hold;
  }

  private numbered(owner: ProcessId): Numbered | undefined {
    if (owner === this.lastOwner) return this.last;
    const numbered = this.objects.get(owner);
    if (numbered) {
      this.lastOwner = owner;
      this.last = numbered;
    }
    return numbered;
  }

  private forgetOwner(owner: ProcessId): void {
    this.objects.delete(owner);
    this.lastOwner = undefined;
    this.last = undefined;
  }
}

const NONE: readonly (readonly [ObjectKey, number])[] = Object.freeze([]);
