import { expect, test } from "vitest";
import { liveTasks } from "./live-tasks.ts";
import { TestOwner } from "./test-owner.ts";

const listed = (owner: TestOwner, limit = 100) => {
  const { tasks, counts } = liveTasks(owner.engine, limit);
  return { tasks: tasks.map(({ seq, state }) => `${seq} ${state}`), counts };
};

test("what runs, what is queued here or at a worker, and what waits for arguments is told apart, and counted", () => {
  const owner = new TestOwner();
  owner.register(1);
  owner.register(2);
  for (const seq of [1, 2]) owner.submit(seq);
  owner.flush();
  const worker = owner.grant(1, 0);
  const [first] = worker.takeTasks();
  if (!first) throw new Error("nothing was sent");
  owner.start(worker, first);
  owner.submit(3, 2);
  owner.submit(4, 1, [1]);
  const states = { tasks: ["1 running", "2 queued", "3 queued", "4 waiting"] };
  expect(listed(owner)).toEqual({
    ...states,
    counts: [
      ["f1", "task", "waiting", 1],
      ["f1", "task", "queued", 1],
      ["f1", "task", "running", 1],
      ["f2", "task", "queued", 1],
    ],
  });
  expect(listed(owner, 2)).toEqual({ ...listed(owner), tasks: states.tasks.slice(0, 2) });
  expect(liveTasks(owner.engine, 1).tasks).toMatchObject([
    { seq: 1, attempt: 0, name: "f1", kind: "task", worker: ["w0", worker.address.nodeId, 100] },
  ]);
  owner.ok(worker, first);
  expect(listed(owner).tasks).not.toContain("1 running");
});

test("what was cancelled is told while it runs, and not when it never began", () => {
  const owner = new TestOwner();
  owner.register(1);
  for (const seq of [1, 2]) owner.submit(seq);
  owner.flush();
  const worker = owner.grant(1, 0);
  const [first] = worker.takeTasks();
  if (!first) throw new Error("nothing was sent");
  owner.start(worker, first);
  for (const seq of [1, 2]) owner.cancel(seq);
  expect(listed(owner)).toEqual({ tasks: ["1 running"], counts: [["f1", "task", "running", 1]] });
  owner.ok(worker, first);
  expect(listed(owner)).toEqual({ tasks: [], counts: [] });
});
