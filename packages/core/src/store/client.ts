/**
 * A process's side of the store: makes objects by writing into shared memory, reads them through private views.
 *
 * 1. A small or middling `put` takes a place in a leased slab, writes, and sends "sealed" without waiting. The next slab
 *    is asked for while half of this one is left, so that its lease is there when it is needed.
 * 2. A large one asks the node for a range, blocking; the node spills meanwhile if it must.
 * 3. The arena is mapped once, shared, and only to write to; it stays mapped because its page tables are what makes a
 *    warm put fast. Nothing that a program can reach points into that mapping: `create` has mappings of its own.
 */
import {
  assert,
  ConnectionLostError,
  errorFromCode,
  InternalError,
  InvalidOptionError,
  type ProcessId,
} from "../base/mod.ts";
import type { StoreInfo, StoreKey, StorePinned } from "../wire/messages.ts";
import { type AsyncChannel, openAsyncChannel } from "./async-channel.ts";
import { type BlockingSocket, connectBlocking } from "./blocking-socket.ts";
import { createCopyHelper, LARGE_COPY_BYTES_MIN } from "./copy-helper.ts";
import { describeBytes } from "./holders.ts";
import { createMappings, openStoreFiles, type StoredBytes } from "./mappings.ts";
import {
  type Address,
  copyTo,
  mapShared,
  moveMapping,
  populate,
  remapAnonymous,
  remapPrivate,
  reserveLike,
  roundUpToPages,
  unmap,
} from "./memory.ts";
import { createFrameReader, encodeFrame, type FromStore, type ToStore } from "./protocol.ts";
import { type ByteRange, createSlab, nextSlabBytes, SLAB_OBJECT_BYTES_MAX, type Slab } from "./slab.ts";

export interface StoreClientOptions {
  readonly info: StoreInfo;
  readonly processId: ProcessId;
  /** Pins given by `StorePinned` that no view needs any more: to be told to the node. Batched. */
  readonly onUnpinned: (keys: readonly StoreKey[]) => void;
  /** Bytes that this process's views keep from being reused have grown or (negative) shrunk; see gc-pressure.ts. */
  readonly onHeldBytes?: (change: number) => void;
  /** Something that works, at a cost that a person should know of; each once. */
  readonly onWarning?: (code: string, message: string) => void;
  /**
   * Longest wait of one blocking call past the node's putTimeoutMs: the node answers long before, with an error if
   * need be. Default 60_000.
   */
  readonly answerTimeoutMs?: number;
  /** Past this many live mappings views are copies; default half of the kernel's limit. */
  readonly mappingsMax?: number;
}

/** An object being written in place. Abandoned without `seal`, it goes back when `bytes` is collected. */
export interface WritableAllocation {
  /** Shared, writable; after `seal` it stays usable but is private to this process, after `abort` it is zeros. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  seal(): StoreKey;
  abort(): void;
}

/** Where the bytes of one object go; nothing may be written to it after the call that it was given to. */
export interface WriteTarget {
  set(source: Uint8Array, offset?: number): void;
}

export interface StoreClient {
  /**
   * Room for an object, to be filled in place.
   *
   * @throws ObjectStoreFullError, OutOfDiskError (`exhausted`) after the node's putTimeoutMs; ConnectionLostError.
   */
  create(byteLength: number, callSite: string): WritableAllocation;
  /**
   * Stores `byteLength` bytes, which `write` puts into `target`. Returns when the object is sealed; blocks while the
   * node makes room.
   *
   * @param owner the process that will free it, if another.
   * @throws as `create`; what `write` throws is thrown on, and the place given back.
   */
  put(byteLength: number, callSite: string, write: (target: WriteTarget) => void, owner?: ProcessId): StoreKey;
  /** The same, but waits for room without blocking the thread. */
  putAsync(byteLength: number, callSite: string, write: (target: WriteTarget) => void): Promise<StoreKey>;
  /** Reads an object that the node has pinned for this process. Call `done()` on the result when it is decoded. */
  map(pinned: StorePinned): StoredBytes;
  /** Reads once more what this process has mapped already, without asking the node; undefined when it has not. */
  mapAgain(key: StoreKey): StoredBytes | undefined;
  /** Gives an unused slab back: the node is short of memory, or this process idle. */
  trim(): void;
  /** Bytes behind views that are alive. */
  heldBytes(): number;
  /** Bytes leased and not yet used for objects. */
  leasedBytes(): number;
  /** Live mappings. */
  mappingsCount(): number;
  /**
   * Gives everything back but what views need. With `storeLivesOn` the views are made independent first, at the cost of
   * a copy, so that the node may treat this process as gone.
   */
  close(options?: { readonly storeLivesOn?: boolean }): void;
}

const ANSWER_TIMEOUT_MS = 60_000;

/** Where an object goes. */
interface Place {
  readonly offset: number;
  /** Some of its pages do not exist yet. Not said of slabs, which another thread prepares. */
  readonly isFresh: boolean;
}

interface GrantedRange extends ByteRange, Place {}

export function openStoreClient(options: StoreClientOptions): StoreClient {
  const { info, processId } = options;
  const socket: BlockingSocket = connectBlocking(info.socketPath);
  const reader = createFrameReader<FromStore>();
  const answers = new Map<number, FromStore>();
  let nextRequestId = 1;
  let closed = false;

  const send = (message: ToStore): void => socket.send(encodeFrame(message));

  /** Blocks until the answer to this request is there; those to others are kept. */
  function awaitAnswer(requestId: number, nodeWaitsMs: number): FromStore {
    const timeoutMs = nodeWaitsMs + (options.answerTimeoutMs ?? ANSWER_TIMEOUT_MS);
    for (;;) {
      const answer = answers.get(requestId);
      if (answer) {
        answers.delete(requestId);
        return answer;
      }
      const bytes = socket.receive(timeoutMs);
      if (!bytes) throw new ConnectionLostError(`the object store's node did not answer within ${timeoutMs} ms`);
      for (const message of reader.push(bytes)) answers.set(message[1], message);
    }
  }

  send(["hello", nextRequestId, processId, process.pid]);
  const welcome = awaitAnswer(nextRequestId++, 0);
  if (welcome[0] !== "welcome") throw new ConnectionLostError("the object store's node speaks another protocol");
  const [, , firstKey, arenaBytes, overflowPath, putTimeoutMs] = welcome;
  let nextKey = firstKey;

  const files = openStoreFiles(info.arenaPath, arenaBytes, overflowPath);
  let hasWarned = false;
  function warnOfPrivateRead(bytes: number): void {
    if (hasWarned) return;
    hasWarned = true;
    options.onWarning?.(
      "read-from-disk",
      `an object of ${describeBytes(bytes)} was read from disk into memory of process ${process.pid}, because neither the object store's memory nor its disk has room for it: every reader pays that memory, and the time of the disk, again. Release refs and views that are no longer needed, or give init a larger objectStoreBytes or spillBytesMax`,
    );
  }
  const mappings = createMappings({
    files,
    onUnpinned: (keys) => {
      if (!closed) options.onUnpinned(keys);
    },
    onHeldBytes: options.onHeldBytes ?? (() => {}),
    onReadSpilled: warnOfPrivateRead,
    ...(options.mappingsMax === undefined ? {} : { countMax: options.mappingsMax }),
  });
  const copyHelper = createCopyHelper(arenaBytes);
  /** How to abort what `create` made and nobody sealed. */
  const writing = new Set<() => void>();

  // ── where to write ─────────────────────────────────────────────────────────────────────────────────────────────────

  let arenaAddress: Address | undefined;

  function mapArena(): Address {
    arenaAddress ??= mapShared(files.locate(0).fd, 0, arenaBytes);
    return arenaAddress;
  }

  /** A target for one object. It has no memory that a program could keep: bytes are copied by address. */
  function openTarget(byteLength: number, write: (source: Uint8Array, at: number) => void): WriteTarget & Disposable {
    let isOpen = true;
    return {
      set(source, at = 0) {
        assert(isOpen, "written to an object that has been sealed");
        assert(at >= 0 && at + source.byteLength <= byteLength, "written past the end of an object");
        write(source, at);
      },
      [Symbol.dispose]() {
        isOpen = false;
      },
    };
  }

  function writeArena({ offset, isFresh }: Place, byteLength: number, write: (target: WriteTarget) => void): void {
    const { fd } = files.locate(0);
    const arena = mapArena();
    using target = openTarget(byteLength, (source, at) => {
      if (source.byteLength < LARGE_COPY_BYTES_MIN) copyTo(arena + offset + at, source);
      else copyHelper.copy(source, { arena, offset: offset + at, fd, isFresh });
    });
    write(target);
  }

  /** What the disk file holds is rare: a mapping for the one write. */
  function writeOverflow({ offset }: Place, byteLength: number, write: (target: WriteTarget) => void): void {
    const { fd, position } = files.locate(offset);
    const length = roundUpToPages(byteLength);
    const address = mapShared(fd, position, length);
    try {
      using target = openTarget(byteLength, (source, at) => copyTo(address + at, source));
      write(target);
    } finally {
      unmap(address, length);
    }
  }

  // ── ranges ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  let slab: Slab | undefined;
  let lastSlabBytes = 0;
  /** The request for the slab after this one. */
  let nextSlabRequest: number | undefined;

  function askForRange(bytes: number, wishBytes: number, callSite: string): number {
    const requestId = nextRequestId++;
    send(["allocate", requestId, bytes, wishBytes, callSite]);
    return requestId;
  }

  function giveBack(offset: number, bytes: number): void {
    send(["give-back", offset, bytes]);
  }

  function useSlab(range: ByteRange): Slab {
    const rest = slab?.rest();
    if (rest) giveBack(rest.offset, rest.bytes);
    lastSlabBytes = range.bytes;
    slab = createSlab(range);
    if (arenaAddress !== undefined && range.offset < arenaBytes) {
      // Page tables are per process: filled on another thread they cost the writer nothing. Failing, it fills them itself.
      void populate(arenaAddress + range.offset, range.bytes);
    }
    return slab;
  }

  function takePrefetchedSlab(): Slab | undefined {
    if (nextSlabRequest === undefined) return undefined;
    const answer = awaitAnswer(nextSlabRequest, 0);
    nextSlabRequest = undefined;
    // Refused means that memory is short: the object at hand asks for itself, and waits its turn.
    return answer[0] === "granted" ? useSlab(granted(answer)) : undefined;
  }

  function placeInSlab(byteLength: number): Place | undefined {
    const offset = slab?.allocate(byteLength) ?? takePrefetchedSlab()?.allocate(byteLength);
    if (offset === undefined) return undefined;
    if (slab && nextSlabRequest === undefined) {
      const left = slab.rest()?.bytes ?? 0;
      if (left < slab.range.bytes / 2) nextSlabRequest = askForRange(0, nextSlabBytes(byteLength, lastSlabBytes), "");
    }
    return { offset, isFresh: false };
  }

  function placed(range: GrantedRange, byteLength: number): Place {
    if (byteLength > SLAB_OBJECT_BYTES_MAX || range.offset >= arenaBytes || range.bytes === roundUpToPages(byteLength))
      return range;
    return { offset: useSlab(range).allocate(byteLength) ?? range.offset, isFresh: false };
  }

  const wishFor = (byteLength: number): number =>
    byteLength > SLAB_OBJECT_BYTES_MAX ? byteLength : nextSlabBytes(byteLength, lastSlabBytes);

  function allocate(byteLength: number, callSite: string): Place {
    if (!Number.isSafeInteger(byteLength) || byteLength < 1)
      throw new InvalidOptionError(`an object of ${byteLength} bytes; it takes a whole number of at least 1`);
    if (closed) throw new ConnectionLostError("the object store's client is closed");
    if (byteLength <= SLAB_OBJECT_BYTES_MAX) {
      const place = placeInSlab(byteLength);
      if (place) return place;
    }
    return placed(
      granted(awaitAnswer(askForRange(byteLength, wishFor(byteLength), callSite), putTimeoutMs)),
      byteLength,
    );
  }

  function release(offset: number, byteLength: number): void {
    if (slab && offset >= slab.range.offset && slab.undo(offset, byteLength)) return;
    giveBack(offset, roundUpToPages(byteLength));
  }

  function fill(
    place: Place,
    byteLength: number,
    callSite: string,
    write: (target: WriteTarget) => void,
    owner: ProcessId | "" = "",
  ): StoreKey {
    const { offset } = place;
    if (closed) throw new ConnectionLostError("the object store's client is closed");
    try {
      if (offset >= arenaBytes) writeOverflow(place, byteLength, write);
      else writeArena(place, byteLength, write);
    } catch (error) {
      release(offset, byteLength);
      throw error;
    }
    const key = nextKey++;
    send(["sealed", key, offset, byteLength, callSite, false, owner]);
    return key;
  }

  // ── writing in place ───────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * A mapping of its own to write to, and how to take it out of the writer's reach again. In the arena it borrows the
   * pages that this process has mapped already, and gives them back with those it has mapped meanwhile: to take a
   * mapping down costs time for each page, as much as a sixth of a copy, and to fault them in again much more.
   */
  function mapRange(offset: number, byteLength: number): { readonly address: Address; putBack(): void } {
    const { fd, position } = files.locate(offset);
    const length = roundUpToPages(byteLength);
    try {
      if (offset >= arenaBytes) return { address: mapShared(fd, position, length), putBack() {} };
      const home = mapArena() + offset;
      const address = reserveLike(home, length);
      if (moveMapping(home, address, length))
        return { address, putBack: () => void moveMapping(address, home, length) };
      unmap(address, length);
      return { address: mapShared(fd, position, length), putBack() {} };
    } catch (error) {
      release(offset, byteLength);
      throw error;
    }
  }

  /** The steps of one allocation. They must not see its view: what a closure can reach is never collected. */
  function beginWriting(made: {
    readonly offset: number;
    readonly byteLength: number;
    readonly mapped: ReturnType<typeof mapRange>;
    readonly callSite: string;
  }): { seal(): StoreKey; abort(): void; collected(): void } {
    const { offset, byteLength, mapped, callSite } = made;
    const { address } = mapped;
    let key: StoreKey = 0;
    const length = roundUpToPages(byteLength);
    let state: "being written" | "sealed" | "aborted" = "being written";
    function abort(): void {
      if (state !== "being written") return;
      mapped.putBack();
      remapAnonymous(address, length);
      state = "aborted";
      writing.delete(abort);
      giveBack(offset, length);
    }
    writing.add(abort);
    return {
      seal() {
        if (state !== "being written")
          throw new InvalidOptionError(`the object cannot be sealed: it is ${state} already`);
        // First out of reach for this process's writes, then known to others.
        const { fd, position } = files.locate(offset);
        mapped.putBack();
        remapPrivate(address, fd, position, length);
        state = "sealed";
        writing.delete(abort);
        // Numbered only now: the node relies on keys that come in order.
        key = nextKey++;
        send(["sealed", key, offset, byteLength, callSite, true, ""]);
        return key;
      },
      abort,
      /** The mapping is gone already; only the node needs to know. */
      collected() {
        writing.delete(abort);
        if (closed || state === "aborted") return;
        try {
          if (state === "sealed") send(["unpin", key]);
          else giveBack(offset, length);
        } catch (error) {
          // A finaliser has no caller to tell; without a node there is nothing to give back to.
          if (!(error instanceof ConnectionLostError)) throw error;
        }
      },
    };
  }

  // ── waiting without blocking ───────────────────────────────────────────────────────────────────────────────────────

  let channel: AsyncChannel | undefined;

  function trim(): void {
    if (closed) return;
    const rest = slab?.rest();
    slab = undefined;
    lastSlabBytes = 0;
    if (rest) giveBack(rest.offset, rest.bytes);
    if (nextSlabRequest !== undefined) {
      const answer = awaitAnswer(nextSlabRequest, 0);
      nextSlabRequest = undefined;
      if (answer[0] === "granted") giveBack(answer[2], answer[3]);
    }
  }

  return {
    create(byteLength, callSite) {
      const { offset } = allocate(byteLength, callSite);
      const mapped = mapRange(offset, byteLength);
      const { address } = mapped;
      const steps = beginWriting({ offset, byteLength, mapped, callSite });
      const bytes = new Uint8Array(mappings.adopt(address, byteLength, steps.collected));
      return { bytes, seal: steps.seal, abort: steps.abort };
    },

    put(byteLength, callSite, write, owner) {
      return fill(allocate(byteLength, callSite), byteLength, callSite, write, owner);
    },

    async putAsync(byteLength, callSite, write) {
      if (byteLength <= SLAB_OBJECT_BYTES_MAX && !closed) {
        const offset = slab?.allocate(byteLength);
        if (offset !== undefined) return fill({ offset, isFresh: false }, byteLength, callSite, write);
      }
      channel ??= openAsyncChannel(info.socketPath, processId);
      const range = granted(await channel.allocate(byteLength, wishFor(byteLength), callSite));
      return fill(placed(range, byteLength), byteLength, callSite, write);
    },

    map: mappings.open,
    mapAgain: mappings.openAgain,

    trim,

    heldBytes: () => mappings.heldBytes,
    leasedBytes: () => slab?.rest()?.bytes ?? 0,
    mappingsCount: () => mappings.count,

    close({ storeLivesOn = false } = {}) {
      if (closed) return;
      try {
        for (const abort of writing) abort();
        trim();
        send(["bye"]);
      } catch (error) {
        // The node went first: there is nobody left to give anything back to.
        if (!(error instanceof ConnectionLostError)) throw error;
      }
      closed = true;
      channel?.close();
      socket.close();
      copyHelper.close();
      if (storeLivesOn) mappings.detach();
      // Nothing is written any more, and the file's memory lives as long as a mapping of it.
      if (arenaAddress !== undefined) unmap(arenaAddress, arenaBytes);
      files.close();
    },
  };
}

function granted(answer: FromStore): GrantedRange {
  switch (answer[0]) {
    case "granted":
      return { offset: answer[2], bytes: answer[3], isFresh: answer[4] };
    case "refused":
      throw errorFromCode(answer[2], answer[3], answer[4]);
    case "welcome":
      throw new InternalError("the object store answered a request for room with a greeting");
  }
}
