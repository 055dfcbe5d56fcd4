/**
 * Where there are copies of the objects whose owners live on this node. Pure.
 *
 * 1. An object that nobody has copied is at the node that made it, and needs no record here.
 * 2. Who is to have a copy asks of whom to take it, and who receives passes on what it has: see trees.ts. While others are
 *    receiving it, those who ask are gathered for a moment, to be placed together.
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
import { isThere, type Made, Replicas, type StoreRoom } from "./replicas.ts";
import { type Asker, type Holder, hasTime, place, STRIPES, type Tag } from "./trees.ts";

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
  /** {@link Copies.gathered} is to be called in a moment. */
  gather(name: StoredName): void;
}

interface Waiting extends Asker {
  /** It goes on with that one if there is nobody else. */
  readonly slow: Tag | undefined;
}

type Asked = Omit<CopyLocate, "t" | "name">;

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
  /** The maker is being asked. */
  isUnsure: boolean;
  /** Somebody keeps it for its maker, which may not have told its owner of it. */
  isMoved: boolean;
  /** Who has asked meanwhile, or is to be placed together with those who come in the next moment. */
  waiting: Waiting[];
  /** That the next one who asks passes on. */
  nextStripe: number;
}

export class Copies {
  private readonly effects: CopiesEffects;
  private readonly records = new Map<StoredName, CopyRecord>();
  private readonly moves = new Map<StoredName, Move>();
  /** Of homes that are dead: of which nobody has said yet that they are needed. */
  private readonly unclaimed = new Set<StoredName>();
  private readonly replicas: Replicas;
  /** Nodes are saying what they have of dead homes: what nobody has said he has may be somewhere all the same. */
  private isInheriting = false;

  constructor(effects: CopiesEffects) {
    this.effects = effects;
    this.replicas = new Replicas({
      holders: (name) => (this.unclaimed.has(name) ? NOBODY : (this.records.get(name)?.holders ?? NOBODY)),
      mayKeep: effects.mayKeep,
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
      this.records.set(name, newRecord(name, [[maker, newWhole(true)]]));
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

  locate(from: Tag, name: StoredName, { failed, stripes, stripe }: Asked = {}): void {
    const record = this.records.get(name) ?? this.begin(name);
    if (!record) {
      this.effects.send(from, { t: "copy-from", name, source: null });
      return;
    }
    const known = record.holders.get(from);
    const isGoingOn = known?.isComplete === false && failed !== undefined;
    const holder = isGoingOn ? known : newReader(stripes, record.nextStripe++ % STRIPES);
    const slow = isGoingOn && failed.isSlow ? failed.source : undefined;
    const asked = stripe === undefined ? [...holder.sources.keys()] : [stripe];
    record.waiting.push({ tag: from, holder, stripes: asked, slow });
    if (record.isUnsure) return;
    if (failed?.isGone) this.lost(record, failed.source);
    else if (failed) holder.unreachable.add(failed.source);
    // It has the other ones. Those who take this one of it will ask in the same moment.
    if (slow !== undefined) holder.sources.fill(undefined);
    if (slow === undefined && (failed || !this.isToGather(record, holder))) this.answer(record);
    else if (record.waiting.length === 1) this.effects.gather(name);
  }

  /** Others are receiving it, and those who have all of it have no time. */
  private isToGather({ holders, waiting }: CopyRecord, { sources }: Holder): boolean {
    if (sources.length === 1) return false;
    return waiting.length > 1 || ([...holders.values()].some(({ isComplete }) => !isComplete) && !hasTime(holders));
  }

  /** A moment has passed. */
  gathered(name: StoredName): void {
    const record = this.records.get(name);
    if (record && !record.isUnsure) this.answer(record);
  }

  checked(name: StoredName, exists: boolean): void {
    const record = this.records.get(name);
    if (!record?.isUnsure) return;
    record.isUnsure = false;
    // Others may have it, and have said so meanwhile to the heir of its home.
    if (!exists) this.lost(record, storedNameTag(name));
    if (this.records.has(name)) this.answer(record);
  }

  held(from: Tag, name: StoredName, isHeld: boolean): void {
    const record = this.records.get(name);
    if (!record) {
      if (isHeld) this.effects.send(from, { t: "copy-free", names: [name] });
      return;
    }
    const wasAsked = this.replicas.answered(name, from, isHeld);
    // It may have asked for a better source a moment ago.
    record.waiting = record.waiting.filter(({ tag }) => tag !== from);
    if (!isHeld) {
      this.lost(record, from);
      this.moveOn(name, from);
      this.replicas.look(name);
      return;
    }
    const holder = newWhole(record.holders.get(from)?.isKept);
    record.holders.set(from, holder);
    if (!record.isUnsure) this.answer(record);
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
    this.moves.set(name, move);
    const holders = [...(this.records.get(name)?.holders ?? [])];
    const [holder] = holders.find(([node, { isComplete }]) => node !== from && isComplete) ?? [];
    if (holder === undefined) this.moveOn(name, undefined);
    // It may be letting go of it now, or be dead without anybody having heard of it: it has to say so.
    else this.askToKeep(name, move, holder, false);
  }

  /** What this node has made, others keep now. */
  *movedFrom(node: Tag): Iterable<StoredName> {
    for (const { name, isMoved } of this.records.values()) if (isMoved && storedNameTag(name) === node) yield name;
  }

  private moved(name: StoredName, { from, to }: Move, keeper: Tag, holder: Holder): void {
    this.moves.delete(name);
    this.keepAt(name, keeper, holder);
    const record = this.records.get(name);
    if (record) record.isMoved = true;
    const before = record?.holders.get(from);
    // What is left there is a copy that goes when its memory is needed.
    if (to !== undefined && before) before.isKept = false;
    this.effects.send(from, { t: "copy-moved", name });
  }

  /** Asks the next, when the one that was asked does not keep it. */
  private moveOn(name: StoredName, failed: Tag | undefined): void {
    const move = this.moves.get(name);
    if (!move || move.keeper !== failed) return;
    const { from, to, asked } = move;
    let keeper: Tag | undefined;
    if (to === undefined) keeper = this.effects.keeper(asked);
    else if (!asked.has(to) && !this.effects.isDead(to)) keeper = to;
    if (keeper === undefined) {
      this.moves.delete(name);
      if (to !== undefined) this.effects.send(from, { t: "copy-moved", name, isRefused: true });
      return;
    }
    this.askToKeep(name, move, keeper, to !== undefined);
  }

  private askToKeep(name: StoredName, move: Move, keeper: Tag, isRelief: boolean): void {
    move.keeper = keeper;
    move.asked.add(keeper);
    this.effects.send(keeper, { t: "copy-want", name, size: move.size, ...(isRelief && { isRelief }) });
  }

  /** The home of these is dead, and this one is its heir: the node has them. */
  stated(from: Tag, names: readonly StoredName[]): void {
    for (const name of names) {
      this.unclaimed.add(name);
      let record = this.records.get(name);
      if (!record) {
        record = newRecord(name, []);
        this.records.set(name, record);
      }
      const holder = newWhole(record.holders.get(from)?.isKept);
      record.holders.set(from, holder);
      if (storedNameTag(name) === from) holder.isKept = true;
      else if (!this.hasKept(record)) this.keepOne(record);
      if (!record.isUnsure) this.answer(record);
    }
  }

  inheriting(): void {
    this.isInheriting = true;
  }

  /** Who asked for what nobody has waits no longer. */
  allStated(): void {
    this.isInheriting = false;
    for (const record of [...this.records.values()]) {
      if (record.holders.size === 0) this.forget(record);
      else if (!record.isUnsure) this.answer(record);
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
      for (const { tag } of record?.waiting ?? []) this.effects.send(tag, { t: "copy-from", name, source: null });
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
      record.waiting = record.waiting.filter(({ tag }) => tag !== node);
      if (record.isUnsure && storedNameTag(record.name) === node) this.checked(record.name, false);
      else this.lost(record, node);
      this.replicas.look(record.name);
    }
    this.replicas.nodeDied(node);
    for (const [name, move] of [...this.moves]) {
      if (move.from === node) this.moves.delete(name);
      else this.moveOn(name, node);
    }
  }

  /** Undefined when the maker is dead, unless somebody may still say that he has it. */
  private begin(name: StoredName): CopyRecord | undefined {
    const maker = storedNameTag(name);
    const isGone = this.effects.isDead(maker);
    if (isGone && !this.isInheriting) return undefined;
    const record: CopyRecord = isGone
      ? newRecord(name, [])
      : { ...newRecord(name, [[maker, newWhole(true)]]), isUnsure: true };
    this.records.set(name, record);
    if (!isGone) this.effects.send(maker, { t: "copy-check", name });
    return record;
  }

  /** Tells those who wait of whom to take it. */
  private answer(record: CopyRecord): void {
    const { name, holders, waiting } = record;
    if (waiting.length === 0 || (this.isInheriting && !isThere(holders))) return;
    record.waiting = [];
    for (const { tag, holder } of waiting) holders.set(tag, holder);
    place(holders, waiting);
    for (const { tag, holder, stripes, slow } of waiting) {
      const [stripe = 0] = stripes;
      if (slow !== undefined) holder.sources[stripe] ??= slow;
      const sources = stripes.map((one) => holder.sources[one]);
      const [source] = sources;
      const one = holder.sources.length > 1 && stripes.length === 1 ? { stripe } : {};
      if (isAllKnown(sources) && source !== undefined) {
        this.effects.send(tag, { t: "copy-from", name, source, ...one, ...(stripes.length > 1 && { sources }) });
        continue;
      }
      for (const each of stripes) holder.sources[each] = undefined;
      const retry = holder.unreachable.size > 0;
      // Until control has given one of them up, or it is there again.
      if (retry) holder.unreachable.clear();
      else this.lost(record, tag);
      this.effects.send(tag, { t: "copy-from", name, source: null, ...one, ...(retry && { retry }) });
    }
  }

  private forget({ name, waiting }: CopyRecord): void {
    this.records.delete(name);
    for (const { tag } of waiting.splice(0)) this.effects.send(tag, { t: "copy-from", name, source: null });
  }

  private lost(record: CopyRecord, node: Tag): void {
    const { holders } = record;
    const holder = holders.get(node);
    if (!holder) return;
    holders.delete(node);
    if (holder.isKept && !this.hasKept(record)) this.keepOne(record);
    if (holders.size === 0 && !this.isInheriting) this.forget(record);
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

const newWhole = (isKept = false): Holder => ({
  ...{ isComplete: true, isKept, sources: [], weight: 0, stripe: 0, unreachable: new Set() },
});

const newReader = (stripes: number | undefined, stripe: number): Holder => ({
  ...{ isComplete: false, isKept: false, unreachable: new Set() },
  ...(stripes === STRIPES
    ? { sources: new Array(STRIPES).fill(undefined), weight: 1, stripe }
    : // Processes of version 1 take large ones whole too.
      { sources: [undefined], weight: stripes === undefined ? STRIPES : 1, stripe: 0 }),
});

const newRecord = (name: StoredName, holders: readonly [Tag, Holder][]): CopyRecord => ({
  ...{ name, holders: new Map(holders), isUnsure: false, isMoved: false, waiting: [], nextStripe: 0 },
});

const isAllKnown = (sources: readonly (Tag | undefined)[]): sources is readonly Tag[] => !sources.includes(undefined);
