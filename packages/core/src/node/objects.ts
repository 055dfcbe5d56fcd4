/**
 * Stored objects as the processes of this node see them: what was made here, and copies of what was made elsewhere. It passes
 * on what processes and other nodes say, to the store, to the pulls of this node, and to the home of what others copy.
 */
import type { Socket } from "node:net";
import { later as laterByClock } from "../base/clock.ts";
import {
  type NodeId,
  nodeTag,
  nodeTagOf,
  type ProcessId,
  type StoredName,
  storedName,
  storedNameKey,
  storedNameTag,
  type WorkerId,
} from "../base/ids.ts";
import {
  type BulkLinks,
  Copies,
  hasPlenty,
  PeerRelief,
  type PeerReliefEffects,
  PRIORITY,
  type Pulled,
  type PullStore,
  Pulls,
  type PullsOptions,
  type Reading,
  type StoreRoom,
  serveBulk,
  type Tag,
} from "../pull/mod.ts";
import type { OwnedKey, StoreServer } from "../store/mod.ts";
import type { AboutCopies } from "../wire/cluster-messages.ts";
import type { StoreCopied, StoreCopies, StoredValue, StoreKey, StorePin, StorePinned } from "../wire/messages.ts";

/** While no node has room for copies that are missing, it is looked again so often. */
const ROOM_AGAIN_MS = 2_000;
/** In which those come who want the same object at the same time: as long as it takes to send some hundred KiB of it. */
const GATHER_MS = 1;

export type NodeObjectsStore = PullStore &
  Pick<StoreServer, "processGone" | "ownedBeside" | "keysOwnedOn" | "peersHaveRoom" | "usedBytes">;

export interface NodeObjectsOptions {
  readonly nodeId: NodeId;
  readonly self: ProcessId;
  readonly store: NodeObjectsStore;
  readonly capacityBytes: number;
  readonly stripedBytesMin?: PullsOptions["stripedBytesMin"];
  onPinned(process: ProcessId, pinned: StorePinned): void;
  /** Of these, the ones that published values of homes here are. */
  published(names: ReadonlySet<StoredName>): Iterable<StoredName>;
  /** Which of these have no owner here any more is found out, and they are freed. */
  onOrphans(names: readonly StoredName[], workerId: WorkerId | undefined): void;
  send(to: Tag, message: AboutCopies): void;
  isDead(node: Tag): boolean;
  /** The home itself, or its heir. */
  resolve(home: Tag): Tag;
  /** A node that lives on and is none of these. */
  keeper(besides: ReadonlySet<Tag>): Tag | undefined;
  /** It lives on, and does not end with its driver. */
  mayKeep(node: Tag): boolean;
  /** Nodes that could keep something, this one among them, the ones with the most room first. */
  findRooms(): Promise<readonly StoreRoom[]>;
  /** Copies that a process has asked for are there. */
  onCopied(process: ProcessId, copied: StoreCopied): void;
  /** Another node keeps an object of this one. */
  onMoved(): void;
  /** On which other nodes are asked for objects. */
  readonly links: Pick<BulkLinks, "fetch" | "forget" | "close">;
  /** Connects to the node, which asks for objects then. */
  offer(node: Tag): Promise<Socket>;
  /** What other nodes ask for on the same connections beside objects. */
  openCode?(name: string): Reading | undefined;
  nowMs(): number;
  readonly sleep?: PullsOptions["sleep"];
  readonly later?: PeerReliefEffects["later"];
  log(message: string): void;
}

export class NodeObjects {
  private readonly options: NodeObjectsOptions;
  private readonly here: Tag;
  private readonly copies: Copies;
  private readonly pulls: Pulls;
  /** Objects that are to be kept elsewhere, because this node ends: whether they are. */
  private readonly moving = new Map<StoredName, boolean>();
  private readonly relief: PeerRelief;
  private isFindingRoom = false;
  /** Takes back the look for room that is due. */
  private roomTimer: (() => void) | undefined;

  constructor(options: NodeObjectsOptions) {
    this.options = options;
    const { nodeId, self, store, capacityBytes, isDead, resolve, links, nowMs, sleep, onPinned } = options;
    const { later = laterByClock, stripedBytesMin } = options;
    const here = nodeTag(nodeId);
    this.here = here;
    const send = (to: Tag, message: AboutCopies): void => this.send(to, message);
    this.copies = new Copies({
      ...{ send, isDead, keeper: options.keeper, mayKeep: options.mayKeep },
      findRoom: (isAgain) => this.findRoom(isAgain),
      gather: (name) => void later(GATHER_MS, () => this.copies.gathered(name)),
    });
    this.relief = new PeerRelief({
      ...{ here, findRooms: options.findRooms, mayKeep: options.mayKeep, send, nowMs, later },
      found: (bytes) => store.peersHaveRoom(bytes),
    });
    this.pulls = new Pulls({
      ...{ here, self, store, capacityBytes, stripedBytesMin, send, nowMs, links },
      ...(sleep && { sleep }),
      isHomeDead: (home) => isDead(resolve(home)),
      onFailed: onPinned,
    });
  }

  /** Also to this node itself. */
  private send(to: Tag, message: AboutCopies): void {
    if (this.options.resolve(to) === this.here) this.hear(this.here, message);
    else this.options.send(to, message);
  }

  /** Of a copy of what was made on another node: its name there. */
  nameOf(key: number): StoredName | undefined {
    return this.pulls.nameOf(key);
  }

  // ── copies that are to be kept ─────────────────────────────────────────────────────────────────────────────────────

  /** A process of this node has put it, and so many nodes are to keep it. */
  keepUp(process: ProcessId, { name, size, copies }: Omit<StoreCopies, "t">): void {
    this.copies.keepUp(name, size, copies, (kept) => {
      const words = `put() was asked for ${copies} copies on different nodes, and ${kept === 1 ? "only one node" : `only ${kept} nodes`} can have one: more are made when nodes join`;
      this.options.onCopied(process, { t: "store-copied", name, ...(kept < copies && { warning: words }) });
    });
  }

  /** A home that is dead had to see to it, and this one is its heir. */
  keepUpInherited({ name, size, copies = 1 }: StoredValue): void {
    this.copies.keepUp(name, size, copies);
  }

  nodesChanged(): void {
    this.copies.nodesChanged();
  }

  private findRoom(isAgain: boolean): void {
    if (this.isFindingRoom || (isAgain && this.roomTimer)) return;
    this.roomTimer?.();
    this.roomTimer = undefined;
    if (isAgain) {
      const { later = laterByClock } = this.options;
      this.roomTimer = later(ROOM_AGAIN_MS, () => this.findRoom(false));
      return;
    }
    this.isFindingRoom = true;
    void this.options.findRooms().then((rooms) => {
      this.isFindingRoom = false;
      this.copies.found(rooms);
    });
  }

  // ── what there is no room for here ─────────────────────────────────────────────────────────────────────────────────

  findPeers(): void {
    void this.relief.find();
  }

  /** Resolves to those that other nodes keep now. */
  async relieve(objects: readonly (OwnedKey & { readonly bytes: number })[]): Promise<readonly StoreKey[]> {
    const { isDead, resolve } = this.options;
    // A node that ends hands on what it has in another way.
    if (this.moving.size > 0) return [];
    const pulled = objects.map(({ key, owner, bytes: size }) => {
      return { name: storedName(this.here, key), size, home: nodeTagOf(owner) };
    });
    const moved = await this.relief.move(pulled.filter(({ home }) => !isDead(resolve(home))));
    return moved.map(storedNameKey);
  }

  pin(process: ProcessId, { values, isArgument }: Omit<StorePin, "t">): void {
    for (const value of values) this.pulls.pin(process, value, isArgument ? PRIORITY.argument : PRIORITY.get);
  }

  /** What the store says of a pin. */
  pinned(process: ProcessId, pinned: Omit<StorePinned, "name">): void {
    const { key, error } = pinned;
    if (error?.code === "OBJECT_LOST" && this.pulls.unreadable(key, process)) return;
    this.options.onPinned(process, { ...pinned, name: this.pulls.nameOf(key) ?? storedName(this.here, key) });
  }

  processGone(process: ProcessId): void {
    this.pulls.processGone(process);
    this.options.store.processGone(process);
  }

  /** What an owner of this node, or its directory, has let go of. */
  free(names: readonly StoredName[]): void {
    this.copies.free(names);
  }

  /** Objects that a process of this node has made, which is gone. */
  orphaned(keys: readonly OwnedKey[], workerId: WorkerId | undefined): void {
    for (const [home, ofHome] of Map.groupBy(keys, ({ owner }) => nodeTagOf(owner))) {
      const names = ofHome.map(({ key }) => storedName(this.here, key));
      this.send(home, { t: "copy-orphans", names, ...(workerId !== undefined && { workerId }) });
    }
  }

  /** What another node says, or this one to itself. */
  hear(from: Tag, message: AboutCopies): void {
    const { copies, pulls } = this;
    switch (message.t) {
      case "copy-locate":
        copies.locate(from, message.name, message);
        return;
      case "copy-from":
        pulls.from(message);
        return;
      case "copy-stated":
        copies.stated(from, message.names);
        return;
      case "copy-held":
        copies.held(from, message.name, message.isHeld);
        return;
      case "copy-free":
        pulls.free(message.names);
        return;
      case "copy-keep":
        pulls.keep(message.name);
        return;
      case "copy-check": {
        const { name } = message;
        const exists = storedNameTag(name) === this.here && this.options.store.exists(storedNameKey(name));
        this.send(from, { t: "copy-checked", name, exists });
        return;
      }
      case "copy-checked":
        copies.checked(message.name, message.exists);
        return;
      case "copy-move":
        copies.move(from, message.name, message.size, message.to);
        return;
      case "copy-moved":
        this.relief.answered(message.name, !message.isRefused);
        if (message.isRefused || !this.moving.has(message.name)) return;
        this.moving.set(message.name, true);
        this.options.onMoved();
        return;
      case "copy-want": {
        const { name, size, isRelief } = message;
        if (isRelief && !this.hasPlenty(size)) this.send(from, { t: "copy-held", name, isHeld: false });
        else pulls.copy({ name, size, home: from });
        return;
      }
      case "copy-dial":
        // A node that gets none asks again.
        this.options.offer(from).then(
          (socket) => this.serve(socket),
          (error: unknown) => this.options.log(`objects cannot be offered to node ${from}: ${String(error)}`),
        );
        return;
      case "copy-orphans":
        this.options.onOrphans(message.names, message.workerId);
        return;
    }
  }

  private hasPlenty(bytes: number): boolean {
    const { store, capacityBytes, mayKeep } = this.options;
    return mayKeep(this.here) && hasPlenty(capacityBytes, store.usedBytes() + this.pulls.comingBytes, bytes);
  }

  /**
   * Sees to it that what owners elsewhere have here is kept by other nodes. True when it is.
   *
   * @param alsoOwn of owners here, which others hold.
   */
  moveOff(alsoOwn: readonly Pulled[]): boolean {
    const { store, isDead, resolve } = this.options;
    const made = store.ownedBeside(this.here).map(({ key, owner, bytes }) => ({
      name: storedName(this.here, key),
      size: bytes,
      home: nodeTagOf(owner),
    }));
    return this.move([
      ...[...made, ...this.pulls.kept].filter(({ home }) => home !== this.here && !isDead(resolve(home))),
      ...alsoOwn,
    ]);
  }

  /** Of these, what only this node has is kept by others. True when all of them are. */
  move(objects: readonly Pulled[]): boolean {
    for (const { name, size, home } of objects) {
      if (this.moving.has(name)) continue;
      this.moving.set(name, false);
      this.send(home, { t: "copy-move", name, size });
    }
    return objects.every(({ name }) => this.moving.get(name));
  }

  /** How many nodes are to keep it, of an object whose home is here. */
  copiesWanted(name: StoredName): number | undefined {
    return this.copies.wanted(name);
  }

  /** Which nodes have copies, of an object whose home is here. */
  copiesOf(name: StoredName): ReturnType<Copies["of"]> {
    return this.copies.of(name);
  }

  /** @param owner of what was made here, and others keep instead. */
  copyDropped(key: StoreKey, owner: ProcessId | undefined): void {
    this.pulls.dropped(key, owner && nodeTagOf(owner));
  }

  /** Another node asks for objects on this connection. */
  serve(socket: Socket): void {
    const { openCode, log } = this.options;
    serveBulk(socket, { open: async (name) => openCode?.(name) ?? this.open(name), log });
  }

  /** All of it is here. */
  has(name: StoredName): boolean {
    return this.pulls.has(name);
  }

  /** What another node asks for; undefined when it is neither here nor on its way. */
  open(name: StoredName): Promise<Reading | undefined> {
    return this.pulls.open(name);
  }

  /** @param homes whose objects were the node's: they are lost when nobody has inherited them. */
  nodeDied(node: Tag, homes: readonly Tag[] = [node]): void {
    const { store, isDead, resolve, links, onOrphans } = this.options;
    this.copies.nodeDied(node);
    // The word that they are made may be lost with it.
    const moved = [...this.copies.movedFrom(node)];
    if (moved.length > 0) onOrphans(moved, undefined);
    links.forget(node);
    const lost = new Set(homes.filter((home) => isDead(resolve(home))));
    this.pulls.homesDied(lost);
    this.pulls.homesInherited(new Set(homes.filter((home) => !lost.has(home))));
    for (const home of homes) {
      const made = store.keysOwnedOn(home);
      // Whoever was to free them is gone.
      if (lost.has(home)) store.free(made);
      else {
        const here = made.map((key) => storedName(this.here, key)).filter((name) => !this.pulls.isAway(name));
        const names = [...this.pulls.copiesOf(home), ...here];
        this.send(home, { t: "copy-stated", names });
      }
    }
  }

  /** This node is the heir of one that is dead: what lies where is being said. */
  inheriting(): void {
    this.copies.inheriting();
  }

  /** It has been, as far as that is waited for. */
  allStated(): void {
    this.copies.allStated();
  }

  /** All that hold objects of homes that this one has inherited have said so. */
  inherited(): void {
    this.copies.claimed(this.options.published);
  }

  close(): void {
    this.roomTimer?.();
    this.options.links.close();
  }
}
