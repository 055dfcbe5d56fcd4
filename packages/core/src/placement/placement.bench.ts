/**
 * Placement in a large cluster: decisions a second, gangs, memory. Run by hand, with `--expose-gc` for the memory:
 * `node placement.bench.ts [nodes] [seconds]`.
 * One core; no messages, no nodes: what the decisions themselves cost.
 */
import type { Resources } from "../base/resources.ts";
import {
  type GroupCommand,
  GroupEngine,
  type GroupEvent,
  type GroupSpec,
  LeaseDivider,
  type PlacementRequest,
  Placer,
} from "./mod.ts";
import { clusterOf, nodeId, shapeOf } from "./test-cluster.ts";
import { specOf } from "./test-groups.ts";

const nodes = Number(process.argv[2] ?? 10_000);
const seconds = Number(process.argv[3] ?? 1);

const machine = (index: number) => ({
  // Real machines of one kind differ a little in memory.
  resources: { cpu: 64, gpu: 8, memory: 2 ** 39 + 4096 * (index % 97) },
  labels: { rack: `r${Math.floor(index / 40)}`, zone: `z${index % 3}`, host: `h${index}` },
});

const heapBytes = (): number => {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};

const row = (name: string, value: string): void => console.log(name.padEnd(58) + value);
const count = (value: number): string => Math.round(value).toLocaleString("en-US");

const before = heapBytes();
const view = clusterOf(Array.from({ length: nodes }, (_, index) => machine(index)));
const placer = new Placer(view);

/** Decisions, with reports of nodes in between that give back what was taken, as many as keep the cluster half full. */
function measure(name: string, requestAt: (index: number) => PlacementRequest): void {
  const names = Array.from({ length: nodes }, (_, index) => nodeId(`n${index + 1}`));
  const free = [...view.nodes()].map((node) => node.state.capacity.units);
  const report = (index: number): void => {
    const at = index % nodes;
    const id = names[at];
    if (id !== undefined) view.apply({ kind: "node-reported", nodeId: id, free: free[at] ?? {} });
  };
  for (let index = 0; index < nodes; index++) report(index);
  for (let index = 0; index < 2_000; index++) placer.decide(requestAt(index));
  const end = performance.now() + seconds * 1000;
  const started = performance.now();
  let decided = 0;
  let placed = 0;
  do {
    for (let round = 0; round < 100; round++) {
      if (placer.decide(requestAt(decided)).kind === "placed") placed++;
      decided++;
      // Each node says something after so many decisions as it may have got.
      if (decided % 4 === 0) report(decided / 4);
    }
  } while (performance.now() < end);
  const rate = decided / ((performance.now() - started) / 1000);
  row(name, `${count(rate)} decisions/s, ${Math.round((100 * placed) / decided)} % placed`);
}

const from = (index: number) => nodeId(`n${(index % nodes) + 1}`);
const oneCpu = shapeOf({ cpu: 1 });
const oneGpu = shapeOf({ cpu: 1, gpu: 1 });
const partGpu = shapeOf({ gpu: 0.25 });
const inRack = Array.from({ length: 20 }, (_, index) => shapeOf({ gpu: 1 }, { rack: `r${index}` }, {}));
const inZone = shapeOf({ cpu: 1 }, { zone: "in(z0,z2)" });

measure("default, asked by all nodes", (index) => ({ shape: oneCpu, strategy: "default", from: from(index) }));
measure("default, one asking node that is half full", () => ({ shape: oneCpu, strategy: "default", from: from(0) }));
measure("default, 1 GPU, nobody's node asks", () => ({ shape: oneGpu, strategy: "default" }));
measure("default, a quarter of a GPU", () => ({ shape: partGpu, strategy: "default" }));
measure("spread", () => ({ shape: oneCpu, strategy: "spread", from: from(0) }));
measure("affinity", (index) => ({ shape: oneCpu, strategy: { nodeId: from(index), soft: true } }));
measure("a rack of 20, else any", (index) => ({ shape: inRack[index % 20] ?? oneGpu, strategy: "default" }));
measure("a zone of 2 in 3", () => ({ shape: inZone, strategy: "default" }));
measure("locality of 3 nodes", (index) => ({
  shape: oneCpu,
  strategy: "default",
  locality: [
    { nodeId: from(index), bytes: 1 },
    { nodeId: from(index + 7), bytes: 5 },
    { nodeId: from(index + 9), bytes: 3 },
  ],
}));

/** From the creation of a group until it is ready and removed, with nodes that answer at once. */
function life(engine: GroupEngine, groupId: string, bundles: readonly Resources[], more: Partial<GroupSpec>) {
  const queue: GroupEvent[] = [{ kind: "group-created", spec: specOf(groupId, bundles, more) }];
  let used = 0;
  let longestStepMs = 0;
  for (let event = queue.shift(); event; event = queue.shift()) {
    const started = performance.now();
    const commands = engine.step(event, 0);
    longestStepMs = Math.max(longestStepMs, performance.now() - started);
    for (const command of commands) {
      queue.push(...answersTo(command));
      if (command.kind !== "group-ready") continue;
      used = new Set(command.nodes).size;
      queue.push({ kind: "group-removed", groupId });
    }
  }
  return { used, longestStepMs };
}

const ROUNDS = 5;

function gang(name: string, bundles: Resources[], more: Partial<GroupSpec>): void {
  const fresh = clusterOf(Array.from({ length: nodes }, (_, index) => machine(index)));
  const engine = new GroupEngine(fresh, { infeasibleTimeoutMs: 10_000, firstAttempt: 1 });
  const times: number[] = [];
  let used = 0;
  let longestStepMs = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const started = performance.now();
    const one = life(engine, "g", bundles, more);
    times.push(performance.now() - started);
    used = one.used;
    longestStepMs = Math.max(longestStepMs, one.longestStepMs);
    for (const { id, state } of fresh.nodes()) {
      fresh.apply({ kind: "node-reported", nodeId: id, free: state.capacity.units });
    }
  }
  const middle = times.sort((a, b) => a - b)[Math.floor(ROUNDS / 2)] ?? 0;
  row(name, `${middle.toFixed(1)} ms, ${count(used)} nodes, longest step ${longestStepMs.toFixed(0)} ms`);
}

function smallGroups(name: string, bundles: Resources[], more: Partial<GroupSpec>): void {
  const fresh = clusterOf(Array.from({ length: 5 }, () => ({ cpu: 4 })));
  const engine = new GroupEngine(fresh, { infeasibleTimeoutMs: 10_000, firstAttempt: 1 });
  const started = performance.now();
  let made = 0;
  do {
    life(engine, `g${made++}`, bundles, more);
    for (const { id, state } of fresh.nodes()) {
      fresh.apply({ kind: "node-reported", nodeId: id, free: state.capacity.units });
    }
  } while (performance.now() - started < seconds * 1000);
  row(name, `${count(made / ((performance.now() - started) / 1000))} groups/s`);
}

function answersTo(command: GroupCommand): GroupEvent[] {
  if (!("attempt" in command)) return [];
  const { groupId, attempt, nodeId: id } = command;
  const at = { groupId, attempt, nodeId: id };
  switch (command.kind) {
    case "prepare-bundles":
      return [{ kind: command.commit ? "bundles-committed" : "bundles-prepared", ...at }];
    case "commit-bundles":
      return [{ kind: "bundles-committed", ...at }];
    case "return-bundles":
      return [{ kind: "bundles-returned", ...at }];
  }
}

/** A division of leases anew, as a broker makes it when the view has changed. */
function division(name: string, wanted: number): void {
  const fresh = clusterOf(Array.from({ length: nodes }, (_, index) => machine(index)));
  const divider = new LeaseDivider(fresh);
  const request = { shape: oneCpu, strategy: "default", from: from(0), granted: new Map(), wanted } as const;
  let at = 0;
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const started = performance.now();
    const found = divider.divide("a", { ...request, wanted: wanted + round });
    times.push(performance.now() - started);
    at = found.kind === "divided" ? found.at.size : 0;
  }
  const [first = 0] = times;
  const middle = times.sort((a, b) => a - b)[Math.floor(ROUNDS / 2)] ?? 0;
  row(name, `${first.toFixed(1)} ms, again ${middle.toFixed(1)} ms, at ${count(at)} nodes`);
}

division("leases divided: 100", 100);
division("leases divided: 100,000", 100_000);
division("leases divided: 1,000,000", 1_000_000);

const gpus = Math.min(10_000, 8 * nodes);
const oneEach = Array.from({ length: gpus }, () => ({ gpu: 1, cpu: 4 }));
const machines = Array.from({ length: Math.ceil(gpus / 8) }, () => ({ gpu: 8, cpu: 32 }));
gang(`gang of ${count(gpus)} x 1 GPU, PACK`, oneEach, {});
gang(`gang of ${count(machines.length)} x 8 GPUs, PACK`, machines, {});
gang(`gang of ${count(machines.length)} x 8 GPUs, PACK in the fewest racks`, machines, { topology: "rack" });
gang(`gang of ${count(machines.length)} x 8 GPUs, STRICT_SPREAD`, machines, { strategy: "STRICT_SPREAD" });
gang(`gang of ${count(gpus)} x 1 GPU, SPREAD`, oneEach, { strategy: "SPREAD" });
gang("group of 4 bundles, STRICT_SPREAD", machines.slice(0, 4), { strategy: "STRICT_SPREAD" });
gang("group of 1 bundle", machines.slice(0, 1), {});

smallGroups("5 nodes: groups of 1 bundle", [{ cpu: 1 }], {});
smallGroups(
  "5 nodes: groups of 4 bundles, SPREAD",
  Array.from({ length: 4 }, () => ({ cpu: 1 })),
  { strategy: "SPREAD" },
);

const started = performance.now();
placer.explain(placer.decide({ shape: oneGpu, strategy: "default" }).id);
row("one explanation of a decision", `${(performance.now() - started).toFixed(1)} ms`);
row("memory of the view, journal and remembered decisions", `${count((heapBytes() - before) / 2 ** 20)} MiB`);
