/**
 * Brings objects of other nodes here: a copy in this node's store for each, however many processes wait for it.
 *
 * 1. A pull waits for its turn: those for a `get` before those for arguments, within a part of the store, so that what many
 *    tasks want does not drive out what is in use.
 * 2. It finds room, asks the home of the owner for sources, and reads from those (arrival.ts).
 * 3. What it has can be read by other nodes while it comes.
 * 4. The copy belongs to nobody here: it goes when the home says so, or when its memory is needed and nobody has it pinned.
 */
import { type ErrorKind, isError, MobulaError } from "../base/errors.ts";
import { type ProcessId, type StoredName, storedName, storedNameKey, storedNameTag } from "../base/ids.ts";
import type { Room, StoreServer } from "../store/mod.ts";
import type { AboutCopies, CopyFrom } from "../wire/cluster-messages.ts";
import type { StoredValue, StoreKey, StorePinned } from "../wire/messages.ts";
import { Arrival, homeDied } from "./arrival.ts";
import type { BulkLinks } from "./bulk-links.ts";
import type { Reading } from "./bulk-server.ts";
import { PartialReading, WholeReading } from "./readings.ts";
import type { Tag } from "./trees.ts";

export type PullStore = Pick<StoreServer, "makeRoom" | "open" | "keep" | "pin" | "free" | "exists">;

export interface PullsOptions {
  readonly here: Tag;
  /** As whom copies are kept. */
  readonly self: ProcessId;
  readonly store: PullStore;
  readonly links: Pick<BulkLinks, "fetch">;
  readonly capacityBytes: number;
  /** Objects from this size on come in stripes. Left out: those for which it is worth it. */
  readonly stripedBytesMin?: number | undefined;
  /** The home has died, and has no heir. */
  isHomeDead(home: Tag): boolean;
  send(to: Tag, message: AboutCopies): void;
  /** The answer to a pin of something that could not be brought here. */
  onFailed(process: ProcessId, pinned: StorePinned): void;
  nowMs(): number;
  /** Rejects when the signal comes. Left out: by the clock of the machine. */
  sleep?(ms: number, signal: AbortSignal): Promise<void>;
}

/** What one pin asks for. */
export type Pulled = Pick<StoredValue, "name" | "size" | "home">;

interface Pull extends Pulled {
  priority: number;
  waiting: ProcessId[];
  readonly ended: AbortController;
  readonly readers: Set<PartialReading>;
  /** It is to stay as the object itself would. */
  isKept: boolean;
  room: Room | undefined;
  arrival: Arrival | undefined;
}

/** Of the store, for what is on its way. */
const SHARE = 0.5;
const CALL_SITE = "copy from another node";

export const PRIORITY = { get: 0, argument: 1, copy: 2 } as const;

export class Pulls {
  private readonly options: PullsOptions;
  private readonly copies = new Map<StoredName, Pulled & { readonly key: StoreKey; isKept: boolean }>();
  private readonly names = new Map<StoreKey, StoredName>();
  /** Made here, and kept by other nodes instead: what is here of them later is a copy. */
  private readonly away = new Map<StoredName, Tag>();
  private readonly pulls = new Map<StoredName, Pull>();
  /** Those whose turn has not come. */
  private queue: Pull[] = [];
  private movingBytes = 0;

  constructor(options: PullsOptions) {
    this.options = options;
  }

  /** Pins the object for the process, once it is here. */
  pin(process: ProcessId, value: Pulled, priority: number): void {
    const key = this.keyOf(value.name);
    if (key !== undefined) this.options.store.pin(process, [key]);
    else this.want(value, priority).waiting.push(process);
  }

  /** Brings it here though nobody here has asked for it, to stay. */
  copy(value: Pulled): void {
    const { name, home } = value;
    if (this.keyOf(name) === undefined) {
      this.want(value, PRIORITY.copy).isKept = true;
      return;
    }
    this.keep(name);
    this.options.send(home, { t: "copy-held", name, isHeld: true });
  }

  /** It was made here, and is no more. */
  isAway(name: StoredName): boolean {
    return this.away.has(name);
  }

  /** By which name others know what lies here under this key. */
  nameOf(key: StoreKey): StoredName | undefined {
    return this.names.get(key);
  }

  /** All of it is here. */
  has(name: StoredName): boolean {
    const key = this.keyOf(name);
    return key !== undefined && this.options.store.exists(key);
  }

  private keyOf(name: StoredName): StoreKey | undefined {
    const isHere = storedNameTag(name) === this.options.here && !this.away.has(name);
    return isHere ? storedNameKey(name) : this.copies.get(name)?.key;
  }

  /** Bytes that are to come here, and have no room yet. */
  get comingBytes(): number {
    let bytes = 0;
    for (const { size, room } of this.pulls.values()) if (!room) bytes += size;
    return bytes;
  }

  private want(value: Pulled, priority: number): Pull {
    let pull = this.pulls.get(value.name);
    if (pull) {
      pull.priority = Math.min(pull.priority, priority);
      return pull;
    }
    const { name, size, home } = value;
    pull = {
      ...{ name, size, home, priority },
      ...{
        waiting: [],
        isKept: false,
        readers: new Set(),
        ended: new AbortController(),
        room: undefined,
        arrival: undefined,
      },
    };
    this.pulls.set(name, pull);
    this.queue.push(pull);
    this.startDue();
    return pull;
  }

  private startDue(): void {
    const limit = this.options.capacityBytes * SHARE;
    while (this.queue.length > 0) {
      let next = this.queue[0] as Pull;
      for (const pull of this.queue) if (pull.priority < next.priority) next = pull;
      if (this.movingBytes > 0 && this.movingBytes + next.size > limit) return;
      this.queue = this.queue.filter((pull) => pull !== next);
      this.movingBytes += next.size;
      void this.run(next).then(() => {
        this.movingBytes -= next.size;
        this.startDue();
      });
    }
  }

  // ── one pull ───────────────────────────────────────────────────────────────────────────────────────────────────────

  private async run(pull: Pull): Promise<void> {
    const { store, self, send, here } = this.options;
    const { name, home, size } = pull;
    try {
      pull.ended.signal.throwIfAborted();
      pull.room = await store.makeRoom(size, CALL_SITE);
      pull.arrival = this.arrivalOf(pull);
      await pull.arrival.complete(pull.room.place);
      const { isKept } = pull;
      const { key, unpin } = pull.room.seal(self, !isKept);
      this.pulls.delete(name);
      this.copies.set(name, { name, size, home, key, isKept });
      this.names.set(key, name);
      for (const reader of pull.readers) reader.sealed(store.open(key));
      for (const process of pull.waiting) store.pin(process, [key]);
      send(home, { t: "copy-held", name, isHeld: true });
      // It may go at once, which is said after that.
      unpin();
    } catch (error) {
      for (const reader of pull.readers) reader.failed(error as Error);
      pull.room?.abandon();
      // A freeing has done so itself.
      if (this.pulls.get(name) === pull) {
        this.pulls.delete(name);
        if (!this.options.isHomeDead(home)) send(home, { t: "copy-held", name, isHeld: false });
      }
      const { code, kind, message } = asFailure(error);
      const failure = {
        code,
        kind,
        message: `object ${name} of ${size} bytes is not to be had on node ${here}: ${message}`,
      };
      for (const process of pull.waiting) {
        this.options.onFailed(process, { t: "store-pinned", name, key: 0, offset: 0, size: 0, error: failure });
      }
    }
  }

  private arrivalOf({ name, size, home, ended, readers }: Pull): Arrival {
    const { links, nowMs, sleep, stripedBytesMin, isHomeDead, send } = this.options;
    return new Arrival({
      ...{ name, size, stripedBytesMin, links, ended, nowMs, sleep },
      isHomeDead: () => isHomeDead(home),
      ask: (message) => send(home, message),
      onBytes: () => {
        for (const reader of readers) reader.grew();
      },
    });
  }

  // ── what others say ────────────────────────────────────────────────────────────────────────────────────────────────

  from(answer: CopyFrom): void {
    this.pulls.get(answer.name)?.arrival?.answered(answer);
  }

  /** The home has let go of them. */
  free(names: readonly StoredName[]): void {
    const { here, store } = this.options;
    for (const name of names) {
      if (storedNameTag(name) === here) store.free([storedNameKey(name)]);
      if (storedNameTag(name) !== here || this.away.delete(name))
        this.drop(name, lost("its last reference was released"));
    }
  }

  keep(name: StoredName): void {
    const copy = this.copies.get(name);
    if (copy) copy.isKept = true;
    const key = this.keyOf(name);
    if (key !== undefined) this.options.store.keep(key);
  }

  /** Copies that count as the objects themselves. */
  get kept(): readonly Pulled[] {
    return [...this.copies.values()].filter(({ isKept }) => isKept);
  }

  /**
   * A copy went for the sake of its memory, or what was made here and others keep instead.
   *
   * @param madeFor the home of an object that was made here.
   */
  dropped(key: StoreKey, madeFor?: Tag): void {
    if (madeFor !== undefined) {
      const made = storedName(this.options.here, key);
      this.away.set(made, madeFor);
      this.options.send(madeFor, { t: "copy-held", name: made, isHeld: false });
      return;
    }
    const name = this.names.get(key);
    const copy = name && this.copies.get(name);
    if (!name || !copy) return;
    this.forget(name, key);
    this.options.send(copy.home, { t: "copy-held", name, isHeld: false });
  }

  /** A copy that was here cannot be read any more: it is fetched again for this process. */
  unreadable(key: StoreKey, process: ProcessId): boolean {
    const name = this.names.get(key);
    const copy = name && this.copies.get(name);
    if (!name || !copy) return false;
    this.options.store.free([key]);
    this.dropped(key);
    this.pin(process, copy, PRIORITY.get);
    return true;
  }

  /** What still comes is pinned for it no more. */
  processGone(process: ProcessId): void {
    for (const pull of this.pulls.values()) pull.waiting = pull.waiting.filter((one) => one !== process);
  }

  /** Homes are dead that have heirs: what was asked of them, and not answered, is asked of those. */
  homesInherited(homes: ReadonlySet<Tag>): void {
    for (const { home, arrival } of this.pulls.values()) if (homes.has(home)) arrival?.askAgain();
  }

  /** Homes are dead that have no heir. */
  homesDied(homes: ReadonlySet<Tag>): void {
    for (const [name, { home }] of [...this.copies]) if (homes.has(home)) this.drop(name, homeDied());
    for (const { name, home } of [...this.pulls.values()]) if (homes.has(home)) this.drop(name, homeDied());
    for (const [name, home] of this.away) if (homes.has(home)) this.away.delete(name);
  }

  /** Copies of what belongs to this home. */
  copiesOf(home: Tag): readonly StoredName[] {
    return [...this.copies.values()].flatMap((copy) => (copy.home === home ? [copy.name] : []));
  }

  private drop(name: StoredName, why: MobulaError): void {
    const copy = this.copies.get(name);
    if (copy) {
      this.forget(name, copy.key);
      this.options.store.free([copy.key]);
    }
    const pull = this.pulls.get(name);
    if (!pull) return;
    this.pulls.delete(name);
    pull.ended.abort(why);
  }

  private forget(name: StoredName, key: StoreKey): void {
    this.copies.delete(name);
    this.names.delete(key);
  }

  // ── reading for others ─────────────────────────────────────────────────────────────────────────────────────────────

  /** An object that is here or on its way; undefined when it is neither. */
  async open(name: StoredName): Promise<Reading | undefined> {
    const { store } = this.options;
    const key = this.keyOf(name);
    if (key !== undefined) {
      try {
        return new WholeReading(await store.open(key));
      } catch (error) {
        if (isError(error, "OBJECT_LOST")) return undefined;
        throw error;
      }
    }
    const pull = this.pulls.get(name);
    if (!pull?.room || !pull.arrival) return undefined;
    const { size, room, arrival } = pull;
    const reader: PartialReading = new PartialReading(
      size,
      room,
      (at) => arrival.availableFrom(at),
      () => pull.readers.delete(reader),
    );
    pull.readers.add(reader);
    return reader;
  }
}

const lost = (why: string): MobulaError => new MobulaError("OBJECT_LOST", "lost", why);

function asFailure(error: unknown): { readonly code: string; readonly kind: ErrorKind; readonly message: string } {
  if (error instanceof MobulaError) return error;
  return { code: "INTERNAL", kind: "internal", message: String(error) };
}
