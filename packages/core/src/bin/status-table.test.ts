import { expect, test } from "vitest";
import type { NodeId } from "../base/ids.ts";
import type { NodeInfo } from "../wire/queries.ts";
import { limitsLines, nodeTable, olderNodes, waitingLines } from "./status-table.ts";

const GIB = 2 ** 30;
const node = (name: string, more: Partial<NodeInfo> = {}): NodeInfo => ({
  nodeId: name.padEnd(32, "0") as NodeId,
  name,
  state: "alive",
  address: null,
  resources: { cpu: 4, memory: 16 * GIB },
  available: { cpu: 3, memory: 12 * GIB },
  labels: {},
  objectStore: { usedBytes: GIB / 2, spilledBytes: 0, capacityBytes: 4 * GIB },
  wireVersion: 2,
  events: { keptBytes: 0, droppedBatches: 0 },
  ...more,
});

test("whether limits are kept is a line; why not, and what to do, as many as it takes", () => {
  const place = "/sys/fs/cgroup/system.slice/mobula.service";
  expect(limitsLines({ controllers: ["memory", "cpu"], place })).toEqual([
    `limits: memory and cpu, by cgroup, in ${place}`,
  ]);
  const lines = limitsLines({
    controllers: [],
    why: "its cgroup belongs to somebody else",
    advice: "start it with: systemd-run",
  });
  expect(lines.join("").replaceAll(/ +/g, " ")).toBe(
    "limits: memory and CPUs are not enforced: its cgroup belongs to somebody else; start it with: systemd-run",
  );
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
  expect(limitsLines(undefined)).toEqual([]);
});

test("nodes are shown in a table: who, how it is, what of it is in use; the dead last", () => {
  const nodes = [
    node("gone", { state: "dead", available: {} }),
    node("one", { labels: { rack: "a4" } }),
    node("small", {
      state: "draining",
      resources: { cpu: 0.5, disk: 2 },
      available: { cpu: 0.25, disk: 2 },
      objectStore: { usedBytes: 0, spilledBytes: 0, capacityBytes: 64 * 2 ** 20 },
    }),
  ];
  expect(nodeTable(nodes, nodes[1]?.nodeId)).toEqual([
    "NODE   STATE     CPU       MEMORY        STORE        LABELS, RESOURCES",
    "one *  alive     1/4       4.0/16.0 GiB  0.5/4.0 GiB  rack=a4",
    "small  draining  0.25/0.5                0/64 MiB     disk 0/2",
    "gone   dead",
  ]);
});

test("it fits 80 columns, whatever names and labels there are; GPUs have a column when there are any", () => {
  const labels = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`label-number-${i}`, "value"]));
  const lines = nodeTable(
    [node("n".repeat(60), { labels, resources: { cpu: 256, gpu: 8, memory: 2048 * GIB } })],
    undefined,
  );
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
  expect(lines[0]).toContain("GPU");
  expect(lines[1]).toMatch(/^n{19}… {2}alive.*8\/8.*…$/);
});

test("nodes of an older version are named", () => {
  expect(olderNodes([node("one"), node("two")])).toEqual([]);
  expect(
    olderNodes([node("one"), node("two", { wireVersion: 1 }), node("gone", { wireVersion: 1, state: "dead" })]),
  ).toEqual(["of an older release (wire version 1 instead of 2): two; upgrade it before the next one"]);
});

test("what waits is summed up, with what no node can take first", () => {
  const waiting = [
    {
      kind: "task",
      name: "train",
      count: 1_200,
      resources: { gpu: 1 },
      wish: "{ gpu: 1 }",
      jobs: [],
      isInfeasible: false,
    },
    { kind: "actor", name: "Big", count: 1, resources: { cpu: 64 }, wish: "{ cpu: 64 }", jobs: [], isInfeasible: true },
  ] as const;
  const [train, big] = waiting;
  const lines = waitingLines(
    [
      { ...train, why: "3 nodes have too little gpu free for 1 (0 gpu free), for example a, b, c." },
      { ...big, why: "Big needs { cpu: 64 }, and no node can ever offer that; the best is a with { cpu: 8 }" },
    ],
    80,
  );
  expect(lines).toEqual([
    "",
    "WAITING  FOR        WHY",
    "1        actor Big  Big needs { cpu: 64 }, and no node can ever offer that; the",
    "                      best is a with { cpu: 8 }",
    "1,200    train      { gpu: 1 }: 3 nodes have too little gpu free for 1 (0 gpu",
    "                      free), for example a, b, c.",
  ]);
  expect(waitingLines([])).toEqual([]);
});
