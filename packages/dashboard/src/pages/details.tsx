/** Pages of one thing each. */
import type { ReactNode } from "react";
import { type List, listPath } from "../api.ts";
import { amount, bytes, count, duration, NONE, percent, resourceList, shortId } from "../format.ts";
import { Related } from "../list-page.tsx";
import { PastHour } from "../node-charts.tsx";
import {
  Ago,
  Bar,
  Card,
  CopyId,
  Facts,
  Failure,
  IdLink,
  type LinkKind,
  NodeLink,
  ResourceMeter,
  State,
  type Tone,
} from "../parts.tsx";
import { href } from "../router.ts";
import type { ActorRow, GroupRow, NodeRow, ObjectRow, TaskRow, WorkerRow } from "../rows.ts";
import { useQuery } from "../use-query.ts";
import { Gpus } from "./gpus.tsx";
import { Inspect } from "./inspect.tsx";
import { actorsSpec, isViolent, logsSpec, objectsSpec, tasksSpec, workersSpec } from "./specs.tsx";
import { Why } from "./why.tsx";

interface HeadProps {
  readonly kind: LinkKind;
  readonly kindTitle: string;
  readonly title: ReactNode;
  readonly id: string;
  readonly state: string;
  readonly tone?: Tone;
  readonly actions?: ReactNode;
}

function LogButton({ id }: { id: string }) {
  return (
    <a className="button" href={href(["logs", id])}>
      Log
    </a>
  );
}

export function DetailHead({ kind, kindTitle, title, id, state, tone, actions }: HeadProps) {
  return (
    <>
      <nav className="crumbs" aria-label="Breadcrumb">
        <a href={href([kind])}>{kindTitle}</a>
        <span aria-hidden="true">/</span>
        <CopyId id={id} />
      </nav>
      <div className="page-head">
        <h1>{title}</h1>
        <State state={state} {...(tone === undefined ? {} : { tone })} />
        {actions !== undefined && <div className="actions">{actions}</div>}
      </div>
    </>
  );
}

/** Asks for one row, and shows it, or why it is not there. */
export function Detail<R>({
  path,
  what,
  children,
}: {
  path: string;
  what: string;
  children: (row: R, refresh: () => void) => ReactNode;
}) {
  const { data, error, refresh } = useQuery<R>(path, 2000);
  return (
    <div className="page">
      {error !== undefined && (
        <>
          {data === undefined && (
            <h1>{error.status === 404 ? `There is no such ${what}` : `This ${what} cannot be shown`}</h1>
          )}
          <Failure error={error} hasData={data !== undefined} retry={refresh} />
          {error.status === 404 && (
            <p className="muted">
              It may have ended long ago: the last million attempts are kept, and what is gone is not listed.{" "}
              <a href={href([path.split("/")[0] ?? ""])}>See all of them</a>
            </p>
          )}
        </>
      )}
      {data === undefined && error === undefined && <div className="skeleton">Loading…</div>}
      {data !== undefined && children(data, refresh)}
    </div>
  );
}

const path = (kind: string, id: string) => `${kind}/${encodeURIComponent(id)}`;

export function NodePage({ id }: { id: string }) {
  return (
    <Detail<NodeRow> path={path("nodes", id)} what="node">
      {(row) => (
        <>
          <DetailHead
            kind="nodes"
            kindTitle="Nodes"
            id={row.nodeId}
            title={row.name}
            state={row.state}
            {...(row.state === "dead" ? { tone: "bad" as const } : {})}
          />
          <div className="columns">
            <div>
              <Card title="Facts">
                <Facts
                  facts={[
                    { name: "Address", value: row.address === null ? "it only dials out" : <code>{row.address}</code> },
                    { name: "Started", value: <Ago atMs={row.startedAtMs} /> },
                    { name: "Worker processes", value: count(row.workers) },
                    { name: "Runs the head", value: row.isHead ? "yes" : "no" },
                    {
                      name: "Labels",
                      value:
                        Object.entries(row.labels)
                          .map(([key, value]) => `${key}=${value}`)
                          .join(", ") || NONE,
                      wide: true,
                    },
                  ]}
                />
              </Card>
            </div>
            <div>
              <Card title="Machine and leases">
                <div className="meters">
                  {row.cpuPercent !== null && (
                    <div>
                      <div className="meter-head">
                        <span>Cores busy</span>
                        <span>{percent(row.cpuPercent)}</span>
                      </div>
                      <Bar used={row.cpuPercent} total={100} />
                    </div>
                  )}
                  {row.memoryUsedBytes !== null && row.memoryTotalBytes !== null && (
                    <ResourceMeter
                      name="Memory of the machine"
                      used={row.memoryUsedBytes}
                      total={row.memoryTotalBytes}
                    />
                  )}
                  <ResourceMeter name="Store, object memory" used={row.storeUsedBytes} total={row.storeCapacityBytes} />
                  {row.storeSpilledBytes > 0 && (
                    <p className="muted small">{bytes(row.storeSpilledBytes)} spilled to disk</p>
                  )}
                  {Object.entries(row.resources).map(([name, total]) => (
                    <ResourceMeter
                      key={name}
                      name={`${name}, leased`}
                      used={total - (row.available[name] ?? 0)}
                      total={total}
                    />
                  ))}
                </div>
              </Card>
            </div>
          </div>
          {row.gpus.length > 0 && <Gpus gpus={row.gpus} />}
          <PastHour nodeId={row.nodeId} />
          <Related
            spec={workersSpec}
            filters={[`nodeId=${row.nodeId}`]}
            without={["node"]}
            title="Workers"
            more={href(["workers"], { filter: `nodeId=${row.nodeId}` })}
          />
          <Related
            spec={tasksSpec}
            filters={[`nodeId=${row.nodeId}`, "state=running"]}
            without={["node"]}
            title="Running here"
            more={href(["tasks"], { filter: `nodeId=${row.nodeId}` })}
          />
          <Related
            spec={logsSpec}
            filters={[`nodeId=${row.nodeId}`]}
            without={["node"]}
            title="Logs"
            more={href(["logs"], { filter: `nodeId=${row.nodeId}` })}
          />
        </>
      )}
    </Detail>
  );
}

export function WorkerPage({ id }: { id: string }) {
  return (
    <Detail<WorkerRow> path={path("workers", id)} what="worker">
      {(row) => (
        <>
          <DetailHead
            kind="workers"
            kindTitle="Workers"
            id={row.workerId}
            title={`${row.kind} ${row.pid}`}
            state={row.state}
            actions={<LogButton id={`pid:${row.pid}`} />}
          />
          <Card title="Facts">
            <Facts
              facts={[
                { name: "Node", value: <NodeLink id={row.nodeId} /> },
                { name: "Pid", value: row.pid },
                {
                  name: "Runs",
                  value:
                    row.taskId === null ? (
                      (row.task ?? NONE)
                    ) : (
                      <IdLink kind="tasks" id={row.taskId} text={row.task ?? shortId(row.taskId)} />
                    ),
                },
                { name: "For", value: duration(row.runningForMs) },
                { name: "Core", value: percent(row.cpuPercent) },
                { name: "Memory", value: bytes(row.memoryBytes) },
                { name: "Job", value: <IdLink kind="jobs" id={row.jobId} /> },
                {
                  name: "Actors in it",
                  value:
                    row.actors === 0 ? (
                      "none"
                    ) : (
                      <>
                        <IdLink kind="actors" id={row.actorId} />
                        {row.actors > 1 && ` and ${row.actors - 1} more`}
                      </>
                    ),
                },
                { name: "Started", value: <Ago atMs={row.startedAtMs} /> },
              ]}
            />
          </Card>
          {row.state !== "dead" && <Inspect nodeId={row.nodeId} pid={row.pid} />}
          <Related
            spec={tasksSpec}
            filters={[`workerId=${row.workerId}`]}
            without={["node", "pid"]}
            title="What ran in it"
            more={href(["tasks"], { filter: `workerId=${row.workerId}` })}
          />
          <Related
            spec={logsSpec}
            filters={[`nodeId=${row.nodeId}`, `file~${row.pid}`]}
            title="Logs"
            more={href(["logs"], { filter: `file~${row.pid}` })}
          />
        </>
      )}
    </Detail>
  );
}

export function ActorPage({ id }: { id: string }) {
  return (
    <Detail<ActorRow> path={path("actors", id)} what="actor">
      {(row) => (
        <>
          <DetailHead
            kind="actors"
            kindTitle="Actors"
            id={row.actorId}
            title={row.name === null ? row.className : `${row.name} · ${row.className}`}
            state={row.state}
            {...(isViolent(row.deathCause) ? { tone: "bad" as const } : {})}
            actions={<LogButton id={row.actorId} />}
          />
          {row.deathCause !== null && (
            <div className={`notice ${isViolent(row.deathCause) ? "bad" : ""}`}>
              <span>
                <strong>Cause of death:</strong> {row.deathCause}
              </span>
            </div>
          )}
          <div className="columns">
            <div>
              <Card title="Facts">
                <Facts
                  facts={[
                    { name: "Node", value: <NodeLink id={row.nodeId} /> },
                    {
                      name: "Process",
                      value:
                        row.workerId === null ? (
                          (row.pid ?? NONE)
                        ) : (
                          <IdLink kind="workers" id={row.workerId} text={`pid ${row.pid ?? "?"}`} />
                        ),
                    },
                    { name: "Job", value: <IdLink kind="jobs" id={row.jobId} /> },
                    { name: "Namespace", value: row.namespace },
                    {
                      name: "Restarts",
                      value: `${row.restarts} of ${row.maxRestarts < 0 ? "any number" : row.maxRestarts}`,
                    },
                    { name: "Resources", value: resourceList(row.resources) },
                    { name: "Placement group", value: <IdLink kind="placement-groups" id={row.placementGroupId} /> },
                    {
                      name: "Lives",
                      value: row.isDetached ? "detached: until it is killed" : "as long as somebody holds it",
                    },
                    { name: "Process shared", value: row.isShared ? "yes" : "no" },
                    { name: "Created", value: <Ago atMs={row.createdAtMs} /> },
                    { name: "In this state", value: <Ago atMs={row.stateSinceMs} /> },
                  ]}
                />
              </Card>
            </div>
            <div>
              <Why id={row.actorId} />
            </div>
          </div>
          {row.state === "alive" && row.nodeId !== null && row.pid !== null && (
            <Inspect nodeId={row.nodeId} pid={row.pid} />
          )}
          <Related
            spec={tasksSpec}
            filters={[`actorId=${row.actorId}`]}
            without={["node", "kind"]}
            title="Calls"
            more={href(["tasks"], { filter: `actorId=${row.actorId}` })}
          />
        </>
      )}
    </Detail>
  );
}

export function TaskPage({ id }: { id: string }) {
  return (
    <Detail<List<TaskRow>> path={listPath("tasks", [`taskId=${id}`], 1000)} what="task">
      {({ rows }) => {
        const attempts = [...rows].sort((a, b) => a.attempt - b.attempt);
        const last = attempts.at(-1);
        if (last === undefined) return <UnknownTask id={id} />;
        return (
          <>
            <DetailHead
              kind="tasks"
              kindTitle="Tasks"
              id={last.taskId}
              title={last.name}
              state={last.state}
              actions={<LogButton id={last.taskId} />}
            />
            {last.error !== null && (
              <div className="notice bad">
                <span className="mono wrap">{last.error}</span>
              </div>
            )}
            <div className="columns">
              <div>
                <Card title={attempts.length > 1 ? `Attempt ${last.attempt}, the last` : "Facts"}>
                  <Facts
                    facts={[
                      { name: "Kind", value: last.kind },
                      { name: "Job", value: <IdLink kind="jobs" id={last.jobId} /> },
                      last.actorId !== null && { name: "Actor", value: <IdLink kind="actors" id={last.actorId} /> },
                      { name: "Node", value: <NodeLink id={last.nodeId} /> },
                      {
                        name: "Process",
                        value:
                          last.workerId === null ? (
                            (last.workerPid ?? NONE)
                          ) : (
                            <IdLink kind="workers" id={last.workerId} text={`pid ${last.workerPid ?? "?"}`} />
                          ),
                      },
                      { name: "Submitted by", value: `pid ${last.ownerPid}` },
                      last.parentId !== null && {
                        name: "Parent",
                        value: IS_TASK.test(last.parentId) ? (
                          <IdLink kind="tasks" id={last.parentId} text={last.parentName ?? "a task"} />
                        ) : (
                          <IdLink kind="workers" id={last.parentId} text={last.parentName ?? "the program itself"} />
                        ),
                      },
                      { name: "Submitted", value: <Ago atMs={last.submittedAtMs} /> },
                      { name: "Ran", value: duration(last.ranMs) },
                    ]}
                  />
                </Card>
                <Card title="Where the time went">
                  <Stages row={last} />
                </Card>
              </div>
              <div>
                <Why id={last.taskId} />
              </div>
            </div>
            {attempts.length > 1 && (
              <Card title={`${attempts.length} attempts`} flush>
                <div className="scroll-x">
                  <table className="simple">
                    <thead>
                      <tr>
                        <th scope="col">Attempt</th>
                        <th scope="col">State</th>
                        <th scope="col">Process</th>
                        <th scope="col" className="end">
                          Ran
                        </th>
                        <th scope="col">Error</th>
                      </tr>
                    </thead>
                    <tbody>
                      {attempts.map((row) => (
                        <tr key={row.attempt}>
                          <td>{row.attempt}</td>
                          <td>
                            <State state={row.state} />
                          </td>
                          <td>
                            {row.workerId === null ? (
                              NONE
                            ) : (
                              <IdLink kind="workers" id={row.workerId} text={`pid ${row.workerPid ?? "?"}`} />
                            )}
                          </td>
                          <td className="end nowrap">{duration(row.ranMs)}</td>
                          <td className="wrap mono small">{row.error ?? NONE}</td>
                        </tr>
                      ))}
                    </tbody>
                  </table>
                </div>
              </Card>
            )}
            {last.state === "running" && last.nodeId !== null && last.workerPid !== null && (
              <Inspect nodeId={last.nodeId} pid={last.workerPid} />
            )}
            <Related
              spec={tasksSpec}
              filters={[`parentId=${last.taskId}`]}
              title="What it submitted"
              more={href(["tasks"], { filter: `parentId=${last.taskId}` })}
            />
          </>
        );
      }}
    </Detail>
  );
}

const IS_TASK = /^[0-9a-f]{48}$/;

/** It may wait with its owner, which knows why. */
function UnknownTask({ id }: { id: string }) {
  return (
    <>
      <h1>There is no attempt of this task</h1>
      <p className="muted">
        None is running, and none of the last million that have ended is of <code className="wrap">{id}</code>.{" "}
        <a href={href(["tasks"])}>See all of them</a>
      </p>
      <Why id={id} />
    </>
  );
}

/** From one time to the next, as far as they are known. */
function Stages({ row }: { row: TaskRow }) {
  const ended = row.finishedAtMs;
  const marks: readonly (readonly [string, number | null, number | null, Tone])[] = [
    ["waited for arguments", row.submittedAtMs, row.readyAtMs, "wait"],
    ["waited for a worker", row.readyAtMs, row.sentAtMs, "wait"],
    ["on its way", row.sentAtMs, row.startedAtMs, "off"],
    [
      "ran",
      row.startedAtMs,
      row.ranMs === null || row.startedAtMs === null ? ended : row.startedAtMs + row.ranMs,
      "run",
    ],
    [
      "result came back",
      row.ranMs === null || row.startedAtMs === null ? null : row.startedAtMs + row.ranMs,
      ended,
      "off",
    ],
  ];
  const known = marks.flatMap(([name, from, to, tone]) =>
    from === null || to === null ? [] : [{ name, ms: Math.max(0, to - from), tone }],
  );
  const total = known.reduce((sum, { ms }) => sum + ms, 0);
  if (known.length === 0) return <p className="muted">It has not got far enough to say.</p>;
  return (
    <div className="meters">
      <span className="bar" style={{ height: 10 }} aria-hidden="true">
        {known.map(({ name, ms, tone }) => (
          <span key={name} className={tone} style={{ width: `${total === 0 ? 0 : (ms / total) * 100}%` }} />
        ))}
      </span>
      <Facts facts={known.map(({ name, ms }) => ({ name, value: duration(ms) }))} />
    </div>
  );
}

/** Others are known to their node only, as `f8f083d2.3y283za`. */
const IS_WHOLE_ID = /^[0-9a-f]{56}$/;

export function ObjectPage({ id }: { id: string }) {
  return (
    <Detail<ObjectRow> path={path("objects", id)} what="object">
      {(row) => (
        <>
          <DetailHead
            kind="objects"
            kindTitle="Objects"
            id={row.objectId}
            title={row.name ?? "Object"}
            state={row.state}
          />
          <div className="columns">
            <div>
              <Card title="Facts">
                <Facts
                  facts={[
                    { name: "Size", value: bytes(row.sizeBytes) },
                    { name: "Created", value: <Ago atMs={row.createdAtMs} /> },
                    { name: "Owner", value: row.ownerPid === null ? NONE : `pid ${row.ownerPid}` },
                    { name: "Known to", value: <NodeLink id={row.ownerNodeId} /> },
                    { name: "Job", value: <IdLink kind="jobs" id={row.jobId} /> },
                    IS_WHOLE_ID.test(row.objectId) && {
                      name: "Task that makes it",
                      value: <IdLink kind="tasks" id={row.objectId.slice(0, 48)} />,
                    },
                    { name: "Call site", value: <code className="wrap">{row.callSite ?? NONE}</code>, wide: true },
                  ]}
                />
              </Card>
              <Card title={`Held by ${count(row.holds)}`}>
                {row.holders.length === 0 ? (
                  <p className="muted">
                    {row.holds === 0 ? "Nobody but its owner, as far as its node knows." : "Who they are is not known."}
                  </p>
                ) : (
                  <ul className="sentences">
                    {row.holders.map((holder) => (
                      <li key={holder}>{holder}</li>
                    ))}
                    {row.holds > row.holders.length && (
                      <li className="muted">and {count(row.holds - row.holders.length)} more</li>
                    )}
                  </ul>
                )}
              </Card>
              <Card title="Copies">
                {row.nodes.length === 0 ? (
                  <p className="muted">No node has a copy.</p>
                ) : (
                  <ul className="sentences">
                    {row.nodes.map((node) => (
                      <li key={node}>
                        <NodeLink id={node} />
                      </li>
                    ))}
                  </ul>
                )}
              </Card>
            </div>
            <div>{IS_WHOLE_ID.test(row.objectId) && <Why id={row.objectId} />}</div>
          </div>
          {row.callSite !== null && (
            <Related
              spec={objectsSpec}
              filters={[`callSite=${row.callSite}`]}
              title="From the same call site"
              more={href(["objects"], { tab: "all", filter: `callSite=${row.callSite}` })}
            />
          )}
        </>
      )}
    </Detail>
  );
}

export function GroupPage({ id }: { id: string }) {
  return (
    <Detail<GroupRow> path={path("placement-groups", id)} what="placement group">
      {(row) => (
        <>
          <DetailHead
            kind="placement-groups"
            kindTitle="Placement groups"
            id={row.placementGroupId}
            title={row.name ?? shortId(row.placementGroupId)}
            state={row.state}
          />
          <div className="columns">
            <div>
              <Card title="Facts">
                <Facts
                  facts={[
                    { name: "Strategy", value: row.strategy },
                    { name: "Job", value: <IdLink kind="jobs" id={row.jobId} /> },
                    { name: "Lives", value: row.isDetached ? "detached: until it is removed" : "as long as its job" },
                    { name: "Created", value: <Ago atMs={row.createdAtMs} /> },
                  ]}
                />
              </Card>
              <Card title={`${row.bundles.length} bundles`} flush>
                <div className="scroll-x">
                  <table className="simple">
                    <thead>
                      <tr>
                        <th scope="col">Bundle</th>
                        <th scope="col">Node</th>
                        <th scope="col">Resources</th>
                      </tr>
                    </thead>
                    <tbody>
                      {row.bundles.map(({ index, nodeId, resources }) => (
                        <tr key={index}>
                          <td>{index}</td>
                          <td>
                            {nodeId === null ? <span className="muted">not placed</span> : <NodeLink id={nodeId} />}
                          </td>
                          <td>
                            {Object.entries(resources)
                              .map(([name, value]) => `${amount(name, value)} ${name}`)
                              .join(", ")}
                          </td>
                        </tr>
                      ))}
                    </tbody>
                  </table>
                </div>
              </Card>
            </div>
            <div>
              <Why id={row.placementGroupId} />
            </div>
          </div>
          <Related
            spec={actorsSpec}
            filters={[`placementGroupId=${row.placementGroupId}`]}
            title="Actors in it"
            more={href(["actors"], { filter: `placementGroupId=${row.placementGroupId}` })}
          />
        </>
      )}
    </Detail>
  );
}
