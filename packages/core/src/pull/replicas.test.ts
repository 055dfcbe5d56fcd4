import { describe, expect, test } from "vitest";
import { storedName } from "../base/ids.ts";
import { createPrng } from "../base/prng.ts";
import { Copies } from "./copies.ts";
import type { StoreRoom } from "./replicas.ts";
import type { Tag } from "./trees.ts";

const [A, B, C, D, E] = ["a", "b", "c", "d", "e"].map((letter) => letter.repeat(8)) as [Tag, Tag, Tag, Tag, Tag];
const name = storedName(A, 7);
const room = (node: Tag, freeBytes: number, rack?: string): StoreRoom => ({
  node,
  freeBytes,
  capacityBytes: 1_000,
  labels: rack === undefined ? {} : { rack },
});

/** A home on node A. */
function home() {
  let said: string[] = [];
  const made: number[] = [];
  const dead = new Set<Tag>();
  const copies = new Copies({
    send: (to, message) => void said.push(`${to[0]} ${message.t}`),
    isDead: (node) => dead.has(node),
    keeper: () => undefined,
    mayKeep: (node) => !dead.has(node),
    findRoom: (isAgain) => void said.push(isAgain ? "find later" : "find"),
    gather: (of) => copies.gathered(of),
  });
  return {
    ...{ copies, made },
    take(): string[] {
      const taken = said;
      said = [];
      return taken;
    },
    put: (wanted: number) => copies.keepUp(name, 100, wanted, (kept) => made.push(kept)),
    die(node: Tag): void {
      dead.add(node);
      copies.nodeDied(node);
    },
  };
}

describe("an object that several nodes are to keep", () => {
  test("goes to the nodes with the most room; who put it is told when they have it", () => {
    const { copies, take, put, made } = home();
    put(3);
    expect(take()).toEqual(["find"]);
    copies.found([room(A, 1_000), room(B, 50), room(C, 900), room(D, 800)]);
    expect(take()).toEqual(["c copy-want", "d copy-want"]);
    copies.held(C, name, true);
    expect(take()).toEqual(["c copy-keep"]);
    expect(made).toEqual([]);
    copies.held(D, name, true);
    expect(made).toEqual([3]);
    expect(copies.wanted(name)).toBe(3);
  });

  test("goes to another rack than its maker's before one with more room, and to a full node before none", () => {
    const { copies, take, put } = home();
    put(2);
    take();
    copies.found([room(A, 1_000, "one"), room(B, 900, "one"), room(C, 200, "two"), room(D, 800)]);
    expect(take()).toEqual(["c copy-want"]);
    const full = home();
    full.put(2);
    full.take();
    full.copies.found([room(A, 0), room(B, 10), room(C, 20)]);
    expect(full.take()).toEqual(["c copy-want"]);
  });

  test("is kept by a node that has a copy for a reader, before one is made for it, when that says that it keeps it", () => {
    const { copies, take } = home();
    copies.locate(B, name);
    copies.checked(name, true);
    copies.held(B, name, true);
    take();
    const made: number[] = [];
    copies.keepUp(name, 100, 2, (kept) => made.push(kept));
    expect(take()).toEqual(["b copy-want"]);
    expect(made).toEqual([]);
    copies.held(B, name, true);
    expect(take()).toEqual(["b copy-keep"]);
    expect(made).toEqual([2]);
  });

  test("is made elsewhere when the node that had a copy for a reader has just dropped it", () => {
    const { copies, take } = home();
    copies.locate(B, name);
    copies.checked(name, true);
    copies.held(B, name, true);
    const made: number[] = [];
    copies.keepUp(name, 100, 2, (kept) => made.push(kept));
    take();
    copies.held(B, name, false);
    expect(take()).toEqual(["find"]);
    copies.found([room(B, 900), room(C, 800)]);
    expect(take()).toEqual(["c copy-want"]);
    copies.held(C, name, true);
    expect(made).toEqual([2]);
  });

  test("has another copy made when a node dies that kept one, or does not manage to get it", () => {
    const { copies, take, put, die, made } = home();
    put(2);
    copies.found([room(B, 900), room(C, 800), room(D, 700)]);
    take();
    copies.held(B, name, false);
    expect(take()).toEqual(["find"]);
    copies.found([room(B, 900), room(C, 800), room(D, 700)]);
    copies.held(C, name, true);
    expect(take()).toEqual(["c copy-want", "c copy-keep"]);
    expect(made).toEqual([2]);
    die(C);
    expect(take()).toEqual(["find"]);
    copies.found([room(D, 700)]);
    copies.held(D, name, true);
    expect(take()).toEqual(["d copy-want", "d copy-keep"]);
    copies.free([name]);
    expect(take().sort()).toEqual(["a copy-free", "d copy-free"]);
    die(D);
    expect(take()).toEqual([]);
  });

  test("is kept by as many as there are, and by more when they join", () => {
    const { copies, take, put, made } = home();
    put(3);
    copies.found([room(A, 900), room(B, 900)]);
    take();
    copies.held(B, name, true);
    copies.found([room(A, 900), room(B, 900)]);
    expect(take()).toEqual(["b copy-keep", "find", "find later"]);
    expect(made).toEqual([2]);
    copies.nodesChanged();
    copies.found([room(A, 900), room(B, 900), room(C, 900)]);
    copies.held(C, name, true);
    expect(take()).toEqual(["find", "c copy-want", "c copy-keep"]);
    copies.nodesChanged();
    expect(take()).toEqual([]);
    expect(made).toEqual([2]);
  });

  test("a node that ends is let go when as many others keep it", () => {
    const { copies, take, put } = home();
    put(2);
    copies.found([room(B, 900)]);
    copies.held(B, name, true);
    take();
    copies.move(B, name, 100);
    expect(take()).toEqual(["find"]);
    copies.found([room(C, 900)]);
    expect(take()).toEqual(["c copy-want"]);
    copies.held(C, name, true);
    expect(take()).toEqual(["c copy-keep", "b copy-moved"]);
  });

  test("an heir counts what nodes have when all have spoken, and makes up for what is missing", () => {
    const { copies, take } = home();
    const of = storedName(E, 3);
    copies.keepUp(of, 100, 2);
    copies.stated(B, [of]);
    expect(take()).toEqual(["b copy-keep"]);
    copies.claimed((names) => names);
    expect(take()).toEqual(["find"]);
    copies.found([room(A, 900), room(B, 900)]);
    copies.held(A, of, true);
    expect(take()).toEqual(["a copy-want", "a copy-keep"]);
  });
});

test("over random lives of nodes, as many keep it in the end as are wanted and live", () => {
  for (let seed = 1; seed <= 300; seed++) {
    const prng = createPrng(seed);
    const nodes = [A, B, C, D, E];
    const dead = new Set<Tag>();
    const kept = new Set<Tag>([A]);
    const coming = new Set<Tag>();
    const wanted = 2 + Math.floor(prng.float() * 2);
    let isFinding = false;
    let madeTimes = 0;
    const copies: Copies = new Copies({
      send: (to, { t }) => {
        if (dead.has(to)) return;
        if (t === "copy-want") coming.add(to);
        if (t === "copy-free") kept.delete(to);
      },
      isDead: (node) => dead.has(node),
      keeper: () => undefined,
      mayKeep: (node) => !dead.has(node),
      findRoom: () => {
        isFinding = true;
      },
      gather: (of) => copies.gathered(of),
    });
    copies.keepUp(name, 10, wanted, () => madeTimes++);
    const step = (isBad: boolean): boolean => {
      const roll = prng.float();
      const node = prng.pick(nodes) as Tag;
      if (isBad && roll < 0.1 && !dead.has(node) && [...kept].some((other) => other !== node)) {
        dead.add(node);
        kept.delete(node);
        coming.delete(node);
        copies.nodeDied(node);
        return true;
      }
      const arriving = [...coming][0];
      if (arriving !== undefined && roll < 0.6) {
        coming.delete(arriving);
        const isHeld = !isBad || roll < 0.4;
        if (isHeld) kept.add(arriving);
        copies.held(arriving, name, isHeld);
        return true;
      }
      if (!isFinding) return arriving !== undefined;
      isFinding = false;
      copies.found(nodes.filter((each) => !dead.has(each)).map((each) => room(each, 100)));
      return true;
    };
    for (let count = 0; count < 40; count++) step(true);
    // Where more are wanted than live it is looked again for ever.
    for (let count = 0; count < 100; count++) step(false);
    const living = nodes.length - dead.size;
    expect(kept.size, `seed ${seed}: of ${living} nodes`).toBe(Math.min(wanted, living));
    expect(madeTimes, `seed ${seed}`).toBe(1);
    copies.free([name]);
    expect(kept.size, `seed ${seed}`).toBe(0);
    expect(copies.size).toBe(0);
  }
});
