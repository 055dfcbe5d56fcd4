/**
 * Where there are copies of the objects whose owners live on this node. Pure.
 *
 * 1. An object that nobody has copied is at the node that made it, and needs no record here.
 * 2. Who is to have a copy asks for a source. Each source is given to one asker at a time where that is possible, and who
 *    receives passes on what it has: many askers form a chain, through which the object flows once, however long it is.
 * 3. Before the first copy is made, the maker is asked whether it still has the object. It was told of a freeing on the same
 *    way, so a copy is never begun of what was freed; from then on this record knows of all that there are.
 * 4. The maker's object stays until it is freed; copies go when their memory is needed. When the maker dies, one copy is
 *    chosen to stay in its place. A node that is about to end has that done before.
 * 5. Of some, several are to stay: see replicas.ts.
 */
import { type StoredName, storedNameTag } from "../base/ids.ts";
import type {
  CopyCheck,
  CopyFree,
  CopyFrom,
  CopyKeep,
  CopyLocate,
  CopyMoved,
  CopyWant,
} from "../wire/cluster-messages.ts";
import { type Made, Replicas, type StoreRoom } from "./replicas.ts";

/** The tag of a node. */
export type Tag = string;

export interface CopiesEffects {
  /** Also to this node itself. */
  send(to: Tag, message: CopyFrom | CopyFree | CopyKeep | CopyCheck | CopyMoved | CopyWant): void;
  isDead(node: Tag): boolean;
  /** A node that lives on and is none of these; undefined when there is none. */
  keeper(besides: ReadonlySet<Tag>): Tag | undefined;
  /** One that is to live on, and does not end with its driver. */
  mayKeep(node: Tag): boolean;
  /** Answered by {@link Copies.found}: at once, or, when it is asked for again, after a while. */
  findRoom(isAgain: boolean): void;
}

interface Holder {
  isComplete: boolean;
  /** It stays until it is freed. */
  isKept: boolean;
  /** Of whom it is getting it. */
  source: Tag | undefined;
  /** Whom it could not reach. */
  readonly unreachable: Set<Tag>;
}

/** A node is to be rid of an object. */
interface Move {
  readonly from: Tag;
  readonly size: number;
  /** Who was asked to keep it, the last one last. */
  readonly asked: Set<Tag>;
  keeper: Tag | undefined;
  /** It is only short of room, and this is the one that has some. */
  readonly to: Tag | undefined;
}

interface CopyRecord {
  readonly name: StoredName;
  readonly holders: Map<Tag, Holder>;
  /** Who has asked while the maker was being asked. */
  waiting: Tag[] | undefined;
}

export class Copies {
  private readonly effects: CopiesEffects;
  private readonly records = new Map<StoredName, CopyRecord>();
  private readonly moves = new Map<StoredName, Move>();
  /** Of homes that are dead: of which nobody has said yet that they are needed. */
  private readonly unclaimed = new Set<StoredName>();
  private readonly replicas: Replicas;

  constructor(effects: CopiesEffects) {
    this.effects = effects;
    this.replicas = new Replicas({
      holders: (name) => (this.unclaimed.has(name) ? NOBODY : (this.records.get(name)?.holders ?? NOBODY)),
      mayKeep: effects.mayKeep,
      keep: (node, name) => {
        const holder = this.records.get(name)?.holders.get(node);
        if (holder) this.keepAt(name, node, holder);
      },
      bring: (node, name, size) => effects.send(node, { t: "copy-want", name, size }),
      letGo: (node, name) => effects.send(node, { t: "copy-moved", name }),
      findRoom: effects.findRoom,
    });
  }

  get size(): number {
    return this.records.size;
  }

  /** Which nodes besides the maker have it, and whether all of it; for explanations. */
  of(name: StoredName): readonly (readonly [tag: Tag, isWhole: boolean])[] {
    const { holders = new Map<Tag, Holder>() } = this.records.get(name) ?? {};
    return [...holders].map(([tag, { isComplete }]) => [tag, isComplete]);
  }

  /** So many nodes are to keep one of it from now on. @param made is called once, when they do or no more nodes can. */
  keepUp(name: StoredName, size: number, copies: number, made?: Made): void {
    const maker = storedNameTag(name);
    if (made && !this.records.has(name)) {
      const origin: Holder = { ...newHolder(), isComplete: true, isKept: true };
      this.records.set(name, { name, holders: new Map([[maker, origin]]), waiting: undefined });
    }
    this.replicas.keepUp(name, size, copies, made);
  }

  /** How many are to be kept; undefined: one. */
  wanted(name: StoredName): number | undefined {
    return this.replicas.wanted(name);
  }

  /** Nodes that could keep something, those with the most room first. */
  found(rooms: readonly StoreRoom[]): void {
    this.replicas.found(rooms);
  }

  /** A node has joined, or goes on after all. */
  nodesChanged(): void {
    this.replicas.nodesChanged();
  }

  locate(from: Tag, name: StoredName, failed?: CopyLocate["failed"]): void {
    const known = this.records.get(name);
    if (!known) {
      this.begin(from, name);
      return;
    }
    if (known.waiting) {
      known.waiting.push(from);
      return;
    }
    if (failed) {
      const asker = known.holders.get(from);
      if (asker) asker.source = undefined;
      if (failed.isGone) this.lost(known, failed.source);
      else asker?.unreachable.add(failed.source);
    }
    this.answer(known, from);
  }

  checked(name: StoredName, exists: boolean): void {
    const record = this.records.get(name);
    const waiting = record?.waiting;
    if (!record || !waiting) return;
    record.waiting = undefined;
    if (!exists) this.records.delete(name);
    for (const from of waiting) {
      if (exists) this.answer(record, from);
      else this.effects.send(from, { t: "copy-from", name, source: null });
    }
  }

  held(from: Tag, name: StoredName, isHeld: boolean): void {
    const record = this.records.get(name);
    if (!record) {
      if (isHeld) this.effects.send(from, { t: "copy-free", names: [name] });
      return;
    }
    const wasAsked = this.replicas.answered(name, from, isHeld);
    if (!isHeld) {
      this.lost(record, from);
      this.moveOn(name, from);
      this.replicas.look(name);
      return;
    }
    const holder = record.holders.get(from) ?? newHolder();
    record.holders.set(from, holder);
    holder.isComplete = true;
    holder.source = undefined;
    holder.unreachable.clear();
    const move = this.moves.get(name);
    if (move && move.from !== from) this.moved(name, move, from, holder);
    else if (wasAsked) this.keepAt(name, from, holder);
    else if (!this.hasKept(record)) this.keepOne(record);
    this.replicas.look(name);
  }

  /**
   * The node ends before long; somebody else is to keep what it has.
   *
   * @param to it does not, but is short of room, and that one may have some.
   */
  move(from: Tag, name: StoredName, size: number, to?: Tag): void {
    if (this.replicas.has(name)) {
      // As many as are wanted are where they should be.
      if (to === undefined) this.replicas.leave(name, from);
      else this.effects.send(from, { t: "copy-moved", name, isRefused: true });
      return;
    }
    const move: Move = { from, size, asked: new Set([from]), keeper: undefined, to };
    for (const [node, holder] of this.records.get(name)?.holders ?? []) {
      if (node !== from && holder.isComplete) {
        this.moved(name, move, node, holder);
        return;
      }
    }
    this.moves.set(name, move);
    this.moveOn(name, undefined);
  }

  private moved(name: StoredName, { from, to }: Move, keeper: Tag, holder: Holder): void {
    this.moves.delete(name);
    this.keepAt(name, keeper, holder);
    const before = this.records.get(name)?.holders.get(from);
    // What is left there is a copy that goes when its memory is needed.
    if (to !== undefined && before) before.isKept = false;
    this.effects.send(from, { t: "copy-moved", name });
  }

  /** Asks the next, when the one that was asked does not keep it. */
  private moveOn(name: StoredName, failed: Tag | undefined): void {
    const move = this.moves.get(name);
    if (!move || move.keeper !== failed) return;
    const { from, to, asked, size } = move;
    if (to === undefined) move.keeper = this.effects.keeper(asked);
    else move.keeper = asked.has(to) || this.effects.isDead(to) ? undefined : to;
    if (move.keeper === undefined) {
      this.moves.delete(name);
      if (to !== undefined) this.effects.send(from, { t: "copy-moved", name, isRefused: true });
      return;
    }
    asked.add(move.keeper);
    this.effects.send(move.keeper, { t: "copy-want", name, size, ...(to !== undefined && { isRelief: true }) });
  }

  /** The home of these is dead, and this one is its heir: the node has them. */
  stated(from: Tag, names: readonly StoredName[]): void {
    for (const name of names) {
      this.unclaimed.add(name);
      let record = this.records.get(name);
      if (!record) {
        record = { name, holders: new Map(), waiting: undefined };
        this.records.set(name, record);
      }
      const holder = record.holders.get(from) ?? newHolder();
      record.holders.set(from, holder);
      holder.isComplete = true;
      if (storedNameTag(name) === from) holder.isKept = true;
      else if (!this.hasKept(record)) this.keepOne(record);
    }
  }

  /** All have spoken that hold what was stated. @param needed of these, the ones that somebody needs. */
  claimed(needed: (names: ReadonlySet<StoredName>) => Iterable<StoredName>): void {
    for (const name of needed(this.unclaimed)) this.unclaimed.delete(name);
    const names = [...this.unclaimed];
    const inherited = [...this.records.keys()].filter((name) => this.replicas.has(name));
    this.unclaimed.clear();
    this.free(names);
    for (const name of inherited) this.replicas.look(name);
  }

  /** Their last references are gone. */
  free(names: readonly StoredName[]): void {
    const byNode = new Map<Tag, StoredName[]>();
    for (const name of names) {
      const record = this.records.get(name);
      this.records.delete(name);
      this.moves.delete(name);
      this.unclaimed.delete(name);
      this.replicas.free(name);
      const nodes = new Set([storedNameTag(name), ...(record?.holders.keys() ?? [])]);
      for (const from of record?.waiting ?? []) this.effects.send(from, { t: "copy-from", name, source: null });
      for (const node of nodes) {
        const ofNode = byNode.get(node);
        if (ofNode) ofNode.push(name);
        else byNode.set(node, [name]);
      }
    }
    for (const [node, ofNode] of byNode) this.effects.send(node, { t: "copy-free", names: ofNode });
  }

  nodeDied(node: Tag): void {
    for (const record of [...this.records.values()]) {
      if (record.waiting && storedNameTag(record.name) === node) this.checked(record.name, false);
      else this.lost(record, node);
      this.replicas.look(record.name);
    }
    this.replicas.nodeDied(node);
    for (const [name, move] of [...this.moves]) {
      if (move.from === node) this.moves.delete(name);
      else this.moveOn(name, node);
    }
  }

  private begin(from: Tag, name: StoredName): void {
    const maker = storedNameTag(name);
    if (this.effects.isDead(maker)) {
      this.effects.send(from, { t: "copy-from", name, source: null });
      return;
    }
    const origin: Holder = { ...newHolder(), isComplete: true, isKept: true };
    this.records.set(name, { name, holders: new Map([[maker, origin]]), waiting: [from] });
    this.effects.send(maker, { t: "copy-check", name });
  }

  private answer(record: CopyRecord, from: Tag): void {
    const { name, holders } = record;
    const asker = holders.get(from) ?? newHolder();
    holders.set(from, asker);
    const source = this.sourceFor(record, from, asker);
    asker.source = source;
    if (source !== undefined) {
      this.effects.send(from, { t: "copy-from", name, source });
      return;
    }
    if (asker.unreachable.size > 0) {
      // Until control has given one of them up, or it is there again.
      asker.unreachable.clear();
      this.effects.send(from, { t: "copy-from", name, source: null, retry: true });
      return;
    }
    this.lost(record, from);
    this.effects.send(from, { t: "copy-from", name, source: null });
  }

  /** Of those who have it, or are certain to get it without the asker, the one that gives it to the fewest others. */
  private sourceFor({ holders }: CopyRecord, from: Tag, { unreachable }: Holder): Tag | undefined {
    const takers = new Map<Tag, number>();
    for (const { source } of holders.values())
      if (source !== undefined) takers.set(source, (takers.get(source) ?? 0) + 1);
    let best: Tag | undefined;
    let bestTakers = Number.POSITIVE_INFINITY;
    let bestIsComplete = false;
    for (const [node, holder] of holders) {
      if (node === from || unreachable.has(node)) continue;
      const count = takers.get(node) ?? 0;
      if (count > bestTakers || (count === bestTakers && (bestIsComplete || !holder.isComplete))) continue;
      // Last of all, for a chain may be long.
      if (!this.reaches(holders, holder, from)) continue;
      best = node;
      bestTakers = count;
      bestIsComplete = holder.isComplete;
    }
    return best;
  }

  /** Whether somebody who has all of it is at the end of the chain, and `without` is not on it. */
  private reaches(holders: ReadonlyMap<Tag, Holder>, holder: Holder, without: Tag): boolean {
    for (let at: Holder | undefined = holder; at; ) {
      if (at.isComplete) return true;
      if (at.source === undefined || at.source === without) return false;
      at = holders.get(at.source);
    }
    return false;
  }

  private lost(record: CopyRecord, node: Tag): void {
    const { holders, name } = record;
    const holder = holders.get(node);
    if (!holder) return;
    holders.delete(node);
    if (holder.isKept && !this.hasKept(record)) this.keepOne(record);
    if (holders.size === 0) this.records.delete(name);
  }

  private hasKept({ holders }: CopyRecord): boolean {
    for (const { isKept } of holders.values()) if (isKept) return true;
    return false;
  }

  private keepOne({ name, holders }: CopyRecord): void {
    for (const [node, holder] of holders) {
      if (!holder.isComplete) continue;
      this.keepAt(name, node, holder);
      return;
    }
  }

  private keepAt(name: StoredName, node: Tag, holder: Holder): void {
    holder.isKept = true;
    this.effects.send(node, { t: "copy-keep", name });
  }
}

const NOBODY: ReadonlyMap<Tag, Holder> = new Map();

const newHolder = (): Holder => ({ isComplete: false, isKept: false, source: undefined, unreachable: new Set() });
