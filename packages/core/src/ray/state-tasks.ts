/** Filters on Ray's columns of tasks, as filters that the state service scans its columns with; pure. */
import type { Row } from "../state/mod.ts";
import { passes, type RayFilter } from "./state-query.ts";
import { ERROR_TYPES, TASK_CONSTANTS, TASK_STATES, TASK_TYPES } from "./state-rows.ts";

interface TaskFilter {
  readonly key: keyof Row<"tasks">;
  readonly op: "=" | "!=";
  readonly value: string;
}

const SAME: Readonly<Record<string, keyof Row<"tasks">>> = {
  task_id: "taskId",
  attempt_number: "attempt",
  name: "name",
  func_or_class_name: "name",
  parent_task_id: "parentId",
  job_id: "jobId",
  actor_id: "actorId",
  node_id: "nodeId",
  worker_id: "workerId",
  worker_pid: "workerPid",
};
/** Of several of ours Ray makes one value; those are told apart by what they are not. */
const MERGED: Readonly<
  Record<string, readonly [key: "state" | "kind", of: Readonly<Record<string, string | undefined>>]>
> = {
  state: ["state", TASK_STATES],
  type: ["kind", TASK_TYPES],
  error_type: [
    "state",
    Object.fromEntries(
      Object.keys(TASK_STATES).map((state) => [state, ERROR_TYPES[state as keyof typeof TASK_STATES]]),
    ),
  ],
};

/** Undefined: no task passes. */
export function taskFilters(filters: readonly RayFilter[]): readonly TaskFilter[] | undefined {
  const found: TaskFilter[] = [];
  for (const filter of filters) {
    const { key, isEqual, value } = filter;
    const same = SAME[key];
    const merged = MERGED[key];
    if (same !== undefined) found.push({ key: same, op: isEqual ? "=" : "!=", value: String(value) });
    else if (merged !== undefined) {
      const [column, of] = merged;
      for (const [own, ray = null] of Object.entries(of))
        if (!passes({ [key]: ray }, filter)) found.push({ key: column, op: "!=", value: own });
    } else if (!passes(TASK_CONSTANTS, filter)) return undefined;
  }
  return found;
}
