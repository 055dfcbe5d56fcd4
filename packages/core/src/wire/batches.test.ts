import { expect, test } from "vitest";
import type { ActorId, JobId, NodeId, ProcessId, WorkerId } from "../base/ids.ts";
import { type Batch, Batcher, unbatch } from "./batches.ts";
import { pack, unpack } from "./cold.ts";
import type { ActorCreate, ActorCreated, ActorOptionsRecord, ActorSpec, ActorStart, ActorState } from "./messages.ts";

const id = (number: number): ActorId => `actor${number}` as ActorId;
const worker = {
  workerId: "w" as WorkerId,
  processId: "p" as ProcessId,
  nodeId: "n" as NodeId,
  pid: 7,
  address: "/socket",
};
const options: ActorOptionsRecord = {
  getIfExists: false,
  lifetime: "owner",
  resources: {},
  maxRestarts: 0,
  isolation: "shared",
  maxActorsPerWorker: 2_000,
};
const none = new Uint8Array(0);
const spec = (args: number, more: Partial<ActorSpec> = {}): ActorSpec => ({
  className: "Counter",
  codeKey: "key",
  code: none,
  host: none,
  deps: [],
  nested: [],
  keeps: [],
  args: Uint8Array.of(args),
  ...more,
});
const create = (number: number, more?: Partial<ActorSpec>): ActorCreate => ({
  t: "actor-create",
  actorId: id(number),
  options,
  spec: spec(number, more),
});
const start = (number: number, more: Partial<ActorStart> = {}): ActorStart => ({
  t: "actor-start",
  actorId: id(number),
  incarnation: number,
  jobId: "job" as JobId,
  namespace: "here",
  resources: options.resources,
  gpus: [],
  spec: spec(number),
  ...more,
});
const created = (number: number, more: Partial<ActorCreated> = {}): ActorCreated => ({
  t: "actor-created",
  actorId: id(number),
  incarnation: number,
  ...more,
});
const state = (number: number, more: Partial<ActorState> = {}): ActorState => ({
  t: "actor-state",
  actorId: id(number),
  state: "alive",
  incarnation: number,
  className: "Counter",
  worker,
  ...more,
});
const collect = { t: "collect" };

/** What a receiver gets, and how many messages it took on the wire. */
function send(messages: readonly object[]): { received: unknown[]; frames: number } {
  const received: unknown[] = [];
  let frames = 0;
  const batcher = new Batcher((message) => {
    frames++;
    const arrived = unpack(pack(message)) as { t: string };
    if (arrived.t === "batch") unbatch(arrived as Batch, (one) => received.push(one));
    else received.push(arrived);
  });
  for (const message of messages) batcher.send(message);
  batcher.flush();
  expect(batcher.isEmpty).toBe(true);
  return { received, frames };
}

const plain = (messages: readonly object[]): unknown[] => messages.map((message) => unpack(pack(message)));
const numbers = [1, 2, 3];

test.each([
  ["actor-create", numbers.map((number) => create(number))],
  ["actor-start", numbers.map((number) => start(number))],
  ["actor-created", numbers.map((number) => created(number))],
  ["actor-state", numbers.map((number) => state(number))],
])("%s messages that are alike travel as one and arrive as they were", (_t, messages) => {
  expect(send(messages)).toEqual({ received: plain(messages), frames: 1 });
});

test("different messages keep their order", () => {
  const other = { ...options, maxRestarts: 1 };
  const messages = [
    create(1),
    create(2),
    { ...create(3), options: other },
    create(4, { className: "Other", codeKey: "other" }),
    collect,
    created(5),
    created(6),
    state(7),
    state(8, { state: "restarting" }),
    state(9),
    start(10, { namespace: "there" }),
    start(11),
  ];
  expect(send(messages)).toEqual({ received: plain(messages), frames: 10 });
});

test("what is not said for all travels alone", () => {
  const messages = [
    create(1, { code: Uint8Array.of(1) }),
    create(2, { code: Uint8Array.of(1) }),
    create(3, { deps: [{ at: "inline", bytes: none, nested: [] }] }),
    create(4, { nested: ["key" as never] }),
    create(5, { keeps: ["key" as never] }),
    create(6, { args: new Uint8Array(5_000) }),
    start(7, { name: "seven" }),
    start(8, { gpus: ["0"] }),
    start(9, { gpus: ["0"] }),
    created(10, { error: Uint8Array.of(1) }),
    state(11, { cause: { code: "ACTOR_DIED", message: "it ended" } }),
    state(12, { sameAs: id(1) }),
  ];
  expect(send(messages)).toEqual({ received: plain(messages), frames: messages.length });
});

test("a batch has a limit", () => {
  const messages = Array.from({ length: 1_000 }, (_, index) => created(index));
  expect(send(messages)).toEqual({ received: plain(messages), frames: 2 });
});

test("those that arrive as one share what they had in common", () => {
  const [first, next] = send([create(1), create(2)]).received as ActorCreate[];
  expect(first?.options).toBe(next?.options);
});

test("a kind that is not known is nobody's", () => {
  const received: unknown[] = [];
  unbatch({ t: "batch", of: "from the future", shared: {}, own: [1] }, (message) => received.push(message));
  expect(received).toEqual([]);
});
