/**
 * Moves cold objects to nodes whose stores have plenty of room, when this one's is short of it: memory elsewhere is nearer than a
 * disk. What is read here again is a copy from then on.
 *
 * 1. Control says which nodes have room. One takes only so much that a good part of its store stays free, by what control knows;
 *    it looks itself when it is asked, since others may have asked it too.
 * 2. The home of each object is told where it is to go, has it kept there, and says so: from then on it may go here.
 * 3. What was made elsewhere is never moved on, so two full nodes do not hand it to and fro. Whatever is refused, or takes too long,
 *    goes to the disk; after that nobody is asked for a while.
 */
import { later as laterByClock } from "../base/clock.ts";
import type { StoredName } from "../base/ids.ts";
import type { CopyMove } from "../wire/cluster-messages.ts";
import type { Pulled } from "./pulls.ts";
import type { StoreRoom } from "./replicas.ts";
import type { Tag } from "./trees.ts";

/** Of the store of a node, what stays free of what others move there. */
const FREE_SHARE = 0.4;
/** The same as that node itself sees it: reports are a second old. */
const FREE_SHARE_THERE = 0.3;
/** How long somebody who needs room waits for it to be made like this. */
const MOVED_WITHIN_MS = 3_000;
/** After a move that failed. */
const PAUSE_MS = 10_000;

/** Whether a node takes what others have no room for. */
export const hasPlenty = (capacityBytes: number, usedBytes: number, moreBytes: number): boolean =>
  usedBytes + moreBytes <= capacityBytes * (1 - FREE_SHARE_THERE);

export interface PeerReliefEffects {
  readonly here: Tag;
  findRooms(): Promise<readonly StoreRoom[]>;
  /** It is one that lives on: not one that ends with its driver. */
  mayKeep(node: Tag): boolean;
  /** To the home of an object. */
  send(home: Tag, message: CopyMove): void;
  /** So much may be moved. */
  found(bytes: number): void;
  nowMs(): number;
  /** Calls it after so long, unless that is taken back. Left out: by the clock of the machine. */
  later?(ms: number, run: () => void): () => void;
}

export class PeerRelief {
  private readonly effects: PeerReliefEffects;
  /** What may be moved to each node. */
  private readonly room = new Map<Tag, number>();
  private readonly moving = new Map<StoredName, (isMoved: boolean) => void>();
  private pausedUntilMs = Number.NEGATIVE_INFINITY;
  private isFinding = false;

  constructor(effects: PeerReliefEffects) {
    this.effects = effects;
  }

  async find(): Promise<void> {
    const { findRooms, mayKeep, here, found, nowMs } = this.effects;
    if (this.isFinding) return;
    if (nowMs() < this.pausedUntilMs) {
      found(0);
      return;
    }
    this.isFinding = true;
    const rooms = await findRooms();
    this.isFinding = false;
    this.room.clear();
    let bytes = 0;
    for (const { node, freeBytes, capacityBytes } of rooms) {
      const spare = Math.floor(freeBytes - capacityBytes * FREE_SHARE);
      if (node === here || spare <= 0 || !mayKeep(node)) continue;
      this.room.set(node, spare);
      bytes += spare;
    }
    found(bytes);
  }

  /** Resolves to those that other nodes keep now. */
  async move(objects: readonly Pulled[]): Promise<readonly StoredName[]> {
    const { send, later = laterByClock } = this.effects;
    const moved: StoredName[] = [];
    const ends: Promise<void>[] = [];
    for (const { name, size, home } of objects) {
      const to = this.place(size);
      if (to === undefined) continue;
      const { promise, resolve } = Promise.withResolvers<boolean>();
      this.moving.set(name, resolve);
      ends.push(promise.then((isMoved) => void (isMoved && moved.push(name))));
      send(home, { t: "copy-move", name, size, to });
    }
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const cancel = later(MOVED_WITHIN_MS, resolve);
    await Promise.race([Promise.all(ends), late]);
    cancel();
    for (const { name } of objects) this.moving.delete(name);
    if (moved.length < objects.length) {
      this.room.clear();
      this.pausedUntilMs = this.effects.nowMs() + PAUSE_MS;
    }
    return moved;
  }

  /** Where there is the most room. */
  private place(size: number): Tag | undefined {
    let best: Tag | undefined;
    let most = size - 1;
    for (const [node, bytes] of this.room) {
      if (bytes <= most) continue;
      best = node;
      most = bytes;
    }
    if (best !== undefined) this.room.set(best, most - size);
    return best;
  }

  /** What the home says. */
  answered(name: StoredName, isMoved: boolean): void {
    this.moving.get(name)?.(isMoved);
    this.moving.delete(name);
  }
}
