/** Work that waits for resources: such as no node has, or such as others always get. */
import { taskIdHex } from "../../base/ids.ts";
import type { WaitingDemand } from "../../wire/queries.ts";
import type { Detector, Finding, Observation } from "./detector.ts";
import { countText, spanText } from "./words.ts";

const SUBJECTS_MAX = 50;
const keyOf = ({ kind, name, wish }: WaitingDemand): string => `${kind} ${name} ${wish}`;

function subjectsOf({ kind, name, jobs }: WaitingDemand, { live, actors }: Observation): readonly string[] {
  const ids: string[] = [];
  if (kind === "task")
    for (const task of live.tasks)
      if (task.name === name && task.state !== "running") ids.push(taskIdHex(task.owner, task.seq, task.jobId));
  if (kind === "actor")
    for (const actor of actors.all)
      if (actor.className === name && (actor.state === "pending" || actor.state === "restarting"))
        ids.push(actor.actorId);
  return [name, ...jobs, ...ids.slice(0, SUBJECTS_MAX)];
}

const whoOf = ({ kind, name, count }: WaitingDemand): string =>
  kind === "actor" ? `${countText(count)} ${count === 1 ? "actor" : "actors"} of class ${name}` : `task ${name}`;

/** A cluster that begins, or is enlarged, gets its nodes one after another: the next one may be what is waited for. */
const JOINING_MS = 15_000;
/** Nodes may come and go all the time. */
const PATIENCE_MS = 60_000;

/** No node can ever take it. */
export class InfeasibleDemand implements Detector {
  readonly kind = "infeasible-demand";
  readonly pace = "control";
  /** A node that joins needs a moment; without a cluster it is refused after ten seconds. */
  readonly raiseAfterMs = 3_000;
  readonly clearAfterMs = 10_000;

  private nodes: ReadonlySet<string> | undefined;
  private joinedAtMs = Number.NEGATIVE_INFINITY;
  private since = new Map<string, number>();

  *look(observation: Observation): Generator<Finding> {
    const { atMs, waiting, nodes } = observation;
    if (this.nodes && nodes.some(({ nodeId }) => this.nodes?.has(nodeId) === false)) this.joinedAtMs = atMs;
    this.nodes = new Set(nodes.map(({ nodeId }) => nodeId));
    const since: typeof this.since = new Map();
    for (const demand of waiting) {
      if (!demand.isInfeasible) continue;
      const key = keyOf(demand);
      const sinceMs = this.since.get(key) ?? atMs;
      since.set(key, sinceMs);
      if (atMs - this.joinedAtMs < JOINING_MS && atMs - sinceMs < PATIENCE_MS) continue;
      const alive = nodes.filter(({ state }) => state === "alive");
      const most = Object.keys(demand.resources)
        .map((name) => `${Math.max(0, ...alive.map(({ resources }) => resources[name] ?? 0))} ${name}`)
        .join(", ");
      yield {
        key,
        severity: "error",
        message: `${whoOf(demand)} wants ${demand.wish}, and no node can ever give that${most === "" ? "" : `: the most that one of ${alive.length} has is ${most}`}`,
        remedy:
          "ask for less, start a node that has it (mobula start --resources), or correct the label or the name of the resource",
        subjects: subjectsOf(demand, observation),
      };
    }
    this.since = since;
  }
}

/** Others have ended meanwhile, so that it is not a matter of time. */
const OTHERS_ENDED = 20;

/** So long what was seen to run counts as running while an owner does not answer, which may be the one that runs it. */
const SILENT_MS = 60_000;

/** Nothing of it has run for long, and much of others has. */
export class StarvedDemand implements Detector {
  readonly kind = "starved-demand";
  readonly pace = "tasks";
  /** So long have none of it run, while others did, at each look. */
  readonly raiseAfterMs = 30_000;
  readonly clearAfterMs = 10_000;
  /** By function: when it was last seen to run. */
  private readonly ranAtMs = new Map<string, number>();
  private seen = new Map<string, { readonly sinceMs: number; readonly own: number; readonly others: number }>();

  *look(observation: Observation): Generator<Finding> {
    const { atMs, waiting, functions, live } = observation;
    const ended = new Map<string, number>();
    let all = 0;
    for (const { name, kind, ended: count } of functions) {
      if (kind !== "task") continue;
      ended.set(name, (ended.get(name) ?? 0) + count);
      all += count;
    }
    for (const { name, state } of live.tasks) if (state === "running") this.ranAtMs.set(name, atMs);
    for (const [name, ranAtMs] of this.ranAtMs)
      if (ranAtMs < atMs && (live.isWhole || atMs - ranAtMs > SILENT_MS)) this.ranAtMs.delete(name);
    const seen: typeof this.seen = new Map();
    for (const demand of waiting) {
      if (demand.isInfeasible) continue;
      const key = keyOf(demand);
      const own = ended.get(demand.name) ?? 0;
      const before = this.seen.get(key);
      const isServed = this.ranAtMs.has(demand.name) || (before !== undefined && own > before.own);
      const since = before && !isServed ? before : { sinceMs: atMs, own, others: all - own };
      seen.set(key, since);
      const others = all - own - since.others;
      // The time of the first look counts too: from it on nothing may have run.
      if (isServed || (before && others < OTHERS_ENDED && atMs - since.sinceMs >= this.raiseAfterMs / 2)) continue;
      yield {
        key,
        severity: "warning",
        message: `${whoOf(demand)} wants ${demand.wish} and none of it has run for ${spanText(atMs - since.sinceMs)}, while ${countText(others)} other tasks have ended: they take what it needs as soon as some of it is free. ${demand.why}`,
        remedy:
          "give it a higher priority, give the others a quota (mobula quota) or fewer resources at once, reserve its resources in a placement group, or add nodes",
        subjects: subjectsOf(demand, observation),
      };
    }
    this.seen = seen;
  }
}
