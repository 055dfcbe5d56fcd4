/** Counts as Ray's `summary` tells them; pure. */
import type { Row } from "../state/mod.ts";
import type { TaskSummaryRow } from "../state/rows.ts";
import type { RayRow } from "./state-query.ts";
import { NO_CALL_SITE, TASK_STATES, TASK_TYPES } from "./state-rows.ts";

type Counts = Record<string, number>;
const add = (counts: Counts, key: string, by = 1): void => {
  counts[key] = (counts[key] ?? 0) + by;
};

export interface TaskSummaries {
  readonly summary: Readonly<
    Record<string, { readonly func_or_class_name: string; readonly type: string; readonly state_counts: Counts }>
  >;
  readonly total_tasks: number;
  readonly total_actor_tasks: number;
  readonly total_actor_scheduled: number;
  readonly summary_by: "func_name";
}

export function summarizeTasks(rows: Iterable<Pick<TaskSummaryRow, "name" | "kind" | "counts">>): TaskSummaries {
  const summary: Record<string, TaskSummaries["summary"][string]> = Object.create(null);
  const totals = { task: 0, "actor-call": 0, "actor-creation": 0 };
  for (const { name, kind, counts } of rows) {
    summary[name] ??= { func_or_class_name: name, type: TASK_TYPES[kind], state_counts: {} };
    for (const [state, count = 0] of Object.entries(counts)) {
      if (count === 0) continue;
      add(summary[name].state_counts, TASK_STATES[state as keyof typeof TASK_STATES], count);
      totals[kind] += count;
    }
  }
  return {
    summary,
    total_tasks: totals.task,
    total_actor_tasks: totals["actor-call"],
    total_actor_scheduled: totals["actor-creation"],
    summary_by: "func_name",
  };
}

/** Rows one by one, as counts of one. */
export const countsOf = (rows: readonly Row<"tasks">[]): Pick<TaskSummaryRow, "name" | "kind" | "counts">[] =>
  rows.map(({ name, kind, state }) => ({ name, kind, counts: { [state]: 1 } }));

export function summarizeActors(rows: Iterable<RayRow>): object {
  const summary: Record<string, { class_name: string; state_counts: Counts }> = Object.create(null);
  let total = 0;
  for (const { class_name, state } of rows) {
    const name = String(class_name);
    summary[name] ??= { class_name: name, state_counts: {} };
    add(summary[name].state_counts, String(state));
    total++;
  }
  return { summary, total_actors: total, summary_by: "class" };
}

const MIB = 2 ** 20;

export function summarizeObjects(rows: Iterable<RayRow>): object {
  const sites = Map.groupBy(rows, ({ call_site }) => String(call_site));
  let total = 0;
  let bytes = 0;
  const summary: Record<string, object> = Object.create(null);
  for (const [site, objects] of sites) {
    const states: Counts = {};
    const attempts: Counts = {};
    const types: Counts = {};
    let siteBytes = 0;
    for (const { task_status, attempt_number, reference_type, object_size } of objects) {
      add(states, String(task_status));
      add(attempts, String(attempt_number));
      add(types, String(reference_type));
      siteBytes += Math.max(0, Number(object_size));
    }
    summary[site] = {
      total_objects: objects.length,
      total_size_mb: siteBytes / MIB,
      total_num_workers: new Set(objects.map(({ pid }) => pid)).size,
      total_num_nodes: new Set(objects.map(({ ip }) => ip)).size,
      task_state_counts: states,
      task_attempt_number_counts: attempts,
      ref_type_counts: types,
    };
    total += objects.length;
    bytes += siteBytes;
  }
  return {
    summary,
    total_objects: total,
    total_size_mb: bytes / MIB,
    callsite_enabled: !sites.has(NO_CALL_SITE),
    summary_by: "callsite",
  };
}
