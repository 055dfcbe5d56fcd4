import { ActorDiedError, get, getActor, init, kill, listActors, put, remote, shutdown } from "mobula";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { Broken, Counter, Hooked, Keeper, OnlyStart } from "./classes.ts";
import { errorOf, isAlive, linesOf, newFile, newGate, processEnds, waitingAt } from "./helpers.ts";

const INFEASIBLE_MS = 500;

beforeAll(async () => {
  await init({ objectStoreBytes: 64 * 2 ** 20, resources: { cpu: 4 }, infeasibleTimeoutMs: INFEASIBLE_MS });
});
afterAll(() => shutdown());

describe("restart", () => {
  test("the running call is unavailable, those that had not started run afterwards, in order", async () => {
    const counter = remote(Counter, { maxRestarts: 1 }).remote(10);
    const pid = await get(counter.pid.remote());
    await get(counter.add.remote(5));
    const gate = newGate();
    const running = counter.addBehind.remote(gate);
    const waiting = Array.from({ length: 100 }, () => counter.add.remote(1));
    await waitingAt(gate, 1);
    process.kill(pid, "SIGKILL");
    const whileRestarting = counter.add.remote(1);
    expect(await errorOf(running)).toMatchObject({ code: "ACTOR_UNAVAILABLE", kind: "unavailable" });
    // The state is what the constructor makes of it.
    expect(await get([...waiting, whileRestarting])).toEqual(Array.from({ length: 101 }, (_, index) => 11 + index));
    expect(await get(counter.context.remote())).toMatchObject({ wasRestarted: true });
    gate.open.remote();
  });

  test("maxTaskRetries repeats the running call, and its place is kept", async () => {
    const counter = remote(Counter, { maxRestarts: 1, maxTaskRetries: 1 }).remote();
    const pid = await get(counter.pid.remote());
    const gate = newGate();
    const running = counter.addBehind.remote(gate, 10);
    const later = counter.add.remote(1);
    await waitingAt(gate, 1);
    process.kill(pid, "SIGKILL");
    await waitingAt(gate, 2);
    gate.open.remote();
    expect(await get([running, later])).toEqual([10, 11]);
  });

  test("calls whose results arrived before the death stay done", async () => {
    const counter = remote(Counter, { maxRestarts: 1 }).remote();
    const calls = Array.from({ length: 300 }, () => counter.add.remote(1));
    const crash = counter.crash.remote();
    const after = counter.add.remote(1);
    const outcomes = await Promise.allSettled(calls.map((call) => get(call)));
    expect(await errorOf(crash)).toMatchObject({ code: "ACTOR_UNAVAILABLE" });
    expect(await get(after)).toBe(1);
    // What had run and was not answered is unavailable; nothing ran twice, so nothing starts from the beginning.
    outcomes.forEach((outcome, index) => {
      if (outcome.status === "fulfilled") expect(outcome.value).toBe(index + 1);
      else expect(outcome.reason).toMatchObject({ code: "ACTOR_UNAVAILABLE" });
    });
  });

  test("when the restarts are used up the actor is dead, with how it died", async () => {
    const counter = remote(Counter, { maxRestarts: 1 }).remote();
    expect(await errorOf(counter.crash.remote())).toMatchObject({ code: "ACTOR_UNAVAILABLE" });
    const last = counter.crash.remote();
    const later = counter.add.remote();
    for (const ref of [last, later, counter.add.remote()]) {
      const error = await errorOf(ref);
      expect(error).toMatchObject({ code: "ACTOR_DIED", kind: "lost", cause: { code: "WORKER_DIED" } });
      expect(error.message).toMatch(/SIGKILL/);
    }
  });

  test("without maxRestarts a crash is the end", async () => {
    const counter = remote(Counter).remote();
    const error = await errorOf(counter.crash.remote());
    expect(error).toBeInstanceOf(ActorDiedError);
    expect(error.message).toMatch(/maxRestarts/);
  });
});

describe("hooks", () => {
  test("onStart, onRestart after kill -9, onShutdown on exit; and not on a crash", async () => {
    const file = newFile();
    const actor = remote(Hooked, { maxRestarts: 1 }).remote(file);
    const pid = await get(actor.pid.remote());
    process.kill(pid, "SIGKILL");
    expect(await get(actor.pid.remote())).not.toBe(pid);
    expect(await errorOf(actor.exit.remote())).toMatchObject({ code: "ACTOR_DIED" });
    await eventually(() => linesOf(file).includes("shutdown"), "the shutdown hook has run");
    expect(linesOf(file)).toEqual(["constructor", "start", "constructor", "restart 1", "shutdown"]);
  });

  test("without onRestart, onStart runs again", async () => {
    const actor = remote(OnlyStart, { maxRestarts: 1 }).remote();
    const pid = await get(actor.pid.remote());
    process.kill(pid, "SIGKILL");
    expect(await get(actor.get.remote())).toBe(1);
  });

  test("onShutdown runs when the last handle is released, and not on kill", async () => {
    const files = [newFile(), newFile()] as const;
    const released = remote(Hooked).remote(files[0]);
    const killed = remote(Hooked).remote(files[1]);
    const [pid, otherPid] = await get([released.pid.remote(), killed.pid.remote()]);
    released[Symbol.dispose]();
    await kill(killed);
    await processEnds(pid as number);
    await processEnds(otherPid as number);
    expect(linesOf(files[0]).at(-1)).toBe("shutdown");
    expect(linesOf(files[1]).at(-1)).toBe("start");
  });
});

describe("ends", () => {
  test("exitActor lets earlier calls finish; its own call and later ones reject", async () => {
    const file = newFile();
    const actor = remote(Hooked, { maxConcurrency: 4 }).remote(file);
    const gate = newGate();
    const earlier = [actor.noteBehind.remote(gate, "one"), actor.noteBehind.remote(gate, "two")];
    await waitingAt(gate, 2);
    const exit = actor.exit.remote();
    const later = actor.note.remote("too late");
    gate.open.remote();
    await get(earlier);
    for (const ref of [exit, later, actor.note.remote("much too late")]) {
      const error = await errorOf(ref);
      expect(error).toMatchObject({ code: "ACTOR_DIED" });
      expect(error.message).toMatch(/exitActor/);
    }
    expect(linesOf(file).slice(2).sort()).toEqual(["one", "shutdown", "two"]);
  });

  test("kill ends it at once, and its calls with it", async () => {
    const counter = remote(Counter, { maxRestarts: 5 }).remote();
    const pid = await get(counter.pid.remote());
    const gate = newGate();
    const running = counter.addBehind.remote(gate);
    const waiting = counter.add.remote();
    await waitingAt(gate, 1);
    await kill(counter);
    expect(isAlive(pid)).toBe(false);
    for (const ref of [running, waiting, counter.add.remote()]) {
      const error = await errorOf(ref);
      expect(error).toMatchObject({ code: "ACTOR_DIED" });
      expect(error.message).toMatch(/killed/);
    }
    await kill(counter);
    gate.open.remote();
  });

  test("kill with noRestart: false restarts it", async () => {
    const counter = remote(Counter, { maxRestarts: 1 }).remote(7);
    const pid = await get(counter.pid.remote());
    await get(counter.add.remote(1));
    await kill(counter, { noRestart: false });
    expect(await get(counter.get.remote())).toBe(7);
    expect(await get(counter.pid.remote())).not.toBe(pid);
    await kill(counter, { noRestart: false });
    expect(await errorOf(counter.get.remote())).toMatchObject({ code: "ACTOR_DIED" });
  });

  test("kill before its constructor's arguments are there", async () => {
    const gate = newGate();
    const late = remote(async (at: typeof gate) => {
      await get(at.pass.remote());
      return 1;
    }).remote(gate);
    const counter = remote(Counter).remote(late);
    const call = counter.get.remote();
    await waitingAt(gate, 1);
    await kill(counter);
    gate.open.remote();
    expect(await errorOf(call)).toMatchObject({ code: "ACTOR_DIED" });
  });

  test("a constructor that throws: every call rejects, with the error as the cause", async () => {
    const broken = remote(Broken, { maxRestarts: 3 }).remote(5);
    for (const ref of [broken.ping.remote(), broken.ping.remote()]) {
      const error = await errorOf(ref);
      expect(error).toMatchObject({ code: "ACTOR_DIED", kind: "lost" });
      expect(error.cause).toMatchObject({ code: "TASK_FAILED", cause: { name: "DetailedError", detail: { at: 5 } } });
    }
  });

  test("a constructor's argument that fails", async () => {
    const bad = remote((): number => {
      throw new TypeError("no");
    }).remote();
    const error = await errorOf(remote(Counter).remote(bad).get.remote());
    expect(error).toMatchObject({ code: "ACTOR_DIED", cause: { code: "TASK_FAILED" } });
    expect(error.message).toMatch(/argument/);
  });

  test("one that is to be where labels or a node are that a node by itself does not have", async () => {
    const isolations = ["process", "shared"] as const;
    for (const isolation of isolations) {
      const labelled = remote(Counter, { isolation, labelSelector: { zone: "a" } }).remote();
      expect(await errorOf(labelled.get.remote())).toMatchObject({ cause: { code: "INFEASIBLE", kind: "invalid" } });
    }
    const elsewhere = remote(Counter, { schedulingStrategy: { nodeId: "f".repeat(32) } }).remote();
    const error = await errorOf(elsewhere.get.remote());
    expect(error).toMatchObject({ code: "ACTOR_DIED", cause: { code: "NODE_NOT_FOUND", kind: "invalid" } });
  });

  test("one that can never be placed", async () => {
    const counter = remote(Counter, { numCpus: 1_000 }).remote();
    const error = await errorOf(counter.get.remote());
    expect(error).toMatchObject({ code: "ACTOR_DIED", cause: { code: "INFEASIBLE", kind: "invalid" } });
    expect(error.message).toMatch(/1000/);
  });
});

describe("names", () => {
  test("getActor finds it, here and in a task; the name is free when it has ended", async () => {
    const counter = remote(Counter, { name: "found" }).remote(3);
    await get(counter.get.remote());
    const again = await getActor<Counter>("found");
    expect(await get(again.add.remote(1))).toBe(4);
    const inTask = remote(async () => {
      const mine = await getActor<Counter>("found");
      return get(mine.add.remote(1));
    });
    expect(await get(inTask.remote())).toBe(5);
    await kill(counter);
    await expect(getActor("found")).rejects.toMatchObject({ code: "ACTOR_NOT_FOUND", kind: "invalid" });
    expect(await get(remote(Counter, { name: "found" }).remote(1).get.remote())).toBe(1);
  });

  test("a taken name rejects the new actor's calls", async () => {
    const first = remote(Counter, { name: "taken" }).remote(1);
    const second = remote(Counter, { name: "taken" }).remote(2);
    const error = await errorOf(second.get.remote());
    expect(error).toMatchObject({ code: "NAME_TAKEN", kind: "invalid" });
    expect(error.message).toMatch(/"taken"/);
    expect(await get(first.get.remote())).toBe(1);
  });

  test("getIfExists gives the actor that has the name, also to several at once", async () => {
    const type = remote(Counter, { name: "shared name", getIfExists: true });
    const handles = [type.remote(100), type.remote(200), type.remote(300)] as const;
    const values = await get(handles.map((handle) => handle.add.remote(1)));
    expect(values).toEqual([101, 102, 103]);
    handles[0][Symbol.dispose]();
    handles[1][Symbol.dispose]();
    expect(await get(handles[2].add.remote(1))).toBe(104);
    const kept = await get(
      remote(async (boxed: { handle: (typeof handles)[0] }) => get(boxed.handle.add.remote(1))).remote({
        handle: handles[2],
      }),
    );
    expect(kept).toBe(105);
    handles[2][Symbol.dispose]();
    await eventually(
      async () => (await listActors()).find(({ name }) => name === "shared name")?.state === "dead",
      "it ends with the last of its handles",
    );
  });

  test("namespaces keep names apart; what runs in an actor is in its job's", async () => {
    const here = remote(Counter, { name: "twin" }).remote(1);
    const there = remote(Counter, { name: "twin", namespace: "elsewhere" }).remote(2);
    expect(await get([here.get.remote(), there.get.remote()])).toEqual([1, 2]);
    expect(await get((await getActor<Counter>("twin", { namespace: "elsewhere" })).get.remote())).toBe(2);
    const [own, other] = await get([here.context.remote(), there.context.remote()]);
    expect(other.namespace).toBe(own.namespace);
    const names = async (allNamespaces: boolean): Promise<number> =>
      (await listActors({ allNamespaces })).filter(({ name, state }) => name === "twin" && state === "alive").length;
    expect([await names(false), await names(true)]).toEqual([1, 2]);
  });

  test("listActors tells the class, the process, the state and the restarts", async () => {
    const counter = remote(Counter, { name: "listed", maxRestarts: 1 }).remote();
    await errorOf(counter.crash.remote());
    const pid = await get(counter.pid.remote());
    const { actorId } = await get(counter.context.remote());
    const listed = (await listActors()).find((actor) => actor.actorId === actorId);
    expect(listed).toMatchObject({ name: "listed", className: "Counter", state: "alive", restarts: 1, pid });
  });

  test("a detached actor outlives its handles", async () => {
    const counter = remote(Counter, { name: "detached", lifetime: "detached" }).remote(5);
    const pid = await get(counter.pid.remote());
    counter[Symbol.dispose]();
    const probe = remote(Counter).remote();
    const probePid = await get(probe.pid.remote());
    probe[Symbol.dispose]();
    await processEnds(probePid);
    expect(isAlive(pid)).toBe(true);
    const found = await getActor<Counter>("detached");
    expect(await get(found.get.remote())).toBe(5);
    await kill(found);
  });
});

describe("scope", () => {
  const newCounter = async () => {
    const handle = remote(Counter).remote();
    return { handle, pid: await get(handle.pid.remote()) };
  };

  test("calls under way keep it, the release of the last handle ends it", async () => {
    const { handle, pid } = await newCounter();
    const gate = newGate();
    const call = handle.addBehind.remote(gate, 3);
    handle[Symbol.dispose]();
    expect(() => handle.add.remote()).toThrow(expect.objectContaining({ code: "REF_RELEASED" }));
    expect(() => put({ handle })).toThrow(expect.objectContaining({ code: "REF_RELEASED" }));
    await waitingAt(gate, 1);
    expect(isAlive(pid)).toBe(true);
    gate.open.remote();
    expect(await get(call)).toBe(3);
    await processEnds(pid);
  });

  test("a handle in another actor keeps it", async () => {
    const { handle, pid } = await newCounter();
    const keeper = remote(Keeper).remote();
    await get(keeper.keep.remote({ handle }));
    handle[Symbol.dispose]();
    expect(await get(keeper.addToKept.remote())).toBe(1);
    expect(await get(keeper.addToKept.remote())).toBe(2);
    await get(keeper.dropKept.remote());
    await processEnds(pid);
  });

  test("a handle in an object keeps it", async () => {
    const { handle, pid } = await newCounter();
    const stored = put({ handle });
    handle[Symbol.dispose]();
    const inside = (await get(stored)).handle;
    expect(await get(inside.add.remote(1))).toBe(1);
    inside[Symbol.dispose]();
    const addInTask = remote(async (boxed: { handle: typeof handle }) => get(boxed.handle.add.remote(1)));
    expect(await get(addInTask.remote(stored))).toBe(2);
    stored[Symbol.dispose]();
    await processEnds(pid);
  });

  test("a handle in a closure keeps it", async () => {
    const { handle, pid } = await newCounter();
    const add = remote(async () => get(handle.add.remote(1)));
    expect(await get(add.remote())).toBe(1);
    handle[Symbol.dispose]();
    expect(await get(add.remote())).toBe(2);
    expect(isAlive(pid)).toBe(true);
  });

  test("a handle among the arguments of a call that waits keeps it", async () => {
    const { handle, pid } = await newCounter();
    const gate = newGate();
    const late = remote(async (at: typeof gate) => {
      await get(at.pass.remote());
      return 5;
    }).remote(gate);
    const use = remote(async (boxed: { handle: typeof handle }, by: number) => get(boxed.handle.add.remote(by)));
    const result = use.remote({ handle }, late);
    handle[Symbol.dispose]();
    await waitingAt(gate, 1);
    expect(isAlive(pid)).toBe(true);
    gate.open.remote();
    expect(await get(result)).toBe(5);
    await processEnds(pid);
  });

  test("a handle that a task returns keeps it, and one that an actor gives of itself", async () => {
    const make = remote(() => ({ made: remote(Counter).remote(40) }));
    const { made } = await get(make.remote());
    expect(await get(made.add.remote(2))).toBe(42);
    const pid = await get(made.pid.remote());
    const self = (await get(made.self.remote())) as typeof made;
    made[Symbol.dispose]();
    expect(await get(self.add.remote(1))).toBe(43);
    self[Symbol.dispose]();
    await processEnds(pid);
  });

  for (const isolation of ["process", "shared"] as const) {
    test(`one that an actor passes on of itself keeps it, also while it waits to be sent (${isolation})`, async () => {
      const handle = remote(Counter, { isolation }).remote();
      const { actorId } = await get(handle.context.remote());
      const state = async (): Promise<string | undefined> =>
        (await listActors()).find((info) => info.actorId === actorId)?.state;
      const keeper = remote(Keeper).remote();
      const gate = newGate();
      const when = gate.pass.remote();
      await get(handle.introduceTo.remote({ keeper, when }));
      handle[Symbol.dispose]();
      // The node has heard that nobody holds it, and its host has had a turn.
      expect(await state()).toBe("alive");
      await get(keeper.dropKept.remote());
      gate.open.remote();
      await eventually(async () => (await get(keeper.kept.remote())).handle, "the handle is kept");
      expect(await get(keeper.addToKept.remote())).toBe(1);
      await get(keeper.dropKept.remote());
      await eventually(async () => (await state()) === "dead", "the actor ends");
    });
  }

  test("an actor's own handle that came back to it does not keep it", async () => {
    const { handle, pid } = await newCounter();
    const keeper = remote(Keeper).remote();
    await get(keeper.keep.remote({ handle }));
    expect(await get(handle.meetItself.remote({ keeper }))).toBe(true);
    await get(keeper.dropKept.remote());
    handle[Symbol.dispose]();
    await processEnds(pid);
  });
});
