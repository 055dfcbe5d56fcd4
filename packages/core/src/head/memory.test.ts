/** What a head keeps of what is over is bounded: the same after 100,000 actors of 1,000 jobs as after the first few thousand. */
import { expect, test } from "vitest";
import {
  type ActorId,
  type JobId,
  type NodeId,
  nodeTag,
  type ObjectKey,
  type ProcessId,
  type WorkerId,
} from "../base/ids.ts";
import { createMembers, createMemoryState, persistThrough } from "../control/mod.ts";
import { ClusterView, GroupHost } from "../placement/mod.ts";
import type { FromControl } from "../wire/cluster-messages.ts";
import type { HomeMessage } from "../wire/messages.ts";
import { HeadActors } from "./actors.ts";
import { Quotas } from "./quotas.ts";

/** Until what decisions are explained by (placement/journal.ts) is as long as it may be. */
const WARM_JOBS = 800;
const JOBS = 1_000;
const ACTORS_OF_A_JOB = 100;
/** 40 bytes for each actor, 4 KB for each job: a table of V8 that grows takes up to 2 MiB at once. */
const GROWTH_MAX = 4 << 20;

const hex = (n: number, digits: number): string => n.toString(16).padStart(digits, "0");
const NODE = "a1".repeat(16) as NodeId;
const TAG = nodeTag(NODE);

const TOTAL = { cpu: 640_000 };

/** A head's part that knows actors and jobs, with a node that does at once what it is told. */
class World {
  private readonly state = createMemoryState();
  private readonly view = new ClusterView();
  private readonly actors: HeadActors;
  private readonly said: FromControl[] = [];
  private readonly quotas = new Quotas();
  private counter = 0;
  made = 0;
  ended = 0;

  constructor() {
    this.view.apply({
      kind: "node-joined",
      nodeId: NODE,
      name: "n",
      total: TOTAL,
      labels: {},
      store: { usedBytes: 0, capacityBytes: 1 },
    });
    const nothing = (): void => {};
    const groups = new GroupHost(this.view, 1, {
      nowMs: Date.now,
      wallMs: Date.now,
      send: nothing,
      noted: nothing,
      persist: persistThrough(this.state),
      changed: nothing,
      news: nothing,
    });
    this.actors = new HeadActors({
      state: this.state,
      view: this.view,
      groups,
      send: (_to, message) => void this.said.push(message),
      quotas: this.quotas,
      isAllowed: () => true,
      leftQuota() {},
      mayPreempt: () => false,
      planPreemption: () => false,
      preemptAfterMs: () => Number.POSITIVE_INFINITY,
      nowMs: Date.now,
      jobsKnown() {},
      jobBegan: ({ jobId }) => this.quotas.jobBegan(jobId, { cpu: 10_000_000 }),
      jobEnded: (jobId) => {
        this.quotas.jobEnded(jobId);
        groups.jobEnded(jobId);
      },
    });
    this.actors.nodeJoined(NODE);
  }

  runJob(actorCount: number): void {
    const job = hex(++this.counter, 8) as JobId;
    const driver = (TAG + hex(this.counter, 16)) as ProcessId;
    this.actors.hear(NODE, { t: "job-began", driver, job: { jobId: job, namespace: job, name: "j", metadata: {} } });
    for (let n = 0; n < actorCount; n++) {
      const actorId = (hex(++this.counter, 24) + job) as ActorId;
      this.relay(driver, {
        t: "actor-create",
        actorId,
        options: {
          getIfExists: false,
          lifetime: "owner",
          resources: { cpu: 10_000 },
          maxRestarts: 0,
          isolation: "process",
          maxActorsPerWorker: 1,
          name: `name-${n}`,
        },
        spec: {
          className: `Class${job}`,
          codeKey: `code-${job}`,
          code: n === 0 ? new Uint8Array(1_000) : new Uint8Array(0),
          args: new Uint8Array(100),
          deps: [],
          nested: [],
          host: new Uint8Array(10),
        },
      });
      this.obey();
      this.relay(driver, { t: "hold-release", holds: [[actorId as string as ObjectKey, 1]] });
      this.obey();
    }
    this.actors.hear(NODE, { t: "processes-gone", processes: [driver] });
    this.obey();
    // Nothing of it is in use any more, says its node.
    this.view.apply({ kind: "node-reported", nodeId: NODE, free: TOTAL });
    this.actors.tick();
    this.actors.place();
    this.obey();
  }

  private relay(from: ProcessId, message: HomeMessage): void {
    this.actors.hear(NODE, { t: "relay", from, message });
  }

  private obey(): void {
    for (let message = this.said.shift(); message; message = this.said.shift()) {
      if (message.t === "actor-worker-wanted") {
        const workerId = hex(++this.counter, 16) as WorkerId;
        const processId = (TAG + hex(this.counter, 16)) as ProcessId;
        const worker = { workerId, processId, nodeId: NODE, pid: this.counter, address: `/tmp/w${workerId}` };
        const { requestId } = message.request;
        this.actors.hear(NODE, { t: "actor-worker-ready", requestId, worker, gpus: [] });
      } else if (message.t === "deliver") this.tell(message.to, message.message);
      else if (message.t === "worker-order") this.die(message.workerId);
    }
  }

  private tell(host: ProcessId, message: Extract<FromControl, { t: "deliver" }>["message"]): void {
    if (message.t === "actor-start") {
      this.made++;
      const { actorId, incarnation } = message;
      this.relay(host, { t: "actor-created", actorId, incarnation });
    } else if (message.t === "actor-stop") {
      this.ended++;
      const { actorId } = message;
      this.relay(host, { t: "actor-stopping", actorId, incarnation: 0 });
      this.relay(host, { t: "actor-exited", actorId, incarnation: 0, reason: "out-of-scope" });
    }
  }

  private die(workerId: WorkerId): void {
    this.actors.hear(NODE, { t: "processes-gone", processes: [(TAG + workerId) as ProcessId] });
    const death = { workerId, pid: 1, exitCode: 0, signal: null, stderrTail: "", intended: "idle" };
    this.actors.hear(NODE, { t: "actor-worker-died", death });
  }

  async entries(): Promise<number> {
    return (await this.state.list("")).length;
  }
}

function heapBytes(): number {
  const { gc } = globalThis;
  if (!gc) throw new Error("run with --expose-gc");
  gc();
  gc();
  return process.memoryUsage().heapUsed;
}

test("100,000 short actors of 1,000 jobs leave a head's heap and its state as they were", async () => {
  const world = new World();
  for (let n = 0; n < WARM_JOBS; n++) world.runJob(ACTORS_OF_A_JOB);
  const before = heapBytes();
  for (let n = 0; n < JOBS; n++) world.runJob(ACTORS_OF_A_JOB);
  const all = (WARM_JOBS + JOBS) * ACTORS_OF_A_JOB;
  expect([world.made, world.ended]).toEqual([all, all]);
  expect(heapBytes() - before).toBeLessThan(GROWTH_MAX);
  expect(await world.entries()).toBe(0);
}, 120_000);

test("nodes that come and go leave nothing once they are forgotten", () => {
  const state = createMemoryState();
  const nothing = (): void => {};
  const members = createMembers(
    {
      send: nothing,
      refuse: nothing,
      persist: persistThrough(state),
      joined: nothing,
      changed: nothing,
      died: nothing,
    },
    { epoch: 1 },
  );
  const use = { available: {}, storeUsedBytes: 0, storeSpilledBytes: 0, events: { keptBytes: 0, droppedBatches: 0 } };
  let nowMs = 0;
  for (let n = 1; n <= 2_000; n++) {
    const nodeId = hex(n, 8).padEnd(32, "0") as NodeId;
    const node = { nodeId, name: `n${n}`, address: null, total: {}, labels: {}, objectStoreBytes: 0 };
    members.join({ t: "node-join", node, use }, nowMs);
    members.left(nodeId, nowMs);
    nowMs += 1_000;
    members.tick(nowMs);
  }
  expect([...members.all()].length).toBeLessThanOrEqual(600);
  for (let n = 1; n <= 700; n++) members.tick(nowMs + n * 1_000);
  expect([...members.all()]).toEqual([]);
});
