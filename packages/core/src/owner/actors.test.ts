import { beforeEach, describe, expect, test } from "vitest";
import { type ActorId, newActorId, newProcessId, type ObjectKey, type ProcessId, type Seq } from "../base/ids.ts";
import {
  type ActorState,
  FrameReader,
  FrameWriter,
  packFailure,
  TO_OWNER,
  TO_WORKER,
  type ToNode,
  unpackFailure,
  type ValueRecord,
  type WorkerAddress,
} from "../wire/mod.ts";
import { OwnerClaims, WorkerClaims } from "./claims.ts";
import { OwnerEngine } from "./engine.ts";
import type { NestedRef, WorkerLink } from "./records.ts";
import { testTemplate } from "./test-owner.ts";

const EMPTY = new Uint8Array(0);
const FRAME_HEADER_BYTES = 4;

class FakeLink implements WorkerLink {
  readonly address: WorkerAddress;
  readonly out = new FrameWriter();
  readonly knownTemplates = new Set<number>();
  readonly knownMethods: WorkerLink["knownMethods"] = new Map();
  readonly knownActors = new Map<number, number>();
  namedLease = 0;
  readonly words = new Int32Array(new SharedArrayBuffer(4096));
  readonly claims: OwnerClaims;
  readonly worker = new WorkerClaims(this.words);
  isBroken = false;

  constructor(address: WorkerAddress, self: ProcessId) {
    this.address = address;
    this.claims = new OwnerClaims(this.words, address.pid, self, () => true);
  }

  schedule(): void {}

  /** Calls that were written since the last look: [seq, attempt, slot, sequence]. */
  takeCalls(): [number, number, number, number][] {
    const bytes = this.out.takeCopy();
    const reader = new FrameReader();
    const calls: [number, number, number, number][] = [];
    for (let at = 0; at < bytes.length; ) {
      const start = at + FRAME_HEADER_BYTES;
      at = start + bytes.readUInt32LE(at);
      const frame = reader.reset(bytes, start, at);
      frame.array();
      if (frame.uint() !== TO_WORKER.call) continue;
      const [seq = 0, attempt = 0, , , slot = 0, sequence = 0] = [0, 0, 0, 0, 0, 0].map(() => frame.uint());
      calls.push([seq, attempt, slot, sequence]);
    }
    return calls;
  }
}

let engine: OwnerEngine;
let values: Map<number, ValueRecord>;
let toNode: ToNode[];
let links: FakeLink[];
let actorId: ActorId;

beforeEach(() => {
  const self = newProcessId();
  values = new Map();
  toNode = [];
  links = [];
  actorId = newActorId("0000cafe" as never);
  engine = new OwnerEngine(self, {
    value: (seq, value) => void values.set(seq, value),
    pinned() {},
    ready() {},
    streamItem() {},
    streamValue() {},
    streamEnd() {},
    unreadFailure() {},
    warn() {},
    kept() {},
    toNode: (message) => void toNode.push(message),
    link: (address) => {
      const known = links.find((link) => link.address.workerId === address.workerId && !link.isBroken);
      if (known) return known;
      const link = new FakeLink(address, self);
      links.push(link);
      return link;
    },
    unlink() {},
    pin() {},
    killWorker() {},
    taskEvent() {},
  });
  engine.at(1_000);
  engine.actors.borrow(1, actorId, "Counter", 1);
  engine.actors.received(actorId);
  for (const [id, maxRetries] of [
    [1, 0],
    [2, 1],
  ] as const) {
    engine.actors.registerMethod({
      id,
      name: "add",
      displayName: "",
      numReturns: 1,
      isStream: false,
      streamBufferItems: 16,
      group: "",
      maxRetries,
      retryDelayMs: 0,
      timeoutMs: 0,
      retry: EMPTY,
    });
  }
});

function call(seq: number, method = 1): void {
  engine.actors.call(seq as Seq, 1, method, EMPTY, [], []);
  engine.objects.want(seq as Seq);
}

function hear(state: ActorState["state"], incarnation: number, worker?: number): FakeLink {
  engine.onNodeMessage({
    t: "actor-state",
    actorId,
    state,
    incarnation,
    className: "Counter",
    ...(state === "dead" && { cause: { code: "ACTOR_DIED", message: "it was killed" } }),
    ...(worker !== undefined && {
      worker: { workerId: `w${worker}`, processId: newProcessId(), nodeId: "n", pid: worker, address: "" } as never,
    }),
  });
  engine.flush();
  return links.at(-1) as FakeLink;
}

function answer(link: FakeLink, write: (out: FrameWriter) => void): void {
  const out = new FrameWriter();
  out.begin();
  write(out);
  out.end();
  const bytes = out.takeCopy();
  engine.onWorkerFrame(link, new FrameReader().reset(bytes, FRAME_HEADER_BYTES, bytes.length));
  engine.flush();
}

const answerOk = (link: FakeLink, seq: number, attempt = 0): void =>
  answer(link, (out) => {
    out.array(5);
    for (const field of [TO_OWNER.ok, seq, attempt, 10]) out.uint(field);
    out.bin(Uint8Array.of(seq));
  });

const codeOf = (seq: number): string | undefined => {
  const value = values.get(seq);
  if (!value) return undefined;
  return value.at === "error" ? unpackFailure(value.bytes).code : "ok";
};

describe("many calls of one actor", () => {
  test("at most a thousand are on their way; each answer makes room for the next one, in order", () => {
    for (let seq = 10; seq < 1_210; seq++) call(seq);
    const link = hear("alive", 0, 1);
    const sent = link.takeCalls().map(([seq]) => seq);
    expect(sent).toEqual(Array.from({ length: 1_000 }, (_, at) => 10 + at));
    answerOk(link, 10);
    answerOk(link, 500);
    expect(link.takeCalls().map(([seq]) => seq)).toEqual([1_010, 1_011]);
    expect([10, 11, 500].map(codeOf)).toEqual(["ok", undefined, "ok"]);
  });
});

describe("when an actor's process dies", () => {
  test("calls that had started are unavailable, the others go again in order", () => {
    for (const seq of [10, 11, 12]) call(seq);
    const link = hear("alive", 0, 1);
    const sent = link.takeCalls();
    expect(sent.map(([seq]) => seq)).toEqual([10, 11, 12]);
    const [, , slot, sequence] = sent[0] as [number, number, number, number];
    expect(link.worker.start(slot, sequence)).toBe(true);
    engine.onLinkClosed(link);
    hear("restarting", 1);
    expect([10, 11, 12].map(codeOf)).toEqual(["ACTOR_UNAVAILABLE", undefined, undefined]);
    const next = hear("alive", 1, 2);
    expect(next.takeCalls().map(([seq, attempt]) => [seq, attempt])).toEqual([
      [11, 0],
      [12, 0],
    ]);
  });

  test("an end counts, though control that was killed had told of a restart which was not written down", () => {
    hear("alive", 0, 1);
    hear("restarting", 1);
    call(10);
    hear("alive", 0, 1);
    expect(codeOf(10)).toBeUndefined();
    hear("dead", 0);
    expect(codeOf(10)).toBe("ACTOR_DIED");
  });

  test("the node's news waits for the answers that the process had sent", () => {
    call(10);
    call(11);
    const link = hear("alive", 0, 1);
    for (const [, , slot, sequence] of link.takeCalls()) link.worker.start(slot, sequence);
    hear("restarting", 1);
    expect([10, 11].map(codeOf)).toEqual([undefined, undefined]);
    answerOk(link, 10);
    engine.onLinkClosed(link);
    engine.flush();
    expect([10, 11].map(codeOf)).toEqual(["ok", "ACTOR_UNAVAILABLE"]);
  });

  test("a retried call takes its place before those that were sent after it", () => {
    call(10, 2);
    call(11);
    const link = hear("alive", 0, 1);
    const [first] = link.takeCalls();
    const [, , slot = 0, sequence = 0] = first ?? [];
    link.worker.start(slot, sequence);
    engine.onLinkClosed(link);
    hear("restarting", 1);
    call(12);
    const next = hear("alive", 1, 2);
    expect(next.takeCalls().map(([seq, attempt]) => [seq, attempt])).toEqual([
      [10, 1],
      [11, 0],
      [12, 0],
    ]);
  });

  test("a death for good fails everything, started or not", () => {
    call(10);
    call(11);
    const link = hear("alive", 0, 1);
    engine.onLinkClosed(link);
    hear("dead", 0);
    call(12);
    engine.flush();
    expect([10, 11, 12].map(codeOf)).toEqual(["ACTOR_DIED", "ACTOR_DIED", "ACTOR_DIED"]);
  });
});

describe("in a shared worker", () => {
  test("the worker's word that the actor is gone is enough, and its next life may be in the same worker", () => {
    call(10);
    const link = hear("alive", 0, 1);
    const [first] = link.takeCalls();
    const [, , slot = 0, sequence = 0] = first ?? [];
    link.worker.start(slot, sequence);
    hear("restarting", 1);
    expect(codeOf(10)).toBeUndefined();
    answer(link, (out) => {
      out.array(3);
      for (const field of [TO_OWNER.actorGone, 1, 0]) out.uint(field);
    });
    expect(codeOf(10)).toBe("ACTOR_UNAVAILABLE");
    call(11);
    expect(hear("alive", 1, 1)).toBe(link);
    expect(link.takeCalls().map(([seq]) => seq)).toEqual([11]);
    expect(link.knownActors.get(1)).toBe(1);
  });

  test("calls that it gives back are kept until the node has said what became of the actor", () => {
    call(10);
    call(11);
    const link = hear("alive", 0, 1);
    link.takeCalls();
    answer(link, (out) => {
      out.array(3);
      for (const field of [TO_OWNER.actorGone, 1, 0]) out.uint(field);
    });
    answer(link, (out) => {
      out.array(3);
      for (const field of [TO_OWNER.returned, 10, 11]) out.uint(field);
    });
    expect(link.takeCalls()).toEqual([]);
    hear("restarting", 1);
    hear("alive", 1, 1);
    expect(link.takeCalls().map(([seq]) => seq)).toEqual([10, 11]);
  });
});

describe("a handle of an actor that there was already, under its name", () => {
  test("its calls and those through the other handle go in the order submitted", () => {
    const other = newActorId("0000cafe" as never);
    engine.actors.borrow(2, other, "Counter", 1);
    engine.actors.received(other);
    engine.actors.call(10 as Seq, 2, 1, EMPTY, [], []);
    // It needs the result of the one before it, and would wait for ever behind it.
    engine.actors.call(11 as Seq, 1, 1, EMPTY, [10 as Seq], []);
    engine.actors.call(12 as Seq, 2, 1, EMPTY, [], []);
    engine.actors.call(13 as Seq, 1, 1, EMPTY, [], []);
    const link = hear("alive", 0, 1);
    expect(link.takeCalls()).toEqual([]);
    engine.onNodeMessage({
      t: "actor-state",
      actorId: other,
      state: "alive",
      incarnation: 0,
      className: "Counter",
      sameAs: actorId,
    });
    engine.flush();
    expect(link.takeCalls().map(([seq]) => seq)).toEqual([10]);
    answerOk(link, 10);
    expect(link.takeCalls().map(([seq]) => seq)).toEqual([11, 12, 13]);
  });
});

describe("cancelling", () => {
  test("a call that has not started is taken back without a word to the worker", () => {
    call(10);
    call(11);
    const link = hear("alive", 0, 1);
    const [first, second] = link.takeCalls() as [[number, number, number, number], [number, number, number, number]];
    link.worker.start(first[2], first[3]);
    engine.cancel(11 as Seq, false, true);
    expect(codeOf(11)).toBe("TASK_CANCELLED");
    expect(link.out.isEmpty).toBe(true);
    expect(link.worker.start(second[2], second[3])).toBe(false);
    engine.cancel(10 as Seq, false, true);
    expect(link.out.isEmpty).toBe(false);
  });

  test("a cancelled call that still runs when its actor dies leaves nothing behind", () => {
    call(10);
    const link = hear("alive", 0, 1);
    for (const [, , slot, sequence] of link.takeCalls()) link.worker.start(slot, sequence);
    engine.cancel(10 as Seq, false, true);
    expect(engine.isActive).toBe(true);
    engine.onLinkClosed(link);
    hear("restarting", 1);
    expect(engine.tasks.sent.size).toBe(0);
    engine.tick();
    expect(engine.isActive).toBe(false);
  });
});

describe("creation", () => {
  test("the code of a class goes to the node once", () => {
    const spec = { className: "Counter", codeKey: "k", code: Uint8Array.of(1, 2), host: EMPTY };
    for (const [num, code] of [
      [5, spec.code],
      [6, EMPTY],
    ] as const) {
      engine.actors.create({
        num,
        actorId: newActorId("0000cafe" as never),
        concurrency: 1,
        options: {} as never,
        spec: { ...spec, code },
        args: EMPTY,
        deps: [],
        nested: [],
      });
    }
    const created = toNode.filter((message) => message.t === "actor-create");
    expect(created.map((message) => message.spec.code.length)).toEqual([2, 0]);
  });

  test("a handle that leaves before its creation is announced, and a failed argument ends it for everybody", () => {
    engine.objects.put(3 as Seq, { at: "inline", bytes: EMPTY, nested: [] });
    engine.objects.borrow(4 as Seq, newProcessId(), 1 as Seq);
    const created = newActorId("0000cafe" as never);
    engine.actors.create({
      num: 7,
      actorId: created,
      concurrency: 1,
      options: {} as never,
      spec: { className: "Late", codeKey: "k", code: EMPTY, host: EMPTY },
      args: EMPTY,
      deps: [4 as Seq],
      nested: [],
    });
    engine.objects.publishNested([created as never]);
    engine.objects.publishNested([created as never]);
    const announced = (): unknown[] => toNode.filter((message) => message.t === "actor-announce");
    expect(announced()).toEqual([{ t: "actor-announce", actorId: created, className: "Late" }]);
    const key = engine.objects.keyOf(engine.objects.get(4 as Seq));
    const bytes = packFailure({ code: "TASK_FAILED", kind: "task", message: "no" });
    engine.objects.onObjectState(key, { at: "error", bytes, nested: [] });
    expect(announced()).toMatchObject([{}, { actorId: created, cause: { code: "ACTOR_DIED" } }]);
    expect(toNode.some((message) => message.t === "actor-create")).toBe(false);
  });
});

describe("an actor that lives here, when its node sees nobody hold it", () => {
  const SELF = 9;
  const key = (): ObjectKey => actorId as string as ObjectKey;
  beforeEach(() => {
    engine.actors.release(1);
    engine.flush();
    engine.actors.hosts(actorId);
    engine.actors.borrowSelf(SELF, actorId, "Counter", 1);
    engine.tasks.register(testTemplate(1));
    toNode = [];
  });

  test("is kept by nothing when it has kept its handle to itself, and called itself", () => {
    engine.actors.call(1 as Seq, SELF, 1, EMPTY, [], []);
    expect(engine.actors.keepsAlive(actorId)).toBeUndefined();
    expect(engine.actors.find(SELF)?.actorId).toBe(actorId);
  });

  test("is kept by a task that has its handle, until that has ended", () => {
    engine.tasks.submit(1 as Seq, 1, EMPTY, [], [key()]);
    expect(engine.actors.keepsAlive(actorId)).toBe("under way");
    engine.cancel(1 as Seq, false, false);
    expect(engine.actors.keepsAlive(actorId)).toBeUndefined();
  });

  test("is kept by what a task's arguments lead to, and by what its function has captured", () => {
    const put = (seq: number, nested: readonly NestedRef[]): void =>
      engine.objects.put(seq as Seq, { at: "inline", bytes: EMPTY, nested });
    put(1, [key()]);
    put(2, [1 as Seq]);
    put(3, [2 as Seq]);
    // A cycle that nobody else has part in.
    expect(engine.actors.keepsAlive(actorId)).toBeUndefined();
    engine.tasks.submit(4 as Seq, 1, EMPTY, [3 as Seq], []);
    expect(engine.actors.keepsAlive(actorId)).toBe("under way");
    engine.cancel(4 as Seq, false, false);
    expect(engine.actors.keepsAlive(actorId)).toBeUndefined();
    engine.tasks.register(testTemplate(2, { nested: [key()] }));
    expect(engine.actors.keepsAlive(actorId)).toBeUndefined();
    engine.tasks.submit(5 as Seq, 2, EMPTY, [], []);
    expect(engine.actors.keepsAlive(actorId)).toBe("under way");
  });

  test("is kept once by what has left, because the node had not read it then", () => {
    engine.objects.put(1 as Seq, { at: "inline", bytes: EMPTY, nested: [key()] });
    engine.objects.publishNested([engine.objects.ownKey(1 as Seq)]);
    expect(toNode).toMatchObject([{ t: "object-publish" }]);
    expect(engine.actors.keepsAlive(actorId)).toBe("left");
    expect(engine.actors.keepsAlive(actorId)).toBeUndefined();
  });

  test("its own handle that came back is given back with its last use, whatever handle it names itself by", () => {
    engine.objects.holds.receive([key()]);
    engine.objects.holds.drop([key()]);
    engine.flush();
    expect(toNode).toEqual([{ t: "hold-release", holds: [[actorId, 1]] }]);
  });
});
