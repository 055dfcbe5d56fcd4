import { describe, expect, test } from "vitest";
import { type ActorId, newProcessId, type ObjectKey, type Seq } from "../base/ids.ts";
import type { TaskHandover, ToNode } from "../wire/mod.ts";
import { adopt } from "./handover.ts";
import { DEPUTY_SEQS_FROM } from "./objects.ts";
import { readLog, SubmissionLog, saysWhoDelivers, type TakenLog, WatchedLog } from "./submission-log.ts";
import { only, TestOwner } from "./test-owner.ts";

/** A worker whose log is at hand, and the node's side of that. */
class Worker {
  readonly owner = new TestOwner({ handsOver: true });
  readonly watched: WatchedLog;
  asked = 0;
  private readonly words: Int32Array;

  constructor(bytes = 64 * 1024) {
    this.words = new Int32Array(new SharedArrayBuffer(bytes));
    this.watched = new WatchedLog(this.words);
    this.handover.openLog = () => new SubmissionLog(this.words, () => this.asked++);
    this.owner.register(1);
  }

  get handover() {
    const { handover } = this.owner.engine;
    if (!handover) throw new Error("it hands over");
    return handover;
  }

  /** The program computes from here on. */
  computes(): void {
    this.handover.leave();
  }

  comesBack(): void {
    this.handover.enter();
  }

  taken(): TakenLog | undefined {
    const end = this.watched.take();
    if (end === undefined) return undefined;
    return readLog(Buffer.from(new Uint8Array(this.words.buffer, 0, end)), this.owner.self);
  }

  seqs(): number[] | undefined {
    return this.taken()?.handover.tasks.map(({ seq }) => seq);
  }
}

const handedBy = (owner: TestOwner): TaskHandover[] => owner.takeAsked().filter((each) => each.t === "task-handover");

describe("the submission log of a worker", () => {
  test("can be taken while the program computes, once, and not while the engine works", () => {
    const worker = new Worker();
    worker.owner.submit(1);
    expect(worker.taken()).toBeUndefined();
    worker.computes();
    expect(worker.seqs()).toEqual([1]);
    expect(worker.taken()).toBeUndefined();
    worker.comesBack();
    expect(worker.taken()).toBeUndefined();
  });

  test("takes the handles in it along: an actor that lives here has passed itself on only then", () => {
    const worker = new Worker();
    const { owner } = worker;
    const { actors } = owner.engine;
    const actorId = "a0".padEnd(32, "0") as ActorId;
    actors.hosts(actorId);
    owner.submit(1, 1, [], [actorId as string as ObjectKey]);
    expect(actors.keepsAlive(actorId)).toBe("under way");
    worker.computes();
    expect(worker.seqs()).toEqual([1]);
    worker.comesBack();
    expect(actors.keepsAlive(actorId)).toBe("left");
    expect(actors.keepsAlive(actorId)).toBeUndefined();
  });

  test("has what waits and was not sent, with values and names of arguments, and each function once", () => {
    const worker = new Worker();
    const { owner } = worker;
    owner.engine.objects.put(8 as Seq, { at: "stored", key: 70, size: 1_000, nested: [] });
    owner.put(9);
    owner.submit(1, 1, [9]);
    owner.submit(2, 1, [1, 8], [9 as Seq]);
    worker.computes();
    const taken = worker.taken();
    expect(taken?.unpublished).toEqual([]);
    expect(taken?.handover.templates.map(({ id }) => id)).toEqual([1]);
    expect(taken?.handover.tasks).toMatchObject([
      { seq: 1, template: 1, attempt: 0, failures: 0, deps: [{ at: "inline", bytes: Buffer.of(9) }], nested: [] },
      { seq: 2, deps: [owner.key(1), owner.key(8)], nested: [owner.key(9)] },
    ]);
    // What it names and the message does not carry was published before.
    expect(owner.takeAsked().map((message) => message.t === "object-publish" && message.objects[0]?.key)).toEqual([
      owner.key(9),
      owner.key(8),
    ]);
    expect(worker.handover.hasNews).toBe(true);
  });

  test("has nothing of what was sent, has ended, or was handed over", () => {
    const worker = new Worker();
    const { owner } = worker;
    owner.submit(1);
    owner.flush();
    owner.submit(2);
    owner.submit(3);
    owner.cancel(3);
    const running = owner.grant(1, 0);
    expect(running.takeTasks().map(({ seq }) => seq)).toEqual([1, 2]);
    worker.computes();
    expect(worker.taken()).toBeUndefined();
    owner.submit(4, 1, [1]);
    worker.handover.handOver();
    worker.computes();
    expect(worker.taken()).toBeUndefined();
  });

  test("has it again when it comes back unstarted, or is tried again", () => {
    const worker = new Worker();
    const { owner } = worker;
    owner.submit(1);
    owner.submit(2);
    owner.flush();
    const running = owner.grant(1, 0);
    const [first] = running.takeTasks();
    owner.returned(running, 2);
    owner.throws(running, first as never, true);
    worker.computes();
    const tasks = worker.taken()?.handover.tasks;
    expect(tasks?.map(({ seq, attempt, failures }) => [seq, attempt, failures])).toEqual([
      [1, 1, 1],
      [2, 0, 0],
    ]);
  });

  test("names what another worker makes for this one, with its value once that is there", () => {
    const worker = new Worker();
    const { owner } = worker;
    owner.submit(1);
    owner.flush();
    const running = owner.grant(1, 0);
    const sent = only(running.takeTasks());
    owner.submit(2, 1, [1]);
    worker.computes();
    const taken = worker.taken();
    expect(taken?.unpublished).toEqual([owner.key(1)]);
    expect(taken?.handover.tasks).toMatchObject([{ seq: 2, deps: [owner.key(1)] }]);
    worker.comesBack();
    owner.takeAsked();
    owner.ok(running, sent);
    expect(owner.takeAsked()).toContainEqual({
      t: "object-publish",
      objects: [{ key: owner.key(1), value: { at: "inline", bytes: Buffer.of(1), nested: [] } }],
    });

    const other = new Worker();
    other.owner.submit(1);
    other.owner.flush();
    const busy = other.owner.grant(1, 0);
    other.owner.submit(2, 1, [1]);
    other.owner.ok(busy, only(busy.takeTasks()));
    other.computes();
    expect(other.taken()).toMatchObject({
      unpublished: [],
      handover: { tasks: [{ seq: 2, deps: [{ at: "inline", bytes: Buffer.of(1) }] }] },
    });
  });

  test("what was taken is somebody else's, and the worker asks for what it waits for", () => {
    const worker = new Worker();
    const { owner } = worker;
    owner.submit(1);
    owner.submit(2, 1, [1]);
    owner.submit(3);
    owner.want(2);
    owner.release(3);
    worker.computes();
    const taken = worker.taken();
    worker.comesBack();
    expect(handedBy(owner)).toEqual([]);
    owner.flush();
    const asked = owner.takeAsked();
    expect(asked).toContainEqual({ t: "object-subscribe", keys: [owner.key(2)] });
    expect(asked).toContainEqual({ t: "hold-release", holds: [[owner.key(3), 1]] });
    expect(asked.some(({ t }) => t === "lease-demand")).toBe(false);
    owner.engine.onNodeMessage({ t: "handed-ended", count: 3 });
    expect(worker.handover.isUnderWay).toBe(false);
    // The node has the function, until it is told that it is not needed any more.
    owner.submit(4);
    worker.computes();
    expect(worker.taken()?.handover.templates).toEqual([]);
    worker.comesBack();
    owner.engine.tasks.unregister(1);
    expect(owner.takeAsked()).toContainEqual({ t: "template-drop", ids: [1] });

    const deputy = new TestOwner({ self: owner.self, engineSeqsFrom: DEPUTY_SEQS_FROM });
    const granted: ToNode[] = [];
    const names = { self: newProcessId(), giver: owner.self };
    const handover = taken?.handover as TaskHandover;
    adopt(deputy.engine, { toNode: (message) => void granted.push(message) }, names, handover);
    deputy.flush();
    expect(
      deputy
        .grant(1, 0)
        .takeTasks()
        .map(({ seq }) => seq),
    ).toEqual([1, 3]);
  });

  test("is handed over when it is full", () => {
    const worker = new Worker(1_024);
    const { owner } = worker;
    let seq = 1;
    while (!worker.handover.isUnlogged) owner.submit(seq++);
    expect(seq).toBeGreaterThan(5);
    expect(worker.handover.handOver()).toBe(true);
    expect(only(handedBy(owner)).tasks).toHaveLength(seq - 1);
    owner.submit(seq);
    expect(worker.handover.isUnlogged).toBe(false);
    worker.computes();
    expect(worker.seqs()).toEqual([seq]);
  });

  test("what a result names is handed over unless it was sent", () => {
    const { owner, handover } = new Worker();
    owner.submit(1);
    owner.put(2);
    handover.escaping([owner.key(2)]);
    expect(handedBy(owner)).toEqual([]);
    handover.escaping([owner.key(1)]);
    expect(only(handedBy(owner)).tasks.map(({ seq }) => seq)).toEqual([1]);
  });
});

describe("the node", () => {
  test("counts looks at which the same program ran undisturbed", () => {
    const worker = new Worker();
    const { watched, owner } = worker;
    const look = () => watched.look();
    expect([look(), look()]).toEqual([-1, -2]);
    owner.submit(1);
    worker.computes();
    expect(worker.asked).toBe(1);
    expect([look(), look()]).toEqual([1, 2]);
    worker.comesBack();
    worker.computes();
    expect([look(), look()]).toEqual([1, 2]);
    worker.comesBack();
    expect([look(), look()]).toEqual([-1, -2]);
    expect(worker.asked).toBe(1);
  });

  test("is asked again by a worker that it had left, and does not leave one whose log is open", () => {
    const worker = new Worker();
    const { watched, owner } = worker;
    owner.submit(1);
    worker.computes();
    expect(watched.leave()).toBe(false);
    worker.comesBack();
    expect(watched.leave()).toBe(true);
    worker.computes();
    expect(worker.asked).toBe(2);
  });

  test("a function is not dropped while tasks in the log name it, which do not bring it again", () => {
    const worker = new Worker();
    const { owner } = worker;
    owner.submit(1);
    worker.handover.handOver();
    expect(handedBy(owner)).toHaveLength(1);
    owner.submit(2);
    // It is collected while what it has submitted waits.
    owner.engine.tasks.unregister(1);
    worker.computes();
    expect(owner.takeAsked().filter(({ t }) => t === "template-drop")).toEqual([]);
    expect(worker.taken()?.handover).toMatchObject({ templates: [], tasks: [{ seq: 2, template: 1 }] });
    worker.comesBack();
    worker.computes();
    expect(owner.takeAsked()).toContainEqual({ t: "template-drop", ids: [1] });
  });

  test("learns how many messages it must have handled before", () => {
    const worker = new Worker();
    const { owner, watched } = worker;
    owner.engine.objects.put(1 as Seq, { at: "stored", key: 7, size: 1_000, nested: [] });
    owner.submit(2, 1, [1]);
    worker.handover.handOver();
    owner.submit(3);
    worker.computes();
    expect(watched.messages).toBe(owner.takeAsked().filter(saysWhoDelivers).length);
    expect(watched.messages).toBe(2);
  });
});
