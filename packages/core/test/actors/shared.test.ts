import { cancel, get, init, kill, remote, shutdown } from "mobula";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { Counter, Hooked } from "./classes.ts";
import { errorOf, isAlive, linesOf, newFile, newGate, waitingAt } from "./helpers.ts";

beforeAll(async () => {
  await init({ objectStoreBytes: 64 * 2 ** 20, resources: { cpu: 4 } });
});
afterAll(() => shutdown());

const SharedCounter = remote(Counter, { isolation: "shared" });

test("many live in one process, each with its own state", async () => {
  const counters = Array.from({ length: 200 }, (_, index) => SharedCounter.remote(index));
  expect(await get(counters.map((counter) => counter.add.remote(1)))).toEqual(counters.map((_, index) => index + 1));
  expect(new Set(await get(counters.map((counter) => counter.pid.remote()))).size).toBe(1);
});

test("at most maxActorsPerWorker in one worker", async () => {
  const type = SharedCounter.options({ maxActorsPerWorker: 3 });
  const counters = Array.from({ length: 7 }, () => type.remote());
  const pids = await get(counters.map((counter) => counter.pid.remote()));
  const counts = [...new Set(pids)].map((pid) => pids.filter((other) => other === pid).length);
  expect(counts.sort()).toEqual([1, 3, 3]);
});

test("one is killed and the others do not notice; its calls end", async () => {
  const [victim, other] = [SharedCounter.remote(), SharedCounter.remote()];
  const gate = newGate();
  const [running, waiting] = [victim.addBehind.remote(gate), victim.add.remote()];
  const others = other.addBehind.remote(gate);
  await waitingAt(gate, 2);
  const pid = await get(SharedCounter.remote().pid.remote());
  await kill(victim);
  for (const ref of [running, waiting, victim.add.remote()]) {
    expect(await errorOf(ref)).toMatchObject({ code: "ACTOR_DIED" });
  }
  gate.open.remote();
  expect(await get(others)).toBe(1);
  expect(isAlive(pid)).toBe(true);
});

test("one is restarted in its worker: what ran is unavailable, what waited runs", async () => {
  const type = SharedCounter.options({ maxRestarts: 1 });
  const counter = type.remote(10);
  const pid = await get(counter.pid.remote());
  const gate = newGate();
  const running = counter.addBehind.remote(gate);
  const waiting = [counter.add.remote(1), counter.add.remote(1)];
  await waitingAt(gate, 1);
  await kill(counter, { noRestart: false });
  expect(await errorOf(running)).toMatchObject({ code: "ACTOR_UNAVAILABLE" });
  expect(await get(waiting)).toEqual([11, 12]);
  expect(await get(counter.pid.remote())).toBe(pid);
  gate.open.remote();
});

test("a crash takes all, and each goes on by its own rules", async () => {
  const type = SharedCounter.options({ maxActorsPerWorker: 5 });
  const mortal = Array.from({ length: 3 }, () => type.remote(1));
  const lasting = Array.from({ length: 2 }, () => type.options({ maxRestarts: 1 }).remote(2));
  const all = [...mortal, ...lasting];
  const [pid = 0] = [...new Set(await get(all.map((counter) => counter.pid.remote())))];
  process.kill(pid, "SIGKILL");
  for (const counter of mortal) expect(await errorOf(counter.add.remote())).toMatchObject({ code: "ACTOR_DIED" });
  expect(await get(lasting.map((counter) => counter.add.remote()))).toEqual([3, 3]);
});

test("hooks run on exit and on the release of the last handle, not on kill", async () => {
  const type = remote(Hooked, { isolation: "shared" });
  const files = Array.from({ length: 3 }, newFile) as [string, string, string];
  const [exits, released, killed] = files.map((file) => type.remote(file)) as [
    ReturnType<typeof type.remote>,
    ReturnType<typeof type.remote>,
    ReturnType<typeof type.remote>,
  ];
  await get([exits.pid.remote(), released.pid.remote(), killed.pid.remote()]);
  expect(await errorOf(exits.exit.remote())).toMatchObject({ code: "ACTOR_DIED" });
  released[Symbol.dispose]();
  await kill(killed);
  await eventually(() => linesOf(files[0]).includes("shutdown"), "the hook of the one that exits");
  await eventually(() => linesOf(files[1]).includes("shutdown"), "the hook of the released one");
  expect(linesOf(files[2])).toEqual(["constructor", "start"]);
});

test("a synchronous loop in one is interrupted without harm to the others", async () => {
  const type = SharedCounter.options({ maxActorsPerWorker: 2 });
  const [looping, other] = [type.remote(5), type.remote(6)];
  await get([looping.get.remote(), other.get.remote()]);
  const spinning = looping.spin.remote();
  const behind = other.get.remote();
  await cancel(spinning);
  expect(await errorOf(spinning)).toMatchObject({ code: "TASK_CANCELLED" });
  expect(await get(behind)).toBe(6);
  expect([5, 6]).toContain(await get(looping.get.remote()));
});
