/**
 * What the API lists, as schemas: they give the types, and the OpenAPI document. Ids are hex strings, times milliseconds since 1970,
 * sizes bytes. `null` says that there is none, or that it is not known.
 */
import { z } from "zod";
import type { RowKind } from "./row-kinds.ts";
import { TASK_STATES } from "./task-states.ts";

export type { RowKind };

const id = (what: string) => z.string().meta({ description: what });
const time = (what: string) => z.number().meta({ description: `${what}, in milliseconds since 1970` });
const bytes = (what: string) => z.number().meta({ description: `${what}, in bytes` });
const resources = z.record(z.string(), z.number()).meta({ description: "by name; memory in bytes" });

/** A GPU of a node. */
const gpuRow = z.object({
  id: z.string().meta({ description: "as CUDA_VISIBLE_DEVICES names it: an index, or a UUID" }),
  index: z.number().nullable().meta({ description: "as its driver counts" }),
  uuid: z.string().nullable(),
  name: z.string().nullable(),
  utilisationPercent: z.number().nullable().meta({ description: "of the time in which something ran on it" }),
  memoryUsedBytes: bytes("used on it, by whomever").nullable(),
  memoryTotalBytes: bytes("of it").nullable(),
  temperatureCelsius: z.number().nullable(),
  powerWatts: z.number().nullable(),
  powerLimitWatts: z.number().nullable(),
  problem: z.string().nullable().meta({ description: "why nothing is known of it now" }),
  leasedShare: z.number().meta({ description: "0 to 1: held by workers, or reserved by placement groups" }),
  holders: z
    .array(
      z.object({
        workerId: id("of the worker that has leased it, or a part of it"),
        pid: z.number().nullable(),
        share: z.number().meta({ description: "0 to 1" }),
        jobId: id("whose work it does"),
        actorId: id("of the actor that holds it; of the first one of several in a worker").nullable(),
        name: z.string().meta({ description: "of the function or class that it was leased for" }),
      }),
    )
    .meta({ description: "workers that have leased it, whether or not they use it" }),
  processes: z
    .array(
      z.object({
        pid: z.number(),
        name: z.string().nullable().meta({ description: "of the command" }),
        memoryBytes: bytes("of the GPU that it has").nullable(),
        workerId: id("of the worker or driver that it is or belongs to").nullable(),
        isOurs: z.boolean().nullable().meta({
          description: "of a worker or driver; null: the node is in a container, which does not show who it is",
        }),
      }),
    )
    .meta({ description: "that are on it, of Mobula or not, as far as its driver shows them" }),
});
export type GpuRow = z.infer<typeof gpuRow>;

export const nodeRow = z.object({
  nodeId: id("of the node, 16 bytes"),
  name: z.string(),
  state: z.enum(["alive", "draining", "dead"]),
  address: z.string().nullable().meta({ description: "host:port where other nodes reach it; null: it only dials out" }),
  isHead: z.boolean().meta({ description: "control runs on its machine" }),
  resources,
  available: resources,
  labels: z.record(z.string(), z.string()),
  storeUsedBytes: bytes("objects in memory"),
  storeSpilledBytes: bytes("objects on disk"),
  storeCapacityBytes: bytes("what the store holds in memory at most"),
  cpuPercent: z.number().nullable().meta({ description: "of all cores of the machine, 0 to 100" }),
  memoryUsedBytes: bytes("used on the machine").nullable(),
  memoryTotalBytes: bytes("of the machine").nullable(),
  gpus: z.array(gpuRow).meta({ description: "that it offers" }),
  workers: z.number().meta({ description: "worker processes" }),
  startedAtMs: time("when it was first heard of").nullable(),
});

export const workerRow = z.object({
  workerId: id("of the process, 8 bytes; of a driver its 12"),
  kind: z.enum(["worker", "driver"]),
  state: z.enum(["starting", "idle", "busy", "actor", "dead"]),
  nodeId: id("where it runs"),
  pid: z.number(),
  jobId: id("whose work it does now").nullable(),
  actorId: id("of the actor that lives in it; of the first one of several").nullable(),
  actors: z.number().meta({ description: "that live in it" }),
  task: z.string().nullable().meta({ description: "the function that runs in it now, as far as its node knows" }),
  taskId: id("of what runs").nullable(),
  runningForMs: z.number().nullable(),
  cpuPercent: z.number().nullable().meta({ description: "of one core" }),
  memoryBytes: bytes("resident").nullable(),
  startedAtMs: time("start of the process").nullable(),
});

export const taskState = z.enum(TASK_STATES).meta({
  description:
    "waiting: for its arguments; queued: for a worker; running; finished; failed: it threw; lost: its worker died; preempted: ended for work of higher priority; cancelled",
});

/** One attempt of a task or of a call of an actor. */
export const taskRow = z.object({
  taskId: id("of the task, 24 bytes; all its attempts have it"),
  attempt: z.number().meta({ description: "from 0" }),
  name: z.string().meta({ description: "of the function, or Class.method" }),
  kind: z.enum(["task", "actor-call", "actor-creation"]),
  state: taskState,
  jobId: id("4 bytes"),
  actorId: id("of a call").nullable(),
  nodeId: id("where it runs or ran").nullable(),
  workerId: id("in which it runs or ran").nullable(),
  workerPid: z.number().nullable(),
  ownerPid: z.number().nullable().meta({ description: "of the process that submitted it" }),
  parentId: id(
    "of the task or call in which it was submitted; of what was submitted in none its process, as a driver's workerId",
  ).nullable(),
  parentName: z.string().nullable().meta({ description: "the function of the parent" }),
  submittedAtMs: time("submitted; null of what runs for an owner that does not answer").nullable(),
  readyAtMs: time("when its arguments were there").nullable(),
  sentAtMs: time("when it was sent to a worker").nullable(),
  startedAtMs: time("when it began to run").nullable(),
  finishedAtMs: time("when its result was there").nullable(),
  ranMs: z.number().nullable().meta({ description: "run time, as its worker measured it; of what runs so far" }),
  error: z.string().nullable().meta({ description: "of a failed one: what was thrown, at most 300 characters" }),
});

/** A task by its id: what its last attempt is, and all attempts that are kept. */
export const taskDetail = taskRow.extend({
  attempts: z
    .array(taskRow)
    .meta({ description: "those that are kept, the first one first; the last one is this row" }),
});

export const actorRow = z.object({
  actorId: id("16 bytes"),
  name: z.string().nullable(),
  namespace: z.string(),
  className: z.string(),
  state: z.enum(["pending", "alive", "restarting", "dead"]),
  jobId: id("of the job that created it"),
  nodeId: id("where it lives").nullable(),
  workerId: id("in which it lives").nullable(),
  pid: z.number().nullable(),
  restarts: z.number(),
  maxRestarts: z.number().meta({ description: "-1: any number" }),
  isDetached: z.boolean(),
  isShared: z.boolean().meta({ description: "it shares its process with others" }),
  placementGroupId: id("in which it is").nullable(),
  resources,
  createdAtMs: time("created").nullable(),
  stateSinceMs: time("when it came into its state"),
  deathCause: z.string().nullable(),
});

export const objectRow = z.object({
  objectId: id("28 bytes"),
  sizeBytes: bytes("as stored").nullable(),
  state: z.enum(["pending", "inline", "memory", "spilled", "lost", "error"]),
  ownerPid: z.number().nullable(),
  ownerNodeId: id("whose directory knows it"),
  jobId: id("of its owner").nullable(),
  callSite: z.string().nullable().meta({ description: "file:line of the put or call that made it" }),
  name: z.string().nullable().meta({ description: "of the function whose result it is; put for a value that was put" }),
  nodes: z.array(z.string()).meta({ description: "ids of nodes with a copy" }),
  holds: z.number().meta({ description: "how many processes and objects keep it" }),
  holders: z.array(z.string()).meta({ description: "the first of them, in words: pid 123, actor …, object …" }),
  createdAtMs: time("created").nullable(),
});

export const groupRow = z.object({
  placementGroupId: id("16 bytes"),
  name: z.string().nullable(),
  state: z.enum(["pending", "created", "rescheduling", "removed", "infeasible"]),
  strategy: z.enum(["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"]),
  jobId: id("of the job that asked for it"),
  isDetached: z.boolean(),
  bundles: z.array(z.object({ index: z.number(), nodeId: z.string().nullable(), resources })),
  createdAtMs: time("created").nullable(),
});

/** As Ray's jobs; a driver that joined by itself is a job too. */
export const jobRow = z.object({
  jobId: id("4 bytes; null while the entrypoint has not joined").nullable(),
  submissionId: id("of one that was submitted").nullable(),
  kind: z.enum(["submission", "driver"]),
  status: z.enum(["pending", "running", "stopped", "succeeded", "failed"]),
  name: z.string().nullable(),
  entrypoint: z.string().meta({ description: "the command; of a driver its program" }),
  message: z.string().nullable(),
  errorType: z.string().nullable(),
  nodeId: id("where its driver runs").nullable(),
  driverPid: z.number().nullable(),
  exitCode: z.number().nullable(),
  attempt: z.number().meta({ description: "from 0; more after retries" }),
  metadata: z.record(z.string(), z.string()),
  namespace: z.string().nullable(),
  startedAtMs: time("submitted or joined"),
  endedAtMs: time("ended").nullable(),
});

/** Something that happened to the cluster, or that a detector found. */
export const eventRow = z.object({
  eventId: z.string(),
  atMs: time("when"),
  severity: z.enum(["info", "warning", "error"]),
  kind: z
    .string()
    .meta({ description: "node-died, actor-died, job-submitted, job-stopped, actor-killed, deadlock, straggler, …" }),
  message: z.string().meta({ description: "what happened, with numbers" }),
  count: z.number().meta({ description: "how many events it stands for: what happens very often is told in sums" }),
  remedy: z.string().nullable().meta({ description: "what to do" }),
  subjects: z.array(z.string()).meta({ description: "ids of what it is about" }),
  by: z.string().nullable().meta({ description: "who did it, of the audit log" }),
});

export const logRow = z.object({
  logId: z.string().meta({ description: "names the file for /api/v1/logs/{logId}" }),
  nodeId: id("where it lies"),
  file: z.string(),
  sizeBytes: bytes("of the file"),
  modifiedAtMs: time("last written"),
});

export const ROWS = {
  nodes: nodeRow,
  workers: workerRow,
  tasks: taskRow,
  actors: actorRow,
  objects: objectRow,
  "placement-groups": groupRow,
  jobs: jobRow,
  events: eventRow,
  logs: logRow,
} as const satisfies Record<RowKind, z.ZodObject>;
/** Fields that rows can be sorted by: texts, numbers, booleans, and lists, by how many they have. */
export const SORT_KEYS = Object.fromEntries(
  Object.entries(ROWS).map(([kind, row]) => [
    kind,
    Object.entries(row.shape).flatMap(([key, type]) => (isSortable(type as z.ZodType) ? [key] : [])),
  ]),
) as unknown as Readonly<Record<RowKind, readonly string[]>>;

function isSortable(type: z.ZodType): boolean {
  if (type instanceof z.ZodNullable) return isSortable(type.unwrap() as z.ZodType);
  return [z.ZodString, z.ZodNumber, z.ZodBoolean, z.ZodEnum, z.ZodArray].some((one) => type instanceof one);
}
export type Row<K extends RowKind> = z.infer<(typeof ROWS)[K]>;

export type NodeRow = Row<"nodes">;
export type WorkerRow = Row<"workers">;
export type TaskRow = Row<"tasks">;
export type TaskDetail = z.infer<typeof taskDetail>;
export type ActorRow = Row<"actors">;
export type ObjectRow = Row<"objects">;
export type GroupRow = Row<"placement-groups">;
export type JobRow = Row<"jobs">;
export type EventRow = Row<"events">;
export type LogRow = Row<"logs">;

/** What a list was asked: all filters must hold. */
export interface ListQuery {
  /** `=` and `!=` compare, without regard to case for states; `~` contains; `<` and `>` compare numbers. */
  readonly filters: readonly Filter[];
  /** At most 10,000; default 100. */
  readonly limit: number;
  /** Of the page before, in the same order. */
  readonly cursor?: string | undefined;
  /** Without it tasks and events come the newest first, and others as they are known. */
  readonly sort?: Sort | undefined;
}
/** By a field; rows that have none of it come last, either way. */
export interface Sort {
  readonly key: string;
  readonly isDown: boolean;
}
export interface Filter {
  readonly key: string;
  readonly op: "=" | "!=" | "~" | "<" | ">";
  readonly value: string;
}

export interface Listed<R> {
  readonly rows: readonly R[];
  /** Rows that match, those included that are not in this page. */
  readonly total: number;
  /** For the next page; null after the last one. */
  readonly next: string | null;
  /** Which sources did not answer, or were cut short, in words; empty: the answer is whole. */
  readonly partial: readonly string[];
  readonly asOfMs: number;
}

/** Exact counts of attempts by function, since the cluster began. */
export const taskSummaryRow = z.object({
  name: z.string(),
  kind: z.enum(["task", "actor-call", "actor-creation"]),
  counts: z.partialRecord(taskState, z.number()),
  meanRunMs: z.number().nullable(),
  p95RunMs: z.number().nullable().meta({ description: "of the attempts that are kept" }),
});
/** The functions of a job, and how many of their attempts were submitted in which others. */
export const taskGraph = z.object({
  nodes: z.array(taskSummaryRow.pick({ name: true, kind: true, counts: true })),
  edges: z
    .array(z.object({ from: z.string(), to: z.string(), count: z.number() }))
    .meta({ description: "of attempts that were submitted in another; not of those of the job's program itself" }),
});
export type TaskGraph = z.infer<typeof taskGraph>;
export const actorSummaryRow = z.object({ className: z.string(), counts: z.record(z.string(), z.number()) });
export const objectSummaryRow = z.object({
  callSite: z.string(),
  objects: z.number(),
  sizeBytes: z.number(),
  spilledBytes: z.number(),
  holders: z.number(),
});

const progressFields = {
  counts: z.partialRecord(taskState, z.number()),
  total: z
    .number()
    .meta({ description: "attempts that were submitted so far: those that have ended and those that live" }),
  ended: z.number().meta({ description: "in whatever way; a task that is tried again has one more attempt" }),
  endedPerSecond: z.number().meta({ description: "in the last 30 seconds" }),
  leftMs: z.number().nullable().meta({
    description:
      "until what is submitted now will have ended, at the pace of the last 30 seconds, in milliseconds; null: that cannot be told, since too few have ended, more are being submitted, or somebody did not answer",
  }),
};
const functionProgress = z.object({ name: z.string(), kind: taskRow.shape.kind, ...progressFields });
export type FunctionProgress = z.infer<typeof functionProgress>;
/** How far the attempts of a job are. */
const attemptProgress = z.object({
  ...progressFields,
  functions: z.array(functionProgress).meta({ description: "those with most left, at most 200" }),
  functionsTotal: z.number(),
});
export type AttemptProgress = z.infer<typeof attemptProgress>;
/** A bar that a program has made, with `progressBar` or `map`. */
const barRow = z.object({
  barId: id("of the bar among those of its node"),
  label: z.string().meta({ description: "at most 200 characters" }),
  done: z.number(),
  total: z.number().nullable().meta({ description: "null: the program does not know" }),
  perSecond: z.number().nullable().meta({ description: "since it was made; null in its first second" }),
  leftMs: z.number().nullable().meta({ description: "until all are done, at that pace, in milliseconds" }),
  isClosed: z.boolean().meta({ description: "the program has closed it: it is shown for a minute more" }),
  startedAtMs: time("when it was made"),
  updatedAtMs: time("when it last changed"),
  nodeId: id("of the process that made it"),
  pid: z.number(),
  taskId: id("of the task or call that made it; null: a driver did").nullable(),
});
export type BarRow = z.infer<typeof barRow>;
/** How far a job is: its attempts, and what its program says. */
export const progress = attemptProgress.extend({
  bars: z.array(barRow).meta({ description: "open ones first, and of these the newest first, at most 200" }),
  barsTotal: z.number(),
  partial: z.array(z.string()).meta({ description: "nodes that did not say which bars they have, in words" }),
});
export type Progress = z.infer<typeof progress>;
/** Of a job that has something left. */
export const jobProgress = z.object({
  jobId: id("4 bytes"),
  submissionId: jobRow.shape.submissionId,
  name: jobRow.shape.name,
  ...progressFields,
});
export type JobProgress = z.infer<typeof jobProgress>;

/** The first page of the dashboard, and a line of `mobula top`. */
export const overview = z.object({
  asOfMs: z.number(),
  nodes: z.object({ alive: z.number(), draining: z.number(), dead: z.number() }),
  resources: z.record(z.string(), z.object({ total: z.number(), used: z.number() })),
  store: z.object({ usedBytes: z.number(), spilledBytes: z.number(), capacityBytes: z.number() }),
  gpus: z
    .object({
      count: z.number(),
      utilisationPercent: z.number().nullable().meta({ description: "mean of those that say it" }),
      memoryUsedBytes: bytes("of those that say it"),
      memoryTotalBytes: bytes("of those that say it"),
      problems: z.number().meta({ description: "those that a driver should know, and says nothing of" }),
    })
    .nullable()
    .meta({ description: "of all nodes; null: there are none" }),
  tasks: z.partialRecord(taskState, z.number()),
  actors: z.record(z.string(), z.number()),
  /** Finished and failed attempts a second, each of the last 120 seconds, the newest last. */
  throughput: z.array(z.object({ atMs: z.number(), finished: z.number(), failed: z.number() })),
  waiting: z.array(
    z.object({
      kind: z.string(),
      name: z.string(),
      count: z.number(),
      wish: z.string(),
      isInfeasible: z.boolean(),
      why: z.string(),
    }),
  ),
  alerts: z.array(eventRow),
  progress: z
    .array(jobProgress)
    .meta({ description: "jobs that have something left: those with most left, at most 20" }),
});
const series = (what: string) =>
  z.array(z.number().nullable()).meta({ description: `${what}, at each of timesMs; null: not known` });
/** The past hour, for charts. */
export const history = z.object({
  everyMs: z.number(),
  timesMs: z.array(z.number()).meta({ description: "at most an hour, the newest last" }),
  finished: series("attempts that finished a second"),
  failed: series("attempts that failed a second"),
  nodes: z.array(
    z.object({
      nodeId: z.string(),
      name: z.string(),
      cpuPercent: series("of all cores"),
      gpuPercent: series("mean of its GPUs").nullable().meta({ description: "null: it has none" }),
      memoryUsedBytes: series("used on the machine"),
      storeUsedBytes: series("objects in memory"),
      storeSpilledBytes: series("objects on disk"),
    }),
  ),
  nodesTotal: z.number().meta({ description: "nodes that have a history and are alive" }),
});
export type History = z.infer<typeof history>;
export type Overview = z.infer<typeof overview>;
export type TaskSummaryRow = z.infer<typeof taskSummaryRow>;
export type ActorSummaryRow = z.infer<typeof actorSummaryRow>;
export type ObjectSummaryRow = z.infer<typeof objectSummaryRow>;
