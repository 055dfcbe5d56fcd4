import { expect, test } from "vitest";
import { type ActorId, MobulaError, type ObjectKey, type ProcessId } from "../base/mod.ts";
import type { StatedActor, StatedWorker } from "../wire/cluster-messages.ts";
import type { ActorOptionsRecord, ActorSpec, ActorState } from "../wire/messages.ts";
import {
  actorId,
  addressOf,
  createHarness,
  deathOf,
  type Harness,
  keyOf,
  optionsOf,
  processId,
  specOf,
  workerId,
} from "./testing.ts";

const A = actorId(1);
const B = actorId(2);
const D = processId("d");
const C = processId("c");

type World = ReturnType<typeof worldOf>;
function worldOf(harness: Harness) {
  const { control } = harness;
  return Object.assign(harness, {
    create: (id: ActorId, options: Partial<ActorOptionsRecord> = {}, spec: Partial<ActorSpec> = {}, from = D) =>
      control.handle(from, { t: "actor-create", actorId: id, options: optionsOf(options), spec: specOf(spec) }),
    made: (n: number, id: ActorId, incarnation = 0) =>
      control.handle(processId(`a${n}`), { t: "actor-created", actorId: id, incarnation }),
    holds: (from: ProcessId, holds: readonly (readonly [ActorId, number])[], subscribed: readonly ActorId[] = []) =>
      control.handle(from, { t: "actor-holds", holds, subscribed }),
    release: (from: ProcessId, id: ActorId, count = 1) =>
      control.handle(from, { t: "hold-release", holds: [[id as string as ObjectKey, count]] }),
    states: (to: ProcessId = D) =>
      harness
        .takeSent(to)
        .filter((message): message is ActorState => message.t === "actor-state")
        .map(({ actorId: id, state, incarnation }) => [id, state, incarnation] as const),
    stopped: () => harness.takeSent().filter(({ t }) => t === "actor-stop").length,
    state: (
      workers: readonly StatedWorker[],
      processes: readonly ProcessId[] = [],
      retired: readonly ProcessId[] = [],
    ) => control.stated({ workers, processes, retired }),
  });
}

/** The control of a cluster, whose driver D has a job. */
function begin(): World {
  const s = worldOf(createHarness({ epoch: 1 }));
  s.driver("d");
  return s;
}

/** It is killed, and another one reads what is written down; D is still there. */
function restart(before: World, processes: readonly string[] = ["d"]): World {
  const entries = new Map<string, Uint8Array>();
  for (const { key, value } of before.persisted) {
    if (value === null) entries.delete(key);
    else entries.set(key, value);
  }
  const s = worldOf(createHarness({ epoch: 2 }));
  s.control.recover([...entries].map(([key, value]) => ({ key, value })));
  for (const name of processes)
    if (name === "d") s.driver("d");
    else s.join(name);
  s.takeSent();
  return s;
}

const hosting = (n: number, actors: readonly StatedActor[], requestId = 1): StatedWorker => ({
  worker: addressOf(n),
  requestId,
  actors,
});
const living = (id: ActorId, n: number): StatedWorker =>
  hosting(n, [{ actorId: id, incarnation: 0, gpus: [], said: { t: "actor-created", actorId: id, incarnation: 0 } }]);

function alive(s: World, id: ActorId, n: number, options: Partial<ActorOptionsRecord> = {}): void {
  s.create(id, options);
  s.ready(s.takeRequests()[0], n);
  s.made(n, id);
  s.takeSent();
}

test("an actor that a node has goes on: nothing is asked for, and who has subscribed hears that it lives", () => {
  const before = begin();
  alive(before, A, 1, { name: "visits" });
  const s = restart(before);
  s.holds(D, [[A, 1]], [A]);
  // Its calls may be under way, and any other word would end them.
  expect(s.states()).toEqual([]);
  expect(s.state([living(A, 1)], [D])).toEqual([]);
  s.control.allStated(false);
  expect(s.states()).toEqual([[A, "alive", 0]]);
  expect(s.takeRequests()).toEqual([]);
  s.control.query(D, { t: "query", id: 1, method: "get-actor", params: { name: "visits", namespace: "main" } });
  expect(s.takeSent(D)).toMatchObject([{ t: "answer", result: { actorId: A } }]);
  // The name is taken still.
  s.create(B, { name: "visits" });
  expect(s.states()).toEqual([[B, "dead", 0]]);
});

test("what became of it meanwhile becomes of it now, and its node hears when that is written down", () => {
  const before = begin();
  alive(before, A, 1, { maxRestarts: 1 });
  alive(before, B, 2);
  const s = restart(before);
  s.holds(
    D,
    [
      [A, 1],
      [B, 1],
    ],
    [A, B],
  );
  const exited = { t: "actor-exited", actorId: B, incarnation: 0, reason: "it called exitActor()" } as const;
  s.state(
    [{ ...living(A, 1), death: deathOf(1) }, hosting(2, [{ actorId: B, incarnation: 0, gpus: [], said: exited }], 2)],
    [D],
  );
  expect(s.states()).toEqual([
    [A, "alive", 0],
    [A, "restarting", 1],
    [B, "dead", 0],
  ]);
  expect(s.settled).toEqual([
    [A, 0],
    [B, 0],
  ]);
  expect(s.takeRequests()).toHaveLength(1);
});

test("one that no node has was never made, and is; if a node has died, it is made again, if it may", () => {
  const before = begin();
  alive(before, A, 1, { maxRestarts: 0 });
  for (const [haveDied, requests, states] of [
    [false, 1, []],
    [true, 0, [[A, "dead", 0]]],
  ] as const) {
    const s = restart(before);
    s.holds(D, [[A, 1]], [A]);
    s.state([], [D]);
    expect(s.takeRequests()).toEqual([]);
    s.control.allStated(haveDied);
    expect(s.takeRequests()).toHaveLength(requests);
    expect(s.states()).toEqual(states);
  }
});

test("nobody's last hold is concluded before all have said twice what they hold", () => {
  const before = begin();
  alive(before, A, 1);
  before.join("c");
  before.control.handle(D, { t: "hold-grant", to: C, keys: [A as string as ObjectKey] });
  before.release(D, A);
  const s = restart(before, ["d", "c"]);
  s.state([living(A, 1)], [D, C]);
  s.control.allStated(false);
  s.holds(D, []);
  s.holds(D, []);
  // Its handle was under way to C when that said for the first time what it has.
  s.holds(C, []);
  s.control.tick();
  expect(s.stopped()).toBe(0);
  s.holds(C, [[A, 1]]);
  s.control.tick();
  expect(s.stopped()).toBe(0);
  s.release(C, A);
  expect(s.stopped()).toBe(1);
});

test("what nobody holds any more ends once that is known, and what is given back twice counts once", () => {
  const before = begin();
  alive(before, A, 1);
  alive(before, B, 2);
  const s = restart(before, ["d", "c"]);
  s.state([living(A, 1), living(B, 2)], [D, C]);
  s.control.allStated(false);
  // Granted by the old control's books only.
  s.release(C, B, 3);
  for (let time = 0; time < 2; time++) {
    s.holds(D, [[B, 1]]);
    s.holds(C, []);
  }
  s.takeSent();
  s.control.tick();
  expect(s.takeSent().filter(({ t }) => t === "actor-stop")).toMatchObject([{ actorId: A, reason: "out-of-scope" }]);
  s.control.handle(D, { t: "hold-grant", to: C, keys: [B as string as ObjectKey] });
  s.release(D, B);
  expect(s.stopped()).toBe(0);
});

test("an actor ends when its creator has ended meanwhile, unless that had nothing to do any more", () => {
  const before = begin();
  before.join("c");
  alive(before, B, 2, {});
  before.create(A, {}, {}, C);
  before.ready(before.takeRequests()[0], 1);
  before.made(1, A);
  for (const [retired, stopped] of [
    [[], 1],
    [[C], 0],
  ] as const) {
    const s = restart(before);
    s.state([living(A, 1), living(B, 2)], [D], retired);
    s.control.allStated(false);
    expect(s.takeSent(processId("a1")).filter(({ t }) => t === "actor-stop")).toHaveLength(stopped);
    expect(s.takeSent(processId("a2"))).toEqual([]);
  }
});

test("a creator that ends while it has nothing to do is not missed later", () => {
  const before = begin();
  before.join("c");
  before.create(A, {}, {}, C);
  before.ready(before.takeRequests()[0], 1);
  before.made(1, A);
  before.control.processGone(C, true);
  const s = restart(before);
  s.state([living(A, 1)], [D]);
  s.control.allStated(false);
  expect(s.stopped()).toBe(0);
});

test("a kill that is asked for before it is known where an actor lives takes effect then", () => {
  const before = begin();
  alive(before, A, 1);
  const s = restart(before);
  s.control.query(D, { t: "query", id: 1, method: "kill-actor", params: { actorId: A, noRestart: true } });
  expect(s.takeKilled()).toEqual([]);
  s.state([living(A, 1)], [D]);
  expect(s.takeKilled()).toEqual([[workerId(1), "killed"]]);
  s.join("a1");
  s.dies(1, { intended: "killed" });
  expect(s.takeSent(D).filter(({ t }) => t === "answer")).toHaveLength(1);
});

test("shared actors are in their worker again, which others come into", () => {
  const before = begin();
  before.create(A, { isolation: "shared" });
  before.create(B, { isolation: "shared" });
  const [request] = before.takeRequests();
  before.ready(request, 1);
  const s = restart(before);
  const actors = [A, B].map((id) => ({ actorId: id, incarnation: 0, gpus: [] }));
  s.state([hosting(1, actors, request?.requestId)], [D]);
  s.control.allStated(false);
  s.create(actorId(3), { isolation: "shared" }, { code: new Uint8Array(0) });
  expect(s.takeRequests()).toEqual([]);
  expect(s.takeSent(processId("a1"))).toMatchObject([{ t: "actor-start", actorId: actorId(3) }]);
});

test("the code of a class is there for those that its job makes later, and goes with the job", () => {
  const before = begin();
  alive(before, A, 1);
  before.release(D, A);
  before.control.handle(processId("a1"), { t: "actor-exited", actorId: A, incarnation: 0, reason: "out-of-scope" });
  const s = restart(before);
  s.state([], [D]);
  s.control.allStated(false);
  s.create(B, {}, { code: new Uint8Array(0) });
  s.ready(s.takeRequests()[0], 2);
  expect(s.takeSent(processId("a2"))).toMatchObject([{ t: "actor-start", spec: { code: specOf().code } }]);
  s.control.processGone(D);
  s.control.handle(processId("a2"), { t: "actor-exited", actorId: B, incarnation: 0, reason: "owner-died" });
  const left = new Set(before.persisted.map(({ key }) => key));
  for (const { key, value } of s.persisted) if (value === null) left.delete(key);
  expect([...left].filter((key) => key.startsWith("actor-code/"))).toEqual([]);
});

test("a job whose driver has gone meanwhile is over", () => {
  const before = begin();
  alive(before, A, 1);
  const s = restart(before, []);
  s.state([living(A, 1)]);
  expect(s.stopped()).toBe(0);
  s.control.allStated(false);
  expect(s.stopped()).toBe(1);
  expect(s.persisted).toContainEqual({ key: "job/0000cafe", value: null });
});

test("ids that getIfExists made stand for their actor afterwards too", () => {
  const before = begin();
  alive(before, A, 1, { name: "visits" });
  before.create(B, { name: "visits", getIfExists: true });
  const s = restart(before);
  s.state([living(A, 1)], [D]);
  s.control.handle(D, { t: "actor-subscribe", actorId: B });
  expect(s.takeSent(D)).toMatchObject([{ t: "actor-state", actorId: B, sameAs: A, state: "alive" }]);
});

test("a creation counts once however often it is said, and its node hears when it is written down", () => {
  const before = begin();
  const held = before.holdPersists();
  before.create(A);
  expect(before.recorded).toEqual([]);
  held.finish();
  expect(before.recorded).toEqual([A]);
  expect(before.takeRequests()).toHaveLength(1);
  before.create(A);
  expect(before.takeRequests()).toEqual([]);
  expect(before.recorded).toEqual([A, A]);
});

test("actors that do not count any more are named, and requests of two controls have different numbers", () => {
  const before = begin();
  alive(before, A, 1);
  before.create(B, {}, { code: new Uint8Array(0) });
  const [old] = before.takeRequests();
  const s = restart(before);
  expect(s.state([living(actorId(9), 3), living(A, 1)], [D])).toEqual([actorId(9)]);
  s.control.allStated(false);
  const [asked] = s.takeRequests();
  expect(asked?.label).toBe("Counter");
  expect(asked?.requestId).not.toBe(old?.requestId);
});

test("an end that cannot be written down is not settled until it is, and takes no name away from who has it by then", () => {
  const s = begin();
  alive(s, A, 1, { name: "visits" });
  const full = new MobulaError("DISK_FULL", "exhausted", "no room");
  const first = s.holdPersists();
  s.control.handle(D, { t: "actor-kill", actorId: A, noRestart: true });
  s.control.handle(processId("a1"), { t: "actor-exited", actorId: A, incarnation: 0, reason: "killed" });
  first.finish(full);
  // Its node would forget what became of it, and the next control would make it again.
  expect(s.settled).toEqual([]);
  s.create(B, { name: "visits" });
  const before = s.persisted.length;
  s.control.tick();
  expect(s.settled).toEqual([[A, 0]]);
  expect(s.persisted.slice(before)).toEqual([{ key: `actor/${A}`, value: null }]);
});

test("what a connection took with it when it broke is made good when the node states what it has", () => {
  const s = begin();
  // The host has said that it made the actor: that was lost.
  s.create(A);
  s.ready(s.takeRequests()[0], 1);
  s.takeSent();
  s.state([living(A, 1)], [D]);
  expect(s.states()).toEqual([[A, "alive", 0]]);
  const exited = { t: "actor-exited", actorId: A, incarnation: 0, reason: "it called exitActor()" } as const;
  s.state([hosting(1, [{ actorId: A, incarnation: 0, gpus: [], said: exited }])], [D]);
  expect(s.states()).toEqual([[A, "dead", 0]]);
  // The worker was told to make one, and does not have it.
  s.create(B);
  s.ready(s.takeRequests()[0], 2);
  s.takeSent();
  s.state([hosting(2, [], 2)], [D]);
  expect(s.takeSent(addressOf(2).processId)).toMatchObject([{ t: "actor-start", actorId: B, incarnation: 0 }]);
  s.made(2, B);
  s.takeSent();
  s.state([living(B, 2)], [D]);
  expect(s.takeSent()).toEqual([]);
});

test("a restart that was told and not written down is told again as the same", () => {
  const before = begin();
  alive(before, A, 1, { maxRestarts: 1 });
  const written = before.persisted.length;
  before.holdPersists();
  before.dies(1);
  expect(before.states()).toEqual([[A, "restarting", 1]]);
  before.persisted.splice(written);
  const s = restart(before);
  s.holds(D, [[A, 1]], [A]);
  // Its node has not heard that this is written down, so it says again how that worker ended.
  s.state([{ ...living(A, 1), death: deathOf(1) }], [D]);
  s.control.allStated(false);
  expect(s.states()).toEqual([
    [A, "alive", 0],
    [A, "restarting", 1],
  ]);
  expect(s.takeRequests()).toHaveLength(1);
});

test("what a node states again counts until it is written down what came of it: it must be able to say it to the next control", () => {
  const before = begin();
  alive(before, A, 1, { maxRestarts: 1 });
  alive(before, B, 2);
  const writes = before.holdPersists();
  const stated = [A, B].map((id, at) => ({ ...living(id, at + 1), death: deathOf(at + 1) }));
  expect(before.state(stated, [D])).toEqual([]);
  expect(before.states()).toEqual([
    [A, "restarting", 1],
    [B, "dead", 0],
  ]);
  expect(before.state(stated, [D])).toEqual([]);
  expect([before.states(), before.settled]).toEqual([[], []]);
  writes.finish();
  expect(before.settled).toEqual([
    [A, 0],
    [B, 0],
  ]);
  expect(before.state(stated, [D])).toEqual([A, B]);
});

test.each(["drained", "killed to be started again"])(
  "one that ended because the control before wanted it made again is: %s",
  (reason) => {
    const before = begin();
    const options = { isolation: "shared", maxRestarts: 1 } as const;
    alive(before, A, 1, options);
    const s = restart(before, ["d", "a1"]);
    s.holds(D, [[A, 1]], [A]);
    const said = { t: "actor-exited", actorId: A, incarnation: 0, reason } as const;
    s.state([hosting(1, [{ actorId: A, incarnation: 0, gpus: [], said }])], [D]);
    expect(s.states()).toEqual([[A, "restarting", 1]]);
    const isMoved = reason === "drained";
    const [request] = s.takeRequests();
    // Its worker is there still, on a node that is to end in the one case.
    expect(request?.worker).toBe(isMoved ? "fresh" : undefined);
    const n = isMoved ? 2 : 1;
    if (isMoved) s.ready(request, n);
    s.made(n, A, 1);
    s.takeSent();
    s.dies(n);
    // To be moved uses up no restart.
    expect(s.states()).toEqual([[A, isMoved ? "restarting" : "dead", isMoved ? 2 : 1]]);
  },
);

test("one in a shared worker that is killed to be started again is told so, for another control may hear of its end", () => {
  const s = begin();
  alive(s, A, 1, { isolation: "shared", maxRestarts: 1 });
  const params = { actorId: A, noRestart: false };
  s.control.query(D, { t: "query", id: 1, method: "kill-actor", params });
  expect(s.takeSent()).toMatchObject([{ t: "actor-stop", reason: "killed", restarts: true }]);
});

test("what two actors were made with is given back as often as it was granted, although control was killed between their ends", () => {
  const before = begin();
  const shared = keyOf(D, 1);
  for (const [n, id] of [A, B].entries()) {
    before.create(id, {}, { nested: [shared] });
    before.ready(before.takeRequests()[0], n + 1);
    before.made(n + 1, id);
  }
  before.dies(1);
  expect(before.givenBack).toEqual([]);
  const s = restart(before, ["d", "a2"]);
  s.holds(D, [[B, 1]], [B]);
  s.state([living(B, 2)], [D]);
  s.control.allStated(false);
  s.dies(2);
  expect(s.givenBack).toEqual([[shared, 2]]);
  // Nothing is left to be said to a third one.
  expect(
    before.persisted
      .concat(s.persisted)
      .filter(({ key }) => key.startsWith("actor-surplus/"))
      .at(-1)?.value,
  ).toBe(null);
});
