/** A job as the HTTP API lists it. */
import type { JobRow } from "../state/rows.ts";
import type { KnownJob } from "./known-jobs.ts";

export function jobRowOf({ record, driver }: KnownJob, message: string | null = record.message): JobRow {
  const { spec } = record;
  return {
    jobId: driver?.jobId ?? record.jobId,
    submissionId: spec.submissionId,
    kind: "submission",
    status: record.status,
    name: spec.metadata.job_name ?? spec.metadata.name ?? null,
    entrypoint: spec.entrypoint,
    message,
    errorType: record.errorType,
    nodeId: record.nodeId,
    driverPid: driver?.pid ?? record.pid,
    exitCode: record.exitCode,
    attempt: record.attempt,
    metadata: { ...spec.metadata },
    namespace: driver?.namespace ?? null,
    startedAtMs: Math.round(record.submittedAtMs),
    endedAtMs: record.endedAtMs === null ? null : Math.round(record.endedAtMs),
  };
}
