import { describe, expect, test } from "vitest";
import { type LeaseId, newProcessId, objectKeySeq } from "../base/ids.ts";
import {
  ANSWER_KEPT_FROM_MICROS,
  FrameReader,
  FrameWriter,
  type TaskCopy,
  TO_OWNER,
  type ToNode,
  unpackFailure,
  type WorkerAddress,
} from "../wire/mod.ts";
import { Copies } from "./copies.ts";
import { DEPUTY_SEQS_FROM } from "./objects.ts";
import { only, TestOwner, type TestWorker, testTemplate } from "./test-owner.ts";

const HEADER_BYTES = 4;
const OWNER = newProcessId();
const MAY_RETRY = 1;
const MAY_NOT = 2;
const TWO_RETURNS = 3;

const address = (name: string): WorkerAddress => ({
  workerId: name as WorkerAddress["workerId"],
  processId: `p${name}`.padEnd(24, "0") as WorkerAddress["processId"],
  nodeId: "n" as WorkerAddress["nodeId"],
  pid: 1,
  address: `/${name}`,
});

const isCopy = (message: ToNode): message is TaskCopy => message.t === "task-copy";

/** An owner whose refs have escaped, and what its node has of it. */
function escapedFrom(submit: (owner: TestOwner) => void, escaped: readonly number[]) {
  const owner = new TestOwner({ handsOver: true, self: OWNER });
  owner.register(MAY_RETRY);
  owner.register(MAY_NOT, { maxRetries: 0 });
  owner.register(TWO_RETURNS, { numReturns: 2 });
  submit(owner);
  owner.engine.objects.publishNested(escaped.map((seq) => owner.key(seq)));
  owner.flush();
  const deputy = new TestOwner({ self: OWNER, engineSeqsFrom: DEPUTY_SEQS_FROM });
  const granted: ToNode[] = [];
  const effects = { toNode: (message: ToNode) => void granted.push(message) };
  const copies = new Copies(deputy.engine, effects, { self: newProcessId(), giver: OWNER });
  const hear = (): void => {
    for (const message of owner.takeAsked()) {
      if (isCopy(message)) copies.add(message);
      else if (message.t === "object-publish") copies.published(message.objects);
      else if (message.t === "task-handover") copies.handedOver(message);
      else if (message.t === "template-drop") copies.dropTemplates(message.ids);
    }
  };
  hear();
  /** The owner is dead, and had a lease on each of the workers. */
  const succeed = (...leases: readonly (readonly [number, string])[]): TestOwner => {
    copies.succeed(() => leases.map(([leaseId, name]) => ({ leaseId: leaseId as LeaseId, worker: address(name) })));
    deputy.flush();
    return deputy;
  };
  return { owner, copies, hear, succeed };
}

function answers(heir: TestOwner, worker: TestWorker, ...tasks: readonly (readonly [number, number])[]): void {
  const out = new FrameWriter();
  out.begin();
  out.array(1 + 2 * tasks.length);
  for (const field of [TO_OWNER.inherited, ...tasks.flat()]) out.uint(field);
  out.end();
  const bytes = out.takeCopy();
  heir.engine.onWorkerFrame(worker, new FrameReader().reset(bytes, HEADER_BYTES, bytes.length));
  heir.flush();
}

const running = (seq: number, attempt = 0) => ({ kind: "task" as const, seq, attempt, slot: 0, sequence: 0 });

/** Which tasks run when a worker is there for them. */
const runAgain = (heir: TestOwner): unknown[] =>
  heir
    .grant(99, 9)
    .takeTasks()
    .map(({ seq, attempt }) => [seq, attempt]);

/** The values that it has told the node since the last look. */
const outcomes = (heir: TestOwner): unknown[] =>
  heir
    .takeAsked()
    .flatMap((message) => (message.t === "object-publish" ? message.objects : []))
    .flatMap(({ key, value }) => {
      if (!value) return [];
      return [[objectKeySeq(key), value.at === "error" ? unpackFailure(value.bytes).code : value.at]];
    });

describe("copies", () => {
  test("the node has one of a task whose ref has escaped, and of those that it waits for", () => {
    const owner = new TestOwner({ handsOver: true });
    owner.register(1);
    owner.submit(1);
    owner.submit(2, 1, [1]);
    owner.submit(3);
    owner.engine.objects.publishNested([owner.key(2)]);
    owner.flush();
    const copies = owner.takeAsked().filter(isCopy);
    expect(copies.flatMap(({ templates }) => templates.map(({ id }) => id))).toEqual([1]);
    expect(copies.flatMap(({ tasks }) => tasks.map(({ seq, deps }) => [seq, deps]))).toEqual([
      [2, [owner.key(1)]],
      [1, []],
    ]);
  });

  test("there are none of streams, and of what has a value", () => {
    const { copies } = escapedFrom(
      (owner) => {
        owner.register(4, { isStream: true });
        owner.submit(1, 4);
        owner.put(2);
      },
      [1, 2],
    );
    expect(copies.isEmpty).toBe(true);
  });

  test("they are kept until the owner says the value, or hands the task over", () => {
    const { owner, copies, hear } = escapedFrom(
      (owner) => {
        owner.submit(1);
        owner.submit(2, TWO_RETURNS);
      },
      [1, 3],
    );
    owner.cancel(1);
    hear();
    expect(copies.isEmpty).toBe(false);
    owner.engine.handover?.handOver();
    hear();
    expect(copies.isEmpty).toBe(true);
  });

  test("a function that the owner has dropped is known as long as a copy is of it", () => {
    const { owner, hear, succeed } = escapedFrom((owner) => owner.submit(1), [1]);
    owner.engine.tasks.unregister(MAY_RETRY);
    hear();
    const heir = succeed();
    expect(runAgain(heir)).toEqual([[1, 1]]);
    expect(heir.engine.tasks.isRegistered(MAY_RETRY)).toBe(false);
  });

  test("one that comes again after that is kept when the copies have gone: the owner will say so again", () => {
    const { owner, copies, hear, succeed } = escapedFrom((owner) => owner.submit(1), [1]);
    owner.engine.tasks.unregister(MAY_RETRY);
    hear();
    copies.handedOver({ templates: [{ ...testTemplate(MAY_RETRY), nested: [] }], tasks: [] });
    const value = { at: "inline", bytes: Uint8Array.of(1), nested: [] } as const;
    copies.published([{ key: owner.key(1), value }]);
    expect(copies.isEmpty).toBe(true);
    expect(succeed().engine.tasks.isRegistered(MAY_RETRY)).toBe(true);
  });

  test("what the dead owner was told to cancel is cancelled", () => {
    const { owner, copies, succeed } = escapedFrom((owner) => owner.submit(1), [1]);
    copies.cancelling({ t: "object-cancel", key: owner.key(1), force: false, isRecursive: true });
    const heir = succeed();
    expect(outcomes(heir)).toEqual([[1, "TASK_CANCELLED"]]);
  });
});

describe("what a dead owner's tasks have come to", () => {
  const three = () =>
    escapedFrom(
      (owner) => {
        owner.submit(1, MAY_NOT);
        owner.submit(2, MAY_NOT);
        owner.submit(3);
      },
      [1, 2, 3],
    );

  test("nothing is begun before all of the owner's workers have answered", () => {
    const heir = three().succeed([7, "w1"], [8, "w2"]);
    answers(heir, heir.worker(0), [1, 0]);
    expect(heir.takeAsked().some(({ t }) => t === "lease-demand")).toBe(false);
    answers(heir, heir.worker(1));
    // The second worker ends; the third task is run again, and the second must not be.
    expect(outcomes(heir)).toEqual([[2, "OWNER_DIED"]]);
    expect(runAgain(heir)).toEqual([[3, 1]]);
  });

  test("what runs ends here, and its worker is not used again", () => {
    const heir = three().succeed([7, "w1"]);
    const worker = heir.worker(0);
    answers(heir, worker, [1, 2]);
    heir.takeAsked();
    heir.ok(worker, running(1, 2));
    heir.flush();
    const asked = heir.takeAsked();
    expect(asked[0]).toMatchObject({ t: "object-publish", objects: [{ value: { at: "inline" } }] });
    expect(asked).toContainEqual({ t: "lease-return", leaseId: 7, retire: true });
  });

  test("what nobody wants is cancelled where it runs", () => {
    const heir = three().succeed([7, "w1"]);
    heir.cancel(1);
    heir.worker(0).take();
    answers(heir, heir.worker(0), [1, 0]);
    expect(heir.worker(0).take()).toEqual([{ kind: "cancel", seq: 1, code: "TASK_CANCELLED", isRecursive: true }]);
    expect(heir.takeAsked()).toContainEqual({ t: "lease-return", leaseId: 7, retire: true });
  });

  test("a task whose argument is still made waits for it when it is run again", () => {
    const { succeed } = escapedFrom(
      (owner) => {
        owner.submit(1);
        owner.submit(2, MAY_RETRY, [1]);
      },
      [2],
    );
    const heir = succeed([7, "w1"]);
    const worker = heir.worker(0);
    answers(heir, worker, [1, 0]);
    heir.ok(worker, running(1));
    heir.flush();
    expect(runAgain(heir)).toEqual([[2, 1]]);
  });
});

describe("a worker keeps what took long to make until", () => {
  const LONG = ANSWER_KEPT_FROM_MICROS;
  const sent = (options: Parameters<TestOwner["register"]>[1] = {}) => {
    const owner = new TestOwner({ handsOver: true });
    owner.register(1, options);
    owner.submit(1);
    owner.engine.objects.publishNested([owner.key(1)]);
    owner.flush();
    const worker = owner.grant(7, 1);
    const task = only(worker.takeTasks());
    owner.takeAsked();
    return { owner, worker, task };
  };

  test("its owner has told the node the value, and says so", () => {
    const { owner, worker, task } = sent();
    owner.ok(worker, task, LONG);
    expect(worker.take()).toEqual([]);
    expect(owner.takeAsked()).toMatchObject([{ t: "object-publish", objects: [{ value: { at: "inline" } }] }]);
    owner.flush();
    expect(worker.take()).toEqual([{ kind: "heard", answers: [1, 0] }]);
  });

  test("its owner says so before it sends the next attempt", () => {
    const { owner, worker, task } = sent();
    owner.throws(worker, task, true, [], LONG);
    owner.flush();
    expect(worker.take()).toMatchObject([
      { kind: "heard", answers: [1, 0] },
      { kind: "task", seq: 1, attempt: 1 },
    ]);
  });

  test("its owner says so of an attempt that counts no more", () => {
    const { owner, worker, task } = sent();
    owner.cancel(1);
    owner.flush();
    worker.take();
    owner.throws(worker, task, false, [], LONG);
    owner.flush();
    expect(worker.take()).toEqual([{ kind: "heard", answers: [1, 0] }]);
  });

  test("nothing is said of what took less", () => {
    const { owner, worker, task } = sent();
    owner.ok(worker, task, LONG - 1);
    owner.flush();
    expect(worker.take()).toEqual([]);
  });
});

/** What may be heard of a worker whose owner has died and that dies itself, in every order in which that can come. */
describe("a task whose worker dies too is run again, once, when the heir hears", () => {
  const death = (heir: TestOwner): void => heir.announceDeath(7, heir.worker(0));
  const end = (heir: TestOwner): void => heir.closeLink(heir.worker(0));
  const runs = (heir: TestOwner): void => answers(heir, heir.worker(0), [1, 0]);
  const idle = (heir: TestOwner): void => answers(heir, heir.worker(0));
  test.each([
    ["that its connection has ended, and that it is dead", [end, death]],
    ["that it is dead, and that its connection has ended", [death, end]],
    ["only that its connection has ended, because its lease had ended before", [end]],
    ["what it runs, that it is dead, and that its connection has ended", [runs, death, end]],
    ["what it runs, that its connection has ended, and that it is dead", [runs, end, death]],
    ["that it is dead, what it ran, and that its connection has ended", [death, runs, end]],
    ["that it runs nothing, that it is dead, and that its connection has ended", [idle, death, end]],
    ["that it is dead, that it ran nothing, and that its connection has ended", [death, idle, end]],
    ["that it runs nothing, and that its connection has ended", [idle, end]],
  ])("%s", (_what, events) => {
    const heir = escapedFrom((owner) => owner.submit(1), [1]).succeed([7, "w1"]);
    for (const event of events) event(heir);
    expect(heir.takeAsked().filter(({ t }) => t === "lease-demand")).toMatchObject([{ wanted: 1 }]);
    expect(runAgain(heir)).toEqual([[1, 1]]);
  });

  test("it was dead before its owner was known to be", () => {
    expect(runAgain(escapedFrom((owner) => owner.submit(1), [1]).succeed())).toEqual([[1, 1]]);
  });

  test.each([
    ["before the heir hears that it is dead", [runs, death]],
    ["after that", [death, runs]],
  ])("but not when it has answered, %s", (_when, events) => {
    const heir = escapedFrom((owner) => owner.submit(1), [1]).succeed([7, "w1"]);
    for (const event of events) event(heir);
    heir.ok(heir.worker(0), running(1));
    end(heir);
    expect(outcomes(heir)).toEqual([[1, "inline"]]);
    expect(runAgain(heir)).toEqual([]);
  });
});
