/**
 * Placement in a large cluster: decisions a second, memory. Run by hand, with `--expose-gc` for the memory:
 * `node placement.bench.ts [nodes] [seconds]`.
 * One core; no messages, no nodes: what the decisions themselves cost.
 */
import { type PlacementRequest, Placer } from "./mod.ts";
import { clusterOf, nodeId, shapeOf } from "./test-cluster.ts";

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

const started = performance.now();
placer.explain(placer.decide({ shape: oneGpu, strategy: "default" }).id);
row("one explanation of a decision", `${(performance.now() - started).toFixed(1)} ms`);
row("memory of the view, journal and remembered decisions", `${count((heapBytes() - before) / 2 ** 20)} MiB`);
