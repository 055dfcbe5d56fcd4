/**
 * The directory of escaped refs: objects that others than their owner may ask for.
 *
 * 1. An owner publishes a key before the message that carries it; the value may come later. Who asks earlier waits.
 * 2. Holds (holds.ts) say who still needs it. When nobody does, the record is dropped, its place in the store freed, and
 *    the keys that its value mentions lose a pin.
 * 3. Whoever is sent a value is granted one hold on each key the value mentions, in the same step.
 * 4. When the owner is gone, what it still had to deliver becomes OWNER_DIED; values that are there live on while held.
 * 5. In a cluster, values of what processes of other nodes hold are kept by an heir too, which goes on with them when this
 *    node is dead (`inherit`). It learns who holds them from the holders; until all have spoken nothing is let go of.
 */
import { addTo, removeFrom } from "../base/index-of-sets.ts";
import {
  type ActorId,
  nodeTagOf,
  type ObjectKey,
  objectKeyOwner,
  type ProcessId,
  type StoredName,
} from "../base/mod.ts";
import type {
  ObjectLost,
  ObjectPublish,
  ObjectState,
  ObjectUnheld,
  ObjectUnread,
  StoredValue,
  ValueRecord,
} from "../wire/messages.ts";
import { packFailure } from "../wire/mod.ts";
import type { HoldTable } from "./holds.ts";
import type { Home } from "./homes.ts";
import type { HeldKey } from "./keys.ts";

/** Dropped keys that are remembered, so that one who asks for such a key by mistake is answered and does not wait. */
const DROPPED_KEYS_MAX = 20_000;

interface ObjectRecord {
  /** False while only others have spoken of it. */
  isPublished: boolean;
  /** Who delivers the value: its owner, or the one that sees through what the owner handed over. */
  publisher: ProcessId;
  /** A call of this actor makes it. */
  actor: ActorId | undefined;
  /** Somebody has asked for the value. */
  isServed: boolean;
  /** The owner has not unpublished it. */
  isOwnerHolding: boolean;
  /** Who delivers it keeps what could make it again, until it is told that nobody holds it. */
  isLent: boolean;
  /** A process of another node holds it, or has. */
  isAbroad: boolean;
  value: ValueRecord | undefined;
  waiters: ProcessId[];
}

export interface DirectoryOut {
  send(to: ProcessId, message: ObjectState | ObjectUnread | ObjectUnheld | ObjectLost): void;
  free(name: StoredName): void;
  isAlive(process: ProcessId): boolean;
  /** The key that counts: an actor that was asked for under another id has one. */
  canonical(key: HeldKey): HeldKey;
  /** The heir is to keep the value; undefined: no more. */
  backUp(key: ObjectKey, value: ValueRecord | undefined): void;
  /** A value that others have put here, whose heir this home is, and of which several nodes are to keep a copy. */
  keepUp(value: StoredValue): void;
}

export interface Directory {
  publish(from: ProcessId, objects: ObjectPublish["objects"]): void;
  /** @param isLent `from` is to be told when nobody holds them any more. */
  unpublish(from: ProcessId, keys: readonly ObjectKey[], isLent: boolean): void;
  subscribe(from: ProcessId, keys: readonly ObjectKey[]): void;
  /** The stored value is not to be had any more. */
  lose(key: ObjectKey, name: StoredName): void;
  /** Its subscriptions end, and what it owned and had not delivered fails. */
  processGone(process: ProcessId): void;
  /** The last hold on an object is gone. */
  unheld(key: ObjectKey): void;
  isPublished(key: ObjectKey): boolean;
  /** Whom an order about the object is for: the owner, or the one that it handed its task over to. */
  publisherOf(key: ObjectKey): ProcessId;
  /** The actor whose call will make the object. */
  makerOf(key: ObjectKey): ActorId | undefined;
  /** Who is to deliver the object; undefined when it has been, or nobody is known to. */
  awaitedFrom(key: ObjectKey): ProcessId | undefined;
  /** Somebody besides this process holds it. */
  isHeldBeside(key: ObjectKey, process: ProcessId): boolean;
  /** Of these places in the store, the ones that hold published values. */
  storedAmong(names: ReadonlySet<StoredName>): readonly StoredName[];
  /** A process of another node holds it from now on. */
  heldAbroad(key: ObjectKey): void;
  /** What processes of other nodes hold that has a value. */
  abroad(): Iterable<readonly [ObjectKey, ValueRecord]>;
  /** Keys of these homes are this one's from now on; who holds them will be said. */
  inherit(homes: Iterable<Home>, values: Iterable<readonly [ObjectKey, ValueRecord]>): void;
  /** No more values will come of what was inherited: who waits for others is told. */
  valuesInherited(homes: Iterable<Home>): void;
  /** Everybody has said what it holds of these. */
  holdsInherited(homes: Iterable<Home>): void;
  /** Homes of which objects are left that were inherited. */
  inheritedHomes(): readonly Home[];
  /** All that are published, with their values if those have come. */
  all(): Iterable<readonly [ObjectKey, ValueRecord | undefined]>;
  stats(): { readonly objects: number; readonly parkedObjects: number };
}

export function createDirectory(holds: HoldTable, out: DirectoryOut): Directory {
  const records = new Map<ObjectKey, ObjectRecord>();
  /** Keys whose value has not come, by owner: published, or parked because somebody asked. */
  const awaited = new Map<ProcessId, Set<ObjectKey>>();
  /** Keys that were dropped before their value came, by owner: the value is thrown away when it comes. */
  const unwanted = new Map<ProcessId, Set<ObjectKey>>();
  const waitingFor = new Map<ProcessId, Set<ObjectKey>>();
  const dropped = new Set<ObjectKey>();
  /** Held abroad before they were published. */
  const abroadEarly = new Set<ObjectKey>();
  const inheritedFrom = new Set<Home>();
  /** Of those, the ones whose values, and whose holders, are not all known. */
  const awaitsValues = new Set<Home>();
  const awaitsHolds = new Set<Home>();
  const ownerHome = (key: ObjectKey): Home => nodeTagOf(objectKeyOwner(key));

  function serve(to: ProcessId, key: ObjectKey, value: ValueRecord): void {
    if (!out.isAlive(to)) return;
    for (const nested of value.nested) holds.add(out.canonical(nested), to, 1);
    out.send(to, { t: "object-state", key, value });
  }

  function serveWaiters(key: ObjectKey, record: ObjectRecord, value: ValueRecord): void {
    const waiters = record.waiters;
    record.waiters = [];
    if (waiters.length > 0) record.isServed = true;
    for (const waiter of waiters) {
      removeFrom(waitingFor, waiter, key);
      serve(waiter, key, value);
    }
  }

  function recordOf(key: ObjectKey): ObjectRecord {
    let record = records.get(key);
    if (record === undefined) {
      const publisher = objectKeyOwner(key);
      record = {
        isPublished: false,
        publisher,
        actor: undefined,
        isServed: false,
        isOwnerHolding: false,
        isLent: false,
        isAbroad: abroadEarly.size > 0 && abroadEarly.delete(key),
        value: undefined,
        waiters: [],
      };
      records.set(key, record);
      addTo(awaited, publisher, key);
    }
    return record;
  }

  /** Also when it has one: the owner has made a lost copy again, and the old one is of no use to anybody. */
  function setValue(key: ObjectKey, record: ObjectRecord, value: ValueRecord): void {
    const before = record.value;
    record.value = value;
    removeFrom(awaited, record.publisher, key);
    mention(value);
    if (record.isAbroad) out.backUp(key, value);
    if (before !== undefined) dropValue(before, value);
    serveWaiters(key, record, value);
  }

  function mention(value: ValueRecord): void {
    for (const nested of value.nested) holds.pin(out.canonical(nested));
  }

  function dropValue(value: ValueRecord, successor?: ValueRecord): void {
    const isSame = value.at === "stored" && successor?.at === "stored" && successor.name === value.name;
    if (value.at === "stored" && !isSame) out.free(value.name);
    for (const nested of value.nested) holds.unpin(out.canonical(nested));
  }

  function publish(from: ProcessId, key: ObjectKey, value: ValueRecord | undefined): void {
    if (removeFrom(unwanted, from, key)) {
      if (value === undefined) addTo(unwanted, from, key);
      else {
        mention(value);
        dropValue(value);
      }
      return;
    }
    const record = recordOf(key);
    if (record.publisher !== from) handOver(key, record, from);
    if (!record.isPublished) {
      record.isPublished = true;
      record.isOwnerHolding = true;
      dropped.delete(key);
      holds.add(key, from, 1);
    }
    if (value !== undefined) setValue(key, record, value);
  }

  /** From now on another delivers it, with the owner's hold. */
  function handOver(key: ObjectKey, record: ObjectRecord, to: ProcessId): void {
    if (record.isOwnerHolding) {
      holds.add(key, to, 1);
      holds.add(key, record.publisher, -1);
    }
    if (removeFrom(awaited, record.publisher, key)) addTo(awaited, to, key);
    record.publisher = to;
  }

  /** No value will come. */
  const isOver = (key: ObjectKey, record: ObjectRecord | undefined): boolean =>
    !out.isAlive(record?.publisher ?? objectKeyOwner(key)) && !awaitsValues.has(ownerHome(key));

  /** What a process that is gone still had to deliver. */
  function failAwaited(process: ProcessId): void {
    for (const key of [...(awaited.get(process) ?? [])]) {
      const record = records.get(key);
      if (record === undefined) continue;
      setValue(key, record, ownerDied(key));
      // One that was never published needs no record: the next who asks gets the same answer.
      if (!record.isPublished) records.delete(key);
    }
  }

  function rememberDropped(key: ObjectKey): void {
    dropped.add(key);
    if (dropped.size <= DROPPED_KEYS_MAX) return;
    for (const oldest of dropped) {
      dropped.delete(oldest);
      break;
    }
  }

  return {
    publish(from, objects) {
      for (const { key, value, actor } of objects) {
        publish(from, key, value);
        const record = records.get(key);
        if (record && actor) record.actor = actor;
      }
    },

    unpublish(from, keys, isLent) {
      for (const key of keys) {
        const record = records.get(key);
        if (isLent) {
          if (record?.publisher === from) record.isLent = true;
          else out.send(from, { t: "object-unheld", key });
        }
        if (!record?.isOwnerHolding || record.publisher !== from) continue;
        record.isOwnerHolding = false;
        holds.add(key, from, -1);
      }
    },

    subscribe(from, keys) {
      for (const key of keys) {
        const record = records.get(key);
        if (record?.value !== undefined) {
          record.isServed = true;
          serve(from, key, record.value);
        } else if (dropped.has(key)) serve(from, key, lost(key));
        else if (isOver(key, record)) serve(from, key, ownerDied(key));
        else {
          recordOf(key).waiters.push(from);
          addTo(waitingFor, from, key);
        }
      }
    },

    lose(key, name) {
      const record = records.get(key);
      const before = record?.value;
      // Others may have said so before, and it may have been made again.
      if (!record || before?.at !== "stored" || before.name !== name) return;
      if (!out.isAlive(record.publisher)) {
        setValue(key, record, lostWithOwner(key));
        return;
      }
      record.value = undefined;
      addTo(awaited, record.publisher, key);
      dropValue(before);
      out.send(record.publisher, { t: "object-lost", key, name });
    },

    processGone(process) {
      for (const key of waitingFor.get(process) ?? []) {
        const record = records.get(key);
        if (record) record.waiters = record.waiters.filter((waiter) => waiter !== process);
      }
      waitingFor.delete(process);
      unwanted.delete(process);
      failAwaited(process);
    },

    unheld(key) {
      abroadEarly.delete(key);
      if (awaitsHolds.has(ownerHome(key))) return;
      const record = records.get(key);
      if (!record?.isPublished) {
        // Others spoke of it before its owner did; their sums count once it is published, if it ever can be.
        if (!out.isAlive(objectKeyOwner(key))) holds.forget(key);
        return;
      }
      const { publisher, value } = record;
      records.delete(key);
      if (record.isLent) out.send(publisher, { t: "object-unheld", key });
      if (removeFrom(awaited, publisher, key)) addTo(unwanted, publisher, key);
      // What an owner publishes it tells its program of itself.
      if (value?.at === "error" && !record.isServed && publisher !== objectKeyOwner(key))
        out.send(publisher, { t: "object-unread", key, bytes: value.bytes });
      rememberDropped(key);
      // Whoever waits for something it does not hold has made a mistake, but is not left waiting.
      if (record.waiters.length > 0) serveWaiters(key, record, lost(key));
      if (record.value !== undefined) {
        if (record.isAbroad) out.backUp(key, undefined);
        dropValue(record.value);
      }
      holds.forget(key);
    },

    isPublished: (key) => records.get(key)?.isPublished ?? false,
    heldAbroad(key) {
      const record = records.get(key);
      if (!record) {
        abroadEarly.add(key);
        return;
      }
      if (record.isAbroad) return;
      record.isAbroad = true;
      if (record.value) out.backUp(key, record.value);
    },

    *abroad() {
      for (const [key, { isAbroad, value }] of records) if (isAbroad && value) yield [key, value];
    },

    inherit(homes, values) {
      for (const home of homes) for (const set of [inheritedFrom, awaitsValues, awaitsHolds]) set.add(home);
      for (const [key, value] of values) {
        const record = recordOf(key);
        record.isPublished = true;
        if (record.value !== undefined) continue;
        // Others have had it, and say so later than the heir of this home may be needed.
        record.isAbroad = true;
        setValue(key, record, value);
        if (value.at === "stored" && value.copies !== undefined) out.keepUp(value);
      }
    },

    valuesInherited(homes) {
      for (const home of homes) {
        awaitsValues.delete(home);
        for (const owner of [...awaited.keys()]) if (nodeTagOf(owner) === home) failAwaited(owner);
      }
    },

    holdsInherited(homes) {
      const of = new Set(homes);
      for (const home of of) awaitsHolds.delete(home);
      for (const key of [...records.keys()]) if (of.has(ownerHome(key)) && !holds.isHeld(key)) this.unheld(key);
    },

    inheritedHomes() {
      if (inheritedFrom.size === 0) return [];
      const left = new Set(awaitsHolds);
      for (const key of records.keys()) if (inheritedFrom.has(ownerHome(key))) left.add(ownerHome(key));
      for (const home of inheritedFrom) if (!left.has(home)) inheritedFrom.delete(home);
      return [...left];
    },

    publisherOf: (key) => records.get(key)?.publisher ?? objectKeyOwner(key),
    makerOf(key) {
      const record = records.get(key);
      return record?.value === undefined ? record?.actor : undefined;
    },
    awaitedFrom(key) {
      const record = records.get(key);
      return record?.isPublished && record.value === undefined ? record.publisher : undefined;
    },
    isHeldBeside: (key, process) => holds.isHeldBeside(key, process),

    storedAmong(names) {
      const found: StoredName[] = [];
      for (const { value } of records.values())
        if (value?.at === "stored" && names.has(value.name)) found.push(value.name);
      return found;
    },

    *all() {
      for (const [key, { isPublished, value }] of records) if (isPublished) yield [key, value];
    },

    stats() {
      let parkedObjects = 0;
      for (const keys of awaited.values()) for (const key of keys) if (!records.get(key)?.isPublished) parkedObjects++;
      return { objects: records.size, parkedObjects };
    },
  };
}

const ownerDied = (key: ObjectKey): ValueRecord => ({
  at: "error",
  nested: [],
  bytes: packFailure({
    code: "OWNER_DIED",
    kind: "lost",
    message: `object ${key} has no value: process ${objectKeyOwner(key)}, which had to deliver it, has ended; run its task again`,
  }),
});

const lostWithOwner = (key: ObjectKey): ValueRecord => ({
  at: "error",
  nested: [],
  bytes: packFailure({
    code: "OBJECT_LOST",
    kind: "lost",
    message: `object ${key} is lost: no node that lives has it, and process ${objectKeyOwner(key)}, which could have made it again, has ended`,
  }),
});

const lost = (key: ObjectKey): ValueRecord => ({
  at: "error",
  nested: [],
  bytes: packFailure({
    code: "OBJECT_LOST",
    kind: "lost",
    message: `object ${key} was dropped, because no process held a reference to it any more; keep the ref that you pass on`,
  }),
});
