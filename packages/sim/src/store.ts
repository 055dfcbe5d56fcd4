/**
 * The store of one node: the production table of objects, and the node's own access to it, over memory and a disk of real bytes,
 * so that what is read can be compared with what was written.
 */
import { nodeTag, type ProcessId, type StoredName, storedName, unreachable } from "../../core/src/base/mod.ts";
import type { NodeObjectsStore } from "../../core/src/node/objects.ts";
import { createStoreEngine, KEYS_PER_CLIENT, type OwnedKey, type StoreEngine } from "../../core/src/store/engine.ts";
import type { DiskSlot, RequestId, StoreCommand, StoreEvent } from "../../core/src/store/engine-events.ts";
import type { OpenObject, Room } from "../../core/src/store/mod.ts";
import { type GrantAnswer, NodeAccess } from "../../core/src/store/node-access.ts";
import type { StoreKey, StorePinned } from "../../core/src/wire/messages.ts";
import type { SimNode } from "./node.ts";

const PUT_TIMEOUT_MS = 3_000;
/** The node itself is the first client. */
const OWN_CLIENT = 1;

export interface SimStoreOptions {
  readonly self: ProcessId;
  readonly capacityBytes: number;
  readonly spillBytesMax: number;
}

export class SimStore implements NodeObjectsStore {
  /** Spilling, and room past the memory, are refused. */
  isDiskFull = false;
  private readonly node: SimNode;
  private readonly options: SimStoreOptions;
  private readonly engine: StoreEngine;
  private readonly access: NodeAccess;
  /** The arena, and behind it what lies on disk and is mapped all the same. */
  private readonly memory: Uint8Array;
  private readonly files = new Map<string, Uint8Array>();
  private readonly requests = new Map<RequestId, (answer: GrantAnswer) => void>();
  private readonly nextKeys = new Map<ProcessId, StoreKey>();
  private nextClient = OWN_CLIENT + 1;
  private nextRequest = 1;
  private nextFile = 1;
  private wakesAtMs = Number.POSITIVE_INFINITY;

  get capacityBytes(): number {
    return this.options.capacityBytes;
  }

  constructor(node: SimNode, options: SimStoreOptions) {
    this.node = node;
    this.options = options;
    const { capacityBytes, spillBytesMax, self } = options;
    this.memory = new Uint8Array(capacityBytes + spillBytesMax);
    this.engine = createStoreEngine({
      ...{ capacityBytes, spillBytesMax },
      putTimeoutMs: PUT_TIMEOUT_MS,
      sharesFiles: true,
      managesResidency: true,
      hasPeers: true,
    });
    this.access = new NodeAccess({
      ...{ self, clientNumber: OWN_CLIENT },
      placeAt: (offset, bytes) => ({ memory: this.memory.subarray(offset, offset + bytes) }),
      openFile: (path, position) => ({ place: { memory: this.file(path).subarray(position) }, close() {} }),
      step: (event) => this.step(event),
      request: (answered) => this.request(answered),
    });
  }

  // ── processes ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A process makes an object, if there is room for it at this moment. It is for the owner to free. */
  make(maker: ProcessId, owner: ProcessId, bytes: number): StoredName | undefined {
    let key = this.nextKeys.get(maker);
    if (key === undefined) {
      const clientNumber = this.nextClient++;
      key = clientNumber * KEYS_PER_CLIENT;
      this.step({ kind: "client-connected", processId: maker, clientNumber });
    }
    this.nextKeys.set(maker, key + 1);
    let granted: GrantAnswer | undefined;
    const requestId = this.request((answer) => {
      granted = answer;
    });
    const callSite = "a program";
    this.step({ kind: "allocate-requested", requestId, processId: maker, bytes, wishBytes: bytes, callSite });
    if (granted?.kind !== "grant") {
      // Production waits here, with the whole process; these programs go on without the store.
      this.requests.delete(requestId);
      this.step({ kind: "request-abandoned", requestId });
      return undefined;
    }
    const name = storedName(nodeTag(this.node.nodeId), key);
    const { offset } = granted;
    words(this.memory, offset, bytes).fill(contentOf(name));
    this.step({ kind: "sealed", processId: maker, key, offset, bytes, callSite, pinned: false, owner });
    const rest = Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
    if (granted.bytes > rest)
      this.step({ kind: "given-back", processId: maker, offset: offset + rest, bytes: granted.bytes - rest });
    return name;
  }

  /** Whether what is pinned is the object that was made under this name. */
  isIntact({ name, offset, size, file }: StorePinned): boolean {
    const found = words(file === undefined ? this.memory : this.file(file), offset, size);
    const content = contentOf(name);
    return found.every((word) => word === content);
  }

  // ── as `store/server.ts` ───────────────────────────────────────────────────────────────────────────────────────────

  makeRoom(bytes: number, callSite: string): Promise<Room> {
    return this.access.makeRoom(bytes, callSite);
  }

  open(key: StoreKey): Promise<OpenObject> {
    return this.access.open(key);
  }

  exists(key: StoreKey): boolean {
    return this.engine.exists(key);
  }

  keep(key: StoreKey): void {
    this.step({ kind: "kept", key });
  }

  pin(processId: ProcessId, keys: readonly StoreKey[]): void {
    this.step({ kind: "pin-requested", processId, keys });
  }

  unpin(processId: ProcessId, keys: readonly StoreKey[]): void {
    this.step({ kind: "unpinned", processId, keys });
  }

  free(keys: readonly StoreKey[]): void {
    this.step({ kind: "freed", keys });
  }

  processGone(processId: ProcessId): void {
    this.step({ kind: "process-gone", processId });
    this.node.storeLeft(processId, this.engine.keysSealedBy(processId));
  }

  ownedBeside(tag: string): readonly (OwnedKey & { readonly bytes: number })[] {
    return this.engine.ownedBeside(tag);
  }

  keysOwnedOn(tag: string): readonly StoreKey[] {
    return this.engine.keysOwnedOn(tag);
  }

  peersHaveRoom(bytes: number): void {
    this.step({ kind: "peers-have-room", bytes });
  }

  usedBytes(): number {
    return this.engine.stats().usedBytes;
  }

  /** Objects that were freed, and are still in the table: somebody has them pinned. */
  get lingering(): number {
    return this.engine.stats().objects - this.engine.keysOwnedOn("").length;
  }

  private request(answered: (answer: GrantAnswer) => void): RequestId {
    const requestId = this.nextRequest++;
    this.requests.set(requestId, answered);
    return requestId;
  }

  private step(event: StoreEvent): void {
    const { world, isOver } = this.node;
    if (isOver) return;
    const { nowMs } = world.clock;
    world.wake();
    for (const command of this.engine.step(event, nowMs)) this.carryOut(command);
    const { usedBytes, spilledBytes } = this.engine.stats();
    const { capacityBytes, spillBytesMax } = this.options;
    if (usedBytes > capacityBytes || spilledBytes > spillBytesMax)
      world.failSoon(
        "a store is never over its limit",
        `${usedBytes} of ${capacityBytes} bytes at ${this.node.nodeId}`,
      );
    const dueMs = this.engine.nextWakeMs();
    if (dueMs >= this.wakesAtMs || dueMs === Number.POSITIVE_INFINITY) return;
    this.wakesAtMs = dueMs;
    this.node.later(Math.max(1, dueMs - nowMs), () => {
      if (this.wakesAtMs !== dueMs) return;
      this.wakesAtMs = Number.POSITIVE_INFINITY;
      this.step({ kind: "tick" });
    });
  }

  private carryOut(command: StoreCommand): void {
    const { node } = this;
    switch (command.kind) {
      case "grant":
      case "refuse":
        this.requests.get(command.requestId)?.(command);
        this.requests.delete(command.requestId);
        return;
      case "pinned": {
        const { processId, key, offset, size, error } = command;
        this.pinned(processId, { t: "store-pinned", key, offset, size, ...(error && { error }) });
        return;
      }
      case "pinned-on-disk": {
        const { processId, key, slot } = command;
        const { offset, bytes: size, fileId } = slot;
        this.pinned(processId, { t: "store-pinned", key, offset, size, file: String(fileId) });
        return;
      }
      case "spill":
        this.byDisk(
          () => this.step({ kind: "spilled", batchId: command.batchId, slots: this.write(command.objects) }),
          (failure) => this.step({ kind: "spill-failed", batchId: command.batchId, ...failure }),
        );
        return;
      case "restore":
        node.later(node.world.delayMs(), () => {
          const { key, slot, offset } = command;
          const bytes = this.file(String(slot.fileId)).subarray(slot.offset, slot.offset + slot.bytes);
          this.memory.set(bytes, offset);
          this.step({ kind: "restored", key });
        });
        return;
      case "reserve-fallback":
        this.byDisk(
          () => this.step({ kind: "fallback-ready", ticket: command.ticket }),
          (failure) => this.step({ kind: "fallback-failed", ticket: command.ticket, ...failure }),
        );
        return;
      case "punch":
        node.later(node.world.delayMs(), () => {
          this.memory.fill(0, command.offset, command.offset + command.bytes);
          this.step({ kind: "punched", offset: command.offset, bytes: command.bytes });
        });
        return;
      case "copy-dropped":
        node.world.note(node.place.name, `drops a copy, ${command.key}`);
        node.objects.copyDropped(command.key, command.owner);
        return;
      case "find-peers":
        node.objects.findPeers();
        return;
      case "relieve":
        void node.objects.relieve(command.objects).then((keys) => {
          this.step({ kind: "relieved", batchId: command.batchId, keys });
        });
        return;
      case "expel":
        throw new Error(`${command.processId} ${command.reason}`);
      case "drop-slots":
        for (const { fileId, offset, bytes } of command.slots)
          this.file(String(fileId)).fill(0, offset, offset + bytes);
        return;
      case "collect":
      case "populate":
        return;
      default:
        unreachable(command);
    }
  }

  private pinned(processId: ProcessId, pinned: Omit<StorePinned, "name">): void {
    if (!this.access.pinned(processId, pinned)) this.node.objects.pinned(processId, pinned);
  }

  // ── the disk ───────────────────────────────────────────────────────────────────────────────────────────────────────

  private byDisk(
    done: () => void,
    failed: (failure: { readonly code: string; readonly message: string }) => void,
  ): void {
    this.node.later(this.node.world.delayMs(), () => {
      if (this.isDiskFull) failed({ code: "ENOSPC", message: "no space left on device" });
      else done();
    });
  }

  private write(objects: readonly { readonly offset: number; readonly bytes: number }[]): readonly DiskSlot[] {
    const fileId = this.nextFile++;
    const file = new Uint8Array(objects.reduce((sum, { bytes }) => sum + bytes, 0));
    this.files.set(String(fileId), file);
    let at = 0;
    return objects.map(({ offset, bytes }) => {
      file.set(this.memory.subarray(offset, offset + bytes), at);
      const slot: DiskSlot = { fileId, offset: at, bytes };
      at += bytes;
      return slot;
    });
  }

  private file(path: string): Uint8Array {
    const file = this.files.get(path);
    if (!file) throw new RangeError(`there is no file ${path}`);
    return file;
  }
}

export const PAGE_BYTES = 4096;

/** What an object of this name is full of. */
function contentOf(name: StoredName): number {
  let content = 0x811c9dc5;
  for (let at = 0; at < name.length; at++) content = Math.imul(content ^ name.charCodeAt(at), 0x01000193) >>> 0;
  return content;
}

const words = (bytes: Uint8Array, offset: number, size: number): Uint32Array =>
  new Uint32Array(bytes.buffer, bytes.byteOffset + offset, size / Uint32Array.BYTES_PER_ELEMENT);
