/** A cancel of an actor's call reaches what that call has submitted, and nothing else. */
import { type ActorHandle, cancel, get, init, remote, runtimeContext, shutdown } from "mobula";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";
import { isRaised, note, notes, raise, raised } from "../tasks/helpers.ts";
import { errorOf } from "./helpers.ts";

beforeAll(async () => {
  await init({ objectStoreBytes: 64 * 2 ** 20, resources: { cpu: 4 } });
});
afterAll(() => shutdown());

/** Goes on until it is cancelled, or told to; it notes which. */
const child = remote(
  async (folder: string, name: string) => {
    const { signal } = runtimeContext();
    signal.addEventListener("abort", () => note(folder, `${name} was cancelled`));
    raise(folder, `${name} runs`);
    await eventually(() => signal.aborted || isRaised(folder, "go on"), `${name} may end`);
    if (!signal.aborted) note(folder, `${name} ended`);
  },
  { numCpus: 0 },
);

const parentOf = remote(
  async (folder: string, name: string) => {
    const { signal } = runtimeContext();
    signal.addEventListener("abort", () => note(folder, `parent of ${name} was cancelled`));
    await get(child.remote(folder, name));
  },
  { numCpus: 0 },
);

class Submitter {
  private next: ActorHandle<Submitter> | undefined;

  /** From now on, its calls reach it at once. */
  async meet(boxed: { readonly next: ActorHandle<Submitter> }): Promise<void> {
    this.next = boxed.next;
    await get(this.next.ping.remote());
  }
  ping(): string {
    return "pong";
  }
  submit(folder: string, name: string): void {
    child.remote(folder, name);
  }
  // None of those that follow ends before it is cancelled; three have to be broken off.
  loop(folder: string, name: string): void {
    child.remote(folder, name);
    for (;;);
  }
  async loopBeforeWaiting(folder: string, name: string): Promise<void> {
    child.remote(folder, name);
    for (;;);
  }
  *loopInStream(folder: string, name: string): Generator<string> {
    yield name;
    child.remote(folder, name);
    for (;;);
  }
  async heed(folder: string, name: string): Promise<void> {
    const { signal } = runtimeContext();
    child.remote(folder, name);
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
  }
  async heedNothing(folder: string, name: string): Promise<void> {
    child.remote(folder, name);
    await new Promise(() => {});
  }
  async wait(folder: string, name: string): Promise<void> {
    await get(child.remote(folder, name));
  }
  loopAboveTask(folder: string, name: string): void {
    parentOf.remote(folder, name);
    for (;;);
  }
  loopAboveLoop(folder: string, name: string): void {
    this.next?.loop.remote(folder, name);
    for (;;);
  }
  async waitAboveLoop(folder: string, name: string): Promise<void> {
    if (this.next) await get(this.next.loop.remote(folder, name));
  }
  loopAboveWait(folder: string, name: string): void {
    this.next?.wait.remote(folder, name);
    for (;;);
  }
}

const METHODS = ["loop", "loopBeforeWaiting", "loopInStream", "heed", "heedNothing", "wait"] as const;
const LEAVING = ["loop", "loopInStream", "heed"] as const;
const NESTED = ["loopAboveLoop", "waitAboveLoop", "loopAboveWait"] as const;

const call = (actor: ActorHandle<Submitter>, method: (typeof METHODS)[number], folder: string, name: string) => {
  if (method === "loopInStream") return actor.loopInStream.remote(folder, name);
  return actor[method].remote(folder, name);
};

describe.each(["process", "shared"] as const)("of actors with isolation %s", (isolation) => {
  // One in a process: one that loops holds up the others.
  const type = remote(Submitter, { isolation, maxActorsPerWorker: 1 });

  test.each(METHODS)(
    "what %s has submitted is cancelled with it, and what other calls of the actor have submitted is not",
    async (method) => {
      const folder = newFolder();
      const actor = type.options({ maxConcurrency: 3 }).remote();
      await get(actor.submit.remote(folder, "of one that has ended"));
      const beside = actor.wait.remote(folder, "of one beside it");
      await raised(folder, "of one that has ended runs");
      await raised(folder, "of one beside it runs");
      const cancelled = call(actor, method, folder, "child");
      await raised(folder, "child runs");
      await cancel(cancelled);
      await eventually(() => notes(folder).length > 0, "the child is told");
      await get(actor.ping.remote());
      raise(folder, "go on");
      await get(beside);
      await eventually(() => notes(folder).length === 3, "the others end");
      expect(notes(folder).sort()).toEqual([
        "child was cancelled",
        "of one beside it ended",
        "of one that has ended ended",
      ]);
    },
  );

  test.each(LEAVING)("what %s has submitted goes on with recursive: false", async (method) => {
    const folder = newFolder();
    const actor = type.remote();
    const cancelled = call(actor, method, folder, "child");
    await raised(folder, "child runs");
    await cancel(cancelled, { recursive: false });
    raise(folder, "go on");
    await eventually(() => notes(folder).length > 0, "the child ends");
    expect(notes(folder)).toEqual(["child ended"]);
  });

  test("what the children have submitted is cancelled too", async () => {
    const folder = newFolder();
    const looping = type.remote().loopAboveTask.remote(folder, "grandchild");
    await raised(folder, "grandchild runs");
    await cancel(looping);
    await eventually(() => notes(folder).length === 2, "both are told");
    expect(notes(folder).sort()).toEqual(["grandchild was cancelled", "parent of grandchild was cancelled"]);
  });

  test.each(NESTED)("a call that was made by %s is cancelled, with what that has submitted", async (method) => {
    const folder = newFolder();
    const [first, second] = [type.remote(), type.remote()];
    await get(first.meet.remote({ next: second }));
    const outer = first[method].remote(folder, "grandchild");
    await raised(folder, "grandchild runs");
    await cancel(outer);
    expect(await errorOf(outer)).toMatchObject({ code: "TASK_CANCELLED" });
    await eventually(() => notes(folder).length > 0, "the grandchild is told");
    expect(notes(folder)).toEqual(["grandchild was cancelled"]);
    expect(await get([first.ping.remote(), second.ping.remote()])).toEqual(["pong", "pong"]);
  });
});

test("two loops are broken off before the process hears why: each takes its own children with it, or leaves them", async () => {
  const folder = newFolder();
  const type = remote(Submitter, { isolation: "shared", maxActorsPerWorker: 2 });
  const [one, other] = [type.remote(), type.remote()];
  await get([one.ping.remote(), other.ping.remote()]);
  const loops = [one.loop.remote(folder, "first"), other.loop.remote(folder, "second")] as const;
  await raised(folder, "first runs");
  await cancel(loops[0]);
  // The process went on with it at once, without reading what has arrived.
  await raised(folder, "second runs");
  await cancel(loops[1], { recursive: false });
  await eventually(() => notes(folder).length > 0, "the first child is told");
  await get([one.ping.remote(), other.ping.remote()]);
  raise(folder, "go on");
  await eventually(() => notes(folder).length === 2, "the second child ends");
  expect(notes(folder)).toEqual(["first was cancelled", "second ended"]);
});
