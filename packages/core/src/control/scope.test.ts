/** Nobody is seen to hold an actor, but the actor itself may have passed its handle on: its host has the last word. */
import { describe, expect, test } from "vitest";
import type { ActorId, ObjectKey, ProcessId } from "../base/mod.ts";
import type { ActorOptionsRecord, FromNode } from "../wire/messages.ts";
import { STOP_GRACE_MS } from "./actors.ts";
import { actorId, createHarness, optionsOf, processId, specOf, workerId } from "./testing.ts";

const A = actorId(1);
const B = actorId(2);
const HOST = processId("a1");
const STOP = { t: "actor-stop", actorId: A, reason: "out-of-scope", timeoutMs: 30_000 };

function setUp(options: Partial<ActorOptionsRecord> = {}) {
  const harness = createHarness();
  const driver = harness.driver("d");
  const { control } = harness;
  const create = (id: ActorId, more: Partial<ActorOptionsRecord> = {}): void =>
    control.handle(driver, { t: "actor-create", actorId: id, options: optionsOf(more), spec: specOf() });
  create(A, options);
  harness.ready(harness.takeRequests()[0], 1);
  control.handle(HOST, { t: "actor-created", actorId: A, incarnation: 0 });
  harness.takeSent();
  return Object.assign(harness, {
    driver,
    create,
    grant: (from: ProcessId, to: ProcessId) =>
      control.handle(from, { t: "hold-grant", to, keys: [A as string as ObjectKey] }),
    release: (from: ProcessId) => control.handle(from, { t: "hold-release", holds: [[A as string as ObjectKey, 1]] }),
    refuses: (isUnderWay: boolean) => control.handle(HOST, { t: "actor-held", actorId: A, incarnation: 0, isUnderWay }),
    agrees: () => control.handle(HOST, { t: "actor-stopping", actorId: A, incarnation: 0 }),
    exits: () => control.handle(HOST, { t: "actor-exited", actorId: A, incarnation: 0, reason: "it was asked" }),
    lookUp: (id: number) =>
      control.query(driver, { t: "query", id, method: "get-actor", params: { name: "visits", namespace: "main" } }),
    answers: () => harness.takeSent(driver).filter(({ t }) => t === "answer"),
    states: () => harness.takeSent(driver).flatMap((message) => (message.t === "actor-state" ? [message] : [])),
  });
}

const found = (id: number): Partial<FromNode> => ({
  t: "answer",
  id,
  result: expect.objectContaining({ actorId: A }) as unknown,
});

describe("an actor that nobody is seen to hold", () => {
  test("lives on when its host refuses, and a handle that it had passed on has arrived", () => {
    const s = setUp();
    const other = s.join("b");
    s.release(s.driver);
    expect(s.takeSent(HOST)).toEqual([STOP]);
    s.grant(HOST, other);
    s.refuses(false);
    expect(s.takeSent(HOST)).toEqual([]);
    expect(s.states()).toMatchObject([{ state: "alive", incarnation: 0 }]);
    s.release(other);
    expect(s.takeSent(HOST)).toEqual([STOP]);
    s.exits();
    expect(s.control.stats().actors).toMatchObject({ alive: 0, dead: 1 });
  });

  test("is asked again at once when all that it had passed on is gone too", () => {
    const s = setUp();
    const other = s.join("b");
    s.release(s.driver);
    // Given back before it was granted: the two came on different connections.
    s.release(other);
    s.grant(HOST, other);
    s.takeSent();
    s.refuses(false);
    expect(s.takeSent(HOST)).toEqual([STOP]);
  });

  test("is asked again at each tick while a handle is under way", () => {
    const s = setUp();
    s.release(s.driver);
    s.takeSent();
    s.refuses(true);
    expect(s.takeSent(HOST)).toEqual([]);
    s.control.tick();
    expect(s.takeSent(HOST)).toEqual([STOP]);
    s.refuses(true);
    s.grant(HOST, s.join("b"));
    s.control.tick();
    expect(s.takeSent(HOST)).toEqual([]);
  });

  test("is not killed for having been asked long ago", () => {
    const s = setUp();
    s.release(s.driver);
    s.refuses(true);
    s.nowMs += 30_000 + STOP_GRACE_MS;
    s.grant(HOST, s.join("b"));
    s.control.tick();
    expect(s.takeKilled()).toEqual([]);
  });

  test("ends all the same when its creator dies, whatever its host has answered", () => {
    const s = setUp();
    s.release(s.driver);
    s.takeSent();
    s.control.processGone(s.driver);
    expect(s.takeSent(HOST)).toMatchObject([{ t: "actor-stop", reason: "owner-died" }]);
    s.refuses(true);
    s.control.tick();
    expect(s.takeSent(HOST)).toEqual([]);
    s.agrees();
    s.exits();
    expect(s.control.stats().actors).toMatchObject({ alive: 0, dead: 1 });
  });

  test("is made again when its host crashes and a handle had arrived, and is not when none had", () => {
    for (const hasArrived of [true, false]) {
      const s = setUp({ maxRestarts: -1 });
      s.release(s.driver);
      if (hasArrived) s.grant(HOST, s.join("b"));
      s.dies(1);
      expect(s.control.stats().actors).toMatchObject(hasArrived ? { restarting: 1 } : { dead: 1 });
    }
  });

  test("is killed like any other while it is asked", () => {
    const s = setUp({ maxRestarts: -1 });
    s.release(s.driver);
    s.control.handle(s.driver, { t: "actor-kill", actorId: A, noRestart: false });
    expect(s.takeKilled()).toEqual([[workerId(1), "killed"]]);
    s.refuses(false);
    s.grant(HOST, s.join("b"));
    s.dies(1);
    expect(s.control.stats().actors).toMatchObject({ restarting: 1 });
  });
});

describe("the name of an actor that nobody is seen to hold", () => {
  test("is looked up once its host has answered: found when it lives on", () => {
    const s = setUp({ name: "visits" });
    s.release(s.driver);
    s.lookUp(7);
    expect(s.answers()).toEqual([]);
    s.takeSent(HOST);
    s.refuses(true);
    expect(s.answers()).toEqual([found(7)]);
    // The look-up holds it.
    s.control.tick();
    expect(s.takeSent(HOST)).not.toContainEqual(STOP);
    s.lookUp(8);
    expect(s.answers()).toEqual([found(8)]);
  });

  test("is not found when it ends", () => {
    const s = setUp({ name: "visits" });
    s.release(s.driver);
    s.lookUp(7);
    s.agrees();
    expect(s.answers()).toMatchObject([{ id: 7, error: { code: "ACTOR_NOT_FOUND" } }]);
  });

  test("goes to one that waits for it only when it ends", () => {
    const s = setUp({ name: "visits" });
    s.release(s.driver);
    s.create(B, { name: "visits", getIfExists: true });
    expect(s.states()).toEqual([]);
    s.takeSent(HOST);
    s.refuses(true);
    expect(s.states()).toMatchObject([{ actorId: A }, { actorId: B, sameAs: A, state: "alive" }]);
    // What B's creator holds is a hold on A.
    s.control.tick();
    expect(s.takeSent(HOST)).not.toContainEqual(STOP);
  });
});
