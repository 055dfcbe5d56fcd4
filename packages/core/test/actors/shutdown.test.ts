import { get, getActor, init, remote, shutdown } from "mobula";
import { afterEach, expect, test } from "vitest";
import { Counter, Hooked } from "./classes.ts";
import { errorOf, isAlive, linesOf, newFile, newGate, waitingAt } from "./helpers.ts";

const START = { objectStoreBytes: 64 * 2 ** 20, resources: { cpu: 2 } };
/** No hook takes its time: nothing of the shutdown waits for a deadline. */
const SHUTDOWN_MS = 5_000;

afterEach(() => shutdown());

test("shutdown() runs the hooks of all actors, detached ones too, and leaves no process", async () => {
  await init(START);
  const files = [newFile(), newFile(), newFile()] as const;
  const actors = [
    remote(Hooked).remote(files[0]),
    remote(Hooked, { name: "detached", lifetime: "detached" }).remote(files[1]),
    remote(Hooked, { isolation: "shared" }).remote(files[2]),
  ];
  const pids = await get(actors.map((actor) => actor.pid.remote()));
  const startedAt = performance.now();
  await shutdown();
  expect(performance.now() - startedAt).toBeLessThan(SHUTDOWN_MS);
  for (const file of files) expect(linesOf(file)).toEqual(["constructor", "start", "shutdown"]);
  expect(pids.filter(isAlive)).toEqual([]);
  // The actors of an embedded node end with it.
  await init(START);
  await expect(getActor("detached")).rejects.toMatchObject({ code: "ACTOR_NOT_FOUND" });
});

test("calls that run when shutdown() is called are aborted, and what waits for them rejects", async () => {
  await init(START);
  const file = newFile();
  const hooked = remote(Hooked).remote(file);
  const counter = remote(Counter).remote();
  const gate = newGate();
  const outcomes = [
    hooked.noteBehind.remote(gate, "never"),
    counter.untilAborted.remote(gate),
    counter.add.remote(),
  ].map(errorOf);
  await waitingAt(gate, 2);
  const startedAt = performance.now();
  await shutdown();
  expect(performance.now() - startedAt).toBeLessThan(SHUTDOWN_MS);
  for (const error of await Promise.all(outcomes)) expect(error).toMatchObject({ code: "CONNECTION_LOST" });
  expect(linesOf(file)).toEqual(["constructor", "start", "shutdown"]);
});

test("handles of an earlier init are refused", async () => {
  await init(START);
  const counter = remote(Counter).remote();
  await get(counter.add.remote());
  await shutdown();
  await init(START);
  expect(() => counter.add.remote()).toThrow(expect.objectContaining({ code: "REF_RELEASED" }));
});

test("an actor that is stuck in a loop does not hold up shutdown() for long", async () => {
  await init(START);
  const counter = remote(Counter).remote();
  const pid = await get(counter.pid.remote());
  const spinning = errorOf(counter.spin.remote());
  await get(remote(Counter).remote().add.remote());
  const startedAt = performance.now();
  await shutdown();
  expect(performance.now() - startedAt).toBeLessThan(SHUTDOWN_MS);
  expect(await spinning).toMatchObject({ code: "CONNECTION_LOST" });
  expect(isAlive(pid)).toBe(false);
});
