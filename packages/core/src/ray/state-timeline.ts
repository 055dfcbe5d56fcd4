/** Attempts as events of Chrome's tracing: a node is a process of it, a worker a thread; pure. */
import type { Row } from "../state/mod.ts";

const COLOURS: Readonly<Partial<Record<Row<"tasks">["state"], string>>> = {
  finished: "rail_animation",
  running: "rail_load",
  failed: "terrible",
  lost: "terrible",
};

export function timelineOf(rows: readonly Row<"tasks">[]): readonly object[] {
  const places = new Map<string, number>();
  const names: object[] = [];
  const number = (key: string, called: object): number => {
    const known = places.get(key);
    if (known !== undefined) return known;
    names.push({ ph: "M", ...called });
    places.set(key, places.size);
    return places.size - 1;
  };
  const spans = rows.flatMap((row) => {
    const { startedAtMs, finishedAtMs, nodeId, workerId, workerPid, taskId, jobId, attempt, name, actorId, state } =
      row;
    if (startedAtMs === null || finishedAtMs === null) return [];
    const pid = number(String(nodeId), { name: "process_name", pid: places.size, args: { name: `Node ${nodeId}` } });
    const tid = number(`${nodeId} ${workerId}`, {
      ...{ name: "thread_name", pid, tid: places.size },
      args: { name: `worker:${workerPid ?? workerId}` },
    });
    return [
      {
        ...{ cat: "task:execute", name, ph: "X", pid, tid, ts: startedAtMs * 1_000 },
        dur: (finishedAtMs - startedAtMs) * 1_000,
        cname: COLOURS[state] ?? "rail_idle",
        args: { task_id: taskId, job_id: jobId, attempt_number: attempt, func_or_class_name: name, actor_id: actorId },
      },
    ];
  });
  return [...names, ...spans];
}
