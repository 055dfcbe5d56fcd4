/**
 * A cluster that never was: rows of every kind, made from a seed, with work, waits and failures in them. Times are
 * given from `nowMs` back, so that pages look alive.
 */
import type {
  ActorRow,
  AttemptProgress,
  BarRow,
  EventRow,
  FunctionProgress,
  GroupRow,
  History,
  JobRow,
  LogRow,
  NodeRow,
  ObjectRow,
  Overview,
  TaskRow,
  TaskSummaryRow,
  WorkerRow,
} from "../../core/src/state/rows.ts";

export const HOSTILE = `<script>window.hacked=1</script>`;
export const HOSTILE_IMAGE = `"><img src=x onerror=window.hacked=1>`;

export interface Model {
  readonly nodes: NodeRow[];
  readonly workers: WorkerRow[];
  readonly tasks: TaskRow[];
  /** Attempts that the cluster has seen; `tasks` holds the newest. */
  readonly taskTotal: number;
  readonly actors: ActorRow[];
  readonly objects: ObjectRow[];
  readonly groups: GroupRow[];
  readonly jobs: JobRow[];
  readonly events: EventRow[];
  readonly logs: LogRow[];
  readonly functions: TaskSummaryRow[];
  readonly overview: Overview;
  readonly graph: {
    nodes: { name: string; kind: string; counts: Record<string, number> }[];
    edges: { from: string; to: string; count: number }[];
  };
}

export interface ModelOptions {
  readonly seed?: number;
  readonly nowMs: number;
  readonly actors?: number;
  readonly tasks?: number;
  /** Without names that try to be markup: for pictures. */
  readonly isTame?: boolean;
}

const GiB = 1024 ** 3;
const MiB = 1024 ** 2;
/** Name, kind, its share of the attempts, mean run time. */
const FUNCTIONS: readonly (readonly [string, TaskRow["kind"], number, number])[] = [
  ["tokenize", "task", 0.34, 12],
  ["Tokenizer.encode", "actor-call", 0.22, 4],
  ["embedBatch", "task", 0.16, 86],
  ["Shard.upsert", "actor-call", 0.13, 2.4],
  ["fetchPage", "task", 0.08, 240],
  ["Ranker.score", "actor-call", 0.04, 31],
  ["mergeShards", "task", 0.012, 900],
  ["trainEpoch", "task", 0.004, 5200],
  ["evaluate", "task", 0.004, 1800],
  ["writeReport", "task", 0.002, 320],
  ["Trainer.create", "actor-creation", 0.002, 640],
  [HOSTILE_IMAGE, "task", 0.002, 3],
  ["ingest", "task", 0.004, 1500],
];
const ERRORS = [
  "TypeError: Cannot read properties of undefined (reading 'tokens')\n    at embedBatch (file:///srv/app/embed.ts:48:21)",
  "RangeError: the batch has 4096 rows and at most 2048 fit",
  "Error: fetch failed: ECONNRESET https://example.org/corpus/part-0192.jsonl",
  "TaskTimeoutError: mergeShards did not end within 30 s; give it more with timeoutMs",
];

/** The rows; without hostile names they are those of a function called `publish`. */
export function makeModel(options: ModelOptions): Model {
  const model = makeAny(options);
  if (options.isTame !== true) return model;
  return JSON.parse(tamed(JSON.stringify(model))) as Model;
}

/** JSON without the function of the hostile name. */
const tamed = (json: string): string => json.replaceAll(JSON.stringify(HOSTILE_IMAGE).slice(1, -1), "publish");
const isTamed = ({ actors }: Model): boolean => !actors.some(({ className }) => className === HOSTILE);

function makeAny({
  seed = 7,
  nowMs,
  actors: actorCount = 10_000,
  tasks: taskCount = 20_000,
  isTame = false,
}: ModelOptions): Model {
  const random = generator(seed);
  const integer = (below: number) => Math.floor(random() * below);
  const pick = <T>(list: readonly T[]): T => list[integer(list.length)] as T;
  const hex = (bytes: number) => Array.from({ length: bytes * 2 }, () => integer(16).toString(16)).join("");
  const around = (mean: number) => mean * (0.4 + random() * 1.2) * (random() < 0.02 ? 8 : 1);

  const nodes: NodeRow[] = ["head-01", "cpu-a1", "cpu-a2", "cpu-b1", "gpu-c1", "gpu-c2", "cpu-b2", "laptop"].map(
    (name, index) => {
      const isGpu = name.startsWith("gpu");
      const cpus = isGpu ? 32 : name === "laptop" ? 8 : 16;
      const memory = (isGpu ? 256 : 64) * GiB;
      const state = name === "cpu-b2" ? "dead" : name === "cpu-b1" ? "draining" : "alive";
      const busy = state === "dead" ? 0 : random();
      const capacity = memory * 0.3;
      return {
        nodeId: hex(16),
        name,
        state,
        address: name === "laptop" ? null : `10.0.4.${11 + index}:6381`,
        isHead: index === 0,
        resources: { cpu: cpus, memory, ...(isGpu ? { gpu: 4 } : {}) },
        available: {
          cpu: Math.floor(cpus * (1 - busy)),
          memory: memory * (1 - busy * 0.6),
          ...(isGpu ? { gpu: 1 } : {}),
        },
        labels: { zone: index % 2 === 0 ? "a" : "b", ...(isGpu ? { accelerator: "A100" } : {}) },
        storeUsedBytes: capacity * (name === "cpu-a2" ? 0.97 : busy * 0.7),
        storeSpilledBytes: name === "cpu-a2" ? 6.2 * GiB : 0,
        storeCapacityBytes: capacity,
        cpuPercent: state === "dead" ? null : Math.round(busy * 960) / 10,
        memoryUsedBytes: state === "dead" ? null : memory * (0.2 + busy * 0.6),
        memoryTotalBytes: memory,
        gpus: isGpu
          ? Array.from({ length: 4 }, (_, gpu) => ({
              id: String(gpu),
              index: gpu,
              uuid: `GPU-8675b29f-7932-7f9d-24fc-8ff38bcc${index}${gpu}`,
              name: "NVIDIA A100-SXM4-80GB",
              utilisationPercent: gpu === 3 ? 0 : Math.round(60 + random() * 39),
              memoryUsedBytes: (gpu === 3 ? 0.6 : 40 + random() * 35) * GiB,
              memoryTotalBytes: 80 * GiB,
              temperatureCelsius: gpu === 3 ? 34 : 58 + gpu,
              powerWatts: gpu === 3 ? 61.2 : 312 + 20 * gpu,
              powerLimitWatts: 400,
              problem: null,
              leasedShare: gpu === 3 ? 0 : 1,
              holders:
                gpu === 3
                  ? []
                  : [
                      {
                        ...{ workerId: `0a0b0c0d0e0f0a${index}${gpu}`, pid: 31_000 + gpu, share: 1, jobId: "0a0b0c0d" },
                        ...{ actorId: gpu === 0 ? null : "6448581128c9048ece77c54ae9935987" },
                        name: gpu === 0 ? "embed" : "Trainer",
                      },
                    ],
              processes:
                gpu === 3
                  ? [{ pid: 9120, name: "jupyter-lab", memoryBytes: 0.5 * GiB, workerId: null, isOurs: false }]
                  : [
                      {
                        pid: 31_007,
                        name: "python3",
                        memoryBytes: 38 * GiB,
                        workerId: `0a0b0c0d0e0f0a${index}${gpu}`,
                        isOurs: true,
                      },
                    ],
            }))
          : [],
        workers: state === "dead" ? 0 : Math.ceil(cpus * 0.8),
        startedAtMs: nowMs - (3 + index) * 3_600_000,
      };
    },
  );
  const alive = nodes.filter(({ state }) => state !== "dead");

  const jobs: JobRow[] = (
    [
      ["nightly-index", "node index.ts --corpus s3://corpus/2026-11", "running", 0, null],
      ["train-ranker", "node train.ts --epochs 12 --lr 3e-4", "running", 0, null],
      [null, "node notebooks/explore.ts", "running", 0, null],
      ["evaluate-1142", "node evaluate.ts --checkpoint 1142", "succeeded", 0, null],
      [
        "train-ranker-old",
        "node train.ts --epochs 40",
        "failed",
        137,
        "the driver's process was killed (out of memory)",
      ],
      ["ingest-web", "node ingest.ts --rate 200", "stopped", null, "stopped by mara"],
      ["report", "npx tsx report.ts", "failed", 1, "Error: no such table: runs"],
      ["queued-sweep", "node sweep.ts --trials 64", "pending", null, "waits for 8 GPU; 2 are free"],
    ] as const
  ).map(([name, entrypoint, status, exitCode, message], index) => ({
    jobId: status === "pending" ? null : hex(4),
    submissionId: name === null ? null : `mobula-${name}-${hex(3)}`,
    kind: name === null ? "driver" : "submission",
    status,
    name,
    entrypoint,
    message,
    errorType: status === "failed" ? (exitCode === 137 ? "DriverKilled" : "EntrypointFailed") : null,
    nodeId: status === "pending" ? null : (alive[index % alive.length]?.nodeId ?? null),
    driverPid: status === "pending" ? null : 4100 + index * 37,
    exitCode: status === "running" || status === "pending" ? null : exitCode,
    attempt: 0,
    metadata: name === null ? {} : { team: index % 2 === 0 ? "search" : "ranking" },
    namespace: "default",
    startedAtMs: nowMs - (index + 1) * 1_140_000,
    endedAtMs: status === "running" || status === "pending" ? null : nowMs - (index + 1) * 420_000,
  }));
  const running = jobs.filter(({ jobId }) => jobId !== null).map(({ jobId }) => jobId as string);

  const actors: ActorRow[] = [];
  const hostile = isTame ? "Cache" : HOSTILE;
  const classes = ["Tokenizer", "Shard", "Ranker", "Trainer", "FeatureStore", hostile];
  for (let index = 0; index < actorCount; index++) {
    const draw = random();
    const state = draw < 0.9 ? "alive" : draw < 0.93 ? "pending" : draw < 0.945 ? "restarting" : "dead";
    const className = index < 3 ? "Trainer" : (classes[index % 97 === 5 ? 5 : integer(5)] as string);
    const node = pick(alive);
    const isPlaced = state === "alive";
    actors.push({
      actorId: hex(16),
      name: index % 9 === 0 ? `${className === hostile ? "x" : className.toLowerCase()}-${index}` : null,
      namespace: "default",
      className,
      state,
      jobId: pick(running),
      nodeId: isPlaced ? node.nodeId : null,
      workerId: isPlaced ? hex(8) : null,
      pid: isPlaced ? 20_000 + integer(40_000) : null,
      restarts: state === "restarting" ? 1 + integer(3) : integer(40) === 0 ? 1 : 0,
      maxRestarts: className === "Shard" ? -1 : className === "Trainer" ? 3 : 0,
      isDetached: index % 50 === 0,
      isShared: className === "Tokenizer",
      placementGroupId: null,
      resources: className === "Trainer" ? { cpu: 4, gpu: 1 } : { cpu: 0.01 },
      createdAtMs: nowMs - 60_000 - integer(5_000_000),
      stateSinceMs: nowMs - integer(4_000_000),
      deathCause:
        state !== "dead" || draw < 0.97
          ? null
          : pick([
              "its node cpu-b2 died",
              "its process was killed (signal 9): out of memory",
              "its constructor threw: Error: no model at /models/v3",
            ]),
    });
  }

  const workers: WorkerRow[] = alive.flatMap((node) =>
    Array.from({ length: node.workers }, (_, index): WorkerRow => {
      const draw = random();
      const state =
        index === 0 && node.name === "cpu-a1" ? "starting" : draw < 0.5 ? "busy" : draw < 0.8 ? "actor" : "idle";
      const [name] = pick(FUNCTIONS);
      return {
        workerId: hex(8),
        kind: "worker",
        state,
        nodeId: node.nodeId,
        pid: 20_000 + integer(40_000),
        jobId: state === "idle" || state === "starting" ? null : pick(running),
        actorId: state === "actor" ? pick(actors).actorId : null,
        actors: state === "actor" ? 1 + integer(3) : 0,
        task: state === "busy" ? name : null,
        taskId: state === "busy" ? hex(24) : null,
        runningForMs: state === "busy" ? around(400) : null,
        cpuPercent: state === "idle" ? 0.2 : Math.min(100, around(55)),
        memoryBytes: around(140) * MiB,
        startedAtMs: nowMs - integer(7_000_000),
      };
    }),
  );
  for (const job of jobs.filter(({ status }) => status === "running")) {
    workers.push({
      workerId: hex(12),
      kind: "driver",
      state: "busy",
      nodeId: job.nodeId ?? "",
      pid: job.driverPid ?? 0,
      jobId: job.jobId,
      actorId: null,
      actors: 0,
      task: null,
      taskId: null,
      runningForMs: null,
      cpuPercent: 12,
      memoryBytes: 210 * MiB,
      startedAtMs: job.startedAtMs,
    });
  }

  const tasks: TaskRow[] = [];
  for (let index = 0; index < taskCount; index++) {
    const [name, kind, , mean] = functionAt(random());
    const stateDraw = random();
    const state: TaskRow["state"] =
      index < 40
        ? "running"
        : index < 120
          ? "queued"
          : index < 150
            ? "waiting"
            : stateDraw < 0.975
              ? "finished"
              : stateDraw < 0.99
                ? "failed"
                : stateDraw < 0.994
                  ? "lost"
                  : stateDraw < 0.997
                    ? "cancelled"
                    : "preempted";
    const isOver = !["running", "queued", "waiting"].includes(state);
    const hasWorker = isOver ? state !== "cancelled" : state === "running";
    const ranMs = isOver && hasWorker ? around(mean) : null;
    const submittedAtMs = nowMs - 200 - index * 22 - around(300);
    const readyAtMs = state === "waiting" ? null : submittedAtMs + random() * 3;
    const sentAtMs = hasWorker && readyAtMs !== null ? readyAtMs + around(14) : null;
    const startedAtMs = sentAtMs === null ? null : sentAtMs + random();
    const worker = pick(workers);
    const parent = index % 3 === 0 ? tasks[index >> 2] : undefined;
    tasks.push({
      taskId: hex(24),
      attempt: random() < 0.02 ? 1 : 0,
      name,
      kind,
      state,
      jobId: pick(running),
      actorId: kind === "task" ? null : pick(actors).actorId,
      nodeId: hasWorker ? worker.nodeId : null,
      workerId: hasWorker ? worker.workerId : null,
      workerPid: hasWorker ? worker.pid : null,
      ownerPid: 4100 + integer(3) * 37,
      parentId: parent?.taskId ?? "d".repeat(24),
      parentName: parent?.name ?? null,
      submittedAtMs,
      readyAtMs,
      sentAtMs,
      startedAtMs,
      finishedAtMs: isOver ? (startedAtMs ?? submittedAtMs) + (ranMs ?? 0) + 0.4 : null,
      ranMs,
      error: state === "failed" ? pick(ERRORS) : state === "lost" ? "its worker died (signal 9)" : null,
    });
  }

  const sites = [
    "embed.ts:31",
    "index.ts:112",
    "train.ts:88",
    "shards.ts:19",
    "ingest.ts:54",
    "explore.ts:7",
    `${hostile}.ts:1`,
  ];
  const objects: ObjectRow[] = Array.from({ length: 3000 }, (_, index): ObjectRow => {
    const draw = random();
    const state =
      draw < 0.55
        ? "memory"
        : draw < 0.8
          ? "inline"
          : draw < 0.93
            ? "spilled"
            : draw < 0.97
              ? "pending"
              : draw < 0.985
                ? "error"
                : "lost";
    const node = pick(alive);
    const holds = state === "lost" ? 1 : 1 + integer(index % 30 === 0 ? 40 : 3);
    const isPut = index % 4 === 0;
    return {
      objectId: hex(28),
      sizeBytes:
        state === "pending"
          ? null
          : state === "inline"
            ? Math.floor(around(900))
            : Math.floor(around(index % 7 === 0 ? 180 * MiB : 3 * MiB)),
      state,
      ownerPid: 4100 + integer(3) * 37,
      ownerNodeId: node.nodeId,
      jobId: pick(running),
      callSite:
        index % 11 === 0 ? null : (sites[Math.min(sites.length - 1, Math.floor(-Math.log(random()) * 1.6))] as string),
      name: isPut ? "put" : pick(FUNCTIONS.slice(0, 9))[0],
      nodes:
        state === "memory" || state === "spilled" ? [node.nodeId, ...(random() < 0.2 ? [pick(alive).nodeId] : [])] : [],
      holds,
      holders: Array.from({ length: Math.min(holds, 3) }, () =>
        random() < 0.6 ? `pid ${20_000 + integer(40_000)}` : `actor ${pick(actors).actorId.slice(0, 12)}`,
      ),
      createdAtMs: nowMs - integer(2_000_000),
    };
  });

  const groups: GroupRow[] = Array.from({ length: 9 }, (_, index): GroupRow => {
    const state =
      (
        [
          "created",
          "created",
          "created",
          "pending",
          "rescheduling",
          "infeasible",
          "removed",
          "created",
          "created",
        ] as const
      )[index] ?? "created";
    return {
      placementGroupId: hex(16),
      name:
        index === 6
          ? null
          : `${["trainers", "shards", "serve", "sweep-12", "eval", "huge", "", "ab-test", "cache"][index]}`,
      state,
      strategy: (["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] as const)[index % 4] ?? "PACK",
      jobId: pick(running),
      isDetached: index === 2,
      bundles: Array.from({ length: 2 + (index % 5) }, (_, bundle) => ({
        index: bundle,
        nodeId: state === "created" || (state === "rescheduling" && bundle > 0) ? pick(alive).nodeId : null,
        resources: index % 2 === 0 ? { cpu: 4, gpu: 1 } : { cpu: 2 },
      })),
      createdAtMs: nowMs - integer(3_000_000),
    };
  });

  const eventKinds: readonly (readonly [EventRow["severity"], string, string, string | null])[] = [
    [
      "error",
      "deadlock",
      "3 actors wait for each other: Ranker.score → Shard.upsert → Ranker.score, for 41 s",
      "let one of them return before it awaits the other, or give Shard maxConcurrency: 2",
    ],
    [
      "warning",
      "store-pressure",
      "cpu-a2: 97 % of 19.2 GiB in memory, 6.2 GiB spilled in the last 5 minutes",
      "shards.ts:19 holds 11.4 GiB of it; drop its references, or give the node a larger store",
    ],
    [
      "warning",
      "straggler",
      "mergeShards runs for 94 s, 21 times its p95 (4.4 s), on cpu-b1",
      "mobula stack shows where it is; the node drains",
    ],
    [
      "warning",
      "infeasible",
      "8 tasks want 16 GPU each; the largest node has 4",
      "ask for less, or use a placement group over nodes",
    ],
    ["error", "node-died", "cpu-b2 has not been heard of for 30 s; 14 actors and 212 objects were on it", null],
    [
      "error",
      "actor-died",
      "Trainer: its process was killed (signal 9): out of memory",
      "it held 58 GiB; its node has 64",
    ],
    ["info", "node-joined", "gpu-c2 joined with 32 CPU and 4 GPU", null],
    ["info", "job-submitted", "mobula-queued-sweep: node sweep.ts --trials 64", null],
    ["info", "job-stopped", "mobula-ingest-web was stopped", null],
    [
      "warning",
      "actor-backlog",
      "FeatureStore has 4,120 calls waiting and ends 300 a second",
      "give it maxConcurrency, or more of them",
    ],
    ["info", "actor-killed", `${hostile} was killed`, null],
  ];
  const events: EventRow[] = Array.from({ length: 120 }, (_, index) => {
    const [severity, kind, message, remedy] = eventKinds[
      index < eventKinds.length ? index : integer(eventKinds.length)
    ] as (typeof eventKinds)[number];
    return {
      eventId: `e${(120 - index).toString().padStart(6, "0")}`,
      atMs: nowMs - index * 47_000 - integer(40_000),
      severity,
      kind,
      message,
      count: 1,
      remedy,
      subjects: severity === "info" ? [] : [pick(actors).actorId, ...(index % 3 === 0 ? [pick(nodes).nodeId] : [])],
      by: kind.startsWith("job-") || kind === "actor-killed" ? "mara@laptop" : null,
    };
  });

  const logs: LogRow[] = [
    ...alive.flatMap((node) => [
      {
        logId: `${node.nodeId}:node.log`,
        nodeId: node.nodeId,
        file: "node.log",
        sizeBytes: integer(9e6),
        modifiedAtMs: nowMs - integer(9000),
      },
      ...workers
        .filter(({ nodeId, kind }) => nodeId === node.nodeId && kind === "worker")
        .slice(0, 6)
        .map(({ pid }) => ({
          logId: `${node.nodeId}:worker-${pid}.log`,
          nodeId: node.nodeId,
          file: `worker-${pid}.log`,
          sizeBytes: integer(4e6),
          modifiedAtMs: nowMs - integer(900_000),
        })),
    ]),
  ];

  const taskTotal = 1_000_000;
  const functions: TaskSummaryRow[] = FUNCTIONS.map(([name, kind, share, mean]) => {
    const n = Math.round(taskTotal * share);
    return {
      name,
      kind,
      counts: {
        finished: Math.round(n * 0.975),
        failed: Math.round(n * 0.015),
        lost: Math.round(n * 0.004),
        cancelled: Math.round(n * 0.006),
        ...(share > 0.01 ? { running: Math.ceil(share * 40), queued: Math.ceil(share * 80) } : {}),
        ...(name === "mergeShards" ? { waiting: 30 } : {}),
      },
      meanRunMs: mean,
      p95RunMs: mean * 2.7,
    };
  });
  const sum = (state: keyof TaskSummaryRow["counts"]) =>
    functions.reduce((total, { counts }) => total + (counts[state] ?? 0), 0);
  const overview: Overview = {
    asOfMs: nowMs,
    nodes: { alive: 6, draining: 1, dead: 1 },
    resources: Object.fromEntries(
      ["cpu", "gpu", "memory"].map((name) => [
        name,
        {
          total: alive.reduce((total, { resources }) => total + (resources[name] ?? 0), 0),
          used: alive.reduce(
            (total, { resources, available }) => total + (resources[name] ?? 0) - (available[name] ?? 0),
            0,
          ),
        },
      ]),
    ),
    store: {
      usedBytes: alive.reduce((total, { storeUsedBytes }) => total + storeUsedBytes, 0),
      spilledBytes: 6.2 * GiB,
      capacityBytes: alive.reduce((total, { storeCapacityBytes }) => total + storeCapacityBytes, 0),
    },
    gpus: {
      count: 8,
      utilisationPercent: 58.4,
      memoryUsedBytes: 348 * GiB,
      memoryTotalBytes: 640 * GiB,
      problems: 0,
    },
    tasks: {
      waiting: sum("waiting"),
      queued: sum("queued"),
      running: sum("running"),
      finished: sum("finished"),
      failed: sum("failed"),
      lost: sum("lost"),
      cancelled: sum("cancelled"),
    },
    actors: { alive: actors.filter(({ state }) => state === "alive").length, pending: 301, restarting: 152, dead: 548 },
    throughput: Array.from({ length: 120 }, (_, second) => throughputAt(nowMs - (119 - second) * 1000)),
    waiting: [
      {
        kind: "task",
        name: "embedBatch",
        count: 41,
        wish: "2 CPU, 0.5 GPU",
        isInfeasible: false,
        why: "all 8 GPU are leased; 6 workers with one end in about 4 s",
      },
      {
        kind: "task",
        name: "mergeShards",
        count: 30,
        wish: "4 CPU",
        isInfeasible: false,
        why: "each waits for 12 arguments, of which 3 are not there yet",
      },
      {
        kind: "task",
        name: "trainLarge",
        count: 8,
        wish: "16 GPU",
        isInfeasible: true,
        why: "the largest node has 4 GPU; ask for less, or use a placement group",
      },
      {
        kind: "actor",
        name: "Trainer",
        count: 2,
        wish: "4 CPU, 1 GPU",
        isInfeasible: false,
        why: "gpu-c1 and gpu-c2 have 1 GPU free, and 0 CPU",
      },
    ],
    alerts: events.filter(({ severity }) => severity !== "info").slice(0, 5),
    progress: jobs
      .filter(({ status }) => status === "running")
      .flatMap(({ jobId, submissionId, name }, index) => {
        const { functions: _, functionsTotal: __, ...all } = progressAt(functions, index, 0);
        return jobId === null ? [] : [{ jobId, submissionId, name, ...all }];
      }),
  };

  const call = (from: string, to: string, share: number) => ({ from, to, count: Math.round(taskTotal * share) });
  return {
    nodes,
    workers,
    tasks,
    taskTotal,
    actors,
    objects,
    groups,
    jobs,
    events,
    logs,
    functions,
    overview,
    graph: {
      nodes: [...functions.map(({ name, kind, counts }) => ({ name, kind, counts: counts as Record<string, number> }))],
      edges: [
        call("driver", "ingest", 0.004),
        call("driver", "trainEpoch", 0.004),
        call("driver", "writeReport", 0.002),
        call("driver", "Trainer.create", 0.002),
        call("driver", HOSTILE_IMAGE, 0.002),
        call("ingest", "fetchPage", 0.08),
        call("fetchPage", "fetchPage", 0.01),
        call("ingest", "tokenize", 0.34),
        call("tokenize", "Tokenizer.encode", 0.22),
        call("tokenize", "embedBatch", 0.16),
        call("embedBatch", "Shard.upsert", 0.13),
        call("ingest", "mergeShards", 0.012),
        call("mergeShards", "Shard.upsert", 0.02),
        call("trainEpoch", "evaluate", 0.004),
        call("evaluate", "Ranker.score", 0.04),
        call("Ranker.score", "Shard.upsert", 0.01),
        call("evaluate", "trainEpoch", 0.001),
      ],
    },
  };
}

/** Of the job of this number: each has some of the functions, and a share of their attempts has ended. */
export function progressAt(functions: readonly TaskSummaryRow[], job: number, finishedSince: number): AttemptProgress {
  const shares = [0.62, 0.18, 0.93];
  const rows = functions
    .filter((_, at) => at % 3 === job % 3)
    .map(({ name, kind, counts }, at): FunctionProgress => {
      const ended = Object.entries(counts).reduce((sum, [state, n]) => sum + (LIVE.has(state) ? 0 : n), 0);
      const total = Math.round(ended / (shares[job % shares.length] ?? 1)) + (counts.running ?? 0);
      const done = Math.min(total, ended + (at === 0 ? finishedSince % 100_000 : 0));
      const running = Math.min(total - done, counts.running ?? 0);
      const endedPerSecond = running > 0 ? done / 400 : 0;
      const finished = (counts.finished ?? 0) + done - ended;
      return {
        ...{ name, kind, total, endedPerSecond, ended: done },
        counts: { ...counts, finished, running, queued: total - done - running, waiting: 0 },
        leftMs: total === done ? 0 : endedPerSecond === 0 ? null : ((total - done) / endedPerSecond) * 1_000,
      };
    });
  const counts: AttemptProgress["counts"] = {};
  for (const row of rows)
    for (const [state, n] of Object.entries(row.counts) as [TaskRow["state"], number][])
      counts[state] = (counts[state] ?? 0) + n;
  const sum = (of: (row: FunctionProgress) => number) => rows.reduce((total, row) => total + of(row), 0);
  return {
    counts,
    total: sum(({ total }) => total),
    ended: sum(({ ended }) => ended),
    endedPerSecond: sum(({ endedPerSecond }) => endedPerSecond),
    leftMs: job === 0 ? Math.max(...rows.map(({ leftMs }) => leftMs ?? 0)) : null,
    functions: rows.sort((a, b) => b.total - b.ended - (a.total - a.ended)),
    functionsTotal: rows.length,
  };
}
const LIVE: ReadonlySet<string> = new Set(["waiting", "queued", "running"]);

/** What the program of the first job says itself. */
export function barsAt(model: Model, nowMs: number, doneSince: number): BarRow[] {
  const { nodes, tasks } = model;
  const long = isTamed(model) ? "pages of the archive, with" : HOSTILE;
  const [{ nodeId = "" } = {}] = nodes;
  const [{ taskId = null } = {}] = tasks;
  const bar = (label: string, done: number, total: number | null, perSecond: number): BarRow => ({
    ...{ barId: label, label, done, total, perSecond, nodeId, taskId, pid: 4200 + label.length },
    leftMs: total === null ? null : ((total - done) / perSecond) * 1_000,
    ...{ isClosed: false, startedAtMs: nowMs - 90_000, updatedAtMs: nowMs },
  });
  return [
    { ...bar("embedding pages", 4_200 + (doneSince % 5_000), 12_000, 50), taskId: null },
    bar(`${long} ${"a long label ".repeat(13)}`, 12.5, 50, 0.14),
    bar("rows read", 1_250_000, null, 13_889),
    { ...bar("warming up", 10, 10, 5), isClosed: true, leftMs: null },
  ];
}

/** By their shares. */
function functionAt(draw: number): (typeof FUNCTIONS)[number] {
  let left = draw;
  for (const one of FUNCTIONS) {
    left -= one[2];
    if (left < 0) return one;
  }
  return FUNCTIONS[0] as (typeof FUNCTIONS)[number];
}

/** A rate that breathes, the same for the same second. */
export function throughputAt(atMs: number): Overview["throughput"][number] {
  const second = Math.floor(atMs / 1000);
  const wave = Math.sin(second / 17) * 900 + Math.sin(second / 5) * 260 + Math.sin(second * 12.9898) * 180;
  return {
    atMs: second * 1000,
    finished: Math.max(0, Math.round(3400 + wave)),
    failed: second % 29 < 3 ? 40 + (second % 7) * 9 : second % 5,
  };
}

/** The same for the same ten seconds; a node was away for a while. */
export function historyAt({ nodes }: Pick<Model, "nodes">, asked: URLSearchParams, nowMs: number): History {
  const everyMs = 10_000;
  const last = Math.floor(nowMs / everyMs);
  const timesMs = Array.from({ length: 360 }, (_, at) => (last - 359 + at) * everyMs);
  const rates = timesMs.map(throughputAt);
  const wave = (ms: number, at: number, slow: number) =>
    0.5 + 0.3 * Math.sin(ms / everyMs / slow + at * 2) + 0.12 * Math.sin(ms / everyMs / 3.1 + at) + 0.05 * Math.sin(ms);
  const alive = nodes.filter(({ state }) => state !== "dead");
  const wanted = asked.get("node");
  const shown = nodes.filter(({ nodeId }) =>
    wanted === null ? alive.some((one) => one.nodeId === nodeId) : nodeId === wanted,
  );
  const away = (row: NodeRow, at: number) =>
    (row.name === "cpu-b1" && at > 120 && at < 150) || (row.name === "cpu-b2" && at > 200);
  return {
    everyMs,
    timesMs,
    finished: rates.map(({ finished }) => finished),
    failed: rates.map(({ failed }) => failed),
    nodes: shown.slice(0, Number(asked.get("limit") ?? 24)).map((row, at) => {
      const series = (of: (ms: number) => number) => timesMs.map((ms, tick) => (away(row, tick) ? null : of(ms)));
      return {
        nodeId: row.nodeId,
        name: row.name,
        cpuPercent: series((ms) => Math.round(200 * Math.min(1, wave(ms, at, 23))) / 2),
        gpuPercent:
          row.gpus.length === 0 ? null : series((ms) => Math.round(200 * Math.min(1, wave(ms, at + 5, 40))) / 2),
        memoryUsedBytes: series((ms) => Math.round((row.memoryTotalBytes ?? 0) * 0.7 * wave(ms, at, 60))),
        storeUsedBytes: series((ms) => Math.round(row.storeCapacityBytes * 0.9 * wave(ms, at + 1, 35))),
        storeSpilledBytes: series(() => row.storeSpilledBytes),
      };
    }),
    nodesTotal: alive.length,
  };
}

/**
 * Runs in lanes of workers, submitted by a driver or by what ran in another lane: what a real run of 100,000 short tasks looks like.
 *
 * @param piece of `size` runs, the newest is 0.
 */
export function* timelineLines(
  model: Model,
  spans: number,
  lanes: number,
  nowMs: number,
  { piece, size }: { readonly piece: number; readonly size: number },
): Generator<string> {
  const isTame = isTamed(model);
  const random = generator(11);
  const freeAtUs = Array.from({ length: lanes }, () => random() * 4000);
  const from = Math.max(0, spans - (piece + 1) * size);
  const to = spans - piece * size;
  // Each piece has an origin of its own.
  const originMs = nowMs - 120_000 + from / 1_000;
  const other = { originMs, sampling: "sampled", kept: spans, next: from > 0 ? String(piece + 1) : null };
  yield `{"displayTimeUnit":"ms","otherData":${JSON.stringify(other)},"traceEvents":[\n`;
  for (let lane = -1; lane < lanes; lane++) {
    const pid = lane < 0 ? DRIVER_PID : 21_000 + lane;
    const args = { name: `${lane < 0 ? "driver" : "worker"} ${pid}`, node: "a", pid };
    yield `${JSON.stringify({ ph: "M", pid, tid: 0, name: "process_name", args })},\n`;
  }
  for (let span = 0; span < to; span++) {
    const lane = Math.floor(random() * lanes);
    const [given, , , mean] = functionAt(random());
    const name = given === HOSTILE_IMAGE && isTame ? "publish" : given;
    const durUs = Math.max(20, Math.round(mean * 300 * (0.3 + random() * 1.4)));
    const startUs = Math.round((freeAtUs[lane] as number) + random() * 900);
    freeAtUs[lane] = startUs + durUs;
    const outcome = random() < 0.01 ? "failed" : "ok";
    if (span < from) continue;
    const ts = startUs - from;
    const by = span % 3 === 0 ? DRIVER_PID : 21_000 + ((lane * 7 + span) % lanes);
    const flow = {
      ph: "s",
      pid: by,
      tid: 0,
      ts: ts - 400 - (span % 50) * 100,
      id: span,
      cat: "flow",
      name: "submitted",
    };
    const event = {
      ph: "X",
      pid: 21_000 + lane,
      tid: 1,
      ts,
      dur: durUs,
      cat: "task",
      name,
      args: { outcome, attempt: 0, task: span.toString(16).padStart(48, "0"), ranMs: durUs / 1000 },
    };
    yield `${JSON.stringify(flow)},\n${JSON.stringify(event)}${span + 1 < to ? "," : ""}\n`;
  }
  yield "]}\n";
}
const DRIVER_PID = 4100;

/** mulberry32 */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
