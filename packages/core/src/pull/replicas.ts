/**
 * Objects of which several nodes are to keep one, whatever becomes of these nodes. Pure.
 *
 * 1. Nodes that have a copy anyway are asked first to keep it. For what is missing then room is asked for, and nodes are told to bring one.
 * 2. When a node dies that kept one, or is about to end, another takes its place.
 * 3. With fewer nodes than copies there are as many as there can be; it is looked again when nodes join, and now and then.
 */
import type { StoredName } from "../base/ids.ts";
import type { Tag } from "./trees.ts";

/** A node that could keep something. */
export interface StoreRoom {
  readonly node: Tag;
  readonly freeBytes: number;
  readonly capacityBytes: number;
  readonly labels: Readonly<Record<string, string>>;
}

/** What tells machines apart that fail together, the widest first: one that differs is taken before others. */
const DOMAINS = ["zone", "rack"];

export interface ReplicasEffects {
  /** Who has it, whole or not. */
  holders(name: StoredName): ReadonlyMap<Tag, { readonly isComplete: boolean; readonly isKept: boolean }>;
  /** It is one that lives on: not one that ends with its driver. */
  mayKeep(node: Tag): boolean;
  /** It is to get one, or to keep the one that it has, and says so. */
  bring(node: Tag, name: StoredName, size: number): void;
  /** The node that ends has no part in it any more. */
  letGo(node: Tag, name: StoredName): void;
  /** {@link Replicas.found} tells. @param isAgain not at once: nothing was found a moment ago. */
  findRoom(isAgain: boolean): void;
}

/** @param kept fewer than were wanted, when there are not more nodes. */
export type Made = (kept: number) => void;

interface Goal {
  readonly size: number;
  readonly copies: number;
  /** Of whom one is expected. */
  readonly asked: Set<Tag>;
  /** Who did not keep one; they are asked again with the next look. */
  readonly refused: Set<Tag>;
  /** About to end. */
  readonly leaving: Set<Tag>;
  made: Made | undefined;
}

export class Replicas {
  private readonly effects: ReplicasEffects;
  private readonly goals = new Map<StoredName, Goal>();
  /** Those of which more are wanted than are kept or expected. */
  private readonly short = new Set<StoredName>();
  private readonly labels = new Map<Tag, StoreRoom["labels"]>();
  private isFinding = false;

  constructor(effects: ReplicasEffects) {
    this.effects = effects;
  }

  has(name: StoredName): boolean {
    return this.goals.size > 0 && this.goals.has(name);
  }

  /** How many are wanted; for explanations. */
  wanted(name: StoredName): number | undefined {
    return this.goals.get(name)?.copies;
  }

  keepUp(name: StoredName, size: number, copies: number, made?: Made): void {
    this.goals.set(name, { size, copies, asked: new Set(), refused: new Set(), leaving: new Set(), made });
    this.look(name);
  }

  free(name: StoredName): void {
    this.goals.delete(name);
    this.short.delete(name);
  }

  /** The node has one, or gives up getting it. True when it had been asked to. */
  answered(name: StoredName, node: Tag, isHeld: boolean): boolean {
    const goal = this.goals.get(name);
    if (!goal?.asked.delete(node)) return false;
    if (!isHeld) goal.refused.add(node);
    return isHeld;
  }

  /** The node ends before long. */
  leave(name: StoredName, node: Tag): void {
    this.goals.get(name)?.leaving.add(node);
    this.look(name);
  }

  nodeDied(node: Tag): void {
    this.labels.delete(node);
    for (const [name, goal] of this.goals) {
      goal.leaving.delete(node);
      if (goal.asked.delete(node)) this.look(name);
    }
  }

  nodesChanged(): void {
    if (this.short.size > 0) this.find(false);
  }

  /** Who has it has changed. */
  look(name: StoredName): void {
    const goal = this.goals.get(name);
    if (!goal) return;
    const { size, copies, asked } = goal;
    const holders = this.effects.holders(name);
    if (!isThere(holders)) {
      this.short.delete(name);
      return;
    }
    const kept = this.kept(name, goal);
    // They may have dropped theirs a moment ago: they say whether they keep it.
    const having: Tag[] = [];
    for (const [node, { isComplete, isKept }] of holders) {
      if (kept.size + having.length >= copies) break;
      if (!isComplete || isKept || asked.has(node) || goal.leaving.has(node) || !this.effects.mayKeep(node)) continue;
      having.push(node);
    }
    for (const node of having) asked.add(node);
    if (kept.size >= copies) {
      this.short.delete(name);
      this.settle(name, goal, kept.size);
    } else if (kept.size + asked.size < copies) {
      this.short.add(name);
      this.find(false);
    }
    for (const node of having) this.effects.bring(node, name, size);
  }

  private kept(name: StoredName, { leaving }: Goal): Set<Tag> {
    const kept = new Set<Tag>();
    for (const [node, { isComplete, isKept }] of this.effects.holders(name))
      if (isComplete && isKept && !leaving.has(node)) kept.add(node);
    return kept;
  }

  private settle(name: StoredName, goal: Goal, kept: number): void {
    const { made, leaving } = goal;
    goal.made = undefined;
    made?.(kept);
    if (kept > 0) for (const node of leaving) this.effects.letGo(node, name);
  }

  private find(isAgain: boolean): void {
    if (this.isFinding && isAgain) return;
    this.isFinding = true;
    this.effects.findRoom(isAgain);
  }

  /** @param rooms those with the most room first. */
  found(rooms: readonly StoreRoom[]): void {
    this.isFinding = false;
    const free = new Map<Tag, number>();
    for (const { node, labels, freeBytes } of rooms) {
      free.set(node, freeBytes);
      this.labels.set(node, labels);
    }
    for (const name of [...this.short]) this.fill(name, free);
    if (this.short.size > 0) this.find(true);
  }

  private fill(name: StoredName, free: Map<Tag, number>): void {
    const goal = this.goals.get(name);
    const holders = this.effects.holders(name);
    if (!goal || !isThere(holders)) {
      this.short.delete(name);
      return;
    }
    const { size, copies, asked, refused } = goal;
    const kept = this.kept(name, goal);
    while (kept.size + asked.size < copies) {
      const node = this.best(free, size, new Set([...holders.keys(), ...asked, ...refused]), [...kept, ...asked]);
      if (node === undefined) break;
      asked.add(node);
      free.set(node, (free.get(node) ?? 0) - size);
      this.effects.bring(node, name, size);
    }
    refused.clear();
    if (kept.size + asked.size >= copies) this.short.delete(name);
    else if (asked.size === 0) this.settle(name, goal, kept.size);
  }

  /** With room before those without, then the one that has least in common with who has it, then the one with the most room. */
  private best(
    free: ReadonlyMap<Tag, number>,
    size: number,
    besides: ReadonlySet<Tag>,
    having: readonly Tag[],
  ): Tag | undefined {
    let best: Tag | undefined;
    let bestRank: readonly number[] = [];
    for (const [node, bytes] of free) {
      if (besides.has(node) || !this.effects.mayKeep(node)) continue;
      const rank = [
        bytes >= size ? 1 : 0,
        ...DOMAINS.map((label) => (this.isApart(node, having, label) ? 1 : 0)),
        bytes,
      ];
      if (best !== undefined && !isAbove(rank, bestRank)) continue;
      best = node;
      bestRank = rank;
    }
    return best;
  }

  private isApart(node: Tag, having: readonly Tag[], label: string): boolean {
    const value = this.labels.get(node)?.[label];
    return value !== undefined && having.every((other) => this.labels.get(other)?.[label] !== value);
  }
}

/** Else it is lost, or nobody has said yet that he has it. */
export function isThere(holders: ReadonlyMap<Tag, { readonly isComplete: boolean }>): boolean {
  for (const { isComplete } of holders.values()) if (isComplete) return true;
  return false;
}

function isAbove(rank: readonly number[], other: readonly number[]): boolean {
  for (const [index, value] of rank.entries()) {
    const against = other[index] ?? 0;
    if (value !== against) return value > against;
  }
  return false;
}
