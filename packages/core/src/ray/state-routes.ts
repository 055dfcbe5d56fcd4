/** Ray's State API, as its command line and its Python SDK speak it; an adapter over the state service. */
import { type Context, Hono } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { InvalidOptionError, MobulaError } from "../base/errors.ts";
import type { JobManager } from "../jobs/mod.ts";
import type { Row, RowKind, StateService } from "../state/mod.ts";
import { RAY_KINDS, type RayKind } from "./state-columns.ts";
import { logsByComponent, sendLog } from "./state-logs.ts";
import {
  listOf,
  listRows,
  parseRayQuery,
  type RayList,
  type RayQuery,
  type RayRow,
  ROWS_MAX,
  shown,
} from "./state-query.ts";
import {
  actorRow,
  eventRow,
  groupRow,
  jobRow,
  nodeRow,
  objectRow,
  placesOf,
  taskRow,
  workerRow,
} from "./state-rows.ts";
import { countsOf, summarizeActors, summarizeObjects, summarizeTasks } from "./state-summaries.ts";
import { taskFilters } from "./state-tasks.ts";
import { timelineOf } from "./state-timeline.ts";

export interface RayStateOptions {
  readonly state: Pick<StateService, "list" | "find" | "tasks" | "links">;
  readonly jobs: Pick<JobManager, "find" | "output" | "follow">;
}

const ALL = { filters: [], limit: Number.POSITIVE_INFINITY };
const NO_RUNTIME_ENVS = "Mobula does not list runtime environments.";

export function rayStateRoutes({ state, jobs }: RayStateOptions): Hono {
  const app = new Hono();
  app.onError((error, context) => {
    if (!(error instanceof MobulaError)) throw error;
    const { code, kind, message } = error;
    const status = code.endsWith("NOT_FOUND") ? 404 : kind === "invalid" ? 400 : 500;
    // What is not a list is told by its status and its text.
    return context.req.path.startsWith("/api/v0/logs/")
      ? context.text(message, status)
      : reply(context, null, message, status);
  });

  for (const kind of RAY_KINDS) {
    app.get(`/api/v0/${kind}`, async (context) =>
      reply(context, await list(state, kind, parseRayQuery(kind, paramsOf(context)))),
    );
  }
  app.get("/api/v0/tasks/summarize", async (context) => {
    const by = paramsOf(context).get("summary_by") ?? "func_name";
    if (by !== "func_name" && by !== "task_name")
      throw new InvalidOptionError(`tasks are summarized by func_name, and not by "${by}"`);
    return reply(context, await summary(context, "tasks", (query) => taskSummary(state, query)));
  });
  app.get("/api/v0/actors/summarize", async (context) =>
    reply(context, await summary(context, "actors", (query) => rowSummary(state, "actors", query, summarizeActors))),
  );
  app.get("/api/v0/objects/summarize", async (context) =>
    reply(context, await summary(context, "objects", (query) => rowSummary(state, "objects", query, summarizeObjects))),
  );
  app.get("/api/v0/tasks/timeline", async (context) => {
    const job = paramsOf(context).get("job_id");
    const filters = job ? [{ key: "jobId", op: "=", value: job } as const] : [];
    const { rows } = await state.list("tasks", { filters, limit: ROWS_MAX });
    if (paramsOf(context).get("download") === "1")
      context.header("content-disposition", `attachment; filename="timeline-${job ?? "all"}.json"`);
    return context.json(timelineOf(rows));
  });
  app.get("/api/v0/logs", async (context) => reply(context, await logsByComponent(state, context)));
  app.get("/api/v0/logs/:media{file|stream}", (context) => sendLog(context, state, jobs));
  return app;
}

const paramsOf = ({ req }: Context): URLSearchParams => new URL(req.url).searchParams;

const reply = (context: Context, result: unknown, message = "", status: ContentfulStatusCode = 200): Response =>
  context.json({ result: status === 200, msg: message, data: { result } }, status);

type State = RayStateOptions["state"];

async function list(state: State, kind: RayKind, query: RayQuery): Promise<RayList> {
  if (kind === "tasks") return listTasks(state, query);
  if (kind === "runtime_envs") return listOf([], { total: 0, filtered: 0, partial: [], warnings: [NO_RUNTIME_ENVS] });
  const places = placesOf(
    kind === "workers" || kind === "jobs" || kind === "actors" || kind === "objects" ? await all(state, "nodes") : [],
    kind === "objects" ? await all(state, "workers") : [],
  );
  switch (kind) {
    case "actors":
      return listKind(
        state,
        kind,
        "actors",
        (row) => row.actorId,
        (row) => actorRow(row, places),
        query,
      );
    case "nodes":
      return listKind(state, kind, "nodes", (row) => row.nodeId, nodeRow, query);
    case "workers":
      return listKind(
        state,
        kind,
        "workers",
        (row) => row.workerId,
        (row) => workerRow(row, places),
        query,
      );
    case "objects":
      return listKind(
        state,
        kind,
        "objects",
        (row) => row.objectId,
        (row) => objectRow(row, places),
        query,
      );
    case "jobs":
      return listKind(
        state,
        kind,
        "jobs",
        (row) => row.jobId ?? "",
        (row) => jobRow(row, places),
        query,
      );
    case "placement_groups":
      return listKind(state, kind, "placement-groups", (row) => row.placementGroupId, groupRow, query);
    case "cluster_events":
      return listKind(state, kind, "events", (row) => String(row.atMs), eventRow, query);
    default:
      return kind satisfies never;
  }
}

const all = async <K extends RowKind>(state: State, kind: K): Promise<readonly Row<K>[]> =>
  (await state.list(kind, ALL)).rows;

async function listKind<K extends RowKind>(
  state: State,
  kind: RayKind,
  own: K,
  idOf: (row: Row<K>) => string,
  rowOf: (row: Row<K>) => RayRow,
  query: RayQuery,
): Promise<RayList> {
  const { rows, partial } = await state.list(own, ALL);
  return listRows(kind, rows, { idOf, rowOf, partial }, query);
}

/** Of a million attempts only those that are shown become rows: filters scan their columns. The newest come first. */
async function listTasks(state: State, { filters, limit, isDetailed }: RayQuery): Promise<RayList> {
  const own = taskFilters(filters);
  const {
    rows,
    total: filtered,
    partial,
  } = own ? await state.list("tasks", { filters: own, limit }) : { rows: [], total: 0, partial: [] };
  const total = filters.length === 0 ? filtered : (await state.list("tasks", { filters: [], limit: 0 })).total;
  return listOf(
    rows.map((row) => shown("tasks", taskRow(row), isDetailed)),
    { total, filtered, partial },
  );
}

async function summary(context: Context, kind: RayKind, make: (query: RayQuery) => Promise<RayList>): Promise<RayList> {
  const made = await make({ ...parseRayQuery(kind, paramsOf(context)), limit: ROWS_MAX });
  return { ...made, result: { node_id_to_summary: { cluster: made.result } } };
}

/** Exact, whatever is not kept any more; with filters, of what is kept. */
async function taskSummary(state: State, query: RayQuery): Promise<RayList> {
  const own = taskFilters(query.filters);
  const listed = query.filters.length > 0;
  const { rows = [], partial = [] } = listed && own ? await state.list("tasks", { filters: own, limit: ROWS_MAX }) : {};
  const result = summarizeTasks(listed ? countsOf(rows) : await state.tasks.summary());
  const total = result.total_tasks + result.total_actor_tasks + result.total_actor_scheduled;
  return listOf(result, { total, filtered: total, partial });
}

async function rowSummary(
  state: State,
  kind: "actors" | "objects",
  query: RayQuery,
  sum: (rows: Iterable<RayRow>) => object,
): Promise<RayList> {
  const listed = await list(state, kind, { ...query, limit: Number.POSITIVE_INFINITY, isDetailed: false });
  return { ...listed, result: sum(listed.result as readonly RayRow[]) };
}
