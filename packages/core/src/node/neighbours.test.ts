import { expect, test } from "vitest";
import type { NodeId, ProcessId } from "../base/ids.ts";
import type { BetweenHomes, BetweenNodes, NodeStanding, NodeState } from "../wire/cluster-messages.ts";
import { Neighbours } from "./neighbours.ts";

const tag = (n: number): string => String(n).padStart(8, "0");
const nodeId = (n: number, more = "0"): NodeId => tag(n).padEnd(32, more) as NodeId;
const standing = (n: number, state: NodeState = "alive", more = "0"): NodeStanding => ({
  nodeId: nodeId(n, more),
  name: `n${n}`,
  address: `n${n}:1`,
  state,
});
const message = (n: number): BetweenHomes => ({ t: "processes-gone", processes: [`p${n}` as ProcessId] });
const about = (said: BetweenNodes): string => (said.t === "processes-gone" ? said.processes.join() : said.t);

function setUp() {
  const said: string[] = [];
  const neighbours = new Neighbours(nodeId(1), {
    send: (to, what) => void said.push(`send ${Number(to.slice(0, 8))} ${about(what)}`),
    hear: (from, what) => void said.push(`hear ${Number(from.slice(0, 8))} ${about(what)}`),
    find: (of) => void said.push(`find ${Number(of)}`),
    changed: ({ name, state }) => void said.push(`${name} ${state}`),
    died: (of, node, homes) => {
      const inherited = homes.length > 1 ? ` with ${homes.slice(1).map(Number).join()}` : "";
      said.push(`died ${Number(of)}${node ? "" : " unknown"}${inherited}`);
    },
    heirNamed: (heir) => void said.push(`heir ${Number(heir)}`),
  });
  return { neighbours, take: () => said.splice(0) };
}

test("what comes from a node before control has named it, and what is for it, waits in order", () => {
  const s = setUp();
  s.neighbours.fromNode(nodeId(2), message(1));
  s.neighbours.fromNode(nodeId(2), message(2));
  s.neighbours.toHome(tag(2), message(3));
  expect(s.take()).toEqual(["find 2"]);
  expect(s.neighbours.isDead(tag(2))).toBe(false);
  s.neighbours.heardOf([standing(2)]);
  expect(s.take()).toEqual(["n2 alive", "send 2 p3", "hear 2 p1", "hear 2 p2"]);
  s.neighbours.fromNode(nodeId(2), message(4));
  s.neighbours.toHome(tag(2), message(5));
  expect(s.take()).toEqual(["hear 2 p4", "send 2 p5"]);
});

test("a node that control does not know counts as dead, and nothing that it says counts", () => {
  const s = setUp();
  s.neighbours.fromNode(nodeId(2), message(1));
  s.neighbours.found(tag(2), null);
  s.neighbours.fromNode(nodeId(2), message(2));
  s.neighbours.toHome(tag(2), message(3));
  expect(s.take()).toEqual(["find 2", "died 2 unknown"]);
  expect(s.neighbours.isDead(tag(2))).toBe(true);
});

test("who was known and is not named in a welcome has died meanwhile", () => {
  const s = setUp();
  s.neighbours.welcomed([standing(1), standing(2), standing(3)]);
  s.take();
  s.neighbours.welcomed([standing(1), standing(3)]);
  expect(s.take()).toEqual(["died 2", "n3 alive"]);
  expect(s.neighbours.size).toBe(1);
});

test("who was not known and is not named in a welcome may have joined since it was written: it is asked for again", () => {
  const s = setUp();
  s.neighbours.fromNode(nodeId(4), message(1));
  s.neighbours.fromNode(nodeId(5), message(2));
  s.take();
  s.neighbours.welcomed([standing(1)]);
  expect(s.take()).toEqual(["find 4", "find 5"]);
  s.neighbours.found(tag(4), standing(4));
  s.neighbours.found(tag(5), null);
  expect(s.take()).toEqual(["n4 alive", "hear 4 p1", "died 5 unknown"]);
});

test("a late word of a death does not end another node that has the tag by now", () => {
  const s = setUp();
  s.neighbours.heardOf([standing(2)]);
  s.neighbours.heardOf([standing(2, "dead")]);
  s.neighbours.heardOf([standing(2, "alive", "f")]);
  s.take();
  s.neighbours.heardOf([standing(2, "dead")]);
  expect(s.take()).toEqual([]);
  s.neighbours.fromNode(nodeId(2), message(1));
  expect(s.neighbours.get(tag(2))?.nodeId).toBe(nodeId(2, "f"));
  expect(s.take()).toEqual([]);
});

test("what is for a home that is dead goes to its heir, and on to the heir of that", () => {
  const s = setUp();
  const heir = (n: number) => ({ heir: nodeId(n) });
  s.neighbours.heardOf([standing(2), standing(3), standing(4), { ...standing(1), ...heir(4) }]);
  expect(s.take()).toEqual(["n2 alive", "n3 alive", "n4 alive", "heir 4"]);
  s.neighbours.heardOf([{ ...standing(2, "dead"), ...heir(3) }]);
  s.neighbours.toHome(tag(2), message(1));
  expect(s.take()).toEqual(["died 2", "send 3 for-heir"]);
  s.neighbours.heardOf([{ ...standing(3, "dead"), ...heir(4) }]);
  s.neighbours.toHome(tag(2), message(2));
  s.neighbours.toHome(tag(4), message(3));
  expect(s.take()).toEqual(["died 3 with 2", "send 4 for-heir", "send 4 p3"]);
  expect([2, 3, 4].map((n) => s.neighbours.resolve(tag(n)))).toEqual([tag(4), tag(4), tag(4)]);
  // One that died with its heir has none.
  s.neighbours.heardOf([standing(4, "dead")]);
  s.take();
  s.neighbours.toHome(tag(2), message(4));
  expect(s.take()).toEqual([]);
});

test("a node that joins hears who has inherited what of the dead", () => {
  const s = setUp();
  s.neighbours.welcomed([standing(1), standing(3)], [{ ...standing(2, "dead"), heir: nodeId(3) }]);
  s.take();
  s.neighbours.toHome(tag(2), message(1));
  expect(s.take()).toEqual(["send 3 for-heir"]);
});

test("one that has joined and died while control could not be heard has died for this node too, once; what it had said counts", () => {
  const s = setUp();
  s.neighbours.fromNode(nodeId(2), message(1));
  const dead = [{ ...standing(2, "dead"), heir: nodeId(3) }];
  s.neighbours.welcomed([standing(1), standing(3)], dead);
  expect(s.take()).toEqual(["find 2", "n2 alive", "hear 2 p1", "died 2", "n3 alive"]);
  s.neighbours.welcomed([standing(1), standing(3)], dead);
  expect(s.take()).toEqual(["n3 alive"]);
});

test("an heir that died while control could not be heard has died with all that it had inherited", () => {
  const s = setUp();
  s.neighbours.welcomed([standing(1), standing(2), standing(3), standing(4)]);
  s.neighbours.heardOf([{ ...standing(2, "dead"), heir: nodeId(3) }]);
  s.take();
  s.neighbours.welcomed(
    [standing(1), standing(4)],
    [2, 3].map((n) => ({ ...standing(n, "dead"), heir: nodeId(4) })),
  );
  expect(s.take()).toEqual(["died 3 with 2", "n4 alive"]);
});

test("what is for a node that has the tag of one that is long dead does not go to the heir of that", () => {
  const s = setUp();
  s.neighbours.heardOf([standing(2), standing(3)]);
  s.neighbours.heardOf([{ ...standing(2, "dead"), heir: nodeId(3) }]);
  s.neighbours.heardOf([standing(2, "alive", "f")]);
  s.take();
  s.neighbours.toHome(tag(2), message(1));
  expect(s.take()).toEqual(["send 2 p1"]);
});
