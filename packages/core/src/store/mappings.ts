/**
 * Views of stored objects that are safe whatever a program does with them.
 *
 * Every get makes its own private copy-on-write mapping of exactly the object's pages, and every buffer handed out is
 * an ArrayBuffer of its own inside it. Those ArrayBuffers are the pin: V8 keeps one alive as long as any typed array on
 * it, `subarray`s included. When the last is collected, and its memory was not moved to another ArrayBuffer
 * (`transfer`) or that one was collected too, the mapping goes first and the pin is given back after, so that no address
 * is ever left showing another object's bytes. At exit neither is done: the kernel unmaps, the node notices.
 */
import { closeSync, openSync } from "node:fs";
import { assert, errorFromCode, InternalError } from "../base/mod.ts";
import type { StoreKey, StorePinned } from "../wire/messages.ts";
import {
  type Address,
  copyFrom,
  mapAnonymous,
  mapPrivate,
  mappingCountMax,
  PAGE_BYTES,
  readAt,
  roundUpToPages,
  unmap,
  viewAt,
} from "./memory.ts";
import { type BufferHold, viewBufferAt } from "./view-buffer.ts";

/** A stored object, pinned in memory, to decode from. */
export interface StoredBytes {
  readonly byteLength: number;
  /** A copy that is independent of the store. */
  copy(offset: number, length: number): Uint8Array<ArrayBuffer>;
  /** Private copy-on-write memory of the store; keeps the object pinned until it is collected. */
  view(offset: number, length: number): ArrayBuffer;
  /** Decoding has ended: from here on only views keep the pin. Without any it is given back at once. */
  done(): void;
}

/** Files behind the arena's offsets, opened by this process. */
export interface StoreFiles {
  /** The descriptor and position behind an offset of the store. */
  locate(offset: number): { readonly fd: number; readonly position: number };
  close(): void;
}

export function openStoreFiles(arenaPath: string, arenaBytes: number, overflowPath: string): StoreFiles {
  const arenaFd = openSync(arenaPath, "r+");
  let overflowFd: number | undefined;
  return {
    locate(offset) {
      if (offset < arenaBytes) return { fd: arenaFd, position: offset };
      if (overflowPath === "")
        throw new InternalError(`offset ${offset} lies outside the arena, and there is no file for it`);
      overflowFd ??= openSync(overflowPath, "r+");
      return { fd: overflowFd, position: offset - arenaBytes };
    },
    close() {
      closeSync(arenaFd);
      if (overflowFd !== undefined) closeSync(overflowFd);
    },
  };
}

interface Mapping {
  readonly address: Address;
  readonly length: number;
  liveViews: number;
  /** Somebody still reads from it without a view. */
  inUse: boolean;
  /** Counted in the bytes held. */
  held: boolean;
  /** After it is unmapped. */
  readonly onEnded: () => void;
}

/** An object that is open, and stays where it is: by how many, and how many pins the node counts for them, at most as many. */
interface PinShare {
  readonly pinned: StorePinned;
  users: number;
  pins: number;
}

/** A buffer that was handed out. */
interface View {
  readonly mapping: Mapping;
  readonly hold: BufferHold;
}

/** How soon to look again whether memory of collected buffers is released: at first, and at last. */
const RELEASE_CHECK_MS_MIN = 1;
const RELEASE_CHECK_MS_MAX = 1000;

export interface MappingsOptions {
  readonly files: StoreFiles;
  /** Pins that are no longer needed, gathered over a turn of the event loop. */
  readonly onUnpinned: (keys: readonly StoreKey[]) => void;
  /** Bytes that views have begun (positive) or ceased (negative) to keep. */
  readonly onHeldBytes: (change: number) => void;
  /** An object found no room in the store and is read into memory of this process. */
  readonly onReadSpilled: (bytes: number) => void;
  /** Past this many mappings views are copies; default half of the kernel's limit. */
  readonly countMax?: number;
}

export interface Mappings {
  /** Uses up the pin that it is given. */
  open(pinned: StorePinned): StoredBytes;
  /** The same without a pin, while the object is open; undefined when it is not. */
  openAgain(key: StoreKey): StoredBytes | undefined;
  /** Shows a mapping, and takes it over: it is unmapped, and `onEnded` called, when nothing can reach the view. */
  adopt(address: Address, byteLength: number, onEnded: () => void): ArrayBuffer;
  readonly count: number;
  readonly heldBytes: number;
  /**
   * Makes every live view independent of the store's file by touching each page, so that the node may use the pages
   * again though the views live on. Costs the memory of a copy.
   */
  detach(): void;
}

export function createMappings(options: MappingsOptions): Mappings {
  const countMax = options.countMax ?? Math.floor(mappingCountMax() / 2);
  const live = new Set<Mapping>();
  const shares = new Map<StoreKey, PinShare>();
  let heldBytes = 0;
  let unpinned: StoreKey[] = [];

  const registry = new FinalizationRegistry<View>((view) => {
    if (endIfReleased(view)) return;
    unreleased.add(view);
    checkReleased(RELEASE_CHECK_MS_MIN);
  });
  /** Collected, but V8 has not swept them yet, or their memory was moved to another ArrayBuffer. */
  const unreleased = new Set<View>();
  let releaseTimer: NodeJS.Timeout | undefined;

  function endIfReleased({ mapping, hold }: View): boolean {
    if (!hold.isReleased()) return false;
    mapping.liveViews--;
    endIfUnused(mapping);
    return true;
  }

  function checkReleased(afterMs: number): void {
    clearTimeout(releaseTimer);
    releaseTimer = setTimeout(() => {
      for (const view of unreleased) if (endIfReleased(view)) unreleased.delete(view);
      if (unreleased.size > 0) checkReleased(Math.min(2 * afterMs, RELEASE_CHECK_MS_MAX));
    }, afterMs);
    releaseTimer.unref();
  }

  function endIfUnused(mapping: Mapping): void {
    if (mapping.liveViews > 0 || mapping.inUse) return;
    if (mapping.held) {
      heldBytes -= mapping.length;
      options.onHeldBytes(-mapping.length);
    }
    live.delete(mapping);
    unmap(mapping.address, mapping.length);
    mapping.onEnded();
  }

  function makeView(mapping: Mapping, offset: number, size: number): ArrayBuffer {
    if (!mapping.held) {
      mapping.held = true;
      heldBytes += mapping.length;
      // Before the view is made: V8 may charge it at once; see view-charge.ts.
      options.onHeldBytes(mapping.length);
    }
    const { buffer, hold } = viewBufferAt(mapping.address + offset, size);
    registry.register(buffer, { mapping, hold });
    mapping.liveViews++;
    return buffer;
  }

  function mapStored(offset: number, length: number): Address {
    const { fd, position } = options.files.locate(offset);
    return mapPrivate(fd, position, length);
  }

  /** An object that finds no room in memory, read from the disk into memory of this process. */
  function readSpilled({ file, offset, size }: StorePinned, length: number): Address {
    const fd = openSync(file ?? "", "r");
    options.onReadSpilled(size);
    try {
      const address = mapAnonymous(length);
      if (readAt(fd, address, size, offset)) return address;
      unmap(address, length);
      throw errorFromCode("OBJECT_LOST", "lost", "a stored object's copy on disk cannot be read; make it again");
    } finally {
      closeSync(fd);
    }
  }

  function endUse(key: StoreKey): void {
    const share = shares.get(key);
    assert(share, "an object that nobody has open has no use that could end");
    share.users--;
    if (share.users === 0) shares.delete(key);
    if (share.pins <= share.users) return;
    share.pins--;
    unpinned.push(key);
    if (unpinned.length > 1) return;
    setImmediate(() => {
      const keys = unpinned;
      unpinned = [];
      options.onUnpinned(keys);
    });
  }

  function openPinned(pinned: StorePinned): StoredBytes {
    const length = roundUpToPages(pinned.size);
    let mapping: Mapping | undefined;
    let isDone = false;

    function mapped(): Mapping {
      assert(!isDone, "read of a stored object after its decoding has ended");
      if (!mapping) {
        const address = pinned.file === undefined ? mapStored(pinned.offset, length) : readSpilled(pinned, length);
        mapping = { address, length, liveViews: 0, inUse: true, held: false, onEnded: () => endUse(pinned.key) };
        live.add(mapping);
      }
      return mapping;
    }
    function checkRange(offset: number, size: number): void {
      assert(
        offset >= 0 && size >= 0 && offset + size <= pinned.size,
        `bytes ${offset}+${size} of an object of ${pinned.size}`,
      );
    }

    return {
      byteLength: pinned.size,
      copy(offset, size) {
        checkRange(offset, size);
        return size === 0 ? new Uint8Array(0) : copyFrom(mapped().address + offset, size);
      },
      view(offset, size) {
        checkRange(offset, size);
        if (size === 0) return new ArrayBuffer(0);
        const from = mapped();
        if (live.size > countMax) return copyFrom(from.address + offset, size).buffer;
        return makeView(from, offset, size);
      },
      done() {
        if (isDone) return;
        isDone = true;
        if (!mapping) {
          endUse(pinned.key);
          return;
        }
        mapping.inUse = false;
        endIfUnused(mapping);
      },
    };
  }

  return {
    open(pinned) {
      assert(!pinned.error, "an object that could not be pinned has no bytes");
      const share = shares.get(pinned.key);
      if (share) {
        share.users++;
        share.pins++;
      } else shares.set(pinned.key, { pinned, users: 1, pins: 1 });
      return openPinned(pinned);
    },

    openAgain(key) {
      const share = shares.get(key);
      // One that is read from its file would be read once more.
      if (!share || share.pinned.file !== undefined) return undefined;
      share.users++;
      return openPinned(share.pinned);
    },

    adopt(address, byteLength, onEnded) {
      const length = roundUpToPages(byteLength);
      const mapping: Mapping = { address, length, liveViews: 0, inUse: false, held: false, onEnded };
      live.add(mapping);
      return makeView(mapping, 0, byteLength);
    },

    get count() {
      return live.size;
    },
    get heldBytes() {
      return heldBytes;
    },

    detach() {
      for (const mapping of live) {
        const bytes = new Uint8Array(viewAt(mapping.address, mapping.length));
        // Writing to a page of a private mapping makes it this process's own.
        for (let at = 0; at < bytes.byteLength; at += PAGE_BYTES) bytes[at] = bytes[at] ?? 0;
      }
    },
  };
}
