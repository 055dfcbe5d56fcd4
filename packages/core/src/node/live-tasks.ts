/**
 * What the processes of this node have submitted that has not ended, asked of those who own it. A worker whose thread is busy
 * cannot answer for what it looks after itself; it is named. What it has handed over its deputy answers for.
 */
import type { ActorId, ProcessId } from "../base/ids.ts";
import type { FromNode, TasksListed } from "../wire/messages.ts";
import type { LiveTask, Queries } from "../wire/queries.ts";

const ANSWER_MS = 300;
const ROWS_MAX = 10_000;

type LiveTasksAnswer = Queries["live-tasks"]["result"];

interface Asking {
  /** Whose answers are awaited, and what they are called when none comes. */
  readonly silent: Map<ProcessId, string>;
  readonly answers: TasksListed[];
  done(): void;
}

export interface LiveTasksOptions {
  /** Those that may own tasks, with what people call them. */
  readonly owners: () => Iterable<readonly [ProcessId, string]>;
  readonly send: (to: ProcessId, message: FromNode) => void;
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
    const asking: Asking = { silent: new Map(owners()), answers: [], done() {} };
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
    return merge(
      asking.answers.filter(({ jobId }) => job === undefined || jobId === job),
      rowsMax,
      [...asking.silent.values()],
    );
  }

  listed(from: ProcessId, message: TasksListed): void {
    const asking = this.asked.get(message.id);
    if (!asking?.silent.delete(from)) return;
    asking.answers.push(message);
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
