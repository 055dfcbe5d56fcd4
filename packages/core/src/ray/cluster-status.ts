/** What `ray status` prints, as Ray's autoscaler reports it: nodes, what is used of their resources, and what waits for some. Pure. */
import type { Resources } from "../base/resources.ts";
import type { Row } from "../state/mod.ts";
import type { WaitingDemand } from "../wire/queries.ts";
import { rayAddress, rayResources } from "./state-rows.ts";

export interface ClusterParts {
  readonly nodes: readonly Row<"nodes">[];
  readonly waiting: readonly Pick<WaitingDemand, "count" | "resources">[];
  readonly groups: readonly Row<"placement-groups">[];
}

/** Used and there, by name. */
type Usage = Record<string, [used: number, total: number]>;

export function clusterStatus({ nodes, waiting, groups }: ClusterParts, nowMs: number): Record<string, unknown> {
  const present = nodes.filter(({ state }) => state !== "dead");
  const usage: Usage = {};
  for (const node of present) {
    for (const [name, [used, total]] of Object.entries(usageOf(node))) {
      const [usedBefore, totalBefore] = usage[name] ?? [0, 0];
      usage[name] = [rounded(usedBefore + used), totalBefore + total];
    }
  }
  return {
    time: nowMs / 1_000,
    load_metrics_report: {
      usage,
      resource_demand: waiting.map(({ resources, count }) => [rayResources(resources), count]),
      pg_demand: groups
        .filter(({ state }) => state === "pending" || state === "infeasible" || state === "rescheduling")
        .map(({ strategy, bundles }) => [{ strategy, bundles: counted(bundles.map(({ resources }) => resources)) }, 1]),
      request_demand: [],
      node_types: counted(present.map(({ resources }) => resources)),
      usage_by_node: Object.fromEntries(present.map((node) => [node.nodeId, usageOf(node)])),
    },
    autoscaler_report: {
      active_nodes: Object.fromEntries(present.map((node) => [typeOf(node), 1])),
      idle_nodes: null,
      pending_nodes: [],
      pending_launches: {},
      failed_nodes: nodes
        .filter(({ state }) => state === "dead")
        .map((node) => [rayAddress(node.address), typeOf(node)]),
      node_activities: null,
      node_type_mapping: Object.fromEntries(present.map((node) => [node.nodeId, typeOf(node)])),
      // It is the manner of Ray's own `ray start`, which has no idle nodes.
      legacy: true,
    },
  };
}

/** Nodes have no types of their own, here as with Ray's `ray start`. */
const typeOf = ({ nodeId }: Row<"nodes">): string => `node_${nodeId}`;

function usageOf({ resources, available, storeUsedBytes, storeCapacityBytes }: Row<"nodes">): Usage {
  const free = rayResources(available);
  return {
    ...Object.fromEntries(
      Object.entries(rayResources(resources)).map(([name, total]) => [
        name,
        [rounded(total - (free[name] ?? 0)), total],
      ]),
    ),
    object_store_memory: [storeUsedBytes, storeCapacityBytes],
  };
}

/** Amounts have four digits. */
const rounded = (amount: number): number => Math.round(amount * 1e4) / 1e4;

/** The same ones once, with how many there are. */
function counted(all: readonly Resources[]): [Record<string, number>, number][] {
  const byText = Map.groupBy(all.map(rayResources), (resources) => JSON.stringify(Object.entries(resources).sort()));
  return [...byText.values()].flatMap((same) => (same[0] ? [[same[0], same.length]] : []));
}
