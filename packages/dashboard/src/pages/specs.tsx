/** How each kind of row is listed: columns, filters, and what an empty list says. */
import { bytes, count, duration, NONE, resourceList, shortId, shortSite } from "../format.ts";
import type { ListSpec } from "../list-page.tsx";
import { Ago, BytesMeter, Empty, IdLink, InlineMeter, NodeLink, PercentMeter, State } from "../parts.tsx";
import { href } from "../router.ts";
import {
  type ActorRow,
  type GroupRow,
  type JobRow,
  type LogRow,
  type NodeRow,
  type ObjectRow,
  type TaskRow,
  taskStates,
  type WorkerRow,
} from "../rows.ts";

const dash = <span className="muted">{NONE}</span>;

/** A driver is called by its file. */
export function jobTitle({ name, submissionId, jobId }: JobRow): string {
  const title = name ?? submissionId ?? jobId ?? "";
  return title.startsWith("/") ? (title.split("/").at(-1) ?? title) : title;
}

export const jobKey = (job: JobRow): string => job.submissionId ?? job.jobId ?? "";

export const jobsSpec: ListSpec<JobRow> = {
  kind: "jobs",
  noun: "jobs",
  textKey: "entrypoint",
  textTitle: "Entrypoint contains",
  choice: { key: "status", title: "Status", values: ["pending", "running", "succeeded", "failed", "stopped"] },
  fields: ["jobId", "submissionId", "kind", "name", "nodeId", "namespace", "errorType", "driverPid"],
  idOf: (row) => jobKey(row),
  linkOf: (row) => href(["jobs", jobKey(row)]),
  columns: [
    {
      key: "name",
      title: "Job",
      width: "minmax(180px, 1.2fr)",
      phone: "title",
      render: (row) => <span title={row.name ?? ""}>{jobTitle(row)}</span>,
      field: "name",
    },
    {
      key: "status",
      title: "Status",
      width: "120px",
      phone: "state",
      render: (row) => <State state={row.status} />,
      field: "status",
    },
    { key: "kind", title: "Kind", width: "100px", phone: "hide", render: (row) => row.kind, field: "kind" },
    {
      key: "entrypoint",
      title: "Entrypoint",
      width: "minmax(220px, 2fr)",
      isMono: true,
      render: (row) => <span title={row.entrypoint}>{row.entrypoint}</span>,
      field: "entrypoint",
    },
    {
      key: "jobId",
      title: "Job id",
      width: "100px",
      isMono: true,
      render: (row) => row.jobId ?? dash,
      field: "jobId",
    },
    {
      key: "node",
      title: "Driver on",
      width: "minmax(110px, 150px)",
      phone: "hide",
      render: (row) => <NodeLink id={row.nodeId} />,
      field: "nodeId",
    },
    {
      key: "started",
      title: "Started",
      width: "110px",
      isEnd: true,
      render: (row) => <Ago atMs={row.startedAtMs} />,
      field: "startedAtMs",
    },
    {
      key: "took",
      title: "Took",
      width: "90px",
      isEnd: true,
      render: (row) => (row.endedAtMs === null ? dash : duration(row.endedAtMs - row.startedAtMs)),
    },
  ],
  empty: (
    <Empty title="No jobs yet">
      A program that calls <code>init()</code> is one, and so is what you submit: here, or by{" "}
      <code>mobula submit -- node app.ts</code>
    </Empty>
  ),
};

export const tasksSpec: ListSpec<TaskRow> = {
  kind: "tasks",
  noun: "attempts",
  textKey: "name",
  textTitle: "Name contains",
  choice: { key: "state", title: "State", values: taskStates },
  fields: [
    "jobId",
    "taskId",
    "kind",
    "actorId",
    "nodeId",
    "workerId",
    "workerPid",
    "ownerPid",
    "attempt",
    "ranMs",
    "error",
    "submittedAtMs",
  ],
  idOf: (row) => `${row.taskId}.${row.attempt}`,
  linkOf: (row) => href(["tasks", row.taskId]),
  columns: [
    {
      key: "name",
      title: "Name",
      width: "minmax(160px, 2fr)",
      phone: "title",
      render: (row) => row.name,
      field: "name",
    },
    {
      key: "state",
      title: "State",
      width: "110px",
      phone: "state",
      render: (row) => <State state={row.state} />,
      field: "state",
    },
    {
      key: "taskId",
      title: "Task id",
      width: "130px",
      isMono: true,
      render: (row) => <span title={row.taskId}>{shortId(row.taskId)}</span>,
    },
    {
      key: "attempt",
      title: "Attempt",
      width: "78px",
      isEnd: true,
      phone: "hide",
      render: (row) => row.attempt,
      field: "attempt",
    },
    {
      key: "kind",
      title: "Kind",
      width: "106px",
      phone: "hide",
      render: (row) => row.kind,
      field: "kind",
    },
    {
      key: "node",
      title: "Node",
      width: "minmax(80px, 110px)",
      phone: "hide",
      render: (row) => <NodeLink id={row.nodeId} />,
      field: "nodeId",
    },
    {
      key: "pid",
      title: "Pid",
      width: "72px",
      isEnd: true,
      render: (row) =>
        row.workerId === null ? (
          (row.workerPid ?? dash)
        ) : (
          <IdLink kind="workers" id={row.workerId} text={String(row.workerPid ?? "?")} />
        ),
      field: "workerPid",
    },
    {
      key: "ran",
      title: "Ran",
      width: "82px",
      isEnd: true,
      render: (row) => duration(row.ranMs),
      field: "ranMs",
    },
    {
      key: "submitted",
      title: "Submitted",
      width: "98px",
      isEnd: true,
      render: (row) => <Ago atMs={row.submittedAtMs} />,
      field: "submittedAtMs",
    },
    {
      key: "error",
      title: "Error",
      width: "minmax(120px, 2fr)",
      phone: "hide",
      render: (row) => (row.error === null ? dash : <span title={row.error}>{row.error}</span>),
    },
  ],
  empty: (
    <Empty title="No tasks yet">
      Each call of a remote function or an actor is one. Run a program that uses <code>remote(…)</code>
    </Empty>
  ),
};

/** A death that nobody wished for: others end when they are no longer needed. */
export function isViolent(cause: string | null): boolean {
  return cause !== null && /\bSIG[A-Z]+|exited with code|threw|could not be made|died|lost|memory/.test(cause);
}

export const actorsSpec: ListSpec<ActorRow> = {
  kind: "actors",
  noun: "actors",
  textKey: "className",
  textTitle: "Class contains",
  choice: { key: "state", title: "State", values: ["pending", "alive", "restarting", "dead"] },
  fields: [
    "actorId",
    "name",
    "namespace",
    "jobId",
    "nodeId",
    "workerId",
    "pid",
    "restarts",
    "isDetached",
    "deathCause",
  ],
  idOf: (row) => row.actorId,
  linkOf: (row) => href(["actors", row.actorId]),
  columns: [
    {
      key: "class",
      title: "Class",
      width: "minmax(126px, 1.4fr)",
      phone: "title",
      render: (row) => row.className,
      field: "className",
    },
    {
      key: "state",
      title: "State",
      width: "104px",
      phone: "state",
      render: (row) => <State state={row.state} {...(isViolent(row.deathCause) ? { tone: "bad" as const } : {})} />,
      field: "state",
    },
    {
      key: "name",
      title: "Name",
      width: "minmax(90px, 1fr)",
      render: (row) => row.name ?? dash,
      field: "name",
    },
    {
      key: "actorId",
      title: "Actor id",
      width: "124px",
      isMono: true,
      render: (row) => <span title={row.actorId}>{shortId(row.actorId)}</span>,
      field: "actorId",
    },
    {
      key: "node",
      title: "Node",
      width: "minmax(80px, 120px)",
      phone: "hide",
      render: (row) => <NodeLink id={row.nodeId} />,
      field: "nodeId",
    },
    {
      key: "pid",
      title: "Pid",
      width: "68px",
      isEnd: true,
      render: (row) =>
        row.workerId === null ? (
          (row.pid ?? dash)
        ) : (
          <IdLink kind="workers" id={row.workerId} text={String(row.pid ?? "?")} />
        ),
      field: "pid",
    },
    {
      key: "restarts",
      title: "Restarts",
      width: "80px",
      isEnd: true,
      phone: "hide",
      render: (row) =>
        `${row.restarts}${row.maxRestarts > 0 ? ` / ${row.maxRestarts}` : row.maxRestarts < 0 ? " / ∞" : ""}`,
      field: "restarts",
    },
    {
      key: "resources",
      title: "Resources",
      width: "minmax(110px, 1fr)",
      phone: "hide",
      render: (row) => resourceList(row.resources),
    },
    {
      key: "since",
      title: "Since",
      width: "96px",
      isEnd: true,
      render: (row) => <Ago atMs={row.stateSinceMs} />,
      field: "stateSinceMs",
    },
    {
      key: "cause",
      title: "Cause of death",
      width: "minmax(110px, 1.6fr)",
      phone: "hide",
      render: (row) => (row.deathCause === null ? dash : <span title={row.deathCause}>{row.deathCause}</span>),
    },
  ],
  empty: (
    <Empty title="No actors yet">
      An object that lives in a worker: <code>remote(Counter).remote()</code>
    </Empty>
  ),
};

export const nodesSpec: ListSpec<NodeRow> = {
  kind: "nodes",
  noun: "nodes",
  textKey: "name",
  textTitle: "Name contains",
  choice: { key: "state", title: "State", values: ["alive", "draining", "dead"] },
  fields: ["nodeId", "address", "isHead", "workers", "cpuPercent"],
  idOf: (row) => row.nodeId,
  linkOf: (row) => href(["nodes", row.nodeId]),
  columns: [
    {
      key: "name",
      title: "Node",
      width: "minmax(130px, 1.3fr)",
      phone: "title",
      render: (row) => (
        <>
          {row.name} {row.isHead && <span className="tag">head</span>}
        </>
      ),
      field: "name",
    },
    {
      key: "state",
      title: "State",
      width: "98px",
      phone: "state",
      render: (row) => <State state={row.state} {...(row.state === "dead" ? { tone: "bad" as const } : {})} />,
      field: "state",
    },
    {
      key: "cpu",
      title: "Cores busy",
      width: "minmax(104px, 150px)",
      render: (row) => <PercentMeter value={row.cpuPercent} />,
      field: "cpuPercent",
    },
    {
      key: "leased",
      title: "CPU leased",
      width: "92px",
      isEnd: true,
      render: (row) => leased(row, "cpu"),
    },
    {
      key: "memory",
      title: "Memory",
      width: "minmax(104px, 150px)",
      render: (row) => <BytesMeter used={row.memoryUsedBytes} total={row.memoryTotalBytes} />,
      field: "memoryUsedBytes",
    },
    {
      key: "store",
      title: "Store",
      width: "minmax(104px, 150px)",
      render: (row) => <BytesMeter used={row.storeUsedBytes} total={row.storeCapacityBytes} />,
      field: "storeUsedBytes",
    },
    {
      key: "spilled",
      title: "Spilled",
      width: "78px",
      isEnd: true,
      phone: "hide",
      render: (row) => (row.storeSpilledBytes === 0 ? dash : bytes(row.storeSpilledBytes)),
      field: "storeSpilledBytes",
    },
    {
      key: "gpus",
      title: "GPUs",
      width: "minmax(118px, 150px)",
      phone: "hide",
      render: (row) => gpus(row),
      field: "gpus",
    },
    {
      key: "workers",
      title: "Workers",
      width: "72px",
      isEnd: true,
      phone: "hide",
      render: (row) => count(row.workers),
      field: "workers",
    },
    {
      key: "address",
      title: "Address",
      width: "minmax(128px, 160px)",
      isMono: true,
      phone: "hide",
      render: (row) => row.address ?? <span title="It only dials out">dials out</span>,
      field: "address",
    },
  ],
  empty: (
    <Empty title="No nodes">
      They join with <code>mobula start --address HEAD:6380</code>
    </Empty>
  ),
};

function leased(row: NodeRow, name: string): string {
  const total = row.resources[name] ?? 0;
  return `${round(total - (row.available[name] ?? 0))} of ${round(total)}`;
}
const round = (value: number) => Math.round(value * 100) / 100;

function gpus(row: NodeRow) {
  if (row.gpus.length === 0) return dash;
  const known = row.gpus.filter(({ utilisationPercent }) => utilisationPercent !== null);
  const mean = known.reduce((sum, gpu) => sum + (gpu.utilisationPercent ?? 0), 0) / Math.max(1, known.length);
  return known.length === 0 ? (
    `${row.gpus.length}`
  ) : (
    <InlineMeter used={mean} total={100} text={`${row.gpus.length} × ${mean.toFixed(0)} %`} />
  );
}

export const workersSpec: ListSpec<WorkerRow> = {
  kind: "workers",
  noun: "workers",
  textKey: "task",
  textTitle: "Runs (name contains)",
  choice: { key: "state", title: "State", values: ["starting", "idle", "busy", "actor", "dead"] },
  fields: ["workerId", "kind", "nodeId", "pid", "jobId", "actorId", "taskId", "cpuPercent", "memoryBytes"],
  idOf: (row) => row.workerId,
  linkOf: (row) => href(["workers", row.workerId]),
  columns: [
    {
      key: "pid",
      title: "Process",
      width: "minmax(120px, 150px)",
      phone: "title",
      render: (row) => `${row.kind} ${row.pid}`,
      field: "pid",
    },
    {
      key: "state",
      title: "State",
      width: "100px",
      phone: "state",
      render: (row) => <State state={row.state} />,
      field: "state",
    },
    {
      key: "task",
      title: "Runs",
      width: "minmax(150px, 1.5fr)",
      render: (row) =>
        row.taskId === null ? (
          (row.task ?? dash)
        ) : (
          <IdLink kind="tasks" id={row.taskId} text={row.task ?? shortId(row.taskId)} />
        ),
      field: "task",
    },
    {
      key: "for",
      title: "For",
      width: "84px",
      isEnd: true,
      phone: "hide",
      render: (row) => duration(row.runningForMs),
      field: "runningForMs",
    },
    {
      key: "actor",
      title: "Actor",
      width: "150px",
      phone: "hide",
      render: (row) => (
        <>
          <IdLink kind="actors" id={row.actorId} />
          {row.actors > 1 && <span className="muted"> +{row.actors - 1}</span>}
        </>
      ),
      field: "actorId",
    },
    {
      key: "cpu",
      title: "Core",
      width: "minmax(96px, 130px)",
      render: (row) => <PercentMeter value={row.cpuPercent} />,
      field: "cpuPercent",
    },
    {
      key: "memory",
      title: "Memory",
      width: "92px",
      isEnd: true,
      render: (row) => bytes(row.memoryBytes),
      field: "memoryBytes",
    },
    {
      key: "node",
      title: "Node",
      width: "minmax(80px, 120px)",
      render: (row) => <NodeLink id={row.nodeId} />,
      field: "nodeId",
    },
    {
      key: "job",
      title: "Job",
      width: "92px",
      isMono: true,
      phone: "hide",
      render: (row) => <IdLink kind="jobs" id={row.jobId} />,
      field: "jobId",
    },
    {
      key: "started",
      title: "Started",
      width: "100px",
      isEnd: true,
      phone: "hide",
      render: (row) => <Ago atMs={row.startedAtMs} />,
      field: "startedAtMs",
    },
  ],
  empty: (
    <Empty title="No worker processes">
      A node starts them when there is work, and keeps some for what comes next.
    </Empty>
  ),
};

export const objectsSpec: ListSpec<ObjectRow> = {
  kind: "objects",
  noun: "objects",
  textKey: "callSite",
  textTitle: "Call site contains",
  choice: { key: "state", title: "State", values: ["pending", "inline", "memory", "spilled", "lost", "error"] },
  fields: ["objectId", "name", "sizeBytes", "ownerPid", "ownerNodeId", "jobId", "holds"],
  idOf: (row) => row.objectId,
  linkOf: (row) => href(["objects", row.objectId]),
  columns: [
    {
      key: "objectId",
      title: "Object id",
      width: "140px",
      isMono: true,
      phone: "title",
      render: (row) => <span title={row.objectId}>{shortId(row.objectId)}</span>,
      field: "objectId",
    },
    {
      key: "state",
      title: "State",
      width: "104px",
      phone: "state",
      render: (row) => <State state={row.state} />,
      field: "state",
    },
    {
      key: "size",
      title: "Size",
      width: "96px",
      isEnd: true,
      render: (row) => bytes(row.sizeBytes),
      field: "sizeBytes",
    },
    {
      key: "name",
      title: "Result of",
      width: "minmax(120px, 1fr)",
      render: (row) => row.name ?? dash,
      field: "name",
    },
    {
      key: "site",
      title: "Call site",
      width: "minmax(160px, 1.5fr)",
      isMono: true,
      phone: "hide",
      render: (row) => (row.callSite === null ? dash : <span title={row.callSite}>{shortSite(row.callSite)}</span>),
      field: "callSite",
    },
    {
      key: "holds",
      title: "Held by",
      width: "minmax(130px, 1.2fr)",
      render: (row) => (
        <span title={row.holders.join("\n")}>
          {row.holders[0] ?? (row.holds === 0 ? "nobody" : count(row.holds))}
          {row.holds > 1 && row.holders.length > 0 && <span className="muted"> +{count(row.holds - 1)}</span>}
        </span>
      ),
      field: "holds",
    },
    {
      key: "owner",
      title: "Owner",
      width: "80px",
      isEnd: true,
      phone: "hide",
      render: (row) => row.ownerPid ?? dash,
      field: "ownerPid",
    },
    {
      key: "nodes",
      title: "Copies on",
      width: "minmax(90px, 130px)",
      phone: "hide",
      render: (row) => (
        <>
          <NodeLink id={row.nodes[0] ?? null} />
          {row.nodes.length > 1 && <span className="muted"> +{row.nodes.length - 1}</span>}
        </>
      ),
      field: "nodes",
    },
    {
      key: "created",
      title: "Created",
      width: "100px",
      isEnd: true,
      render: (row) => <Ago atMs={row.createdAtMs} />,
      field: "createdAtMs",
    },
  ],
  empty: (
    <Empty title="No objects">
      Results of tasks and what <code>put(value)</code> stored, as long as somebody holds a reference.
    </Empty>
  ),
};

export const groupsSpec: ListSpec<GroupRow> = {
  kind: "placement-groups",
  noun: "placement groups",
  textKey: "name",
  textTitle: "Name contains",
  choice: {
    key: "state",
    title: "State",
    values: ["pending", "created", "rescheduling", "removed", "infeasible"],
  },
  fields: ["placementGroupId", "strategy", "jobId", "isDetached"],
  idOf: (row) => row.placementGroupId,
  linkOf: (row) => href(["placement-groups", row.placementGroupId]),
  columns: [
    {
      key: "name",
      title: "Group",
      width: "minmax(150px, 1fr)",
      phone: "title",
      render: (row) => row.name ?? <span className="mono">{shortId(row.placementGroupId)}</span>,
      field: "name",
    },
    {
      key: "state",
      title: "State",
      width: "124px",
      phone: "state",
      render: (row) => <State state={row.state} />,
      field: "state",
    },
    { key: "strategy", title: "Strategy", width: "140px", render: (row) => row.strategy, field: "strategy" },
    {
      key: "bundles",
      title: "Bundles placed",
      width: "minmax(130px, 170px)",
      render: (row) => {
        const placed = row.bundles.filter(({ nodeId }) => nodeId !== null).length;
        return <InlineMeter used={placed} total={row.bundles.length} text={`${placed} of ${row.bundles.length}`} />;
      },
      field: "bundles",
    },
    {
      key: "wants",
      title: "Each wants",
      width: "minmax(150px, 1fr)",
      phone: "hide",
      render: (row) => resourceList(row.bundles[0]?.resources ?? {}),
    },
    {
      key: "job",
      title: "Job",
      width: "100px",
      isMono: true,
      render: (row) => <IdLink kind="jobs" id={row.jobId} />,
      field: "jobId",
    },
    {
      key: "created",
      title: "Created",
      width: "110px",
      isEnd: true,
      render: (row) => <Ago atMs={row.createdAtMs} />,
      field: "createdAtMs",
    },
  ],
  empty: (
    <Empty title="No placement groups">
      Resources that are reserved together, for gangs: <code>{"placementGroup([{ cpu: 1 }, { cpu: 1 }])"}</code>
    </Empty>
  ),
};

export const logsSpec: ListSpec<LogRow> = {
  kind: "logs",
  noun: "files",
  textKey: "file",
  textTitle: "File name contains",
  fields: ["nodeId", "sizeBytes", "modifiedAtMs"],
  idOf: (row) => row.logId,
  linkOf: (row) => href(["logs", row.logId]),
  columns: [
    {
      key: "file",
      title: "File",
      width: "minmax(240px, 2fr)",
      isMono: true,
      phone: "title",
      render: (row) => row.file,
      field: "file",
    },
    {
      key: "size",
      title: "Size",
      width: "110px",
      isEnd: true,
      render: (row) => bytes(row.sizeBytes),
      field: "sizeBytes",
    },
    {
      key: "modified",
      title: "Last written",
      width: "120px",
      isEnd: true,
      render: (row) => <Ago atMs={row.modifiedAtMs} />,
      field: "modifiedAtMs",
    },
    {
      key: "node",
      title: "Node",
      width: "minmax(130px, 1fr)",
      render: (row) => <NodeLink id={row.nodeId} />,
      field: "nodeId",
    },
  ],
  empty: (
    <Empty title="No logs">
      What workers, drivers and nodes print, and the output of submitted jobs, is kept in files on their machines.
    </Empty>
  ),
};
