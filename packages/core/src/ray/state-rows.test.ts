import { describe, expect, test } from "vitest";
import type { Row } from "../state/mod.ts";
import { COLUMNS, type RayKind } from "./state-columns.ts";
import type { RayRow } from "./state-query.ts";
import {
  actorRow,
  eventRow,
  groupRow,
  jobRow,
  nodeRow,
  objectRow,
  placesOf,
  taskRow,
  workerRow,
} from "./state-rows.ts";
import { summarizeActors, summarizeObjects, summarizeTasks } from "./state-summaries.ts";
import { taskFilters } from "./state-tasks.ts";
import { timelineOf } from "./state-timeline.ts";

const node: Row<"nodes"> = {
  ...{ nodeId: "n1", name: "one", state: "alive", address: "10.0.0.1:7000", isHead: true },
  ...{
    resources: { cpu: 2, gpu: 1, memory: 1_024, tpu: 4 },
    available: {},
    labels: { zone: "a" },
    gpus: [],
    workers: 1,
  },
  ...{ storeUsedBytes: 0, storeSpilledBytes: 0, storeCapacityBytes: 512, cpuPercent: null },
  ...{ memoryUsedBytes: null, memoryTotalBytes: null, startedAtMs: 1.6 },
};
const worker: Row<"workers"> = {
  ...{ workerId: "w1", kind: "driver", state: "busy", nodeId: "n1", pid: 7, jobId: "j1", actorId: null, actors: 0 },
  ...{ task: null, taskId: null, runningForMs: null, cpuPercent: null, memoryBytes: null, startedAtMs: 5 },
};
const actor: Row<"actors"> = {
  ...{ actorId: "a1", name: null, namespace: "s", className: "Counter", state: "alive", jobId: "j1", nodeId: "n1" },
  ...{
    workerId: "w2",
    pid: 8,
    restarts: 2,
    maxRestarts: -1,
    isDetached: false,
    isShared: false,
    placementGroupId: null,
  },
  ...{ resources: { cpu: 1 }, createdAtMs: null, stateSinceMs: 1, deathCause: null },
};
const task: Row<"tasks"> = {
  ...{ taskId: "t1", attempt: 1, name: "square", kind: "task", state: "finished", jobId: "j1", actorId: null },
  ...{
    nodeId: "n1",
    workerId: "w2",
    workerPid: 8,
    ownerPid: 7,
    parentId: "t0",
    parentName: "main",
    submittedAtMs: 1,
    readyAtMs: 2,
    sentAtMs: null,
  },
  ...{ startedAtMs: 3.4, finishedAtMs: 5.2, ranMs: 1.8, error: null },
};
const object: Row<"objects"> = {
  ...{
    objectId: "o1",
    sizeBytes: 2 ** 20,
    state: "memory",
    ownerPid: 7,
    ownerNodeId: "n1",
    jobId: "j1",
    callSite: null,
  },
  ...{ name: null, nodes: ["n1"], holds: 1, holders: ["driver 7"], createdAtMs: null },
};
const group: Row<"placement-groups"> = {
  ...{ placementGroupId: "g1", name: null, state: "infeasible", strategy: "PACK", jobId: "j1", isDetached: false },
  ...{ bundles: [{ index: 0, nodeId: null, resources: { cpu: 64 } }], createdAtMs: null },
};
const job: Row<"jobs"> = {
  ...{ jobId: "j1", submissionId: null, kind: "driver", status: "running", name: null, entrypoint: "main.ts" },
  ...{ message: null, errorType: null, nodeId: "n1", driverPid: 7, exitCode: null, attempt: 0, metadata: {} },
  ...{ namespace: null, startedAtMs: 1.2, endedAtMs: null },
};
const event: Row<"events"> = {
  ...{ eventId: "1", atMs: 0, severity: "error", kind: "node-died", message: "It died.", remedy: "Add one." },
  ...{ count: 1, subjects: ["n1"], by: null },
};
const places = placesOf([node], [worker]);

describe("rows", () => {
  test.each<[RayKind, RayRow]>([
    ["actors", actorRow(actor, places)],
    ["nodes", nodeRow(node)],
    ["workers", workerRow(worker, places)],
    ["placement_groups", groupRow(group)],
    ["tasks", taskRow(task)],
    ["objects", objectRow(object, places)],
    ["jobs", jobRow(job, places)],
    ["cluster_events", eventRow(event)],
  ])("of %s have all columns of Ray's, and no others", (kind, row) => {
    expect(Object.keys(row).sort()).toEqual(COLUMNS[kind].map(({ name }) => name).sort());
  });

  test("have Ray's words and whole milliseconds", () => {
    expect(nodeRow(node)).toMatchObject({
      ...{ node_ip: "10.0.0.1", state: "ALIVE", start_time_ms: 2 },
      resources_total: { CPU: 2, GPU: 1, memory: 1_024, tpu: 4, object_store_memory: 512 },
    });
    expect(nodeRow({ ...node, address: "[::1]:7" }).node_ip).toBe("::1");
    expect(nodeRow({ ...node, state: "draining" })).toMatchObject({
      state: "ALIVE",
      state_message: expect.stringContaining("draining"),
    });
    expect(actorRow({ ...actor, state: "pending", pid: null }, places)).toMatchObject({
      ...{ state: "PENDING_CREATION", pid: 0, name: "", death_cause: null },
    });
    const dead = actorRow({ ...actor, state: "dead", deathCause: "was killed" }, places);
    expect(dead.death_cause).toMatchObject({ actor_died_error_context: { error_message: "was killed" } });
    expect(groupRow(group)).toMatchObject({ state: "PENDING", stats: { scheduling_state: "INFEASIBLE" } });
    expect(objectRow(object, places)).toMatchObject({
      type: "DRIVER",
      ip: "10.0.0.1",
      reference_type: "LOCAL_REFERENCE",
    });
    expect(objectRow({ ...object, sizeBytes: null, holders: ["1 other object"] }, places)).toMatchObject({
      ...{ object_size: -1, reference_type: "CAPTURED_IN_OBJECT" },
    });
    expect(jobRow(job, places)).toMatchObject({
      ...{ type: "DRIVER", status: "RUNNING", start_time: 1, end_time: 0 },
      driver_info: { id: "j1", node_ip_address: "10.0.0.1", pid: "7" },
    });
    expect(eventRow(event)).toMatchObject({
      ...{ severity: "ERROR", source_type: "NODE_DIED", time: "1970-01-01 00:00:00", message: "It died. Add one." },
    });
  });

  test("of tasks say each state that they reached", () => {
    expect(taskRow(task)).toMatchObject({
      ...{
        type: "NORMAL_TASK",
        state: "FINISHED",
        error_type: null,
        creation_time_ms: 1,
        start_time_ms: 3,
        end_time_ms: 5,
      },
      events: [
        { state: "PENDING_ARGS_AVAIL", created_ms: 1 },
        { state: "PENDING_NODE_ASSIGNMENT", created_ms: 2 },
        { state: "RUNNING", created_ms: 3 },
        { state: "FINISHED", created_ms: 5 },
      ],
    });
    const states = (["waiting", "queued", "running", "failed", "lost", "preempted", "cancelled"] as const).map(
      (state) => {
        const { state: rayState, error_type: type } = taskRow({ ...task, state });
        return [rayState, type];
      },
    );
    expect(states).toEqual([
      ["PENDING_ARGS_AVAIL", null],
      ["PENDING_NODE_ASSIGNMENT", null],
      ["RUNNING", null],
      ["FAILED", "TASK_EXECUTION_EXCEPTION"],
      ["FAILED", "WORKER_DIED"],
      ["FAILED", "WORKER_DIED"],
      ["FAILED", "TASK_CANCELLED"],
    ]);
  });
});

describe("filters of tasks", () => {
  const filters = (key: string, isEqual: boolean, value: string | number) => taskFilters([{ key, isEqual, value }]);
  test("on what both have are the same", () => {
    expect(filters("attempt_number", true, 1)).toEqual([{ key: "attempt", op: "=", value: "1" }]);
    expect(filters("func_or_class_name", false, "f")).toEqual([{ key: "name", op: "!=", value: "f" }]);
  });
  test("on a state that several of ours become name those that it is not", () => {
    const not = (...states: string[]) => states.map((value) => ({ key: "state", op: "!=", value }));
    expect(filters("state", true, "failed")).toEqual(not("waiting", "queued", "running", "finished"));
    expect(filters("state", false, "FAILED")).toEqual(not("failed", "lost", "preempted", "cancelled"));
    expect(filters("error_type", true, "TASK_CANCELLED")).toHaveLength(7);
    expect(filters("type", true, "ACTOR_TASK")).toEqual([
      { key: "kind", op: "!=", value: "task" },
      { key: "kind", op: "!=", value: "actor-creation" },
    ]);
  });
  test("on what is the same of all let all pass, or none", () => {
    expect(filters("language", true, "JavaScript")).toEqual([]);
    expect(filters("language", true, "PYTHON")).toBeUndefined();
    expect(filters("placement_group_id", false, "x")).toEqual([]);
  });
});

test("summaries count as Ray's do", () => {
  const counted = summarizeTasks([
    { name: "f", kind: "task", counts: { finished: 2, lost: 1, failed: 1, running: 0 } },
    { name: "C.m", kind: "actor-call", counts: { running: 3 } },
  ]);
  expect(counted).toEqual({
    summary: {
      f: { func_or_class_name: "f", type: "NORMAL_TASK", state_counts: { FINISHED: 2, FAILED: 2 } },
      "C.m": { func_or_class_name: "C.m", type: "ACTOR_TASK", state_counts: { RUNNING: 3 } },
    },
    ...{ total_tasks: 4, total_actor_tasks: 3, total_actor_scheduled: 0, summary_by: "func_name" },
  });
  const actors = [actor, { ...actor, state: "dead" } as const].map((row) => actorRow(row, places));
  expect(summarizeActors(actors)).toEqual({
    summary: { Counter: { class_name: "Counter", state_counts: { ALIVE: 1, DEAD: 1 } } },
    ...{ total_actors: 2, summary_by: "class" },
  });
  const objects = [object, { ...object, sizeBytes: null, ownerPid: 9 }].map((row) => objectRow(row, places));
  expect(summarizeObjects(objects)).toMatchObject({
    summary: { disabled: { total_objects: 2, total_size_mb: 1, total_num_workers: 2, total_num_nodes: 1 } },
    ...{ total_objects: 2, total_size_mb: 1, callsite_enabled: false },
  });
});

test("a timeline has a process for a node and a thread for a worker", () => {
  expect(timelineOf([task, { ...task, startedAtMs: null }])).toMatchObject([
    { ph: "M", name: "process_name", pid: 0 },
    { ph: "M", name: "thread_name", pid: 0, tid: 1 },
    { ph: "X", name: "square", pid: 0, tid: 1, ts: 3_400, dur: expect.closeTo(1_800), cname: "rail_animation" },
  ]);
});
