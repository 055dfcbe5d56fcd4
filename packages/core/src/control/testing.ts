/** For the tests of this room: control with a clock set by hand and everything it does written down. */
import {
  type ActorId,
  type JobId,
  MobulaError,
  type NodeId,
  type ObjectKey,
  objectKey,
  type ProcessId,
  type Seq,
  storedName,
  storedNameKey,
  type WorkerId,
} from "../base/mod.ts";
import type {
  ActorOptionsRecord,
  ActorSpec,
  FromNode,
  ValueRecord,
  WorkerAddress,
  WorkerDeath,
} from "../wire/messages.ts";
import { createControl } from "./control.ts";
import { CONTROL_HOME } from "./homes.ts";
import type { ActorWorkerRequest, Control, ControlEffects } from "./interface.ts";
import type { HeldKey } from "./keys.ts";
import type { StateChange } from "./kv.ts";

const JOB = "0000cafe" as JobId;
export const processId = (name: string): ProcessId => name.padEnd(24, "0") as ProcessId;
export const workerId = (n: number): WorkerId => n.toString(16).padStart(16, "0") as WorkerId;
export const actorId = (n: number): ActorId => (n.toString(16).padStart(24, "0") + JOB) as ActorId;
export const keyOf = (owner: ProcessId, seq: number): ObjectKey => objectKey(owner, seq as Seq);

export const inline = (text: string, nested: readonly (ObjectKey | ActorId)[] = []): ValueRecord => ({
  at: "inline",
  bytes: Buffer.from(text),
  // Actors are named by their ids among the nested keys.
  nested: nested as readonly ObjectKey[],
});
export const stored = (key: number, nested: readonly ObjectKey[] = []): ValueRecord => ({
  at: "stored",
  name: storedName("node0000", key),
  size: 1000,
  home: "node0000",
  nested,
});

export const addressOf = (n: number): WorkerAddress => ({
  workerId: workerId(n),
  processId: processId(`a${n}`),
  nodeId: "node" as NodeId,
  pid: 1000 + n,
  address: `/tmp/w${n}`,
});

export const deathOf = (n: number, more: Partial<WorkerDeath> = {}): WorkerDeath => ({
  workerId: workerId(n),
  pid: 1000 + n,
  exitCode: null,
  signal: "SIGKILL",
  stderrTail: "",
  ...more,
});

export const optionsOf = (more: Partial<ActorOptionsRecord> = {}): ActorOptionsRecord => ({
  getIfExists: false,
  lifetime: "owner",
  resources: {},
  maxRestarts: 0,
  isolation: "process",
  maxActorsPerWorker: 2_000,
  ...more,
});

export const specOf = (more: Partial<ActorSpec> = {}): ActorSpec => ({
  className: "Counter",
  codeKey: "counter-1",
  code: Buffer.from("class Counter {}"),
  args: Buffer.from("args"),
  deps: [],
  nested: [],
  host: Buffer.alloc(0),
  ...more,
});

export interface Harness {
  readonly control: Control;
  nowMs: number;
  /** What was sent since the last look, by receiver. */
  takeSent(to?: ProcessId): FromNode[];
  takeRequests(): ActorWorkerRequest[];
  takeReleased(): number[];
  takeKilled(): (readonly [WorkerId, string])[];
  takeFreed(): number[];
  readonly persisted: StateChange[];
  readonly recorded: ActorId[];
  /** Code of classes of which nodes were told that it is written down. */
  readonly recordedCodes: string[];
  readonly settled: (readonly [ActorId, number])[];
  /** Holds on keys of other homes. */
  readonly givenBack: (readonly [HeldKey, number])[];
  /** Holds persists back until called. */
  holdPersists(): { finish(error?: MobulaError | ((at: number) => MobulaError | undefined)): void };
  join(name: string): ProcessId;
  driver(name: string, namespace?: string): ProcessId;
  /** Joins the worker's process and answers the request. */
  ready(request: ActorWorkerRequest | undefined, n: number, gpus?: readonly string[]): WorkerAddress;
  dies(n: number, more?: Partial<WorkerDeath>): void;
}

export interface HarnessOptions {
  /** It is the control of a cluster, in this epoch. */
  readonly epoch?: number;
}

export function createHarness({ epoch }: HarnessOptions = {}): Harness {
  const sent: { readonly to: ProcessId; readonly message: FromNode }[] = [];
  const requests: ActorWorkerRequest[] = [];
  const released: number[] = [];
  const killed: (readonly [WorkerId, string])[] = [];
  const freed: number[] = [];
  const persisted: StateChange[] = [];
  const recorded: ActorId[] = [];
  const recordedCodes: string[] = [];
  const givenBack: (readonly [HeldKey, number])[] = [];
  const settled: (readonly [ActorId, number])[] = [];
  let heldBack: ((error: MobulaError | undefined) => void)[] | undefined;

  const effects: ControlEffects = {
    nowMs: () => harness.nowMs,
    send: (to, message) => void sent.push({ to, message }),
    requestActorWorker: (request) => void requests.push(request),
    releaseActorWorker: (requestId) => void released.push(requestId),
    killWorker: (id, intended) => void killed.push([id, intended]),
    actorRecorded: (_creator, id, codeKey) => {
      recorded.push(id);
      if (codeKey !== undefined) recordedCodes.push(codeKey);
    },
    actorSettled: (_worker, id, incarnation) => void settled.push([id, incarnation]),
    freeStored: (names) => void freed.push(...names.map(storedNameKey)),
    persist(changes, done) {
      persisted.push(...changes);
      if (heldBack) heldBack.push(done);
      else done(undefined);
    },
  };
  const control = createControl(effects, {
    nodeId: "node" as NodeId,
    epoch: epoch ?? 1,
    ...(epoch !== undefined && {
      cluster: {
        here: CONTROL_HOME,
        actors: CONTROL_HOME,
        elsewhere: { grant() {}, release: (key, count) => void givenBack.push([key, count]) },
      },
    }),
  });
  const join = (name: string): ProcessId => {
    const id = processId(name);
    control.processJoined({ processId: id, role: "worker" });
    return id;
  };

  const harness: Harness = {
    control,
    nowMs: 1_000_000,
    persisted,
    recorded,
    recordedCodes,
    settled,
    givenBack,
    takeSent: (to) => {
      if (to === undefined) return sent.splice(0).map(({ message }) => message);
      const mine = sent.filter((one) => one.to === to);
      const others = sent.filter((one) => one.to !== to);
      sent.splice(0, Number.POSITIVE_INFINITY, ...others);
      return mine.map(({ message }) => message);
    },
    takeRequests: () => requests.splice(0),
    takeReleased: () => released.splice(0),
    takeKilled: () => killed.splice(0),
    takeFreed: () => freed.splice(0),
    holdPersists() {
      heldBack = [];
      return {
        finish(error) {
          const held = heldBack ?? [];
          heldBack = undefined;
          for (const [at, done] of held.entries()) done(typeof error === "function" ? error(at) : error);
        },
      };
    },
    join,
    driver(name, namespace = "main") {
      const id = processId(name);
      control.processJoined({
        processId: id,
        role: "driver",
        job: { jobId: JOB, namespace, name: "test", metadata: {} },
      });
      return id;
    },
    ready(request, n, gpus = []) {
      if (request === undefined) throw new MobulaError("TEST", "internal", "there is no request to answer");
      const worker = addressOf(n);
      join(`a${n}`);
      control.actorWorkerReady(request.requestId, worker, gpus);
      return worker;
    },
    dies(n, more) {
      control.processGone(processId(`a${n}`));
      control.workerDied(deathOf(n, more));
    },
  };
  return harness;
}
