import { describe, expect, test } from "vitest";
import { objectKey, type ProcessId, type Seq } from "../base/ids.ts";
import { LEASE_IDLE_MS } from "../base/limits.ts";
import { unpackFailure } from "../wire/mod.ts";
import { guardKey } from "./claims.ts";
import { named, only, type SentTask, stored, TestOwner, type TestWorker } from "./test-owner.ts";

/** An owner with one leased worker that has nothing to do. */
function withWorker(options: Parameters<TestOwner["register"]>[1] = {}): { owner: TestOwner; worker: TestWorker } {
  const owner = new TestOwner();
  owner.register(1, options);
  owner.submit(900);
  owner.flush();
  const worker = owner.grant(1, 0);
  const task = only(worker.takeTasks());
  if (options.isStream) owner.streamEnd(worker, task, 0);
  else
    owner.results(
      worker,
      task,
      Array.from({ length: options.numReturns ?? 1 }, () => stored(900)),
    );
  owner.release(900);
  owner.flush();
  owner.takeAsked();
  owner.takeTold();
  return { owner, worker };
}

/** The same, with tasks 1 and 2 sent to the worker. */
function withTwoSent(options: Parameters<TestOwner["register"]>[1] = {}) {
  const { owner, worker } = withWorker(options);
  owner.submit(1);
  owner.submit(2);
  owner.flush();
  const [first, second] = worker.takeTasks() as [SentTask, SentTask];
  return { owner, worker, first, second };
}

const send = (owner: TestOwner, worker: TestWorker): SentTask => {
  owner.flush();
  return only(worker.takeTasks());
};

describe("arguments", () => {
  test("a task is sent when the last of its arguments has its value", () => {
    const { owner, worker } = withWorker();
    owner.submit(1);
    const first = send(owner, worker);
    owner.put(2);
    owner.submit(3, 1, [1, 2]);
    owner.flush();
    expect(worker.takeTasks()).toEqual([]);
    owner.ok(worker, first);
    expect(send(owner, worker).seq).toBe(3);
  });

  test("a failed argument fails what depends on it, once for each hop, and counts as read", () => {
    const { owner, worker } = withWorker();
    owner.submit(1);
    owner.submit(2, 1, [1]);
    owner.submit(3, 1, [2]);
    const task = send(owner, worker);
    owner.want(3);
    owner.throws(worker, task, false);
    expect(owner.takeTold()).toEqual(["value 3 TASK_FAILED"]);
    owner.release(1, 2, 3);
    expect(owner.takeTold()).toEqual([]);
  });

  test("refs inside arguments are published, and granted to the worker before it is sent the task", () => {
    const { owner, worker } = withWorker();
    owner.put(1);
    owner.submit(2, 1, [], [1 as Seq]);
    send(owner, worker);
    expect(owner.takeAsked().filter(({ t }) => t !== "lease-demand")).toEqual([
      { t: "object-publish", objects: [{ key: owner.key(1), value: expect.objectContaining({ at: "inline" }) }] },
      { t: "hold-grant", to: worker.address.processId, keys: [owner.key(1)] },
    ]);
  });

  test("refs that a function has captured are granted once to each worker, before it is sent the function", () => {
    const { owner, worker } = withWorker();
    owner.put(1);
    owner.register(2, { nested: [1 as Seq] });
    owner.takeAsked();
    const grants = () => owner.takeAsked().filter(({ t }) => t === "hold-grant");
    const grantTo = ({ address }: TestWorker) => [{ t: "hold-grant", to: address.processId, keys: [owner.key(1)] }];
    owner.submit(2, 2);
    const first = send(owner, worker);
    expect(grants()).toEqual(grantTo(worker));
    owner.start(worker, first);
    owner.ok(worker, first);
    owner.submit(3, 2);
    const second = send(owner, worker);
    expect(grants()).toEqual([]);
    owner.start(worker, second);
    owner.lose(1, worker);
    const next = owner.grant(2, 1);
    expect(next.takeTasks()).toHaveLength(1);
    expect(grants()).toEqual(grantTo(next));
  });
});

test("workers forget a function once it can be called no more and its last task has ended, for good", () => {
  const { owner, worker } = withWorker();
  owner.register(2);
  owner.submit(1, 2);
  const first = send(owner, worker);
  owner.start(worker, first);
  owner.submit(2, 2);
  owner.engine.tasks.unregister(2);
  owner.ok(worker, first);
  owner.release(1);
  owner.flush();
  const sent = worker.take();
  expect(sent.filter(({ kind }) => kind === "forget")).toEqual([]);
  owner.ok(worker, only(sent.filter((one) => one.kind === "task")));
  owner.release(2);
  owner.flush();
  expect(worker.take()).toEqual([{ kind: "forget", template: 2 }]);
  expect(worker.knownTemplates.has(2)).toBe(false);
});

describe("results", () => {
  test("a wanted value is told once; a watched one without the value", () => {
    const { owner, worker } = withWorker();
    owner.submit(1);
    owner.want(1);
    owner.engine.objects.watch(1 as Seq);
    owner.ok(worker, send(owner, worker));
    expect(owner.takeTold()).toEqual(["ready 1", "value 1 [1]"]);
  });

  test("a result that nobody has a ref of is freed", () => {
    const { owner, worker } = withWorker();
    owner.submit(1);
    const task = send(owner, worker);
    owner.release(1);
    owner.results(worker, task, [stored(7)]);
    owner.flush();
    expect(owner.takeAsked()).toContainEqual({ t: "store-free", names: [named(7)] });
    expect(owner.engine.objects.find(1 as Seq)).toBeUndefined();
  });

  test("a pending get holds the object although the ref was released", () => {
    const { owner, worker } = withWorker();
    owner.submit(1);
    const task = send(owner, worker);
    owner.want(1);
    owner.release(1);
    owner.ok(worker, task);
    expect(owner.takeTold()).toEqual(["value 1 [1]"]);
    owner.flush();
    expect(owner.engine.objects.find(1 as Seq)).toBeUndefined();
  });

  test("a wrong number of values fails every return, and frees what was stored", () => {
    const { owner, worker } = withWorker({ numReturns: 2 });
    owner.submit(1);
    owner.want(1, 2);
    owner.results(worker, send(owner, worker), [stored(7)]);
    expect(owner.takeTold()).toEqual(["value 1 TASK_FAILED", "value 2 TASK_FAILED"]);
    owner.flush();
    expect(owner.takeAsked()).toContainEqual({ t: "store-free", names: [named(7)] });
  });

  test("a failure that nobody reads is told when its ref goes, or at once when that went before", () => {
    const { owner, worker } = withWorker();
    owner.submit(1);
    owner.throws(worker, send(owner, worker), false);
    expect(owner.takeTold()).toEqual([]);
    owner.release(1);
    expect(owner.takeTold()).toEqual(["unread f1"]);
    owner.submit(2);
    const task = send(owner, worker);
    owner.release(2);
    owner.throws(worker, task, false);
    expect(owner.takeTold()).toEqual(["unread f1"]);
  });

  test("an answer of an earlier attempt changes nothing", () => {
    const { owner, worker } = withWorker();
    owner.submit(1);
    const first = send(owner, worker);
    owner.want(1);
    owner.throws(worker, first, true);
    const second = send(owner, worker);
    expect(second.attempt).toBe(1);
    owner.ok(worker, first);
    expect(owner.takeTold()).toEqual([]);
    owner.ok(worker, second);
    expect(owner.takeTold()).toEqual(["value 1 [1]"]);
  });
});

describe("retries", () => {
  test("a started task of a dead worker is an attempt, one not begun is none", () => {
    const { owner, worker, first, second } = withTwoSent({ maxRetries: 0 });
    owner.start(worker, first);
    owner.want(1, 2);
    owner.lose(1, worker);
    expect(owner.takeTold()).toEqual(["value 1 WORKER_DIED"]);
    const next = owner.grant(2, 1);
    const again = only(next.takeTasks());
    // The program sees the number of the attempt: it is the first.
    expect(again).toMatchObject({ seq: second.seq, attempt: 0 });
    owner.ok(next, again);
    expect(owner.takeTold()).toEqual(["value 2 [2]"]);
  });

  test("what a dead worker had not begun goes first again, in its order", () => {
    const { owner, worker } = withWorker();
    for (const seq of [1, 2, 3, 4]) owner.submit(seq);
    owner.flush();
    const [first] = worker.takeTasks() as [SentTask];
    owner.start(worker, first);
    for (const seq of [5, 6]) owner.submit(seq);
    owner.lose(1, worker);
    const next = owner.grant(2, 1);
    expect(next.takeTasks().map(({ seq }) => seq)).toEqual([2, 3, 4, 5, 6, 1]);
  });

  test("what a worker had finished before it died counts, although the node is the first to tell of its death", () => {
    const { owner, worker, first, second } = withTwoSent({ maxRetries: 0 });
    owner.start(worker, first);
    owner.start(worker, second);
    owner.want(1, 2);
    owner.announceDeath(1, worker);
    expect(owner.takeTold()).toEqual([]);
    owner.submit(3);
    owner.flush();
    expect(worker.takeTasks()).toEqual([]);
    owner.ok(worker, first);
    owner.closeLink(worker);
    expect(owner.takeTold()).toEqual(["value 1 [1]", "value 2 WORKER_DIED"]);
  });

  test("an answer of a worker that has lost the task changes nothing, although it is the same attempt", () => {
    const { owner, worker, first, second } = withTwoSent();
    owner.start(worker, first);
    owner.lose(1, worker);
    const next = owner.grant(2, 1);
    const again = next.takeTasks().find(({ seq }) => seq === second.seq) as SentTask;
    expect(again.attempt).toBe(second.attempt);
    owner.want(2);
    owner.ok(worker, { ...second, slot: 0 });
    expect(owner.takeTold()).toEqual([]);
    owner.ok(next, again);
    expect(owner.takeTold()).toEqual(["value 2 [2]"]);
  });

  test("what a worker was giving back when it died had not begun", () => {
    const { owner, worker, first, second } = withTwoSent({ maxRetries: 0 });
    owner.start(worker, first);
    expect(worker.words.giveBack(second.slot, second.sequence)).toBe(true);
    owner.want(2);
    owner.lose(1, worker);
    expect(owner.takeTold()).toEqual([]);
    const next = owner.grant(2, 1);
    owner.ok(next, only(next.takeTasks()));
    expect(owner.takeTold()).toEqual(["value 2 [2]"]);
  });

  test("attempts end with maxRetries; out of memory has its own error", () => {
    const { owner, worker } = withWorker({ maxRetries: 1 });
    owner.submit(1);
    owner.want(1);
    const first = send(owner, worker);
    owner.start(worker, first);
    owner.lose(1, worker, { outOfMemory: "it used 3 GiB" });
    owner.pass(100);
    expect(owner.engine.tasks.sent.size).toBe(0);
    owner.pass(500);
    const next = owner.grant(2, 1);
    const second = only(next.takeTasks());
    expect(second.attempt).toBe(1);
    owner.start(next, second);
    owner.lose(2, next, { outOfMemory: "it used 3 GiB" });
    expect(owner.takeTold()).toEqual(["value 1 OUT_OF_MEMORY"]);
  });

  test("each time that memory ran out it waits twice as long, a minute at most", () => {
    const { owner, worker } = withWorker({ maxRetries: -1 });
    owner.submit(1);
    let at = worker;
    let sent = send(owner, worker);
    const waits = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000];
    for (const [index, waitMs] of waits.entries()) {
      owner.start(at, sent);
      owner.lose(index + 1, at, { outOfMemory: "it used 3 GiB" });
      owner.pass(waitMs - 10);
      at = owner.grant(index + 2, index + 1);
      expect(at.takeTasks(), `after ${waitMs - 10} ms`).toEqual([]);
      owner.pass(10);
      sent = only(at.takeTasks());
    }
    expect(sent.attempt).toBe(waits.length);
  });

  test("an exception to retry waits for the delay", () => {
    const { owner, worker } = withWorker({ retryDelayMs: 200 });
    owner.submit(1);
    owner.throws(worker, send(owner, worker), true);
    owner.pass(190);
    expect(worker.takeTasks()).toEqual([]);
    owner.pass(10);
    expect(only(worker.takeTasks())).toMatchObject({ seq: 1, attempt: 1 });
  });
});

describe("cancelling", () => {
  test("a queued task is dropped", () => {
    const owner = new TestOwner();
    owner.register(1);
    owner.submit(1);
    owner.submit(2);
    owner.want(1);
    expect(owner.cancel(1)).toBe(true);
    expect(owner.takeTold()).toEqual(["value 1 TASK_CANCELLED"]);
    expect(owner.cancel(1)).toBe(false);
    expect(
      owner
        .grant(1, 0)
        .takeTasks()
        .map(({ seq }) => seq),
    ).toEqual([2]);
  });

  test("a task that was sent and has not begun is taken back", () => {
    const { owner, worker } = withWorker();
    owner.submit(1);
    const task = send(owner, worker);
    owner.cancel(1);
    expect(owner.start(worker, task)).toBe(false);
    expect(worker.take()).toEqual([]);
  });

  test("a running one ends for the program at once; its worker is told and interrupted until it lets go", () => {
    const { owner, worker } = withWorker();
    owner.submit(1);
    owner.want(1);
    const task = send(owner, worker);
    owner.start(worker, task);
    owner.cancel(1);
    expect(owner.takeTold()).toEqual(["value 1 TASK_CANCELLED"]);
    expect(worker.take()).toEqual([{ kind: "cancel", seq: 1, code: "TASK_CANCELLED", isRecursive: true }]);
    owner.submit(2);
    owner.throws(worker, task, false);
    expect(owner.takeTold()).toEqual([]);
    expect(send(owner, worker).seq).toBe(2);
    expect(owner.killed).toEqual([]);
  });

  test("one that was taken back from behind a long one leaves nothing to watch over when it is cancelled", () => {
    const { owner, worker } = withWorker();
    owner.submit(1);
    owner.submit(2);
    owner.flush();
    const [first] = worker.takeTasks() as [SentTask];
    owner.start(worker, first);
    owner.pass(50);
    expect(owner.cancel(2)).toBe(true);
    owner.ok(worker, first);
    owner.pass(5_000);
    expect(owner.engine.isActive).toBe(false);
  });

  test("a pending task can be cancelled although its ref is gone, and its error is no news", () => {
    const { owner, worker } = withWorker();
    owner.submit(1);
    const task = send(owner, worker);
    owner.start(worker, task);
    owner.release(1);
    expect(owner.cancel(1)).toBe(true);
    expect(owner.takeTold()).toEqual([]);
  });

  test("a borrowed ref is cancelled by its owner, and an owned one when another asks", () => {
    const { owner, worker } = withWorker();
    const other = "b".repeat(24) as ProcessId;
    const foreign = objectKey(other, 5 as Seq);
    owner.engine.objects.borrow(1 as Seq, other, 5 as Seq);
    owner.cancel(1);
    expect(owner.takeAsked()).toContainEqual({ t: "object-cancel", key: foreign, force: false, isRecursive: true });
    owner.submit(2);
    const task = send(owner, worker);
    owner.start(worker, task);
    owner.engine.onNodeMessage({ t: "object-cancel", key: owner.key(2), force: false, isRecursive: false });
    expect(worker.take()).toEqual([{ kind: "cancel", seq: 2, code: "TASK_CANCELLED", isRecursive: false }]);
  });

  test("force kills the worker, after taking back what had not begun there", () => {
    const { owner, worker, first, second } = withTwoSent({ maxRetries: 0 });
    owner.start(worker, first);
    owner.cancel(1, true);
    expect(owner.killed).toEqual([worker.address.workerId]);
    expect(owner.start(worker, second)).toBe(false);
    owner.want(2);
    owner.lose(1, worker);
    expect(owner.takeTold()).toEqual([]);
    expect(
      owner
        .grant(2, 1)
        .takeTasks()
        .map(({ seq }) => seq),
    ).toEqual([2]);
  });

  test("force kills nobody when the task has ended: one that was sent behind it has begun", () => {
    const { owner, worker, first, second } = withTwoSent({ maxRetries: 0 });
    owner.want(1, 2);
    owner.start(worker, first);
    // Its answer is on the way.
    owner.start(worker, second);
    owner.cancel(1, true);
    expect(owner.killed).toEqual([]);
    owner.ok(worker, first);
    owner.ok(worker, second);
    expect(owner.takeTold()).toEqual(["value 1 TASK_CANCELLED", "value 2 [2]"]);
    // The worker goes on.
    owner.submit(3);
    expect(send(owner, worker).seq).toBe(3);
  });

  describe("without claim words, force", () => {
    const sent = () => {
      const owner = new TestOwner({ hasClaims: false });
      owner.register(1, { maxRetries: 0 });
      owner.submit(1);
      owner.submit(2);
      owner.want(1, 2);
      owner.flush();
      const worker = owner.grant(1, 1);
      const [first, second] = worker.takeTasks() as [SentTask, SentTask];
      owner.cancel(1, true);
      expect(worker.take()).toContainEqual({ kind: "take-back", seqs: [2] });
      expect(owner.killed).toEqual([]);
      return { owner, worker, first, second };
    };

    test("kills the worker when it has given back what had not begun there", () => {
      const { owner, worker } = sent();
      owner.returned(worker, 2);
      owner.pass(10);
      expect(owner.killed).toEqual(["w1"]);
      owner.pass(1_000);
      expect(owner.killed).toHaveLength(1);
    });

    test("kills a worker that gives nothing back, because the task keeps its thread", () => {
      const { owner } = sent();
      owner.pass(499);
      expect(owner.killed).toEqual([]);
      owner.pass(1);
      expect(owner.killed).toEqual(["w1"]);
    });

    test("kills nobody when the task is answered: it had ended", () => {
      const { owner, worker, first, second } = sent();
      owner.ok(worker, first);
      owner.pass(1_000);
      expect(owner.killed).toEqual([]);
      owner.ok(worker, second);
      expect(owner.takeTold()).toEqual(["value 1 TASK_CANCELLED", "value 2 [2]"]);
    });
  });
});

describe("deadlines", () => {
  test("the time of an attempt begins when it does, not while it waits behind another", () => {
    const { owner, worker } = withWorker({ timeoutMs: 100 });
    owner.submit(1);
    owner.submit(2);
    owner.want(1, 2);
    owner.flush();
    const [first, second] = worker.takeTasks() as [SentTask, SentTask];
    owner.start(worker, first);
    owner.pass(9);
    owner.ok(worker, first);
    owner.start(worker, second);
    owner.pass(99);
    expect(owner.takeTold()).toEqual(["value 1 [1]"]);
    owner.pass(1);
    expect(owner.takeTold()).toEqual(["value 2 TASK_TIMEOUT"]);
    expect(owner.killed).toEqual([worker.address.workerId]);
  });

  test("a task that was taken back has no deadline while it waits", () => {
    const { owner, worker } = withWorker({ timeoutMs: 100 });
    owner.submit(1);
    owner.submit(2);
    owner.want(2);
    owner.flush();
    const [first] = worker.takeTasks() as [SentTask];
    owner.start(worker, first);
    owner.pass(50);
    owner.pass(49);
    owner.ok(worker, first);
    owner.pass(5_000);
    owner.pass(5_000);
    expect(owner.takeTold()).toEqual([]);
  });
});

describe("streams", () => {
  const stream = () => {
    const { owner, worker } = withWorker({ isStream: true });
    owner.submit(1);
    return { owner, worker, task: send(owner, worker) };
  };

  test("a cancelled one may end by itself, and clean up, before it is interrupted", () => {
    const { owner, worker, task } = stream();
    owner.start(worker, task);
    worker.words.enterGuard(guardKey(owner.self, task.seq as Seq));
    owner.cancel(1);
    expect(worker.take()).toMatchObject([{ kind: "cancel", seq: 1 }]);
    owner.pass(200);
    expect(worker.interrupted).toEqual([]);
    owner.pass(100);
    expect(worker.interrupted).toEqual([worker.address.pid]);
  });

  test("items bring small values along; the end settles the completion", () => {
    const { owner, worker, task } = stream();
    owner.want(1);
    owner.item(worker, task, 0);
    owner.item(worker, task, 1);
    owner.streamEnd(worker, task, 2);
    const told = owner.takeTold();
    expect(told.slice(0, 3)).toEqual(["item [0] of 1", "item [1] of 1", "end of 1 after 2"]);
    expect(told.slice(3)).toEqual([expect.stringMatching(/^value 1 \[/)]);
  });

  test("what was taken is passed on to the producer, also to the next attempt", () => {
    const { owner, worker, task } = stream();
    owner.item(worker, task, 0);
    owner.item(worker, task, 1);
    owner.engine.consumed(1 as Seq, 1);
    expect(worker.take()).toEqual([{ kind: "ack", seq: 1, consumed: 1 }]);
    owner.lose(1, worker);
    owner.engine.consumed(1 as Seq, 2);
    const next = owner.grant(2, 1);
    const again = only(next.takeTasks());
    owner.takeTold();
    owner.item(next, again, 0);
    expect(next.take()).toEqual([{ kind: "ack", seq: 1, consumed: 2 }]);
    owner.item(next, again, 1);
    owner.item(next, again, 2);
    expect(owner.takeTold().filter((line) => line.startsWith("item"))).toEqual(["item [2] of 1"]);
  });

  test("an error is the last item, and no failure that nobody reads", () => {
    const { owner, worker, task } = stream();
    owner.item(worker, task, 0);
    owner.throws(worker, task, false);
    expect(owner.takeTold().filter((line) => !line.startsWith("value"))).toEqual([
      "item [0] of 1",
      "kept item of 1",
      "end of 1 after 2",
    ]);
    owner.release(1);
    expect(owner.takeTold()).toEqual([]);
  });

  test("an abandoned stream is cancelled, whichever of its refs went first", () => {
    const { owner, worker, task } = stream();
    owner.start(worker, task);
    owner.release(1);
    owner.engine.abandonStream(1 as Seq);
    expect(worker.take()).toContainEqual({ kind: "cancel", seq: 1, code: "TASK_CANCELLED", isRecursive: true });
    owner.item(worker, task, 0);
    expect(owner.takeTold().filter((line) => line.startsWith("item"))).toEqual([]);
  });
});

describe("lineage", () => {
  const lost = { t: "store-pinned", name: named(7), key: 7, offset: 0, size: 0 } as const;
  const error = { code: "OBJECT_LOST", kind: "lost", message: "gone" } as const;

  test("a lost result is made again, and before it the arguments that were let go", () => {
    const { owner, worker } = withWorker();
    owner.submit(1);
    owner.results(worker, send(owner, worker), [stored(6)]);
    owner.submit(2, 1, [1]);
    owner.results(worker, send(owner, worker), [stored(7)]);
    owner.release(1);
    owner.flush();
    expect(owner.takeAsked()).toContainEqual({ t: "store-free", names: [named(6)] });
    owner.want(2);
    expect(owner.pinned).toEqual([7]);
    owner.engine.onNodeMessage({ ...lost, error });
    const argument = send(owner, worker);
    expect(argument).toMatchObject({ seq: 1, attempt: 1 });
    owner.results(worker, argument, [stored(8)]);
    const result = send(owner, worker);
    expect(result).toMatchObject({ seq: 2, attempt: 1 });
    owner.results(worker, result, [stored(9)]);
    owner.engine.onNodeMessage({ ...lost, name: named(9), key: 9 });
    expect(owner.takeTold()).toEqual(["pinned 2 key 9"]);
  });

  test("a result is made again though its function and its shape are gone", () => {
    const { owner, worker } = withWorker();
    owner.submit(1);
    owner.results(worker, send(owner, worker), [stored(7)]);
    owner.engine.tasks.unregister(1);
    owner.pass(LEASE_IDLE_MS);
    owner.flush();
    expect(owner.takeAsked()).toContainEqual({ t: "lease-demand", shape: 0, wanted: 0, isOver: true });
    owner.want(1);
    owner.engine.onNodeMessage({ ...lost, error });
    owner.flush();
    const demand = expect.objectContaining({ resources: { cpu: 10_000 } });
    expect(owner.takeAsked()).toContainEqual({ t: "lease-demand", shape: 0, wanted: 1, demand });
    const again = owner.grant(2, 1);
    owner.results(again, only(again.takeTasks()), [stored(8)]);
    owner.pass(LEASE_IDLE_MS);
    owner.flush();
    expect(owner.takeAsked()).toContainEqual({ t: "lease-demand", shape: 0, wanted: 0, isOver: true });
  });

  test("a task that is queued when an argument is lost waits for it again, and gets all of its arguments", () => {
    const { owner, worker } = withWorker();
    owner.submit(1);
    owner.results(worker, send(owner, worker), [stored(7)]);
    // Another shape, which has no worker yet: the task is queued, and its argument is there.
    owner.register(2, { demand: { key: "other", resources: { cpu: 20_000 }, priority: 0, name: "other" } });
    owner.submit(2, 2, [1]);
    owner.want(1);
    owner.engine.onNodeMessage({ ...lost, error });
    const again = send(owner, worker);
    expect(again).toMatchObject({ seq: 1, attempt: 1 });
    const other = owner.grant(2, 1, 1);
    expect(other.takeTasks()).toEqual([]);
    owner.results(worker, again, [stored(9)]);
    expect(send(owner, other)).toMatchObject({ seq: 2 });
  });

  test("the other returns stay as they are", () => {
    const { owner, worker } = withWorker({ numReturns: 2 });
    owner.submit(1);
    owner.results(worker, send(owner, worker), [stored(7), stored(8)]);
    owner.want(1);
    owner.engine.onNodeMessage({ ...lost, error });
    owner.results(worker, send(owner, worker), [stored(9), stored(10)]);
    owner.flush();
    expect(owner.takeAsked()).toContainEqual({ t: "store-free", names: [named(10)] });
    expect(owner.engine.objects.get(2 as Seq).value).toMatchObject({ name: named(8) });
  });

  test("an argument that was let go and made again for a task that then cannot run is freed once", () => {
    const { owner, worker } = withWorker();
    owner.submit(1);
    owner.results(worker, send(owner, worker), [stored(6)]);
    owner.register(2, { maxRetries: 0 });
    owner.submit(2, 2);
    owner.results(worker, send(owner, worker), [stored(5)]);
    owner.submit(3, 1, [1, 2]);
    owner.engine.objects.publishNested([owner.key(1)]);
    owner.release(1);
    owner.results(worker, send(owner, worker), [stored(7)]);
    owner.engine.onNodeMessage({ t: "object-unheld", key: owner.key(1) });
    owner.want(3);
    owner.engine.onNodeMessage({ ...lost, error });
    const again = send(owner, worker);
    expect(again).toMatchObject({ seq: 1, attempt: 1 });
    owner.want(2);
    owner.engine.onNodeMessage({ ...lost, name: named(5), key: 5, error });
    owner.flush();
    owner.takeAsked();
    owner.results(worker, again, [stored(8)]);
    owner.flush();
    expect(owner.takeAsked().filter(({ t }) => t === "store-free")).toEqual([{ t: "store-free", names: [named(8)] }]);
  });

  describe("for others, of what the owner has let go of", () => {
    const lent = () => {
      const { owner, worker } = withWorker();
      owner.submit(1);
      owner.results(worker, send(owner, worker), [stored(6)]);
      owner.submit(2, 1, [1]);
      owner.release(1);
      return { owner, worker, task: send(owner, worker), key: owner.key(2) };
    };
    const about = (owner: TestOwner) => {
      owner.flush();
      return owner
        .takeAsked()
        .filter(({ t }) => t === "object-publish" || t === "object-unpublish" || t === "store-free");
    };

    test("it is made again as long as somebody holds it, with all that this needs, and not longer", () => {
      const { owner, worker, task, key } = lent();
      owner.results(worker, task, [stored(7)]);
      owner.engine.objects.publishNested([key]);
      about(owner);
      owner.release(2);
      expect(about(owner)).toEqual([{ t: "object-unpublish", keys: [key], isLent: true }]);
      for (const [name, number] of [
        [named(7), 8],
        [named(8), 9],
      ] as const) {
        owner.engine.onNodeMessage({ t: "object-lost", key, name });
        // Its argument's value has gone too.
        owner.results(worker, send(owner, worker), [stored(100 + number)]);
        owner.results(worker, send(owner, worker), [stored(number)]);
        const said = about(owner);
        expect(said).toContainEqual({ t: "object-publish", objects: [{ key, value: stored(number) }] });
        expect(said).not.toContainEqual({ t: "store-free", names: [named(number)] });
      }
      owner.engine.onNodeMessage({ t: "object-unheld", key });
      expect(owner.engine.objects.size).toBe(0);
      owner.engine.onNodeMessage({ t: "object-lost", key, name: named(9) });
      owner.flush();
      expect(worker.takeTasks()).toEqual([]);
      expect(about(owner)).toMatchObject([{ t: "object-publish", objects: [{ value: { at: "error" } }] }]);
    });

    test("also when the owner let go of it before its task had ended", () => {
      const { owner, worker, task, key } = lent();
      owner.engine.objects.publishNested([key]);
      owner.release(2);
      owner.results(worker, task, [stored(7)]);
      expect(about(owner)).toContainEqual({ t: "object-unpublish", keys: [key], isLent: true });
      owner.engine.onNodeMessage({ t: "object-lost", key, name: named(7) });
      expect(send(owner, worker)).toMatchObject({ seq: 1, attempt: 1 });
    });

    test("when nobody holds it any more while it is made again, it goes when it is there", () => {
      const { owner, worker, task, key } = lent();
      owner.results(worker, task, [stored(7)]);
      owner.engine.objects.publishNested([key]);
      owner.release(2);
      owner.engine.onNodeMessage({ t: "object-lost", key, name: named(7) });
      owner.results(worker, send(owner, worker), [stored(106)]);
      const again = send(owner, worker);
      owner.engine.onNodeMessage({ t: "object-unheld", key });
      owner.results(worker, again, [stored(8)]);
      // The node frees what is published and nobody holds.
      expect(about(owner)).toContainEqual({ t: "object-publish", objects: [{ key, value: stored(8) }] });
      expect(owner.engine.objects.size).toBe(0);
    });

    test("not what may not run again", () => {
      const { owner, worker } = withWorker({ maxRetries: 0 });
      owner.submit(1);
      owner.results(worker, send(owner, worker), [stored(7)]);
      const key = owner.key(1);
      owner.engine.objects.publishNested([key]);
      about(owner);
      owner.release(1);
      expect(about(owner)).toEqual([{ t: "object-unpublish", keys: [key] }]);
    });
  });

  test("without retries, or for a value that was put, the loss is the value", () => {
    const { owner, worker } = withWorker({ maxRetries: 0 });
    owner.submit(1);
    owner.results(worker, send(owner, worker), [stored(7)]);
    owner.engine.objects.put(2 as Seq, { at: "stored", key: 7, size: 1, nested: [] });
    owner.want(1, 2);
    owner.engine.onNodeMessage({ ...lost, error });
    expect(owner.takeTold()).toEqual(["value 1 OBJECT_LOST", "value 2 OBJECT_LOST"]);
  });

  test("with the last ref of the results, the arguments go too", () => {
    const { owner, worker } = withWorker();
    owner.put(1);
    owner.submit(2, 1, [1]);
    owner.results(worker, send(owner, worker), [stored(7)]);
    owner.release(1);
    expect(owner.engine.objects.find(1 as Seq)).toBeDefined();
    owner.release(2);
    expect(owner.engine.objects.find(1 as Seq)).toBeUndefined();
    expect(owner.engine.objects.find(2 as Seq)).toBeUndefined();
  });
});

describe("lost items of streams", () => {
  const NAME = "f1";

  /** Three items in the store, under the keys 7, 8 and 9. */
  function withItems({ maxRetries = 3, isEnded = true } = {}) {
    const { owner, worker } = withWorker({ isStream: true, maxRetries });
    owner.put(5);
    owner.submit(1, 1, [5]);
    const task = send(owner, worker);
    for (const index of [0, 1, 2]) owner.item(worker, task, index, stored(7 + index));
    if (isEnded) owner.streamEnd(worker, task, 3);
    owner.takeTold();
    worker.take();
    owner.flush();
    owner.takeAsked();
    const lose = (index: number, key = 7 + index): void => {
      owner.want(owner.items[index] as Seq);
      owner.engine.onNodeMessage({
        t: "store-pinned",
        name: named(key),
        key,
        offset: 0,
        size: 0,
        error: { code: "OBJECT_LOST", kind: "lost", message: "gone" },
      });
    };
    const pin = (key: number): string[] => {
      owner.engine.onNodeMessage({ t: "store-pinned", name: named(key), key, offset: 0, size: 1 });
      return owner.takeTold();
    };
    const messageOf = (index: number): string => {
      const value = owner.engine.objects.get(owner.items[index] as Seq).value;
      return value?.at === "error" ? unpackFailure(value.bytes).message : "";
    };
    return { owner, worker, task, lose, pin, messageOf };
  }

  test("one is made again in its place; the rest that comes again goes, and the program hears of nothing", () => {
    const { owner, worker, lose, pin } = withItems();
    lose(1);
    const again = send(owner, worker);
    expect(again).toMatchObject({ seq: 1, attempt: 1 });
    for (const index of [0, 1, 2, 3]) owner.item(worker, again, index, stored(20 + index));
    owner.streamEnd(worker, again, 4);
    expect(owner.pinned).toEqual([8, 21]);
    owner.flush();
    expect(owner.takeAsked().filter(({ t }) => t === "store-free")).toEqual([
      { t: "store-free", names: [named(8)] },
      { t: "store-free", names: [named(20)] },
      { t: "store-free", names: [named(22)] },
      { t: "store-free", names: [named(23)] },
    ]);
    expect(owner.takeTold()).toEqual([]);
    expect(pin(21)).toEqual([`pinned ${owner.items[1]} key 21`]);
    expect(owner.engine.objects.get(owner.items[0] as Seq).value).toMatchObject({ name: named(7) });
  });

  test("the producer that makes it again need not wait for a consumer", () => {
    const { owner, worker, lose } = withItems();
    lose(2);
    const again = send(owner, worker);
    owner.item(worker, again, 0, stored(20));
    owner.engine.consumed(1 as Seq, 1);
    expect(worker.take()).toEqual([
      { kind: "ack", seq: 1, consumed: 3 },
      { kind: "ack", seq: 1, consumed: 3 },
    ]);
  });

  test("one that is lost while the generator runs is made by an attempt that follows its end", () => {
    const { owner, worker, task, lose, pin } = withItems({ isEnded: false });
    lose(0);
    owner.flush();
    expect(worker.takeTasks()).toEqual([]);
    owner.item(worker, task, 3);
    owner.streamEnd(worker, task, 4);
    expect(owner.takeTold()).toEqual(["item [3] of 1", "end of 1 after 4"]);
    const again = send(owner, worker);
    owner.item(worker, again, 0, stored(20));
    expect(pin(20)).toEqual([`pinned ${owner.items[0]} key 20`]);
  });

  test("an attempt that begins again after its worker died makes it on the way", () => {
    const { owner, worker, lose } = withItems({ isEnded: false });
    lose(0);
    owner.lose(1, worker);
    const next = owner.grant(2, 1);
    const again = only(next.takeTasks());
    owner.item(next, again, 0, stored(20));
    for (const index of [1, 2]) owner.item(next, again, index, stored(20 + index));
    owner.streamEnd(next, again, 3);
    owner.flush();
    expect(next.takeTasks()).toEqual([]);
    expect(owner.pinned).toEqual([7, 20]);
    expect(owner.takeTold()).toEqual(["end of 1 after 3"]);
  });

  test("those on a node that died are made on the way, though nobody has found them lost yet", () => {
    const { owner, worker, pin } = withItems({ isEnded: false });
    owner.lose(1, worker, { lostWith: "node-2" });
    const next = owner.grant(2, 1);
    const again = only(next.takeTasks());
    owner.want(owner.items[1] as Seq);
    for (const index of [0, 1, 2]) owner.item(next, again, index, stored(20 + index));
    expect(pin(21)).toEqual([`pinned ${owner.items[1]} key 21`]);
    owner.flush();
    expect(owner.takeAsked().filter(({ t }) => t === "store-free")).toEqual([
      { t: "store-free", names: [named(7), named(8), named(9)] },
    ]);
  });

  test("an attempt that is past one and waits for a consumer, who may wait for that, begins again", () => {
    const { owner, worker, task, lose } = withItems({ isEnded: false });
    owner.engine.consumed(1 as Seq, 2);
    // The buffer is of 16 items, and the producer waits when there is one more.
    for (let index = 3; index < 18; index++) owner.item(worker, task, index);
    lose(2);
    expect(owner.killed).toEqual([]);
    owner.item(worker, task, 18);
    expect(owner.killed).toEqual([worker.address.workerId]);
    owner.lose(1, worker);
    const next = owner.grant(2, 1);
    const again = only(next.takeTasks());
    for (const index of [0, 1, 2]) owner.item(next, again, index, stored(20 + index));
    expect(owner.pinned).toEqual([9, 22]);
  });

  test("letting go of the stream and of its end stops nothing", () => {
    const { owner, worker, lose, pin } = withItems();
    lose(1);
    const again = send(owner, worker);
    owner.engine.abandonStream(1 as Seq);
    owner.release(1);
    expect(worker.take()).toEqual([]);
    owner.item(worker, again, 1, stored(21));
    owner.streamEnd(worker, again, 3);
    expect(pin(21)).toEqual([`pinned ${owner.items[1]} key 21`]);
  });

  test("with the last item in the store, what would make it again goes too", () => {
    const { owner, lose, worker } = withItems();
    lose(0);
    const again = send(owner, worker);
    owner.item(worker, again, 0, stored(20));
    owner.streamEnd(worker, again, 3);
    owner.engine.objects.unwant(owner.items[0] as Seq);
    owner.release(5, 1);
    for (const item of owner.items) {
      expect(owner.engine.objects.find(5 as Seq)).toBeDefined();
      owner.release(item);
    }
    expect(owner.engine.objects.find(5 as Seq)).toBeUndefined();
  });

  test("a lost result brings back the item that it was made of", () => {
    const { owner, worker, lose } = withItems();
    owner.register(2, {});
    const [item] = owner.items as [Seq];
    owner.submit(2, 2, [item]);
    owner.results(worker, send(owner, worker), [stored(30)]);
    owner.release(item);
    owner.items[0] = 2 as Seq;
    lose(0, 30);
    const again = send(owner, worker);
    expect(again).toMatchObject({ seq: 1, attempt: 1 });
    owner.item(worker, again, 0, stored(20));
    owner.streamEnd(worker, again, 3);
    expect(send(owner, worker)).toMatchObject({ seq: 2, attempt: 1 });
  });

  test("where it cannot be made again, the error says why", () => {
    const never = withItems({ maxRetries: 0 });
    never.lose(0);
    expect(never.owner.takeTold()).toEqual([`value ${never.owner.items[0]} OBJECT_LOST`]);
    expect(never.messageOf(0)).toBe(`gone. It was not made again: ${NAME} has maxRetries 0`);

    const failed = withItems({ isEnded: false });
    failed.owner.throws(failed.worker, failed.task, false);
    failed.lose(0);
    expect(failed.messageOf(0)).toBe(`gone. It was not made again: ${NAME} was cancelled or failed`);

    const often = withItems({ maxRetries: 1 });
    often.lose(0);
    const again = send(often.owner, often.worker);
    often.owner.item(often.worker, again, 0, stored(20));
    often.owner.streamEnd(often.worker, again, 3);
    often.lose(0, 20);
    expect(often.messageOf(0)).toBe(`gone. It was not made again: ${NAME} has used up its 1 retries`);
  });

  test("a generator that makes fewer items, or fails, when it runs again gives the lost ones an error", () => {
    const fewer = withItems();
    fewer.lose(1);
    fewer.owner.streamEnd(fewer.worker, send(fewer.owner, fewer.worker), 1);
    expect(fewer.owner.takeTold()).toEqual([`value ${fewer.owner.items[1]} OBJECT_LOST`]);
    expect(fewer.messageOf(1)).toBe(
      `item 1 of ${NAME} was lost, and was not made again: ${NAME} made only 1 items when it ran again`,
    );

    const failing = withItems();
    failing.lose(1);
    failing.owner.throws(failing.worker, send(failing.owner, failing.worker), false);
    expect(failing.owner.takeTold()).toEqual([`value ${failing.owner.items[1]} TASK_FAILED`]);
    failing.owner.release(1, ...failing.owner.items);
    expect(failing.owner.takeTold()).toEqual([]);
  });
});

describe("holds", () => {
  test("a published object stays in the directory until its own uses end, and values wait for their refs", () => {
    const { owner, worker } = withWorker();
    owner.put(1);
    owner.put(2, [1]);
    owner.submit(3, 1, [], [2 as Seq]);
    const task = send(owner, worker);
    const published = owner.takeAsked().filter(({ t }) => t === "object-publish");
    expect(published.map((message) => ("objects" in message ? message.objects[0]?.key : ""))).toEqual([
      owner.key(1),
      owner.key(2),
    ]);
    owner.release(1, 2);
    owner.flush();
    expect(owner.takeAsked()).toEqual([]);
    owner.ok(worker, task);
    owner.flush();
    expect(owner.takeAsked()).toContainEqual({
      t: "object-unpublish",
      keys: expect.arrayContaining([owner.key(1), owner.key(2)]),
    });
  });

  test("refs in a result that nobody needs are given back", () => {
    const { owner, worker } = withWorker();
    const other = "b".repeat(24) as ProcessId;
    const foreign = objectKey(other, 5 as Seq);
    owner.submit(1);
    const task = send(owner, worker);
    owner.release(1);
    owner.results(worker, task, [stored(7, [foreign])]);
    owner.flush();
    expect(owner.takeAsked()).toContainEqual({ t: "hold-release", holds: [[foreign, 1]] });
  });

  test("a borrowed ref is asked for once, and its hold goes back with its last use", () => {
    const { owner, worker } = withWorker();
    const other = "b".repeat(24) as ProcessId;
    const foreign = objectKey(other, 5 as Seq);
    owner.submit(1);
    owner.results(worker, send(owner, worker), [{ at: "inline", bytes: Uint8Array.of(1), nested: [foreign] }]);
    owner.engine.objects.borrow(2 as Seq, other, 5 as Seq);
    owner.want(2);
    owner.engine.objects.watch(2 as Seq);
    owner.flush();
    expect(owner.takeAsked().filter(({ t }) => t === "object-subscribe")).toHaveLength(1);
    owner.engine.onNodeMessage({
      t: "object-state",
      key: foreign,
      value: { at: "inline", bytes: Uint8Array.of(9), nested: [] },
    });
    expect(owner.takeTold()).toEqual(["ready 2", "value 2 [9]"]);
    owner.release(1);
    owner.flush();
    expect(owner.takeAsked()).toEqual([]);
    owner.release(2);
    owner.flush();
    expect(owner.takeAsked()).toContainEqual({ t: "hold-release", holds: [[foreign, 1]] });
  });
});
