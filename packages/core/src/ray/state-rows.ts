/** Rows of Mobula's API as rows of Ray's State API; pure. Columns that Mobula does not know are null, or empty where Ray's clients want a value. */
import type { Resources } from "../base/resources.ts";
import type { Row } from "../state/mod.ts";
import type { RayRow } from "./state-query.ts";

/** What rows say of others: the address of a node, and whether a process is a driver. */
export interface Places {
  ip(nodeId: string | null): string;
  isDriver(nodeId: string, pid: number | null): boolean;
}

/** Of a node that no other reaches: it ends with its program, on this machine. */
const OWN_IP = "127.0.0.1";

export function placesOf(nodes: readonly Row<"nodes">[], workers: readonly Row<"workers">[] = []): Places {
  const ips = new Map(nodes.map(({ nodeId, address }) => [nodeId, rayAddress(address)]));
  const drivers = new Set(workers.filter(({ kind }) => kind === "driver").map(({ nodeId, pid }) => `${nodeId} ${pid}`));
  return {
    ip: (nodeId) => (nodeId === null ? "" : (ips.get(nodeId) ?? "")),
    isDriver: (nodeId, pid) => drivers.has(`${nodeId} ${pid}`),
  };
}

/** `host:port`, without what IPv6 needs around it. */
export const rayAddress = (address: string | null): string =>
  address === null ? OWN_IP : address.slice(0, address.lastIndexOf(":")).replace(/^\[|\]$/g, "");

const RAY_RESOURCES: Readonly<Record<string, string>> = { cpu: "CPU", gpu: "GPU" };
export const rayResources = (resources: Resources): Record<string, number> =>
  Object.fromEntries(Object.entries(resources).map(([name, amount]) => [RAY_RESOURCES[name] ?? name, amount ?? 0]));

/** Ray's clients take whole numbers only. */
const time = (ms: number | null): number | null => (ms === null ? null : Math.round(ms));
const timeOrZero = (ms: number | null): number => time(ms) ?? 0;

const ACTOR_STATES = { pending: "PENDING_CREATION", alive: "ALIVE", restarting: "RESTARTING", dead: "DEAD" } as const;

export function actorRow(row: Row<"actors">, { ip }: Places): RayRow {
  const { actorId, className, state, jobId, name, nodeId, pid, namespace, deathCause, placementGroupId } = row;
  return {
    actor_id: actorId,
    class_name: className,
    state: ACTOR_STATES[state],
    job_id: jobId,
    name: name ?? "",
    node_id: nodeId,
    pid: pid ?? 0,
    ray_namespace: namespace,
    serialized_runtime_env: "{}",
    required_resources: rayResources(row.resources),
    death_cause:
      state === "dead" && deathCause !== null
        ? {
            actor_died_error_context: {
              error_message: deathCause,
              node_ip_address: ip(nodeId),
              pid: pid ?? 0,
              ray_namespace: namespace,
              class_name: className,
              actor_id: actorId,
              name: name ?? "",
            },
          }
        : null,
    is_detached: row.isDetached,
    placement_group_id: placementGroupId,
    repr_name: "",
    num_restarts: row.restarts,
    num_restarts_due_to_lineage_reconstruction: 0,
    num_restarts_due_to_node_preemption: 0,
    call_site: null,
    label_selector: {},
    fallback_strategy: null,
  };
}

export function nodeRow(row: Row<"nodes">): RayRow {
  const { nodeId, name, state, address, isHead, resources, labels, storeCapacityBytes, startedAtMs } = row;
  return {
    node_id: nodeId,
    node_ip: rayAddress(address),
    is_head_node: isHead,
    state: state === "dead" ? "DEAD" : "ALIVE",
    state_message: state === "draining" ? "draining: it takes no new work" : null,
    node_name: name,
    resources_total: { ...rayResources(resources), object_store_memory: storeCapacityBytes },
    labels,
    start_time_ms: timeOrZero(startedAtMs),
    end_time_ms: 0,
  };
}

export function workerRow(row: Row<"workers">, { ip }: Places): RayRow {
  const { workerId, kind, state, nodeId, pid, startedAtMs } = row;
  return {
    worker_id: workerId,
    is_alive: state !== "dead",
    worker_type: kind === "driver" ? "DRIVER" : "WORKER",
    exit_type: null,
    node_id: nodeId,
    ip: ip(nodeId),
    pid,
    exit_detail: null,
    worker_launch_time_ms: -1,
    worker_launched_time_ms: -1,
    start_time_ms: timeOrZero(startedAtMs),
    end_time_ms: 0,
    debugger_port: null,
    num_paused_threads: null,
  };
}

/** A group that no node can ever take waits, for Ray's tools; `stats` says why. */
const GROUP_STATES = {
  pending: "PENDING",
  infeasible: "PENDING",
  created: "CREATED",
  rescheduling: "RESCHEDULING",
  removed: "REMOVED",
} as const;
const SCHEDULING_STATES: Readonly<Partial<Record<Row<"placement-groups">["state"], string>>> = {
  created: "FINISHED",
  infeasible: "INFEASIBLE",
  removed: "REMOVED",
};

export function groupRow(row: Row<"placement-groups">): RayRow {
  const { placementGroupId, name, jobId, state, bundles, isDetached } = row;
  return {
    placement_group_id: placementGroupId,
    name: name ?? "",
    creator_job_id: jobId,
    state: GROUP_STATES[state],
    bundles: bundles.map(({ index, nodeId, resources }) => ({
      bundle_id: { placement_group_id: placementGroupId, bundle_index: index },
      unit_resources: rayResources(resources),
      node_id: nodeId ?? "",
      label_selector: {},
    })),
    is_detached: isDetached,
    stats: { scheduling_state: SCHEDULING_STATES[state] ?? "QUEUED" },
    topology_strategy: {},
    topology_assignments: {},
  };
}

export const TASK_STATES = {
  waiting: "PENDING_ARGS_AVAIL",
  queued: "PENDING_NODE_ASSIGNMENT",
  running: "RUNNING",
  finished: "FINISHED",
  failed: "FAILED",
  lost: "FAILED",
  preempted: "FAILED",
  cancelled: "FAILED",
} as const satisfies Record<Row<"tasks">["state"], string>;
/** Ray has no work of higher priority, and would say of what was ended for it that its worker has died. */
export const ERROR_TYPES: Readonly<Partial<Record<Row<"tasks">["state"], string>>> = {
  failed: "TASK_EXECUTION_EXCEPTION",
  lost: "WORKER_DIED",
  preempted: "WORKER_DIED",
  cancelled: "TASK_CANCELLED",
};
export const TASK_TYPES = {
  task: "NORMAL_TASK",
  "actor-call": "ACTOR_TASK",
  "actor-creation": "ACTOR_CREATION_TASK",
} as const satisfies Record<Row<"tasks">["kind"], string>;

/** The same for all tasks. */
export const TASK_CONSTANTS: RayRow = {
  language: "JAVASCRIPT",
  required_resources: null,
  runtime_env_info: null,
  placement_group_id: null,
  profiling_data: {},
  task_log_info: null,
  is_debugger_paused: null,
  call_site: null,
  label_selector: {},
  fallback_strategy: null,
};

export function taskRow(row: Row<"tasks">): RayRow {
  const { taskId, attempt, name, state, jobId, actorId, kind, nodeId, workerId, workerPid, parentId, error } = row;
  const { submittedAtMs, readyAtMs, sentAtMs, startedAtMs, finishedAtMs } = row;
  const rayState = TASK_STATES[state];
  const reached: readonly (readonly [string, number | null])[] = [
    ["PENDING_ARGS_AVAIL", submittedAtMs],
    ["PENDING_NODE_ASSIGNMENT", readyAtMs],
    ["SUBMITTED_TO_WORKER", sentAtMs],
    ["RUNNING", startedAtMs],
    [rayState, finishedAtMs],
  ];
  return {
    ...TASK_CONSTANTS,
    task_id: taskId,
    attempt_number: attempt,
    name,
    state: rayState,
    job_id: jobId,
    actor_id: actorId,
    type: TASK_TYPES[kind],
    func_or_class_name: name,
    parent_task_id: parentId ?? "",
    node_id: nodeId,
    worker_id: workerId,
    worker_pid: workerPid,
    error_type: ERROR_TYPES[state] ?? null,
    events: reached.flatMap(([what, atMs]) => (atMs === null ? [] : [{ state: what, created_ms: Math.round(atMs) }])),
    creation_time_ms: time(submittedAtMs),
    start_time_ms: time(startedAtMs),
    end_time_ms: time(finishedAtMs),
    error_message: error,
  };
}

/** Ray's word where it has not noted the place. */
export const NO_CALL_SITE = "disabled";
const OBJECT_STATUS = {
  pending: "PENDING_NODE_ASSIGNMENT",
  inline: "FINISHED",
  memory: "FINISHED",
  spilled: "FINISHED",
  lost: "NIL",
  error: "FAILED",
} as const satisfies Record<Row<"objects">["state"], string>;

export function objectRow(row: Row<"objects">, { ip, isDriver }: Places): RayRow {
  const { objectId, sizeBytes, state, ownerPid, ownerNodeId, callSite, holders } = row;
  const isInObject = holders.length > 0 && holders.every((holder) => /\bobjects?\b/.test(holder));
  return {
    object_id: objectId,
    object_size: sizeBytes ?? -1,
    task_status: OBJECT_STATUS[state],
    attempt_number: 1,
    reference_type: isInObject ? "CAPTURED_IN_OBJECT" : "LOCAL_REFERENCE",
    call_site: callSite ?? NO_CALL_SITE,
    type: isDriver(ownerNodeId, ownerPid) ? "DRIVER" : "WORKER",
    pid: ownerPid ?? 0,
    ip: ip(ownerNodeId),
  };
}

export function jobRow(row: Row<"jobs">, { ip }: Places): RayRow {
  const { jobId, submissionId, kind, status, entrypoint, message, errorType, nodeId, driverPid } = row;
  return {
    job_id: jobId,
    submission_id: submissionId,
    entrypoint,
    type: kind === "submission" ? "SUBMISSION" : "DRIVER",
    status: status.toUpperCase(),
    message,
    error_type: errorType,
    driver_info:
      jobId === null || driverPid === null ? null : { id: jobId, node_ip_address: ip(nodeId), pid: String(driverPid) },
    start_time: time(row.startedAtMs),
    end_time: timeOrZero(row.endedAtMs),
    metadata: row.metadata,
    runtime_env: {},
    driver_agent_http_address: null,
    driver_node_id: nodeId,
    driver_exit_code: row.exitCode,
  };
}

export function eventRow({ severity, atMs, kind, message, remedy, eventId, subjects, by }: Row<"events">): RayRow {
  return {
    severity: severity.toUpperCase(),
    time: new Date(atMs).toISOString().replace("T", " ").slice(0, 19),
    source_type: kind.toUpperCase().replaceAll("-", "_"),
    message: remedy === null ? message : `${message} ${remedy}`,
    event_id: eventId,
    custom_fields: { subjects, by },
  };
}
