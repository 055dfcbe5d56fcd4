/** The service at work: it keeps what ran, asks for what lives, notes what happens, and answers questions about all of it. */
import { wallMs } from "../base/clock.ts";
import { InvalidOptionError, MobulaError } from "../base/errors.ts";
import { OWN_NAMESPACES } from "../base/limits.ts";
import type { StateServiceConfig } from "../node/mod.ts";
import type { Explanation } from "../wire/explanation.ts";
import type { ActorChange } from "./actor-table.ts";
import { actorsCalled } from "./actors-called.ts";
import type { Ask } from "./control-client.ts";
import { Alarms } from "./detectors/alarms.ts";
import { allDetectors } from "./detectors/all.ts";
import { Observer } from "./detectors/observer.ts";
import { EventFloods } from "./event-floods.ts";
import { EventLog } from "./event-log.ts";
import { checkSort, pageOf } from "./filters.ts";
import { gpusOf } from "./gpu-summary.ts";
import { MetricHistory } from "./history.ts";
import { JobTable } from "./job-table.ts";
import type { Links } from "./links.ts";
import { logRows } from "./log-routes.ts";
import { NodeWatch } from "./node-watch.ts";
import { ObjectRows } from "./object-rows.ts";
import { AUDIT_AGAIN_MS, ProgramAudit } from "./program-audit.ts";
import { ProgressBars } from "./progress-bars.ts";
import {
  type EventRow,
  type Listed,
  type ListQuery,
  type Overview,
  type Progress,
  ROWS,
  type Row,
  type RowKind,
  SORT_KEYS,
  type TaskDetail,
} from "./rows.ts";
import { type Gathered, Sources } from "./sources.ts";
import { TASK_SORT_KEYS } from "./task-order.ts";
import { Tasks } from "./tasks.ts";
import { whyEnded } from "./why-ended.ts";

export interface StateServiceOptions {
  readonly config: StateServiceConfig;
  readonly links: Links;
  readonly ask: Ask;
  submittedJobs(): Promise<readonly Row<"jobs">[]>;
  /** Undefined when no job has this id. */
  whyJob(id: string): Promise<Explanation | undefined>;
  log(message: string): void;
}

/** What happens is looked for so often. */
const LOOK_MS = 1_000;
/** A ref's id goes on after its task's. */
const TASK_ID_CHARS = 48;
/** The column by which a row of each kind is found. */
const ID_KEYS = {
  nodes: "nodeId",
  workers: "workerId",
  tasks: "taskId",
  actors: "actorId",
  objects: "objectId",
  "placement-groups": "placementGroupId",
  jobs: "jobId",
  events: "eventId",
  logs: "logId",
} as const satisfies { readonly [K in RowKind]: keyof Row<K> };

export class StateService {
  readonly sources: Sources;
  readonly eventLog = new EventLog();
  private readonly floods = new EventFloods((event) => this.eventLog.add(event));
  readonly tasks: Tasks;
  private readonly bars: ProgressBars;
  private readonly options: StateServiceOptions;
  private readonly jobs: JobTable;
  readonly objects: ObjectRows;
  readonly history = new MetricHistory();
  private readonly programs: ProgramAudit;
  private auditedMs = 0;
  private readonly nodeWatch = new NodeWatch((event) => this.eventLog.add(event));
  readonly alarms = new Alarms(allDetectors(), (event) => this.eventLog.add(event));
  private readonly observer: Observer;
  private hasFailedToLook = false;

  constructor(options: StateServiceOptions) {
    this.options = options;
    const { links, ask, config } = options;
    this.sources = new Sources({
      links,
      ask,
      headAddress: config.control.kind === "head" ? config.control.address : undefined,
      onActors: (changes) => this.actorsChanged(changes),
    });
    links.expected = async () => (await this.sources.nodes()).rows.filter(({ state }) => state === "alive");
    this.objects = new ObjectRows(links);
    this.tasks = new Tasks(links);
    this.bars = new ProgressBars(links);
    const { sources, tasks, alarms } = this;
    this.observer = new Observer({ links, ask, sources, tasks, alarms });
    this.programs = new ProgramAudit((source, event) => this.floods.note(source, event), options.log);
    this.jobs = new JobTable((event) => this.eventLog.add(event));
  }

  get links(): Links {
    return this.options.links;
  }

  start(): void {
    const look = async (): Promise<void> => {
      try {
        await this.look();
        this.hasFailedToLook = false;
      } catch (error) {
        if (!this.hasFailedToLook) this.options.log(`control cannot be asked: ${(error as Error).message}`);
        this.hasFailedToLook = true;
      }
      setTimeout(look, LOOK_MS).unref();
    };
    void look();
  }

  /** @throws InvalidOptionError; ConnectionLostError when control does not answer. */
  async list<K extends RowKind>(kind: K, query: ListQuery): Promise<Listed<Row<K>>> {
    checkSort(query.sort, kind, kind === "tasks" ? TASK_SORT_KEYS : SORT_KEYS[kind]);
    if (kind === "tasks") return (await this.tasks.list(query)) as Listed<object> as Listed<Row<K>>;
    const { rows, partial, asOfMs } = await this.gather(kind);
    const page = pageOf(rows as Iterable<Row<K>>, query, Object.keys(ROWS[kind].shape));
    return { ...page, partial, asOfMs };
  }

  /** One by its id, of a task the last attempt, with all of them; undefined when there is none. */
  async find<K extends RowKind>(kind: K, id: string): Promise<Row<K> | undefined> {
    if (kind === "tasks") {
      const attempts = await this.tasks.find(id);
      const last = attempts.at(-1);
      return last && ({ ...last, attempts: [...attempts] } satisfies TaskDetail as object as Row<K>);
    }
    const { rows } = await this.gather(kind);
    for (const row of rows) if ((row as Record<string, unknown>)[ID_KEYS[kind]] === id) return row as Row<K>;
    return undefined;
  }

  /** @throws InvalidOptionError when nothing has this id or name. */
  async why(id: string): Promise<Explanation> {
    const alarms = this.alarms.about(id, ...(await this.functionOf(id)));
    const sentences = alarms.map(({ message, remedy }) => `${message}. What to do: ${remedy}.`);
    try {
      const known = await this.explain(id);
      const explanation = known.state === "unknown" ? ((await this.explainEnded(id)) ?? known) : known;
      return { ...explanation, sentences: [...explanation.sentences, ...sentences] };
    } catch (error) {
      const [first] = alarms;
      // It has a name that only alarms know: a function, a call site, a node.
      if (!first) throw error;
      return { state: first.kind, since: first.atMs, sentences, waitsFor: [] };
    }
  }

  /** A task, or that of a ref, whose owner cannot be asked; undefined when no end of it was recorded. */
  private async explainEnded(id: string): Promise<Explanation | undefined> {
    const attempts = await this.tasks.find(id.slice(0, TASK_ID_CHARS));
    const [first] = attempts;
    if (!first || attempts.at(-1)?.finishedAtMs === null) return undefined;
    const functions = await this.tasks.summary();
    const others = functions.find(({ name, kind }) => name === first.name && kind === first.kind);
    return whyEnded(attempts, others, (nodeId) => this.links.get(nodeId)?.name ?? nodeId);
  }

  /** Of a task, its function. */
  private async functionOf(id: string): Promise<readonly string[]> {
    if (this.alarms.current().length === 0 || !/^[0-9a-f]{48}$/.test(id)) return [];
    const [task] = await this.tasks.find(id);
    return task ? [task.name] : [];
  }

  /** What a store has and whose ref has never left its owner: by the name that the store has for it. */
  private async explainStored(name: string): Promise<Explanation> {
    const found = await this.find("objects", name);
    if (!found) throw new MobulaError("NOT_FOUND", "invalid", `no store has an object ${name} now`);
    const { sizeBytes, state, ownerPid, callSite, nodes, holders } = found;
    const owner = ownerPid === null ? "a process that is not known here" : `process ${ownerPid}`;
    const size = sizeBytes === null ? "" : `, ${sizeBytes} bytes,`;
    const made =
      callSite === null
        ? ""
        : callSite.startsWith("result of ")
          ? ` It is the ${callSite}.`
          : ` It was made at ${callSite}.`;
    const where = state === "spilled" ? "on disk" : "in memory";
    return {
      state,
      since: wallMs(),
      sentences: [
        `It lies${size} ${where} on ${nodes.length === 1 ? "one node" : `${nodes.length} nodes`} and belongs to ${owner}, which has given its ref to nobody.${made}`,
        ...(holders.length > 0 ? [`${holders.join(", ")}.`] : []),
      ],
      waitsFor: [],
    };
  }

  private async explain(id: string): Promise<Explanation> {
    const { ask, config } = this.options;
    if (/^[0-9a-f]{8}\.[0-9a-z]+$/.test(id)) return this.explainStored(id);
    // A head knows both by their ids; a node by itself is asked about each.
    const mayBeGroup = config.control.kind === "node" && /^[0-9a-f]{32}$/.test(id);
    if (mayBeGroup && (await this.find("placement-groups", id))) return ask("why-group", { groupId: id });
    const [made] = /^[0-9a-f]{48}$/.test(id) ? await this.tasks.find(id) : [];
    if (made?.kind === "actor-creation" && made.actorId !== null) return ask("explain-id", { id: made.actorId });
    if (/^[0-9a-f]{24,}$/.test(id)) return ask("explain-id", { id });
    const job = await this.options.whyJob(id);
    if (job) return job;
    await this.sources.actors();
    const found = actorsCalled(this.sources.actorTable.all, id);
    const [first] = found;
    if (!first) throw new InvalidOptionError(`"${id}" is no id, and no job and no actor has that name or class`);
    if (found.length > 1 && first.state !== "dead") {
      const ids = found.slice(0, 20).map(({ actorId, name }) => `${actorId}${name === null ? "" : ` "${name}"`}`);
      throw new InvalidOptionError(`${found.length} actors are called "${id}"; say which by its id: ${ids.join(", ")}`);
    }
    return ask("explain-id", { id: first.actorId });
  }

  async overview(): Promise<Overview> {
    const [{ rows: nodes }, waiting] = await Promise.all([this.sources.nodes(), this.sources.waiting()]);
    await this.sources.actors();
    const count = (state: string): number => nodes.filter((node) => node.state === state).length;
    const resources: Overview["resources"] = {};
    const store = { usedBytes: 0, spilledBytes: 0, capacityBytes: 0 };
    for (const node of nodes.filter(({ state }) => state !== "dead")) {
      for (const [name, total] of Object.entries(node.resources)) {
        const { total: totals = 0, used = 0 } = resources[name] ?? {};
        resources[name] = { total: totals + total, used: used + total - (node.available[name] ?? 0) };
      }
      store.usedBytes += node.storeUsedBytes;
      store.spilledBytes += node.storeSpilledBytes;
      store.capacityBytes += node.storeCapacityBytes;
    }
    return {
      asOfMs: wallMs(),
      nodes: { alive: count("alive"), draining: count("draining"), dead: count("dead") },
      resources,
      store,
      gpus: gpusOf(nodes),
      ...(await this.tasks.totals()),
      actors: this.sources.actorTable.counts(),
      waiting: waiting.map(({ kind, name, count: of, wish, isInfeasible, why }) => ({
        kind,
        name,
        count: of,
        wish,
        isInfeasible,
        why,
      })),
      alerts: this.alerts(),
      progress: await this.progress(),
    };
  }

  /** How far a job is, or was. */
  async progressOf(job: string): Promise<Progress> {
    const [attempts, bars] = await Promise.all([this.tasks.progressOf(job), this.bars.of(job)]);
    return { ...attempts, ...bars };
  }

  /** Of jobs that have something left and can be listed, those with most left first. */
  private async progress(): Promise<Overview["progress"]> {
    const [found, { rows: jobs }] = await Promise.all([this.tasks.progress(), this.jobRows()]);
    return jobs
      .flatMap(({ jobId, submissionId, name }) => {
        const progress = jobId === null ? undefined : found.get(jobId);
        if (jobId === null || !progress) return [];
        const { counts, total, ended, endedPerSecond, leftMs } = progress;
        return [{ jobId, submissionId, name, counts, total, ended, endedPerSecond, leftMs }];
      })
      .sort((a, b) => b.total - b.ended - (a.total - a.ended))
      .slice(0, JOBS_SHOWN);
  }

  /** What is wrong now, and then what went wrong before. */
  private alerts(): EventRow[] {
    const before = [...this.eventLog.newest()].filter(
      ({ severity, kind }) => severity !== "info" && !this.alarms.isKind(kind),
    );
    return [...this.alarms.current(), ...before].slice(0, ALERTS_SHOWN);
  }

  private async gather(kind: RowKind): Promise<Gathered<object, Iterable<object>>> {
    switch (kind) {
      case "nodes":
        return this.sources.nodes();
      case "workers":
        return this.workerRows();
      case "actors":
        return this.sources.actors();
      case "placement-groups":
        return this.sources.groups();
      case "jobs":
        return this.jobRows();
      case "objects":
        return this.objects.rows();
      case "logs":
        return logRows(this.links);
      case "events":
        return { rows: this.eventLog.newest(), partial: [], asOfMs: wallMs() };
      default:
        throw new InvalidOptionError(`${kind} are not listed yet`);
    }
  }

  private async jobRows(): Promise<Gathered<Row<"jobs">>> {
    const [{ answers, partial }, submitted] = await Promise.all([this.sources.jobs(), this.options.submittedJobs()]);
    this.jobs.seen(
      answers.flatMap(([, jobs]) => jobs).filter(({ namespace }) => !namespace.startsWith(OWN_NAMESPACES)),
      partial.length === 0,
      wallMs(),
    );
    // A driver that the command of a job has started is that job's.
    const theirs = new Set(submitted.map(({ jobId }) => jobId));
    const drivers = this.jobs.rows().filter(({ jobId }) => !theirs.has(jobId));
    const rows = [...submitted, ...drivers].sort((a, b) => b.startedAtMs - a.startedAtMs);
    return { rows, partial, asOfMs: wallMs() };
  }

  /** Nodes know whose work a worker does; owners know which. */
  private async workerRows(): Promise<Gathered<Row<"workers">>> {
    const [workers, running] = await Promise.all([this.sources.workers(), this.tasks.running()]);
    const rows = workers.rows.map((worker) => {
      const task = running.get(worker.workerId);
      if (!task) return worker;
      // Its node knows only since when it has its lease, or its actor.
      const runningForMs = task.ranMs ?? worker.runningForMs;
      return { ...worker, task: worker.task ?? task.name, taskId: task.taskId, runningForMs };
    });
    return { ...workers, rows };
  }

  private async look(): Promise<void> {
    const { rows } = await this.sources.nodes();
    this.nodeWatch.seen(rows, wallMs());
    this.history.note(rows, () => this.tasks.throughput(), wallMs());
    // Before what they have ended is seen to have.
    await this.audit();
    this.floods.tell();
    await Promise.all([this.sources.actors(), this.jobRows()]);
    await this.observer.look(rows);
  }

  private async audit(): Promise<void> {
    const { links, ask, config } = this.options;
    const since = { sinceMs: this.auditedMs };
    const nowMs = wallMs();
    // Nodes and heads of a release before this one do not answer that.
    const ofHead = config.control.kind === "head" ? ask("audit-notes", since).catch(() => undefined) : undefined;
    const [{ answers, partial }, head] = await Promise.all([links.askAll("audit-notes", since), ofHead]);
    for (const [, notes] of answers) this.programs.take(notes);
    if (head) this.programs.take(head);
    // Whoever did not answer is asked for all of it again: what is known is not taken twice.
    if (partial.length === 0) this.auditedMs = nowMs - AUDIT_AGAIN_MS;
  }

  private actorsChanged(changes: readonly ActorChange[]): void {
    for (const { before, row, causeCode } of changes) {
      const { actorId, nodeId, state, restarts, maxRestarts, stateSinceMs: atMs, deathCause } = row;
      const called = `actor ${row.className}${row.name === null ? "" : ` "${row.name}"`} (${actorId})`;
      const by = this.programs.killerOf(actorId);
      const killer = by === undefined ? {} : { by };
      const about = { atMs, subjects: [actorId, ...(nodeId === null ? [] : [nodeId])] };
      // A restart may be over before anybody has looked.
      if (before && restarts > before.restarts) {
        const of = maxRestarts === -1 ? "" : ` of ${maxRestarts}`;
        const message = `${called} was started again, for time ${restarts}${of}`;
        this.floods.note(row.className, { ...about, severity: "warning", kind: "actor-restarted", message, ...killer });
      }
      if (state !== "dead" || before?.state === "dead" || deathCause === null) continue;
      if (KILLED.test(deathCause))
        this.floods.note(row.className, {
          ...about,
          severity: "info",
          kind: "actor-killed",
          message: deathCause,
          ...killer,
        });
      else if (!ORDERLY.has(causeCode ?? ""))
        this.floods.note(row.className, { ...about, severity: "error", kind: "actor-died", message: deathCause });
    }
  }
}

const ALERTS_SHOWN = 20;
/** In the overview, of jobs that have something left. */
const JOBS_SHOWN = 20;
/** By a program, for good. */
const KILLED = /^actor .*\) was killed$/;
/** Codes of ends that nobody need hear of: nobody holds it any more, it has left, or its creator has. */
const ORDERLY: ReadonlySet<string> = new Set(["ACTOR_DIED", "OWNER_DIED", "NAME_TAKEN"]);
