/** Refs that left their owner's process are made although that is killed while their tasks run. */
import { writeFileSync } from "node:fs";
import { type ActorHandle, cancel, get, init, nodes, type ObjectRef, put, release, remote, shutdown } from "mobula";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { isAlive, linesOf, newFile, newGate, processEnds, waitingAt } from "../actors/helpers.ts";
import { eventually } from "../eventually.ts";
import { type Job, Owner } from "./owner-classes.ts";

beforeAll(async () => {
  await init({ objectStoreBytes: 64 * 2 ** 20, resources: { cpu: 4 } });
});
afterAll(() => shutdown());

/** An owner is to be killed, and not to end because its handle was collected. */
const owners: ActorHandle<Owner>[] = [];
afterEach(() => {
  owners.length = 0;
});

interface Killable {
  readonly owner: ActorHandle<Owner>;
  kill(): Promise<void>;
}

async function newOwner(): Promise<Killable> {
  const owner = remote(Owner).remote();
  owners.push(owner);
  const pid = await get(owner.pid.remote());
  return {
    owner,
    async kill() {
      process.kill(pid, "SIGKILL");
      await processEnds(pid);
    },
  };
}

/** The answer of a task that took less may be lost with its owner, and is made again. */
const KEPT_FROM_MS = 10;

async function longEnough(): Promise<void> {
  const startedAtMs = performance.now();
  await eventually(() => performance.now() - startedAtMs > KEPT_FROM_MS, "its answer would be kept");
}

/** A task of an actor that waits at a gate, and whose ref has come here while it ran. */
async function waitingTask(
  method: "wait" | "waitOnce" | "answerOnce" | "chain" = "wait",
  passOn: "task" | "taskAndBlock" = "task",
) {
  const { owner, kill } = await newOwner();
  const job: Job = { gate: newGate(), file: newFile() };
  await get(owner[method].remote(job));
  await waitingAt(job.gate, 1);
  await longEnough();
  const call = owner[passOn].remote();
  const { task } = await get(call);
  const killWorker = (): void => void process.kill(Number(linesOf(job.file)[0]?.split(" in ")[1]), "SIGKILL");
  return { ...job, owner, call, task, kill, killWorker };
}

describe("a task whose owner is killed while it runs", () => {
  test("ends as if nothing had been, and runs once", async () => {
    const { gate, file, task, kill } = await waitingTask();
    await kill();
    gate.open.remote();
    expect(await get(task)).toBe("it waited");
    expect(linesOf(file)).toHaveLength(1);
  });

  test("although it keeps its thread, and may not run twice", async () => {
    const { owner, kill } = await newOwner();
    const [file, go] = [newFile(), newFile()];
    await get(owner.compute.remote(file, go));
    await eventually(() => linesOf(file).length === 1, "it runs");
    await longEnough();
    const { task } = await get(owner.task.remote());
    await kill();
    writeFileSync(go, "");
    expect(await get(task)).toBe("it computed");
    expect(linesOf(file)).toHaveLength(1);
  });

  test("as soon as the answer that its ref came with has left", async () => {
    const { gate, file, task, kill } = await waitingTask("wait", "taskAndBlock");
    await kill();
    gate.open.remote();
    expect(await get(task)).toBe("it waited");
    expect(linesOf(file)).toHaveLength(1);
  });

  test("although it is answered while its owner is there and reads nothing", async () => {
    const { owner, gate, file, task, kill } = await waitingTask("answerOnce");
    process.kill(await get(owner.pid.remote()), "SIGSTOP");
    gate.open.remote();
    await eventually(() => linesOf(file).includes("answered"), "the answer has left");
    await kill();
    expect(await get(task)).toBe("it waited");
    expect(linesOf(file)).toHaveLength(2);
  });

  test("after its last handle has gone", async () => {
    const { owner, gate, file, task, kill } = await waitingTask("wait", "taskAndBlock");
    owner[Symbol.dispose]();
    await nodeHasHeard();
    await kill();
    gate.open.remote();
    expect(await get(task)).toBe("it waited");
    expect(linesOf(file)).toHaveLength(1);
  });

  test("although it ends with its last handle", async () => {
    const { owner, gate, file, task } = await waitingTask();
    const pid = await get(owner.pid.remote());
    owner[Symbol.dispose]();
    await processEnds(pid);
    gate.open.remote();
    expect(await get(task)).toBe("it waited");
    expect(linesOf(file)).toHaveLength(1);
  });

  test("is run again when its worker dies too", async () => {
    const { gate, file, task, kill, killWorker } = await waitingTask();
    await kill();
    killWorker();
    await waitingAt(gate, 2);
    gate.open.remote();
    expect(await get(task)).toBe("it waited");
    expect(linesOf(file)).toMatchObject([/^run 0 /, /^run 1 /].map((line) => expect.stringMatching(line) as string));
  });

  test("is run again when its worker died first, at the same time", async () => {
    const { gate, task, kill, killWorker } = await waitingTask();
    killWorker();
    await kill();
    await waitingAt(gate, 2);
    gate.open.remote();
    expect(await get(task)).toBe("it waited");
  });

  test("fails when its worker dies too and it may not be retried", async () => {
    const { file, task, kill, killWorker } = await waitingTask("waitOnce");
    killWorker();
    await kill();
    await expect(get(task)).rejects.toMatchObject({ kind: "lost" });
    expect(linesOf(file)).toHaveLength(1);
  });

  test("is followed by those that take its result", async () => {
    const { gate, file, task, kill } = await waitingTask("chain");
    await kill();
    gate.open.remote();
    expect(await get(task)).toBe("it waited!");
    expect(linesOf(file)).toHaveLength(1);
  });

  test("is kept by an object that others hold, and can be cancelled", async () => {
    const { task, kill } = await waitingTask();
    const box = put<{ readonly task: ObjectRef<string> }>({ task });
    task[Symbol.dispose]();
    await kill();
    const kept = (await get(box)).task;
    const read = get(kept);
    await cancel(kept);
    await expect(read).rejects.toMatchObject({ code: "TASK_CANCELLED" });
  });

  test("ends with its owner when nobody else has a ref of it", async () => {
    const { file, call, task, kill } = await waitingTask();
    const worker = Number(linesOf(file)[0]?.split(" in ")[1]);
    release(call, task);
    await nodeHasHeard();
    await kill();
    await eventually(() => !isAlive(worker), "its worker ends");
    expect(linesOf(file).filter((line) => line.startsWith("run"))).toHaveLength(1);
  });
});

/** Of everything that was let go of before: an answer to what was asked a turn later. */
async function nodeHasHeard(): Promise<void> {
  await nodes();
  await nodes();
}
