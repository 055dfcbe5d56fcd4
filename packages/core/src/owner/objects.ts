/**
 * The objects of one owner: values, counts, who waits for them, and which of them have escaped.
 *
 * 1. A record lives while it has uses: the program's ref, calls that take it as argument, values it is nested in.
 * 2. A value is set once, and again only when a lost copy was made anew; then everybody who waited is told.
 * 3. A ref that is about to leave inside a value is published to the node's directory first; its value follows as soon
 *    as there is one. With the last use here, the owner's own hold is taken back; others may still hold it there.
 */
import { assert } from "../base/assert.ts";
import type { ErrorKind } from "../base/errors.ts";
import {
  type ActorId,
  isObjectKey,
  isOwnedBy,
  nodeTagOf,
  type ObjectKey,
  objectKey,
  objectKeySeq,
  type ProcessId,
  type Seq,
  type StoredName,
  storedName,
} from "../base/ids.ts";
import { packFailure, type StoreCopied, type StoreKey, type StorePinned, type ValueRecord } from "../wire/mod.ts";
import type { OwnerEffects } from "./effects.ts";
import { HoldTable } from "./holds.ts";
import { plainValue } from "./kept-bytes.ts";
import { type NestedRef, ObjectRecord, TASK_STATE, type TaskRecord } from "./records.ts";
import { SeqTable } from "./seq-table.ts";

/** Object numbers from here on are chosen by the engine; below, by the program's side. */
const ENGINE_SEQS_FROM = 2 ** 40;
/** The same for the engine that sees handed over tasks through: it numbers for the same owner. */
export const DEPUTY_SEQS_FROM = 2 ** 41;
/** What a ref of another owner counts as kept, whatever its value takes: it should go back when it is needed no more. */
const BORROWED_BYTES = 64;
/** A value as the program hands it over: refs inside are named as the program names them. */
export type ProgramValue =
  | { readonly at: "inline"; readonly bytes: Uint8Array; readonly nested: readonly NestedRef[] }
  | {
      readonly at: "stored";
      readonly key: StoreKey;
      readonly size: number;
      /** How many nodes are to keep it; left out: this one. */
      readonly copies?: number;
      readonly nested: readonly NestedRef[];
    };

/** A value that there is when the node answers a question with true; one that it answers with false is asked again. */
export interface ExpectedValue {
  readonly method: string;
  readonly params: unknown;
  /** A packed value. */
  readonly bytes: Uint8Array;
  /** The question that says why it takes so long, with the same parameters. */
  readonly explain: string;
  /** The question is an order: it is asked until it is answered, though nobody may need the value any more. */
  readonly isOrder?: boolean;
}

export interface ObjectListener {
  /** An argument of this call has its value now. */
  dependencyReady(task: TaskRecord): void;
  /** Nothing needs this return, or item, of the task any more. */
  returnDropped(task: TaskRecord, record: ObjectRecord): void;
  /** A lost return, or item, of the task could be made again. */
  isRemakeable(task: TaskRecord): boolean;
  /** Runs the task again because the stored copy of a return, or item, was lost; or says why that is not possible. */
  rebuild(task: TaskRecord, record: ObjectRecord): string | undefined;
}

export class ObjectTable {
  readonly holds: HoldTable;
  /** The tag of this node. */
  readonly here: string;
  private readonly self: ProcessId;
  private readonly effects: OwnerEffects;
  private readonly records = new SeqTable<ObjectRecord>();
  /** Foreign refs whose value was asked of the node: all records of one key share the answer. */
  private readonly subscribed = new Map<ObjectKey, ObjectRecord[]>();
  /** Stored values on their way to the program. */
  private readonly pinning = new Map<StoredName, ObjectRecord[]>();
  /** What this owner has let go of and others hold: it is kept in mind as long as they do, to be made again when it is lost. */
  private readonly lent = new Map<Seq, ObjectRecord>();
  private newlyLent: ObjectKey[] = [];
  /** What was put and is being copied to other nodes. */
  private readonly copying = new Map<StoredName, ObjectRecord>();
  private keptBytes = 0;
  private keptBytesTold = 0;
  private nextEngineSeq: number;
  private freed: StoredName[] = [];
  /** Foreign refs to ask the node for. */
  private asked: ObjectKey[] = [];
  private unpublished: ObjectKey[] = [];
  listener: ObjectListener | undefined;
  /** Its node has not been upgraded: it makes no copies, and does not say when nobody holds what was lent. */
  hasOlderNode = false;
  /** Called when a ref is about to leave that has no value yet. */
  onEscape: ((record: ObjectRecord) => void) | undefined;
  /** Called when a handle is about to leave. */
  onActorLeaves: ((key: ObjectKey) => void) | undefined;

  constructor(self: ProcessId, effects: OwnerEffects, engineSeqsFrom = ENGINE_SEQS_FROM) {
    this.self = self;
    this.here = nodeTagOf(self);
    this.nextEngineSeq = engineSeqsFrom;
    this.effects = effects;
    this.holds = new HoldTable(
      (owner, seq) => {
        const record = owner === self ? this.ownNumbered(seq) : undefined;
        if (record) record.uses++;
      },
      (owner, seq) => {
        const record = owner === self ? this.ownNumbered(seq) : undefined;
        if (record) this.dropUse(record);
      },
    );
  }

  get size(): number {
    return this.records.size;
  }

  find(seq: Seq): ObjectRecord | undefined {
    return this.records.get(seq);
  }

  get(seq: Seq): ObjectRecord {
    const record = this.records.get(seq);
    assert(record, `object ${seq} is not known to its owner`);
    return record;
  }

  create(seq: Seq, task?: TaskRecord): ObjectRecord {
    const record = new ObjectRecord(seq, task);
    this.records.set(seq, record);
    return record;
  }

  /** A value that the program made itself. */
  put(seq: Seq, value: ProgramValue): void {
    const nested = this.useNested(value.nested);
    const record = this.create(seq);
    if (value.at === "inline") this.setValue(record, { ...value, nested });
    else {
      const { key, size, copies = 1 } = value;
      const home = this.here;
      const name = storedName(home, key);
      this.setValue(record, { at: "stored", name, size, home, ...(copies > 1 && { copies }), nested });
      if (copies === 1) return;
      if (this.hasOlderNode) {
        this.effects.warn("copies", "put() made no copies: the node is of an older release of mobula; upgrade it");
        return;
      }
      this.copying.set(name, record);
      this.effects.toNode({ t: "store-copies", name, size, copies });
    }
  }

  /** For objects that the program has not numbered: items of streams. */
  createUnnumbered(task: TaskRecord): ObjectRecord {
    return this.create(this.takeSeq(), task);
  }

  /** A number for a record that the program has not numbered. */
  takeSeq(): Seq {
    return this.nextEngineSeq++ as Seq;
  }

  /** A ref of another owner that the program has read from a value, under a number of its own. */
  borrow(seq: Seq, owner: ProcessId, ownerSeq: Seq): void {
    const record = new ObjectRecord(seq, undefined);
    record.setForeign(owner, ownerSeq);
    this.records.set(seq, record);
    this.keep(record, BORROWED_BYTES);
    this.holds.useObject(owner, ownerSeq);
  }

  /** The program read one of this owner's own refs from a value: one more use. */
  retain(seq: Seq): void {
    const record = this.records.get(seq);
    if (record) record.uses++;
    // This process had let go of it, while others had not: it is back as one borrower among them.
    else this.borrow(seq, this.self, seq);
  }

  // ── values ─────────────────────────────────────────────────────────────────────────────────────────────────────

  setValue(record: ObjectRecord, value: ValueRecord): void {
    record.value = value;
    if (value.at === "stored") this.keep(record, value.size);
    else this.keep(record, record.isForeign ? BORROWED_BYTES : 0);
    if (record.isPublished) {
      this.effects.toNode({
        t: "object-publish",
        objects: [{ key: this.keyOf(record), value: this.publishable(value) }],
      });
    }
    if (record.isWatched) {
      record.isWatched = false;
      this.effects.ready(record.seq);
    }
    if (record.isWanted) this.deliver(record);
    const { dependents } = record;
    if (dependents) {
      record.dependents = undefined;
      for (const task of dependents) this.listener?.dependencyReady(task);
    }
    if (record.uses <= 0) this.finish(record);
  }

  /** The program asks for the value: told once by `value` or `pinned`. */
  want(seq: Seq): void {
    const record = this.records.get(seq);
    if (!record) {
      // The program let go of the ref while a value of it was on its way here.
      const message = "the ref was released while its value was awaited";
      const bytes = packFailure({ code: "REF_RELEASED", kind: "invalid", message });
      this.effects.value(seq, { at: "error", bytes, nested: [] });
      return;
    }
    record.isWanted = true;
    if (record.value) this.deliver(record);
    else this.subscribe(record);
  }

  unwant(seq: Seq): void {
    const record = this.records.get(seq);
    if (!record) return;
    record.isWanted = false;
    if (record.uses <= 0) this.finish(record);
  }

  /** The program asks to know when there is a value, without the value. */
  watch(seq: Seq): void {
    const record = this.get(seq);
    if (record.value && !this.isCopying(record)) this.effects.ready(seq);
    else {
      record.isWatched = true;
      this.subscribe(record);
    }
  }

  /** Copies that were asked for are still missing: its value can be had, and it is not ready for who waits. */
  private isCopying({ value }: ObjectRecord): boolean {
    return this.copying.size > 0 && value?.at === "stored" && this.copying.has(value.name);
  }

  onCopied({ name, warning }: StoreCopied): void {
    if (warning !== undefined) this.effects.warn("copies", warning);
    const record = this.copying.get(name);
    this.copying.delete(name);
    if (!record?.isWatched) return;
    record.isWatched = false;
    this.effects.ready(record.seq);
    if (record.uses <= 0) this.finish(record);
  }

  /** Makes a call wait for its argument; false when there is nothing to wait for. */
  dependOn(record: ObjectRecord, task: TaskRecord): boolean {
    if (record.value) return false;
    if (record.dependents) record.dependents.push(task);
    else record.dependents = [task];
    this.subscribe(record);
    return true;
  }

  private deliver(record: ObjectRecord): void {
    const { value } = record;
    assert(value, "only a value is delivered");
    if (value.at !== "stored") {
      record.isWanted = false;
      record.isRead = true;
      this.effects.value(record.seq, value);
      return;
    }
    const waiting = this.pinning.get(value.name);
    if (waiting) {
      if (!waiting.includes(record)) waiting.push(record);
    } else {
      this.pinning.set(value.name, [record]);
      this.effects.pin(value);
    }
  }

  /** A stored object is resident and pinned for this process, or cannot be had. True when it was for the program. */
  onPinned(pinned: StorePinned): boolean {
    const waiting = this.pinning.get(pinned.name);
    if (!waiting) return false;
    this.pinning.delete(pinned.name);
    const [first, ...others] = waiting;
    if (!first) return false;
    if (pinned.error) {
      for (const record of waiting) {
        if (pinned.error.kind === "lost") this.lose(record, pinned.error);
        else this.refuse(record, pinned.error);
      }
      return true;
    }
    // Several refs of one stored object: each needs a pin of its own.
    for (const other of others) if (other.value?.at === "stored") this.deliver(other);
    first.isWanted = false;
    first.isRead = true;
    this.effects.pinned(first.seq, pinned, first.value?.nested ?? []);
    if (first.uses <= 0) this.finish(first);
    return true;
  }

  /** The value is there and cannot be had at this time, for lack of room: who asked is told, and may ask again. */
  private refuse(record: ObjectRecord, { code, kind, message }: { code: string; kind: string; message: string }): void {
    record.isWanted = false;
    const bytes = packFailure({ code, kind: kind as ErrorKind, message });
    this.effects.value(record.seq, { at: "error", bytes, nested: [] });
    if (record.uses <= 0) this.finish(record);
  }

  /** A stored copy is gone: make it again where lineage allows, else the error is the value. */
  lose(record: ObjectRecord, error: { code: string; kind: "lost" | string; message: string }): void {
    const { task, value } = record;
    if (value?.at !== "stored") return;
    this.copying.delete(value.name);
    let { message } = error;
    record.value = undefined;
    this.holds.drop(value.nested);
    if (record.isForeign && error.code === "OBJECT_LOST") {
      // Its owner may make it again.
      this.effects.toNode({ t: "object-lost", key: this.keyOf(record), name: value.name });
      this.subscribe(record);
      return;
    }
    if (!record.isForeign && !record.isPublished) this.freed.push(value.name);
    if (error.code === "OBJECT_LOST" && !record.isForeign) {
      const whyNot = task ? this.listener?.rebuild(task, record) : "it was put";
      if (whyNot === undefined) return;
      message = `${message}. It was not made again: ${whyNot}`;
    }
    const bytes = packFailure({ code: error.code, kind: error.kind as "lost", message });
    this.setValue(record, { at: "error", bytes, nested: [] });
  }

  /** Others have found that a published value is lost. */
  onLost(key: ObjectKey, name: StoredName): void {
    const record = this.ownRecord(key);
    if (record?.value?.at === "stored" && record.value.name === name) {
      this.lose(record, { code: "OBJECT_LOST", kind: "lost", message: `no node that lives has object ${key}` });
    } else if (!record) {
      const lent = this.lentRecord(key);
      if (lent?.task) lent.isPublished = true;
      const whyNot = lent?.task
        ? this.listener?.rebuild(lent.task, lent)
        : "its owner has let go of what could make it again";
      if (whyNot === undefined) return;
      if (lent) lent.isPublished = false;
      const message = `object ${key} is lost: no node that lives has it. It was not made again: ${whyNot}`;
      const bytes = packFailure({ code: "OBJECT_LOST", kind: "lost", message });
      this.effects.toNode({ t: "object-publish", objects: [{ key, value: { at: "error", bytes, nested: [] } }] });
    }
  }

  /** Failures of tasks that the program still has a ref of and has never asked for. */
  *unreadFailures(): Generator<{ readonly name: string; readonly bytes: Uint8Array }> {
    for (const { value, task, isRead } of this.records.values()) {
      if (value?.at === "error" && task && !isRead) yield { name: task.name, bytes: value.bytes };
    }
  }

  /** Tasks and calls that have not ended, each once, in the order in which they were submitted. */
  *unended(): Generator<TaskRecord> {
    for (const record of this.records.values()) {
      const { task } = record;
      if (task && task.state !== TASK_STATE.done && task.returns[0] === record) yield task;
    }
  }

  /** Tasks and calls that have not ended, of the returns that somebody needs. */
  pendingTasks(): ReadonlySet<TaskRecord> {
    const pending = new Set<TaskRecord>();
    for (const { task } of this.records.values()) if (task && task.state !== TASK_STATE.done) pending.add(task);
    return pending;
  }

  /** Of these places in the store, the ones that hold values known here. */
  storedAmong(names: ReadonlySet<StoredName>): readonly StoredName[] {
    const found: StoredName[] = [];
    for (const { value } of this.records.values())
      if (value?.at === "stored" && names.has(value.name)) found.push(value.name);
    return found;
  }

  // ── counts ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The program's ref is gone. */
  release(seq: Seq): void {
    const record = this.records.get(seq);
    if (record) this.dropUse(record);
  }

  dropUse(record: ObjectRecord): void {
    if (--record.uses === 0) this.finish(record);
  }

  /** Its task has ended; a return that nobody needed was given no value. */
  taskEnded(record: ObjectRecord): void {
    if (record.uses <= 0 && !record.value) this.finish(record);
  }

  /**
   * Nobody here needs the record. It is kept all the same while it is being made, because others may wait for it and
   * its task can still be cancelled by its number, and until it is delivered when the program has asked for it.
   */
  private finish(record: ObjectRecord): void {
    const { value, task, foreignOwner, isPublished } = record;
    if (record.isWanted || record.isWatched) return;
    if (!value && (isPublished || (task && task.state !== TASK_STATE.done))) return;
    if (task && isPublished && value?.at === "stored" && !record.isForeign && this.mayLend(record, task)) {
      this.lent.set(record.seq, record);
      record.lineageUses++;
    }
    if (record.lineageUses > 0) {
      this.freeValue(record);
      // The value is the directory's now. Should the ref come back from others, it is a borrowed one; the record only
      // stays with the tasks that would need it to be made again.
      if (isPublished && !record.isDetached) record.isDetached = this.records.delete(record.seq);
      return;
    }
    // Said again by those who gave it its last value, it is over already.
    if (record.isDetached) record.isDetached = false;
    else if (!this.records.delete(record.seq)) return;
    if (foreignOwner !== undefined) {
      if (this.subscribed.size > 0) this.unsubscribe(record);
      this.keep(record, 0);
      if (value) this.holds.drop(value.nested);
      this.holds.dropObject(foreignOwner, record.foreignSeq);
      return;
    }
    this.freeValue(record);
    // Whoever holds a published ref reads it elsewhere.
    if (value?.at === "error" && task && !record.isRead) {
      if (isPublished) this.effects.escapedFailure?.(this.keyOf(record), task.name);
      else this.effects.unreadFailure(task.name, value.bytes);
    }
    if (task) this.listener?.returnDropped(task, record);
  }

  /** Others hold it, perhaps: the node says when nobody does any more. */
  private mayLend(record: ObjectRecord, task: TaskRecord): boolean {
    return !this.hasOlderNode && !record.isDetached && this.listener?.isRemakeable(task) === true;
  }

  get lentCount(): number {
    return this.lent.size;
  }

  onUnheld(key: ObjectKey): void {
    const record = this.lentRecord(key);
    if (!record) return;
    this.lent.delete(record.seq);
    this.dropLineage(record);
  }

  private lentRecord(key: ObjectKey): ObjectRecord | undefined {
    return isObjectKey(key) && isOwnedBy(key, this.self) ? this.lent.get(objectKeySeq(key)) : undefined;
  }

  private keep(record: ObjectRecord, bytes: number): void {
    if (record.keptBytes === bytes) return;
    this.keptBytes += bytes - record.keptBytes;
    record.keptBytes = bytes;
  }

  private freeValue(record: ObjectRecord): void {
    const { value } = record;
    this.keep(record, 0);
    if (this.isCopying(record) && value?.at === "stored") this.copying.delete(value.name);
    if (record.isForeign) {
      // Only a copy of what is known elsewhere; the hold on it stays for as long as lineage may need it.
      record.value = undefined;
      if (value) this.holds.drop(value.nested);
      return;
    }
    if (record.isPublished) {
      const list = this.lent.get(record.seq) === record ? this.newlyLent : this.unpublished;
      list.push(this.keyOf(record));
      record.isPublished = false;
    } else if (value?.at === "stored") this.freed.push(value.name);
    if (value && value.nested.length > 0) this.holds.drop(value.nested);
    if (record.lineageUses > 0) record.value = undefined;
  }

  /** Keeps what is needed to make a value again, without keeping the value. */
  useLineage(record: ObjectRecord): void {
    record.lineageUses++;
  }

  dropLineage(record: ObjectRecord): void {
    record.lineageUses--;
    if (record.lineageUses === 0 && record.uses <= 0) this.finish(record);
  }

  // ── refs inside values ─────────────────────────────────────────────────────────────────────────────────────────

  keyOf(record: ObjectRecord): ObjectKey {
    return objectKey(record.foreignOwner ?? this.self, record.foreignSeq);
  }

  ownKey(seq: Seq): ObjectKey {
    return objectKey(this.self, seq);
  }

  /** Own numbers and foreign keys to keys, each used once more, until `holds.drop`. */
  useNested(nested: readonly NestedRef[]): readonly ObjectKey[] {
    if (nested.length === 0) return NO_KEYS;
    return nested.map((ref) => {
      const key = typeof ref === "number" ? this.keyOf(this.get(ref)) : ref;
      this.holds.use(key);
      return key;
    });
  }

  /** Makes sure that refs which are about to leave can be asked for. */
  publishNested(keys: readonly ObjectKey[]): void {
    for (const key of keys) {
      if (!isObjectKey(key)) this.onActorLeaves?.(key);
      const record = this.ownRecord(key);
      if (!record || record.isPublished) continue;
      record.isPublished = true;
      const { value } = record;
      if (value) this.publishNested(value.nested);
      else this.onEscape?.(record);
      this.effects.toNode({
        t: "object-publish",
        objects: [value ? { key, value: this.publishable(value) } : { key, ...makerOf(record) }],
      });
    }
  }

  private publishable(value: ValueRecord): ValueRecord {
    if (value.nested.length > 0) this.publishNested(value.nested);
    return plainValue(value);
  }

  /**
   * The task that makes it is handed over to the node: from now on it is a ref of another owner, under its old name, of
   * which the node grants this process one hold. To be followed by {@link followUp} when the node has been told.
   */
  giveAway(record: ObjectRecord): void {
    const key = this.keyOf(record);
    // That use is the hold table's own from now on.
    if (this.holds.isUsed(key)) record.uses--;
    record.setForeign(this.self, record.seq);
    record.task = undefined;
    // Who publishes it from now on has the owner's hold too.
    record.isPublished = false;
    this.keep(record, BORROWED_BYTES);
    this.holds.receive([key]);
    if (record.uses <= 0) this.finish(record);
  }

  /** Asks for the value of what was given away, if it is waited for here. */
  followUp(record: ObjectRecord): void {
    const isAwaited =
      record.isWanted || record.isWatched || record.dependents?.some(({ state }) => state !== TASK_STATE.done);
    if (isAwaited && this.records.get(record.seq) === record) this.subscribe(record);
  }

  /** The record of this owner's own object, while it has one. */
  ownRecord(key: ObjectKey): ObjectRecord | undefined {
    return isObjectKey(key) && isOwnedBy(key, this.self) ? this.ownNumbered(objectKeySeq(key)) : undefined;
  }

  private ownNumbered(seq: Seq): ObjectRecord | undefined {
    const record = this.records.get(seq);
    return record?.isForeign ? undefined : record;
  }

  private subscribe(record: ObjectRecord): void {
    if (!record.isForeign) return;
    const key = this.keyOf(record);
    const sharing = this.subscribed.get(key);
    if (sharing) {
      if (!sharing.includes(record)) sharing.push(record);
      return;
    }
    this.subscribed.set(key, [record]);
    this.asked.push(key);
  }

  private unsubscribe(record: ObjectRecord): void {
    const key = this.keyOf(record);
    const rest = this.subscribed.get(key)?.filter((other) => other !== record);
    if (rest && rest.length > 0) this.subscribed.set(key, rest);
    else this.subscribed.delete(key);
  }

  /** The directory's answer: the value of a foreign ref, its nested refs granted to this process. */
  onObjectState(key: ObjectKey, value: ValueRecord): void {
    const sharing = this.subscribed.get(key);
    this.holds.receive(value.nested);
    if (sharing) {
      this.subscribed.delete(key);
      for (const record of sharing) {
        for (const nested of value.nested) this.holds.use(nested);
        this.setValue(record, value);
      }
    }
    this.holds.drop(value.nested);
  }

  /** For the heirs of nodes that are dead. */
  stateHolds(id: number, homes: ReadonlySet<string>): void {
    const holds = this.holds.objectsGranted(homes);
    if (holds.length > 0) this.effects.toNode({ t: "object-holds", holds });
    this.effects.toNode({ t: "objects-stated", id });
  }

  /** Messages that were gathered over the turn. */
  flush(): void {
    if (this.keptBytes !== this.keptBytesTold) {
      this.keptBytesTold = this.keptBytes;
      this.effects.kept(this.keptBytes);
    }
    if (this.asked.length > 0) {
      this.effects.toNode({ t: "object-subscribe", keys: this.asked });
      this.asked = [];
    }
    const returned = this.holds.takeReturned();
    if (returned.length > 0) this.effects.toNode({ t: "hold-release", holds: returned });
    if (this.unpublished.length > 0) {
      this.effects.toNode({ t: "object-unpublish", keys: this.unpublished });
      this.unpublished = [];
    }
    if (this.newlyLent.length > 0) {
      this.effects.toNode({ t: "object-unpublish", keys: this.newlyLent, isLent: true });
      this.newlyLent = [];
    }
    if (this.freed.length > 0) {
      this.effects.toNode({ t: "store-free", names: this.freed });
      this.freed = [];
    }
  }
}

const makerOf = ({ task }: ObjectRecord): { readonly actor?: ActorId } =>
  task?.actor ? { actor: task.actor.actorId } : {};

const NO_KEYS: readonly ObjectKey[] = Object.freeze([]);
