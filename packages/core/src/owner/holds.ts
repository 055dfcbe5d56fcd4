/**
 * Refs and actor handles that others own, as this process holds them.
 *
 * The sender of a ref grants the receiver a hold before it lets go of its own. Here are counted the holds that were
 * granted to this process and the uses it makes of them; with the last use, all grants go back at once.
 */
import type { ObjectKey } from "../base/ids.ts";

interface Hold {
  granted: number;
  uses: number;
}

export class HoldTable {
  private readonly holds = new Map<ObjectKey, Hold>();
  /** Ids of actors that getIfExists found under another one. */
  private readonly aliases = new Map<ObjectKey, ObjectKey>();
  private returned: (readonly [ObjectKey, number])[] = [];
  private readonly onFirstUse: (key: ObjectKey) => void;
  private readonly onLastUse: (key: ObjectKey) => void;

  /** The callbacks tell when a key begins and ceases to be used here. */
  constructor(onFirstUse: (key: ObjectKey) => void, onLastUse: (key: ObjectKey) => void) {
    this.onFirstUse = onFirstUse;
    this.onLastUse = onLastUse;
  }

  get size(): number {
    return this.holds.size;
  }

  /** A value with these keys inside arrived: each was granted once, and the value makes one use of each. */
  receive(keys: readonly ObjectKey[]): void {
    for (const key of keys) {
      const hold = this.entry(key);
      hold.granted++;
      hold.uses++;
    }
  }

  use(key: ObjectKey): void {
    this.entry(key).uses++;
  }

  /** From now on, what is said of `from` is meant of `to`; the node counts the same way. */
  alias(from: ObjectKey, to: ObjectKey): void {
    const hold = this.holds.get(from);
    this.aliases.set(from, to);
    if (!hold) return;
    this.holds.delete(from);
    const target = this.entry(to);
    target.granted += hold.granted;
    target.uses += hold.uses;
  }

  private canonical(key: ObjectKey): ObjectKey {
    return this.aliases.size === 0 ? key : (this.aliases.get(key) ?? key);
  }

  isUsed(key: ObjectKey): boolean {
    return this.holds.has(this.canonical(key));
  }

  drop(keys: readonly ObjectKey[]): void {
    for (const name of keys) {
      const key = this.canonical(name);
      const hold = this.holds.get(key);
      if (!hold || --hold.uses > 0) continue;
      this.holds.delete(key);
      if (hold.granted > 0) this.returned.push([key, hold.granted]);
      this.onLastUse(key);
    }
  }

  /** Holds to give back to the node, taken once. */
  takeReturned(): readonly (readonly [ObjectKey, number])[] {
    if (this.returned.length === 0) return NONE;
    const taken = this.returned;
    this.returned = [];
    return taken;
  }

  private entry(name: ObjectKey): Hold {
    const key = this.canonical(name);
    let hold = this.holds.get(key);
    if (!hold) {
      hold = { granted: 0, uses: 0 };
      this.holds.set(key, hold);
      this.onFirstUse(key);
    }
    return hold;
  }
}

const NONE: readonly (readonly [ObjectKey, number])[] = Object.freeze([]);
