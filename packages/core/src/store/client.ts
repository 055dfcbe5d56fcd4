/**
 * A process's side of the store: makes objects by writing into shared memory, reads them through private views.
 *
 * 1. A small or middling `put` takes a place in a leased slab, writes, and sends "sealed" without waiting. The next slab
 *    is asked for while half of this one is left, so that its lease is there when it is needed.
 * 2. A large one asks the node for a range, blocking; the node spills meanwhile if it must.
 * 3. The arena is mapped once, shared, and only to write to; it stays mapped because its page tables are what makes a
 *    warm put fast. Nothing that a program can reach points into that mapping: `create` has mappings of its own.
 */
import { ConnectionLostError, errorFromCode, InternalError, InvalidOptionError, type ProcessId } from "../base/mod.ts";
import type { StoreInfo, StoreKey, StorePinned } from "../wire/messages.ts";
import { type AsyncChannel, openAsyncChannel } from "./async-channel.ts";
import { type BlockingSocket, connectBlocking } from "./blocking-socket.ts";
import { createCopyHelper } from "./copy-helper.ts";
import { createMappings, openStoreFiles, type StoredBytes } from "./mappings.ts";
import {
  type Address,
  mapShared,
  populate,
  remapAnonymous,
  remapPrivate,
  roundUpToPages,
  unmap,
  viewAt,
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

export interface StoreClient {
  /**
   * Room for an object, to be filled in place.
   *
   * @throws ObjectStoreFullError, OutOfDiskError (`exhausted`) after the node's putTimeoutMs; ConnectionLostError.
   */
  create(byteLength: number, callSite: string): WritableAllocation;
  /**
   * Stores `byteLength` bytes, which `write` puts into `target`; it must not keep `target`. Returns when the object is
   * sealed; blocks while the node makes room.
   *
   * @throws as `create`; what `write` throws is thrown on, and the place given back.
   */
  put(byteLength: number, callSite: string, write: (target: Uint8Array<ArrayBuffer>) => void): StoreKey;
  /** The same, but waits for room without blocking the thread. */
  putAsync(byteLength: number, callSite: string, write: (target: Uint8Array<ArrayBuffer>) => void): Promise<StoreKey>;
  /** `target.set(source)`, with two threads when that is faster. */
  copy(target: Uint8Array, source: Uint8Array): void;
  /** Reads an object that the node has pinned for this process. Call `done()` on the result when it is decoded. */
  map(pinned: StorePinned): StoredBytes;
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
/** Views of the arena are reused, because V8 charges every new one to its heap: windows of this size, half overlapping. */
const WINDOW_BYTES = 32 * 2 ** 20;
const WINDOWS_MAX = 8;

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
  const mappings = createMappings({
    files,
    onUnpinned: (keys) => {
      if (!closed) options.onUnpinned(keys);
    },
    onHeldBytes: options.onHeldBytes ?? (() => {}),
    ...(options.mappingsMax === undefined ? {} : { countMax: options.mappingsMax }),
  });
  const copyHelper = createCopyHelper();
  /** How to abort what `create` made and nobody sealed. */
  const writing = new Set<() => void>();

  // ── where to write ─────────────────────────────────────────────────────────────────────────────────────────────────

  let arenaAddress: Address | undefined;
  /** Least recently used first. */
  const windows = new Map<string, ArrayBuffer>();

  function writeTarget(offset: number, byteLength: number): Uint8Array<ArrayBuffer> {
    arenaAddress ??= mapShared(files.locate(0).fd, 0, arenaBytes);
    const half = WINDOW_BYTES / 2;
    let start = Math.floor(offset / half) * half;
    let length = Math.min(WINDOW_BYTES, arenaBytes - start);
    if (offset + byteLength > start + length) {
      start = offset;
      length = roundUpToPages(byteLength);
    }
    const name = `${start}+${length}`;
    const window = windows.get(name) ?? viewAt(arenaAddress + start, length);
    windows.delete(name);
    windows.set(name, window);
    for (const oldest of windows.keys()) {
      if (windows.size <= WINDOWS_MAX) break;
      windows.delete(oldest);
    }
    return new Uint8Array(window, offset - start, byteLength);
  }

  /** What the disk file holds is rare: a mapping for the one write. */
  function writeOverflow(offset: number, byteLength: number, write: (target: Uint8Array<ArrayBuffer>) => void): void {
    const { fd, position } = files.locate(offset);
    const length = roundUpToPages(byteLength);
    const address = mapShared(fd, position, length);
    const view = viewAt(address, length);
    try {
      write(new Uint8Array(view, 0, byteLength));
    } finally {
      // The writer may have kept its target, against the rule: its address stays valid, but no longer leads to the store.
      remapAnonymous(address, length);
      mappings.adopt(view, address, length, () => {});
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
    return answer[0] === "granted" ? useSlab({ offset: answer[2], bytes: answer[3] }) : undefined;
  }

  function placeInSlab(byteLength: number): number | undefined {
    const offset = slab?.allocate(byteLength) ?? takePrefetchedSlab()?.allocate(byteLength);
    if (offset === undefined || !slab || nextSlabRequest !== undefined) return offset;
    const left = slab.rest()?.bytes ?? 0;
    if (left < slab.range.bytes / 2) nextSlabRequest = askForRange(0, nextSlabBytes(byteLength, lastSlabBytes), "");
    return offset;
  }

  function placed(range: ByteRange, byteLength: number): number {
    if (byteLength > SLAB_OBJECT_BYTES_MAX || range.offset >= arenaBytes || range.bytes === roundUpToPages(byteLength))
      return range.offset;
    return useSlab(range).allocate(byteLength) ?? range.offset;
  }

  const wishFor = (byteLength: number): number =>
    byteLength > SLAB_OBJECT_BYTES_MAX ? byteLength : nextSlabBytes(byteLength, lastSlabBytes);

  function allocate(byteLength: number, callSite: string): number {
    if (!Number.isSafeInteger(byteLength) || byteLength < 1)
      throw new InvalidOptionError(`an object of ${byteLength} bytes; it takes a whole number of at least 1`);
    if (closed) throw new ConnectionLostError("the object store's client is closed");
    if (byteLength <= SLAB_OBJECT_BYTES_MAX) {
      const offset = placeInSlab(byteLength);
      if (offset !== undefined) return offset;
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
    offset: number,
    byteLength: number,
    callSite: string,
    write: (target: Uint8Array<ArrayBuffer>) => void,
  ): StoreKey {
    if (closed) throw new ConnectionLostError("the object store's client is closed");
    try {
      if (offset >= arenaBytes) writeOverflow(offset, byteLength, write);
      else write(writeTarget(offset, byteLength));
    } catch (error) {
      release(offset, byteLength);
      throw error;
    }
    const key = nextKey++;
    send(["sealed", key, offset, byteLength, callSite, false]);
    return key;
  }

  // ── writing in place ───────────────────────────────────────────────────────────────────────────────────────────────

  function mapRange(offset: number, byteLength: number): Address {
    const { fd, position } = files.locate(offset);
    try {
      return mapShared(fd, position, roundUpToPages(byteLength));
    } catch (error) {
      release(offset, byteLength);
      throw error;
    }
  }

  /** The steps of one allocation. They must not see its view: what a closure can reach is never collected. */
  function beginWriting(made: {
    readonly offset: number;
    readonly byteLength: number;
    readonly address: Address;
    readonly callSite: string;
  }): { seal(): StoreKey; abort(): void; collected(): void } {
    const { offset, byteLength, address, callSite } = made;
    let key: StoreKey = 0;
    const length = roundUpToPages(byteLength);
    let state: "being written" | "sealed" | "aborted" = "being written";
    function abort(): void {
      if (state !== "being written") return;
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
        remapPrivate(address, fd, position, length);
        state = "sealed";
        writing.delete(abort);
        // Numbered only now: the node relies on keys that come in order.
        key = nextKey++;
        send(["sealed", key, offset, byteLength, callSite, true]);
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
    windows.clear();
  }

  return {
    create(byteLength, callSite) {
      const offset = allocate(byteLength, callSite);
      const address = mapRange(offset, byteLength);
      const steps = beginWriting({ offset, byteLength, address, callSite });
      const view = viewAt(address, byteLength);
      mappings.adopt(view, address, roundUpToPages(byteLength), steps.collected);
      return { bytes: new Uint8Array(view), seal: steps.seal, abort: steps.abort };
    },

    put(byteLength, callSite, write) {
      return fill(allocate(byteLength, callSite), byteLength, callSite, write);
    },

    async putAsync(byteLength, callSite, write) {
      if (byteLength <= SLAB_OBJECT_BYTES_MAX && !closed) {
        const offset = slab?.allocate(byteLength);
        if (offset !== undefined) return fill(offset, byteLength, callSite, write);
      }
      channel ??= openAsyncChannel(info.socketPath, processId);
      const range = granted(await channel.allocate(byteLength, wishFor(byteLength), callSite));
      return fill(placed(range, byteLength), byteLength, callSite, write);
    },

    copy: copyHelper.copy,

    map: mappings.open,

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

function granted(answer: FromStore): ByteRange {
  switch (answer[0]) {
    case "granted":
      return { offset: answer[2], bytes: answer[3] };
    case "refused":
      throw errorFromCode(answer[2], answer[3], answer[4]);
    case "welcome":
      throw new InternalError("the object store answered a request for room with a greeting");
  }
}
