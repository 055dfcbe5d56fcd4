/** The routes of our own API, /api/v1, each with its schemas; /openapi.json is made of them. */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import { MobulaError } from "../base/errors.ts";
import { parseListQuery } from "./filters.ts";
import type { Env } from "./http.ts";
import { ROW_KINDS, type RowKind } from "./row-kinds.ts";
import {
  actorSummaryRow,
  history,
  objectSummaryRow,
  overview,
  progress,
  ROWS,
  SORT_KEYS,
  taskDetail,
  taskGraph,
  taskSummaryRow,
} from "./rows.ts";
import type { StateService } from "./service.ts";
import { streamTopics } from "./stream.ts";
import { TASK_SORT_KEYS } from "./task-order.ts";

const failure = z
  .object({ error: z.object({ code: z.string(), message: z.string() }) })
  .openapi("Failure", { description: "what went wrong, by a code that stays and in words" });
const failures = {
  400: { description: "the request is wrong", content: { "application/json": { schema: failure } } },
  401: { description: "a token is needed", content: { "application/json": { schema: failure } } },
  503: { description: "control or a node did not answer", content: { "application/json": { schema: failure } } },
} as const;
const json = <T extends z.ZodType>(schema: T, description: string) => ({
  200: { description, content: { "application/json": { schema } } },
});

const listParams = z.object({
  filter: z
    .union([z.string(), z.array(z.string())])
    .optional()
    .openapi({
      description: "key=value, key!=value, key~part, key<number, key>number; may be repeated, and all must hold",
    }),
  limit: z.coerce.number().int().min(1).max(10_000).optional().openapi({ description: "default 100" }),
  cursor: z.string().optional().openapi({ description: "`next` of the page before, in the same order" }),
});

const jobParam = z
  .string()
  .regex(/^[0-9a-f]{8}$/, "it is 8 hex digits")
  .openapi({ description: "id of the job" });

/** Nodes whose history is in an answer: 15 kB each. */
const HISTORY_NODES = 24;
const HISTORY_NODES_MAX = 100;

export function addApi(app: OpenAPIHono<Env>, service: StateService): void {
  for (const kind of ROW_KINDS) addRows(app, service, kind);

  app.openapi(
    createRoute({
      method: "get",
      path: "/api/v1/overview",
      responses: { ...json(overview, "how the cluster is"), ...failures },
    }),
    async (context) => context.json(await service.overview(), 200),
  );

  const summaries = z.object({ rows: z.array(actorSummaryRow) });
  app.openapi(
    createRoute({
      method: "get",
      path: "/api/v1/summary/actors",
      responses: { ...json(summaries, "actors by class and state"), ...failures },
    }),
    async (context) => {
      await service.sources.actors();
      return context.json({ rows: service.sources.actorTable.summary() }, 200);
    },
  );

  const sites = z.object({ rows: z.array(objectSummaryRow), partial: z.array(z.string()) });
  app.openapi(
    createRoute({
      method: "get",
      path: "/api/v1/summary/objects",
      responses: { ...json(sites, "stored objects by the place in the program that made them"), ...failures },
    }),
    async (context) => context.json((await service.objects.summary()) as never, 200),
  );

  app.openapi(
    createRoute({
      method: "get",
      path: "/api/v1/summary/tasks",
      responses: { ...json(z.object({ rows: z.array(taskSummaryRow) }), "tasks by function, exactly"), ...failures },
    }),
    async (context) => context.json({ rows: [...(await service.tasks.summary())] }, 200),
  );

  app.openapi(
    createRoute({
      method: "get",
      path: "/api/v1/graph",
      request: { query: z.object({ job: z.string().openapi({ description: "id of the job" }) }) },
      responses: { ...json(taskGraph, "the functions of a job, and who called whom"), ...failures },
    }),
    async (context) => context.json(await service.tasks.graph(context.req.valid("query").job), 200),
  );

  app.openapi(
    createRoute({
      method: "get",
      path: "/api/v1/progress",
      request: { query: z.object({ job: jobParam }) },
      responses: {
        ...json(
          progress,
          "how far a job is, by function, and the bars of its program; live as topic `progress` of /api/v1/stream",
        ),
        ...failures,
      },
    }),
    async (context) => context.json(await service.progressOf(context.req.valid("query").job), 200),
  );

  app.openapi(
    createRoute({
      method: "get",
      path: "/api/v1/history",
      request: {
        query: z.object({
          node: z.string().optional().openapi({ description: "only of this node, by its id" }),
          limit: z.coerce
            .number()
            .int()
            .min(0)
            .max(HISTORY_NODES_MAX)
            .optional()
            .openapi({ description: `of so many nodes that are alive; default ${HISTORY_NODES}` }),
        }),
      },
      responses: { ...json(history, "the past hour, every ten seconds, for charts"), ...failures },
    }),
    (context) => {
      const { node, limit = HISTORY_NODES } = context.req.valid("query");
      return context.json(service.history.read({ node, limit }), 200);
    },
  );

  const explanation = z.looseObject({
    state: z.string(),
    since: z.number(),
    sentences: z.array(z.string()),
    waitsFor: z.array(z.string()),
  });
  app.openapi(
    createRoute({
      method: "get",
      path: "/api/v1/why/{id}",
      request: {
        params: z.object({
          id: z.string().openapi({
            description: "of a task, an object, an actor or a placement group; or an actor's name or class",
          }),
        }),
      },
      responses: { ...json(explanation, "why it waits, failed, or is where it is"), ...failures },
    }),
    async (context) => context.json((await service.why(context.req.valid("param").id)) as never, 200),
  );

  app.get("/api/v1/stream", (context) => streamTopics(context, service));

  app.doc31("/openapi.json", {
    openapi: "3.1.0",
    info: {
      title: "Mobula",
      version: "1",
      description: "What runs, what waits and why. Ids are hex strings, times milliseconds since 1970, sizes bytes.",
    },
    security: [{ bearer: [] }],
  });
  app.openAPIRegistry.registerComponent("securitySchemes", "bearer", { type: "http", scheme: "bearer" });
}

/** A list, and one of it. */
function addRows(app: OpenAPIHono<Env>, service: StateService, kind: RowKind): void {
  const row = ROWS[kind];
  const listed = z.object({
    rows: z.array(row),
    total: z.number().openapi({ description: "rows that pass the filters, on all pages" }),
    next: z.string().nullable().openapi({ description: "cursor of the next page" }),
    partial: z.array(z.string()).openapi({ description: "who did not answer in time" }),
    asOfMs: z.number(),
  });
  app.openapi(
    createRoute({
      method: "get",
      path: `/api/v1/${kind}`,
      request: {
        query: listParams.extend({
          sort: z
            .string()
            .optional()
            .openapi({
              description: `a field, or -field for the largest first; rows without it come last, either way: ${(kind === "tasks" ? TASK_SORT_KEYS : SORT_KEYS[kind]).join(", ")}`,
            }),
        }),
      },
      responses: { ...json(listed, `${kind}, a page`), ...failures },
    }),
    async (context) => {
      const { filter, limit, cursor, sort } = context.req.valid("query");
      const query = parseListQuery({ filter: filter === undefined ? [] : [filter].flat(), limit, cursor, sort });
      return context.json((await service.list(kind, query)) as never, 200);
    },
  );
  app.openapi(
    createRoute({
      method: "get",
      path: `/api/v1/${kind}/{id}`,
      request: { params: z.object({ id: z.string() }) },
      responses: {
        ...json(kind === "tasks" ? taskDetail : row, kind === "tasks" ? "one, with its attempts" : "one of them"),
        ...failures,
        404: { description: "there is none", content: { "application/json": { schema: failure } } },
      },
    }),
    async (context) => {
      const { id } = context.req.valid("param");
      const found = await service.find(kind, id);
      if (!found) throw new MobulaError("NOT_FOUND", "invalid", `there is no ${id} among the ${kind}`);
      return context.json(found as never, 200);
    },
  );
}
