/** The route of the timeline. */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import { InvalidOptionError } from "../base/errors.ts";
import { type NodeId, nodeTag } from "../base/ids.ts";
import { ROWS_MAX } from "./filters.ts";
import type { Env } from "./http.ts";
import type { Filter, TaskRow } from "./rows.ts";
import type { StateService } from "./service.ts";
import { type TracePiece, traceOf } from "./trace.ts";

const ATTEMPTS = 100_000;
const JOB = /^[0-9a-f]{8}$/;

export function addTrace(app: OpenAPIHono<Env>, service: StateService): void {
  app.openapi(
    createRoute({
      method: "get",
      path: "/api/v1/timeline",
      request: {
        query: z.object({
          job: z.string().optional().openapi({ description: "only of this job" }),
          attempts: z.coerce
            .number()
            .int()
            .min(1)
            .max(1_000_000)
            .optional()
            .openapi({ description: `the newest so many; default ${ATTEMPTS}` }),
          cursor: z
            .string()
            .optional()
            .openapi({ description: "`otherData.next` of the piece before: those that are older than its attempts" }),
        }),
      },
      responses: {
        200: {
          description: "what ran when, in Chrome's trace format, which Perfetto opens",
          content: { "application/json": { schema: z.looseObject({ traceEvents: z.array(z.looseObject({})) }) } },
        },
      },
    }),
    async (context) => {
      const { job, attempts = ATTEMPTS, cursor } = context.req.valid("query");
      if (job !== undefined && !JOB.test(job)) throw new InvalidOptionError(`"${job}" is no id of a job`);
      const piece = await pieceOf(service, job, attempts, cursor);
      const nodes = await service.sources.nodes();
      const nodeNames = new Map(nodes.rows.map(({ nodeId, name }) => [nodeTag(nodeId as NodeId), name]));
      const pieces = traceOf(piece, nodeNames);
      const encoder = new TextEncoder();
      const stream = new ReadableStream<Uint8Array>({
        pull(controller) {
          const { done, value } = pieces.next();
          if (done) controller.close();
          else controller.enqueue(encoder.encode(value));
        },
      });
      return context.body(stream, 200, {
        "content-type": "application/json",
        "content-disposition": 'attachment; filename="mobula-timeline.json"',
      }) as never;
    },
  );
}

async function pieceOf(
  service: StateService,
  job: string | undefined,
  count: number,
  after: string | undefined,
): Promise<TracePiece> {
  const ended: Filter[] = ["waiting", "queued", "running"].map((value) => ({ key: "state", op: "!=", value }));
  const filters: Filter[] = job === undefined ? ended : [...ended, { key: "jobId", op: "=", value: job }];
  const rows: TaskRow[] = [];
  let cursor = after;
  let kept = 0;
  do {
    const page = await service.tasks.list({ filters, limit: Math.min(ROWS_MAX, count - rows.length), cursor });
    rows.push(...page.rows);
    kept = page.total;
    cursor = page.next ?? undefined;
  } while (cursor !== undefined && rows.length < count);
  return { rows, kept, isFirst: after === undefined, next: cursor ?? null };
}
