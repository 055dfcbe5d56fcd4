/**
 * Of whom each node takes a copy. Pure.
 *
 * 1. A large object comes in stripes, each by a tree of its own (SplitStream: Castro et al. 2003). A node passes on one stripe only,
 *    to two others, and is a leaf in the tree of the other one: so it gives as much as it takes, however many there are, and
 *    each byte has gone by way of as few nodes as a tree is deep.
 * 2. In trees that grow by one node at a time such a place is only ever at the newest: they would be chains. So those who come
 *    at about the same time are placed together: first each in the tree of its own stripe, where it makes two places,
 *    then as a leaf in the other. One that comes alone takes both stripes of the same source, and two chains are one.
 * 3. What is small begins later than it is sent: it comes whole, and everybody gives it to two others.
 * 4. Where all places are taken, the one is asked that gives the least.
 */

/** The tag of a node. */
export type Tag = string;

/** Parts that are of equal size, and lie one behind the other in the object. */
export const STRIPES = 2;

export interface Holder {
  isComplete: boolean;
  /** It stays until it is freed. */
  isKept: boolean;
  /** Of whom it is getting each stripe, or, if there is one, the whole. */
  readonly sources: (Tag | undefined)[];
  /** What one of its sources gives up for it, as a part of what it can give: {@link STRIPES} is all. */
  readonly weight: number;
  /** The one that it passes on while it comes. */
  readonly stripe: number;
  /** Whom it could not reach, or who was slow. */
  readonly unreachable: Set<Tag>;
}

export type Holders = ReadonlyMap<Tag, Holder>;

/** One who is to be told of whom to take these of its stripes. */
export interface Asker {
  readonly tag: Tag;
  readonly holder: Holder;
  readonly stripes: readonly number[];
}

/** Says in their records of whom they take it. Undefined is left where there is nobody. */
export function place(holders: Holders, askers: readonly Asker[]): void {
  for (const { holder, stripes } of askers) for (const stripe of stripes) holder.sources[stripe] = undefined;
  const trees = new Trees(holders);
  for (const asker of askers) if (asker.stripes.includes(asker.holder.stripe)) trees.attach(asker, asker.holder.stripe);
  for (const asker of askers)
    for (const stripe of asker.stripes) if (stripe !== asker.holder.stripe) trees.attach(asker, stripe);
}

/** Those with all of it could give it to one more. */
export function hasTime(holders: Holders): boolean {
  const given = unitsGiven(holders);
  let units = 0;
  for (const [tag, { isComplete }] of holders) if (isComplete) units += Math.max(0, STRIPES - (given.get(tag) ?? 0));
  return units >= STRIPES;
}

function unitsGiven(holders: Holders): Map<Tag, number> {
  const given = new Map<Tag, number>();
  for (const { sources, weight } of holders.values())
    for (const source of sources) if (source !== undefined) given.set(source, (given.get(source) ?? 0) + weight);
  return given;
}

class Trees {
  private readonly holders: Holders;
  private readonly given: Map<Tag, number>;
  /** Who gives as much is asked no more, unless nobody else is left. */
  private limit = STRIPES;
  private readonly places = new Map<number, Places>();
  /** Stripes of which somebody who is placed now passes on one. */
  private readonly opened = new Set<number>();

  constructor(holders: Holders) {
    this.holders = holders;
    this.given = unitsGiven(holders);
  }

  attach(asker: Asker, stripe: number): void {
    const { holder, tag } = asker;
    const isWhole = holder.sources.length === 1;
    for (;;) {
      const { found, level } = this.placesFor(isWhole ? WHOLE : stripe).next(
        (source) => (this.given.get(source) ?? 0) < this.limit,
        (source) => !holder.unreachable.has(source) && this.isAbove(source, tag, isWhole ? WHOLE : stripe),
      );
      if (found !== undefined) {
        holder.sources[stripe] = found;
        this.given.set(found, (this.given.get(found) ?? 0) + holder.weight);
        if (stripe === holder.stripe) this.open(tag, isWhole ? WHOLE : stripe, level + 1);
        return;
      }
      if (this.limit > Math.max(0, ...this.given.values())) return;
      this.limit++;
      this.places.clear();
    }
  }

  /** The first one makes one place only: the other is for those who come next, who would else begin at the bottom. */
  private open(tag: Tag, stripe: number, level: number): void {
    const places = this.placesFor(stripe);
    const isFirst = !this.opened.has(stripe);
    this.opened.add(stripe);
    places.add(tag, level);
    if (isFirst && stripe !== WHOLE) places.keepOne(tag);
  }

  private placesFor(stripe: number): Places {
    let places = this.places.get(stripe);
    if (places) return places;
    places = new Places();
    this.places.set(stripe, places);
    const able = [...this.holders].flatMap(([tag, holder]) => {
      const given = this.given.get(tag) ?? 0;
      const level = given < this.limit ? this.levelOf(holder, stripe) : undefined;
      return level === undefined ? [] : [{ tag, holder, given, level }];
    });
    able.sort((a, b) => a.given - b.given);
    for (const { tag, holder, level } of able) {
      const isForAll = holder.isComplete || stripe === WHOLE || stripe === holder.stripe;
      places.add(tag, level, !isForAll);
    }
    return places;
  }

  /** By way of how many it gets it of somebody who has all of it; undefined: by nobody yet. */
  private levelOf(holder: Holder, stripe: number): number | undefined {
    // What comes whole comes in order, and the last stripe so late that nobody should wait for it.
    if (stripe !== WHOLE && !holder.isComplete && holder.sources.length === 1) return undefined;
    let level = 0;
    for (const one of stripe === WHOLE ? holder.sources.keys() : [stripe]) {
      const steps = this.stepsUp(holder, one, undefined);
      if (steps === undefined) return undefined;
      level = Math.max(level, steps);
    }
    return level;
  }

  /** It does not get the stripe by way of the other one. */
  private isAbove(tag: Tag, other: Tag, stripe: number): boolean {
    const holder = this.holders.get(tag);
    if (!holder || tag === other) return false;
    const stripes = stripe === WHOLE ? [...holder.sources.keys()] : [stripe];
    return holder.isComplete || stripes.every((one) => this.stepsUp(holder, one, other) !== undefined);
  }

  private stepsUp(holder: Holder, stripe: number, besides: Tag | undefined): number | undefined {
    let steps = 0;
    for (let at: Holder | undefined = holder; at; steps++) {
      if (at.isComplete) return steps;
      const source: Tag | undefined = at.sources[at.sources.length === 1 ? 0 : stripe];
      if (source === undefined || source === besides) return undefined;
      at = this.holders.get(source);
    }
    return undefined;
  }
}

/** All stripes of one source. */
const WHOLE = -1;

/** Who can give a stripe: the ones that are the nearest to a whole copy first, and equals by turns. */
class Places {
  private readonly levels: Tag[][] = [];
  /** Of those whose part it is to pass on another one. */
  private readonly others: Tag[][] = [];
  /** One who becomes such another when he has given it once. */
  private keeping: Tag | undefined;

  add(tag: Tag, level: number, isOther = false): void {
    const levels = isOther ? this.others : this.levels;
    const tags = levels[level];
    if (tags) tags.push(tag);
    else levels[level] = [tag];
  }

  keepOne(tag: Tag): void {
    this.keeping = tag;
  }

  /** @param hasRoom is forgotten where it has not. @param isFit for the one who asks. */
  next(
    hasRoom: (tag: Tag) => boolean,
    isFit: (tag: Tag) => boolean,
  ): { readonly found: Tag | undefined; readonly level: number } {
    for (const levels of [this.levels, this.others]) {
      for (const [level, tags = []] of levels.entries()) {
        for (let index = 0; index < tags.length; index++) {
          const tag = tags[index] as Tag;
          if (!hasRoom(tag)) tags.splice(index--, 1);
          else if (isFit(tag)) {
            tags.splice(index, 1);
            if (tag === this.keeping) {
              this.keeping = undefined;
              this.add(tag, level, true);
            } else tags.push(tag);
            return { found: tag, level };
          }
        }
      }
    }
    return { found: undefined, level: 0 };
  }
}
