/** Why something waits, in sentences with numbers. */
import { fromUnits, type ResourceUnits } from "../base/resources.ts";
import type { WaitingDemand } from "../wire/queries.ts";
import type { Environments } from "./environments.ts";
import { compareAsks } from "./fairness.ts";
import type { ResourcePool } from "./resource-pool.ts";
import type { Ask, Holding } from "./state.ts";
import type { Tables } from "./tables.ts";

const HOLDERS_NAMED_MAX = 5;

/** `{ cpu: 2, gpu: 0.5 }`, in the order in which a program would write it. */
function describeResources(units: ResourceUnits): string {
  const parts = Object.entries(fromUnits(units)).map(([name, amount]) =>
    name === "memory" ? `memory: ${Math.round(amount / 2 ** 20)} MiB` : `${name}: ${amount}`,
  );
  return parts.length > 0 ? `{ ${parts.join(", ")} }` : "{ }";
}

const bundleName = ({ groupId, index }: NonNullable<Ask["bundle"]>): string =>
  `${index === undefined ? "a bundle" : `bundle ${index}`} of placement group ${groupId}`;

/** @param pools where it may be; the first stands for all, as the bundles of a group are mostly alike. */
export function infeasibleMessage(ask: Ask, pools: readonly ResourcePool[], nodeName: string): string {
  const [pool] = pools;
  const place = ask.bundle ? `${bundleName(ask.bundle)} on ${nodeName}` : nodeName;
  if (!pool) return `${ask.name} is to run in ${place}, and there is none`;
  const missing = pool.neverFits(ask.resources);
  const words = missing.map((name) => {
    const has = fromUnits({ [name]: pool.total[name] ?? 0 })[name] ?? 0;
    const wants = fromUnits({ [name]: ask.resources[name] ?? 0 })[name] ?? 0;
    return has === 0 ? `it has no ${name}` : `of ${name} it has ${has}, not ${wants}`;
  });
  return (
    `${ask.name} needs ${describeResources(ask.resources)}, and no ${ask.bundle ? "bundle of its group" : "node"} can ever offer that; the best is ${place} ` +
    `with ${describeResources(pool.total)} (${words.join("; ")}). Ask for less, or ${ask.bundle ? "for larger bundles" : "start with more resources"}`
  );
}

/** What leases are ended for, in words that follow "for". */
export const describeUrgent = ({ name, client, priority }: Ask): string =>
  `${name} of job ${client.job.id}, whose priority is ${priority}`;

export function explainAsk(about: {
  readonly ask: Ask;
  readonly tables: Tables;
  readonly environments: Environments;
  readonly pools: readonly ResourcePool[];
  readonly nodeName: string;
  readonly nowMs: number;
}): string[] {
  const { ask, tables, environments, pools, nodeName, nowMs } = about;
  const seconds = ((nowMs - (ask.waitingSinceMs ?? nowMs)) / 1000).toFixed(1);
  const sentences = [
    `${ask.name} waits for ${tables.missing(ask)} more of ${describeResources(ask.resources)}, ` +
      `since ${seconds} s; ${ask.held.size} are in use.`,
  ];
  const pool = pools.find((one) => one.neverFits(ask.resources).length === 0);
  if (!pool) {
    sentences.push(`${infeasibleMessage(ask, pools, nodeName)}.`);
    return sentences;
  }
  const preparing = environments.explain(ask, nowMs);
  if (preparing !== undefined) return [...sentences, preparing];
  const place = ask.bundle ? `in ${bundleName(ask.bundle)} on ${nodeName}` : `on ${nodeName}`;
  const lacking = pool.lacks(ask.resources);
  if (lacking.length > 0) {
    for (const name of lacking) {
      const free = fromUnits({ [name]: Math.max(0, pool.freeOf(name)) })[name] ?? 0;
      const all = fromUnits({ [name]: pool.total[name] ?? 0 })[name] ?? 0;
      sentences.push(`${place.replace(/^[io]/, (letter) => letter.toUpperCase())} ${free} of ${all} ${name} are free.`);
    }
    sentences.push(...describeHolders(tables, pool, lacking));
  } else {
    const starting = [...tables.workers.values()].filter((worker) => worker.state === "starting").length;
    sentences.push(
      `The resources are free ${place}; it waits for a worker process (${starting} of ${tables.workers.size} are starting).`,
    );
  }
  if (ask.isUrgent) {
    const ending = [...tables.leases.values()].filter(({ preemption }) => preemption && !preemption.keptUntilMs).length;
    sentences.push(
      `It has waited so long that it goes before what has a lower priority than ${ask.priority} in other jobs, of which ${ending} were told to end.`,
    );
  }
  let ahead = 0;
  for (const other of tables.active) {
    if (other !== ask && tables.missing(other) > 0 && compareAsks(other, ask) < 0) ahead++;
  }
  if (ahead > 0) sentences.push(`${ahead} other demands go first, by priority or because they have had less so far.`);
  return sentences;
}

/** What waits here, of asks that are alike together. */
export function waitingAsks(of: {
  readonly tables: Tables;
  readonly environments: Environments;
  readonly bundles: { poolsOf(ask: Ask): readonly ResourcePool[] };
  readonly nodeName: string;
}): WaitingDemand[] {
  const kinds = new Map<string, WaitingDemand>();
  for (const ask of of.tables.active) {
    const missing = of.tables.missing(ask);
    if (missing === 0) continue;
    const pools = of.bundles.poolsOf(ask);
    const isInfeasible = pools.every((pool) => pool.neverFits(ask.resources).length > 0);
    const jobId = ask.client.job.id;
    const wish = describeResources(ask.resources);
    const kind = ask.target === undefined ? "task" : "actor";
    const why = isInfeasible
      ? infeasibleMessage(ask, pools, of.nodeName)
      : of.environments.isReady(ask)
        ? shortly(ask, pools)
        : "It waits for its environment.";
    const { groupId } = ask.bundle ?? {};
    const name = JSON.stringify([kind, ask.name, ask.resources, groupId, why]);
    const { count = 0, jobs = [] } = kinds.get(name) ?? {};
    kinds.set(name, {
      ...{ kind, name: ask.name, count: count + missing, resources: fromUnits(ask.resources), wish },
      ...(groupId !== undefined && { groupId }),
      ...{ jobs: jobs.includes(jobId) ? jobs : [...jobs, jobId], isInfeasible, why },
    });
  }
  return [...kinds.values()].sort((a, b) => b.count - a.count);
}

function shortly(ask: Ask, pools: readonly ResourcePool[]): string {
  const pool = pools.find((one) => one.neverFits(ask.resources).length === 0);
  const lacking = pool?.lacks(ask.resources) ?? [];
  if (!pool || lacking.length === 0) return "It waits for a worker process.";
  const words = lacking.map((name) => {
    const amount = (units: number): number => fromUnits({ [name]: Math.max(0, units) })[name] ?? 0;
    return `${amount(pool.freeOf(name))} of ${amount(pool.total[name] ?? 0)} ${name} are free`;
  });
  return `${words.join(", ")}.`;
}

function describeHolders(tables: Tables, pool: ResourcePool, lacking: readonly string[]): string[] {
  const byName = new Map<string, { leases: number; units: number; revoked: number }>();
  const add = (holding: Holding): void => {
    const units = lacking.reduce((sum, name) => sum + (holding.allocation.units[name] ?? 0), 0);
    if (units === 0) return;
    const key = `${holding.ask.name} of job ${holding.ask.client.job.id}`;
    const entry = byName.get(key) ?? { leases: 0, units: 0, revoked: 0 };
    entry.leases++;
    entry.units += units;
    if (holding.isRevoked) entry.revoked++;
    byName.set(key, entry);
  };
  for (const ask of tables.active) for (const holding of ask.held) if (holding.pool === pool) add(holding);
  return [...byName]
    .sort(([, a], [, b]) => b.units - a.units)
    .slice(0, HOLDERS_NAMED_MAX)
    .map(([name, { leases, revoked }]) => {
      const back = revoked > 0 ? `, ${revoked} of them called back` : "";
      return `${name} holds ${leases} of them${back}.`;
    });
}
