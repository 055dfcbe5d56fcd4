/**
 * Work waits for resources that are held by what waits for that work. Control refuses cycles of `get`s and calls itself; this
 * is a cycle that goes through resources: a task that waits gives its CPUs back, and keeps everything else; an actor keeps its
 * CPUs too.
 *
 * A demand lacks a resource on every node that has enough of it. Each who has some of it there is *stuck*: it waits for
 * something that must end first, and so on, down to a task of that demand. When all are, nothing will ever give it back. What
 * has it and is not known (in placement groups, in lists that were cut) might, so that is no deadlock.
 */
import { type ObjectKey, objectKey, taskIdHex } from "../../base/ids.ts";
import { fromUnits } from "../../base/resources.ts";
import type { WaitingDemand } from "../../wire/queries.ts";
import type { Detector, Finding, Observation } from "./detector.ts";
import { actorText, countText, listText } from "./words.ts";

interface Holder {
  /** As waits name it. */
  readonly party: string;
  readonly id: string;
  readonly words: string;
  readonly amount: number;
}
interface Held {
  readonly holders: readonly Holder[];
  readonly total: number;
}
/** What of a known total is not accounted for is no rounding. */
const EPSILON = 1e-6;
const HOLDERS_MAX = 100;

export const taskParty = (key: ObjectKey): string => `task:${key}`;

/** Resources of which too little is free on each node that has enough, with who has them. */
function lacking({ resources }: WaitingDemand, { nodes, actors, live }: Observation): ReadonlyMap<string, Held> {
  const lacked = new Map<string, Held>();
  for (const [name, wanted] of Object.entries(resources)) {
    const able = nodes.filter((node) => node.state === "alive" && (node.resources[name] ?? 0) >= wanted);
    const isLacking = able.length > 0 && able.every(({ available }) => (available[name] ?? 0) < wanted - EPSILON);
    if (wanted <= 0 || !isLacking) continue;
    const ids = new Set(able.map(({ nodeId }) => nodeId));
    const holders: Holder[] = [];
    for (const actor of actors.all) {
      const { [name]: amount = 0 } = actor.resources;
      if (amount <= 0 || actor.state === "dead" || actor.nodeId === null || !ids.has(actor.nodeId)) continue;
      holders.push({ party: `actor:${actor.actorId}`, id: actor.actorId, words: `actor ${actorText(actor)}`, amount });
    }
    for (const task of live.tasks) {
      if (task.state !== "running" || !task.resources || !ids.has(task.worker?.[1] ?? "")) continue;
      const { [name]: amount = 0 } = fromUnits(task.resources);
      if (amount <= 0) continue;
      const id = taskIdHex(task.owner, task.seq, task.jobId);
      holders.push({
        party: taskParty(objectKey(task.owner, task.seq)),
        id,
        words: `task ${task.name} (${id})`,
        amount,
      });
    }
    const total = able.reduce((sum, node) => sum + (node.resources[name] ?? 0), 0);
    lacked.set(name, { holders, total });
  }
  return lacked;
}

/** Whom to ask what they wait for, when something waits; by resource that is lacking. */
export function suspects(observation: Observation): ReadonlySet<string> {
  const parties = new Set<string>();
  for (const demand of observation.waiting) {
    if (demand.isInfeasible) continue;
    for (const { holders } of lacking(demand, observation).values())
      for (const { party } of holders.slice(0, HOLDERS_MAX)) parties.add(party);
  }
  return parties;
}

export class DeadlockedWaits implements Detector {
  readonly kind = "deadlock";
  readonly pace = "tasks";
  /** A wait is reported after a second; this is longer than any answer may be on its way. */
  readonly raiseAfterMs = 5_000;
  readonly clearAfterMs = 10_000;

  *look(observation: Observation): Generator<Finding> {
    for (const demand of observation.waiting) {
      if (demand.isInfeasible) continue;
      for (const [name, held] of lacking(demand, observation)) {
        const finding = deadlock(demand, name, held, observation);
        if (finding) yield finding;
      }
    }
  }
}

function deadlock(
  demand: WaitingDemand,
  resource: string,
  { holders, total }: Held,
  observation: Observation,
): Finding | undefined {
  const { live, nodes, waits, actors } = observation;
  const isWaiting = ({ party }: Holder): boolean => (waits.get(party)?.length ?? 0) > 0;
  // Tasks that wait have given their CPUs back.
  const keeps = holders.filter(
    (holder) => resource !== "cpu" || holder.party.startsWith("actor:") || !isWaiting(holder),
  );
  const known = keeps.reduce((sum, { amount }) => sum + amount, 0);
  const wanted = demand.resources[resource] ?? 0;
  const free = nodes.reduce((sum, { resources, available, state }) => {
    const isAble = state === "alive" && (resources[resource] ?? 0) >= wanted;
    return isAble ? sum + (available[resource] ?? 0) : sum;
  }, 0);
  if (keeps.length === 0 || known < total - free - EPSILON) return undefined;
  const queued = new Map(
    live.tasks.flatMap((task) =>
      task.state !== "running" && task.kind === "task" && task.name === demand.name
        ? [[taskParty(objectKey(task.owner, task.seq)), taskIdHex(task.owner, task.seq, task.jobId)] as const]
        : [],
    ),
  );
  const reached = new Set<string>();
  /** It cannot end before something of the demand has run. */
  const isStuck = (party: string, seen: Set<string>): boolean => {
    const id = queued.get(party);
    if (id !== undefined && demand.kind === "task") {
      reached.add(id);
      return true;
    }
    const [kind, actorId = ""] = party.split(":");
    if (kind === "actor" && demand.kind === "actor") {
      const actor = actors.get(actorId);
      if (actor?.className === demand.name && (actor.state === "pending" || actor.state === "restarting")) {
        reached.add(actorId);
        return true;
      }
    }
    if (seen.has(party)) return false;
    seen.add(party);
    return (waits.get(party) ?? []).some((on) => isStuck(on, seen));
  };
  if (!keeps.every(({ party }) => isStuck(party, new Set()))) return undefined;
  const what = `${demand.kind === "task" ? "task" : "actor"} ${demand.name}`;
  const who = listText(keeps.map(({ words, amount }) => `${words} has ${amount}`));
  return {
    key: `${resource} ${demand.kind} ${demand.name}`,
    severity: "error",
    message: `deadlock: ${what} (${countText(Math.max(demand.count, reached.size))} asked for) waits for ${wanted} ${resource}, and all ${total} that there are belong to what waits for it: ${who}. None of them will ever end`,
    remedy:
      resource === "cpu"
        ? "an actor keeps its CPUs while it waits: give it numCpus: 0, start fewer actors than there are CPUs, or call an actor instead of a task from within"
        : `a task keeps its ${resource} while it waits: get the results outside of it, ask for less, or let what it calls not ask for ${resource} again`,
    subjects: [...keeps.map(({ id }) => id), ...reached, demand.name].slice(0, 2 * HOLDERS_MAX),
  };
}
