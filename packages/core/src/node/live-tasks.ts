/**
 * What the processes of this node have submitted that has not ended, asked of those who own it. A worker whose thread is busy
 * cannot answer for what it looks after itself; it is named. What it has handed over its deputy answers for.
 *
 * Workers also say what runs in them, whoever has submitted that: since when, and that it runs at all if its owner is silent.
 */
import type { ActorId, ProcessId } from "../base/ids.ts";
import type { FromNode, TasksListed } from "../wire/messages.ts";
import type { LiveRun, LiveTask, Queries } from "../wire/queries.ts";

const ANSWER_MS = 300;
const ROWS_MAX = 10_000;

type LiveTasksAnswer = Queries["live-tasks"]["result"];

interface Asking {
  /** Whose answers are awaited, and what they are called when none comes. */
  readonly silent: Map<ProcessId, string>;
  readonly answers: TasksListed[];
  readonly heard: ProcessId[];
  done(): void;
}

export interface LiveTasksOptions {
  /** Those that may own tasks, with what people call them. */
  readonly owners: () => Iterable<readonly [ProcessId, string]>;
  readonly send: (to: ProcessId, message: FromNode) => void;
  /** Of a worker. */
  readonly placeOf: (process: ProcessId) => LiveRun["worker"] | undefined;
  /** Of a process of this node. */
  readonly pidOf: (process: ProcessId) => number | undefined;
}

export class LiveTasks {
  private readonly options: LiveTasksOptions;
  private readonly asked = new Map<number, Asking>();
  private nextId = 1;

  constructor(options: LiveTasksOptions) {
    this.options = options;
  }

  async list({ limit, job }: Queries["live-tasks"]["params"]): Promise<LiveTasksAnswer> {
    const { owners, send } = this.options;
    const rowsMax = Math.min(limit, ROWS_MAX);
    const id = this.nextId++;
    const asking: Asking = { silent: new Map(owners()), answers: [], heard: [], done() {} };
    if (asking.silent.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ANSWER_MS);
        asking.done = () => {
          clearTimeout(timer);
          resolve();
        };
        this.asked.set(id, asking);
        for (const owner of [...asking.silent.keys()]) send(owner, { t: "list-tasks", id, limit: rowsMax });
      });
      this.asked.delete(id);
    }
    const isAsked = ({ jobId }: { readonly jobId: string }): boolean => job === undefined || jobId === job;
    const merged = merge(asking.answers.filter(isAsked), rowsMax, [...asking.silent.values()]);
    return { ...merged, running: this.runs(asking.answers).filter(isAsked), heard: asking.heard };
  }

  private runs(answers: readonly TasksListed[]): LiveRun[] {
    const { placeOf, pidOf } = this.options;
    return answers.flatMap(({ owner: process, jobId, running = [] }) => {
      const worker = placeOf(process);
      if (!worker) return [];
      return running.map((run): LiveRun => ({ ...run, jobId, ownerPid: pidOf(run.owner) ?? null, worker }));
    });
  }

  listed(from: ProcessId, message: TasksListed): void {
    const asking = this.asked.get(message.id);
    if (!asking?.silent.delete(from)) return;
    asking.answers.push(message);
    // A deputy answers in the name of another, for what it has taken over only.
    if (message.owner === from) asking.heard.push(from);
    if (asking.silent.size === 0) asking.done();
  }

  processGone(processId: ProcessId): void {
    for (const asking of this.asked.values()) {
      if (asking.silent.delete(processId) && asking.silent.size === 0) asking.done();
    }
  }
}

const ORDER = { running: 0, queued: 1, waiting: 2 } as const;

function merge(answers: readonly TasksListed[], limit: number, silent: readonly string[]): LiveTasksAnswer {
  const rows: LiveTask[] = [];
  const counts = new Map<string, LiveTasksAnswer["counts"][number]>();
  const backlogs = new Map<ActorId, number>();
  for (const { owner, pid: ownerPid, jobId, tasks, counts: own, backlogs: calls = [] } of answers) {
    for (const [actorId, count] of calls) backlogs.set(actorId, (backlogs.get(actorId) ?? 0) + count);
    for (const task of tasks) rows.push({ ...task, owner, ownerPid, jobId });
    for (const [name, kind, state, count] of own) {
      const key = `${jobId}\0${kind}\0${state}\0${name}`;
      const [, , , before = 0] = counts.get(key) ?? [];
      counts.set(key, [name, kind, state, before + count, jobId]);
    }
  }
  rows.sort((a, b) => ORDER[a.state] - ORDER[b.state] || a.submittedAtMs - b.submittedAtMs);
  const partial = silent.map(
    (who) => `${who} did not answer, its thread is busy: what it looks after itself is not listed`,
  );
  return { rows: rows.slice(0, limit), counts: [...counts.values()], backlogs: [...backlogs], partial };
}
