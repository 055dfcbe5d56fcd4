/**
 * Kills workers with SIGKILL while the job runs: those of tasks, known by the process id that each task reports, and
 * those of actors. When it kills follows from the job's progress and not from a clock, so that fast and slow machines
 * kill as often.
 */

/** Shares of the sketching after which a task's worker is killed, and an actor's. */
const KILL_TASK_AT = [0.2, 0.5, 0.8];
const KILL_ACTOR_AT = [0.35, 0.65, 1];
/** The share of the comparing after which a task's worker is killed. */
const KILL_COMPARING_AT = [0.3, 0.6];

export interface Chaos {
  readonly kills: { readonly tasks: number; readonly actors: number };
  /** @param pid of the worker that has just finished a task, and most likely runs the next one. */
  sketched(done: number, total: number, pid: number): Promise<void>;
  /** An actor is in the middle of streaming its candidates. */
  streaming(): Promise<void>;
  compared(done: number, total: number, pid: number): void | Promise<void>;
}

/** @param actorPids the processes in which actors live now. */
export function createChaos(actorPids: () => Promise<readonly number[]>): Chaos {
  const kills = { tasks: 0, actors: 0 };
  const due = { task: [...KILL_TASK_AT], actor: [...KILL_ACTOR_AT], comparing: [...KILL_COMPARING_AT] };
  let streamed = false;

  const isDue = (shares: number[], share: number): boolean => {
    const [next] = shares;
    if (next === undefined || share < next) return false;
    shares.shift();
    return true;
  };
  const killActor = async () => {
    const pids = await actorPids();
    // Each in turn.
    const pid = pids[kills.actors % Math.max(1, pids.length)];
    if (pid !== undefined && kill(pid)) kills.actors++;
  };
  return {
    kills,
    async sketched(done, total, pid) {
      if (isDue(due.task, done / total) && kill(pid)) kills.tasks++;
      if (isDue(due.actor, done / total)) await killActor();
    },
    async streaming() {
      if (streamed) return;
      streamed = true;
      await killActor();
    },
    compared(done, total, pid) {
      if (isDue(due.comparing, done / total) && kill(pid)) kills.tasks++;
    },
  };
}

/** False when the process had ended by itself. */
function kill(pid: number): boolean {
  try {
    return process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw error;
  }
}
