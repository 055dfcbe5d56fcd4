/**
 * Finds waits that can never end, because those they wait for wait for them.
 *
 * 1. What waits and is waited for are actors and tasks ("actor:<id>", "task:<key>"). A wait needs all it waits `on`, so
 *    it is stuck as soon as one of them is.
 * 2. Something is stuck when as many of its waits are stuck as it may have executions at once: then nothing else that
 *    it has to do can run. What has no wait reported is running, or will.
 * 3. The stuck ones are the greatest set for which 1 and 2 hold. Only a new wait can make one, so only what can be
 *    reached from it is looked at, and it is the one to be rejected: that ends the cycle, and the others go on.
 */
import type { ProcessId } from "../base/mod.ts";
import type { Deadlock, WaitReport } from "../wire/messages.ts";

type StartedWait = WaitReport["started"][number];

interface Wait extends StartedWait {
  readonly process: ProcessId;
}

interface Party {
  readonly id: string;
  readonly slots: number;
  readonly waits: Set<Wait>;
}

export interface DeadlockFinder {
  /** Takes a report in; gives the waits of its sender to reject. */
  report(from: ProcessId, report: Pick<WaitReport, "started" | "ended">): readonly Deadlock[];
  processGone(process: ProcessId): void;
  /** What `by` waits for now, for explanations: names and what they wait on. */
  waitsOf(by: string): readonly { readonly name: string; readonly on: readonly string[] }[];
  size(): number;
}

export function createDeadlockFinder(): DeadlockFinder {
  const parties = new Map<string, Party>();
  const byProcess = new Map<ProcessId, Map<number, Wait>>();

  function remove(wait: Wait): void {
    const party = parties.get(wait.by);
    party?.waits.delete(wait);
    if (party?.waits.size === 0) parties.delete(wait.by);
  }

  /** The stuck ones among what can be reached from a party. */
  function stuckFrom(start: Party): ReadonlySet<string> {
    const stuck = new Set<string>();
    const toVisit = [start.id];
    for (let id = toVisit.pop(); id !== undefined; id = toVisit.pop()) {
      const party = parties.get(id);
      if (party === undefined || party.waits.size < party.slots || stuck.has(id)) continue;
      stuck.add(id);
      for (const wait of party.waits) toVisit.push(...wait.on.filter((on) => parties.has(on)));
    }
    for (let isShrinking = true; isShrinking; ) {
      isShrinking = false;
      for (const id of stuck) {
        const party = parties.get(id);
        let stuckWaits = 0;
        for (const wait of party?.waits ?? []) if (wait.on.some((on) => stuck.has(on))) stuckWaits++;
        if (party !== undefined && stuckWaits >= party.slots) continue;
        stuck.delete(id);
        isShrinking = true;
      }
    }
    return stuck;
  }

  /** The names along a way through stuck waits from `wait` back to who waits there; undefined when there is none. */
  function cycleOf(wait: Wait, stuck: ReadonlySet<string>): readonly string[] | undefined {
    const cameFrom = new Map<string, Wait>();
    const queue: Wait[] = [wait];
    for (const current of queue) {
      for (const on of current.on) {
        if (!stuck.has(on) || cameFrom.has(on)) continue;
        cameFrom.set(on, current);
        if (on === wait.by) {
          const names = [wait.name];
          for (let at: Wait | undefined = current; at !== undefined && at !== wait; at = cameFrom.get(at.by))
            names.unshift(at.name);
          return [wait.name, ...names];
        }
        queue.push(...(parties.get(on)?.waits ?? []));
      }
    }
    return undefined;
  }

  return {
    report(from, { started, ended }) {
      let waits = byProcess.get(from);
      for (const waitId of ended) {
        const wait = waits?.get(waitId);
        if (wait === undefined) continue;
        waits?.delete(waitId);
        remove(wait);
      }
      const found: Deadlock[] = [];
      for (const one of started) {
        if (waits?.has(one.waitId)) continue;
        if (waits === undefined) {
          waits = new Map();
          byProcess.set(from, waits);
        }
        const wait: Wait = { ...one, process: from };
        let party = parties.get(wait.by);
        if (party === undefined) {
          party = { id: wait.by, slots: wait.slots, waits: new Set() };
          parties.set(wait.by, party);
        }
        party.waits.add(wait);
        const stuck = stuckFrom(party);
        const cycle = stuck.has(party.id) ? cycleOf(wait, stuck) : undefined;
        if (cycle === undefined) {
          waits.set(wait.waitId, wait);
          continue;
        }
        // Rejected, so it counts no longer: what it closed is open again.
        remove(wait);
        found.push({ t: "deadlock", waitId: wait.waitId, cycle: cycle.join(" waits for ") });
      }
      if (waits?.size === 0) byProcess.delete(from);
      return found;
    },

    processGone(process) {
      for (const wait of byProcess.get(process)?.values() ?? []) remove(wait);
      byProcess.delete(process);
    },

    waitsOf: (by) => [...(parties.get(by)?.waits ?? [])].map(({ name, on }) => ({ name, on })),

    size: () => [...byProcess.values()].reduce((sum, waits) => sum + waits.size, 0),
  };
}
