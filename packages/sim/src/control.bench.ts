/**
 * Control of a large cluster: a million actors, machines that fail, CPU and memory of the one process that leads. Run by hand:
 * `node --expose-gc --conditions=mobula-source packages/sim/src/control.bench.ts [actors] [nodes] [failures]`.
 *
 * One core: members, the view of the nodes and control of actors as the head runs them, with all messages packed and unpacked.
 * No sockets, and no disk: these actors are neither named nor detached, so only nodes are written down.
 */
import {
  type ActorId,
  createPrng,
  type JobId,
  type NodeId,
  newProcessId,
  type ProcessId,
  type WorkerId,
} from "../../core/src/base/mod.ts";
import { type ActorWorkerRequest, createControl, createMembers } from "../../core/src/control/mod.ts";
import { LeaseDivisions } from "../../core/src/head/lease-divisions.ts";
import { Placer, Shape } from "../../core/src/placement/mod.ts";
import type { NodeJoin, NodeReport } from "../../core/src/wire/cluster-messages.ts";
import type { ActorCreate, ActorCreated, FromNode, WorkerAddress } from "../../core/src/wire/messages.ts";
import { pack, unpack } from "../../core/src/wire/mod.ts";

const [actors = 1_000_000, nodes = 10_000, failures = 200] = process.argv.slice(2).map(Number);
const FAILURES_A_DAY = 100_000;
const PER_WORKER = 25;

const prng = createPrng(1);
let nowMs = 1_800_000_000_000;
const job = "0a0b0c0d" as JobId;
const driver = newProcessId();
let packedBytes = 0;
let isMeasured = false;
const say = (message: unknown): void => {
  if (!isMeasured) return;
  packedBytes += pack(message).length;
};

// ── the head ─────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Host {
  readonly address: WorkerAddress;
  readonly node: NodeId;
}
interface Machine {
  readonly nodeId: NodeId;
  readonly hosts: Set<Host>;
  free: number;
}

const divisions = new LeaseDivisions(
  () => {},
  () => 0,
);
const placer = new Placer(divisions.view);
const machines = new Map<NodeId, Machine>();
const hostsByWorker = new Map<WorkerId, Host>();
const shape = new Shape("Actor", {});
const requests: ActorWorkerRequest[] = [];
let started = 0;

const members = createMembers(
  {
    send: (_to, message) => say(message),
    refuse() {},
    persist: (changes, done) => {
      say(changes);
      done(undefined);
    },
    joined: ({ description: { nodeId, name, total } }) =>
      divisions.view.apply({ kind: "node-joined", nodeId, name, total }),
    changed: ({ description: { nodeId }, use }) =>
      divisions.view.apply({ kind: "node-reported", nodeId, free: use.available }),
    died: ({ description: { nodeId, name } }) => {
      divisions.view.apply({ kind: "node-died", nodeId });
      const machine = machines.get(nodeId);
      machines.delete(nodeId);
      for (const { address } of machine?.hosts ?? []) {
        const { workerId, pid, processId } = address;
        hostsByWorker.delete(workerId);
        control.processGone(processId);
        control.workerDied({ workerId, pid, exitCode: null, signal: null, stderrTail: "", lostWith: name });
      }
      divisions.view.apply({ kind: "node-forgotten", nodeId });
    },
  },
  { epoch: 1 },
);
const control = createControl(
  {
    nowMs: () => nowMs,
    send: (to, message) => sent(to, message),
    requestActorWorker: (request) => void requests.push(request),
    releaseActorWorker() {},
    killWorker() {},
    freeStored() {},
    persist: (changes, done) => {
      say(changes);
      done(undefined);
    },
  },
  { nodeId: "0".repeat(32) as NodeId, epoch: 1 },
);

/** What hosts of actors do is done at once. */
const answers: { readonly from: ProcessId; readonly bytes: Uint8Array }[] = [];
function sent(to: ProcessId, message: FromNode): void {
  say(message);
  if (message.t !== "actor-start") return;
  started++;
  const { actorId, incarnation } = message;
  answers.push({ from: to, bytes: pack({ t: "actor-created", actorId, incarnation } satisfies ActorCreated) });
}

function answerRequests(): void {
  while (requests.length > 0 || answers.length > 0) {
    for (const { requestId, worker } of requests.splice(0)) {
      const host = worker === "fresh" ? newHost() : hostsByWorker.get(worker);
      if (host) control.actorWorkerReady(requestId, host.address, []);
      else control.actorWorkerRefused(requestId, { code: "WORKER_DIED", message: "it is gone" });
    }
    for (const { from, bytes } of answers.splice(0)) control.handle(from, unpack(bytes) as ActorCreated);
  }
}

let pid = 1;
function newHost(): Host {
  const decision = placer.decide({ shape, strategy: "spread" });
  if (decision.kind !== "placed") throw new Error("there is always room");
  const { nodeId } = decision;
  const workerId = prng.hex(8) as WorkerId;
  const processId = newProcessId(nodeId);
  const address = { workerId, processId, nodeId, pid: pid++, address: "/tmp/x/worker.sock", tcp: "10.0.0.1:4000" };
  const host: Host = { address, node: nodeId };
  machines.get(nodeId)?.hosts.add(host);
  hostsByWorker.set(workerId, host);
  control.processJoined({ processId, role: "worker" });
  return host;
}

// ── nodes ────────────────────────────────────────────────────────────────────────────────────────────────────────────

const total = { cpu: 640_000, memory: 2 ** 39 };
const use = { available: total, storeUsedBytes: 0, storeSpilledBytes: 0, events: { keptBytes: 0, droppedBatches: 0 } };
const report = pack({ t: "node-report", use } satisfies NodeReport);

function startNode(): void {
  const nodeId = prng.hex(16) as NodeId;
  machines.set(nodeId, { nodeId, hosts: new Set(), free: 0 });
  const node = {
    nodeId,
    name: `n${machines.size}`,
    address: "10.0.0.1:6381",
    total,
    labels: {},
    objectStoreBytes: 2 ** 34,
  };
  const bytes = pack({ t: "node-join", node, use } satisfies NodeJoin);
  members.join(unpack(bytes) as NodeJoin, nowMs);
}

/** All nodes report, and control looks at the time as often as it does. */
function second(): void {
  for (const { nodeId } of machines.values()) {
    const { use: said } = unpack(report) as NodeReport;
    members.report(nodeId, said, nowMs);
  }
  for (let tick = 0; tick < 4; tick++) {
    nowMs += 250;
    members.tick(nowMs);
    control.tick();
    answerRequests();
  }
}

// ── what it costs ────────────────────────────────────────────────────────────────────────────────────────────────────

const row = (name: string, value: string): void => console.log(name.padEnd(64) + value);
const cpuMs = (work: () => void): number => {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
};
const heapMiB = (): number => {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return (heapUsed + external) / 2 ** 20;
};

// All at once each would be told of each other: not what is measured here.
const joining = cpuMs(() => {
  for (let count = 0; count < nodes; count++) startNode();
});
isMeasured = true;
const empty = heapMiB();
control.processJoined({
  processId: driver,
  role: "driver",
  job: { jobId: job, namespace: "", name: "bench", metadata: {} },
});
const options: ActorCreate["options"] = {
  getIfExists: false,
  lifetime: "owner",
  resources: {},
  maxRestarts: -1,
  isolation: "shared",
  maxActorsPerWorker: PER_WORKER,
};
const spec = {
  className: "Actor",
  codeKey: "k",
  code: new Uint8Array(0),
  args: new Uint8Array(32),
  deps: [],
  host: new Uint8Array(16),
};
const creating = cpuMs(() => {
  for (let count = 0; count < actors; count++) {
    const first = count === 0 ? { ...spec, code: new Uint8Array(1000) } : spec;
    const actorId = (prng.hex(12) + job) as ActorId;
    control.handle(
      driver,
      unpack(pack({ t: "actor-create", actorId, options, spec: first } satisfies ActorCreate)) as ActorCreate,
    );
    if (count % 100 === 99) answerRequests();
  }
  answerRequests();
});
nowMs += 60_000;
const full = heapMiB();
const { alive } = control.stats().actors;
if (alive !== actors) throw new Error(`${alive} of ${actors} actors are alive`);

// A minute later, so that nobody died young.
second();
const quiet = cpuMs(() => {
  for (let count = 0; count < 10; count++) second();
});
started = 0;
packedBytes = 0;
let longestMs = 0;
let withFailures = 0;
for (let count = 0; count < failures; count++) {
  const [victim] = machines.keys();
  withFailures += cpuMs(() => {
    const from = performance.now();
    if (victim !== undefined) members.left(victim, nowMs);
    answerRequests();
    longestMs = Math.max(longestMs, performance.now() - from);
    startNode();
    nowMs += 20_000;
    members.tick(nowMs);
    control.tick();
    answerRequests();
  });
}
const restarted = started;
if (control.stats().actors.alive !== actors) throw new Error("some actors were not started again");
const everySecond = quiet / 10;
const each = withFailures / failures;
const cores = (everySecond + (each * FAILURES_A_DAY) / 86_400) / 1000;
const number = (value: number, digits = 0): string => value.toLocaleString("en-US", { maximumFractionDigits: digits });

row(`${number(nodes)} nodes join, without the messages: CPU`, `${number(joining)} ms`);
row(`${number(actors)} actors are created: CPU for each`, `${number((1000 * creating) / actors, 1)} µs`);
row("a second with nothing but reports and ticks: CPU", `${number(everySecond, 1)} ms`);
row(`a node dies, ${number(restarted / failures)} actors start elsewhere, a node joins: CPU`, `${number(each, 1)} ms`);
row("  messages packed for it", `${number(packedBytes / failures / 1024)} KiB`);
row("  the longest time in which control does nothing else", `${number(longestMs)} ms`);
row(`all of it at ${number(FAILURES_A_DAY)} failures a day`, `${number(cores, 3)} cores`);
row(
  "memory: nodes, view and journal; with the actors",
  `${number(empty)} MiB, ${number(full)} MiB (${number(((full - empty) * 2 ** 20) / actors)} bytes each)`,
);
