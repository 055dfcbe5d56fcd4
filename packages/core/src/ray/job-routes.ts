/** Ray's Jobs REST API, as its command line and its Python SDK speak it; an adapter over the jobs of Mobula. */
import { constants } from "node:os";
import { type HttpBindings, upgradeWebSocket } from "@hono/node-server";
import { Hono } from "hono";
import type { WSContext } from "hono/ws";
import type { WebSocket } from "ws";
import { z } from "zod";
import { MobulaError } from "../base/errors.ts";
import { type JobManager, type KnownJob, newRaySubmissionId } from "../jobs/mod.ts";

/** The version of Ray whose API this is: its clients ask for it, and refuse servers that are too old for what they want. */
export const RAY_VERSION = "2.58.0";
/** Of the Jobs API itself. */
const API_VERSION = "4";
const OUTPUT_BYTES_MAX = 64 * 2 ** 20;
/** What waits for a client that reads slowly. */
const UNSENT_BYTES_MAX = 4 * 2 ** 20;
const LOOK_MS = 20;

const milliseconds = (seconds: number | undefined): number | undefined =>
  seconds === undefined ? undefined : seconds * 1_000;
const number = z.number().min(0).nullish();

const submission = z.object({
  entrypoint: z.string(),
  submission_id: z.string().nullish(),
  job_id: z.string().nullish(),
  runtime_env: z.record(z.string(), z.unknown()).nullish(),
  metadata: z.record(z.string(), z.string()).nullish(),
  entrypoint_num_cpus: number,
  entrypoint_num_gpus: number,
  entrypoint_memory: number,
  entrypoint_resources: z.record(z.string(), z.number().min(0)).nullish(),
  entrypoint_label_selector: z.record(z.string(), z.string()).nullish(),
  retry_policy: z
    .object({
      max_retries: z.number().int().min(-1).optional(),
      backoff: z
        .object({
          initial_delay_seconds: z.number().min(0).optional(),
          max_delay_seconds: z.number().min(0).optional(),
          multiplier: z.number().min(1).optional(),
        })
        .nullish(),
      no_retry_on_exit_codes: z.array(z.number().int()).nullish(),
    })
    .nullish(),
});

export interface RayJobsOptions {
  readonly manager: JobManager;
  /** Of this package. */
  readonly version: string;
}

export function rayJobRoutes({ manager, version }: RayJobsOptions): Hono<{ Bindings: HttpBindings }> {
  const app = new Hono<{ Bindings: HttpBindings }>();
  // Its clients print what comes with a status as it is.
  app.onError((error, context) => {
    if (!(error instanceof MobulaError)) throw error;
    const { code, kind, message } = error;
    if (code === "JOB_NOT_FOUND") return context.text(`Job ${context.req.param("id") ?? ""} does not exist`, 404);
    return context.text(message, kind === "invalid" ? 400 : 500);
  });

  app.get("/api/version", (context) =>
    context.json({
      version: API_VERSION,
      ray_version: RAY_VERSION,
      ray_commit: `mobula ${version}`,
      session_name: "mobula",
      mobula_version: version,
    }),
  );

  app.get("/api/packages/:protocol/:name", async (context) => {
    const found = await manager.packages.find(uriOf(context.req.param()));
    return found ? context.json({}, 200) : context.text(`Package ${context.req.param("name")} does not exist`, 404);
  });
  app.put("/api/packages/:protocol/:name", async (context) => {
    // Bytes as they come: a package may be larger than memory.
    const note = await manager.packages.add(uriOf(context.req.param()), context.env.incoming);
    return context.json({ ...(note !== undefined && { note }) }, 200);
  });

  app.on("POST", ["/api/jobs/", "/api/jobs"], async (context) => {
    const given = submission.safeParse(await context.req.json().catch(() => null));
    if (!given.success) {
      const [issue] = given.error.issues;
      return context.text(`${issue?.path.join(".") || "the request"}: ${issue?.message}`, 400);
    }
    const { data } = given;
    const { max_retries: maxRetries, backoff, no_retry_on_exit_codes: notOnExitCodes } = data.retry_policy ?? {};
    const { spec } = await manager.submit(
      {
        entrypoint: data.entrypoint,
        submissionId: data.submission_id ?? data.job_id ?? undefined,
        runtimeEnv: data.runtime_env ?? {},
        metadata: data.metadata ?? {},
        resources: {
          ...data.entrypoint_resources,
          cpu: data.entrypoint_num_cpus ?? 0,
          gpu: data.entrypoint_num_gpus ?? 0,
          memory: data.entrypoint_memory ?? 0,
        },
        labels: data.entrypoint_label_selector ?? {},
        retry: {
          maxRetries,
          delayMs: milliseconds(backoff?.initial_delay_seconds),
          maxDelayMs: milliseconds(backoff?.max_delay_seconds),
          multiplier: backoff?.multiplier,
          notOnExitCodes: notOnExitCodes ?? undefined,
        },
      },
      newRaySubmissionId,
    );
    return context.json({ job_id: spec.submissionId, submission_id: spec.submissionId });
  });
  app.on("GET", ["/api/jobs/", "/api/jobs"], async (context) => context.json((await manager.all()).map(detailsOf)));
  app.get("/api/jobs/:id", async (context) => context.json(detailsOf(await manager.find(context.req.param("id")))));
  app.post("/api/jobs/:id/stop", async (context) =>
    context.json({ stopped: await manager.stop(context.req.param("id")) }),
  );
  app.delete("/api/jobs/:id", async (context) => {
    const { record } = await manager.find(context.req.param("id"));
    await manager.remove(record.spec.submissionId);
    return context.json({ deleted: true });
  });
  app.get("/api/jobs/:id/logs", async (context) =>
    context.json({ logs: await manager.output(context.req.param("id"), OUTPUT_BYTES_MAX) }),
  );
  app.get(
    "/api/jobs/:id/logs/tail",
    async (context, next) => {
      await manager.find(context.req.param("id"));
      await next();
    },
    upgradeWebSocket((context) => {
      const ending = new AbortController();
      return {
        onOpen: (_event, socket) => void tail(manager, context.req.param("id") ?? "", socket, ending.signal),
        onClose: () => ending.abort(),
        onError: () => ending.abort(),
      };
    }),
  );
  return app;
}

async function tail(manager: JobManager, id: string, socket: WSContext<unknown>, signal: AbortSignal): Promise<void> {
  try {
    for await (const { text } of manager.follow(id, signal)) {
      socket.send(text);
      while (((socket.raw as WebSocket | undefined)?.bufferedAmount ?? 0) > UNSENT_BYTES_MAX && !signal.aborted) {
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      }
    }
    socket.close(1000);
  } catch (error) {
    // A reason has at most 123 bytes.
    socket.close(
      1011,
      Buffer.from((error as Error).message)
        .subarray(0, 100)
        .toString(),
    );
  }
}

const uriOf = ({ protocol, name }: { readonly protocol: string; readonly name: string }): string =>
  `${protocol}://${name}`;

/** As Ray's `JobDetails`; its clients check the types. */
function detailsOf({ record, driver }: KnownJob): Record<string, unknown> {
  const { spec, status, nodeId } = record;
  const jobId = driver?.jobId ?? record.jobId;
  return {
    type: "SUBMISSION",
    job_id: jobId,
    submission_id: spec.submissionId,
    driver_info:
      driver && jobId !== null ? { id: jobId, node_ip_address: record.address ?? "", pid: String(driver.pid) } : null,
    status: status.toUpperCase(),
    entrypoint: spec.entrypoint,
    message: messageOf({ record, driver }),
    error_type: status === "failed" ? record.errorType : null,
    start_time: Math.round(record.submittedAtMs),
    end_time: record.endedAtMs === null ? null : Math.round(record.endedAtMs),
    metadata: spec.metadata,
    runtime_env: spec.runtimeEnv,
    driver_agent_http_address: null,
    driver_node_id: nodeId,
    driver_exit_code: exitCodeOf(record),
  };
}

/** Python says of a process that a signal has ended the number of the signal, below zero. */
function exitCodeOf({ exitCode, signal, status }: KnownJob["record"]): number | null {
  // Ray's own does not say how one ended that was stopped.
  if (status === "stopped") return null;
  return signal === null ? exitCode : -(constants.signals[signal as NodeJS.Signals] ?? 0);
}

/** In Ray's words, by which people and scripts know what is meant. */
function messageOf({ record }: KnownJob): string {
  const { status, spec, message, tail } = record;
  switch (status) {
    case "pending": {
      if (message !== null) return message;
      const waitsForResources = Object.keys(spec.resources).length > 0;
      const waitsForEnvironment = Object.keys(spec.runtimeEnv).length > 0;
      return [
        "Job has not started yet.",
        ...(waitsForResources
          ? ["It may be waiting for resources (CPUs, GPUs, memory, custom resources) to become available."]
          : []),
        ...(waitsForEnvironment ? ["It may be waiting for the runtime environment to be set up."] : []),
      ].join(" ");
    }
    case "running":
      return "Job is currently running.";
    case "stopped":
      return "Job was intentionally stopped.";
    case "succeeded":
      return "Job finished successfully.";
    case "failed": {
      if (record.errorType !== "JOB_ENTRYPOINT_COMMAND_ERROR") return message ?? "Job failed.";
      const printed = tail ? `, last available logs (truncated to 20,000 chars):\n${tail}` : ". No logs available.";
      return `Job entrypoint command failed with exit code ${exitCodeOf(record)}${printed}`;
    }
    default:
      return status satisfies never;
  }
}
