/** One job: what it did, its output, its functions, its time. */
import { lazy, Suspense, useRef, useState } from "react";
import { ApiError, request } from "../api.ts";
import { count, duration, NONE } from "../format.ts";
import { ListView, Related } from "../list-page.tsx";
import { LogView, logOf } from "../log-view.tsx";
import { Ago, Card, Facts, Failure, NodeLink, Tabs } from "../parts.tsx";
import { ProgressOfJob } from "../progress.tsx";
import { href, navigate, useParams } from "../router.ts";
import type { JobRow } from "../rows.ts";
import { refreshAll } from "../use-query.ts";
import { Detail, DetailHead } from "./details.tsx";
import { actorsSpec, jobKey, jobTitle, tasksSpec, workersSpec } from "./specs.tsx";

const GraphView = lazy(() => import("../graph/graph-view.tsx"));
const TimelineView = lazy(() => import("../timeline/timeline-view.tsx"));

export function JobPage({ id }: { id: string }) {
  const [params] = useParams();
  const tab = params.get("tab") ?? "facts";
  return (
    <Detail<JobRow> path={`jobs/${encodeURIComponent(id)}`} what="job">
      {(row, refresh) => {
        const isSubmitted = row.submissionId !== null;
        const tabs: (readonly [string, string])[] = [
          ["facts", "Overview"],
          ...(isSubmitted ? [["logs", "Output"] as const] : []),
          ...(row.jobId === null
            ? []
            : ([
                ["worker-logs", "Logs"],
                ["tasks", "Attempts"],
                ["graph", "Graph"],
                ["timeline", "Timeline"],
              ] as const)),
        ];
        return (
          <>
            <DetailHead
              kind="jobs"
              kindTitle="Jobs"
              id={jobKey(row)}
              title={jobTitle(row)}
              state={row.status}
              actions={<Actions row={row} refresh={refresh} />}
            />
            <Tabs
              tabs={tabs}
              current={tab}
              linkTo={(key) => href(["jobs", id], { tab: key === "facts" ? undefined : key })}
            />
            {row.status === "pending" && row.message !== null && (
              <div className="notice wait">
                <span className="wrap">
                  <strong>It waits:</strong> {row.message}
                </span>
              </div>
            )}
            {tab === "facts" && <JobFacts row={row} />}
            {tab === "logs" && (
              <div className="job-pane">
                <LogView source={{ path: `jobs/${encodeURIComponent(id)}/logs`, isOutput: true }} />
              </div>
            )}
            {tab === "worker-logs" && row.jobId !== null && (
              <div className="job-pane">
                <LogView key="worker-logs" source={logOf(row.jobId)} />
              </div>
            )}
            {tab === "tasks" && row.jobId !== null && (
              <div className="job-pane">
                <ListView spec={tasksSpec} fixed={[`jobId=${row.jobId}`]} />
              </div>
            )}
            <Suspense fallback={<div className="skeleton">Loading…</div>}>
              {tab === "graph" && (
                <div className="job-pane">
                  <GraphView job={row.jobId ?? ""} />
                </div>
              )}
              {tab === "timeline" && (
                <div className="job-pane">
                  <TimelineView job={row.jobId ?? ""} />
                </div>
              )}
            </Suspense>
          </>
        );
      }}
    </Detail>
  );
}

function JobFacts({ row }: { row: JobRow }) {
  const jobId = row.jobId;
  return (
    <>
      {row.status === "failed" && (
        <div className="notice bad">
          <span className="wrap">
            <strong>{row.errorType ?? "It failed"}:</strong> {row.message ?? "no message was left"}
          </span>
        </div>
      )}
      {jobId !== null && <ProgressOfJob job={jobId} />}
      <Card title="Facts">
        <Facts
          facts={[
            { name: "Entrypoint", value: <code className="wrap">{row.entrypoint}</code>, wide: true },
            { name: "Kind", value: row.kind === "driver" ? "a driver that joined by itself" : "submitted" },
            { name: "Job id", value: jobId === null ? "it has not joined yet" : <code>{jobId}</code> },
            { name: "Driver runs on", value: <NodeLink id={row.nodeId} /> },
            { name: "Driver's pid", value: row.driverPid ?? NONE },
            { name: "Started", value: <Ago atMs={row.startedAtMs} /> },
            { name: "Ended", value: <Ago atMs={row.endedAtMs} /> },
            { name: "Took", value: row.endedAtMs === null ? NONE : duration(row.endedAtMs - row.startedAtMs) },
            { name: "Exit code", value: row.exitCode ?? NONE },
            { name: "Attempt", value: count(row.attempt) },
            { name: "Namespace", value: row.namespace ?? NONE },
            row.message !== null &&
              row.status !== "failed" &&
              row.status !== "pending" && { name: "Message", value: row.message, wide: true },
            Object.keys(row.metadata).length > 0 && {
              name: "Metadata",
              value: Object.entries(row.metadata)
                .map(([key, value]) => `${key}: ${value}`)
                .join(", "),
              wide: true,
            },
          ]}
        />
      </Card>
      {jobId !== null && (
        <>
          <Related
            spec={tasksSpec}
            filters={[`jobId=${jobId}`, "state=running"]}
            title="Running now"
            more={href(["tasks"], { filter: [`jobId=${jobId}`] })}
          />
          <Related
            spec={tasksSpec}
            filters={[`jobId=${jobId}`, "state=failed"]}
            title="Failed"
            more={href(["tasks"], { filter: [`jobId=${jobId}`, "state=failed"] })}
          />
          <Related
            spec={actorsSpec}
            filters={[`jobId=${jobId}`]}
            title="Actors"
            more={href(["actors"], { filter: `jobId=${jobId}` })}
          />
          <Related
            spec={workersSpec}
            filters={[`jobId=${jobId}`]}
            title="Workers"
            more={href(["workers"], { filter: `jobId=${jobId}` })}
          />
        </>
      )}
    </>
  );
}

type Order = "stop" | "delete";

function Actions({ row, refresh }: { row: JobRow; refresh: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [order, setOrder] = useState<Order>("stop");
  const [error, setError] = useState<ApiError | undefined>(undefined);
  const [isBusy, setBusy] = useState(false);
  if (row.submissionId === null) return null;
  const id = encodeURIComponent(row.submissionId);
  const isActive = row.status === "pending" || row.status === "running";
  const open = (next: Order) => {
    setOrder(next);
    setError(undefined);
    dialog.current?.showModal();
  };
  const carryOut = async () => {
    setBusy(true);
    try {
      await request(order === "stop" ? `jobs/${id}/stop` : `jobs/${id}`, {
        method: order === "stop" ? "POST" : "DELETE",
      });
      dialog.current?.close();
      refreshAll("jobs");
      if (order === "delete") navigate(href(["jobs"]));
      else refresh();
    } catch (failure) {
      setError(failure instanceof ApiError ? failure : new ApiError(0, "INTERNAL", String(failure)));
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      {isActive ? (
        <button type="button" className="button danger" onClick={() => open("stop")}>
          Stop…
        </button>
      ) : (
        <button type="button" className="button danger" onClick={() => open("delete")}>
          Delete…
        </button>
      )}
      <dialog ref={dialog} aria-labelledby="order-title">
        <div className="card-head">
          <h2 id="order-title">{order === "stop" ? "Stop this job?" : "Delete this job?"}</h2>
        </div>
        <div className="card-body">
          <p className="wrap">
            {order === "stop"
              ? "Its driver is asked to end, then ended by force. Its tasks and actors end with it."
              : "Its record and its output are removed. This cannot be undone."}
          </p>
          <p>
            <code className="wrap">{row.submissionId}</code>
          </p>
          {error !== undefined && <Failure error={error} hasData={false} />}
          <div className="actions">
            <button type="button" className="button" onClick={() => dialog.current?.close()}>
              Keep it
            </button>
            <button type="button" className="button danger" disabled={isBusy} onClick={() => void carryOut()}>
              {order === "stop" ? "Stop it" : "Delete it"}
            </button>
          </div>
        </div>
      </dialog>
    </>
  );
}
