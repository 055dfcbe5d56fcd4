/**
 * The object table of one node: which object owns which pages, who has it pinned, what is on disk, who waits for room.
 * Pure: events and the time go in, commands come out; `server.ts` carries them out.
 *
 * 1. A client asks for ranges (slabs, or one range for a large object), fills them, and says "sealed".
 * 2. A sealed object is in memory, on disk, or both; it never changes, so a copy on disk stays good.
 * 3. A pin keeps it at its place. Pages are used again only when the object is freed or on disk, and no pin is left.
 * 4. Requests that do not fit wait in order. Relief, cheapest first: drop memory of objects that are on disk too, ask
 *    processes to collect garbage, move the oldest unpinned objects to nodes that have room, or write them to disk; after `putTimeoutMs` a request gets a
 *    range in a file on disk; when that is full too, an error that names the biggest holders.
 * 5. Where much is freed and still pinned, those who have it pinned are asked to collect before anybody waits for room.
 */
import { assert, type ProcessId, unreachable } from "../base/mod.ts";
import type { StoreKey } from "../wire/messages.ts";
import { createPageAllocator } from "./allocator.ts";
import type { DiskSlot, RequestId, StoreCommand, StoreEvent, StoreFailure, StoreStats } from "./engine-events.ts";
import { fullMessage } from "./holders.ts";
import { PAGE_BYTES, pagesOf } from "./memory.ts";
import { type Candidate, fillBatch, planWindow, SPILL_BATCH_BYTES } from "./relief.ts";
import { createResidency } from "./residency.ts";
import { createUnsealedRanges } from "./unsealed.ts";

/** A client's keys are its number times this, plus a count: made without asking, never reused, and they name their maker. */
export const KEYS_PER_CLIENT = 2 ** 32;
const clientNumberOf = (key: StoreKey): number => Math.floor(key / KEYS_PER_CLIENT);

const SPILL_SHARE = 0.8;
/** Below this share of free memory a slab is no larger than the object that needs it. */
const PLENTY_SHARE = 0.2;
/** No client leases more than this share of the arena in one slab. */
const SLAB_SHARE = 1 / 32;
/** From here on it is good to know whether other nodes have room. */
const PEERS_SHARE = 0.6;
const FIND_PEERS_MS = 1_000;
/** So long the disk is spared while that is asked. */
const PEERS_GRACE_MS = 100;
/** So much is on its way to other nodes at once, lest a slow link hold up who waits for room. */
const RELIEF_BATCH_BYTES = 64 * 2 ** 20;
const COLLECT_INTERVAL_MS = 1_000;
/** How long processes have to let go before objects are written to disk. */
const COLLECT_GRACE_MS = 50;
/** So much of the store may be freed and still pinned before those who pin it are asked to collect. */
const FREED_SHARE = 0.25;
const DISK_RETRY_MS = 1_000;
const TICK_MS = 5_000;
/** Planning looks at every idle object: when it finds nothing, the next look waits this long. */
const PLAN_PAUSE_MS = 20;
/** How long a restore waits for memory: there are other ways to read the object, which cost less than more waiting. */
const RESTORE_PATIENCE_MS = 2_000;
/** How many requests that cannot be helped are passed over in one step. */
const QUEUE_TURNS_MAX = 8;
const POPULATE_AHEAD_BYTES = 256 * 2 ** 20;

export interface StoreEngineOptions {
  readonly capacityBytes: number;
  /** Bytes on disk that spilled and overflowing objects may take together; 0 for no disk at all. */
  readonly spillBytesMax: number;
  readonly putTimeoutMs: number;
  /** Other processes can read the files of spilled objects. */
  readonly sharesFiles: boolean;
  /** The arena can be populated and punched. */
  readonly managesResidency: boolean;
  /** Other nodes may have room: {@link StoreCommand} "find-peers" and "relieve" are obeyed. */
  readonly hasPeers?: boolean;
}

/** An object, and the process that is to free it. */
export interface OwnedKey {
  readonly key: StoreKey;
  readonly owner: ProcessId;
}

/** An object, as it is listed for people. */
export interface StoredDetails extends OwnedKey {
  readonly bytes: number;
  /** In the program that made it; empty when that is not known. */
  readonly callSite: string;
  readonly place: "memory" | "disk";
  readonly isCopy: boolean;
  /** Processes that read it. */
  readonly pins: number;
  /** Nobody has a ref of it any more; it is there because it is read. */
  readonly isFreed: boolean;
  /** When it was sealed here, by the clock of the events. */
  readonly sealedAtMs: number;
}

export interface StoreEngine {
  /** An event about what is already gone, late or repeated, changes nothing. */
  step(event: StoreEvent, nowMs: number): readonly StoreCommand[];
  /** When a `tick` is due, if nothing happens before. */
  nextWakeMs(): number;
  stats(): StoreStats;
  /** Keys sealed by this process and not freed. */
  keysSealedBy(processId: ProcessId): readonly OwnedKey[];
  /** Objects that processes of other nodes than the one with this tag are to free, without copies. */
  ownedBeside(tag: string): readonly (OwnedKey & { readonly bytes: number })[];
  /** All that are there, for people. */
  list(): Iterable<StoredDetails>;
  /** In memory, as {@link stats} has it. */
  usedBytes(): number;
  /** False when it was freed, or will never be. */
  exists(key: StoreKey): boolean;
  /** Keys that processes of the node with this tag are to free and have not. */
  keysOwnedOn(tag: string): readonly StoreKey[];
}

interface StoredObject {
  readonly key: StoreKey;
  readonly bytes: number;
  readonly pages: number;
  readonly sealedBy: ProcessId;
  readonly owner: ProcessId;
  isCopy: boolean;
  /** Made on another node: it is moved to no third one, or two full ones would hand it to and fro. */
  readonly isForeign: boolean;
  /** Other nodes keep it, and nothing of it is here. */
  isAway: boolean;
  readonly callSite: string;
  readonly sealedAtMs: number;
  /** First page in memory (or in the overflow file); undefined while only on disk. */
  start: number | undefined;
  slot: DiskSlot | undefined;
  /** "queued" waits for a place to be restored to; "restoring" has one, which nobody may read yet. */
  moving: "relieving" | "spilling" | "queued" | "restoring" | undefined;
  readonly pins: Map<ProcessId, number>;
  /** Processes whose pin waits for the restore. */
  readonly pinWaiters: ProcessId[];
  /** Those with a pin that read the copy on disk: it must stay as long as they have one. */
  readonly diskReaders: Set<ProcessId>;
  freed: boolean;
}

interface Waiting {
  readonly requestId: RequestId | undefined;
  readonly object: StoredObject | undefined;
  readonly processId: ProcessId;
  readonly pages: number;
  readonly wishPages: number;
  readonly callSite: string;
  readonly deadlineMs: number;
}

export function createStoreEngine(options: StoreEngineOptions): StoreEngine {
  const arenaPages = Math.floor(options.capacityBytes / PAGE_BYTES);
  const overflowPages = Math.floor(options.spillBytesMax / PAGE_BYTES);
  const arena = createPageAllocator(arenaPages);
  const overflow = createPageAllocator(overflowPages);
  const residency = createResidency(arenaPages);
  const unsealed = createUnsealedRanges();
  const objects = new Map<StoreKey, StoredObject>();
  /** In memory only, unpinned, at rest; oldest use first. */
  const idle = new Map<StoreKey, StoredObject>();
  /** The same for objects that have a copy on disk: their memory can be dropped at once. */
  const idleOnDisk = new Map<StoreKey, StoredObject>();
  /** The same for copies of what lies elsewhere. */
  const idleCopies = new Map<StoreKey, StoredObject>();
  /** `lastKey` is the newest that the client sealed: it numbers them in order, so what is missing below is gone. */
  const clients = new Map<number, { readonly processId: ProcessId; lastKey: StoreKey }>();
  /** Pins that came before the news of the seal: the two travel on different connections. */
  const earlyPins = new Map<StoreKey, ProcessId[]>();
  const earlyFrees = new Set<StoreKey>();
  let queue: Waiting[] = [];
  const overflowTickets = new Map<number, { readonly waiting: Waiting; readonly start: number }>();
  let nextTicket = 1;
  /** What is leaving memory, for other nodes or for the disk. */
  let batch: { readonly id: number; readonly objects: readonly StoredObject[]; readonly toPeers: boolean } | undefined;
  let nextBatchId = 1;
  /** Of objects that are freed and still pinned. */
  let freedBytes = 0;
  let slotBytes = 0;
  let batchBytes = 0;
  let collectedAtMs = Number.NEGATIVE_INFINITY;
  let diskPausedUntilMs = Number.NEGATIVE_INFINITY;
  let peersAskedAtMs = Number.NEGATIVE_INFINITY;
  let peersBytes = 0;
  let isAskingPeers = false;
  /** Nothing more may be written until something on disk goes. */
  let isDiskLimitReached = false;
  let planPausedUntilMs = Number.NEGATIVE_INFINITY;
  let diskFailure: { readonly code: string; readonly message: string } | undefined;
  let lastTickMs = 0;
  /** Bytes granted of late; halved at each tick. The measure of how much to prepare ahead. */
  let recentDemandBytes = 0;
  /** Room was given since memory was last prepared ahead. */
  let isPopulateDue = false;
  let wakeMs = Number.POSITIVE_INFINITY;
  let spilledBytesTotal = 0;
  let restoredBytesTotal = 0;
  let relievedBytesTotal = 0;
  let collectsTotal = 0;
  let commands: StoreCommand[] = [];

  // ── pages ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  const toOffset = (start: number): number => start * PAGE_BYTES;
  const inArena = (start: number): boolean => start < arenaPages;

  function takeArena(pages: number): { readonly start: number; readonly isFresh: boolean } | undefined {
    const start = arena.allocate(pages);
    if (start === undefined) return undefined;
    const isFresh = !residency.isPresent(start, pages);
    residency.touched(start, pages);
    recentDemandBytes += pages * PAGE_BYTES;
    return { start, isFresh };
  }

  function freePages(start: number, pages: number, nowMs: number): void {
    if (inArena(start)) {
      arena.free(start, pages);
      residency.freed(start, pages, nowMs);
    } else {
      overflow.free(start - arenaPages, pages);
      isDiskLimitReached = false;
      commands.push({ kind: "punch", offset: toOffset(start), bytes: pages * PAGE_BYTES });
    }
  }

  // ── objects ────────────────────────────────────────────────────────────────────────────────────────────────────────

  function becameIdle(object: StoredObject): void {
    if (
      object.start !== undefined &&
      inArena(object.start) &&
      object.pins.size === 0 &&
      !object.moving &&
      !object.freed
    ) {
      const list = object.isCopy ? idleCopies : object.slot ? idleOnDisk : idle;
      list.delete(object.key);
      list.set(object.key, object);
    }
  }

  function notIdle(object: StoredObject): void {
    idle.delete(object.key);
    idleOnDisk.delete(object.key);
    idleCopies.delete(object.key);
  }

  function pin(object: StoredObject, processId: ProcessId): void {
    assert(object.start !== undefined, "pinned an object that is not in memory");
    notIdle(object);
    object.pins.set(processId, (object.pins.get(processId) ?? 0) + 1);
    commands.push({ kind: "pinned", processId, key: object.key, offset: toOffset(object.start), size: object.bytes });
  }

  function refusePin(processId: ProcessId, key: StoreKey, error: StoreFailure): void {
    commands.push({ kind: "pinned", processId, key, offset: 0, size: 0, error });
  }

  function requestPin(processId: ProcessId, key: StoreKey, nowMs: number): void {
    const object = objects.get(key);
    if (!object) {
      if (isYetToCome(key) && !earlyFrees.has(key)) {
        const waiting = earlyPins.get(key);
        if (waiting) waiting.push(processId);
        else earlyPins.set(key, [processId]);
      } else {
        refusePin(
          processId,
          key,
          lostError(key, "it was freed, or the process that made it died before it was sealed"),
        );
      }
    } else if (object.freed) {
      refusePin(processId, key, lostError(key, "its last reference was released"));
    } else if (object.isAway) {
      refusePin(processId, key, lostError(key, "another node keeps it now"));
    } else if (object.start !== undefined && object.moving !== "restoring") {
      pin(object, processId);
    } else {
      object.pinWaiters.push(processId);
      if (!object.moving) wantRestore(object, nowMs);
    }
  }

  /** The key of an object whose seal has not been heard of. */
  function isYetToCome(key: StoreKey): boolean {
    const client = clients.get(clientNumberOf(key));
    return client !== undefined && key > client.lastKey;
  }

  function wantRestore(object: StoredObject, nowMs: number): void {
    object.moving = "queued";
    queue.push({
      requestId: undefined,
      object,
      processId: object.sealedBy,
      pages: object.pages,
      wishPages: object.pages,
      callSite: object.callSite,
      deadlineMs: nowMs + Math.min(options.putTimeoutMs, RESTORE_PATIENCE_MS),
    });
  }

  /** The last resort: neither memory nor disk has room for an object that was asked for, which lies on disk. */
  function pinOnDisk(object: StoredObject): void {
    const { key, slot } = object;
    assert(slot, "pinned an object on disk that is not there");
    for (const processId of object.pinWaiters.splice(0)) {
      object.pins.set(processId, (object.pins.get(processId) ?? 0) + 1);
      object.diskReaders.add(processId);
      commands.push({ kind: "pinned-on-disk", processId, key, slot });
    }
  }

  function failPinWaiters(object: StoredObject, error: StoreFailure): void {
    for (const processId of object.pinWaiters.splice(0)) refusePin(processId, object.key, error);
  }

  function free(key: StoreKey, nowMs: number): void {
    const object = objects.get(key);
    if (!object) {
      if (isYetToCome(key)) {
        earlyFrees.add(key);
        for (const processId of earlyPins.get(key) ?? [])
          refusePin(processId, key, lostError(key, "its last reference was released"));
        earlyPins.delete(key);
      }
      return;
    }
    if (object.freed) return;
    object.freed = true;
    notIdle(object);
    failPinWaiters(object, lostError(key, "its last reference was released"));
    const before = queue.length;
    queue = queue.filter((waiting) => waiting.object !== object);
    // One that waits for blocks on disk instead is looked after when they come.
    if (queue.length < before) object.moving = undefined;
    freedBytes += object.bytes;
    forgetIfUnused(object, nowMs);
    if (objects.has(key)) hurryReaders(object);
  }

  /** Who reads what nobody can ask for any more has most likely done so, and not collected since. */
  function hurryReaders({ pins }: StoredObject): void {
    if (pins.size === 0 || freedBytes < options.capacityBytes * FREED_SHARE) return;
    commands.push({ kind: "collect", processIds: [...pins.keys()] });
  }

  /** A freed object's pages and disk slot go back when nobody reads or writes them any more. */
  function forgetIfUnused(object: StoredObject, nowMs: number): void {
    if (!object.freed || object.pins.size > 0 || object.moving) return;
    objects.delete(object.key);
    freedBytes -= object.bytes;
    if (object.start !== undefined) freePages(object.start, object.pages, nowMs);
    object.start = undefined;
    dropSlot(object);
  }

  function dropSlot(object: StoredObject): void {
    if (!object.slot) return;
    slotBytes -= object.slot.bytes;
    isDiskLimitReached = false;
    commands.push({ kind: "drop-slots", slots: [object.slot] });
    object.slot = undefined;
    if (idleOnDisk.delete(object.key)) becameIdle(object);
  }

  function unpin(processId: ProcessId, key: StoreKey, count: number, nowMs: number): void {
    const object = objects.get(key);
    const held = object?.pins.get(processId);
    if (!object || held === undefined) return;
    if (held > count) object.pins.set(processId, held - count);
    else {
      object.pins.delete(processId);
      object.diskReaders.delete(processId);
    }
    if (object.pins.size > 0) return;
    becameIdle(object);
    forgetIfUnused(object, nowMs);
  }

  function sealed(event: StoreEvent & { readonly kind: "sealed" }, nowMs: number): void {
    const { key, processId } = event;
    const start = event.offset / PAGE_BYTES;
    const pages = pagesOf(event.bytes);
    const client = clients.get(clientNumberOf(key));
    if (client?.processId !== processId || key <= client.lastKey || !unsealed.carve(processId, start, pages)) {
      commands.push({
        kind: "expel",
        processId,
        reason: `sealed ${key} at ${event.offset}+${event.bytes}, which is not its own to seal`,
      });
      return;
    }
    const object: StoredObject = {
      key,
      bytes: event.bytes,
      pages,
      sealedBy: processId,
      owner: event.owner ?? processId,
      isCopy: event.isCopy ?? false,
      isForeign: event.isForeign ?? false,
      isAway: false,
      callSite: event.callSite,
      sealedAtMs: nowMs,
      start,
      slot: undefined,
      moving: undefined,
      pins: event.pinned ? new Map([[processId, 1]]) : new Map(),
      pinWaiters: [],
      diskReaders: new Set(),
      freed: false,
    };
    client.lastKey = key;
    objects.set(key, object);
    becameIdle(object);
    const waiting = earlyPins.get(key);
    earlyPins.delete(key);
    for (const waiter of waiting ?? []) pin(object, waiter);
    if (earlyFrees.delete(key)) free(key, nowMs);
  }

  function processGone(processId: ProcessId, nowMs: number): void {
    for (const range of unsealed.takeAll(processId)) freePages(range.start, range.pages, nowMs);
    queue = queue.filter((waiting) => waiting.object || waiting.processId !== processId);
    for (const object of [...objects.values()]) {
      const { pinWaiters } = object;
      for (let index = pinWaiters.indexOf(processId); index >= 0; index = pinWaiters.indexOf(processId))
        pinWaiters.splice(index, 1);
      if (object.pins.has(processId)) unpin(processId, object.key, Number.POSITIVE_INFINITY, nowMs);
    }
    for (const [key, waiting] of earlyPins)
      earlyPins.set(
        key,
        waiting.filter((waiter) => waiter !== processId),
      );
    for (const [number, client] of clients) {
      if (client.processId !== processId) continue;
      clients.delete(number);
      for (const [key, waiting] of earlyPins) {
        if (clientNumberOf(key) !== number) continue;
        earlyPins.delete(key);
        for (const waiter of waiting)
          refusePin(waiter, key, lostError(key, "the process that made it died before it was sealed"));
      }
      for (const key of earlyFrees) if (clientNumberOf(key) === number) earlyFrees.delete(key);
    }
  }

  // ── room ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  function requestAllocation(event: StoreEvent & { readonly kind: "allocate-requested" }, nowMs: number): void {
    const soon = event.bytes === 0;
    const pages = soon ? pagesOf(event.wishBytes) : pagesOf(event.bytes);
    const waiting: Waiting = {
      requestId: event.requestId,
      object: undefined,
      processId: event.processId,
      pages,
      wishPages: Math.max(pages, pagesOf(event.wishBytes)),
      callSite: event.callSite,
      deadlineMs: nowMs + options.putTimeoutMs,
    };
    if (!clientIsKnown(event.processId)) {
      commands.push({
        kind: "refuse",
        requestId: event.requestId,
        error: { code: "CONNECTION_LOST", kind: "unavailable", message: "the store does not know this process" },
      });
    } else if (soon) {
      const plenty =
        arena.freePages - pages > arenaPages * PLENTY_SHARE && pages <= arenaPages * SLAB_SHARE && queue.length === 0;
      if (!plenty || !tryGrant(waiting)) {
        commands.push({
          kind: "refuse",
          requestId: event.requestId,
          error: { code: "NO_SLAB", kind: "unavailable", message: "no slab to spare" },
        });
      }
    } else if (pages > arenaPages) {
      useOverflow(waiting);
    } else if (queue.length > 0 || !tryGrant(waiting)) {
      queue.push(waiting);
    }
  }

  function tryGrant(waiting: Waiting): boolean {
    let pages = waiting.pages;
    if (arena.freePages > arenaPages * PLENTY_SHARE)
      pages = Math.max(pages, Math.min(waiting.wishPages, Math.floor(arenaPages * SLAB_SHARE)));
    let taken = takeArena(pages);
    if (!taken && pages > waiting.pages) {
      pages = waiting.pages;
      taken = takeArena(pages);
    }
    if (!taken) return false;
    give(waiting, taken.start, pages, taken.isFresh);
    return true;
  }

  function give(waiting: Waiting, start: number, pages: number, isFresh: boolean): void {
    const { object, requestId } = waiting;
    if (object) {
      assert(object.slot && object.start === undefined, "restore of an object that is not only on disk");
      object.start = start;
      object.moving = "restoring";
      commands.push({ kind: "restore", key: object.key, slot: object.slot, offset: toOffset(start) });
    } else if (requestId !== undefined) {
      unsealed.add(waiting.processId, { start, pages });
      commands.push({
        kind: "grant",
        requestId,
        processId: waiting.processId,
        offset: toOffset(start),
        bytes: pages * PAGE_BYTES,
        isFresh,
      });
    }
  }

  /** A place in the file on disk, once its blocks are reserved: a mapped hole on a full disk would kill its writer. */
  function useOverflow(waiting: Waiting): void {
    const bytes = waiting.pages * PAGE_BYTES;
    const room = diskBytes() + bytes <= options.spillBytesMax || dropSpareSlots(bytes);
    const start = room ? overflow.allocate(waiting.pages) : undefined;
    if (start === undefined) {
      refuseFull(waiting, undefined);
      return;
    }
    const ticket = nextTicket++;
    overflowTickets.set(ticket, { waiting, start: start + arenaPages });
    commands.push({ kind: "reserve-fallback", ticket, offset: toOffset(start + arenaPages), bytes });
  }

  function overflowReady(
    ticket: number,
    failure: { readonly code: string; readonly message: string } | undefined,
    nowMs: number,
  ): void {
    const entry = overflowTickets.get(ticket);
    if (!entry) return;
    overflowTickets.delete(ticket);
    const { waiting, start } = entry;
    const alive = waiting.object
      ? !waiting.object.freed && waiting.object.pinWaiters.length > 0
      : clientIsKnown(waiting.processId);
    if (failure || !alive) {
      freePages(start, waiting.pages, nowMs);
      if (failure) refuseFull(waiting, failure);
      if (waiting.object) {
        waiting.object.moving = undefined;
        forgetIfUnused(waiting.object, nowMs);
      }
      return;
    }
    give(waiting, start, waiting.pages, false);
  }

  function refuseFull(waiting: Waiting, disk: { readonly code: string; readonly message: string } | undefined): void {
    const diskFault = disk ?? diskFailure;
    const message = fullMessage({
      wantedBytes: waiting.pages * PAGE_BYTES,
      waitedMs: options.putTimeoutMs,
      stats: stats(),
      spillBytesMax: options.spillBytesMax,
      objects: objects.values(),
      unsealedPages: unsealed.pagesByProcess(),
      diskMessage: diskFault?.message,
    });
    const error: StoreFailure = { code: diskFault ? "DISK_FULL" : "STORE_FULL", kind: "exhausted", message };
    if (waiting.object) {
      waiting.object.moving = undefined;
      if (options.sharesFiles) pinOnDisk(waiting.object);
      else failPinWaiters(waiting.object, error);
    } else if (waiting.requestId !== undefined) commands.push({ kind: "refuse", requestId: waiting.requestId, error });
  }

  const clientIsKnown = (processId: ProcessId): boolean => {
    for (const client of clients.values()) if (client.processId === processId) return true;
    return false;
  };
  const diskBytes = (): number => slotBytes + batchBytes + (overflow.totalPages - overflow.freePages) * PAGE_BYTES;
  const usedPages = (): number => arenaPages - arena.freePages;

  /** Gives up disk copies of objects that are in memory as well, to make room on disk. */
  function dropSpareSlots(bytes: number): boolean {
    for (const object of objects.values()) {
      if (diskBytes() + bytes <= options.spillBytesMax) return true;
      if (object.slot && object.start !== undefined && !object.moving && object.diskReaders.size === 0)
        dropSlot(object);
    }
    return diskBytes() + bytes <= options.spillBytesMax;
  }

  const isTight = (): boolean => queue.length > 0 || usedPages() > arenaPages * SPILL_SHARE;

  /** Grants in order while it can, then does what makes room for the first that waits. */
  function relieve(nowMs: number): void {
    serveQueue();
    while (isTight() && dropSpareMemory(nowMs)) serveQueue();
    if (usedPages() > arenaPages * PEERS_SHARE) findPeers(nowMs);
    if (isTight()) {
      askToCollect(nowMs);
      if (nowMs - collectedAtMs >= COLLECT_GRACE_MS) spillForFirst(nowMs);
    }
    expire(nowMs);
  }

  /** One that no spilling can help (pinned objects are in the way) does not hold up those behind it. */
  function spillForFirst(nowMs: number): void {
    if (nowMs < planPausedUntilMs) return;
    for (let turns = Math.min(queue.length, QUEUE_TURNS_MAX); !startSpill(queue[0], nowMs); turns--) {
      if (turns <= 1) {
        planPausedUntilMs = nowMs + PLAN_PAUSE_MS;
        return;
      }
      const stuck = queue.shift();
      if (stuck) queue.push(stuck);
      serveQueue();
    }
  }

  function serveQueue(): void {
    for (let head = queue[0]; head && tryGrant(head); head = queue[0]) queue.shift();
  }

  function keep(key: StoreKey): void {
    const object = objects.get(key);
    if (!object?.isCopy) return;
    notIdle(object);
    object.isCopy = false;
    becameIdle(object);
  }

  /** Nothing of it stays here. It is still known, since it will be freed by its key, and may be orphaned. */
  function leave(object: StoredObject, nowMs: number): void {
    notIdle(object);
    dropSlot(object);
    if (object.start !== undefined) freePages(object.start, object.pages, nowMs);
    object.start = undefined;
    object.isCopy = false;
    object.isAway = true;
    commands.push({ kind: "copy-dropped", key: object.key, owner: object.owner });
  }

  /** The oldest idle object that is elsewhere or on disk too leaves memory at no cost. */
  function dropSpareMemory(nowMs: number): boolean {
    for (const object of idleCopies.values()) {
      if (object.isForeign) {
        free(object.key, nowMs);
        commands.push({ kind: "copy-dropped", key: object.key });
      } else leave(object, nowMs);
      return true;
    }
    for (const object of idleOnDisk.values()) {
      assert(object.slot && object.start !== undefined, "an idle object that is not in memory and on disk");
      idleOnDisk.delete(object.key);
      freePages(object.start, object.pages, nowMs);
      object.start = undefined;
      return true;
    }
    return false;
  }

  function findPeers(nowMs: number): void {
    if (!options.hasPeers || nowMs - peersAskedAtMs < FIND_PEERS_MS) return;
    peersAskedAtMs = nowMs;
    isAskingPeers = true;
    commands.push({ kind: "find-peers" });
  }

  function askToCollect(nowMs: number): void {
    if (nowMs - collectedAtMs < COLLECT_INTERVAL_MS) return;
    // Who waits here is likely to be blocked in `put` and cannot collect; alone, it would only lose the time of grace.
    const waiters = new Set(queue.map((waiting) => waiting.processId));
    const others = [...new Set([...clients.values()].map((client) => client.processId))].filter(
      (processId) => !waiters.has(processId),
    );
    if (others.length === 0) return;
    collectedAtMs = nowMs;
    collectsTotal++;
    commands.push({ kind: "collect", processIds: others });
  }

  /** False when no spilling can help the request. */
  function startSpill(head: Waiting | undefined, nowMs: number): boolean {
    if (batch) return true;
    const mayWrite = options.spillBytesMax > 0 && nowMs >= diskPausedUntilMs && !isDiskLimitReached;
    if (!mayWrite && peersBytes === 0) return true;
    if (!head && idle.size === 0) return true;
    const candidates: (Candidate & { readonly object: StoredObject })[] = [];
    for (const object of idle.values()) {
      assert(object.start !== undefined, "an idle object that is not in memory");
      candidates.push({ start: object.start, pages: object.pages, object });
    }
    const needed = head ? planWindow(head.pages, arena.freeRanges(), candidates) : [];
    if (!needed) return false;
    const wantedPages = Math.min(SPILL_BATCH_BYTES / PAGE_BYTES, Math.ceil(arenaPages / 4));
    const chosen = fillBatch(needed, candidates, wantedPages);
    if (startRelief(chosen, mayWrite) || !mayWrite || isPeersGrace(nowMs)) return true;
    const kept: StoredObject[] = [];
    let bytes = 0;
    for (const { object } of chosen) {
      if (diskBytes() + bytes + object.bytes > options.spillBytesMax && !dropSpareSlots(bytes + object.bytes)) break;
      kept.push(object);
      bytes += object.bytes;
    }
    if (kept.length === 0) {
      isDiskLimitReached = true;
      return true;
    }
    for (const object of kept) {
      notIdle(object);
      object.moving = "spilling";
    }
    batch = { id: nextBatchId++, objects: kept, toPeers: false };
    batchBytes = bytes;
    commands.push({
      kind: "spill",
      batchId: batch.id,
      objects: kept.map((object) => ({ key: object.key, offset: toOffset(object.start ?? 0), bytes: object.bytes })),
    });
    return true;
  }

  const isPeersGrace = (nowMs: number): boolean => isAskingPeers && nowMs - peersAskedAtMs < PEERS_GRACE_MS;

  /**
   * False when other nodes have no room for any of them. What an owner has put cannot be made again: it is not to depend on a second
   * machine, unless there is no disk for it.
   */
  function startRelief(chosen: readonly { readonly object: StoredObject }[], hasDisk: boolean): boolean {
    const moved: StoredObject[] = [];
    let bytes = 0;
    for (const { object } of chosen) {
      if (bytes >= RELIEF_BATCH_BYTES) break;
      const isPut = object.owner === object.sealedBy;
      if (object.isForeign || (isPut && hasDisk) || object.bytes > peersBytes) continue;
      peersBytes -= object.bytes;
      bytes += object.bytes;
      moved.push(object);
    }
    if (moved.length === 0) return false;
    for (const object of moved) {
      notIdle(object);
      object.moving = "relieving";
    }
    batch = { id: nextBatchId++, objects: moved, toPeers: true };
    commands.push({
      kind: "relieve",
      batchId: batch.id,
      objects: moved.map(({ key, bytes, owner }) => ({ key, bytes, owner })),
    });
    return true;
  }

  function reliefEnded(batchId: number, keys: ReadonlySet<StoreKey>, nowMs: number): void {
    if (batch?.id !== batchId || !batch.toPeers) return;
    const { objects: asked } = batch;
    batch = undefined;
    // Somebody has less room than was thought. What could not be moved goes to disk.
    if (keys.size < asked.length) peersBytes = 0;
    for (const object of asked) {
      object.moving = undefined;
      if (keys.has(object.key) && !object.freed) {
        relievedBytesTotal += object.bytes;
        if (object.pins.size === 0) {
          leave(object, nowMs);
          continue;
        }
        // It goes when nobody reads it any more.
        object.isCopy = true;
      }
      becameIdle(object);
      forgetIfUnused(object, nowMs);
    }
  }

  function spillEnded(batchId: number, slots: readonly DiskSlot[] | undefined, nowMs: number): void {
    if (batch?.id !== batchId || batch.toPeers) return;
    const written = batch.objects;
    batch = undefined;
    batchBytes = 0;
    if (slots) diskFailure = undefined;
    written.forEach((object, index) => {
      object.moving = undefined;
      const slot = slots?.[index];
      if (slot) {
        object.slot = slot;
        slotBytes += slot.bytes;
        spilledBytesTotal += slot.bytes;
      }
      if (slot && object.pins.size === 0 && !object.freed && object.start !== undefined) {
        freePages(object.start, object.pages, nowMs);
        object.start = undefined;
      } else {
        becameIdle(object);
        forgetIfUnused(object, nowMs);
      }
    });
  }

  function restoreEnded(key: StoreKey, failure: string | undefined, nowMs: number): void {
    const object = objects.get(key);
    if (object?.moving !== "restoring" || object.start === undefined) return;
    object.moving = undefined;
    if (failure !== undefined) {
      freePages(object.start, object.pages, nowMs);
      object.start = undefined;
      failPinWaiters(object, lostError(key, `its copy on disk cannot be read: ${failure}`));
    } else {
      restoredBytesTotal += object.bytes;
      for (const processId of object.pinWaiters.splice(0)) pin(object, processId);
      becameIdle(object);
    }
    forgetIfUnused(object, nowMs);
  }

  function expire(nowMs: number): void {
    while (queue.some((waiting) => waiting.deadlineMs <= nowMs)) {
      const late = queue.filter((waiting) => waiting.deadlineMs <= nowMs);
      queue = queue.filter((waiting) => waiting.deadlineMs > nowMs);
      for (const waiting of late) useOverflow(waiting);
    }
  }

  function tick(nowMs: number): void {
    if (nowMs - lastTickMs < TICK_MS) return;
    lastTickMs = nowMs;
    recentDemandBytes /= 2;
    if (!options.managesResidency) return;
    for (const range of residency.punchable(arena, nowMs)) {
      // Taken while the system works on it: a grant in between would lose what its owner writes.
      if (!arena.take(range.start, range.pages)) continue;
      commands.push({ kind: "punch", offset: toOffset(range.start), bytes: range.pages * PAGE_BYTES });
    }
  }

  function punched(offset: number, bytes: number): void {
    const start = offset / PAGE_BYTES;
    if (!inArena(start)) return;
    residency.punched(start, bytes / PAGE_BYTES);
    arena.free(start, bytes / PAGE_BYTES);
  }

  function populateAhead(): void {
    if (!options.managesResidency || recentDemandBytes < PAGE_BYTES) return;
    const ahead = Math.min(POPULATE_AHEAD_BYTES, recentDemandBytes, options.capacityBytes / 4);
    for (const range of residency.populateAhead(arena, Math.floor(ahead / PAGE_BYTES))) {
      commands.push({ kind: "populate", offset: toOffset(range.start), bytes: range.pages * PAGE_BYTES });
    }
  }

  // ── events ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  function handle(event: StoreEvent, nowMs: number): void {
    switch (event.kind) {
      case "client-connected":
        clients.set(event.clientNumber, {
          processId: event.processId,
          lastKey: event.clientNumber * KEYS_PER_CLIENT - 1,
        });
        return;
      case "allocate-requested":
        requestAllocation(event, nowMs);
        isPopulateDue = true;
        return;
      case "request-abandoned":
        queue = queue.filter((waiting) => waiting.requestId !== event.requestId);
        return;
      case "grant-failed":
        if (unsealed.carve(event.processId, event.offset / PAGE_BYTES, event.bytes / PAGE_BYTES)) {
          freePages(event.offset / PAGE_BYTES, event.bytes / PAGE_BYTES, nowMs);
        }
        return;
      case "sealed":
        sealed(event, nowMs);
        // Not while it was written: the system would clear pages ahead with what the writer needs, its locks and cores.
        if (isPopulateDue) populateAhead();
        isPopulateDue = false;
        return;
      case "given-back":
        if (unsealed.carve(event.processId, event.offset / PAGE_BYTES, event.bytes / PAGE_BYTES)) {
          freePages(event.offset / PAGE_BYTES, event.bytes / PAGE_BYTES, nowMs);
        } else {
          commands.push({
            kind: "expel",
            processId: event.processId,
            reason: `gave back ${event.offset}+${event.bytes}, which is not its own`,
          });
        }
        return;
      case "pin-requested":
        for (const key of event.keys) requestPin(event.processId, key, nowMs);
        return;
      case "unpinned":
        for (const key of event.keys) unpin(event.processId, key, 1, nowMs);
        return;
      case "peers-have-room":
        peersBytes = event.bytes;
        isAskingPeers = false;
        return;
      case "relieved":
        reliefEnded(event.batchId, new Set(event.keys), nowMs);
        return;
      case "kept":
        keep(event.key);
        return;
      case "freed":
        for (const key of event.keys) free(key, nowMs);
        return;
      case "process-gone":
        processGone(event.processId, nowMs);
        return;
      case "spilled":
        spillEnded(event.batchId, event.slots, nowMs);
        return;
      case "spill-failed":
        diskFailure = { code: event.code, message: event.message };
        diskPausedUntilMs = nowMs + DISK_RETRY_MS;
        spillEnded(event.batchId, undefined, nowMs);
        return;
      case "restored":
        restoreEnded(event.key, undefined, nowMs);
        return;
      case "restore-failed":
        restoreEnded(event.key, event.message, nowMs);
        return;
      case "fallback-ready":
        overflowReady(event.ticket, undefined, nowMs);
        return;
      case "fallback-failed":
        overflowReady(event.ticket, event, nowMs);
        return;
      case "punched":
        punched(event.offset, event.bytes);
        return;
      case "tick":
        tick(nowMs);
        return;
      default:
        unreachable(event);
    }
  }

  function planWake(nowMs: number): void {
    wakeMs = options.managesResidency && residency.presentPages > 0 ? lastTickMs + TICK_MS : Number.POSITIVE_INFINITY;
    for (const waiting of queue) wakeMs = Math.min(wakeMs, waiting.deadlineMs);
    if (!isTight() || batch) return;
    if (nowMs < planPausedUntilMs && queue.length > 1) wakeMs = Math.min(wakeMs, planPausedUntilMs);
    if (idle.size === 0) return;
    if (nowMs - collectedAtMs < COLLECT_GRACE_MS) wakeMs = Math.min(wakeMs, collectedAtMs + COLLECT_GRACE_MS);
    else if (isPeersGrace(nowMs)) wakeMs = Math.min(wakeMs, peersAskedAtMs + PEERS_GRACE_MS);
    else if (nowMs < diskPausedUntilMs) wakeMs = Math.min(wakeMs, diskPausedUntilMs);
  }

  function stats(): StoreStats {
    let pinnedBytes = 0;
    for (const object of objects.values()) if (object.pins.size > 0) pinnedBytes += object.bytes;
    return {
      capacityBytes: options.capacityBytes,
      usedBytes: usedPages() * PAGE_BYTES,
      unsealedBytes: unsealed.pages * PAGE_BYTES,
      pinnedBytes,
      spilledBytes: diskBytes() - batchBytes,
      objects: objects.size,
      waiting: queue.length,
      spilledBytesTotal,
      restoredBytesTotal,
      relievedBytesTotal,
      collectsTotal,
    };
  }

  return {
    step(event, nowMs) {
      commands = [];
      handle(event, nowMs);
      relieve(nowMs);
      planWake(nowMs);
      return commands;
    },
    nextWakeMs: () => wakeMs,
    stats,
    usedBytes: () => usedPages() * PAGE_BYTES,
    keysSealedBy: (processId) =>
      [...objects.values()]
        .filter((object) => object.sealedBy === processId && !object.freed)
        .map(({ key, owner }) => ({ key, owner })),
    ownedBeside: (tag) =>
      [...objects.values()]
        .filter(({ owner, freed, isCopy, isAway }) => !freed && !isCopy && !isAway && !owner.startsWith(tag))
        .map(({ key, owner, bytes }) => ({ key, owner, bytes })),
    *list() {
      for (const { key, owner, bytes, callSite, sealedAtMs, start, isCopy, isAway, pins, freed } of objects.values()) {
        if (isAway || (freed && pins.size === 0)) continue;
        const place = start === undefined ? "disk" : "memory";
        yield { key, owner, bytes, callSite, sealedAtMs, place, isCopy, pins: pins.size, isFreed: freed };
      }
    },
    exists(key) {
      const object = objects.get(key);
      return object ? !object.freed : isYetToCome(key) && !earlyFrees.has(key);
    },
    keysOwnedOn: (tag) =>
      [...objects.values()].filter(({ owner, freed }) => owner.startsWith(tag) && !freed).map(({ key }) => key),
  };
}

function lostError(key: StoreKey, why: string): StoreFailure {
  return {
    code: "OBJECT_LOST",
    kind: "lost",
    message: `stored object ${key} is gone: ${why}; make it again, or keep a reference to it`,
  };
}
