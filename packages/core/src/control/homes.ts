/**
 * Keys and where they live: every key has one home, where it is decided whether somebody still holds it. For an object that
 * is the node of its owner, or the heir of that node when it is dead; for an actor control.
 */
import { type ActorId, isObjectKey, nodeTagOf, type ObjectKey, objectKeyOwner, type ProcessId } from "../base/mod.ts";
import type { HoldTable } from "./holds.ts";
import { type HeldKey, isActorId } from "./keys.ts";

/** The tag of a node, or {@link CONTROL_HOME}. */
export type Home = string;

/** No node has this tag. */
export const CONTROL_HOME: Home = "00000000";

/** @param actors the home of actors. */
export const homeOf = (key: HeldKey, actors: Home): Home =>
  isObjectKey(key as ObjectKey) ? nodeTagOf(objectKeyOwner(key as ObjectKey)) : actors;

/** As whom a home holds the keys of other homes that its values mention. */
export const holderOf = (home: Home): ProcessId => `${home}${"0".repeat(16)}` as ProcessId;

/** Holds on keys of other homes, as the home here has and gives them; said in the order of what it says to each home. */
export interface HoldsElsewhere {
  /** The process is to hold the key too: it is sent a value that mentions it. */
  grant(key: HeldKey, to: ProcessId): void;
  /** No value here mentions the key any more. */
  release(key: HeldKey, count: number): void;
}

export interface HomeOptions {
  readonly here: Home;
  /** The home of actors. */
  readonly actors: Home;
  readonly elsewhere: HoldsElsewhere;
  /** A home itself, or the one that has inherited its keys. */
  readonly resolve?: (home: Home) => Home;
}

export interface HomeHolds extends HoldTable {
  /** What this home holds of the keys of actors, whose home is elsewhere. */
  actorsMentioned(): (readonly [ActorId, number])[];
  /** The same of objects whose homes were these. */
  objectsMentioned(homes: ReadonlySet<Home>): (readonly [ObjectKey, number])[];
  /** The keys of these homes are this one's from now on. */
  inherited(homes: ReadonlySet<Home>): void;
}

/**
 * A table for the keys whose home is here, in which values may mention keys of other homes: each mention came with a hold
 * there, which {@link holderOf} this home has until no value mentions the key any more.
 */
export function holdsAtHome(
  { here, actors, elsewhere, resolve = (home) => home }: HomeOptions,
  holds: HoldTable,
  /** A process of another node holds it. */
  heldAbroad: (key: ObjectKey) => void,
): HomeHolds {
  /** Keys of other homes: by how many values they are mentioned, and how many holds came for that. */
  const mentions = new Map<HeldKey, { values: number; holds: number }>();
  const isHere = (key: HeldKey): boolean => resolve(homeOf(key, actors)) === here;
  const isOf = (homes: ReadonlySet<Home>, key: HeldKey): key is ObjectKey =>
    !isActorId(key) && homes.has(homeOf(key, actors));

  return {
    ...holds,

    add(key, process, count) {
      if (isHere(key)) {
        holds.add(key, process, count);
        if (count > 0 && nodeTagOf(process) !== here && !isActorId(key)) heldAbroad(key);
      } else for (let given = 0; given < count; given++) elsewhere.grant(key, process);
    },

    pin(key) {
      if (isHere(key)) {
        holds.pin(key);
        return;
      }
      const mention = mentions.get(key);
      if (mention) {
        mention.values++;
        mention.holds++;
      } else mentions.set(key, { values: 1, holds: 1 });
    },

    unpin(key) {
      if (isHere(key)) {
        holds.unpin(key);
        return;
      }
      const mention = mentions.get(key);
      if (!mention || --mention.values > 0) return;
      mentions.delete(key);
      elsewhere.release(key, mention.holds);
    },

    surplusOf(key) {
      const mention = mentions.get(key);
      return mention ? mention.holds - mention.values : 0;
    },

    addSurplus(key, count) {
      const mention = mentions.get(key);
      if (mention) mention.holds += count;
    },

    actorsMentioned() {
      const held: (readonly [ActorId, number])[] = [];
      for (const [key, mention] of mentions) if (isActorId(key)) held.push([key, mention.holds]);
      return held;
    },

    objectsMentioned(homes) {
      const held: (readonly [ObjectKey, number])[] = [];
      for (const [key, mention] of mentions) if (isOf(homes, key)) held.push([key, mention.holds]);
      return held;
    },

    inherited(homes) {
      for (const [key, { values }] of [...mentions]) {
        if (!isOf(homes, key)) continue;
        mentions.delete(key);
        for (let value = 0; value < values; value++) holds.pin(key);
      }
    },

    size: () => holds.size() + mentions.size,
  };
}
