/** Why something waits, in sentences with numbers. */
import { fromUnits, type ResourceUnits } from "../base/resources.ts";
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

export function infeasibleMessage(ask: Ask, pool: ResourcePool, nodeName: string): string {
  const missing = pool.neverFits(ask.resources);
  const words = missing.map((name) => {
    const has = fromUnits({ [name]: pool.total[name] ?? 0 })[name] ?? 0;
    const wants = fromUnits({ [name]: ask.resources[name] ?? 0 })[name] ?? 0;
    return has === 0 ? `it has no ${name}` : `of ${name} it has ${has}, not ${wants}`;
  });
  return (
    `${ask.name} needs ${describeResources(ask.resources)}, and no node can ever offer that; the best is ${nodeName} ` +
    `with ${describeResources(pool.total)} (${words.join("; ")}). Ask for less, or start with more resources`
  );
}

export function explainAsk(about: {
  readonly ask: Ask;
  readonly tables: Tables;
  readonly pool: ResourcePool;
  readonly nodeName: string;
  readonly nowMs: number;
}): string[] {
  const { ask, tables, pool, nodeName, nowMs } = about;
  const seconds = ((nowMs - (ask.waitingSinceMs ?? nowMs)) / 1000).toFixed(1);
  const sentences = [
    `${ask.name} waits for ${tables.missing(ask)} more of ${describeResources(ask.resources)}, ` +
      `since ${seconds} s; ${ask.held.size} are in use.`,
  ];
  if (pool.neverFits(ask.resources).length > 0) {
    sentences.push(`${infeasibleMessage(ask, pool, nodeName)}.`);
    return sentences;
  }
  const lacking = pool.lacks(ask.resources);
  if (lacking.length > 0) {
    for (const name of lacking) {
      const free = fromUnits({ [name]: Math.max(0, pool.freeOf(name)) })[name] ?? 0;
      const all = fromUnits({ [name]: pool.total[name] ?? 0 })[name] ?? 0;
      sentences.push(`On ${nodeName} ${free} of ${all} ${name} are free.`);
    }
    sentences.push(...describeHolders(tables, lacking));
  } else {
    const starting = [...tables.workers.values()].filter((worker) => worker.state === "starting").length;
    sentences.push(
      `The resources are free on ${nodeName}; it waits for a worker process (${starting} of ${tables.workers.size} are starting).`,
    );
  }
  let ahead = 0;
  for (const other of tables.active) {
    if (other !== ask && tables.missing(other) > 0 && compareAsks(other, ask) < 0) ahead++;
  }
  if (ahead > 0) sentences.push(`${ahead} other demands go first, by priority or because they have had less so far.`);
  return sentences;
}

function describeHolders(tables: Tables, lacking: readonly string[]): string[] {
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
  for (const ask of tables.active) for (const holding of ask.held) add(holding);
  return [...byName]
    .sort(([, a], [, b]) => b.units - a.units)
    .slice(0, HOLDERS_NAMED_MAX)
    .map(([name, { leases, revoked }]) => {
      const back = revoked > 0 ? `, ${revoked} of them called back` : "";
      return `${name} holds ${leases} of them${back}.`;
    });
}
