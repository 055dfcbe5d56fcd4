/** What the store's engine hears and what it orders; see `engine.ts`. */
import type { ErrorKind, ProcessId } from "../base/mod.ts";
import type { StoreKey } from "../wire/messages.ts";

/** A number that the runtime chose for one question of a client. */
export type RequestId = number;

/** Where an object's bytes are on disk. */
export interface DiskSlot {
  readonly fileId: number;
  readonly offset: number;
  readonly bytes: number;
}

export interface StoreFailure {
  readonly code: string;
  readonly kind: ErrorKind;
  readonly message: string;
}

/** Offsets and sizes are in bytes; offsets from `arenaBytes` on mean the file on disk that takes what does not fit. */
export type StoreEvent =
  /** Keys of the process will lie in [clientNumber, clientNumber + 1) × KEYS_PER_CLIENT. */
  | { readonly kind: "client-connected"; readonly processId: ProcessId; readonly clientNumber: number }
  /**
   * Asks for a range of at least `bytes`, better `wishBytes`. With `bytes` 0 it is a slab wanted soon: given only
   * when there is plenty, never waited for.
   */
  | {
      readonly kind: "allocate-requested";
      readonly requestId: RequestId;
      readonly processId: ProcessId;
      readonly bytes: number;
      readonly wishBytes: number;
      readonly callSite: string;
    }
  | { readonly kind: "request-abandoned"; readonly requestId: RequestId }
  /** The memory behind a granted range could not be had (a full /dev/shm or disk). */
  | {
      readonly kind: "grant-failed";
      readonly requestId: RequestId;
      readonly processId: ProcessId;
      readonly offset: number;
      readonly bytes: number;
    }
  | {
      readonly kind: "sealed";
      /** The producer keeps a view, and with it a pin. */
      readonly pinned: boolean;
      readonly processId: ProcessId;
      readonly key: StoreKey;
      readonly offset: number;
      readonly bytes: number;
      readonly callSite: string;
      /** The process that will free it, if another. */
      readonly owner?: ProcessId | undefined;
      /** There is another of it elsewhere: it goes, without being asked for, when its memory is needed. */
      readonly isCopy?: boolean;
      /** It was made on another node. */
      readonly isForeign?: boolean;
    }
  /** So much may be moved to other nodes, whose stores have room, from now on. */
  | { readonly kind: "peers-have-room"; readonly bytes: number }
  /** Answers "relieve": other nodes keep these now. */
  | { readonly kind: "relieved"; readonly batchId: number; readonly keys: readonly StoreKey[] }
  /** From now on this copy is kept as any other object. */
  | { readonly kind: "kept"; readonly key: StoreKey }
  | { readonly kind: "given-back"; readonly processId: ProcessId; readonly offset: number; readonly bytes: number }
  | { readonly kind: "pin-requested"; readonly processId: ProcessId; readonly keys: readonly StoreKey[] }
  | { readonly kind: "unpinned"; readonly processId: ProcessId; readonly keys: readonly StoreKey[] }
  | { readonly kind: "freed"; readonly keys: readonly StoreKey[] }
  /** The process is dead: nothing of it runs or maps anything any more, and all it sent has been heard. */
  | { readonly kind: "process-gone"; readonly processId: ProcessId }
  | { readonly kind: "spilled"; readonly batchId: number; readonly slots: readonly DiskSlot[] }
  | { readonly kind: "spill-failed"; readonly batchId: number; readonly code: string; readonly message: string }
  | { readonly kind: "restored"; readonly key: StoreKey }
  | { readonly kind: "restore-failed"; readonly key: StoreKey; readonly message: string }
  | { readonly kind: "fallback-ready"; readonly ticket: number }
  | { readonly kind: "fallback-failed"; readonly ticket: number; readonly code: string; readonly message: string }
  | { readonly kind: "punched"; readonly offset: number; readonly bytes: number }
  /** Time has passed; due at {@link StoreEngine.nextWakeMs} at the latest. */
  | { readonly kind: "tick" };

export type StoreCommand =
  | {
      readonly kind: "grant";
      readonly requestId: RequestId;
      readonly processId: ProcessId;
      readonly offset: number;
      readonly bytes: number;
      /** Some of its pages do not exist yet. */
      readonly isFresh: boolean;
    }
  | { readonly kind: "refuse"; readonly requestId: RequestId; readonly error: StoreFailure }
  | {
      readonly kind: "pinned";
      readonly processId: ProcessId;
      readonly key: StoreKey;
      readonly offset: number;
      readonly size: number;
      readonly error?: StoreFailure;
    }
  /** Pinned where it is, on disk: the process reads it from there into memory of its own. */
  | {
      readonly kind: "pinned-on-disk";
      readonly processId: ProcessId;
      readonly key: StoreKey;
      readonly slot: DiskSlot;
    }
  /** Ask these processes to collect garbage: the cheapest relief. */
  | { readonly kind: "collect"; readonly processIds: readonly ProcessId[] }
  /** Write these objects into one file, in this order; the ranges stay untouched until the answer. */
  | {
      readonly kind: "spill";
      readonly batchId: number;
      readonly objects: readonly { readonly key: StoreKey; readonly offset: number; readonly bytes: number }[];
    }
  /** Memory will soon be short: is there room on other nodes? */
  | { readonly kind: "find-peers" }
  /** Have other nodes keep these, before they would have to go to disk. */
  | {
      readonly kind: "relieve";
      readonly batchId: number;
      readonly objects: readonly { readonly key: StoreKey; readonly bytes: number; readonly owner: ProcessId }[];
    }
  | { readonly kind: "restore"; readonly key: StoreKey; readonly slot: DiskSlot; readonly offset: number }
  | { readonly kind: "drop-slots"; readonly slots: readonly DiskSlot[] }
  /** Give this range of the disk file its blocks. */
  | { readonly kind: "reserve-fallback"; readonly ticket: number; readonly offset: number; readonly bytes: number }
  | { readonly kind: "punch"; readonly offset: number; readonly bytes: number }
  | { readonly kind: "populate"; readonly offset: number; readonly bytes: number }
  /** A copy went for the sake of its memory, or what was made here for `owner`, and other nodes keep instead. */
  | { readonly kind: "copy-dropped"; readonly key: StoreKey; readonly owner?: ProcessId }
  /** The process broke the protocol: it named a range that is not its own. */
  | { readonly kind: "expel"; readonly processId: ProcessId; readonly reason: string };

export interface StoreStats {
  readonly capacityBytes: number;
  /** Arena pages that are taken: objects, leased slabs, allocations not sealed yet. */
  readonly usedBytes: number;
  readonly unsealedBytes: number;
  readonly pinnedBytes: number;
  /** Objects' bytes on disk: spilled, or allocated there. */
  readonly spilledBytes: number;
  readonly objects: number;
  readonly waiting: number;
  readonly spilledBytesTotal: number;
  readonly restoredBytesTotal: number;
  /** Bytes of objects that were moved to other nodes. */
  readonly relievedBytesTotal: number;
  readonly collectsTotal: number;
}
