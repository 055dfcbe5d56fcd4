/**
 * How the control of a cluster finds again what goes on when it was killed and started again. Tasks, actors and their callers have
 * noticed nothing; what control knew of them is partly written down, and partly known to the nodes.
 *
 * 1. What is written down is read: jobs, the code of classes, all actors with how to make them again.
 * 2. Each node states what it has (`NodeStatement`): processes, drivers, and workers of actors with what their hosts said last. An
 *    actor that a node has goes on; what happened to it meanwhile happens now. Until then whatever is asked of it waits.
 * 3. When all nodes have spoken that live, the actors that none of them has are made (again, if a node has died that may have
 *    had them), and those end whose creators are gone.
 * 4. Each process says what it holds, and again a while later, for a handle may have been under way the first time whose grant
 *    died with the old control. Before all have said so twice nobody's last hold is concluded: what is counted too high for that
 *    reason goes with its process; too low, and an actor would end that somebody can still call.
 */
import type { ActorId, JobId, ProcessId } from "../base/mod.ts";
import { unpack } from "../wire/mod.ts";
import { CODE_PREFIX } from "./actor-codes.ts";
import { ACTOR_PREFIX, ALIAS_PREFIX, JOB_PREFIX, readSavedActor, SURPLUS_PREFIX } from "./actor-state.ts";
import type { Actors } from "./actors.ts";
import type { HoldTable } from "./holds.ts";
import type { JobInfo, StatedWorkers } from "./interface.ts";
import { type HeldKey, isActorId } from "./keys.ts";

/** How often each process says what it holds. */
const SAID_TIMES = 2;

export interface Recovery {
  /** Gives the jobs that there were. */
  recover(entries: readonly { readonly key: string; readonly value: Uint8Array }[]): readonly JobInfo[];
  /** Gives the actors among them that are none that count. */
  stated(statement: StatedWorkers): readonly ActorId[];
  /** Gives the jobs that there were: those without a driver are over. `haveDied`: some that were to speak. */
  allStated(haveDied: boolean): readonly JobId[];
  /** The process has said what it holds. */
  heard(process: ProcessId): void;
  processGone(process: ProcessId): void;
  /** How many of so many that it gives back are known to have been granted. */
  returned(key: HeldKey, process: ProcessId, count: number): number;
  tick(): void;
}

export function createRecovery(
  holds: HoldTable,
  actors: Actors,
  { isAlive }: { isAlive(process: ProcessId): boolean },
): Recovery {
  let isRecovering = false;
  let haveAllStated = false;
  let jobs: readonly JobId[] = [];
  /** Processes, and how often they have yet to say what they hold. */
  const unheard = new Map<ProcessId, number>();

  return {
    recover(entries) {
      isRecovering = true;
      actors.holdsUnknown();
      for (const { key, value } of entries) {
        if (key.startsWith(CODE_PREFIX)) actors.codes.restore(key.slice(CODE_PREFIX.length), value);
      }
      for (const { key, value } of entries) {
        if (key.startsWith(ACTOR_PREFIX)) actors.recover(readSavedActor(value));
      }
      const found: JobInfo[] = [];
      for (const { key, value } of entries) {
        // Our own bytes, under the schema version that the store has checked.
        if (key.startsWith(ALIAS_PREFIX)) {
          actors.recoverAlias(key.slice(ALIAS_PREFIX.length) as ActorId, unpack(value) as ActorId);
        } else if (key.startsWith(SURPLUS_PREFIX)) {
          actors.recoverSurplus(key.slice(SURPLUS_PREFIX.length) as HeldKey, unpack(value) as number);
        } else if (key.startsWith(JOB_PREFIX)) found.push(unpack(value) as JobInfo);
      }
      jobs = found.map(({ jobId }) => jobId);
      return found;
    },

    stated({ workers, processes, retired }) {
      if (isRecovering) for (const process of processes) unheard.set(process, SAID_TIMES);
      for (const process of retired) actors.processGone(process, true);
      const unknown: ActorId[] = [];
      for (const stated of workers) {
        for (const actor of stated.actors) if (!actors.adopt(stated, actor)) unknown.push(actor.actorId);
        if (stated.death) actors.workerDied(stated.death);
        else actors.startAgain(stated);
      }
      return unknown;
    },

    allStated(haveDied) {
      haveAllStated = true;
      if (!isRecovering) return [];
      for (const creator of actors.creators()) if (!isAlive(creator)) actors.processGone(creator, false);
      actors.lost(haveDied);
      return jobs;
    },

    heard(process) {
      const left = unheard.get(process);
      if (left === undefined) return;
      if (left > 1) unheard.set(process, left - 1);
      else unheard.delete(process);
    },

    processGone: (process) => void unheard.delete(process),

    returned(key, process, count) {
      if (!isRecovering || !isActorId(key)) return count;
      return Math.min(count, Math.max(0, holds.countOf(key, process)));
    },

    tick() {
      if (!isRecovering || !haveAllStated || unheard.size > 0) return;
      isRecovering = false;
      actors.holdsKnown();
    },
  };
}
