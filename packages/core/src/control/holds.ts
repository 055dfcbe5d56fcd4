/**
 * Who holds what. A process holds a key while the sum of what it was given and what it gave back is positive; a value
 * that mentions a key pins it until the value is dropped.
 *
 * Messages of different processes arrive in any order, so a sum may be negative for a while: given back before the
 * grant arrived. A key is held while *any* process has a positive sum. That is enough, because whoever grants does so
 * before it lets go of its own, on one ordered connection: as long as a grant is under way, its sender (or, if the
 * sender's own grant is still under way, that one's sender, and so on to the owner) is seen with a positive sum. Adding
 * the sums of all processes up would be wrong: an owner's +1 and an early -1 give 0 while the owner still holds.
 */
import { assert, type ProcessId } from "../base/mod.ts";
import type { HeldKey } from "./keys.ts";

interface Entry {
  /** Processes with a positive sum. */
  holders: number;
  /** Processes with a sum that is not 0. */
  known: number;
  /** Values and records that mention it. */
  pins: number;
  /** Waits in `touched`. */
  isTouched: boolean;
}

export interface HoldTable {
  /** Changes what a process holds; `count` may be negative. */
  add(key: HeldKey, process: ProcessId, count: number): void;
  pin(key: HeldKey): void;
  unpin(key: HeldKey): void;
  isHeld(key: HeldKey): boolean;
  /** Something besides this process holds it. */
  isHeldBeside(key: HeldKey, process: ProcessId): boolean;
  /** What one process holds of a key; for explanations and tests. */
  countOf(key: HeldKey, process: ProcessId): number;
  /** For explanations: it looks at all processes. */
  holdersOf(key: HeldKey): { readonly holders: readonly ProcessId[]; readonly pins: number };
  /** Everything the process held is given back. */
  processGone(process: ProcessId): void;
  /** Negative sums of these keys count no more: their grants will never arrive. */
  settleDebts(isOf: (key: HeldKey) => boolean): void;
  /** Drops what is known of a key that nobody holds. */
  forget(key: HeldKey): void;
  /** From now on, what was known of `from` counts for `to`. */
  merge(from: HeldKey, to: HeldKey): void;
  /** Reports each key that lost its last hold since the last call and has none now. To be called after every event. */
  settle(): void;
  size(): number;
  /** Of a key of another home: how many holds came for values that mention it no more, while others do. */
  surplusOf?(key: HeldKey): number;
  /** So many came before this table was made. */
  addSurplus?(key: HeldKey, count: number): void;
}

export function createHolds(unheld: (key: HeldKey) => void): HoldTable {
  const entries = new Map<HeldKey, Entry>();
  const sums = new Map<ProcessId, Map<HeldKey, number>>();
  // A list rather than recursion: a dropped value unpins others, and chains of values can be long.
  const touched: HeldKey[] = [];

  function entryOf(key: HeldKey): Entry {
    let entry = entries.get(key);
    if (entry === undefined) {
      entry = { holders: 0, known: 0, pins: 0, isTouched: false };
      entries.set(key, entry);
    }
    return entry;
  }

  function lost(key: HeldKey, entry: Entry): void {
    if (entry.holders > 0 || entry.pins > 0 || entry.isTouched) return;
    entry.isTouched = true;
    touched.push(key);
  }

  function setSum(key: HeldKey, entry: Entry, mine: Map<HeldKey, number>, before: number, after: number): void {
    if (after === 0) mine.delete(key);
    else mine.set(key, after);
    entry.holders += Number(after > 0) - Number(before > 0);
    entry.known += Number(after !== 0) - Number(before !== 0);
    lost(key, entry);
  }

  return {
    add(key, process, count) {
      let mine = sums.get(process);
      if (mine === undefined) {
        mine = new Map();
        sums.set(process, mine);
      }
      const before = mine.get(key) ?? 0;
      setSum(key, entryOf(key), mine, before, before + count);
    },

    pin(key) {
      entryOf(key).pins++;
    },

    unpin(key) {
      const entry = entries.get(key);
      assert(entry !== undefined && entry.pins > 0, `${key} was unpinned more often than pinned`);
      entry.pins--;
      lost(key, entry);
    },

    isHeld(key) {
      const entry = entries.get(key);
      return entry !== undefined && (entry.holders > 0 || entry.pins > 0);
    },

    isHeldBeside(key, process) {
      const entry = entries.get(key);
      if (entry === undefined) return false;
      const mine = (sums.get(process)?.get(key) ?? 0) > 0 ? 1 : 0;
      return entry.pins > 0 || entry.holders > mine;
    },

    countOf: (key, process) => sums.get(process)?.get(key) ?? 0,

    holdersOf(key) {
      const holders = [...sums].flatMap(([process, mine]) => ((mine.get(key) ?? 0) > 0 ? [process] : []));
      return { holders, pins: entries.get(key)?.pins ?? 0 };
    },

    processGone(process) {
      const mine = sums.get(process);
      if (mine === undefined) return;
      sums.delete(process);
      for (const [key, sum] of mine) {
        const entry = entries.get(key);
        assert(entry !== undefined, `${key} is held by ${process} but unknown`);
        if (sum > 0) entry.holders--;
        entry.known--;
        lost(key, entry);
      }
    },

    settleDebts(isOf) {
      for (const mine of sums.values()) {
        for (const [key, sum] of [...mine]) if (sum < 0 && isOf(key)) setSum(key, entryOf(key), mine, sum, 0);
      }
    },

    forget(key) {
      const entry = entries.get(key);
      if (entry === undefined) return;
      assert(entry.holders === 0 && entry.pins === 0, `${key} is forgotten while held`);
      // Only negative sums are left, and they are rare: their grants died with the process that had to send them.
      if (entry.known > 0) for (const mine of sums.values()) mine.delete(key);
      entries.delete(key);
    },

    merge(from, to) {
      const source = entries.get(from);
      if (source === undefined) return;
      const target = entryOf(to);
      for (const mine of sums.values()) {
        const moved = mine.get(from);
        if (moved === undefined) continue;
        mine.delete(from);
        const before = mine.get(to) ?? 0;
        setSum(to, target, mine, before, before + moved);
      }
      target.pins += source.pins;
      entries.delete(from);
    },

    settle() {
      for (let key = touched.pop(); key !== undefined; key = touched.pop()) {
        const entry = entries.get(key);
        if (entry === undefined) continue;
        entry.isTouched = false;
        if (entry.holders > 0 || entry.pins > 0) continue;
        unheld(key);
        // Nobody asked to keep it and nothing is known of it: no trace stays.
        if (entry.known === 0 && entry.pins === 0) entries.delete(key);
      }
    },

    size: () => entries.size,
  };
}
