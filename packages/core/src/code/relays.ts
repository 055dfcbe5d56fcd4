/**
 * Who gives the files of a list to whom. Hundreds of nodes may ask for a program in the same second, and its node has one network card:
 * the first few get them from it, later ones from those that asked before them, so that each gives them to a few.
 */
import type { Tag } from "../pull/mod.ts";
import type { Hash } from "./manifest.ts";

/** To so many nodes each gives. */
const FAN_OUT = 4;
/** Lists for which it is known who asked. */
const LISTS_MAX = 64;

interface Askers {
  /** In which they asked first: the tree of all of them, row by row. */
  readonly order: Tag[];
  readonly known: Set<Tag>;
}

export class Relays {
  private readonly isDead: (node: Tag) => boolean;
  private readonly askers = new Map<Hash, Askers>();

  constructor(isDead: (node: Tag) => boolean) {
    this.isDead = isDead;
  }

  /** Where the node is to get the files of the list; undefined: from the program's node. */
  sourceFor(asker: Tag, list: Hash): Tag | undefined {
    const asked = this.askers.get(list) ?? { order: [], known: new Set() };
    this.askers.delete(list);
    this.askers.set(list, asked);
    for (const oldest of [...this.askers.keys()].slice(0, -LISTS_MAX)) this.askers.delete(oldest);
    // It comes again: it has lost what it had.
    if (asked.known.has(asker)) return undefined;
    asked.known.add(asker);
    const place = asked.order.push(asker) - 1;
    const parent = asked.order[Math.floor(place / FAN_OUT) - 1];
    return parent === undefined || this.isDead(parent) ? undefined : parent;
  }
}
