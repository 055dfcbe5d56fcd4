/** Tasks that have not ended, as nodes tell of them, made into rows. */
import { taskIdHex } from "../base/ids.ts";
import type { LiveTask, Queries } from "../wire/queries.ts";
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
export function liveTasks(answers: readonly (readonly [name: string, Queries["live-tasks"]["result"]])[]): LiveTasks {
  const silent = answers.flatMap(([name, answer]) => answer.partial.map((words) => `node ${name}: ${words}`));
  const cut = answers.flatMap(([name, answer]) => {
    const all = answer.counts.reduce((sum, [, , , count]) => sum + count, 0);
    const isCut = all > answer.rows.length;
    return isCut ? [`node ${name}: ${answer.rows.length} of ${all} tasks that have not ended are listed`] : [];
  });
  const rows = answers.flatMap(([, answer]) => answer.rows.map(liveRow));
  rows.sort((a, b) => b.submittedAtMs - a.submittedAtMs);
  const counts = answers.flatMap(([, answer]) => answer.counts);
  const isCut = counts.reduce((sum, [, , , count]) => sum + count, 0) > rows.length;
  return { rows, isCut, counts, partial: [...silent, ...cut], silent };
}

function liveRow(task: LiveTask): TaskRow {
  const { owner, ownerPid, jobId, seq, attempt, name, kind, state, submittedAtMs, parent } = task;
  const [workerId = null, nodeId = null, workerPid = null] = task.worker ?? [];
  return {
    ...{
      taskId: taskIdHex(owner, seq, jobId),
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
    ...{ startedAtMs: null, finishedAtMs: null, ranMs: null, error: null },
  };
}
