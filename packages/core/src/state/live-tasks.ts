/** Tasks that have not ended, as nodes tell of them, made into rows. */
import { creationTaskId, taskIdHex } from "../base/ids.ts";
import type { LiveRun, LiveTask, Queries } from "../wire/queries.ts";
import type { TaskRow } from "./rows.ts";

export interface LiveTasks {
  /** The newest first. */
  readonly rows: readonly TaskRow[];
  /** Nodes have more than they list: what `counts` say. */
  readonly isCut: boolean;
  readonly counts: Queries["live-tasks"]["result"]["counts"];
  readonly partial: readonly string[];
  /** Of `partial`, those whose tasks are not even counted. */
  readonly silent: readonly string[];
}

/** @param answers by the nodes' names. */
export function liveTasks(
  answers: readonly (readonly [name: string, Queries["live-tasks"]["result"]])[],
  nowMs: number,
): LiveTasks {
  const silent = answers.flatMap(([name, answer]) => answer.partial.map((words) => `node ${name}: ${words}`));
  const cut = answers.flatMap(([name, answer]) => {
    const all = answer.counts.reduce((sum, [, , , count]) => sum + count, 0);
    const isCut = all > answer.rows.length;
    return isCut ? [`node ${name}: ${answer.rows.length} of ${all} tasks that have not ended are listed`] : [];
  });
  const runs = new Map(
    answers.flatMap(([, { running = [] }]) => running.map((run) => [runKey(taskIdOf(run), run.attempt), run] as const)),
  );
  const rows = answers.flatMap(([, answer]) => answer.rows.map(liveRow)).map((row) => startedRow(row, runs));
  const counts = answers.flatMap(([, answer]) => answer.counts);
  // What runs although nobody tells of it who has submitted it.
  const heard = new Set(answers.flatMap(([, answer]) => answer.heard ?? []));
  const known = new Set(rows.map(({ taskId, attempt }) => runKey(taskId, attempt)));
  for (const [key, run] of runs) {
    if (heard.has(run.owner) || known.has(key)) continue;
    rows.push(runRow(run));
    counts.push([run.name, run.kind, "running", 1, run.jobId]);
  }
  rows.sort((a, b) => beganMs(b) - beganMs(a));
  const timed = rows.map((row) => (row.startedAtMs === null ? row : { ...row, ranMs: nowMs - row.startedAtMs }));
  const isCut = counts.reduce((sum, [, , , count]) => sum + count, 0) > rows.length;
  return { rows: timed, isCut, counts, partial: [...silent, ...cut], silent };
}

const taskIdOf = ({ owner, seq, jobId, kind, actorId }: TaskNumbers): string =>
  kind === "actor-creation" && actorId !== undefined ? creationTaskId(actorId, jobId) : taskIdHex(owner, seq, jobId);
type TaskNumbers = Pick<LiveRun, "owner" | "seq" | "jobId" | "kind" | "actorId">;
const runKey = (taskId: string, attempt: number): string => `${taskId} ${attempt}`;

/** Its worker knows best since when it runs. */
function startedRow(row: TaskRow, runs: ReadonlyMap<string, LiveRun>): TaskRow {
  const run = runs.get(runKey(row.taskId, row.attempt));
  const { startedAtMs } = run ?? {};
  // Who asked for an actor hears of it when it lives.
  if (run && row.kind === "actor-creation") {
    const [workerId, nodeId, workerPid] = run.worker;
    return { ...row, state: "running", workerId, nodeId, workerPid, startedAtMs: run.startedAtMs };
  }
  if (row.state !== "running" || startedAtMs === undefined || startedAtMs === null) return row;
  return { ...row, startedAtMs: Math.max(startedAtMs, row.sentAtMs ?? startedAtMs) };
}

const beganMs = ({ submittedAtMs, startedAtMs }: TaskRow): number => submittedAtMs ?? startedAtMs ?? 0;

/** Neither who submitted it nor when is known. */
function runRow(run: LiveRun): TaskRow {
  const { attempt, name, kind, jobId, actorId = null, ownerPid, startedAtMs } = run;
  const [workerId, nodeId, workerPid] = run.worker;
  return {
    ...{ taskId: taskIdOf(run), attempt, name, kind, state: "running", jobId, actorId, nodeId, workerId, workerPid },
    ...{ ownerPid, parentId: null, parentName: null, submittedAtMs: null, readyAtMs: null, sentAtMs: null },
    ...{ startedAtMs, finishedAtMs: null, ranMs: null, error: null },
  };
}

function liveRow(task: LiveTask): TaskRow {
  const { owner, ownerPid, jobId, attempt, name, kind, state, submittedAtMs, parent } = task;
  const [workerId = null, nodeId = null, workerPid = null] = task.worker ?? [];
  return {
    ...{
      taskId: taskIdOf(task),
      attempt,
      name,
      kind,
      state,
      jobId,
      nodeId,
      workerId,
      workerPid,
      ownerPid,
    },
    // Releases before this one do not say it.
    parentId: parent === undefined ? null : parent && parent[1] > 0 ? taskIdHex(parent[0], parent[1], jobId) : owner,
    parentName: parent?.[2] ?? null,
    ...{
      actorId: task.actorId ?? null,
      submittedAtMs,
      readyAtMs: task.readyAtMs ?? null,
      sentAtMs: task.sentAtMs ?? null,
    },
    startedAtMs: task.startedAtMs ?? null,
    ...{ finishedAtMs: null, ranMs: null, error: null },
  };
}
