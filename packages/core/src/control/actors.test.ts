import { describe, expect, test } from "vitest";
import { type ActorId, MobulaError, type ObjectKey, type ProcessId, storedName } from "../base/mod.ts";
import type { ActorOptionsRecord, ActorSpec, ActorState, FromNode } from "../wire/messages.ts";
import { UNKNOWN_ACTOR_MS } from "./actor-subscribers.ts";
import { RESTART_DELAY_MIN_MS, STOP_GRACE_MS, STOP_READ_MS, YOUNG_DEATH_MS } from "./actors.ts";
import {
  actorId,
  addressOf,
  createHarness,
  deathOf,
  type Harness,
  type HarnessOptions,
  inline,
  keyOf,
  optionsOf,
  processId,
  specOf,
  stored,
  workerId,
} from "./testing.ts";

const A = actorId(1);
const B = actorId(2);

function setUp(options: HarnessOptions = {}) {
  const harness = createHarness(options);
  const driver = harness.driver("d");
  const { control } = harness;
  return Object.assign(harness, {
    driver,
    create: (id: ActorId, options: Partial<ActorOptionsRecord> = {}, spec: Partial<ActorSpec> = {}, from = driver) =>
      control.handle(from, { t: "actor-create", actorId: id, options: optionsOf(options), spec: specOf(spec) }),
    made: (n: number, id: ActorId, incarnation = 0) =>
      control.handle(processId(`a${n}`), { t: "actor-created", actorId: id, incarnation }),
    exited: (n: number, id: ActorId, incarnation = 0, reason = "exitActor was called") =>
      control.handle(processId(`a${n}`), { t: "actor-exited", actorId: id, incarnation, reason }),
    release: (from: ProcessId, id: ActorId, count = 1) =>
      control.handle(from, { t: "hold-release", holds: [[id as string as ObjectKey, count]] }),
    grant: (from: ProcessId, to: ProcessId, id: ActorId) =>
      control.handle(from, { t: "hold-grant", to, keys: [id as string as ObjectKey] }),
    killByQuery: (id: ActorId, noRestart: boolean) =>
      control.query(driver, { t: "query", id: 77, method: "kill-actor", params: { actorId: id, noRestart } }),
    query: (method: string, params: unknown) => {
      control.query(driver, { t: "query", id: 5, method, params });
      return harness.takeSent(driver).find(({ t }) => t === "answer");
    },
  });
}

/** Creates an actor in a process of its own and takes it to "alive"; forgets what was sent on the way. */
function alive(s: ReturnType<typeof setUp>, id: ActorId, n: number, options: Partial<ActorOptionsRecord> = {}): void {
  s.create(id, options);
  s.ready(s.takeRequests()[0], n);
  s.made(n, id);
  s.takeSent();
}

const states = (messages: readonly FromNode[]): ActorState[] =>
  messages.filter((message): message is ActorState => message.t === "actor-state");
const brief = (messages: readonly FromNode[]): string[] =>
  states(messages).map(({ state, incarnation, cause }) => `${state} ${incarnation}${cause ? ` ${cause.code}` : ""}`);

describe("an actor's birth", () => {
  test("a worker is asked for, told to make it, and the creator hears when it is alive", () => {
    const s = setUp();
    s.create(A, { resources: { gpu: 10_000 }, maxRestarts: 1 });
    expect(s.takeRequests()).toEqual([
      {
        requestId: 1,
        creator: processId("d"),
        jobId: "0000cafe",
        namespace: "main",
        demand: { key: 'actor/[[["gpu",10000]],null,null]', resources: { gpu: 10_000 }, priority: 0, name: "Counter" },
        worker: "fresh",
        label: "Counter",
        retriable: true,
      },
    ]);
    s.join("a1");
    s.control.actorWorkerReady(1, addressOf(1), ["0"]);
    expect(s.takeSent(processId("a1"))).toEqual([
      {
        t: "actor-start",
        actorId: A,
        incarnation: 0,
        jobId: "0000cafe",
        namespace: "main",
        resources: { gpu: 10_000 },
        gpus: ["0"],
        spec: specOf(),
      },
    ]);
    expect(s.takeSent()).toEqual([]);
    s.made(1, A);
    expect(s.takeSent(s.driver)).toEqual([
      { t: "actor-state", actorId: A, state: "alive", incarnation: 0, className: "Counter", worker: addressOf(1) },
    ]);
  });

  test("a constructor that threw is the cause of death, and the worker ends", () => {
    const s = setUp();
    s.create(A, { maxRestarts: -1 });
    s.ready(s.takeRequests()[0], 1);
    const error = Buffer.from("packed");
    s.control.handle(processId("a1"), { t: "actor-created", actorId: A, incarnation: 0, error });
    const [state] = states(s.takeSent(s.driver));
    expect(state).toMatchObject({ state: "dead", cause: { code: "TASK_FAILED", error } });
    expect(s.takeKilled()).toEqual([[workerId(1), "the actor has ended"]]);
  });

  test("a demand that can never be met is the cause of death", () => {
    const s = setUp();
    s.create(A, { resources: { gpu: 990_000 } });
    const [request] = s.takeRequests();
    s.control.actorWorkerRefused(request?.requestId ?? 0, { code: "INFEASIBLE", message: "no node has 99 gpu" });
    expect(states(s.takeSent(s.driver))[0]?.cause).toEqual({
      code: "INFEASIBLE",
      message: `actor Counter (${A}) cannot be placed: no node has 99 gpu`,
    });
    expect(s.takeReleased()).toEqual([]);
  });

  test("the same creation twice changes nothing", () => {
    const s = setUp();
    s.create(A);
    s.create(A);
    expect(s.takeRequests()).toHaveLength(1);
    s.release(s.driver, A);
    expect(brief(s.takeSent(s.driver))).toEqual(["dead 0 ACTOR_DIED"]);
  });

  test("code that was never sent is an error; code that was is not sent again", () => {
    const s = setUp();
    s.create(A, {}, { code: Buffer.alloc(0) });
    expect(brief(s.takeSent(s.driver))).toEqual(["dead 0 INTERNAL"]);
    s.create(B);
    s.create(actorId(3), {}, { code: Buffer.alloc(0) });
    const [first, second] = s.takeRequests();
    s.ready(first, 1);
    s.ready(second, 2);
    const starts = s.takeSent().filter((message) => message.t === "actor-start");
    expect(starts.map(({ spec }) => spec.code.length)).toEqual([specOf().code.length, specOf().code.length]);
  });

  test("refs whose values its arguments are stay while it may be made again, and are granted to nobody", () => {
    const s = setUp();
    const key = keyOf(s.driver, 1);
    s.control.handle(s.driver, { t: "object-publish", objects: [{ key, value: stored(4) }] });
    s.create(A, {}, { keeps: [key] });
    s.control.handle(s.driver, { t: "object-unpublish", keys: [key] });
    s.ready(s.takeRequests()[0], 1);
    expect(s.takeFreed()).toEqual([]);
    s.exited(1, A);
    expect(s.takeFreed()).toEqual([4]);
  });

  test("refs in its arguments are held while it may be made again, and granted to each host", () => {
    const s = setUp();
    const key = keyOf(s.driver, 1);
    s.control.handle(s.driver, { t: "object-publish", objects: [{ key, value: stored(4) }] });
    s.create(A, { maxRestarts: 1 }, { nested: [key] });
    s.control.handle(s.driver, { t: "object-unpublish", keys: [key] });
    s.ready(s.takeRequests()[0], 1);
    s.made(1, A);
    s.control.handle(processId("a1"), { t: "hold-release", holds: [[key, 1]] });
    expect(s.takeFreed()).toEqual([]);
    s.dies(1);
    s.ready(s.takeRequests()[0], 2);
    expect(s.takeFreed()).toEqual([]);
    s.dies(2);
    expect(brief(s.takeSent(s.driver)).at(-1)).toBe("dead 1 WORKER_DIED");
    expect(s.takeFreed()).toEqual([4]);
  });
});

describe("an actor's restarts", () => {
  test("a crash starts the next incarnation while maxRestarts lasts, then the death names the crash", () => {
    const s = setUp();
    alive(s, A, 1, { maxRestarts: 1 });
    s.dies(1, { signal: "SIGSEGV", stderrTail: "boom" });
    expect(brief(s.takeSent(s.driver))).toEqual(["restarting 1"]);
    s.ready(s.takeRequests()[0], 2);
    expect(s.takeSent(processId("a2"))[0]).toMatchObject({ t: "actor-start", incarnation: 1 });
    s.made(2, A, 1);
    expect(brief(s.takeSent(s.driver))).toEqual(["alive 1"]);
    s.dies(2, { signal: "SIGSEGV", stderrTail: "boom" });
    const [state] = states(s.takeSent(s.driver));
    expect(state?.cause?.message).toBe(
      `actor Counter (${A}) died: worker process 1002 was killed by SIGSEGV; its last lines of stderr:\nboom; all 1 restarts are used up`,
    );
    expect(s.takeRequests()).toEqual([]);
  });

  test("running out of memory is named as the cause", () => {
    const s = setUp();
    alive(s, A, 1);
    s.dies(1, { outOfMemory: "worker process 1001 used 3.1 GiB" });
    expect(states(s.takeSent(s.driver))[0]?.cause).toMatchObject({
      code: "OUT_OF_MEMORY",
      message: expect.stringContaining("used 3.1 GiB"),
    });
  });

  test("messages of an earlier incarnation, or of another process, change nothing", () => {
    const s = setUp();
    alive(s, A, 1, { maxRestarts: -1 });
    s.dies(1);
    s.ready(s.takeRequests()[0], 2);
    s.takeSent();
    s.join("a1");
    s.made(1, A, 1);
    s.made(2, A, 0);
    s.exited(2, A, 0);
    expect(s.takeSent()).toEqual([]);
    s.control.workerDied(deathOf(1));
    s.control.workerDied(deathOf(99));
    expect(s.takeSent()).toEqual([]);
    s.made(2, A, 1);
    s.made(2, A, 1);
    expect(brief(s.takeSent())).toEqual(["alive 1"]);
  });

  test("an actor that keeps dying young is started again with growing delays", () => {
    const s = setUp();
    alive(s, A, 1, { maxRestarts: -1 });
    s.dies(1);
    s.ready(s.takeRequests()[0], 2);
    s.dies(2);
    expect(s.takeRequests()).toEqual([]);
    s.nowMs += RESTART_DELAY_MIN_MS;
    s.control.tick();
    s.ready(s.takeRequests()[0], 3);
    s.dies(3);
    s.nowMs += RESTART_DELAY_MIN_MS;
    s.control.tick();
    expect(s.takeRequests()).toEqual([]);
    s.nowMs += RESTART_DELAY_MIN_MS;
    s.control.tick();
    s.ready(s.takeRequests()[0], 4);
    s.nowMs += YOUNG_DEATH_MS;
    s.dies(4);
    expect(s.takeRequests()).toHaveLength(1);
  });
});

describe("an actor's end", () => {
  test("the last handle gone: its host is told to stop, and the actor is dead when it says so", () => {
    const s = setUp();
    alive(s, A, 1);
    const other = s.join("b");
    s.grant(s.driver, other, A);
    s.release(s.driver, A);
    expect(s.takeSent()).toEqual([]);
    s.release(other, A);
    expect(s.takeSent()).toEqual([{ t: "actor-stop", actorId: A, reason: "out-of-scope", timeoutMs: 30_000 }]);
    s.exited(1, A, 0, "stopped");
    expect(states(s.takeSent(s.driver))[0]).toMatchObject({
      state: "dead",
      cause: { code: "ACTOR_DIED", message: `actor Counter (${A}) has ended: its last handle is gone` },
    });
    expect(s.takeKilled()).toEqual([[workerId(1), "the actor has ended"]]);
    s.dies(1);
    expect(s.takeSent()).toEqual([]);
  });

  test("a handle inside a published value keeps the actor alive", () => {
    const s = setUp();
    alive(s, A, 1);
    const key = keyOf(s.driver, 1);
    s.control.handle(s.driver, { t: "object-publish", objects: [{ key, value: inline("handle", [A]) }] });
    s.release(s.driver, A);
    expect(s.takeSent()).toEqual([]);
    s.control.handle(s.driver, { t: "object-unpublish", keys: [key] });
    expect(s.takeSent()).toMatchObject([{ t: "actor-stop" }]);
  });

  test("handles given up before a worker was found end it without one", () => {
    const s = setUp();
    s.create(A);
    const [request] = s.takeRequests();
    s.release(s.driver, A);
    expect(brief(s.takeSent(s.driver))).toEqual(["dead 0 ACTOR_DIED"]);
    expect(s.takeReleased()).toEqual([request?.requestId]);
  });

  test("a host that does not stop in time is killed", () => {
    const s = setUp();
    alive(s, A, 1, { maxRestarts: -1 });
    s.release(s.driver, A);
    s.nowMs += 30_000 + STOP_GRACE_MS - 1;
    s.control.tick();
    expect(s.takeKilled()).toEqual([]);
    s.nowMs += 1;
    s.control.tick();
    expect(s.takeKilled()).toEqual([[workerId(1), "an actor did not stop in time"]]);
    s.dies(1);
    expect(brief(s.takeSent(s.driver))).toEqual(["dead 0 ACTOR_DIED"]);
    expect(s.takeRequests()).toEqual([]);
  });

  test("when the creator dies its actors end, and detached ones live on", () => {
    const s = setUp();
    const creator = s.join("b");
    s.create(A, {}, {}, creator);
    s.create(B, { lifetime: "detached" }, {}, creator);
    const [a, b] = s.takeRequests();
    s.ready(a, 1);
    s.ready(b, 2);
    s.made(1, A);
    s.made(2, B);
    s.control.handle(s.driver, { t: "actor-subscribe", actorId: A });
    s.takeSent();
    s.control.processGone(creator);
    expect(s.takeSent()).toEqual([{ t: "actor-stop", actorId: A, reason: "owner-died", timeoutMs: 30_000 }]);
    s.exited(1, A);
    expect(brief(s.takeSent(s.driver))).toEqual(["dead 0 OWNER_DIED"]);
  });

  test("when the creator was retired, its actors live on while somebody holds them", () => {
    const s = setUp();
    const creator = s.join("b");
    s.create(A, {}, {}, creator);
    s.grant(creator, s.driver, A);
    s.ready(s.takeRequests()[0], 1);
    s.made(1, A);
    s.takeSent();
    s.control.processGone(creator, true);
    expect(s.takeSent()).toEqual([]);
    s.release(s.driver, A);
    expect(s.takeSent()).toMatchObject([{ t: "actor-stop", reason: "out-of-scope" }]);
  });

  test("exitActor ends it, restarts or not", () => {
    const s = setUp();
    alive(s, A, 1, { maxRestarts: -1 });
    s.exited(1, A);
    expect(brief(s.takeSent(s.driver))).toEqual(["dead 0 ACTOR_DIED"]);
    s.dies(1);
    expect(s.takeRequests()).toEqual([]);
  });

  test("one that moves off a drained node uses up no restart; one that may not be made again stays", () => {
    const s = setUp();
    alive(s, A, 1, { maxRestarts: 1 });
    alive(s, B, 2);
    s.control.moveActors([workerId(1), workerId(2)], 10_000);
    expect(s.takeSent()).toMatchObject([{ t: "actor-stop", actorId: A, reason: "drained", timeoutMs: 10_000 }]);
    s.exited(1, A, 0, "drained");
    expect(s.takeSent(s.driver)).toMatchObject([{ actorId: A, state: "restarting", incarnation: 1 }]);
    s.ready(s.takeRequests()[0], 3);
    s.made(3, A, 1);
    s.dies(3);
    // That was the one restart.
    s.ready(s.takeRequests()[0], 4);
    s.made(4, A, 2);
    s.takeSent();
    s.dies(4);
    expect(s.takeSent(s.driver)).toMatchObject([{ actorId: A, state: "dead" }]);
  });

  test("shared ones that move off a drained node go into a worker of another one", () => {
    const s = setUp({ epoch: 1 });
    const options = { isolation: "shared", maxRestarts: 1 } as const;
    s.create(A, options);
    s.ready(s.takeRequests()[0], 1);
    s.made(1, A);
    s.control.moveActors([workerId(1)], 10_000);
    s.create(B, options);
    const [request] = s.takeRequests();
    expect(request?.worker).toBe("fresh");
    s.ready(request, 2);
    s.takeSent();
    s.exited(1, A, 0, "drained");
    expect(s.takeRequests()).toEqual([]);
    expect(s.takeSent(processId("a2"))).toMatchObject([{ t: "actor-start", actorId: A, incarnation: 1 }]);
  });

  test("one that moves and is killed meanwhile is killed", () => {
    const s = setUp();
    alive(s, A, 1, { maxRestarts: 1 });
    s.control.moveActors([workerId(1)], 10_000);
    s.killByQuery(A, true);
    expect(s.takeKilled()).toEqual([[workerId(1), "killed"]]);
    s.takeSent();
    s.dies(1, { intended: "killed" });
    expect(s.takeSent(s.driver)).toMatchObject([{ actorId: A, state: "dead" }, { t: "answer" }]);
  });

  test("one that its node ends is made again if it may, and is dead otherwise", () => {
    const s = setUp();
    for (const [id, maxRestarts] of [
      [A, 1],
      [B, 0],
    ] as const) {
      s.create(id, { maxRestarts });
      s.ready(s.takeRequests()[0], id === A ? 1 : 2);
    }
    s.takeSent();
    const ends = (id: ActorId, host: string) =>
      s.control.handle(processId(host), { t: "actor-exited", actorId: id, incarnation: 0, reason: "shutdown" });
    ends(A, "a1");
    ends(B, "a2");
    expect(s.takeRequests()).toHaveLength(1);
    const states = s.takeSent().filter(({ t }) => t === "actor-state");
    expect(states).toMatchObject([
      { actorId: A, state: "restarting", incarnation: 1 },
      { actorId: B, state: "dead", cause: { message: expect.stringMatching(/its node shuts down/) } },
    ]);
  });

  test("shutdown asks every actor to end, and is done when all have", () => {
    const s = setUp();
    alive(s, A, 1, { lifetime: "detached" });
    s.create(B);
    let isDone = false;
    s.control.shutdown(() => {
      isDone = true;
    });
    expect(s.takeSent(processId("a1"))).toEqual([
      { t: "actor-stop", actorId: A, reason: "shutdown", timeoutMs: 30_000 },
    ]);
    expect(isDone).toBe(false);
    s.exited(1, A);
    expect(isDone).toBe(true);
    s.create(actorId(3));
    expect(brief(s.takeSent(s.driver)).at(-1)).toBe("dead 0 ACTOR_DIED");
  });
});

describe("killing an actor", () => {
  test("its worker is killed, and the query is answered when it is gone", () => {
    const s = setUp();
    alive(s, A, 1, { maxRestarts: 5, name: "x" });
    s.killByQuery(A, true);
    expect(s.takeKilled()).toEqual([[workerId(1), "killed"]]);
    expect(s.takeSent()).toEqual([]);
    s.dies(1, { intended: "killed" });
    expect(s.takeSent(s.driver)).toEqual([
      {
        t: "actor-state",
        actorId: A,
        state: "dead",
        incarnation: 0,
        className: "Counter",
        cause: { code: "ACTOR_DIED", message: `actor Counter "x" (${A}) was killed` },
      },
      { t: "answer", id: 77, result: null },
    ]);
  });

  test("without noRestart it comes back, and uses up a restart", () => {
    const s = setUp();
    alive(s, A, 1, { maxRestarts: 1 });
    s.killByQuery(A, false);
    s.dies(1, { intended: "killed" });
    expect(brief(s.takeSent(s.driver))).toEqual(["restarting 1"]);
    s.ready(s.takeRequests()[0], 2);
    s.made(2, A, 1);
    s.killByQuery(A, false);
    s.dies(2, { intended: "killed" });
    expect(brief(s.takeSent(s.driver))).toEqual(["alive 1", "dead 1 WORKER_DIED"]);
  });

  test("one that waits for a worker, is dead or was never known is killed at once", () => {
    const s = setUp();
    s.create(A);
    s.killByQuery(A, true);
    expect(s.takeSent(s.driver).map(({ t }) => t)).toEqual(["actor-state", "answer"]);
    s.killByQuery(A, true);
    s.killByQuery(B, true);
    expect(s.takeSent(s.driver).map(({ t }) => t)).toEqual(["answer", "answer"]);
  });

  test("a shared actor is dropped by its host, and the others stay", () => {
    const s = setUp();
    s.create(A, { isolation: "shared" });
    s.create(B, { isolation: "shared" });
    s.ready(s.takeRequests()[0], 1);
    s.made(1, A);
    s.made(1, B);
    s.takeSent();
    s.killByQuery(A, true);
    expect(s.takeKilled()).toEqual([]);
    expect(s.takeSent()).toEqual([{ t: "actor-stop", actorId: A, reason: "killed", timeoutMs: 0 }]);
    s.exited(1, A, 0, "killed");
    expect(brief(s.takeSent(s.driver))).toEqual(["dead 0 ACTOR_DIED"]);
    expect(s.takeKilled()).toEqual([]);
    expect(s.control.stats().actors).toEqual({ pending: 0, alive: 1, restarting: 0, dead: 1 });
  });

  test("a shared host that does not drop it is stuck, and is killed with all its actors", () => {
    const s = setUp();
    s.create(A, { isolation: "shared" });
    s.create(B, { isolation: "shared", maxRestarts: 1 });
    s.ready(s.takeRequests()[0], 1);
    s.made(1, A);
    s.made(1, B);
    s.takeSent();
    s.killByQuery(A, true);
    s.nowMs += 5_000;
    s.control.tick();
    expect(s.takeKilled()).toEqual([[workerId(1), "an actor did not stop in time"]]);
    s.dies(1);
    expect(brief(s.takeSent(s.driver))).toEqual(["dead 0 ACTOR_DIED", "restarting 1"]);
  });
});

describe("a host that is stuck", () => {
  test("one that does not read its order to end is killed after 2 s", () => {
    const s = setUp();
    alive(s, A, 1);
    s.control.processGone(s.driver);
    s.nowMs += STOP_READ_MS - 1;
    s.control.tick();
    expect(s.takeKilled()).toEqual([]);
    s.nowMs += 1;
    s.control.tick();
    expect(s.takeKilled()).toHaveLength(1);
  });

  test("one that has read it has the time of its hook", () => {
    const s = setUp();
    alive(s, A, 1);
    s.control.processGone(s.driver);
    s.control.handle(processId("a1"), { t: "actor-stopping", actorId: A, incarnation: 0 });
    s.nowMs += 30_000;
    s.control.tick();
    expect(s.takeKilled()).toEqual([]);
    s.nowMs += STOP_GRACE_MS;
    s.control.tick();
    expect(s.takeKilled()).toHaveLength(1);
  });
});

describe("before the creation", () => {
  test("who asks for an announced actor waits for as long as its creator lives", () => {
    const s = setUp();
    const borrower = s.join("b");
    s.control.handle(s.driver, { t: "actor-announce", actorId: A, className: "Counter" });
    s.control.handle(borrower, { t: "actor-subscribe", actorId: A });
    s.nowMs += 10 * UNKNOWN_ACTOR_MS;
    s.control.tick();
    expect(brief(s.takeSent(borrower))).toEqual([]);
    s.create(A);
    expect(brief(s.takeSent(borrower))).toEqual(["pending 0"]);
  });

  test("an announced actor that will not be made is dead, also for those who ask later", () => {
    const s = setUp();
    const borrower = s.join("b");
    s.control.handle(s.driver, { t: "actor-announce", actorId: A, className: "Counter" });
    s.control.handle(borrower, { t: "actor-subscribe", actorId: A });
    const cause = { code: "ACTOR_DIED", message: "an argument failed" };
    s.control.handle(s.driver, { t: "actor-announce", actorId: A, className: "Counter", cause });
    expect(brief(s.takeSent(borrower))).toEqual(["dead 0 ACTOR_DIED"]);
    const later = s.join("c");
    s.control.handle(later, { t: "actor-subscribe", actorId: A });
    expect(brief(s.takeSent(later))).toEqual(["dead 0 ACTOR_DIED"]);
  });

  test("when the creator of an announced actor ends, those who wait are told", () => {
    const s = setUp();
    const borrower = s.join("b");
    s.control.handle(s.driver, { t: "actor-announce", actorId: A, className: "Counter" });
    s.control.handle(borrower, { t: "actor-subscribe", actorId: A });
    s.control.processGone(s.driver);
    expect(brief(s.takeSent(borrower))).toEqual(["dead 0 OWNER_DIED"]);
  });

  test("an actor that was killed early is dead when it comes", () => {
    const s = setUp();
    s.killByQuery(A, true);
    s.create(A);
    expect(brief(s.takeSent(s.driver))).toEqual(["dead 0 ACTOR_DIED"]);
    expect(s.takeRequests()).toEqual([]);
  });
});

describe("names", () => {
  test("a taken name rejects the newcomer; it is free again when its actor is dead", () => {
    const s = setUp();
    alive(s, A, 1, { name: "x" });
    s.create(B, { name: "x" });
    expect(brief(s.takeSent(s.driver))).toEqual(["dead 0 NAME_TAKEN"]);
    expect(s.query("get-actor", { name: "x", namespace: "main" })).toEqual({
      t: "answer",
      id: 5,
      result: { actorId: A, className: "Counter", host: expect.any(Uint8Array) },
    });
    s.exited(1, A);
    s.create(actorId(3), { name: "x" });
    expect(s.takeRequests()).toHaveLength(1);
  });

  test("namespaces keep names apart", () => {
    const s = setUp();
    alive(s, A, 1, { name: "x" });
    s.create(B, { name: "x", namespace: "other" });
    expect(s.takeRequests()).toHaveLength(1);
    expect(s.query("get-actor", { name: "x", namespace: "third" })).toMatchObject({
      error: { code: "ACTOR_NOT_FOUND" },
    });
  });

  test("getIfExists gives the actor that has the name, and the new id stands for it", () => {
    const s = setUp();
    alive(s, A, 1, { name: "x" });
    s.create(B, { name: "x", getIfExists: true });
    const expected: ActorState = {
      t: "actor-state",
      actorId: B,
      state: "alive",
      incarnation: 0,
      className: "Counter",
      worker: addressOf(1),
      sameAs: A,
    };
    expect(s.takeSent(s.driver)).toEqual([expected]);
    // Both ids count as holds of the one actor.
    s.release(s.driver, A);
    expect(s.takeSent()).toEqual([]);
    s.release(s.driver, B);
    expect(s.takeSent()).toMatchObject([{ t: "actor-stop", actorId: A }]);
    s.exited(1, A);
    expect(states(s.takeSent(s.driver)).map((state) => state.actorId)).toEqual([A, B]);
  });

  test("a detached actor that getIfExists did not make leaves no pin on the other", () => {
    const s = setUp();
    alive(s, A, 1, { name: "x" });
    s.create(B, { name: "x", getIfExists: true, lifetime: "detached" });
    s.release(s.driver, A);
    s.takeSent();
    s.release(s.driver, B);
    expect(s.takeSent()).toMatchObject([{ t: "actor-stop", actorId: A }]);
  });

  test("a newcomer waits for a name whose actor is ending", () => {
    const s = setUp();
    alive(s, A, 1, { name: "x" });
    s.release(s.driver, A);
    s.create(B, { name: "x", getIfExists: true });
    expect(s.takeRequests()).toEqual([]);
    s.control.handle(processId("a1"), { t: "actor-stopping", actorId: A, incarnation: 0 });
    expect(s.query("get-actor", { name: "x", namespace: "main" })).toMatchObject({
      error: { code: "ACTOR_NOT_FOUND" },
    });
    s.exited(1, A);
    expect(s.takeRequests()).toHaveLength(1);
  });

  test("a named actor is acknowledged and placed only when its name is durable", () => {
    const s = setUp();
    const persists = s.holdPersists();
    s.create(A, { name: "x" });
    expect(s.takeSent()).toEqual([]);
    expect(s.takeRequests()).toEqual([]);
    expect(s.persisted.at(-1)?.key).toBe("actor-name/main/x");
    persists.finish();
    expect(brief(s.takeSent(s.driver))).toEqual(["pending 0"]);
    expect(s.takeRequests()).toHaveLength(1);
  });

  test("a name that cannot be made durable is the cause of death", () => {
    const s = setUp();
    const persists = s.holdPersists();
    s.create(A, { name: "x", lifetime: "detached" });
    persists.finish(new MobulaError("DISK_FULL", "exhausted", "no room"));
    expect(brief(s.takeSent(s.driver))).toEqual(["dead 0 DISK_FULL"]);
    expect(s.takeRequests()).toEqual([]);
  });
});

describe("subscriptions", () => {
  test("who asks for an actor before its creator has told of it waits, up to a limit", () => {
    const s = setUp();
    const other = s.join("b");
    s.control.handle(other, { t: "actor-subscribe", actorId: A });
    s.control.handle(other, { t: "actor-subscribe", actorId: B });
    expect(s.takeSent()).toEqual([]);
    s.create(A);
    expect(brief(s.takeSent(other))).toEqual(["pending 0"]);
    s.nowMs += UNKNOWN_ACTOR_MS;
    s.control.tick();
    expect(brief(s.takeSent(other))).toEqual(["dead 0 ACTOR_NOT_FOUND"]);
  });

  test("changes are heard until unsubscribed, and the dead say why for as long as they are remembered", () => {
    const s = setUp();
    alive(s, A, 1);
    const other = s.join("b");
    s.control.handle(other, { t: "actor-subscribe", actorId: A });
    s.control.handle(other, { t: "actor-subscribe", actorId: A });
    s.takeSent();
    s.control.handle(other, { t: "actor-unsubscribe", actorId: A });
    s.exited(1, A);
    expect(s.takeSent(other)).toEqual([]);
    s.control.handle(other, { t: "actor-subscribe", actorId: A });
    expect(brief(s.takeSent(other))).toEqual(["dead 0 ACTOR_DIED"]);
  });
});

describe("shared actors", () => {
  test("fill one worker up to their limit, then the next", () => {
    const s = setUp();
    for (let n = 1; n <= 5; n++) s.create(actorId(n), { isolation: "shared", maxActorsPerWorker: 2 });
    const requests = s.takeRequests();
    expect(requests.map(({ worker, label }) => [worker, label])).toEqual(
      Array.from({ length: 3 }, () => ["fresh", "shared actors"]),
    );
    requests.forEach((request, index) => void s.ready(request, index + 1));
    const starts = (n: number) => s.takeSent(processId(`a${n}`)).map((message) => message.t === "actor-start");
    expect([starts(1).length, starts(2).length, starts(3).length]).toEqual([2, 2, 1]);
  });

  test("the class's code is sent once to each worker", () => {
    const s = setUp();
    for (let n = 1; n <= 3; n++) s.create(actorId(n), { isolation: "shared" });
    s.ready(s.takeRequests()[0], 1);
    const starts = s.takeSent(processId("a1")).filter((message) => message.t === "actor-start");
    expect(starts.map(({ spec }) => spec.code.length)).toEqual([specOf().code.length, 0, 0]);
  });

  test("one that needs resources waits for them in its worker", () => {
    const s = setUp();
    s.create(A, { isolation: "shared" });
    s.ready(s.takeRequests()[0], 1);
    s.create(B, { isolation: "shared", resources: { disk: 10_000 } });
    const [request] = s.takeRequests();
    expect(request).toMatchObject({ worker: workerId(1), demand: { resources: { disk: 10_000 } } });
    s.control.actorWorkerReady(request?.requestId ?? 0, addressOf(1), []);
    s.made(1, B);
    s.exited(1, B);
    expect(s.takeReleased()).toEqual([request?.requestId]);
  });

  test("a crash takes them all, and each restarts by its own rules in another worker", () => {
    const s = setUp();
    s.create(A, { isolation: "shared", maxRestarts: 1 });
    s.create(B, { isolation: "shared" });
    s.create(actorId(3), { isolation: "shared", resources: { disk: 10_000 } });
    s.ready(s.takeRequests()[0], 1);
    const [waiting] = s.takeRequests();
    s.made(1, A);
    s.made(1, B);
    s.takeSent();
    s.dies(1);
    expect(brief(s.takeSent(s.driver))).toEqual(["restarting 1", "dead 0 WORKER_DIED"]);
    expect(s.takeReleased()).toEqual([waiting?.requestId]);
    s.ready(s.takeRequests()[0], 2);
    expect(s.takeSent(processId("a2"))).toMatchObject([{ t: "actor-start", actorId: A, incarnation: 1 }]);
    expect(s.takeRequests()).toMatchObject([{ worker: workerId(2) }]);
  });

  test("one whose room in a worker is refused because that died looks for another place, whichever it hears first", () => {
    for (const isRefusedFirst of [true, false]) {
      const s = setUp();
      s.create(A, { isolation: "shared" });
      s.ready(s.takeRequests()[0], 1);
      s.create(B, { isolation: "shared", resources: { disk: 10_000 } });
      const requestId = s.takeRequests()[0]?.requestId ?? 0;
      const refuse = () => s.control.actorWorkerRefused(requestId, { code: "WORKER_DIED", message: "it is gone" });
      if (isRefusedFirst) refuse();
      s.dies(1);
      if (!isRefusedFirst) refuse();
      expect(s.control.stats().actors).toEqual({ pending: 1, alive: 0, restarting: 0, dead: 1 });
      expect(s.takeRequests()).toMatchObject([{ worker: "fresh", label: "shared actors" }]);
    }
  });

  test("one whose worker's node has no room goes into another worker, as do those that follow until somebody leaves", () => {
    const s = setUp({ epoch: 1 });
    const options = { isolation: "shared", resources: { disk: 10_000 } } as const;
    s.create(A, options);
    s.ready(s.takeRequests()[0], 1);
    const [ofA] = s.takeRequests();
    s.control.actorWorkerReady(ofA?.requestId ?? 0, addressOf(1), []);
    s.made(1, A);
    s.create(B, options);
    const [ofB] = s.takeRequests();
    expect(ofB?.worker).toBe(workerId(1));
    s.control.actorWorkerRefused(ofB?.requestId ?? 0, { code: "NO_ROOM_THERE", message: "it is full" });
    const [fresh] = s.takeRequests();
    expect(fresh).toMatchObject({ worker: "fresh", room: { disk: 10_000 } });
    s.create(actorId(3), options);
    expect(s.takeRequests()).toEqual([]);
    s.ready(fresh, 2);
    expect(s.takeRequests()).toMatchObject([{ worker: workerId(2) }, { worker: workerId(2) }]);
    s.exited(1, A);
    expect(s.control.stats().actors).toMatchObject({ pending: 2, dead: 1 });
    s.nowMs += 5_000;
    s.control.tick();
    expect(s.takeKilled()).toEqual([[workerId(1), "idle"]]);
  });

  test("in a cluster an actor is asked for near its large arguments, unless it says where it is to be", () => {
    const s = setUp({ epoch: 1 });
    const large = { at: "stored", name: storedName("cafe0000", 1), size: 4 * 2 ** 20, home: "", nested: [] } as const;
    s.create(A, {}, { deps: [large] });
    s.create(B, { isolation: "shared" }, { deps: [large] });
    s.create(actorId(3), { placement: { strategy: "spread" } }, { deps: [large] });
    s.create(actorId(4), {}, { deps: [{ ...large, size: 2 ** 20 }] });
    expect(s.takeRequests().map(({ demand }) => demand.near)).toEqual(["cafe0000", "cafe0000", undefined, undefined]);
  });

  test("a worker that stays empty is given up", () => {
    const s = setUp();
    s.create(A, { isolation: "shared" });
    s.ready(s.takeRequests()[0], 1);
    s.made(1, A);
    s.exited(1, A);
    s.control.tick();
    expect(s.takeKilled()).toEqual([]);
    s.nowMs += 5_000;
    s.control.tick();
    expect(s.takeKilled()).toEqual([[workerId(1), "idle"]]);
    s.create(B, { isolation: "shared" });
    expect(s.takeRequests()).toHaveLength(1);
  });

  test("when no worker can be had, all that wait for it die", () => {
    const s = setUp();
    s.create(A, { isolation: "shared" });
    s.create(B, { isolation: "shared" });
    s.control.actorWorkerRefused(s.takeRequests()[0]?.requestId ?? 0, { code: "UNAVAILABLE", message: "no processes" });
    expect(brief(s.takeSent(s.driver))).toEqual(["dead 0 UNAVAILABLE", "dead 0 UNAVAILABLE"]);
  });

  test("10,000 are created with well under half a second of CPU, and all of them end", () => {
    const s = setUp();
    const none = Buffer.alloc(0);
    const before = process.cpuUsage();
    for (let n = 1; n <= 10_000; n++) {
      s.create(actorId(n), { isolation: "shared" }, n === 1 ? {} : { code: none });
    }
    const requests = s.takeRequests();
    expect(requests).toHaveLength(5);
    requests.forEach((request, index) => void s.ready(request, index + 1));
    for (let n = 1; n <= 10_000; n++) s.made(Math.ceil(n / 2_000), actorId(n));
    const { user, system } = process.cpuUsage(before);
    expect(s.control.stats().actors.alive).toBe(10_000);
    expect((user + system) / 1000).toBeLessThan(500);
    for (let n = 1; n <= 10_000; n++) s.release(s.driver, actorId(n));
    for (let n = 1; n <= 10_000; n++) s.exited(Math.ceil(n / 2_000), actorId(n));
    expect(s.control.stats().actors.dead).toBe(10_000);
  });
});

describe("questions about actors", () => {
  test("list-actors tells of all in a namespace", () => {
    const s = setUp();
    alive(s, A, 1, { name: "x", maxRestarts: 2 });
    s.create(B, { namespace: "other" });
    expect(s.query("list-actors", { namespace: "main" })).toEqual({
      t: "answer",
      id: 5,
      result: [
        { actorId: A, name: "x", namespace: "main", className: "Counter", state: "alive", pid: 1001, restarts: 0 },
      ],
    });
    expect(s.query("list-actors", { namespace: null })).toMatchObject({ result: [{ actorId: A }, { actorId: B }] });
  });

  test("a handle that was looked up by name is held by who asked", () => {
    const s = setUp();
    alive(s, A, 1, { name: "x" });
    s.query("get-actor", { name: "x", namespace: "main" });
    s.release(s.driver, A);
    expect(s.takeSent()).toEqual([]);
    s.release(s.driver, A);
    expect(s.takeSent()).toMatchObject([{ t: "actor-stop" }]);
  });

  test("explain-actor says what it waits for", () => {
    const s = setUp();
    s.create(A, { resources: { gpu: 20_000 } });
    s.nowMs += 1_500;
    expect(s.query("explain-actor", { actorId: A })).toMatchObject({
      result: {
        state: "pending",
        since: 1_000_000,
        sentences: [`actor Counter (${A}) waits for a worker with 2 gpu, for 1.5 s`],
      },
    });
    s.ready(s.takeRequests()[0], 1);
    s.made(1, A);
    s.control.handle(processId("a1"), {
      t: "wait-report",
      started: [{ waitId: 1, by: `actor:${A}`, slots: 1, name: "Counter.add", on: ["task:t"] }],
      ended: [],
    });
    s.takeSent();
    expect(s.query("explain-actor", { actorId: A })).toMatchObject({
      result: { state: "alive", waitsFor: ["task:t"], sentences: [expect.any(String), "Counter.add waits for task:t"] },
    });
    expect(s.query("explain-actor", { actorId: B })).toMatchObject({ error: { code: "ACTOR_NOT_FOUND" } });
  });
});

describe("waits", () => {
  test("who waits for a call that is queued in an actor is told of the actor, and waits for that", () => {
    const s = setUp();
    alive(s, A, 1);
    const host = processId("a1");
    const queued = keyOf(s.driver, 1);
    s.control.handle(s.driver, { t: "object-publish", objects: [{ key: queued, actor: A }] });
    s.takeSent();
    s.control.handle(host, { t: "object-subscribe", keys: [], makersOf: [queued, keyOf(s.driver, 2)] });
    expect(s.takeSent(host)).toEqual([{ t: "object-makers", makers: [[queued, A]] }]);
    const wait = { waitId: 1, by: `actor:${A}`, slots: 1, name: "Counter.add", execution: 1 };
    const started = [{ ...wait, on: [`actor:${A}`], calls: [queued] }];
    s.control.handle(host, { t: "wait-report", started, ended: [] });
    expect(s.takeSent(host)).toEqual([{ t: "wait-check", checkId: 1, waits: [1], calls: [queued] }]);
    s.control.handle(host, { t: "wait-checked", checkId: 1, waits: started, calls: [queued] });
    expect(s.takeSent(host)).toMatchObject([{ t: "deadlock", waitId: 1 }]);
  });
});

describe("a standing node's restart", () => {
  const entriesOf = (s: Harness): { key: string; value: Uint8Array }[] => {
    const map = new Map<string, Uint8Array | null>(s.persisted.map(({ key, value }) => [key, value]));
    return [...map].flatMap(([key, value]) => (value === null ? [] : [{ key, value }]));
  };

  test("detached actors that may restart come back with their names; everything else is cleared away", () => {
    const before = setUp();
    alive(before, A, 1, { name: "keeper", lifetime: "detached", maxRestarts: 1 });
    alive(before, B, 2, { name: "gone" });
    alive(before, actorId(3), 3, { name: "once", lifetime: "detached" });
    const s = createHarness();
    s.control.restore(entriesOf(before));
    const [request, ...others] = s.takeRequests();
    expect(others).toEqual([]);
    s.ready(request, 1);
    expect(s.takeSent(processId("a1"))).toMatchObject([
      { t: "actor-start", actorId: A, incarnation: 1, name: "keeper", spec: { code: specOf().code } },
    ]);
    expect(s.persisted.filter(({ value }) => value === null).map(({ key }) => key)).toEqual([
      "actor-name/main/once",
      `actor/${actorId(3)}`,
      "job/0000cafe",
      "actor-name/main/gone",
    ]);
    const driver = s.driver("d");
    s.control.query(driver, { t: "query", id: 1, method: "get-actor", params: { name: "keeper", namespace: "main" } });
    expect(s.takeSent(driver)).toMatchObject([{ result: { actorId: A } }]);
  });
});
