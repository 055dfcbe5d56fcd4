/** Submitted jobs over HTTP: `/api/v1/jobs`. Who may ask is decided before. */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import type { Env } from "hono";
import { streamSSE } from "hono/streaming";
import { isError, type MobulaError } from "../base/errors.ts";
import type { JobRow } from "../state/rows.ts";
import { jobRow } from "../state/rows.ts";
import type { KnownJob } from "./known-jobs.ts";
import type { JobManager } from "./manager.ts";
import { jobRowOf } from "./rows.ts";

/** Of what a job has printed, in one answer. */
const OUTPUT_BYTES_MAX = 16 * 2 ** 20;
/** Proxies close connections on which nothing is said. */
const ALIVE_MS = 15_000;

const failure = z.object({ error: z.object({ code: z.string(), message: z.string() }) });
const json = <T extends z.ZodType>(schema: T, description: string) => ({
  description,
  content: { "application/json": { schema } },
});
const failures = {
  400: json(failure, "wrong"),
  404: json(failure, "no such job"),
  409: json(failure, "not in its state"),
};
const params = z.object({ id: z.string().meta({ description: "submission id, or the id of its driver's job" }) });

const retry = z
  .object({
    maxRetries: z.number().int().min(-1).meta({ description: "after the first attempt; -1: for ever" }),
    delayMs: z.number().min(0).max(86_400_000),
    maxDelayMs: z.number().min(0).max(86_400_000),
    multiplier: z.number().min(1).max(100),
    notOnExitCodes: z.array(z.number().int()).max(256),
  })
  .partial();

const jobRequest = z.object({
  entrypoint: z.string().meta({ description: "a command, for the shell" }),
  submissionId: z.string().optional().meta({ description: "default: a random one" }),
  runtimeEnv: z
    .record(z.string(), z.unknown())
    .optional()
    .meta({ description: "as runtimeEnv of init; workingDir: gcs://….zip" }),
  metadata: z.record(z.string(), z.string()).optional(),
  resources: z
    .record(z.string(), z.number().min(0))
    .optional()
    .meta({ description: "held while it runs; memory in bytes" }),
  labels: z.record(z.string(), z.string()).optional().meta({ description: "of the node on which it is to run" }),
  startTimeoutMs: z
    .number()
    .positive()
    .max(2 ** 31)
    .optional()
    .meta({
      description: "it fails when it was not started by then; default: 15 min while no node could ever take it",
    }),
  retry: retry.optional().meta({ description: "when an attempt fails" }),
});

const submit = createRoute({
  method: "post",
  path: "/api/v1/jobs",
  summary: "submits a job",
  request: { body: { required: true, content: { "application/json": { schema: jobRequest } } } },
  responses: { 201: json(jobRow, "taken"), ...failures },
});
const find = createRoute({
  method: "get",
  path: "/api/v1/jobs/{id}",
  summary: "one job",
  request: { params },
  responses: { 200: json(jobRow, "the job"), ...failures },
});
const stop = createRoute({
  method: "post",
  path: "/api/v1/jobs/{id}/stop",
  summary: "ends a job: SIGTERM, and SIGKILL 3 s later",
  request: { params },
  responses: { 200: json(z.object({ stopped: z.boolean() }), "false: it had ended"), ...failures },
});
const remove = createRoute({
  method: "delete",
  path: "/api/v1/jobs/{id}",
  summary: "forgets a job that has ended, and what it printed",
  request: { params },
  responses: { 200: json(z.object({ deleted: z.boolean() }), "forgotten"), ...failures },
});
const logs = createRoute({
  method: "get",
  path: "/api/v1/jobs/{id}/logs",
  summary: "what it has printed, at most the last 16 MiB",
  request: { params },
  responses: { 200: { description: "text", content: { "text/plain": { schema: z.string() } } }, ...failures },
});
const follow = createRoute({
  method: "get",
  path: "/api/v1/jobs/{id}/logs/follow",
  summary:
    "what it prints, as server-sent events: `output` with a text and where the `next` one begins, and `end` with the job",
  request: { params, query: z.object({ from: z.coerce.number().int().min(0).optional() }) },
  responses: { 200: { description: "events", content: { "text/event-stream": { schema: z.string() } } }, ...failures },
});

/** Before those of the state service, which lists jobs, and knows those of drivers. */
export function addJobRoutes<E extends Env>(app: OpenAPIHono<E>, manager: JobManager): void {
  const row = async (known: KnownJob): Promise<JobRow> => {
    const { record } = known;
    if (record.status !== "pending") return jobRowOf(known);
    return jobRowOf(known, (await manager.whyPending(record).catch(() => undefined)) ?? record.message);
  };
  app.openapi(submit, async (context) => {
    const { submissionId } = (await manager.submit(context.req.valid("json"))).spec;
    return context.json(jobRowOf(await manager.find(submissionId)), 201);
  });
  app.openapi(find, async (context, next) => {
    const { id } = context.req.valid("param");
    try {
      return context.json(await row(await manager.find(id)), 200);
    } catch (error) {
      if (!isError(error, "JOB_NOT_FOUND")) throw error;
      await next();
      return undefined as never; // Answered by who comes next.
    }
  });
  app.openapi(stop, async (context) =>
    context.json({ stopped: await manager.stop(context.req.valid("param").id) }, 200),
  );
  app.openapi(remove, async (context) => {
    await manager.remove(context.req.valid("param").id);
    return context.json({ deleted: true }, 200);
  });
  app.openapi(logs, async (context) =>
    context.text(await manager.output(context.req.valid("param").id, OUTPUT_BYTES_MAX), 200),
  );
  app.openapi(follow, async (context) => {
    const { id } = context.req.valid("param");
    const { from = 0 } = context.req.valid("query");
    await manager.find(id);
    return streamSSE(context, async (stream) => {
      const ending = new AbortController();
      stream.onAbort(() => ending.abort());
      const alive = setInterval(() => void stream.write(": alive\n\n"), ALIVE_MS);
      try {
        for await (const printed of manager.follow(id, ending.signal, from)) {
          await stream.writeSSE({ event: "output", data: JSON.stringify(printed) });
        }
        if (ending.signal.aborted) return;
        await stream.writeSSE({ event: "end", data: JSON.stringify(jobRowOf(await manager.find(id))) });
      } catch (error) {
        const { code = "INTERNAL", message } = error as MobulaError;
        await stream.writeSSE({ event: "error", data: JSON.stringify({ code, message }) });
      } finally {
        clearInterval(alive);
      }
    });
  });
}
