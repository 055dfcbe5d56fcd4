/**
 * Kills workers with SIGKILL at random moments. How many follows from the progress of the load and not from a clock: a
 * slow machine would otherwise lose workers faster than it can start them.
 */
import type { Place } from "./place.ts";
import type { Random } from "./random.ts";

const DELAY_MS_MAX = 1_000;

export interface Killer {
  readonly kills: number;
  /** An operation begins. */
  began(): void;
  stop(): void;
}

/** @param killsPerOperation the share of operations during which a worker is killed, their own or another's. */
export function createKiller(random: Random, killsPerOperation: number, place: Place): Killer {
  const timers = new Set<NodeJS.Timeout>();
  let kills = 0;
  const killOne = (): void => {
    const workers = place.workers();
    if (workers.length > 0 && kill(random.pick(workers))) kills++;
  };
  return {
    get kills() {
      return kills;
    },
    began() {
      if (!random.chance(killsPerOperation)) return;
      // Often soon: most operations are short.
      const timer = setTimeout(
        () => {
          timers.delete(timer);
          killOne();
        },
        DELAY_MS_MAX * random.next() ** 3,
      );
      timers.add(timer);
    },
    stop() {
      for (const timer of timers) clearTimeout(timer);
    },
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
