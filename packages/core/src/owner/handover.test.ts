import { describe, expect, test } from "vitest";
import { newProcessId, type ObjectKey, type Seq } from "../base/ids.ts";
import type { TaskHandover, ToNode } from "../wire/mod.ts";
import { adopt, cancelUnheld } from "./handover.ts";
import { DEPUTY_SEQS_FROM } from "./objects.ts";
import { named, only, stored, TestOwner } from "./test-owner.ts";

function worker(): TestOwner {
  const owner = new TestOwner({ handsOver: true });
  owner.register(1);
  return owner;
}

const handedBy = (owner: TestOwner): TaskHandover[] => owner.takeAsked().filter((each) => each.t === "task-handover");
const kinds = (messages: readonly ToNode[]): string[] => messages.map(({ t }) => t);

/** The node's engine for a worker, after it has taken over what that handed over. */
function deputyFor(giver: TestOwner, messages: readonly TaskHandover[]) {
  const self = newProcessId();
  const deputy = new TestOwner({ self: giver.self, engineSeqsFrom: DEPUTY_SEQS_FROM });
  const asked: ToNode[] = [];
  const effects = { toNode: (message: ToNode) => void asked.push(message) };
  for (const message of messages) adopt(deputy.engine, effects, { self, giver: giver.self }, message);
  deputy.flush();
  return { deputy, self, granted: asked };
}

describe("a worker that hands over", () => {
  test("sends what was not sent, arguments first, and holds the returns as refs of another owner", () => {
    const owner = worker();
    owner.put(1);
    owner.submit(2, 1, [1]);
    owner.submit(3, 1, [2]);
    expect(owner.engine.handover?.handOver()).toBe(true);
    const { templates, tasks } = only(handedBy(owner));
    expect(templates.map(({ id }) => id)).toEqual([1]);
    expect(tasks.map(({ seq, deps }) => [seq, deps])).toEqual([
      [2, [{ at: "inline", bytes: Uint8Array.of(1), nested: [] }]],
      [3, [owner.key(2)]],
    ]);
    owner.want(3);
    owner.flush();
    expect(owner.takeAsked()).toEqual([{ t: "object-subscribe", keys: [owner.key(3)] }]);
    // A function travels once; its end is told.
    owner.submit(4);
    owner.engine.handover?.handOver();
    expect(only(handedBy(owner)).templates).toEqual([]);
    owner.engine.tasks.unregister(1);
    expect(owner.takeAsked()).toEqual([{ t: "template-drop", ids: [1] }]);
  });

  test("asks at once for what is waited for, and gives back what nobody needs", () => {
    const owner = worker();
    owner.submit(1);
    owner.submit(2);
    owner.want(1);
    owner.release(2);
    owner.engine.handover?.handOver();
    owner.flush();
    const asked = owner.takeAsked();
    expect(kinds(asked)[0]).toBe("task-handover");
    expect(asked).toContainEqual({ t: "object-subscribe", keys: [owner.key(1)] });
    expect(asked).toContainEqual({ t: "hold-release", holds: [[owner.key(2), 1]] });
    owner.engine.onNodeMessage({ t: "object-state", key: owner.key(1), value: stored(7) });
    expect(owner.pinned).toEqual([7]);
  });

  test("publishes arguments that do not travel in the message", () => {
    const owner = worker();
    owner.engine.objects.put(1 as Seq, { at: "stored", key: 9, size: 1_000, nested: [] });
    owner.put(2);
    owner.submit(3, 1, [1], [2 as Seq]);
    owner.engine.handover?.handOver();
    const asked = owner.takeAsked();
    expect(kinds(asked)).toEqual(["object-publish", "object-publish", "task-handover"]);
    const [task] = (asked[2] as TaskHandover).tasks;
    expect(task?.deps).toEqual([owner.key(1)]);
    expect(task?.nested).toEqual([owner.key(2)]);
  });

  test("sends arguments first also when they wait once more, because what they are made of was lost", () => {
    const owner = worker();
    owner.submit(1);
    owner.submit(2, 1, [1]);
    owner.submit(3, 1, [2]);
    owner.flush();
    const running = owner.grant(1, 0);
    owner.results(running, only(running.takeTasks()), [stored(7)]);
    owner.flush();
    const second = only(running.takeTasks());
    owner.want(1);
    owner.engine.onNodeMessage({
      t: "store-pinned",
      name: named(7),
      key: 7,
      offset: 0,
      size: 0,
      error: { code: "OBJECT_LOST", kind: "lost", message: "it is gone" },
    });
    owner.throws(running, second, true);
    owner.engine.handover?.handOver();
    expect(only(handedBy(owner)).tasks.map(({ seq }) => seq)).toEqual([1, 2, 3]);
  });

  test("keeps what runs, streams, and a graph that the program waits for", () => {
    const owner = worker();
    owner.register(2, { isStream: true });
    owner.submit(1);
    owner.flush();
    const running = owner.grant(1, 0);
    expect(running.takeTasks()).toHaveLength(1);
    owner.submit(2, 2);
    expect(owner.engine.handover?.handOver()).toBe(false);
    owner.submit(3, 1, [1]);
    owner.submit(4, 1, [3]);
    expect(owner.engine.handover?.isCovered).toBe(false);
    owner.want(4);
    expect(owner.engine.handover?.isCovered).toBe(true);
  });

  test("cancels by way of the node, also what it has no ref of any more", () => {
    const owner = worker();
    owner.submit(1);
    owner.submit(2);
    owner.engine.handover?.handOver();
    owner.release(2);
    owner.flush();
    owner.takeAsked();
    expect([owner.cancel(1), owner.cancel(2)]).toEqual([true, true]);
    const orders = owner.takeAsked().filter(({ t }) => t === "object-cancel");
    expect(orders).toEqual(
      [1, 2].map((seq) => ({ t: "object-cancel", key: owner.key(seq), force: false, isRecursive: true })),
    );
  });

  test("counts what the node says has ended", () => {
    const owner = worker();
    owner.submit(1);
    owner.engine.handover?.handOver();
    expect(owner.engine.tasks.endedCount).toBe(0);
    owner.engine.onNodeMessage({ t: "handed-ended", count: 1 });
    expect(owner.engine.tasks.endedCount).toBe(1);
    expect(owner.engine.handover?.isUnderWay).toBe(false);
  });
});

describe("the deputy", () => {
  test("publishes every return under its old name, holds what the tasks name, and grants the giver its own", () => {
    const owner = worker();
    owner.engine.objects.put(1 as Seq, { at: "stored", key: 9, size: 1_000, nested: [] });
    owner.submit(2, 1, [1]);
    owner.engine.handover?.handOver();
    const { deputy, self, granted } = deputyFor(owner, handedBy(owner));
    expect(granted).toEqual([
      { t: "hold-grant", to: self, keys: [owner.key(1)] },
      { t: "hold-grant", to: owner.self, keys: [owner.key(2)] },
    ]);
    const asked = deputy.takeAsked();
    expect(asked).toContainEqual({ t: "object-publish", objects: [{ key: owner.key(2) }] });
    expect(asked).toContainEqual({ t: "object-subscribe", keys: [owner.key(1)] });
    deputy.engine.onNodeMessage({ t: "object-state", key: owner.key(1), value: stored(9) });
    deputy.flush();
    const executor = deputy.grant(1, 0);
    const task = only(executor.takeTasks());
    expect(task.seq).toBe(2);
    deputy.takeAsked();
    deputy.ok(executor, task);
    deputy.flush();
    const [published, ...rest] = deputy.takeAsked();
    expect(published).toMatchObject({ t: "object-publish", objects: [{ key: owner.key(2), value: { at: "inline" } }] });
    // Whoever has the ref reads it in the directory: nothing stays here.
    expect(rest).toContainEqual({ t: "hold-release", holds: [[owner.key(1), 1]] });
    expect(rest).toContainEqual({ t: "object-unpublish", keys: [owner.key(2)] });
    expect(deputy.engine.objects.size).toBe(0);
  });

  test("goes on counting attempts, and names a failure that others may still read", () => {
    const owner = worker();
    owner.register(3, { maxRetries: 1 });
    owner.submit(1, 3);
    owner.flush();
    const first = owner.grant(1, 0);
    const sent = only(first.takeTasks());
    owner.throws(first, sent, true);
    owner.engine.handover?.handOver();
    const message = only(handedBy(owner));
    expect(only(message.tasks)).toMatchObject({ attempt: 1, failures: 1 });
    const { deputy } = deputyFor(owner, [message]);
    const executor = deputy.grant(1, 0);
    const again = only(executor.takeTasks());
    expect(again.attempt).toBe(1);
    deputy.throws(executor, again, true);
    expect(deputy.takeTold()).toEqual(["escaped f3"]);
  });

  test("makes only what somebody holds, once the giver is gone", () => {
    const owner = worker();
    for (const [seq, ...deps] of [[1], [2, 1], [3], [4, 3]] as const) owner.submit(seq, 1, deps);
    owner.engine.handover?.handOver();
    const { deputy } = deputyFor(owner, handedBy(owner));
    cancelUnheld(deputy.engine, (key: ObjectKey) => key === owner.key(2));
    deputy.flush();
    const executor = deputy.grant(1, 0);
    expect(executor.takeTasks().map(({ seq }) => seq)).toEqual([1]);
    expect(deputy.engine.tasks.endedCount).toBe(2);
  });
});
