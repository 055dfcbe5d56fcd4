/** The columns of what Ray's State API lists: in their order, those that are told only in detail, and what each can be filtered by. */

export const RAY_KINDS = [
  "actors",
  "jobs",
  "nodes",
  "placement_groups",
  "workers",
  "tasks",
  "objects",
  "runtime_envs",
  "cluster_events",
] as const;
export type RayKind = (typeof RAY_KINDS)[number];

/** What a value of a column is, as filters read it; undefined: it cannot be filtered by. */
type Filtered = "text" | "number" | "boolean" | undefined;
interface Column {
  readonly name: string;
  readonly isDetail: boolean;
  readonly filtered: Filtered;
}

const FILTERED = { "": "text", "#": "number", "?": "boolean", "-": undefined } as const;

/** `#name` is filtered by as a number, `?name` as a boolean, `-name` not at all. */
const columns = (base: string, detail = ""): readonly Column[] =>
  [base, detail].flatMap((names, at) =>
    names.split(" ").flatMap((text): Column[] => {
      const [, mark = "", name = ""] = /^([#?-]?)(\w*)$/.exec(text) ?? [];
      return name === "" ? [] : [{ name, isDetail: at === 1, filtered: FILTERED[mark as keyof typeof FILTERED] }];
    }),
  );

export const COLUMNS: { readonly [K in RayKind]: readonly Column[] } = {
  actors: columns(
    "actor_id class_name state job_id name node_id #pid ray_namespace",
    "-serialized_runtime_env -required_resources -death_cause -is_detached placement_group_id repr_name -num_restarts -num_restarts_due_to_lineage_reconstruction -num_restarts_due_to_node_preemption -call_site -label_selector -fallback_strategy",
  ),
  jobs: columns(
    "job_id submission_id -entrypoint type status -message -error_type -driver_info",
    "-start_time -end_time -metadata -runtime_env -driver_agent_http_address -driver_node_id -driver_exit_code",
  ),
  nodes: columns(
    "node_id node_ip ?is_head_node state -state_message node_name -resources_total -labels",
    "-start_time_ms -end_time_ms",
  ),
  placement_groups: columns(
    "placement_group_id name creator_job_id state",
    "-bundles ?is_detached -stats -topology_strategy -topology_assignments",
  ),
  workers: columns(
    "worker_id ?is_alive worker_type exit_type node_id ip #pid",
    "-exit_detail -worker_launch_time_ms -worker_launched_time_ms -start_time_ms -end_time_ms #debugger_port #num_paused_threads",
  ),
  tasks: columns(
    "task_id #attempt_number name state job_id actor_id type func_or_class_name parent_task_id node_id worker_id #worker_pid error_type",
    "language -required_resources -runtime_env_info placement_group_id -events -profiling_data -creation_time_ms -start_time_ms -end_time_ms -task_log_info -error_message ?is_debugger_paused -call_site -label_selector -fallback_strategy",
  ),
  objects: columns("object_id #object_size task_status #attempt_number reference_type call_site type #pid ip"),
  runtime_envs: columns("runtime_env ?success -creation_time_ms node_id", "-ref_cnt error"),
  cluster_events: columns("severity -time source_type -message event_id", "-custom_fields"),
};
