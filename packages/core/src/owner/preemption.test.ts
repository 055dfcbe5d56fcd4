/** What an owner does with a lease whose work is to end for something of higher priority. */
import { describe, expect, test } from "vitest";
import type { LeaseId } from "../base/ids.ts";
import { PREEMPT_GRACE_MS, PREEMPT_NOTICE_MS } from "../base/limits.ts";
import { only, type SentTask, TestOwner, type TestWorker } from "./test-owner.ts";

function running(options: Parameters<TestOwner["register"]>[1] = {}, hasClaims = true) {
  const owner = new TestOwner({ hasClaims });
  owner.register(1, options);
  owner.submit(1);
  owner.want(1);
  const worker = owner.grant(1, 0);
  const task = only(worker.takeTasks());
  owner.start(worker, task);
  owner.takeAsked();
  return { owner, worker, task };
}
const preempt = (owner: TestOwner, leaseId = 1): void =>
  void owner.engine.onNodeMessage({ t: "lease-preempted", leaseId: leaseId as LeaseId, by: "g of job j" });
const again = (owner: TestOwner, leaseId: number, at: number): { worker: TestWorker; task: SentTask } => {
  const worker = owner.grant(leaseId, at);
  const task = only(worker.takeTasks());
  owner.start(worker, task);
  return { worker, task };
};

describe("what runs", () => {
  test("may end by itself at first, and counts", () => {
    const { owner, worker, task } = running();
    preempt(owner);
    owner.pass(PREEMPT_NOTICE_MS - 10);
    expect(worker.take()).toEqual([]);
    owner.ok(worker, task);
    owner.flush();
    expect(owner.takeTold()).toContainEqual(expect.stringContaining("value 1"));
    expect(owner.takeAsked()).toContainEqual({ t: "lease-return", leaseId: 1 });
  });

  test("then has its signal aborted, and what it throws is not its result: it runs again and has lost no retry", () => {
    const { owner, worker, task } = running({ maxRetries: 1 });
    preempt(owner);
    owner.pass(PREEMPT_NOTICE_MS);
    expect(worker.take()).toEqual([expect.objectContaining({ kind: "cancel", seq: 1, code: "TASK_PREEMPTED" })]);
    owner.throws(worker, task, false);
    owner.flush();
    expect(owner.takeTold()).toEqual(["warn preempted"]);
    expect(owner.takeAsked()).toContainEqual({ t: "lease-return", leaseId: 1, retire: true });
    const second = again(owner, 2, 1);
    expect(second.task.attempt).toBe(1);
    // Its one retry is there still.
    owner.lose(2, second.worker);
    const third = again(owner, 3, 2);
    owner.lose(3, third.worker);
    expect(owner.takeTold()).toContainEqual(expect.stringContaining("WORKER_DIED"));
  });

  test("that had its value before it heard of it has given that", () => {
    const { owner, worker, task } = running();
    preempt(owner);
    owner.pass(PREEMPT_NOTICE_MS);
    owner.ok(worker, task);
    expect(owner.takeTold()).toContainEqual(expect.stringContaining("value 1"));
  });

  test("is ended with its worker when it does not heed that, and runs again", () => {
    const { owner, worker } = running({ maxRetries: 1 });
    preempt(owner);
    owner.pass(PREEMPT_NOTICE_MS);
    owner.pass(PREEMPT_GRACE_MS - 10);
    expect(owner.killed).toEqual([]);
    owner.pass(10);
    owner.pass(10);
    expect(owner.killed).toEqual([worker.address.workerId]);
    owner.lose(1, worker, { signal: "SIGKILL" });
    const second = again(owner, 2, 1);
    expect(second.task.attempt).toBe(1);
    owner.ok(second.worker, second.task);
    expect(owner.takeTold()).toContainEqual(expect.stringContaining("value 1"));
  });
});

describe("is kept", () => {
  test.each([
    ["may not run again", { maxRetries: 0 }, 0],
    ["has used up its retries", { maxRetries: 1 }, 1],
  ])("when it %s", (_what, options, losses) => {
    const { owner, worker } = running(options);
    for (let at = 1; at <= losses; at++) {
      owner.lose(at, worker);
      again(owner, at + 1, at);
    }
    owner.takeAsked();
    preempt(owner, losses + 1);
    expect(owner.takeAsked()).toEqual([{ t: "lease-kept", leaseId: losses + 1 }]);
    owner.pass(60_000);
    expect(owner.takeAsked()).toEqual([]);
  });

  test("for a while when it was ended before, twice as long each time, so that it gets done in the end", () => {
    let { owner, worker, task } = running();
    for (const [at, protectedMs] of [2_000, 4_000, 8_000].entries()) {
      preempt(owner, at + 1);
      owner.pass(PREEMPT_NOTICE_MS);
      owner.throws(worker, task, false);
      owner.flush();
      ({ worker, task } = again(owner, at + 2, at + 1));
      owner.takeAsked();
      preempt(owner, at + 2);
      expect(owner.takeAsked()).toEqual([{ t: "lease-kept", leaseId: at + 2, forMs: protectedMs }]);
      owner.pass(protectedMs);
    }
  });

  test("also when a worker without claim words has begun something else meanwhile", () => {
    const owner = new TestOwner({ hasClaims: false });
    owner.register(1);
    owner.register(2, {
      maxRetries: 0,
      demand: { key: "cpu:1 priority:0", resources: { cpu: 10_000 }, priority: 0, name: "f" },
    });
    owner.submit(1);
    const worker = owner.grant(1, 0);
    owner.ok(worker, only(worker.takeTasks()), 10);
    owner.submit(2);
    owner.submit(3, 2);
    owner.flush();
    const [first] = worker.takeTasks();
    preempt(owner);
    if (first) owner.ok(worker, first, 10);
    owner.takeAsked();
    owner.pass(PREEMPT_NOTICE_MS);
    expect(owner.takeAsked()).toContainEqual({ t: "lease-kept", leaseId: 1 });
    expect(worker.take().filter(({ kind }) => kind === "cancel")).toEqual([]);
  });
});
