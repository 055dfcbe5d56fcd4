/** Kills workers with SIGKILL, at random times. */
import { descendants, isReady } from "./processes.ts";
import type { Random } from "./random.ts";

export interface Killer {
  readonly kills: number;
  stop(): void;
}

/** @param meanMs from one kill to the next, on average. */
export function startKiller(random: Random, meanMs: number): Killer {
  let kills = 0;
  let timer: NodeJS.Timeout | undefined;
  const plan = (): void => {
    timer = setTimeout(killOne, random.next() * 2 * meanMs);
  };
  const killOne = (): void => {
    // Three that die in a row before they are ready are taken for workers that cannot start, and rightly.
    const workers = descendants().filter(({ pid, program }) => program === "worker" && isReady(pid));
    if (workers.length > 0 && kill(random.pick(workers).pid)) kills++;
    plan();
  };
  plan();
  return {
    get kills() {
      return kills;
    },
    stop: () => clearTimeout(timer),
  };
}

function kill(pid: number): boolean {
  try {
    return process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw error;
  }
}
