import { describe, expect, test } from "vitest";
import { MobulaError, type NodeId, nodeTag } from "../base/mod.ts";
import type { NodeJoin, NodeUse } from "../wire/cluster-messages.ts";
import type { StateChange } from "./kv.ts";
import { createMembers, type MembersEffects, NODE_PREFIX } from "./members.ts";

const nodeId = (n: number): NodeId => n.toString(16).padStart(8, "0").padEnd(32, "0") as NodeId;
const use: NodeUse = {
  available: { cpu: 10_000 },
  storeUsedBytes: 0,
  storeSpilledBytes: 0,
  events: { keptBytes: 0, droppedBatches: 0 },
};
const joining = (id: NodeId, more: Partial<NodeJoin> = {}): NodeJoin => ({
  t: "node-join",
  node: {
    nodeId: id,
    name: `n-${id.slice(6, 8)}`,
    address: null,
    total: { cpu: 10_000 },
    labels: {},
    objectStoreBytes: 1,
  },
  use,
  ...more,
});

function setUp({ epoch = 3, hasHeirs = false } = {}) {
  const said: string[] = [];
  const durable = new Map<string, Uint8Array>();
  const held: { changes: readonly StateChange[]; done: (error: MobulaError | undefined) => void }[] = [];
  let isHolding = false;
  const short = (id: NodeId): string => String(Number.parseInt(id.slice(0, 8), 16));
  const settle = (changes: readonly StateChange[], done: (error: MobulaError | undefined) => void): void => {
    for (const { key, value } of changes) value === null ? durable.delete(key) : durable.set(key, value);
    done(undefined);
  };
  const effects: MembersEffects = {
    send(to, message) {
      if (message.t === "node-drain") {
        said.push(`drain ${short(to)} ${message.deadlineMs}`);
        return;
      }
      if (message.t === "node-found") {
        said.push(`found ${short(to)} ${message.node?.name ?? "none"}`);
        return;
      }
      const nodes = message.nodes
        .map(({ nodeId: id, state, heir }) => `${short(id)}:${state}${heir ? `>${short(heir)}` : ""}`)
        .join(" ");
      said.push(`${message.t === "node-welcome" ? "welcome" : "tell"} ${short(to)} ${nodes}`);
    },
    refuse: (to, { code }) => void said.push(`refuse ${short(to)} ${code}`),
    persist(changes, done) {
      if (isHolding) held.push({ changes, done });
      else settle(changes, done);
    },
    joined: ({ description }) => void said.push(`joined ${short(description.nodeId)}`),
    changed: () => {},
    died: ({ description, ending }) => void said.push(`died ${short(description.nodeId)} ${ending}`),
  };
  const members = createMembers(effects, { epoch, hasHeirs });
  return {
    members,
    durable,
    take: () => said.splice(0),
    hold: () => {
      isHolding = true;
    },
    finish(error?: MobulaError) {
      isHolding = false;
      for (const { changes, done } of held.splice(0)) error ? done(error) : settle(changes, done);
    },
  };
}

describe("joining", () => {
  test("a node is welcomed and told of when it is written down, not before", () => {
    const s = setUp();
    s.members.join(joining(nodeId(1)), 0);
    expect(s.take()).toEqual(["welcome 1 1:alive", "joined 1"]);
    s.hold();
    s.members.join(joining(nodeId(2)), 0);
    expect(s.take()).toEqual([]);
    s.finish();
    expect(s.take()).toEqual(["welcome 2 1:alive 2:alive", "tell 1 2:alive", "joined 2"]);
    expect([...s.durable.keys()]).toEqual([NODE_PREFIX + nodeId(1), NODE_PREFIX + nodeId(2)]);
  });

  test("a node that cannot be written down is refused, and may try again", () => {
    const s = setUp();
    s.hold();
    s.members.join(joining(nodeId(1)), 0);
    s.finish(new MobulaError("DISK_FULL", "exhausted", "no room"));
    expect(s.take()).toEqual(["refuse 1 DISK_FULL"]);
    s.members.join(joining(nodeId(1)), 0);
    expect(s.take()).toEqual(["welcome 1 1:alive", "joined 1"]);
  });

  test("two nodes do not have the same tag, unless the first is dead", () => {
    const s = setUp();
    const twin = `${nodeId(1).slice(0, 8)}${"f".repeat(24)}` as NodeId;
    s.members.join(joining(nodeId(1)), 0);
    s.take();
    s.members.join(joining(twin), 0);
    expect(s.take()).toEqual(["refuse 1 NODE_TAG_TAKEN"]);
    s.members.left(nodeId(1), 0);
    s.take();
    s.members.join(joining(twin), 0);
    expect(s.take()).toEqual(["welcome 1 1:alive", "joined 1"]);
  });

  test("who says it again, after its connection broke, is welcomed again", () => {
    const s = setUp();
    s.members.join(joining(nodeId(1)), 0);
    s.take();
    s.members.join(joining(nodeId(1), { memberSince: 3 }), 1_000);
    expect(s.take()).toEqual(["welcome 1 1:alive"]);
  });

  test("a node is found by its tag while it lives, and once it is written down", () => {
    const s = setUp();
    s.members.join(joining(nodeId(1)), 0);
    s.hold();
    s.members.join(joining(nodeId(2)), 0);
    s.take();
    const find = (n: number): string[] => {
      s.members.find(nodeId(1), nodeId(n).slice(0, 8));
      return s.take();
    };
    expect(find(2)).toEqual(["found 1 none"]);
    s.finish();
    s.take();
    expect(find(2)).toEqual(["found 1 n-02"]);
    s.members.left(nodeId(2), 0);
    s.take();
    expect(find(2)).toEqual(["found 1 none"]);
  });

  test("who says that it was a member and is not known here is refused: its work may have been given up", () => {
    const s = setUp();
    s.members.join(joining(nodeId(1), { memberSince: 2 }), 0);
    expect(s.take()).toEqual(["refuse 1 NODE_DEAD"]);
  });
});

describe("heirs", () => {
  const join = (s: ReturnType<typeof setUp>, n: number, address: string | null = `n${n}:1`): void =>
    s.members.join({ ...joining(nodeId(n)), node: { ...joining(nodeId(n)).node, address } }, 0);

  test("each node has one that others can dial, and all hear of it", () => {
    const s = setUp({ hasHeirs: true });
    join(s, 1);
    join(s, 2, null);
    expect(s.take()).toContain("tell 2 2:alive>1");
    join(s, 3);
    expect(s.take().filter((said) => said.includes(">"))).toEqual([
      "welcome 3 1:alive 2:alive>1 3:alive",
      "tell 1 1:alive>3",
      "tell 2 1:alive>3",
      "tell 3 1:alive>3",
      "tell 1 3:alive>1",
      "tell 2 3:alive>1",
      "tell 3 3:alive>1",
    ]);
  });

  test("the dead are told of with their heirs, which pass on what they had inherited", () => {
    const s = setUp({ hasHeirs: true });
    for (const n of [1, 2, 3, 4]) join(s, n);
    s.take();
    // One was the first, and the only one that the second could have.
    s.members.left(nodeId(2), 0);
    expect(s.take()).toContain("tell 1 2:dead>1");
    s.members.left(nodeId(1), 0);
    expect(s.take().filter((said) => /^tell 3 1:dead>[34]$/.test(said))).toHaveLength(1);
    const again = setUp({ hasHeirs: true, epoch: 4 });
    again.members.restore(
      [...s.durable].map(([key, value]) => ({ key, value })),
      0,
    );
    const heirs = [...again.members.all()].filter(({ state }) => state === "dead").map(({ heir }) => heir);
    expect(new Set(heirs).size).toBe(1);
    expect([nodeId(3), nodeId(4)]).toContain(heirs[0]);
  });

  test("one whose heir is dead before it, and not said to be yet, gets another, for who was its heir before may have something", () => {
    const s = setUp({ hasHeirs: true });
    for (const n of [1, 2, 3]) join(s, n);
    const again = setUp({ hasHeirs: true, epoch: 4 });
    again.members.restore(
      [...s.durable].map(([key, value]) => ({ key, value })),
      0,
    );
    expect(again.members.get(nodeId(3))?.heir).toBe(nodeId(1));
    again.hold();
    for (let now = 0; now <= 4_000; now += 250) {
      again.members.report(nodeId(2), use, now);
      again.members.tick(now);
    }
    again.take();
    again.finish();
    expect(again.take().filter((said) => said.includes("dead>"))).toEqual(["tell 2 1:dead>2", "tell 2 3:dead>2"]);
  });

  test("one that has something of a dead node keeps it from being forgotten", () => {
    const s = setUp({ hasHeirs: true });
    for (const n of [1, 2]) join(s, n);
    s.members.left(nodeId(2), 0);
    const report = (now: number, inherited: string[]): void => {
      s.members.report(nodeId(1), { ...use, inherited }, now);
      s.members.tick(now);
    };
    for (let now = 0; now <= 15 * 60_000; now += 500) report(now, [nodeId(2).slice(0, 8)]);
    expect(s.members.get(nodeId(2))?.state).toBe("dead");
    // What is for objects of the one would go to the other.
    const alike = joining(`${nodeId(2).slice(0, 8)}ff`.padEnd(32, "0") as NodeId);
    s.take();
    s.members.join(alike, 15 * 60_000);
    expect(s.take()).toEqual(["refuse 2 NODE_TAG_TAKEN"]);
    report(15 * 60_000 + 500, []);
    expect(s.members.get(nodeId(2))).toBeUndefined();
    s.members.join(alike, 15 * 60_000 + 500);
    expect(s.take()).toContain("welcome 2 1:alive 2:alive");
  });
});

describe("dying", () => {
  const silent = (s: ReturnType<typeof setUp>, fromMs: number, toMs: number): void => {
    for (let now = fromMs; now <= toMs; now += 250) {
      s.members.report(nodeId(2), use, now);
      s.members.tick(now);
    }
  };

  test("silence is suspicious after 2 s and death after 4 s, which is written down before it is said", () => {
    const s = setUp();
    s.members.join(joining(nodeId(1)), 0);
    s.members.join(joining(nodeId(2)), 0);
    s.take();
    silent(s, 0, 1_750);
    expect(s.members.get(nodeId(1))?.isSuspected).toBe(false);
    silent(s, 2_000, 3_750);
    expect(s.members.get(nodeId(1))?.isSuspected).toBe(true);
    expect(s.take()).toEqual([]);
    s.hold();
    silent(s, 4_000, 4_000);
    expect(s.members.get(nodeId(1))?.state).toBe("dead");
    expect(s.take()).toEqual([]);
    s.finish();
    expect(s.take()).toEqual(["tell 2 1:dead", "died 1 nothing was heard of it for 4.0 s"]);
  });

  test("a death that cannot be written down is not told, nor forgotten, and is written as soon as that is possible", () => {
    const s = setUp();
    s.members.join(joining(nodeId(1)), 0);
    s.members.join(joining(nodeId(2)), 0);
    silent(s, 0, 3_750);
    s.take();
    const full = new MobulaError("DISK_FULL", "exhausted", "no room");
    for (const now of [4_000, 4_250]) {
      s.hold();
      silent(s, now, now);
      s.finish(full);
    }
    s.members.join(joining(nodeId(1), { memberSince: 3 }), 4_300);
    expect(s.take()).toEqual(["refuse 1 NODE_DEAD"]);
    // Nor does anybody hear of it who joins, or who asks: the next control would let the node in again.
    s.members.join(joining(nodeId(2), { memberSince: 3 }), 4_300);
    expect(s.take()).toContain("welcome 2 1:alive 2:alive");
    s.members.find(nodeId(2), nodeTag(nodeId(1)));
    expect(s.take()).toEqual(["found 2 n-01"]);
    const likeIt = `${nodeTag(nodeId(1))}${"f".repeat(24)}` as NodeId;
    s.members.join(joining(likeIt), 4_300);
    expect(s.take()).toEqual([`refuse 1 NODE_TAG_TAKEN`]);
    silent(s, 4_500, 4_500);
    expect(s.take()).toEqual(["tell 2 1:dead", "died 1 nothing was heard of it for 4.0 s"]);
    silent(s, 4_750, 4_750);
    expect(s.take()).toEqual([]);
  });

  test("a word in time clears the suspicion", () => {
    const s = setUp();
    s.members.join(joining(nodeId(1)), 0);
    s.members.join(joining(nodeId(2)), 0);
    silent(s, 0, 3_750);
    s.members.report(nodeId(1), use, 3_900);
    silent(s, 4_000, 5_750);
    expect(s.members.get(nodeId(1))).toMatchObject({ state: "alive", isSuspected: false });
  });

  test("a node that was given up is refused when it comes back, and what it reports counts no more", () => {
    const s = setUp();
    s.members.join(joining(nodeId(1)), 0);
    s.members.join(joining(nodeId(2)), 0);
    silent(s, 0, 4_000);
    s.take();
    s.members.report(nodeId(1), use, 4_100);
    s.members.join(joining(nodeId(1), { memberSince: 3 }), 4_200);
    expect(s.take()).toEqual(["refuse 1 NODE_DEAD"]);
    expect(s.members.get(nodeId(1))?.state).toBe("dead");
  });

  test("nor does one that was stopped right after it began", () => {
    const before = setUp();
    before.members.join(joining(nodeId(1)), 0);
    const s = setUp({ epoch: 4 });
    s.members.restore(
      [...before.durable].map(([key, value]) => ({ key, value })),
      0,
    );
    s.members.tick(60_000);
    expect(s.members.get(nodeId(1))?.state).toBe("alive");
  });

  test("who was stopped itself gives nobody up for what it did not hear", () => {
    const s = setUp();
    s.members.join(joining(nodeId(1)), 0);
    s.take();
    s.members.tick(60_000);
    for (let now = 60_250; now < 64_000; now += 250) s.members.tick(now);
    expect(s.take()).toEqual([]);
    s.members.tick(64_000);
    expect(s.take()).toEqual(["died 1 nothing was heard of it for 4.0 s"]);
  });

  test("an orderly leave is a death at once; a second one changes nothing", () => {
    const s = setUp();
    s.members.join(joining(nodeId(1)), 0);
    s.members.join(joining(nodeId(2)), 0);
    s.take();
    s.members.left(nodeId(1), 10);
    s.members.left(nodeId(1), 10);
    expect(s.take()).toEqual(["tell 2 1:dead", "died 1 it has left"]);
  });

  test("the dead are listed for ten minutes, then forgotten", () => {
    const s = setUp();
    s.members.join(joining(nodeId(1)), 0);
    s.members.left(nodeId(1), 0);
    s.members.tick(599_999);
    expect([...s.members.all()].map(({ state }) => state)).toEqual(["dead"]);
    s.members.tick(600_000);
    expect([...s.members.all()]).toEqual([]);
    expect(s.durable.size).toBe(0);
  });
});

test("a control that begins anew knows all nodes, and waits a whole suspicion time for each", () => {
  const before = setUp();
  for (const n of [1, 2, 3]) before.members.join(joining(nodeId(n)), 0);
  before.members.drain(nodeId(2), 5_000);
  before.members.left(nodeId(3), 0);
  const after = setUp({ epoch: 4 });
  after.members.restore(
    [...before.durable].map(([key, value]) => ({ key, value })),
    100_000,
  );
  expect([...after.members.all()].map(({ state }) => state)).toEqual(["alive", "draining", "dead"]);
  for (let now = 100_000; now < 104_000; now += 250) after.members.tick(now);
  expect(after.take()).toEqual([]);
  after.members.join(joining(nodeId(1), { memberSince: 3 }), 103_900);
  expect(after.take()).toEqual(["welcome 1 1:alive 2:draining", "tell 2 1:alive"]);
  after.members.tick(104_000);
  expect(after.take()).toEqual(["tell 1 2:dead", "died 2 nothing was heard of it for 4.0 s"]);
  after.members.join(joining(nodeId(3), { memberSince: 3 }), 104_000);
  expect(after.take()).toEqual(["refuse 3 NODE_DEAD"]);
});

test("a node is drained: it and the others are told, it hears it again when it joins again, and its end is said to be that", () => {
  const s = setUp();
  for (const n of [1, 2]) s.members.join(joining(nodeId(n)), 0);
  s.take();
  s.members.drain(nodeId(2), 9_000);
  expect(s.take()).toEqual(["drain 2 9000", "tell 1 2:draining"]);
  const after = setUp({ epoch: 4 });
  after.members.restore(
    [...s.durable].map(([key, value]) => ({ key, value })),
    0,
  );
  after.members.join(joining(nodeId(2), { memberSince: 3 }), 1);
  expect(after.take()).toEqual(["welcome 2 1:alive 2:draining", "drain 2 9000", "tell 1 2:draining"]);
  after.members.left(nodeId(2), 2);
  expect(after.take()).toEqual(["tell 1 2:dead", "died 2 it was drained"]);
});
