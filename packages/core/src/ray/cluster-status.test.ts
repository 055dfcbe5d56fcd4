import { expect, test } from "vitest";
import type { Row } from "../state/mod.ts";
import { clusterStatus } from "./cluster-status.ts";

const node = (nodeId: string, more: Partial<Row<"nodes">> = {}): Row<"nodes"> =>
  ({
    nodeId,
    name: nodeId,
    state: "alive",
    address: "10.0.0.1:7000",
    isHead: false,
    resources: { cpu: 1, gpu: 2 },
    available: { cpu: 0.8, gpu: 2 },
    labels: {},
    storeUsedBytes: 10,
    storeSpilledBytes: 0,
    storeCapacityBytes: 100,
    ...more,
  }) as Row<"nodes">;
const group = (state: Row<"placement-groups">["state"]): Row<"placement-groups"> =>
  ({
    placementGroupId: state,
    state,
    strategy: "SPREAD",
    bundles: [0, 1].map((index) => ({ index, nodeId: null, resources: { cpu: 3 } })),
  }) as unknown as Row<"placement-groups">;

test("nodes, what is used of them, and what waits, as Ray's autoscaler reports it", () => {
  const status = clusterStatus(
    {
      nodes: [node("a"), node("b", { available: { cpu: 0.7, gpu: 2 } }), node("c", { state: "dead" })],
      waiting: [{ count: 2, resources: { cpu: 8 } }],
      groups: [group("pending"), group("created")],
    },
    5_000,
  );
  expect(status).toEqual({
    time: 5,
    load_metrics_report: {
      usage: { CPU: [0.5, 2], GPU: [0, 4], object_store_memory: [20, 200] },
      resource_demand: [[{ CPU: 8 }, 2]],
      pg_demand: [[{ strategy: "SPREAD", bundles: [[{ CPU: 3 }, 2]] }, 1]],
      request_demand: [],
      node_types: [[{ CPU: 1, GPU: 2 }, 2]],
      usage_by_node: {
        a: { CPU: [0.2, 1], GPU: [0, 2], object_store_memory: [10, 100] },
        b: { CPU: [0.3, 1], GPU: [0, 2], object_store_memory: [10, 100] },
      },
    },
    autoscaler_report: {
      active_nodes: { node_a: 1, node_b: 1 },
      idle_nodes: null,
      pending_nodes: [],
      pending_launches: {},
      failed_nodes: [["10.0.0.1", "node_c"]],
      node_activities: null,
      node_type_mapping: { a: "node_a", b: "node_b" },
      legacy: true,
    },
  });
});
