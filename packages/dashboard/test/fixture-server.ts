/**
 * The state service's API over a model that a seed makes: what pages are tested on, and worked on. Headers are those of
 * the real service, so that what its policy forbids fails here, too.
 */
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { pageOf, parseListQuery } from "../../core/src/state/filters.ts";
import {
  history as historySchema,
  overview as overviewSchema,
  type Progress,
  progress as progressSchema,
  ROWS,
  SORT_KEYS,
} from "../../core/src/state/rows.ts";
import type { InspectedStack } from "../../core/src/wire/inspection.ts";
import { barsAt, historyAt, type Model, makeModel, progressAt, throughputAt, timelineLines } from "./fixture-model.ts";

export interface FixtureOptions {
  readonly files: string;
  readonly port?: number;
  readonly spans?: number;
  readonly nowMs?: number;
  readonly model?: Model;
}

export interface Fixture extends AsyncDisposable {
  readonly url: string;
  readonly model: Model;
  /** Paths with queries of the API, in the order in which they were asked. */
  readonly requests: string[];
  /** Bodies of what was posted. */
  readonly posted: { readonly path: string; readonly body: unknown }[];
  /** What the next answers are like. */
  readonly mood: { isSignedIn: boolean; isBroken: boolean; partial: readonly string[] };
  /** Attempts that have finished since the start: what moves. */
  finish(attempts: number): void;
  /** Streams of events break off. */
  dropStreams(): void;
  close(): Promise<void>;
}

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};
const POLICY =
  "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";
const STREAM_EVERY_MS = 1000;

export async function startFixture(options: FixtureOptions): Promise<Fixture> {
  const { files, port = 0, spans = 100_000, nowMs = Date.now() } = options;
  const model = options.model ?? makeModel({ nowMs });
  const rowsOf: Readonly<Record<keyof typeof ROWS, readonly object[]>> = {
    nodes: model.nodes,
    workers: model.workers,
    tasks: model.tasks,
    actors: model.actors,
    objects: model.objects,
    "placement-groups": model.groups,
    jobs: model.jobs,
    events: model.events,
    logs: model.logs,
  };
  const requests: string[] = [];
  const posted: Fixture["posted"] = [];
  const mood: Fixture["mood"] = { isSignedIn: true, isBroken: false, partial: [] };
  let finished = 0;
  const open = new Set<ServerResponse>();

  const overviewNow = () => ({
    ...model.overview,
    asOfMs: Date.now(),
    tasks: { ...model.overview.tasks, finished: (model.overview.tasks.finished ?? 0) + finished },
    throughput: Array.from({ length: 120 }, (_, second) => throughputAt(Date.now() - (119 - second) * 1000)),
  });

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      response.writeHead(500).end(String(error));
    });
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://fixture");
    response.setHeader("content-security-policy", POLICY);
    response.setHeader("x-content-type-options", "nosniff");
    response.setHeader("referrer-policy", "no-referrer");
    if (!url.pathname.startsWith("/api/v1/")) return sendFile(url.pathname, request, response);
    requests.push(url.pathname.slice("/api/v1/".length) + url.search);
    if (!mood.isSignedIn) return refuse(response, 401, "AUTHENTICATION", "a token is needed");
    if (mood.isBroken)
      return refuse(response, 503, "UNAVAILABLE", "control did not answer within 2 s; it is asked again");
    const path = url.pathname.slice("/api/v1/".length).split("/").map(decodeURIComponent);
    const [kind = "", id, more] = path;
    if (request.method === "POST" || request.method === "DELETE") return change(path, request, response);
    if (kind === "overview") return json(response, overviewNow());
    const asked = url.searchParams.get("job");
    const progress = () =>
      progressOf(
        model,
        Math.max(
          0,
          model.jobs.findIndex(({ jobId }) => jobId === asked),
        ),
        finished,
      );
    if (kind === "history") return json(response, historyAt(model, url.searchParams, Date.now()));
    if (kind === "progress") return json(response, progress());
    if (kind === "stream" && url.searchParams.get("topics") === "progress")
      return stream(response, () => [["progress", JSON.stringify(progress())]]);
    if (kind === "stream") return stream(response, () => [["overview", JSON.stringify(overviewNow())]]);
    if (kind === "summary") return json(response, { rows: summary(id ?? "") });
    if (kind === "graph") return json(response, model.graph);
    if (kind === "timeline") {
      response.setHeader("content-type", "application/json");
      const piece = Number(url.searchParams.get("cursor") ?? 0);
      const size = Number(url.searchParams.get("attempts") ?? spans);
      for (const line of timelineLines(model, spans, 64, nowMs, { piece, size })) response.write(line);
      response.end();
      return;
    }
    if (kind === "why") return why(id ?? "", response);
    if ((kind === "logs" && id !== undefined) || (kind === "jobs" && more === "logs")) {
      const isOutput = kind === "jobs";
      const search = url.searchParams.get("search")?.toLowerCase();
      const last = Array.from({ length: 20_000 }, (_, line) => logLine(line + 1))
        .filter((line) => search === undefined || line.toLowerCase().includes(search))
        .slice(-Number(url.searchParams.get("lines") ?? 5000));
      if ((isOutput ? path[3] : more) !== "follow") {
        response.setHeader("content-type", "text/plain; charset=utf-8");
        response.end(last.length === 0 ? "" : `${last.join("\n")}\n`);
        return;
      }
      const event = (lines: readonly string[]): readonly [string, string] =>
        isOutput ? ["output", JSON.stringify(`${lines.join("\n")}\n`)] : ["lines", JSON.stringify(lines)];
      let line = 20_000;
      return stream(response, () => [event(search === undefined ? [logLine(++line)] : [])], 200, [event(last)]);
    }
    if (!(kind in rowsOf)) return refuse(response, 404, "NOT_FOUND", `there is no ${url.pathname}`);
    const rows = rowsOf[kind as keyof typeof rowsOf] as readonly Record<string, unknown>[];
    if (id !== undefined) {
      const found = rows.find((row) =>
        [
          row.submissionId,
          row.jobId,
          row.nodeId,
          row.workerId,
          row.actorId,
          row.objectId,
          row.placementGroupId,
        ].includes(id),
      );
      return found === undefined
        ? refuse(response, 404, "NOT_FOUND", `there is no ${id} among the ${kind}`)
        : json(response, found);
    }
    const filters = url.searchParams.getAll("filter");
    const matching =
      filters.length === 0 ? rows : rows.filter((row) => filters.every((filter) => matches(row, filter)));
    const limit = Number(url.searchParams.get("limit") ?? 100);
    const { sort } = parseListQuery({ sort: url.searchParams.get("sort") ?? undefined });
    const keys = SORT_KEYS[kind as keyof typeof rowsOf];
    if (sort !== undefined && !keys.includes(sort.key))
      return refuse(response, 400, "INVALID_OPTION", `${kind} cannot be sorted by ${sort.key}`);
    const isWhole = filters.length === 0 && kind === "tasks";
    json(response, {
      rows: pageOf(matching, { filters: [], limit, sort }, []).rows,
      total: isWhole ? model.taskTotal : matching.length,
      next: matching.length > limit ? String(limit) : null,
      partial: mood.partial,
      asOfMs: Date.now(),
    });
  }

  function summary(what: string): unknown {
    if (what === "tasks") return model.functions;
    if (what === "actors") {
      return [...Map.groupBy(model.actors, ({ className }) => className)].map(([className, rows]) => ({
        className,
        counts: Object.fromEntries(
          [...Map.groupBy(rows, ({ state }) => state)].map(([state, some]) => [state, some.length]),
        ),
      }));
    }
    return [...Map.groupBy(model.objects, ({ callSite }) => callSite ?? "unknown")]
      .map(([callSite, rows]) => ({
        callSite,
        objects: rows.length,
        sizeBytes: rows.reduce((sum, { sizeBytes }) => sum + (sizeBytes ?? 0), 0),
        spilledBytes: rows.reduce((sum, { state, sizeBytes }) => sum + (state === "spilled" ? (sizeBytes ?? 0) : 0), 0),
        holders: rows.reduce((sum, { holds }) => sum + holds, 0),
      }))
      .sort((a, b) => b.sizeBytes - a.sizeBytes);
  }

  function why(id: string, response: ServerResponse): void {
    if (!/^[0-9a-f]{8,}$/.test(id)) {
      refuse(response, 404, "NOT_FOUND", `nothing is known of ${id}`);
      return;
    }
    const [node] = model.nodes;
    json(response, {
      state: "queued",
      since: nowMs - 41_000,
      sentences: [
        "embedBatch has waited for a worker for 41 s; its 3 arguments have been there since 0.2 s after it was submitted.",
        "It wants 2 CPU and 0.5 GPU. Of 7 nodes 2 have a GPU, and all 8 of theirs are leased.",
        "40 tasks of the same demand are before it; 6 of those that run end in about 4 s.",
      ],
      waitsFor: model.objects.slice(0, 2).map(({ objectId }) => objectId),
      considered: model.nodes.slice(0, 5).map(({ nodeId, name }, index) => ({
        nodeId,
        name,
        labels: {},
        verdict: index === 4 ? "has 4 GPU, of which 0 are free" : "has no GPU",
      })),
      of: node?.name,
    });
  }

  async function change(path: readonly string[], request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = "";
    for await (const chunk of request) text += String(chunk);
    const body: unknown = text === "" ? null : JSON.parse(text);
    posted.push({ path: `${request.method} ${path.join("/")}`, body });
    if (path[0] === "stack") {
      const frame = (name: string, file: string, line: number, of: "program" | "node" = "program") => ({
        name,
        file,
        line,
        column: 9,
        of,
      });
      const { nodeId, pid } = body as { nodeId: string; pid: number };
      const stack: InspectedStack = {
        nodeId: nodeId as InspectedStack["nodeId"],
        nodeName: "gpu-c1",
        pid,
        role: "worker",
        workerId: null,
        atMs: nowMs,
        program: {
          stack: [
            frame("normalise", "/srv/app/embed.ts", 61),
            frame("embedBatch", "/srv/app/embed.ts", 48),
            frame("processTicksAndRejections", "node:internal/process/task_queues", 103, "node"),
          ],
          current: { name: "embedBatch", taskId: model.tasks[0]?.taskId ?? "", actorId: null },
          running: [
            { name: "embedBatch", taskId: model.tasks[0]?.taskId ?? "", actorId: null, forMs: 4100, waits: 0 },
            { name: "Shard.upsert", taskId: model.tasks[1]?.taskId ?? "", actorId: null, forMs: 900, waits: 1 },
          ],
          runningTotal: 2,
          waits: [
            {
              call: "get",
              sinceMs: nowMs - 800,
              taskId: model.tasks[1]?.taskId ?? "",
              refs: 3,
              missing: 1,
              ids: [model.objects[0]?.objectId ?? ""],
              at: [frame("upsert", "/srv/app/shards.ts", 19)],
            },
          ],
          waitsTotal: 1,
          handles: { TCPSocketWrap: 2 },
        },
        kernel: null,
      };
      json(response, stack);
      return;
    }
    if (path[0] === "profile") return json(response, { nodes: [], startTime: 0, endTime: 1 });
    if (path[0] === "jobs" && path.length === 1) {
      const { entrypoint, submissionId } = body as { entrypoint: string; submissionId?: string };
      if (entrypoint.includes("refuse"))
        return refuse(response, 400, "INVALID_OPTION", "entrypoint: refuse is no program");
      const made = submissionId ?? `mobula-${model.jobs.length}`;
      const [like] = model.jobs;
      if (like !== undefined)
        model.jobs.unshift({
          ...like,
          submissionId: made,
          name: null,
          jobId: null,
          entrypoint,
          status: "running",
          startedAtMs: Date.now(),
        });
      return json(response, model.jobs[0]);
    }
    const job = model.jobs.find(({ submissionId }) => submissionId === path[1]);
    if (job === undefined) return refuse(response, 404, "NOT_FOUND", "there is no such job");
    if (path[2] === "stop") Object.assign(job, { status: "stopped", endedAtMs: Date.now() });
    else model.jobs.splice(model.jobs.indexOf(job), 1);
    json(response, {});
  }

  function stream(
    response: ServerResponse,
    next: () => readonly (readonly [string, string])[],
    everyMs = STREAM_EVERY_MS,
    first: readonly (readonly [string, string])[] = [],
  ): void {
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
    open.add(response);
    const send = (events = next()) => {
      for (const [event, data] of events) response.write(`event: ${event}\ndata: ${data}\n\n`);
    };
    send([...first, ...next()]);
    const timer = setInterval(() => send(), everyMs);
    response.on("close", () => {
      clearInterval(timer);
      open.delete(response);
    });
  }

  function sendFile(path: string, request: IncomingMessage, response: ServerResponse): void {
    const name = normalize(decodeURIComponent(path)).replace(/^[/\\]+/, "");
    const served = !name.startsWith("..") && extname(name) in TYPES ? name : "index.html";
    const isPacked = request.headers["accept-encoding"]?.includes("gzip") === true;
    response.setHeader("content-type", TYPES[extname(served)] ?? "application/octet-stream");
    response.setHeader("cache-control", "no-cache");
    if (isPacked) response.setHeader("content-encoding", "gzip");
    response.end(readFileSync(join(files, isPacked ? `${served}.gz` : served)));
  }

  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const close = async (): Promise<void> => {
    for (const response of open) response.destroy();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    model,
    requests,
    posted,
    mood,
    finish(attempts) {
      finished += attempts;
    },
    dropStreams() {
      for (const response of open) response.destroy();
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Rows are what the contract says: throws the first mistake. */
export function checkModel(model: Model): void {
  const some = <T>(rows: readonly T[]) => rows.slice(0, 500);
  for (const row of some(model.nodes)) ROWS.nodes.parse(row);
  for (const row of some(model.workers)) ROWS.workers.parse(row);
  for (const row of some(model.tasks)) ROWS.tasks.parse(row);
  for (const row of some(model.actors)) ROWS.actors.parse(row);
  for (const row of some(model.objects)) ROWS.objects.parse(row);
  for (const row of some(model.groups)) ROWS["placement-groups"].parse(row);
  for (const row of some(model.jobs)) ROWS.jobs.parse(row);
  for (const row of some(model.events)) ROWS.events.parse(row);
  for (const row of some(model.logs)) ROWS.logs.parse(row);
  overviewSchema.parse(model.overview);
  historySchema.parse(historyAt(model, new URLSearchParams(), Date.now()));
  progressSchema.parse(progressOf(model, 0, 0));
}

function progressOf(model: Model, job: number, finished: number): Progress {
  const bars = job === 0 ? barsAt(model, Date.now(), finished) : [];
  return { ...progressAt(model.functions, job, finished), bars, barsTotal: bars.length, partial: [] };
}

function json(response: ServerResponse, value: unknown): void {
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(value));
}

function refuse(response: ServerResponse, status: number, code: string, message: string): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify({ error: { code, message } }));
}

function matches(row: Readonly<Record<string, unknown>>, filter: string): boolean {
  const [, key = "", op, wanted = ""] = /^(\w+)(!=|=|~|<|>)(.*)$/s.exec(filter) ?? [];
  const value = row[key];
  const text = value === null || value === undefined ? "" : String(value);
  switch (op) {
    case "=":
      return text.toLowerCase() === wanted.toLowerCase();
    case "!=":
      return text.toLowerCase() !== wanted.toLowerCase();
    case "~":
      return text.toLowerCase().includes(wanted.toLowerCase());
    case "<":
      return Number(text) < Number(wanted);
    case ">":
      return Number(text) > Number(wanted);
    default:
      return false;
  }
}

/** As nodes write them. */
function logLine(line: number): string {
  const isBad = line % 97 === 0;
  const at = new Date(Date.UTC(2026, 10, 27, 1) + line * 137).toISOString();
  const text = isBad
    ? "embedBatch failed: RangeError: the batch has 4096 rows and at most 2048 fit"
    : `batch ${line} of part-${String(line % 512).padStart(4, "0")} took ${(line * 37) % 900} ms`;
  return `${at} bd02be4d ${21_000 + (line % 4)} ${isBad ? "stderr" : "stdout"} embedBatch: ${text}`;
}
