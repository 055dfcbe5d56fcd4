/** Tasks: attempts with filters, by function, as a graph, over time. */
import { lazy, Suspense } from "react";
import { type List, listPath } from "../api.ts";
import { count, duration, NONE } from "../format.ts";
import { ListView } from "../list-page.tsx";
import { Empty, Failure, Tabs } from "../parts.tsx";
import { href, useParams } from "../router.ts";
import { type JobRow, type TaskSummaryRow, taskStates } from "../rows.ts";
import { type Column, Table } from "../table.tsx";
import { useQuery } from "../use-query.ts";
import { jobKey, jobsSpec, jobTitle, tasksSpec } from "./specs.tsx";

const GraphView = lazy(() => import("../graph/graph-view.tsx"));
const TimelineView = lazy(() => import("../timeline/timeline-view.tsx"));

const tabs = [
  ["list", "Attempts"],
  ["functions", "By function"],
  ["graph", "Graph"],
  ["timeline", "Timeline"],
] as const;

export function TasksPage() {
  const [params, setParams] = useParams();
  const tab = tabs.find(([key]) => key === params.get("tab"))?.[0] ?? "list";
  const isOfJob = tab === "graph" || tab === "timeline";
  const { data, error } = useQuery<List<JobRow>>(isOfJob ? listPath("jobs", [], 200) : null, 10_000);
  const jobs = (data?.rows ?? [])
    .filter(({ jobId }) => jobId !== null)
    .sort((a, b) => Number(b.status === "running") - Number(a.status === "running") || b.startedAtMs - a.startedAtMs);
  // Without a choice the newest job that runs, or else the newest.
  const job = params.get("job") ?? jobs[0]?.jobId ?? "";
  return (
    <div className="page fills">
      <div className="page-head">
        <h1>Tasks</h1>
        {isOfJob && job !== "" && (
          <div className="actions">
            <select aria-label="Job" value={job} onChange={(event) => setParams({ job: event.target.value, t: "" })}>
              {!jobs.some(({ jobId }) => jobId === job) && <option value={job}>{job}</option>}
              {jobs.map((row) => (
                <option key={jobKey(row)} value={row.jobId ?? ""}>
                  {jobTitle(row)} ({row.status})
                </option>
              ))}
            </select>
          </div>
        )}
      </div>
      <Tabs
        tabs={tabs}
        current={tab}
        linkTo={(key) =>
          href(["tasks"], { tab: key === "list" ? undefined : key, job: params.get("job") ?? undefined })
        }
      />
      {tab === "list" && <ListView spec={tasksSpec} />}
      {tab === "functions" && <Functions />}
      {isOfJob && error !== undefined && <Failure error={error} hasData={data !== undefined} />}
      {isOfJob && data !== undefined && job === "" && <div className="card">{jobsSpec.empty}</div>}
      {isOfJob && job !== "" && (
        <Suspense fallback={<div className="skeleton">Loading…</div>}>
          {tab === "graph" ? <GraphView key={job} job={job} /> : <TimelineView key={job} job={job} />}
        </Suspense>
      )}
    </div>
  );
}

const functionColumns: readonly Column<TaskSummaryRow>[] = [
  {
    key: "name",
    title: "Function",
    width: "minmax(180px, 2fr)",
    phone: "title",
    render: (row) => row.name,
    sort: (row) => row.name,
  },
  { key: "kind", title: "Kind", width: "112px", phone: "hide", render: (row) => row.kind, sort: (row) => row.kind },
  ...taskStates
    .filter((state) => state !== "preempted")
    .map((state): Column<TaskSummaryRow> => {
      const n = (row: TaskSummaryRow) => row.counts[state] ?? 0;
      const isRare = state === "waiting" || state === "lost" || state === "cancelled" || state === "queued";
      return {
        key: state,
        title: state,
        width: "82px",
        isEnd: true,
        ...(isRare ? { phone: "hide" as const } : {}),
        render: (row) =>
          n(row) === 0 ? (
            <span className="muted">{NONE}</span>
          ) : (
            <a href={href(["tasks"], { filter: [`name=${row.name}`, `state=${state}`] })}>{count(n(row))}</a>
          ),
        sort: n,
      };
    }),
  {
    key: "mean",
    title: "Mean",
    width: "78px",
    isEnd: true,
    render: (row) => duration(row.meanRunMs),
    sort: (row) => row.meanRunMs,
  },
  {
    key: "p95",
    title: "p95",
    width: "78px",
    isEnd: true,
    phone: "hide",
    render: (row) => duration(row.p95RunMs),
    sort: (row) => row.p95RunMs,
  },
];

function Functions() {
  const { data, error, refresh } = useQuery<{ readonly rows: readonly TaskSummaryRow[] }>("summary/tasks", 2000);
  return (
    <>
      <p className="muted">Exact counts of attempts since the cluster began; times of those that are kept.</p>
      {error !== undefined && <Failure error={error} hasData={data !== undefined} retry={refresh} />}
      {data !== undefined &&
        (data.rows.length === 0 ? (
          <div className="card">
            <Empty title="No function has run">
              Each call of a remote function or an actor is counted here by its name,{" "}
              <code>{"remote(work).remote(x)"}</code>
            </Empty>
          </div>
        ) : (
          <Table
            label="Functions"
            columns={functionColumns}
            rows={data.rows}
            idOf={(row) => `${row.kind} ${row.name}`}
            linkOf={(row) => href(["tasks"], { filter: `name=${row.name}` })}
            sortParam="sort"
          />
        ))}
    </>
  );
}
