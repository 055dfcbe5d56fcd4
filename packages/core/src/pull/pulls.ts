/**
 * Brings objects of other nodes here: a copy in this node's store for each, however many processes wait for it.
 *
 * 1. A pull waits for its turn: those for a `get` before those for arguments, within a part of the store, so that what many
 *    tasks want does not drive out what is in use.
 * 2. It finds room, asks the home of the owner for a source, and reads from that. When the source fails it asks again, and goes
 *    on where it stopped.
 * 3. What it has can be read by other nodes while it comes.
 * 4. The copy belongs to nobody here: it goes when the home says so, or when its memory is needed and nobody has it pinned.
 */
import { setTimeout as delay } from "node:timers/promises";
import { type ErrorKind, isError, MobulaError } from "../base/errors.ts";
import { type ProcessId, type StoredName, storedName, storedNameKey, storedNameTag } from "../base/ids.ts";
import type { OpenObject, Room, StoreServer } from "../store/mod.ts";
import type { AboutCopies, CopyFrom } from "../wire/cluster-messages.ts";
import type { StoredValue, StoreKey, StorePinned } from "../wire/messages.ts";
import { type BulkLinks, GoneError } from "./bulk-links.ts";
import type { Reading } from "./bulk-server.ts";
import type { Tag } from "./copies.ts";

export type PullStore = Pick<StoreServer, "makeRoom" | "open" | "keep" | "pin" | "free" | "exists">;

export interface PullsOptions {
  readonly here: Tag;
  /** As whom copies are kept. */
  readonly self: ProcessId;
  readonly store: PullStore;
  readonly links: Pick<BulkLinks, "fetch">;
  readonly capacityBytes: number;
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
  /** Bytes that are there. */
  received: number;
  room: Room | undefined;
  located: ((answer: CopyFrom) => void) | undefined;
}

/** Of the store, for what is on its way. */
const SHARE = 0.5;
const RETRY_MS = 200;
/** How long a source that lives and cannot be reached is tried. */
const PATIENCE_MS = 30_000;
const CALL_SITE = "copy from another node";

export const PRIORITY = { get: 0, argument: 1, copy: 2 } as const;

export class Pulls {
  private readonly options: PullsOptions;
  private readonly sleep: NonNullable<PullsOptions["sleep"]>;
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
    this.sleep = options.sleep ?? ((ms, signal) => delay(ms, undefined, { signal }));
  }

  /** Pins the object for the process, once it is here. */
  pin(process: ProcessId, value: Pulled, priority: number): void {
    const key = this.keyOf(value.name);
    if (key !== undefined) this.options.store.pin(process, [key]);
    else this.want(value, priority).waiting.push(process);
  }

  /** Brings it here though nobody here has asked for it, to stay. */
  copy(value: Pulled): void {
    if (this.keyOf(value.name) === undefined) this.want(value, PRIORITY.copy).isKept = true;
    else this.options.send(value.home, { t: "copy-held", name: value.name, isHeld: true });
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
      ...{ name, size, home, priority, received: 0 },
      ...{
        waiting: [],
        isKept: false,
        readers: new Set(),
        ended: new AbortController(),
        room: undefined,
        located: undefined,
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
      await this.receive(pull, pull.room);
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

  /** @throws MobulaError when there is no source (any more); the reason of the pull's signal. */
  private async receive(pull: Pull, { place }: Room): Promise<void> {
    const { links, nowMs } = this.options;
    const { name, size, ended } = pull;
    const { signal } = ended;
    let failed: { readonly source: Tag; readonly isGone: boolean } | undefined;
    let unreachableSinceMs: number | undefined;
    let why = "";
    while (pull.received < size) {
      const { source, retry } = await this.locate(pull, failed);
      failed = undefined;
      if (source === null) {
        if (!retry) throw lost(`no node that lives has it${why}`);
        unreachableSinceMs ??= nowMs();
        if (nowMs() - unreachableSinceMs > PATIENCE_MS) throw unreachable(why);
        await this.sleep(RETRY_MS, signal).catch(() => signal.throwIfAborted());
        continue;
      }
      try {
        const onBytes = (bytes: number): void => {
          pull.received += bytes;
          unreachableSinceMs = undefined;
          for (const reader of pull.readers) reader.grew();
        };
        await links.fetch(source, { name, size, place, from: pull.received, onBytes, signal });
      } catch (error) {
        signal.throwIfAborted();
        why = `: ${(error as Error).message}`;
        failed = { source, isGone: error instanceof GoneError };
      }
    }
  }

  private locate(pull: Pull, failed: { source: Tag; isGone: boolean } | undefined): Promise<CopyFrom> {
    const { isHomeDead, send } = this.options;
    const { name, home, ended } = pull;
    if (isHomeDead(home)) return Promise.reject(lost("the node of its owner has died"));
    return new Promise((resolve, reject) => {
      const { signal } = ended;
      const abort = (): void => reject(signal.reason);
      signal.addEventListener("abort", abort, { once: true });
      pull.located = (answer) => {
        signal.removeEventListener("abort", abort);
        pull.located = undefined;
        resolve(answer);
      };
      if (signal.aborted) abort();
      else send(home, { t: "copy-locate", name, ...(failed && { failed }) });
    });
  }

  // ── what others say ────────────────────────────────────────────────────────────────────────────────────────────────

  from(answer: CopyFrom): void {
    this.pulls.get(answer.name)?.located?.(answer);
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
    const room = pull?.room;
    if (!pull || !room) return undefined;
    const reader: PartialReading = new PartialReading(
      pull.size,
      room,
      () => pull.received,
      () => pull.readers.delete(reader),
    );
    pull.readers.add(reader);
    return reader;
  }
}

class WholeReading implements Reading {
  readonly size: number;
  readonly place: Reading["place"];
  readonly available: number;
  whenFailed: (() => void) | undefined;
  private readonly object: OpenObject;

  constructor(object: OpenObject) {
    this.object = object;
    this.size = object.size;
    this.available = object.size;
    this.place = object.place;
  }

  more(): Promise<void> {
    return Promise.reject(new Error("there is no more of it"));
  }

  close(): void {
    this.object.close();
  }
}

/** What has come so far of an object that is on its way. */
class PartialReading implements Reading {
  readonly size: number;
  readonly place: Reading["place"];
  whenFailed: (() => void) | undefined;
  private readonly received: () => number;
  private readonly onClosed: () => void;
  private waiting: { resolve(): void; reject(error: Error): void } | undefined;
  private failure: Error | undefined;
  private whole: Promise<OpenObject> | undefined;

  constructor(size: number, { place }: Room, received: () => number, onClosed: () => void) {
    this.size = size;
    this.place = place;
    this.received = received;
    this.onClosed = onClosed;
  }

  get available(): number {
    return this.failure ? 0 : this.received();
  }

  more(): Promise<void> {
    if (this.failure) return Promise.reject(this.failure);
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
    });
  }

  grew(): void {
    this.waiting?.resolve();
    this.waiting = undefined;
  }

  /** All of it is there, and is read on a pin of its own from now on. */
  sealed(object: Promise<OpenObject>): void {
    this.whole = object;
    object.catch((error) => this.failed(error as Error));
    this.grew();
  }

  /** Its memory is somebody else's in a moment. */
  failed(error: Error): void {
    this.failure = error;
    this.whenFailed?.();
    this.waiting?.reject(error);
    this.waiting = undefined;
  }

  close(): void {
    this.onClosed();
    void this.whole?.then(
      (object) => object.close(),
      () => {}, // It has failed, which was said.
    );
  }
}

const lost = (why: string): MobulaError => new MobulaError("OBJECT_LOST", "lost", why);
const homeDied = (): MobulaError => lost("the node of its owner has died");
const unreachable = (why: string): MobulaError =>
  new MobulaError("NOT_REACHABLE", "unavailable", `who has it lives and cannot be reached${why}`);

function asFailure(error: unknown): { readonly code: string; readonly kind: ErrorKind; readonly message: string } {
  if (error instanceof MobulaError) return error;
  return { code: "INTERNAL", kind: "internal", message: String(error) };
}
