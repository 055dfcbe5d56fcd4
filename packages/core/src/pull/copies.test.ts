import { describe, expect, test } from "vitest";
import { type StoredName, storedName } from "../base/ids.ts";
import { createPrng } from "../base/prng.ts";
import type { CopyFrom } from "../wire/cluster-messages.ts";
import { Copies } from "./copies.ts";
import type { Tag } from "./trees.ts";

const A = "aaaaaaaa";
const B = "bbbbbbbb";
const C = "cccccccc";
const D = "dddddddd";
const name = storedName(A, 7);
const other = storedName(A, 8);

function sourceIn({ source, sources, stripe, retry }: CopyFrom): string {
  return ` ${sources ?? source}${stripe === undefined ? "" : ` #${stripe}`}${retry ? " retry" : ""}`;
}

function copiesAt(dead: Tag[] = []) {
  let said: string[] = [];
  const copies = new Copies({
    send: (to, message) => {
      const what = "names" in message ? message.names.join() : message.name;
      const from = message.t === "copy-from" ? sourceIn(message) : "";
      const more = message.t === "copy-moved" && message.isRefused ? " refused" : from;
      said.push(
        `${to[0]} ${message.t} ${what}${more}`
          .replaceAll(name, "x")
          .replaceAll(other, "y")
          .replaceAll(/([a-e])\1{7}/g, "$1"),
      );
    },
    isDead: (node) => dead.includes(node),
    keeper: (besides) => [B, C, D].find((node) => !besides.has(node)),
    mayKeep: (node) => !dead.includes(node),
    findRoom: (isAgain) => void said.push(isAgain ? "find room later" : "find room"),
    gather: () => void said.push("gather"),
  });
  const take = (): string[] => {
    const taken = said;
    said = [];
    return taken;
  };
  /** The maker has said that it is there. */
  const begun = (...askers: Tag[]): void => {
    for (const asker of askers) copies.locate(asker, name);
    copies.checked(name, true);
  };
  return { copies, take, begun };
}

describe("where copies are taken from", () => {
  test("the maker is asked once whether it is there; those who asked meanwhile are answered together", () => {
    const { copies, take } = copiesAt();
    copies.locate(B, name);
    copies.locate(C, name);
    expect(take()).toEqual(["a copy-check x"]);
    copies.checked(name, true);
    expect(take()).toEqual(["b copy-from x a", "c copy-from x b"]);
  });

  test("what was freed at the maker is nowhere, and leaves no record", () => {
    const { copies, take } = copiesAt();
    copies.locate(B, name);
    copies.checked(name, false);
    expect(take()).toEqual(["a copy-check x", "b copy-from x null"]);
    expect(copies.size).toBe(0);
  });

  test("readers form a chain; one that is complete serves the next", () => {
    const { copies, take, begun } = copiesAt();
    begun(B, C, D);
    expect(take().slice(1)).toEqual(["b copy-from x a", "c copy-from x b", "d copy-from x c"]);
    copies.held(B, name, true);
    copies.locate("eeeeeeee", name);
    expect(take()).toEqual(["e copy-from x a"]);
  });

  test("one whose source failed gets another, and never one that gets it from itself", () => {
    const { copies, take, begun } = copiesAt();
    begun(B, C);
    take();
    copies.locate(B, name, { failed: { source: A, isGone: false } });
    expect(take()).toEqual(["b copy-from x null retry"]);
    copies.locate(B, name, { failed: { source: A, isGone: true } });
    expect(take()).toEqual(["b copy-from x null"]);
  });

  test("when the maker dies a whole copy takes its place, and stays", () => {
    const { copies, take, begun } = copiesAt();
    begun(B, C);
    copies.held(B, name, true);
    take();
    copies.nodeDied(A);
    expect(take()).toEqual(["b copy-keep x"]);
    copies.locate(C, name, { failed: { source: A, isGone: false } });
    expect(take()).toEqual(["c copy-from x b"]);
  });

  test("a copy that comes to be when all others are gone is kept", () => {
    const { copies, take, begun } = copiesAt();
    begun(B);
    copies.nodeDied(A);
    take();
    copies.held(B, name, true);
    expect(take()).toEqual(["b copy-keep x"]);
  });
});

describe("in stripes", () => {
  const striped = { stripes: 2 };
  const E = "eeeeeeee";
  const begunWith = (asker: Tag) => {
    const parts = copiesAt();
    parts.copies.locate(asker, name, striped);
    parts.copies.checked(name, true);
    expect(parts.take().slice(1)).toEqual([`${asker[0]} copy-from x a,a`]);
    return parts;
  };

  test("those who come within a moment are placed together, each to pass on another stripe", () => {
    const { copies, take } = begunWith(B);
    for (const asker of [C, D]) copies.locate(asker, name, striped);
    expect(take()).toEqual(["gather"]);
    copies.gathered(name);
    expect(take()).toEqual(["c copy-from x d,b", "d copy-from x b,c"]);
    copies.gathered(name);
    expect(take()).toEqual([]);
  });

  test("nobody waits when one who has all of it has time, or gets it meanwhile", () => {
    const { copies, take } = begunWith(B);
    copies.locate(C, name, striped);
    copies.held(B, name, true);
    expect(take()).toEqual(["gather", "c copy-from x b,a"]);
    copies.locate(D, name, striped);
    expect(take()).toEqual(["d copy-from x a,b"]);
  });

  test("one whose source of a stripe is gone or cannot be reached gets another for that stripe", () => {
    const { copies, take } = begunWith(B);
    for (const asker of [C, D]) copies.locate(asker, name, striped);
    copies.gathered(name);
    take();
    copies.locate(C, name, { ...striped, stripe: 0, failed: { source: D, isGone: false } });
    expect(take()).toEqual(["c copy-from x a #0"]);
    copies.locate(C, name, { ...striped, stripe: 1, failed: { source: B, isGone: true } });
    expect(take()).toEqual(["c copy-from x a #1"]);
  });

  test("those whose source of the last stripe is slow are placed anew, and stay where there is no other", () => {
    const { copies, take } = begunWith(B);
    const slow = { ...striped, stripe: 1, failed: { source: A, isGone: false, isSlow: true } as const };
    copies.locate(B, name, slow);
    copies.gathered(name);
    expect(take()).toEqual(["gather", "b copy-from x a #1"]);
    for (const asker of [C, D]) copies.locate(asker, name, striped);
    copies.gathered(name);
    copies.held(C, name, true);
    take();
    copies.locate(D, name, { ...slow, stripe: 0, failed: { ...slow.failed, source: B } });
    copies.gathered(name);
    expect(take()).toEqual(["gather", "d copy-from x c #0"]);
  });

  test("one that has it all in the meantime is placed no more, and has it", () => {
    const { copies, take } = begunWith(B);
    copies.locate(B, name, { ...striped, stripe: 1, failed: { source: A, isGone: false, isSlow: true } });
    copies.held(B, name, true);
    copies.gathered(name);
    expect(take()).toEqual(["gather"]);
    expect(copies.of(name)).toEqual([
      [A, true],
      [B, true],
    ]);
  });

  test("who waits is forgotten when it dies or gives up, and told when the object is freed", () => {
    const { copies, take } = begunWith(B);
    for (const asker of [C, D, E]) copies.locate(asker, name, striped);
    copies.nodeDied(C);
    copies.held(D, name, false);
    take();
    copies.free([name]);
    expect(take()).toEqual(["e copy-from x null", "a copy-free x", "b copy-free x"]);
    copies.gathered(name);
    expect(take()).toEqual([]);
  });

  test("a node of an older release gets one source for all of it", () => {
    const { copies, take } = begunWith(B);
    copies.locate(C, name);
    expect(take()).toEqual(["c copy-from x b"]);
  });
});

describe("freeing", () => {
  test("reaches the maker, all copies and whoever is getting one", () => {
    const { copies, take, begun } = copiesAt();
    begun(B, C);
    copies.held(B, name, true);
    take();
    copies.free([name]);
    expect(take()).toEqual(["a copy-free x", "b copy-free x", "c copy-free x"]);
    expect(copies.size).toBe(0);
    copies.held(C, name, true);
    expect(take()).toEqual(["c copy-free x"]);
  });

  test("one that was freed while its maker was asked is not copied", () => {
    const { copies, take } = copiesAt();
    copies.locate(B, name);
    copies.free([name]);
    copies.checked(name, true);
    expect(take()).toEqual(["a copy-check x", "b copy-from x null", "a copy-free x"]);
  });
});

/**
 * Nodes that ask, fetch, drop and die at random. A copy can be had as long as a node that lives has one and somebody kept it;
 * in the end everything is freed everywhere.
 */
test("over random lives of nodes, no copy is left behind and none is lost while one is kept", () => {
  for (let seed = 1; seed <= 300; seed++) {
    const prng = createPrng(seed);
    const nodes = [A, B, C, D, "eeeeeeee"];
    const dead = new Set<Tag>();
    const has = new Map<Tag, Set<StoredName>>(nodes.map((node) => [node, new Set<StoredName>()]));
    const kept = new Map<Tag, Set<StoredName>>(nodes.map((node) => [node, new Set<StoredName>()]));
    const sources = new Map<Tag, Tag | null>();
    const fetching = new Map<Tag, Tag>();
    const inbox: (() => void)[] = [];
    let isFreed = false;
    const copies: Copies = new Copies({
      isDead: (node) => dead.has(node),
      keeper: () => undefined,
      mayKeep: () => true,
      findRoom() {},
      gather: (of) => void inbox.push(() => copies.gathered(of)),
      send: (to, message) =>
        void inbox.push(() => {
          if (dead.has(to)) return;
          if (message.t === "copy-check") copies.checked(name, has.get(A)?.has(name) ?? false);
          else if (message.t === "copy-free") {
            has.get(to)?.delete(name);
            fetching.delete(to);
          } else if (message.t === "copy-keep") {
            if (has.get(to)?.has(name)) kept.get(to)?.add(name);
          } else if (message.t === "copy-from") {
            sources.set(to, message.source);
            if (message.source !== null) fetching.set(to, message.source);
            else {
              fetching.delete(to);
              const alive = nodes.some(
                (node) => !dead.has(node) && kept.get(node)?.has(name) && has.get(node)?.has(name),
              );
              if (!isFreed && !message.retry)
                expect(alive && inbox.length === 0, `seed ${seed}: lost while kept`).toBe(false);
            }
          }
        }),
    });
    has.get(A)?.add(name);
    kept.get(A)?.add(name);
    const settle = (): void => {
      for (let next = inbox.shift(); next; next = inbox.shift()) next();
    };
    for (let step = 0; step < 60 && !isFreed; step++) {
      const node = prng.pick(nodes.slice(1)) as Tag;
      const roll = prng.float();
      if (roll < 0.35) {
        if (!dead.has(node) && !has.get(node)?.has(name) && !fetching.has(node))
          copies.locate(node, name, prng.chance(0.5) ? { stripes: 2 } : {});
      } else if (roll < 0.7) {
        const source = fetching.get(node);
        if (source === undefined || dead.has(node)) continue;
        fetching.delete(node);
        if (!dead.has(source) && has.get(source)?.has(name)) {
          has.get(node)?.add(name);
          copies.held(node, name, true);
        } else copies.locate(node, name, { failed: { source, isGone: !dead.has(source) && !fetching.has(source) } });
      } else if (roll < 0.85) {
        if (has.get(node)?.has(name) && !kept.get(node)?.has(name) && !dead.has(node)) {
          has.get(node)?.delete(name);
          copies.held(node, name, false);
        }
      } else if (roll < 0.9) {
        const dying = prng.pick(nodes) as Tag;
        if (dead.size < 3 && !dead.has(dying)) {
          dead.add(dying);
          has.get(dying)?.clear();
          kept.get(dying)?.clear();
          fetching.delete(dying);
          copies.nodeDied(dying);
        }
      } else if (prng.float() < 0.1) {
        isFreed = true;
        copies.free([name]);
      }
      if (prng.float() < 0.7) settle();
    }
    if (!isFreed) copies.free([name]);
    isFreed = true;
    settle();
    for (const [node, source] of fetching) {
      if (dead.has(node)) continue;
      if (has.get(source)?.has(name)) has.get(node)?.add(name);
      copies.held(node, name, has.get(node)?.has(name) ?? false);
    }
    settle();
    for (const node of nodes)
      if (!dead.has(node)) expect(has.get(node)?.has(name), `seed ${seed}: ${node}`).toBe(false);
    expect(copies.size, `seed ${seed}`).toBe(0);
  }
});

describe("a node that ends", () => {
  test("is told when another keeps what it has: one that has it already, or one that is asked to", () => {
    const { copies, take, begun } = copiesAt();
    begun(B);
    copies.held(B, name, true);
    take();
    copies.move(A, name, 9);
    expect(take()).toEqual(["b copy-want x"]);
    copies.held(B, name, true);
    expect(take()).toEqual(["b copy-keep x", "a copy-moved x"]);
    const another = copiesAt([]);
    another.copies.move(A, name, 9);
    expect(another.take()).toEqual(["b copy-want x"]);
    another.begun(B);
    another.take();
    another.copies.held(B, name, true);
    expect(another.take()).toEqual(["b copy-keep x", "a copy-moved x"]);
  });

  test("the next is asked when one does not keep it, or dies; one that was freed is not moved", () => {
    const { copies, take, begun } = copiesAt();
    copies.move(A, name, 9);
    begun(B);
    take();
    copies.held(B, name, false);
    expect(take()).toEqual(["c copy-want x"]);
    copies.nodeDied(C);
    expect(take()).toEqual(["d copy-want x"]);
    copies.free([name]);
    take();
    copies.nodeDied(D);
    expect(take()).toEqual([]);
  });
});

test("what another is letting go of, or had when it died, is moved to a third", () => {
  for (const goes of [
    ({ copies }: ReturnType<typeof copiesAt>) => copies.held(B, name, false),
    ({ copies }: ReturnType<typeof copiesAt>) => copies.nodeDied(B),
  ]) {
    const at = copiesAt();
    at.begun(B);
    at.copies.held(B, name, true);
    at.copies.move(A, name, 9);
    at.take();
    goes(at);
    expect(at.take()).toEqual(["c copy-want x"]);
  }
});

describe("an heir", () => {
  test("says of nothing that it is nowhere before all have said what they have", () => {
    const { copies, take } = copiesAt([A]);
    copies.inheriting();
    for (const asker of [B, C]) copies.locate(asker, name);
    expect(take()).toEqual([]);
    copies.stated(D, [name]);
    expect(take()).toEqual(["d copy-keep x", "b copy-from x d", "c copy-from x b"]);
    copies.locate(D, other);
    copies.allStated();
    expect(take()).toEqual(["d copy-from y null"]);
    expect(copies.of(other)).toEqual([]);
    copies.locate(D, other);
    expect(take()).toEqual(["d copy-from y null"]);
  });

  test("knows who has it when the maker says that it has none any more", () => {
    const { copies, take } = copiesAt();
    copies.inheriting();
    copies.locate(B, name);
    copies.stated(D, [name]);
    copies.checked(name, false);
    expect(take()).toEqual(["a copy-check x", "d copy-keep x", "b copy-from x d"]);
    copies.locate(C, other);
    copies.checked(other, false);
    expect(take()).toEqual(["a copy-check y"]);
    copies.allStated();
    expect(take()).toEqual(["c copy-from y null"]);
  });
});

test("what others keep for a node that dies is named: their owners may not have heard of it", () => {
  const { copies, begun } = copiesAt();
  copies.move(A, name, 9);
  begun(B);
  copies.held(B, name, true);
  copies.locate(B, other);
  copies.checked(other, true);
  copies.held(B, other, true);
  copies.nodeDied(A);
  expect([...copies.movedFrom(A)]).toEqual([name]);
  copies.free([name]);
  expect([...copies.movedFrom(A)]).toEqual([]);
});

describe("a node that is short of room", () => {
  test("has what it made kept by the node that it named, and what is left there is a copy", () => {
    const { copies, take, begun } = copiesAt();
    copies.move(A, name, 9, C);
    begun(C);
    copies.held(C, name, true);
    expect(take()).toEqual(["c copy-want x", "a copy-check x", "c copy-from x a", "c copy-keep x", "a copy-moved x"]);
    copies.held(A, name, false);
    copies.locate(A, name);
    expect(take()).toEqual(["a copy-from x c"]);
    // Its end is nothing to the object now.
    copies.nodeDied(A);
    expect(take()).toEqual([]);
    copies.nodeDied(C);
    expect(copies.size).toBe(0);
  });

  test("keeps what is left there when the other dies before it is gone", () => {
    const { copies, take, begun } = copiesAt();
    copies.move(A, name, 9, C);
    begun(C);
    copies.held(C, name, true);
    take();
    copies.nodeDied(C);
    expect(take()).toEqual(["a copy-keep x"]);
  });

  test("moves nothing when another has a copy: that is kept", () => {
    const { copies, take, begun } = copiesAt();
    begun(B);
    copies.held(B, name, true);
    take();
    copies.move(A, name, 9, C);
    copies.held(B, name, true);
    expect(take()).toEqual(["b copy-want x", "b copy-keep x", "a copy-moved x"]);
  });

  test("is told when the one that it named does not keep it, is dead, or several keep it anyway", () => {
    const dead: Tag[] = [];
    const { copies, take, begun } = copiesAt(dead);
    copies.move(A, name, 9, C);
    begun(C);
    take();
    copies.held(C, name, false);
    expect(take()).toEqual(["a copy-moved x refused"]);
    dead.push(C);
    copies.move(A, name, 9, C);
    expect(take()).toEqual(["a copy-moved x refused"]);
    copies.keepUp(name, 9, 2);
    take();
    copies.move(A, name, 9, B);
    expect(take()).toEqual(["a copy-moved x refused"]);
  });
});
