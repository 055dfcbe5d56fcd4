import { expect, test } from "vitest";
import type { ActorId, JobId, NodeId, ProcessId, WorkerId } from "../base/ids.ts";
import type { ActorWorkerRequest, ToControl } from "../wire/cluster-messages.ts";
import type { ActorCreate, ActorStart, ActorState, FromNode, WorkerAddress } from "../wire/messages.ts";
import { ClusterActors } from "./cluster-actors.ts";

const HERE = "aaaa" as NodeId;
const A = "a1" as ActorId;
const D = "driver" as ProcessId;
const addressAt = (nodeId: NodeId, worker = "w1"): WorkerAddress => ({
  workerId: worker as WorkerId,
  processId: `p-${worker}` as ProcessId,
  nodeId,
  pid: 7,
  address: "/w",
  claims: { path: "/claims", offset: 0, bytes: 64 },
});
const request = (requestId: number, more: Partial<ActorWorkerRequest> = {}): ActorWorkerRequest => ({
  requestId,
  jobId: "j1" as JobId,
  namespace: "",
  demand: { key: "k", resources: {}, priority: 0, name: "Counter" },
  worker: "fresh",
  label: "Counter",
  retriable: false,
  ...more,
});
// The fields that a host reads are of no concern here.
const start = (actorId: ActorId, incarnation = 0) =>
  ({ t: "actor-start", actorId, incarnation, gpus: [] }) as unknown as ActorStart;
const NO_CODE = new Uint8Array(0);
const create = (actorId: ActorId, code = NO_CODE) =>
  ({
    t: "actor-create",
    actorId,
    spec: { codeKey: "counter", code, host: code.subarray(0, 1) },
  }) as unknown as ActorCreate;

function setUp() {
  const said: ToControl[] = [];
  const done: unknown[][] = [];
  const toProcesses: (readonly [ProcessId, FromNode["t"]])[] = [];
  const actors = new ClusterActors(HERE, {
    say: (message) => void said.push(message),
    request: ({ requestId }) => void done.push(["request", requestId]),
    release: (requestId) => void done.push(["release", requestId]),
    kill: (workerId) => void done.push(["kill", workerId]),
    driverAt: (jobId, node) => void done.push(["driver", jobId, node]),
    send: (to, { t }) => void toProcesses.push([to, t]),
    processes: () => [D],
    later: () => () => {},
    mentioned: () => ["home" as ProcessId, []],
  });
  const take = () => said.splice(0);
  /** A worker for the actor, which has come into it. */
  const hosts = (worker: string, requestId: number, actorId: ActorId) => {
    actors.order({ t: "actor-worker-wanted", request: request(requestId) });
    actors.actorWorkerReady(requestId, addressAt(HERE, worker), []);
    actors.delivered(`p-${worker}` as ProcessId, start(actorId));
  };
  return { actors, said, take, done, toProcesses, hosts };
}

test("an actor of another node is reached without claim words, which are memory of its machine", () => {
  const { actors } = setUp();
  const state = (nodeId: NodeId): ActorState => ({
    t: "actor-state",
    actorId: A,
    state: "alive",
    incarnation: 0,
    className: "Counter",
    worker: addressAt(nodeId),
  });
  expect(actors.delivered(D, state(HERE))).toMatchObject({ worker: { claims: { path: "/claims" } } });
  expect(actors.delivered(D, state("bbbb" as NodeId))).not.toHaveProperty("worker.claims");
  expect(actors.nodeOf("w1")).toBe("bbbb");
});

test("what is said while there is no control is dropped, and stated when there is one again", () => {
  const { actors, take, toProcesses, hosts } = setUp();
  actors.welcomed(1);
  actors.driverJoined(D, { jobId: "j1" as JobId, namespace: "n", name: "", metadata: {} });
  hosts("w1", 1, A);
  hosts("w2", 2, "a2" as ActorId);
  take();
  actors.lost();
  actors.toControl({ t: "relay", from: D, message: create("a3" as ActorId) });
  actors.ask(D, { t: "query", id: 5, method: "get-actor", params: null });
  const exited = { t: "actor-exited", actorId: A, incarnation: 0, reason: "done" } as const;
  actors.toControl({ t: "relay", from: "p-w1" as ProcessId, message: exited });
  const death = { workerId: "w2" as WorkerId, pid: 7, exitCode: null, signal: "SIGKILL", stderrTail: "" };
  actors.workerDied(death);
  expect(take()).toEqual([]);
  toProcesses.length = 0;
  actors.welcomed(2);
  expect(take()).toMatchObject([
    {
      t: "node-statement",
      processes: [D],
      jobs: [{ driver: D, job: { jobId: "j1" } }],
      workers: [
        { requestId: 1, actors: [{ actorId: A, said: exited }] },
        { requestId: 2, actors: [{ actorId: "a2" }], death },
      ],
    },
    { t: "relay", from: D, message: { t: "actor-create", actorId: "a3" } },
    { t: "ask-control", from: D, query: { id: 5 } },
  ]);
  expect(toProcesses).toEqual([[D, "state-holds"]]);
  // Written down and answered, it is not said again.
  actors.order({ t: "actor-recorded", actorId: "a3" as ActorId });
  actors.delivered(D, { t: "answer", id: 5, result: null });
  actors.order({ t: "actor-settled", actorId: A, incarnation: 0 });
  actors.order({ t: "actor-settled", actorId: "a2" as ActorId, incarnation: 0 });
  actors.welcomed(2);
  expect(take()).toMatchObject([{ t: "node-statement", workers: [{ requestId: 1, actors: [] }] }]);
  actors.close();
});

test("what an earlier control has asked for and not put to use is given back when another one begins", () => {
  const { actors, done } = setUp();
  actors.welcomed(1);
  actors.order({ t: "actor-worker-wanted", request: request(1) });
  actors.order({ t: "actor-worker-wanted", request: request(2) });
  actors.actorWorkerReady(2, addressAt(HERE), []);
  actors.lost();
  done.length = 0;
  actors.welcomed(1);
  expect(done).toEqual([]);
  actors.welcomed(2);
  expect(done).toEqual([
    ["release", 1],
    ["kill", "w1"],
  ]);
  actors.close();
});

test("what is asked for twice is given once", () => {
  const { actors, done, take, hosts } = setUp();
  actors.welcomed(1);
  hosts("w1", 1, A);
  actors.order({ t: "actor-worker-wanted", request: request(2), driverAt: "bbbb" as NodeId });
  actors.order({ t: "actor-worker-wanted", request: request(2) });
  expect(done).toEqual([
    ["request", 1],
    ["driver", "j1", "bbbb"],
    ["request", 2],
  ]);
  take();
  actors.order({ t: "actor-worker-wanted", request: request(1) });
  expect(take()).toMatchObject([{ t: "actor-worker-ready", requestId: 1, worker: { workerId: "w1" } }]);
  actors.close();
});

test("a creator that ended while it had nothing to do is named to a control that begins", () => {
  const { actors, take } = setUp();
  actors.welcomed(1);
  actors.toControl({ t: "relay", from: D, message: create(A) });
  actors.processGone(D, true);
  actors.processGone("other" as ProcessId, true);
  take();
  actors.welcomed(2);
  expect(take()[0]).toMatchObject({ t: "node-statement", retired: [D] });
  actors.close();
});

test("a node that ends waits for the hooks of its actors", async () => {
  const { actors, take, toProcesses, hosts } = setUp();
  actors.welcomed(1);
  hosts("w1", 1, A);
  take();
  let hasEnded = false;
  const ended = actors.shutdown().then(() => {
    hasEnded = true;
  });
  expect(take()).toEqual([{ t: "node-ends" }]);
  expect(toProcesses.at(-1)).toEqual(["p-w1", "actor-stop"]);
  await Promise.resolve();
  expect(hasEnded).toBe(false);
  const message = { t: "actor-exited", actorId: A, incarnation: 0, reason: "shutdown" } as const;
  actors.toControl({ t: "relay", from: "p-w1" as ProcessId, message });
  await ended;
  actors.close();
});

test("a worker is told once to make an actor, though control says it again, not knowing that it was heard", () => {
  const { actors, hosts } = setUp();
  actors.welcomed(1);
  hosts("w1", 1, A);
  expect(actors.delivered("p-w1" as ProcessId, start(A))).toBeUndefined();
  expect(actors.delivered("p-w1" as ProcessId, start(A, 1))).toMatchObject({ incarnation: 1 });
});

test("code that control has not written down goes to the next one again, with the first actor of its class", () => {
  const { actors, take } = setUp();
  const code = Uint8Array.of(1, 2, 3);
  const make = (id: string, its = NO_CODE): void =>
    actors.toControl({ t: "relay", from: D, message: create(id as ActorId, its) });
  const codesSaid = () =>
    take().flatMap((said) =>
      said.t === "relay" && said.message.t === "actor-create"
        ? [`${said.message.actorId} ${said.message.spec.code.length} ${said.message.spec.host.length}`]
        : [],
    );
  actors.welcomed(1);
  make("b1", code);
  make("b2");
  expect(codesSaid()).toEqual(["b1 3 1", "b2 0 0"]);
  // The disk is full: both are over, and their creator hears it.
  actors.order({ t: "actor-recorded", actorId: "b1" as ActorId });
  actors.order({ t: "actor-recorded", actorId: "b2" as ActorId });
  actors.lost();
  make("b3");
  make("b4");
  actors.welcomed(2);
  make("b5");
  expect(codesSaid()).toEqual(["b3 3 1", "b4 0 0", "b5 0 0"]);
  actors.order({ t: "actor-recorded", actorId: "b3" as ActorId, codeKey: "counter" });
  actors.lost();
  actors.welcomed(3);
  make("b6");
  expect(codesSaid()).toEqual(["b4 0 0", "b5 0 0", "b6 0 0"]);
  actors.close();
});

test("a creation of whose end its creator has heard is not said again", () => {
  const { actors, take } = setUp();
  actors.welcomed(1);
  actors.toControl({ t: "relay", from: D, message: create(A) });
  const state = { t: "actor-state", actorId: A, state: "dead", incarnation: 0, className: "Counter" } as const;
  actors.delivered("another" as ProcessId, state);
  actors.lost();
  take();
  actors.welcomed(2);
  expect(take()).toMatchObject([{ t: "node-statement" }, { t: "relay", message: { actorId: A } }]);
  actors.delivered(D, state);
  actors.lost();
  actors.welcomed(3);
  expect(take()).toMatchObject([{ t: "node-statement" }]);
  actors.close();
});
