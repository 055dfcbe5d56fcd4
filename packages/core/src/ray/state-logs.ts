/** Logs as Ray's `ray logs` and `get_log` read them: a file of a node, or what a task, an actor, a process or a job has written. */
import { matchesGlob } from "node:path";
import { stripVTControlCharacters } from "node:util";
import type { Context } from "hono";
import { stream } from "hono/streaming";
import { InvalidOptionError, MobulaError } from "../base/errors.ts";
import type { JobManager } from "../jobs/mod.ts";
import { LogReader, type Row, type StateService } from "../state/mod.ts";
import { placesOf } from "./state-rows.ts";

const LINES_DEFAULT = 1_000;
const LINES_MAX = 10_000;
const FOLLOW_SECONDS = 0.5;
const JOB_BYTES_MAX = 64 * 2 ** 20;
/** Of a line of a worker's file: its process, its stream, and what was written. */
const LINE = /^\S+T\S+Z \S+ (\d+) (stdout|stderr) (?:[0-9a-f]{32,} )*.*?: (.*)$/s;

type State = Pick<StateService, "list" | "find" | "tasks" | "links">;
const ALL = { filters: [], limit: Number.POSITIVE_INFINITY };

/** Files of a node by the parts of Ray that write such. @throws MobulaError */
export async function logsByComponent(state: State, context: Context): Promise<Record<string, string[]>> {
  const asked = askedIn(context);
  const { params } = asked;
  const [nodeId] = await nodesOf(state, asked);
  if (nodeId === undefined) {
    throw new InvalidOptionError("Both node id and node ip are not provided. Please provide at least one of them.");
  }
  const glob = params.get("glob") ?? "*";
  const { rows } = await state.list("logs", { ...ALL, filters: [{ key: "nodeId", op: "=", value: nodeId }] });
  const files = rows.map(({ file }) => file).filter((file) => matchesGlob(file, glob));
  return Object.fromEntries(Map.groupBy(files, componentOf));
}

const COMPONENTS: readonly (readonly [RegExp, string])[] = [
  [/^worker-/, "worker_out"],
  [/^driver/, "driver"],
  [/^node/, "raylet"],
  [/^(control|head)/, "gcs_server"],
  [/^state/, "dashboard"],
];
const componentOf = (file: string): string => COMPONENTS.find(([name]) => name.test(file))?.[1] ?? "internal";

/** Who asks, and for what. */
interface Asked {
  readonly params: URLSearchParams;
  /** By which the client reaches this service. */
  readonly host: string;
}

const askedIn = ({ req }: Context): Asked => {
  const { searchParams: params, hostname } = new URL(req.url);
  return { params, host: hostname.replace(/^\[|\]$/g, "") };
};

/** By `node_id`, or `node_ip`: those that live there. @throws MobulaError when none does. */
async function nodesOf(state: State, { params, host }: Asked): Promise<readonly string[]> {
  const id = params.get("node_id") || undefined;
  const ip = params.get("node_ip") || undefined;
  if (id !== undefined && ip !== undefined)
    throw new InvalidOptionError("Both node_id and node_ip are given. Only one of them can be provided.");
  if (id === undefined && ip === undefined) return [];
  const { rows } = await state.list("nodes", ALL);
  const alive = rows.filter(({ state: is }) => is !== "dead");
  const { ip: ipOf } = placesOf(rows);
  const found = alive.filter(({ nodeId }) => (id ? nodeId === id : ipOf(nodeId) === ip));
  // Who names no node is taken to mean that of the address, which is a head's. It may have come by another of its names.
  const heads = found.length === 0 && ip === host ? alive.filter(({ isHead }) => isHead) : found;
  if (heads.length > 0) return heads.map(({ nodeId }) => nodeId);
  throw new MobulaError(
    "NODE_NOT_FOUND",
    "invalid",
    id === undefined
      ? `Cannot find matching node_id for a given node ip ${ip}`
      : `Given node id ${id} is not available. It's either the node is dead, or the node id is not correct.`,
  );
}

/** Where a process has written: on one of these nodes, and if the client has named none, wherever else. @throws MobulaError */
async function nodeOfProcess(
  state: State,
  pid: string,
  nodes: readonly string[],
  isNamed: boolean,
): Promise<string | undefined> {
  const { rows } = await state.list("logs", { ...ALL, filters: [{ key: "file", op: "=", value: fileOf(pid) }] });
  const found = rows.map(({ nodeId }) => nodeId);
  const there = found.filter((nodeId) => nodes.includes(nodeId));
  const [first, second] = isNamed || there.length > 0 ? there : found;
  if (second === undefined) return first;
  throw new InvalidOptionError(`There are processes ${pid} on nodes ${found.join(", ")}: say which by its node id.`);
}

const fileOf = (pid: string): string => `worker-${pid}.log`;

interface Source {
  readonly logId: string;
  readonly search: string | null;
  /** Undefined: the line is of something else. */
  textOf(line: string): string | undefined;
}

/** Text as it is written: what there is, and with `stream` what comes. @throws MobulaError before anything is sent. */
export async function sendLog(
  context: Context,
  state: State,
  jobs: Pick<JobManager, "find" | "output" | "follow">,
): Promise<Response> {
  const asked = askedIn(context);
  const { params } = asked;
  const isFollowed = context.req.param("media") === "stream";
  const submission = params.get("submission_id");
  context.header("content-type", "text/plain; charset=utf-8");
  context.header("content-disposition", 'attachment; filename="file.txt"');
  const lines = linesOf(params.get("lines"));
  const isPlain = params.get("filter_ansi_code")?.toLowerCase() === "true";
  const shown = (text: string): string => (isPlain ? stripVTControlCharacters(text) : text);
  if (submission) {
    if (!isFollowed) return context.body(shown(lastLines(await jobs.output(submission, JOB_BYTES_MAX), lines)));
    await jobs.find(submission);
    return stream(context, async (out) => {
      const ending = new AbortController();
      out.onAbort(() => ending.abort());
      for await (const { text } of jobs.follow(submission, ending.signal)) await out.write(shown(text));
    });
  }
  const { logId, search, textOf } = await sourceOf(state, asked);
  const reader = new LogReader(state.links, logId, search);
  const texts = (read: readonly string[]): string[] => read.flatMap((line) => textOf(line) ?? []);
  const first = texts(await reader.last(search === null ? lines : LINES_MAX)).slice(-lines);
  const written = (some: readonly string[]): string => shown(some.map((line) => `${line}\n`).join(""));
  if (!isFollowed) return context.body(written(first));
  const waitMs = 1_000 * (Number(params.get("interval")) || FOLLOW_SECONDS);
  return stream(context, async (out) => {
    await out.write(written(first));
    while (!out.aborted) {
      await out.sleep(waitMs);
      const more = texts(await reader.more());
      if (more.length > 0) await out.write(written(more));
    }
  });
}

/** -1: as many as are read at once. */
function linesOf(text: string | null): number {
  const lines = text === null ? LINES_DEFAULT : Number(text);
  if (!Number.isInteger(lines) || lines === 0 || lines < -1)
    throw new InvalidOptionError(`"${text}" is no number of lines: give 1 or more, or -1 for all`);
  return lines === -1 ? LINES_MAX : Math.min(lines, LINES_MAX);
}

const lastLines = (text: string, lines: number): string =>
  text
    .split(/(?<=\n)/)
    .slice(-lines)
    .join("");

async function sourceOf(state: State, asked: Asked): Promise<Source> {
  const { params, host } = asked;
  const suffix = params.get("suffix") ?? "out";
  if (suffix !== "out" && suffix !== "err")
    throw new InvalidOptionError(`Invalid suffix: ${suffix}. Must be one of 'out' or 'err'.`);
  const written = `std${suffix}`;
  const of = (wanted: (pid: string) => boolean): Pick<Source, "search" | "textOf"> => ({
    search: ` ${written} `,
    textOf: (line) => {
      const [, pid = "", way, text] = LINE.exec(line) ?? [];
      return way === written && wanted(pid) ? text : undefined;
    },
  });
  const [actorId, taskId, pid, file] = ["actor_id", "task_id", "pid", "filename"].map((key) => params.get(key) || null);
  if (actorId) {
    if (!(await state.find("actors", actorId))) throw notFound(`Actor ID ${actorId} not found.`);
    return { logId: actorId, ...of(() => true) };
  }
  if (taskId) {
    const attempt = Number(params.get("attempt_number") ?? 0);
    const worker = workerOf(await state.tasks.find(taskId), attempt);
    if (!worker)
      throw notFound(`Could not find log file for task: ${taskId} (attempt ${attempt}) with suffix: ${suffix}`);
    return { logId: taskId, ...of((one) => worker.isOnly || one === worker.pid) };
  }
  const nodes = await nodesOf(state, asked);
  const [nodeId] = nodes;
  if (nodeId === undefined) {
    throw new InvalidOptionError(
      "node_id or node_ip must be provided as constructor arguments when no actor or task_id is supplied as arguments.",
    );
  }
  if (pid) {
    const where = await nodeOfProcess(state, pid, nodes, params.get("node_ip") !== host);
    if (where === undefined) throw notFound(`Could not find a log file of process ${pid} on node ${nodes.join(", ")}.`);
    return { logId: `${where}:${fileOf(pid)}`, ...of(() => true) };
  }
  if (file) return { logId: `${nodeId}:${file}`, search: null, textOf: (line) => line };
  throw new InvalidOptionError(
    "None of actor_id, task_id, pid, submission_id or filename is provided. At least one of them is required to fetch logs.",
  );
}

/** Lines say their task, and not its attempt: those of an attempt are of its process. */
function workerOf(
  attempts: readonly Row<"tasks">[],
  wanted: number,
): { readonly isOnly: boolean; readonly pid: string } | undefined {
  const found = attempts.find(({ attempt }) => attempt === wanted);
  return found && { isOnly: attempts.length === 1, pid: String(found.workerPid) };
}

const notFound = (message: string): MobulaError => new MobulaError("LOG_NOT_FOUND", "invalid", message);
