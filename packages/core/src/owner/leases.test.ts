import { describe, expect, test } from "vitest";
import { LEASE_IDLE_MS } from "../base/limits.ts";
import { only, type SentTask, TestOwner } from "./test-owner.ts";

const submitMany = (owner: TestOwner, from: number, count: number, template = 1): void => {
  for (let at = 0; at < count; at++) owner.submit(from + at, template);
};
const at = (tasks: readonly SentTask[], index: number): SentTask => {
  const task = tasks[index];
  if (!task) throw new Error(`no task ${index} was sent`);
  return task;
};

describe("demand", () => {
  test("the node is told once a turn how many leases could be used, with the shape at its first mention", () => {
    const owner = new TestOwner();
    owner.register(1);
    submitMany(owner, 1, 3);
    expect(owner.takeAsked()).toEqual([]);
    owner.flush();
    expect(owner.takeAsked()).toEqual([
      { t: "lease-demand", shape: 0, wanted: 3, demand: expect.objectContaining({ resources: { cpu: 10_000 } }) },
    ]);
    submitMany(owner, 4, 2);
    owner.flush();
    expect(owner.takeAsked()).toEqual([{ t: "lease-demand", shape: 0, wanted: 5 }]);
    owner.flush();
    expect(owner.takeAsked()).toEqual([]);
  });

  test("a burst of a million does not ask for a million workers", () => {
    const owner = new TestOwner();
    owner.register(1);
    submitMany(owner, 1, 1_000);
    owner.flush();
    expect(owner.takeAsked()).toEqual([expect.objectContaining({ wanted: 64 })]);
  });

  test("a shape is forgotten with the last function that asks by it, and its last lease", () => {
    const owner = new TestOwner();
    owner.register(1);
    owner.register(2);
    owner.submit(1, 1);
    const worker = owner.grant(1, 0);
    owner.ok(worker, only(worker.takeTasks()), 10);
    owner.engine.tasks.unregister(1);
    owner.flush();
    owner.pass(LEASE_IDLE_MS);
    owner.flush();
    owner.takeAsked();
    owner.engine.tasks.unregister(2);
    owner.flush();
    expect(owner.takeAsked()).toEqual([{ t: "lease-demand", shape: 0, wanted: 0, isOver: true }]);
    // One that was on its way goes back.
    owner.grant(2, 0);
    expect(owner.takeAsked()).toEqual([{ t: "lease-return", leaseId: 2 }]);
    owner.register(3);
    owner.submit(2, 3);
    owner.flush();
    expect(owner.takeAsked()).toEqual([expect.objectContaining({ shape: 1, wanted: 1, demand: expect.anything() })]);
  });

  test("a demand that can never be met fails what waits and what comes later", () => {
    const owner = new TestOwner();
    owner.register(1);
    owner.submit(1);
    owner.flush();
    owner.want(1);
    owner.engine.onNodeMessage({ t: "lease-refused", shape: 0, code: "INFEASIBLE", message: "never" });
    owner.submit(2);
    owner.want(2);
    expect(owner.takeTold()).toEqual(["value 1 INFEASIBLE", "value 2 INFEASIBLE"]);
  });
});

describe("windows", () => {
  test("a function that has not run yet is sent a few at a time, a quick one deep, a slow one singly", () => {
    const owner = new TestOwner();
    owner.register(1);
    submitMany(owner, 1, 1_000);
    const worker = owner.grant(1, 0);
    const first = worker.takeTasks();
    expect(first.map(({ seq }) => seq)).toEqual([1, 2]);
    for (const task of first) owner.ok(worker, task, 10);
    owner.flush();
    const second = worker.takeTasks();
    expect(second.length).toBeGreaterThan(100);
    for (const task of second) owner.ok(worker, task, 1_000_000);
    owner.flush();
    expect(worker.takeTasks()).toHaveLength(1);
  });

  test("leases take turns, so that none is filled while another is empty", () => {
    const owner = new TestOwner();
    owner.register(1);
    owner.submit(1);
    const [one, other] = [owner.grant(1, 0), owner.grant(2, 1)];
    for (const task of one.takeTasks()) owner.ok(one, task, 5);
    submitMany(owner, 2, 32);
    owner.flush();
    expect([one.takeTasks().length, other.takeTasks().length]).toEqual([16, 16]);
  });

  test("a function with a maxCalls ends its worker after so many, over several leases", () => {
    const owner = new TestOwner();
    owner.register(1, { maxCalls: 3 });
    owner.submit(1);
    const worker = owner.grant(1, 0);
    owner.ok(worker, only(worker.takeTasks()));
    owner.pass(LEASE_IDLE_MS);
    expect(owner.takeAsked()).toContainEqual({ t: "lease-return", leaseId: 1 });
    submitMany(owner, 2, 5);
    expect(owner.grant(2, 0)).toBe(worker);
    const tasks = worker.takeTasks();
    expect(tasks.map(({ seq }) => seq)).toEqual([2, 3]);
    for (const task of tasks) owner.ok(worker, task);
    owner.flush();
    expect(owner.takeAsked()).toContainEqual({ t: "lease-return", leaseId: 2, retire: true });
    expect(worker.takeTasks()).toEqual([]);
  });
});

describe("taking back", () => {
  const busy = (hasClaims: boolean) => {
    const owner = new TestOwner({ hasClaims });
    owner.register(1);
    owner.submit(1);
    const worker = owner.grant(1, 0);
    owner.ok(worker, only(worker.takeTasks()), 10);
    submitMany(owner, 2, 4);
    owner.flush();
    return { owner, worker, tasks: worker.takeTasks() };
  };

  test("what a stuck worker has not begun runs elsewhere, in order; what it has begun stays", () => {
    const { owner, worker, tasks } = busy(true);
    expect(tasks).toHaveLength(4);
    owner.start(worker, at(tasks, 0));
    owner.start(worker, at(tasks, 1));
    owner.pass(10);
    for (const late of tasks.slice(2)) expect(owner.start(worker, late)).toBe(false);
    expect(worker.takeTasks()).toEqual([]);
    const other = owner.grant(2, 1);
    expect(other.takeTasks().map(({ seq, attempt }) => [seq, attempt])).toEqual([
      [4, 0],
      [5, 0],
    ]);
  });

  test("a stuck worker is sent nothing more until a result comes from it", () => {
    const { owner, worker, tasks } = busy(true);
    owner.start(worker, at(tasks, 0));
    owner.pass(10);
    owner.flush();
    expect(worker.takeTasks()).toEqual([]);
    owner.ok(worker, at(tasks, 0), 10);
    owner.flush();
    expect(worker.takeTasks().map(({ seq }) => seq)).toEqual([3, 4, 5]);
  });

  test("nothing is sent behind a long task to a worker that would have to be asked for it", () => {
    const { owner, worker } = busy(false);
    for (const seq of [2, 3, 4, 5]) owner.ok(worker, { kind: "task", seq, attempt: 0, slot: 0, sequence: 0 }, 10);
    owner.submit(10);
    owner.flush();
    expect(worker.takeTasks()).toHaveLength(1);
    owner.pass(10);
    owner.submit(11);
    owner.flush();
    expect(worker.takeTasks()).toEqual([]);
    expect(owner.grant(2, 1).takeTasks()).toMatchObject([{ seq: 11 }]);
  });

  test("a worker without claim words is asked, once for what it has", () => {
    const { owner, worker } = busy(false);
    owner.pass(10);
    owner.pass(10);
    expect(worker.take()).toEqual([{ kind: "take-back", seqs: [3, 4, 5] }]);
    owner.returned(worker, 3, 4, 5);
    owner.flush();
    expect(worker.takeTasks()).toEqual([]);
    expect(
      owner
        .grant(2, 1)
        .takeTasks()
        .map(({ seq }) => seq),
    ).toEqual([3, 4, 5]);
  });

  test("tasks that a waiting worker gives back go to the front of the queue", () => {
    const { owner, worker, tasks } = busy(true);
    for (const task of tasks) owner.start(worker, task);
    submitMany(owner, 100, 600);
    owner.returned(worker, 3, 4, 5);
    owner.flush();
    expect(
      owner
        .grant(2, 1)
        .takeTasks()
        .slice(0, 3)
        .map(({ seq }) => seq),
    ).toEqual([3, 4, 5]);
  });
});

describe("giving back", () => {
  const idle = () => {
    const owner = new TestOwner();
    owner.register(1);
    owner.submit(1);
    owner.flush();
    const worker = owner.grant(1, 0);
    owner.ok(worker, only(worker.takeTasks()));
    owner.flush();
    owner.takeAsked();
    return { owner, worker };
  };

  test("the node learns soon of a lease that is idle, and of its use again", () => {
    const { owner, worker } = idle();
    owner.pass(5);
    expect(owner.takeAsked()).toEqual([]);
    owner.pass(5);
    expect(owner.takeAsked()).toEqual([{ t: "lease-demand", shape: 0, wanted: 0 }]);
    owner.pass(50);
    expect(owner.takeAsked()).toEqual([]);
    owner.submit(2);
    owner.flush();
    expect(worker.takeTasks()).toHaveLength(1);
    expect(owner.takeAsked()).toEqual([{ t: "lease-demand", shape: 0, wanted: 1 }]);
  });

  test("an idle lease goes back after half a second", () => {
    const { owner } = idle();
    owner.pass(LEASE_IDLE_MS - 1);
    owner.takeAsked();
    owner.pass(1);
    expect(owner.takeAsked()).toEqual([{ t: "lease-return", leaseId: 1 }]);
  });

  test("a lease that is called back goes when its task has ended, and what had not begun is taken along", () => {
    const { owner, worker } = idle();
    submitMany(owner, 2, 3);
    owner.flush();
    const tasks = worker.takeTasks();
    owner.start(worker, at(tasks, 0));
    owner.revoke(1);
    expect(owner.takeAsked().filter(({ t }) => t === "lease-return")).toEqual([]);
    owner.ok(worker, at(tasks, 0));
    owner.flush();
    expect(owner.takeAsked().filter(({ t }) => t === "lease-return")).toEqual([{ t: "lease-return", leaseId: 1 }]);
    expect(
      owner
        .grant(2, 1)
        .takeTasks()
        .map(({ seq }) => seq),
    ).toEqual([3, 4]);
  });

  test("of a lease that its worker ended, what had not begun is ours again, and results still count", () => {
    const { owner, worker } = idle();
    owner.register(1);
    submitMany(owner, 2, 3);
    owner.flush();
    const tasks = worker.takeTasks();
    owner.want(2, 3, 4);
    owner.start(worker, at(tasks, 0));
    // This one the worker is giving back; its word comes after the node's.
    expect(worker.words.giveBack(at(tasks, 1).slot, at(tasks, 1).sequence)).toBe(true);
    owner.reclaim(1);
    submitMany(owner, 5, 1);
    owner.flush();
    expect(worker.takeTasks()).toEqual([]);
    const other = owner.grant(2, 1);
    expect(other.takeTasks().map(({ seq, attempt }) => [seq, attempt])).toEqual([
      [4, 0],
      [5, 0],
    ]);
    owner.ok(worker, at(tasks, 0));
    owner.returned(worker, 3);
    owner.flush();
    expect(owner.takeTold()).toEqual(["value 2 [2]"]);
    expect(other.takeTasks().map(({ seq }) => seq)).toEqual([3]);
    // The node knows: nothing goes back.
    expect(owner.takeAsked().filter(({ t }) => t === "lease-return")).toEqual([]);
  });

  test("what was on its way to a worker that died after it had ended the lease loses nothing", () => {
    const { owner, worker } = idle();
    owner.submit(2);
    owner.flush();
    const task = only(worker.takeTasks());
    expect(worker.words.giveBack(task.slot, task.sequence)).toBe(true);
    owner.reclaim(1);
    owner.closeLink(worker);
    expect(only(owner.grant(2, 1).takeTasks())).toMatchObject({ seq: 2, attempt: 0 });
  });

  test("the lease is named to its worker before the first task under it", () => {
    const { owner, worker } = idle();
    owner.revoke(1);
    submitMany(owner, 2, 2);
    expect(owner.grant(7, 0)).toBe(worker);
    expect(worker.take().map((sent) => (sent.kind === "lease" ? `lease ${sent.leaseId}` : sent.kind))).toEqual([
      "lease 7",
      "task",
      "task",
    ]);
  });

  test("a lease of another node is named to its worker as that node knows it, or the worker would not know that it ended", () => {
    const { owner, worker } = idle();
    owner.revoke(1);
    submitMany(owner, 2, 1);
    expect(owner.grant(2 ** 40, 0, 0, 7)).toBe(worker);
    expect(worker.take()[0]).toMatchObject({ kind: "lease", leaseId: 7 });
  });

  test("one that its worker ended is given back all the same: until then its owner's node tells of that node's death", () => {
    const { owner } = idle();
    owner.revoke(1);
    owner.grant(2 ** 40, 0, 0, 7);
    owner.reclaim(2 ** 40);
    owner.flush();
    expect(owner.takeAsked()).toContainEqual({ t: "lease-return", leaseId: 2 ** 40 });
  });

  test("an idle lease that is called back goes at once; one that is unknown changes nothing", () => {
    const { owner } = idle();
    owner.revoke(1);
    owner.revoke(99);
    expect(owner.takeAsked()).toEqual([
      { t: "lease-demand", shape: 0, wanted: 0 },
      { t: "lease-return", leaseId: 1 },
    ]);
  });
});
