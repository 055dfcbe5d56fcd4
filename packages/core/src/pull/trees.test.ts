import { describe, expect, test } from "vitest";
import { createPrng } from "../base/prng.ts";
import { type Asker, type Holder, place, STRIPES, type Tag } from "./trees.ts";

const newHolder = (parts: Partial<Holder> & Pick<Holder, "sources">): Holder => ({
  ...{ isComplete: false, isKept: false, weight: 1, stripe: 0, unreachable: new Set<Tag>() },
  ...parts,
});

/** Nodes that ask, one of which has it. */
class Nodes {
  readonly holders = new Map<Tag, Holder>([["maker", newHolder({ isComplete: true, sources: [] })]]);
  private made = 0;

  reader(kind: "striped" | "small" | "old" = "striped"): Asker {
    const number = this.made++;
    const sources: (Tag | undefined)[] = new Array(kind === "striped" ? STRIPES : 1).fill(undefined);
    const stripe = kind === "striped" ? number % STRIPES : 0;
    const holder = newHolder({ sources, stripe, weight: kind === "old" ? STRIPES : 1 });
    return { tag: `n${number}`, holder, stripes: [...sources.keys()] };
  }

  ask(askers: readonly Asker[]): void {
    for (const { tag, holder } of askers) this.holders.set(tag, holder);
    place(this.holders, askers);
  }

  join(count: number, kind?: Parameters<Nodes["reader"]>[0]): readonly Asker[] {
    const askers = Array.from({ length: count }, () => this.reader(kind));
    this.ask(askers);
    return askers;
  }

  /** Steps up to who has all of it. */
  level(tag: Tag, stripe: number): number {
    let level = 0;
    for (let at = this.holders.get(tag); at && !at.isComplete; level++) {
      if (level > this.holders.size) throw new Error("they give it to each other in a circle");
      const source = at.sources[at.sources.length === 1 ? 0 : stripe];
      at = source === undefined ? undefined : this.holders.get(source);
      if (!at) throw new Error(`${tag} gets it of nobody`);
    }
    return level;
  }

  get depth(): number {
    return Math.max(
      ...[...this.holders].flatMap(([tag, { sources }]) => [...sources.keys()].map((each) => this.level(tag, each))),
    );
  }

  /** What each gives of each stripe. */
  get given(): Map<Tag, number[]> {
    const given = new Map<Tag, number[]>();
    for (const { sources, weight } of this.holders.values()) {
      for (const [stripe, source] of sources.entries()) {
        if (source === undefined) continue;
        const units = given.get(source) ?? new Array(STRIPES).fill(0);
        units[stripe] += weight;
        given.set(source, units);
      }
    }
    return given;
  }

  get mostGiven(): number {
    return Math.max(...[...this.given.values()].map((units) => units.reduce((a, b) => a + b, 0)));
  }
}

describe("an object in stripes", () => {
  test("goes to a thousand that ask together by low trees, in which nobody gives more than he takes, nor more than one stripe", () => {
    const nodes = new Nodes();
    nodes.join(1_000);
    expect(nodes.mostGiven).toBe(STRIPES);
    expect(nodes.depth).toBeLessThanOrEqual(12);
    const ofBoth = [...nodes.given].filter(([tag, units]) => tag !== "maker" && !units.includes(0));
    expect(ofBoth).toEqual([]);
  });

  test("goes through a chain to those who come one by one", () => {
    const nodes = new Nodes();
    for (let index = 0; index < 4; index++) nodes.join(1);
    for (const [index, source] of ["maker", "n0", "n1", "n2"].entries())
      expect(nodes.holders.get(`n${index}`)?.sources).toEqual([source, source]);
  });

  test("goes by trees that grow by little with each group, however large that is", () => {
    const nodes = new Nodes();
    for (let group = 0; group < 40; group++) nodes.join(25);
    expect(nodes.mostGiven).toBe(STRIPES);
    expect(nodes.depth).toBeLessThan(40 * 2);
  });

  test("is taken of those who have all of it first, by turns", () => {
    const nodes = new Nodes();
    nodes.holders.set("other", newHolder({ isComplete: true, sources: [] }));
    nodes.join(1);
    expect(nodes.holders.get("n0")?.sources.toSorted()).toEqual(["maker", "other"]);
  });

  test("is taken of somebody who gives enough already, where nobody else has it", () => {
    const nodes = new Nodes();
    const [first] = nodes.join(1);
    first?.holder.unreachable.add("maker");
    const last = nodes.reader();
    last.holder.unreachable.add("n0");
    nodes.ask([last]);
    expect(last.holder.sources).toEqual(["maker", "maker"]);
    expect(nodes.mostGiven).toBe(2 * STRIPES);
    const nowhere = nodes.reader();
    for (const tag of nodes.holders.keys()) nowhere.holder.unreachable.add(tag);
    nodes.ask([nowhere]);
    expect(nowhere.holder.sources).toEqual([undefined, undefined]);
  });

  test("is not taken of who has to get it by way of the asker", () => {
    const nodes = new Nodes();
    const [first] = nodes.join(1);
    nodes.join(6);
    if (!first) throw new Error("one has asked");
    first.holder.unreachable.add("maker");
    nodes.ask([{ ...first, stripes: [0] }]);
    expect(first.holder.sources).toEqual([undefined, "maker"]);
  });
});

test("what is small comes whole, and each gives it to two others", () => {
  const nodes = new Nodes();
  for (let index = 0; index < 500; index++) nodes.join(1, "small");
  expect(nodes.mostGiven).toBe(2);
  expect(nodes.depth).toBeLessThanOrEqual(9);
});

test("nodes of an older release take large objects whole, and nobody waits for a stripe of theirs", () => {
  const nodes = new Nodes();
  for (let index = 0; index < 3; index++) nodes.join(1, "old");
  expect(nodes.depth).toBe(3);
  nodes.join(5);
  for (const [tag, { sources }] of nodes.holders)
    if (sources.length > 1) for (const source of sources) expect(["n0", "n1", "n2"], tag).not.toContain(source);
});

test("over random lives, everybody who can get it does, in no circle", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const prng = createPrng(seed);
    const nodes = new Nodes();
    const { holders } = nodes;
    for (let step = 0; step < 40; step++) {
      const tag = prng.pick([...holders.keys()].slice(1)) ?? "";
      const holder = holders.get(tag);
      const roll = prng.float();
      if (roll < 0.5) nodes.join(prng.between(1, 8), prng.chance(0.2) ? prng.pick(["small", "old"]) : "striped");
      else if (holder && roll < 0.7) holders.set(tag, newHolder({ isComplete: true, sources: [] }));
      else if (holder) {
        // It dies, and those whom it gave it to ask again.
        holders.delete(tag);
        const orphans = [...holders].flatMap(([other, one]) =>
          [...one.sources.keys()].flatMap((stripe) =>
            one.sources[stripe] === tag ? [{ tag: other, holder: one, stripes: [stripe] }] : [],
          ),
        );
        for (const orphan of orphans) nodes.ask([orphan]);
      }
      expect(nodes.depth, `seed ${seed}`).toBeLessThan(holders.size);
    }
  }
});
