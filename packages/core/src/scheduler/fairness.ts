/**
 * Who goes first: shares by use, at three levels: jobs of a node, submitters of a job, shapes of a submitter.
 *
 * A flow's usage is the integral of what it held over time. The flow with the least usage goes first, so over time all
 * that wait get the same. What a flow holds counts as if it had run one quantum already: two flows that arrive together
 * then share at once instead of one taking everything. A flow that comes back after a pause starts level with the
 * others: time in which it wanted nothing earns no credit.
 *
 * What is counted is the dominant share, in CPUs: of all amounts that a demand names, the one that is the largest part
 * of the node. For ordinary tasks that is their CPUs, hence CPU-seconds.
 *
 * A job counts what really runs. A submitter counts its waiting (blocked) leases too: a parent that started many tasks
 * which all wait for children has had its share, so the children go first and the number of waiting processes stays
 * small.
 *
 * What a job has in the bundles of a placement group counts there alone: nobody else could have it.
 *
 * Priorities are for asks of one job. Between jobs they count when something is *urgent* (`preempt-pass.ts`): all that has its
 * priority or a higher one goes before all that has a lower one. That is a level, and on each level shares count as ever; were it
 * for the urgent ask alone, equals of it would have to wait, and the order would go in circles.
 *
 * @source start-time fair queueing: Goyal, Vin & Cheng 1996; dominant resource fairness: Ghodsi et al. 2011.
 */
import type { ResourceUnits } from "../base/resources.ts";
import type { Ask, Holding } from "./state.ts";

export interface Flow {
  /** Units (1/10,000 CPU) times milliseconds. */
  usage: number;
  /** Units that it holds now. */
  rate: number;
  readonly order: number;
}

/** How far one flow may be ahead before its leases are called back for another that waits. */
const QUANTUM_MS = 100;
/** What a flow can be owed at most: after long tasks of others it must not have the node for itself for long. */
const CREDIT_MS_MAX = 1_000;
/** Demands without CPUs still take turns. */
const COST_UNITS_MIN = 10;

/** What a demand counts in the shares: its dominant share of the node, in CPU units. */
export function demandCost(resources: ResourceUnits, total: ResourceUnits): number {
  const cpus = total.cpu ?? 0;
  let cost = resources.cpu ?? 0;
  for (const [name, units] of Object.entries(resources)) {
    const all = total[name] ?? 0;
    if (name !== "cpu" && all > 0) cost = Math.max(cost, Math.round((units / all) * cpus));
  }
  return Math.max(cost, COST_UNITS_MIN);
}

/** Usage with one quantum of what is held now: what flows are compared by. */
export const standing = (flow: Flow): number => flow.usage + flow.rate * QUANTUM_MS;

/** Starts a flow level with the least of its siblings that are in competition. */
export function level(flow: Flow, siblings: Iterable<Flow>): void {
  let least = Number.POSITIVE_INFINITY;
  for (const other of siblings) if (other !== flow && other.usage < least) least = other.usage;
  if (least !== Number.POSITIVE_INFINITY && least > flow.usage) flow.usage = least;
}

/** Forgives what a flow is owed beyond {@link CREDIT_MS_MAX} of one lease. */
export function boundCredit(flow: Flow, siblings: Iterable<Flow>, cost: number): void {
  let most = Number.NEGATIVE_INFINITY;
  for (const other of siblings) if (other !== flow && other.usage > most) most = other.usage;
  flow.usage = Math.max(flow.usage, most - CREDIT_MS_MAX * cost);
}

/** Adds (or with `sign` -1 takes away) a holding to the rates of its flows. */
export function count(holding: Holding, sign: 1 | -1): void {
  const { ask } = holding;
  ask.rate += sign * ask.cost;
  ask.clientFlow.rate += sign * ask.cost;
  if (!holding.isBlocked) ask.jobFlow.rate += sign * ask.cost;
}

/** A promise, or a lease that is to be called back, counts like the real thing while a pass decides who is next. */
export function countAhead(ask: Ask, sign: 1 | -1): void {
  ask.rate += sign * ask.cost;
  ask.clientFlow.rate += sign * ask.cost;
  ask.jobFlow.rate += sign * ask.cost;
}

/** The order in which waiting asks are served; negative: `a` first. */
export function compareAsks(a: Ask, b: Ask): number {
  const jobA = a.jobFlow;
  const jobB = b.jobFlow;
  if (a.level !== b.level) return b.level > a.level ? 1 : -1;
  if (jobA !== jobB) return standing(jobA) - standing(jobB) || jobA.order - jobB.order;
  if (a.priority !== b.priority) return b.priority - a.priority;
  // Of two submitters that are level, the younger one: finishing what was begun needs no new processes.
  const clientA = a.clientFlow;
  const clientB = b.clientFlow;
  if (clientA !== clientB) return standing(clientA) - standing(clientB) || clientB.order - clientA.order;
  return standing(a) - standing(b) || a.order - b.order;
}

/** Whether `holding` should be called back because `ask` waits and has had less. */
export function isOverShare(holding: Holding, ask: Ask): boolean {
  const held = holding.ask;
  if (held.level > ask.level && held.client.job !== ask.client.job) return false;
  const isOver = (over: Flow, under: Flow): boolean =>
    over.rate - held.cost >= under.rate + ask.cost || over.usage - under.usage > QUANTUM_MS * held.cost;
  if (held.jobFlow !== ask.jobFlow) return isOver(held.jobFlow, ask.jobFlow);
  if (held.priority !== ask.priority) return held.priority < ask.priority;
  if (held.clientFlow !== ask.clientFlow) return isOver(held.clientFlow, ask.clientFlow);
  return isOver(held, ask);
}
