/** Tasks and calls: those that live, asked of the nodes when somebody looks, and those that have ended, which nodes have sent. */
import { wallMs } from "../base/clock.ts";
import type { JobId } from "../base/ids.ts";
import { AttemptStore } from "./attempts.ts";
import { Fresh } from "./cached.ts";
import type { FunctionSum, Packed } from "./detectors/detector.ts";
import { pageOf } from "./filters.ts";
import type { Links } from "./links.ts";
import { type LiveTasks, liveTasks } from "./live-tasks.ts";
import {
  type AttemptProgress,
  type Filter,
  type Listed,
  type ListQuery,
  type Overview,
  type TaskGraph,
  type TaskRow,
  type TaskSummaryRow,
  taskRow,
} from "./rows.ts";

/** Of one node. */
const LIVE_ROWS_MAX = 10_000;
const LIVE_FRESH_MS = 250;
const LIVE_MAX_AGE_MS = 1_000;
/** What has ended is told to this service later than it is no more among what lives, by less than so much. */
const REPORTED_WITHIN_MS = 5_000;
const KEYS = Object.keys(taskRow.shape);
const LIVE_STATES: ReadonlySet<string> = new Set(["waiting", "queued", "running"] satisfies TaskRow["state"][]);

export class Tasks {
  private readonly ended = new AttemptStore();
  private readonly live: Fresh<LiveTasks & { readonly progress: ReadonlyMap<string, AttemptProgress> }>;
  /** Nodes whose batches cannot be read. */
  private readonly unreadable = new Map<string, string>();

  constructor(links: Pick<Links, "askAll" | "get">) {
    this.live = new Fresh({ freshMs: LIVE_FRESH_MS, maxAgeMs: LIVE_MAX_AGE_MS }, async () => {
      const { answers, partial } = await links.askAll("live-tasks", { limit: LIVE_ROWS_MAX });
      const nowMs = wallMs();
      const live = liveTasks(
        answers.map(([nodeId, answer]) => [links.get(nodeId)?.name ?? nodeId, answer]),
        nowMs,
      );
      const whole = { ...live, partial: [...live.partial, ...partial] };
      // At once: what ends from here on is still among what lives.
      const jobs = new Set(live.counts.map(([, , , , jobId]) => jobId));
      const silent = { counts: live.counts, partial: [...live.silent, ...partial] };
      return { ...whole, progress: this.ended.progress(jobs, silent, nowMs) };
    });
  }

  /** Batches of events of a node. */
  add(nodeId: string, batches: readonly Uint8Array[]): void {
    for (const batch of batches) {
      try {
        this.ended.add(batch, wallMs());
      } catch (error) {
        this.unreadable.set(nodeId, `node ${nodeId}: ${(error as Error).message}`);
      }
    }
  }

  /** Those that live first, or sorted. @throws InvalidOptionError */
  async list(query: ListQuery): Promise<Listed<TaskRow>> {
    const { limit, cursor } = query;
    const wanted = query.filters.some(excludesLive) ? undefined : await this.live.get();
    const nowMs = wallMs();
    const asOfMs = wanted?.madeAtMs ?? nowMs;
    const rows = wanted ? this.stillLiving(wanted) : [];
    const partial = [...(wanted?.value.partial ?? []), ...this.unreadable.values()];
    const all = wanted?.value.isCut ? countOf(wanted.value, query.filters) : undefined;
    if (query.sort) {
      const { filters, sort } = query;
      const live = pageOf(rows, { filters, limit: Number.POSITIVE_INFINITY }, KEYS).rows;
      const page = this.ended.sorted({ ...query, sort }, live);
      return { ...page, total: page.total + Math.max(0, (all ?? 0) - live.length), partial, asOfMs };
    }
    const isAmongLive = cursor === undefined || cursor.startsWith(LIVE_CURSOR);
    const place = isAmongLive ? (cursor ?? LIVE_CURSOR).slice(LIVE_CURSOR.length) || "0" : String(rows.length);
    const living = pageOf(rows, { ...query, cursor: place }, KEYS);
    const left = limit - living.rows.length;
    const ended = this.ended.list({ ...query, limit: left, cursor: isAmongLive ? undefined : cursor }, nowMs);
    const next = living.next !== null ? LIVE_CURSOR + living.next : left > 0 || ended.total === 0 ? ended.next : NEWEST;
    const total = Math.max(living.total, all ?? 0);
    return {
      rows: [...living.rows, ...ended.rows],
      total: total + ended.total,
      next,
      partial,
      asOfMs,
    };
  }

  /** Of a task that is both among those that live and among those that have ended, the end counts. */
  private stillLiving({ value, madeAtMs }: { readonly value: LiveTasks; readonly madeAtMs: number }) {
    return this.ended.withoutEnded(value.rows, madeAtMs - REPORTED_WITHIN_MS);
  }

  /** All attempts of a task, the first one first. */
  async find(taskId: string): Promise<readonly TaskRow[]> {
    const { value } = await this.live.get();
    const ended = this.ended.find(taskId);
    const known = new Set(ended.map(({ attempt }) => attempt));
    return [...ended, ...value.rows.filter((row) => row.taskId === taskId && !known.has(row.attempt))];
  }

  /** What runs in each worker, as far as owners have said. */
  async running(): Promise<ReadonlyMap<string, TaskRow>> {
    const { value } = await this.live.get();
    return new Map(
      value.rows.flatMap((row) => (row.state === "running" && row.workerId !== null ? [[row.workerId, row]] : [])),
    );
  }

  async summary(): Promise<readonly TaskSummaryRow[]> {
    const rows = new Map(this.ended.summary().map((row) => [`${row.kind} ${row.name}`, row]));
    for (const [name, kind, state, count] of (await this.live.get()).value.counts) {
      const row = rows.get(`${kind} ${name}`) ?? { name, kind, counts: {}, meanRunMs: null, p95RunMs: null };
      rows.set(`${kind} ${name}`, { ...row, counts: { ...row.counts, [state]: (row.counts[state] ?? 0) + count } });
    }
    return [...rows.values()];
  }

  async graph(job: string): Promise<TaskGraph> {
    const { nodes, edges } = this.ended.graph(job as JobId) ?? { nodes: [], edges: [] };
    const byName = new Map(nodes.map((node) => [`${node.kind} ${node.name}`, node]));
    const live = await this.live.get();
    for (const [name, kind, state, count, jobId] of live.value.counts) {
      if (jobId !== job) continue;
      const node = byName.get(`${kind} ${name}`) ?? { name, kind, counts: {} };
      byName.set(`${kind} ${name}`, {
        ...node,
        counts: { ...node.counts, [state]: (node.counts[state] ?? 0) + count },
      });
    }
    const all = new Map(edges.map((edge) => [`${edge.from}\0${edge.to}`, edge]));
    for (const { jobId, parentName: from, name: to } of this.stillLiving(live)) {
      if (jobId !== job || from === null) continue;
      const key = `${from}\0${to}`;
      all.set(key, { from, to, count: (all.get(key)?.count ?? 0) + 1 });
    }
    return { nodes: [...byName.values()], edges: [...all.values()] };
  }

  /** How far the jobs are that have something left. */
  async progress(): Promise<ReadonlyMap<string, AttemptProgress>> {
    return (await this.live.get()).value.progress;
  }

  /** How far a job is, or was. */
  async progressOf(job: string): Promise<AttemptProgress> {
    const nothing = { counts: [], partial: [] };
    const found = (await this.progress()).get(job) ?? this.ended.progress([job], nothing, wallMs()).get(job);
    if (!found) throw new Error(`no progress was made of job ${job}`);
    return found;
  }

  /** What has ended, by function, without percentiles. */
  functions(): readonly FunctionSum[] {
    return this.ended.sums().map(({ name, kind, counts, meanRunMs }) => {
      const [finished, failed] = [counts.finished ?? 0, counts.failed ?? 0];
      return { name, kind, finished, ended: finished + failed, runMs: (meanRunMs ?? 0) * (finished + failed) };
    });
  }

  packed(): ReadonlyMap<string, Packed> {
    return this.ended.packed;
  }

  puts(): ReadonlyMap<string, Packed> {
    return this.ended.puts;
  }

  /** With percentiles, and without what lives. */
  endedSummary(): readonly TaskSummaryRow[] {
    return this.ended.summary();
  }

  /** For the overview. */
  async totals(): Promise<Pick<Overview, "tasks" | "throughput">> {
    const tasks = this.ended.totals();
    for (const [, , state, count] of (await this.live.get()).value.counts) tasks[state] = (tasks[state] ?? 0) + count;
    return { tasks, throughput: this.throughput() };
  }

  throughput(): Overview["throughput"] {
    return [...this.ended.throughput(wallMs())];
  }
}

const LIVE_CURSOR = "live-";
/** Before the newest of those that have ended. */
const NEWEST = "zzzzzzzzzz";

const COUNTED: ReadonlySet<string> = new Set(["name", "kind", "state", "jobId"] satisfies (keyof TaskRow)[]);

/** How many live that pass, those included that nodes did not list; undefined when counts do not say. */
function countOf({ counts }: LiveTasks, filters: readonly Filter[]): number | undefined {
  if (!filters.every(({ key }) => COUNTED.has(key))) return undefined;
  const all = counts.map(([name, kind, state, count, jobId]) => ({ name, kind, state, jobId, count }));
  const { rows } = pageOf(all, { filters, limit: Number.POSITIVE_INFINITY }, [...COUNTED]);
  return rows.reduce((sum, { count }) => sum + count, 0);
}

/** Nodes need not be asked. */
const excludesLive = ({ key, op, value }: Filter): boolean =>
  key === "state" && op === "=" && !LIVE_STATES.has(value.toLowerCase());
