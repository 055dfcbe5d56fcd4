/**
 * The node's side of the store: carries out what the engine orders. It listens for clients on a socket in the session's
 * folder, owns the arena's file, and reads and writes the disk. It maps the arena only to copy objects from and for other
 * nodes.
 */
import { chmodSync, closeSync, mkdirSync, openSync, unlinkSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { InvalidOptionError, type ProcessId, unreachable } from "../base/mod.ts";
import type { StoreInfo, StoreKey, StorePinned } from "../wire/messages.ts";
import { type ArenaOptions, type Backing, createUnlinked, openArena, type SharedFile, sweepFiles } from "./arena.ts";
import { createStoreEngine, KEYS_PER_CLIENT, type OwnedKey, type StoredDetails } from "./engine.ts";
import type { RequestId, StoreCommand, StoreEvent, StoreStats } from "./engine-events.ts";
import { type Address, mapShared, punchHole, reserveRange, roundUpToPages } from "./memory.ts";
import { type GrantAnswer, NodeAccess, type OpenObject, type Room } from "./node-access.ts";
import { isProcessAlive } from "./process-alive.ts";
import { CALL_SITE_LENGTH_MAX, createFrameReader, encodeFrame, type FromStore, type ToStore } from "./protocol.ts";
import { createSpillDisk, folderVolume, type MemoryPlace, type SpillVolume, writeZeros } from "./spill-disk.ts";
import { viewBufferAt } from "./view-buffer.ts";

export interface StoreServerOptions {
  /** The session's folder, mode 0700; its path must be short enough for a socket in it (about 90 bytes). */
  readonly directory: string;
  readonly capacityBytes: number;
  readonly spillDirectory: string;
  /** Bytes on disk for spilled objects and those that found no room in memory; 0 for none. */
  readonly spillBytesMax: number;
  readonly putTimeoutMs: number;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  readonly log: (message: string) => void;
  /** Sends `Collect` to these processes. */
  readonly requestCollect: (processIds: readonly ProcessId[]) => void;
  /** The answer to `pin`, for each key once, at once or after a restore. */
  readonly onPinned: (processId: ProcessId, pinned: Omit<StorePinned, "name">) => void;
  /** Copies that went for the sake of their memory; with an owner what was made here, and others keep instead. */
  readonly onCopyDropped?: (key: StoreKey, owner: ProcessId | undefined) => void;
  /** As whom the node itself uses the store. */
  readonly self: ProcessId;
  /** Other nodes may take what this one has no room for. */
  readonly peers?: StorePeers;
  /** A process is gone, and everything that it sent has been read; the keys are those it sealed and nobody freed. */
  readonly onProcessGone?: (processId: ProcessId, keys: readonly OwnedKey[]) => void;
  /** What the store does, for metrics and the timeline. */
  readonly onEvent?: (event: StoreServerEvent) => void;
  readonly backing?: Backing;
  readonly shmDirectory?: string;
  /**
   * Memory counts for the cgroup of the process that has it made: for this one, and not for those that put, which have limits of
   * their own. Costs them the time in which this process clears fresh pages.
   */
  readonly ownsPages?: boolean;
  /** Replaces the disk that spilling uses. */
  readonly volume?: SpillVolume;
}

export interface StorePeers {
  /** Memory will soon be short: {@link StoreServer.peersHaveRoom} is to say how much of it others have. */
  find(): void;
  /** Resolves to the keys of those that other nodes keep now. */
  relieve(objects: readonly (OwnedKey & { readonly bytes: number })[]): Promise<readonly StoreKey[]>;
}

export type StoreServerEvent =
  | { readonly kind: "spilled"; readonly bytes: number; readonly objects: number; readonly tookMs: number }
  | { readonly kind: "spill-failed"; readonly code: string; readonly message: string }
  | { readonly kind: "restored"; readonly bytes: number; readonly tookMs: number }
  | { readonly kind: "read-from-disk"; readonly bytes: number }
  | { readonly kind: "restore-failed"; readonly message: string }
  | { readonly kind: "collect-requested"; readonly processes: number };

export interface StoreServer {
  readonly info: StoreInfo;
  readonly backing: Backing;
  /** Room for an object that the node itself writes. @throws ObjectStoreFullError, OutOfDiskError as for any process */
  makeRoom(bytes: number, callSite: string): Promise<Room>;
  /** An object to read, resident and pinned until it is closed. @throws `OBJECT_LOST` */
  open(key: StoreKey): Promise<OpenObject>;
  /** Objects that processes of other nodes than the one with this tag are to free, without copies. */
  ownedBeside(tag: string): readonly (OwnedKey & { readonly bytes: number })[];
  /** All that are there, for people. */
  list(): Iterable<StoredDetails>;
  /** Whether it is there, and not freed. */
  exists(key: StoreKey): boolean;
  /** The copy is not to go for the sake of its memory any more. */
  keep(key: StoreKey): void;
  pin(processId: ProcessId, keys: readonly StoreKey[]): void;
  unpin(processId: ProcessId, keys: readonly StoreKey[]): void;
  free(keys: readonly StoreKey[]): void;
  /** The process is dead, or its store client has closed: takes back its pins and what it had not sealed. */
  processGone(processId: ProcessId): void;
  /** Objects that this process sealed and nobody freed: what may be orphaned when it dies. */
  keysSealedBy(processId: ProcessId): readonly OwnedKey[];
  /** Objects that processes of the node with this tag are to free. */
  keysOwnedOn(tag: string): readonly StoreKey[];
  stats(): StoreStats;
  /** Bytes in memory, which {@link stats} takes longer to say. */
  usedBytes(): number;
  /** So much may be moved to other nodes from now on. */
  peersHaveRoom(bytes: number): void;
  /** Does what time has made due; the server's own timer calls it. */
  tick(): void;
  /** Ends all connections and leaves nothing behind. Views that processes still hold stay readable. */
  close(): Promise<void>;
}

/** A process that was killed is a zombie or gone a moment after its connection closed. */
const DEATH_CHECK_MS = 50;
const DEATH_CHECKS_MAX = 100;

interface Connection {
  readonly socket: Socket;
  processId: ProcessId | undefined;
  pid: number;
  saidBye: boolean;
}

export async function startStore(options: StoreServerOptions): Promise<StoreServer> {
  const arenaBytes = roundUpToPages(options.capacityBytes);
  const socketPath = join(options.directory, "store.sock");
  if (Buffer.byteLength(socketPath) > 103) {
    throw new InvalidOptionError(`the path ${socketPath} is too long for a socket; set TMPDIR to a shorter folder`);
  }
  const arenaOptions: ArenaOptions = {
    bytes: arenaBytes,
    directory: options.directory,
    log: options.log,
    ...(options.backing ? { backing: options.backing } : {}),
    ...(options.shmDirectory ? { shmDirectory: options.shmDirectory } : {}),
  };
  const arena = openArena(arenaOptions);
  const overflow = options.spillBytesMax > 0 ? openOverflow(options) : undefined;
  const disk = createSpillDisk(options.volume ?? folderVolume(options.spillDirectory), options.log);
  const engine = createStoreEngine({
    capacityBytes: arenaBytes,
    spillBytesMax: overflow ? options.spillBytesMax : 0,
    putTimeoutMs: options.putTimeoutMs,
    sharesFiles: disk.sharesFiles,
    hasPeers: options.peers !== undefined,
    managesResidency: arena.backing !== "file" && process.platform === "linux",
  });

  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let nextClientNumber = 1;
  let nextRequest = 1;
  /** The engine's request numbers, and where their answers go. */
  const requests = new Map<
    RequestId,
    { readonly connection?: Connection; readonly answered: (answer: GrantAnswer) => void }
  >();
  const connections = new Set<Connection>();
  /** Told to be gone while a connection may still hold unread news of it. */
  const leaving = new Set<ProcessId>();

  function gone(processId: ProcessId): void {
    step({ kind: "process-gone", processId });
    options.onProcessGone?.(processId, engine.keysSealedBy(processId));
  }
  const access = new NodeAccess({
    self: options.self,
    clientNumber: nextClientNumber++,
    placeAt: (offset, bytes) => (offset < arenaBytes ? memoryAt(offset, bytes) : placeOf(offset)),
    openFile(path, position) {
      const fd = openSync(path, "r");
      return { place: { fd, position }, close: () => closeSync(fd) };
    },
    step: (event) => step(event),
    request(answered) {
      const requestId = nextRequest++;
      requests.set(requestId, { answered });
      return requestId;
    },
  });
  let arenaAddress: Address | undefined;
  const running = new Set<Promise<void>>();
  let populating: Promise<void> = Promise.resolve();

  // ── the engine's loop ──────────────────────────────────────────────────────────────────────────────────────────────

  function step(event: StoreEvent): void {
    if (closed) return;
    const nowMs = options.now();
    for (const command of engine.step(event, nowMs)) carryOut(command);
    clearTimeout(timer);
    const wakeMs = engine.nextWakeMs();
    if (wakeMs !== Number.POSITIVE_INFINITY) {
      timer = setTimeout(() => step({ kind: "tick" }), Math.max(1, wakeMs - options.now()));
      timer.unref();
    }
  }

  /** Runs work that must have ended before the files are closed. It handles its own failures; others are ours. */
  function run(work: Promise<void>): void {
    const told = work.catch((error: unknown) => options.log(`object store: ${String(error)}`));
    running.add(told);
    void told.then(() => running.delete(told));
  }

  function carryOut(command: StoreCommand): void {
    switch (command.kind) {
      case "grant":
        if (isReserved(command)) answer(command);
        else run(reserveThenGrant(command));
        return;
      case "refuse":
        answer(command);
        return;
      case "pinned": {
        const { processId, key, offset, size, error } = command;
        tellPinned(processId, { t: "store-pinned", key, offset, size, ...(error ? { error } : {}) });
        return;
      }
      case "pinned-on-disk": {
        const { processId, key, slot } = command;
        const file = disk.pathOf(slot);
        options.onEvent?.({ kind: "read-from-disk", bytes: slot.bytes });
        tellPinned(processId, { t: "store-pinned", key, offset: slot.offset, size: slot.bytes, file });
        return;
      }
      case "collect":
        options.onEvent?.({ kind: "collect-requested", processes: command.processIds.length });
        options.requestCollect(command.processIds);
        return;
      case "spill":
        run(spill(command));
        return;
      case "find-peers":
        options.peers?.find();
        return;
      case "relieve":
        // Nobody need wait for that who ends the store.
        relieve(command).catch((error: unknown) => options.log(`object store: ${messageOf(error)}`));
        return;
      case "restore":
        run(restore(command));
        return;
      case "drop-slots":
        disk.drop(command.slots);
        return;
      case "reserve-fallback":
        run(reserveOverflow(command));
        return;
      case "punch":
        run(punch(command.offset, command.bytes));
        return;
      case "copy-dropped":
        options.onCopyDropped?.(command.key, command.owner);
        return;
      case "populate":
        populating = populating.then(() => populate(command.offset, command.bytes));
        run(populating);
        return;
      case "expel":
        options.log(`object store: process ${command.processId} ${command.reason}; its connection is closed`);
        for (const connection of connections)
          if (connection.processId === command.processId) connection.socket.destroy();
        return;
      default:
        unreachable(command);
    }
  }

  function answer(command: GrantAnswer): void {
    const request = requests.get(command.requestId);
    requests.delete(command.requestId);
    request?.answered(command);
  }

  function tellPinned(processId: ProcessId, pinned: Omit<StorePinned, "name">): void {
    if (!access.pinned(processId, pinned)) options.onPinned(processId, pinned);
  }

  // ── memory and disk ────────────────────────────────────────────────────────────────────────────────────────────────

  function placeOf(offset: number): MemoryPlace {
    if (offset < arenaBytes || !overflow) return { fd: arena.fd, position: offset };
    return { fd: overflow.fd, position: offset - arenaBytes };
  }

  function isReserved({ offset, requestId }: StoreCommand & { readonly kind: "grant" }): boolean {
    if (offset >= arenaBytes) return true;
    const isOwn = requests.get(requestId)?.connection === undefined;
    return arena.backing === "memfd" && (isOwn || !options.ownsPages);
  }

  /**
   * The arena is mapped whole when the node itself first uses it, and stays mapped: its page tables are what makes a warm copy
   * fast (512 MiB through a socket: 4.0 GiB/s; 1.7 with a mapping for each, 2.1 with one that is filled first). A node by itself
   * never maps it.
   */
  function memoryAt(offset: number, bytes: number): { readonly memory: Uint8Array } {
    arenaAddress ??= mapShared(arena.fd, 0, arenaBytes);
    return { memory: new Uint8Array(viewBufferAt(arenaAddress + offset, bytes).buffer) };
  }

  /** Without room behind it, the first write to a mapped page of a file or of /dev/shm would kill the writer. */
  async function reserveThenGrant(grant: StoreCommand & { readonly kind: "grant" }): Promise<void> {
    try {
      // What is prepared ahead counts as there before it is.
      if (options.ownsPages) await populating;
      if (grant.isFresh || arena.backing !== "memfd")
        await reserve({ fd: arena.fd, position: grant.offset }, grant.bytes);
    } catch (error) {
      const { requestId, processId, offset, bytes } = grant;
      const message = `no memory behind the object store (${arena.backing}): ${String(error)}`;
      answer({ kind: "refuse", requestId, error: { code: "DISK_FULL", kind: "exhausted", message } });
      step({ kind: "grant-failed", requestId, processId, offset, bytes });
      return;
    }
    answer(grant);
  }

  async function reserve(place: MemoryPlace, bytes: number): Promise<void> {
    try {
      await reserveRange(place.fd, place.position, bytes);
    } catch (error) {
      if (codeOf(error) !== "EOPNOTSUPP") throw error;
      await writeZeros(place.fd, place.position, bytes);
    }
  }

  async function reserveOverflow({
    ticket,
    offset,
    bytes,
  }: StoreCommand & { readonly kind: "reserve-fallback" }): Promise<void> {
    try {
      await reserve(placeOf(offset), bytes);
    } catch (error) {
      step({ kind: "fallback-failed", ticket, code: codeOf(error), message: messageOf(error) });
      return;
    }
    step({ kind: "fallback-ready", ticket });
  }

  async function spill({ batchId, objects }: StoreCommand & { readonly kind: "spill" }): Promise<void> {
    const startedMs = options.now();
    try {
      const slots = await disk.write(objects.map(({ offset, bytes }) => ({ from: placeOf(offset), bytes })));
      const bytes = objects.reduce((sum, object) => sum + object.bytes, 0);
      options.onEvent?.({ kind: "spilled", bytes, objects: objects.length, tookMs: options.now() - startedMs });
      step({ kind: "spilled", batchId, slots });
    } catch (error) {
      options.onEvent?.({ kind: "spill-failed", code: codeOf(error), message: messageOf(error) });
      step({ kind: "spill-failed", batchId, code: codeOf(error), message: messageOf(error) });
    }
  }

  async function relieve({ batchId, objects }: StoreCommand & { readonly kind: "relieve" }): Promise<void> {
    const keys = (await options.peers?.relieve(objects)) ?? [];
    step({ kind: "relieved", batchId, keys });
  }

  async function restore({ key, slot, offset }: StoreCommand & { readonly kind: "restore" }): Promise<void> {
    const startedMs = options.now();
    try {
      await disk.read(slot, placeOf(offset));
      options.onEvent?.({ kind: "restored", bytes: slot.bytes, tookMs: options.now() - startedMs });
      step({ kind: "restored", key });
    } catch (error) {
      options.onEvent?.({ kind: "restore-failed", message: messageOf(error) });
      step({ kind: "restore-failed", key, message: messageOf(error) });
    }
  }

  async function punch(offset: number, bytes: number): Promise<void> {
    const place = placeOf(offset);
    try {
      await punchHole(place.fd, place.position, bytes);
    } catch (error) {
      // The memory stays, which costs room but nothing else.
      if (codeOf(error) !== "EOPNOTSUPP") options.log(`object store: giving back memory failed: ${messageOf(error)}`);
    }
    step({ kind: "punched", offset, bytes });
  }

  async function populate(offset: number, bytes: number): Promise<void> {
    if (closed) return;
    try {
      await reserveRange(arena.fd, offset, bytes);
    } catch (error) {
      // Only a head start is lost; whoever gets these pages finds out for itself.
      if (codeOf(error) !== "EOPNOTSUPP") options.log(`object store: preparing memory failed: ${messageOf(error)}`);
    }
  }

  // ── clients ────────────────────────────────────────────────────────────────────────────────────────────────────────

  function receive(connection: Connection, message: ToStore): void {
    const { processId } = connection;
    if (message[0] === "hello") {
      const [, requestId, newProcessId, pid] = message;
      connection.processId = newProcessId;
      connection.pid = pid;
      const clientNumber = nextClientNumber++;
      step({ kind: "client-connected", processId: newProcessId, clientNumber });
      connection.socket.write(
        encodeFrame([
          "welcome",
          requestId,
          clientNumber * KEYS_PER_CLIENT,
          arenaBytes,
          overflow?.path ?? "",
          options.putTimeoutMs,
        ]),
      );
      return;
    }
    if (processId === undefined) throw new Error("the first frame was not a hello");
    switch (message[0]) {
      case "allocate": {
        const [, clientRequestId, bytes, wishBytes, callSite] = message;
        const requestId = nextRequest++;
        requests.set(requestId, {
          connection,
          answered: (answer) => connection.socket.write(encodeFrame(grantFrame(clientRequestId, answer))),
        });
        step({
          kind: "allocate-requested",
          requestId,
          processId,
          bytes,
          wishBytes,
          callSite: callSite.slice(0, CALL_SITE_LENGTH_MAX),
        });
        return;
      }
      case "sealed": {
        const [, key, offset, bytes, callSite, pinned, owner] = message;
        step({
          kind: "sealed",
          processId,
          key,
          offset,
          bytes,
          callSite: callSite.slice(0, CALL_SITE_LENGTH_MAX),
          pinned,
          owner: owner === "" ? undefined : owner,
        });
        return;
      }
      case "unpin": {
        const [, key] = message;
        step({ kind: "unpinned", processId, keys: [key] });
        return;
      }
      case "give-back": {
        const [, offset, bytes] = message;
        step({ kind: "given-back", processId, offset, bytes });
        return;
      }
      case "bye":
        connection.saidBye = true;
        return;
      default:
        unreachable(message);
    }
  }

  function disconnected(connection: Connection): void {
    connections.delete(connection);
    for (const [requestId, request] of requests) {
      if (request.connection !== connection) continue;
      requests.delete(requestId);
      step({ kind: "request-abandoned", requestId });
    }
    const { processId, pid } = connection;
    if (processId === undefined || isConnected(processId)) return;
    if (leaving.delete(processId)) gone(processId);
    // A client that closed in order has given back what it had; its pins last until the node says that it is gone.
    else if (!connection.saidBye) awaitDeath(processId, pid, DEATH_CHECKS_MAX);
  }

  const isConnected = (processId: ProcessId): boolean =>
    [...connections].some((connection) => connection.processId === processId);

  /** A closed connection alone proves nothing: only a dead process is sure not to write to its ranges any more. */
  function awaitDeath(processId: ProcessId, pid: number, checksLeft: number): void {
    if (closed || checksLeft === 0) return;
    if (isProcessAlive(pid)) setTimeout(() => awaitDeath(processId, pid, checksLeft - 1), DEATH_CHECK_MS).unref();
    else step({ kind: "process-gone", processId });
  }

  const server = createServer((socket) => {
    const connection: Connection = { socket, processId: undefined, pid: 0, saidBye: false };
    const reader = createFrameReader<ToStore>();
    connections.add(connection);
    socket.on("data", (bytes) => {
      try {
        for (const message of reader.push(bytes)) receive(connection, message);
      } catch (error) {
        options.log(`object store: a client broke the protocol: ${messageOf(error)}`);
        socket.destroy();
      }
    });
    // A reset says no more than that the client is gone, and `close` follows.
    socket.on("error", () => {});
    socket.on("close", () => disconnected(connection));
  });
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(socketPath, resolve);
    });
  } catch (error) {
    arena.close();
    overflow?.close();
    throw error;
  }
  chmodSync(socketPath, 0o600);

  return {
    info: { socketPath, arenaPath: arena.path, arenaBytes },
    backing: arena.backing,
    pin: (processId, keys) => step({ kind: "pin-requested", processId, keys }),
    unpin: (processId, keys) => step({ kind: "unpinned", processId, keys }),
    free: (keys) => step({ kind: "freed", keys }),
    processGone(processId) {
      // What the process sealed last may still lie unread in its connection, which ends with it.
      if (isConnected(processId)) leaving.add(processId);
      else gone(processId);
    },
    keysSealedBy: (processId) => engine.keysSealedBy(processId),
    keysOwnedOn: (tag) => engine.keysOwnedOn(tag),
    makeRoom: (bytes, callSite) => access.makeRoom(bytes, callSite),
    open: (key) => access.open(key),
    ownedBeside: (tag) => engine.ownedBeside(tag),
    list: () => engine.list(),
    exists: (key) => engine.exists(key),
    keep: (key) => step({ kind: "kept", key }),
    stats: () => engine.stats(),
    usedBytes: () => engine.usedBytes(),
    peersHaveRoom: (bytes) => step({ kind: "peers-have-room", bytes }),
    tick: () => step({ kind: "tick" }),
    async close() {
      if (closed) return;
      closed = true;
      clearTimeout(timer);
      const stopped = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const { socket } of connections) socket.destroy();
      await stopped;
      // A file descriptor that is closed too early could be another file's by the time a system call uses it.
      while (running.size > 0) await Promise.all(running);
      await disk.close();
      overflow?.close();
      arena.close();
      try {
        unlinkSync(socketPath);
      } catch (error) {
        if (codeOf(error) !== "ENOENT") throw error;
      }
    },
  };
}

function grantFrame(clientRequestId: number, answer: GrantAnswer): FromStore {
  if (answer.kind === "grant") return ["granted", clientRequestId, answer.offset, answer.bytes, answer.isFresh];
  const { code, kind, message } = answer.error;
  return ["refused", clientRequestId, code, kind, message];
}

/** The file for what does not fit into memory; without it there is no disk to spill to either. */
function openOverflow(options: StoreServerOptions): SharedFile | undefined {
  try {
    mkdirSync(options.spillDirectory, { recursive: true, mode: 0o700 });
    sweepFiles(options.spillDirectory);
    // Empty: reserving a range is what makes it longer, so that no limit on the length of files matters.
    return createUnlinked(options.spillDirectory, 0);
  } catch (error) {
    options.log(
      `${options.spillDirectory} cannot be written (${messageOf(error)}): objects that do not fit into memory will not be moved to disk; set spillDirectory`,
    );
    return undefined;
  }
}

const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "EIO";
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
