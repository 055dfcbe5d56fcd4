/** What Prometheus reads at /metrics. docs/metrics.md lists it; a test compares the two. */
import type { EventLog } from "./event-log.ts";
import type { Family, Sample } from "./prometheus.ts";
import type { EventRow, GpuRow, NodeRow, TaskSummaryRow } from "./rows.ts";
import type { StateService } from "./service.ts";

/** Functions with most attempts have labels of their own; the rest are one. */
const NAMES_MAX = 500;
const OTHERS = "(others)";
const MS_PER_S = 1_000;
const ENDS = ["finished", "failed", "lost", "preempted", "cancelled"] as const;

/** Counts what happens, for as long as the service runs. */
export class EventCounts {
  private readonly counts = new Map<string, { readonly labels: Record<string, string>; value: number }>();

  constructor(log: EventLog) {
    log.listen(({ kind, severity, count: times }: EventRow) => {
      const key = `${kind} ${severity}`;
      const count = this.counts.get(key) ?? { labels: { kind, severity }, value: 0 };
      count.value += times;
      this.counts.set(key, count);
    });
  }

  get samples(): readonly Sample[] {
    return [...this.counts.values()];
  }
}

/** @throws ConnectionLostError when control does not answer. */
export async function metricFamilies(service: StateService, events: EventCounts): Promise<readonly Family[]> {
  const [{ rows: nodes }, tasks, waiting] = await Promise.all([
    service.sources.nodes(),
    service.tasks.summary(),
    service.sources.waiting(),
    service.sources.actors(),
  ]);
  const living = nodes.filter(({ state }) => state !== "dead");
  const { tasks: states } = await service.tasks.totals();
  return [
    gauge(
      "mobula_nodes",
      "Nodes by state; dead ones are listed for ten minutes.",
      countBy(nodes, ({ state }) => state, "state"),
    ),
    ...nodeFamilies(living),
    ...gpuFamilies(living),
    ...taskFamilies(tasks),
    gauge(
      "mobula_tasks",
      "Tasks and calls that live, by state.",
      (["waiting", "queued", "running"] as const).map((state) => ({ labels: { state }, value: states[state] ?? 0 })),
    ),
    gauge(
      "mobula_actors",
      "Actors by state; the last dead ones are remembered.",
      Object.entries(service.sources.actorTable.counts()).map(([state, value]) => ({ labels: { state }, value })),
    ),
    gauge(
      "mobula_waiting_demand",
      "Workers that tasks and actors wait for, by whether any node could ever take them.",
      [false, true].map((isInfeasible) => ({
        labels: { infeasible: String(isInfeasible) },
        value: waiting.filter((one) => one.isInfeasible === isInfeasible).reduce((sum, { count }) => sum + count, 0),
      })),
    ),
    counter("mobula_events_total", "Things that happened, since the state service began.", events.samples),
    gauge("mobula_state_service_memory_bytes", "Resident memory of the state service.", [
      { value: process.memoryUsage.rss() },
    ]),
  ];
}

function nodeFamilies(nodes: readonly NodeRow[]): readonly Family[] {
  const of = (value: (node: NodeRow) => number | null): readonly Sample[] =>
    nodes.flatMap((node) => {
      const found = value(node);
      return found === null ? [] : { labels: { node: node.name, node_id: node.nodeId }, value: found };
    });
  const byResource = (value: (node: NodeRow, resource: string, total: number) => number): readonly Sample[] =>
    nodes.flatMap((node) =>
      Object.entries(node.resources).map(([resource, total]) => ({
        labels: { node: node.name, node_id: node.nodeId, resource },
        value: value(node, resource, total),
      })),
    );
  return [
    gauge(
      "mobula_node_resource_capacity",
      "What a node offers; memory in bytes.",
      byResource((_node, _resource, total) => total),
    ),
    gauge(
      "mobula_node_resource_used",
      "What of that tasks and actors hold.",
      byResource((node, resource, total) => total - (node.available[resource] ?? 0)),
    ),
    gauge(
      "mobula_node_cpu_ratio",
      "Processors of the machine in use, 0 to 1.",
      of(({ cpuPercent }) => (cpuPercent === null ? null : cpuPercent / 100)),
    ),
    gauge(
      "mobula_node_memory_used_bytes",
      "Memory of the machine in use.",
      of(({ memoryUsedBytes }) => memoryUsedBytes),
    ),
    gauge(
      "mobula_node_memory_total_bytes",
      "Memory of the machine.",
      of(({ memoryTotalBytes }) => memoryTotalBytes),
    ),
    gauge(
      "mobula_node_workers",
      "Worker processes of a node.",
      of(({ workers }) => workers),
    ),
    gauge(
      "mobula_store_used_bytes",
      "Objects in memory.",
      of(({ storeUsedBytes }) => storeUsedBytes),
    ),
    gauge(
      "mobula_store_spilled_bytes",
      "Objects on disk.",
      of(({ storeSpilledBytes }) => storeSpilledBytes),
    ),
    gauge(
      "mobula_store_capacity_bytes",
      "What an object store holds in memory at most.",
      of(({ storeCapacityBytes }) => storeCapacityBytes),
    ),
  ];
}

function gpuFamilies(nodes: readonly NodeRow[]): readonly Family[] {
  const of = (value: (gpu: GpuRow) => number | null): readonly Sample[] =>
    nodes.flatMap((node) =>
      node.gpus.flatMap((gpu) => {
        const found = value(gpu);
        const labels = {
          node: node.name,
          node_id: node.nodeId,
          gpu: String(gpu.index ?? gpu.id),
          name: gpu.name ?? "",
        };
        return found === null ? [] : { labels, value: found };
      }),
    );
  return [
    gauge(
      "mobula_gpu_busy_ratio",
      "Time in which something ran on a GPU, 0 to 1.",
      of(({ utilisationPercent }) => (utilisationPercent === null ? null : utilisationPercent / 100)),
    ),
    gauge(
      "mobula_gpu_memory_used_bytes",
      "Memory of a GPU in use, by whomever.",
      of(({ memoryUsedBytes }) => memoryUsedBytes),
    ),
    gauge(
      "mobula_gpu_memory_total_bytes",
      "Memory of a GPU.",
      of(({ memoryTotalBytes }) => memoryTotalBytes),
    ),
    gauge(
      "mobula_gpu_foreign_memory_bytes",
      "Memory of a GPU that processes have which are not of Mobula.",
      of(({ processes, name }) =>
        name === null
          ? null
          : processes.reduce((sum, { memoryBytes, isOurs }) => sum + (isOurs === false ? (memoryBytes ?? 0) : 0), 0),
      ),
    ),
    gauge(
      "mobula_gpu_temperature_celsius",
      "Temperature of a GPU.",
      of(({ temperatureCelsius }) => temperatureCelsius),
    ),
    gauge(
      "mobula_gpu_power_watts",
      "Power that a GPU draws.",
      of(({ powerWatts }) => powerWatts),
    ),
    gauge(
      "mobula_gpu_power_limit_watts",
      "Power that a GPU may draw.",
      of(({ powerLimitWatts }) => powerLimitWatts),
    ),
    gauge(
      "mobula_gpu_leased_ratio",
      "What workers have leased of a GPU, or placement groups have reserved, 0 to 1.",
      of(({ leasedShare }) => leasedShare),
    ),
    gauge(
      "mobula_gpu_problem",
      "1: nothing is known of a GPU now, since its driver does not answer or has lost it.",
      of(({ problem }) => (problem === null ? 0 : 1)),
    ),
  ];
}

function taskFamilies(rows: readonly TaskSummaryRow[]): readonly Family[] {
  const ended = ({ counts }: TaskSummaryRow): number => ENDS.reduce((sum, state) => sum + (counts[state] ?? 0), 0);
  const known = new Set(rows.toSorted((a, b) => ended(b) - ended(a)).slice(0, NAMES_MAX));
  const attempts = new Map<string, { labels: Record<string, string>; value: number }>();
  const seconds = new Map<string, { labels: Record<string, string>; value: number }>();
  const add = (to: typeof attempts, labels: Record<string, string>, value: number): void => {
    const key = JSON.stringify(labels);
    const sum = to.get(key) ?? { labels, value: 0 };
    sum.value += value;
    to.set(key, sum);
  };
  for (const row of rows) {
    const name = known.has(row) ? row.name : OTHERS;
    for (const outcome of ENDS) {
      const count = row.counts[outcome] ?? 0;
      if (count > 0) add(attempts, { name, kind: row.kind, outcome }, count);
    }
    if (row.meanRunMs !== null) add(seconds, { name, kind: row.kind }, (row.meanRunMs * ended(row)) / MS_PER_S);
  }
  return [
    counter("mobula_task_attempts_total", "Attempts of tasks and calls that have ended; exact.", [
      ...attempts.values(),
    ]),
    counter("mobula_task_run_seconds_total", "Time that they ran, as workers measured it.", [...seconds.values()]),
  ];
}

const gauge = (name: string, help: string, samples: readonly Sample[]): Family => ({
  name,
  type: "gauge",
  help,
  samples,
});
const counter = (name: string, help: string, samples: readonly Sample[]): Family => ({
  name,
  type: "counter",
  help,
  samples,
});

function countBy<T>(all: readonly T[], keyOf: (one: T) => string, label: string): readonly Sample[] {
  return [...Map.groupBy(all, keyOf)].map(([key, group]) => ({ labels: { [label]: key }, value: group.length }));
}
