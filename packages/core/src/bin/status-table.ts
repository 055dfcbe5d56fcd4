/** How `mobula status` shows nodes and actors. */
import type { ActorInfo, LimitsInfo, NodeInfo, WaitingDemand } from "../wire/queries.ts";
import { cut, table, wrap } from "./text-table.ts";

const size = (value: number): string =>
  value >= 2 ** 30 ? `${(value / 2 ** 30).toFixed(1)} GiB` : `${Math.round(value / 2 ** 20)} MiB`;

/** A table of at most `columns` characters; the last column is cut. The node `here` is marked. */
export function nodeTable(nodes: readonly NodeInfo[], here: string | undefined, columns = 80): string[] {
  const rows = [...nodes].sort(byStateAndName).map((node) => rowOf(node, here));
  const all = [["NODE", "STATE", "CPU", "GPU", "MEMORY", "STORE", "LABELS, RESOURCES"], ...rows];
  const kept = all[0]?.map((_, column) => column !== 3 || rows.some((row) => row[3] !== "")) ?? [];
  const cells = all.map((row) => row.filter((_, column) => kept[column]));
  const widths = (cells[0] ?? []).map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  return cells.map((row) => {
    const last = row.length - 1;
    const line = row.map((cell, column) => (column === last ? cell : cell.padEnd((widths[column] ?? 0) + 2))).join("");
    return cut(line.trimEnd(), columns);
  });
}

const ORDER: Readonly<Record<NodeInfo["state"], number>> = { alive: 0, draining: 1, dead: 2 };

function byStateAndName(a: NodeInfo, b: NodeInfo): number {
  return ORDER[a.state] - ORDER[b.state] || a.name.localeCompare(b.name);
}

function rowOf({ nodeId, name, state, resources, available, labels, objectStore }: NodeInfo, here?: string): string[] {
  const called = cut(name, 20) + (nodeId === here ? " *" : "");
  if (state === "dead") return [called, state, "", "", "", "", ""];
  const used = (what: string): string => amountUsed(resources[what], available[what]);
  const others = Object.keys(resources)
    .filter((what) => !["cpu", "gpu", "memory"].includes(what))
    .map((what) => `${what} ${used(what)}`);
  const { memory = 0 } = resources;
  return [
    called,
    state,
    used("cpu"),
    used("gpu"),
    memory > 0 ? sizes(memory - (available.memory ?? 0), memory) : "",
    sizes(objectStore.usedBytes, objectStore.capacityBytes),
    [...Object.entries(labels).map(([key, value]) => `${key}=${value}`), ...others].join(" "),
  ];
}

/** "1/4": in use, of all. */
function amountUsed(all: number | undefined, free = 0): string {
  if (all === undefined || all === 0) return "";
  const used = Math.round((all - free) * 10_000) / 10_000;
  return `${used}/${all}`;
}

function sizes(used: number, all: number): string {
  const unit = all >= 2 ** 30 ? ({ bytes: 2 ** 30, name: "GiB" } as const) : ({ bytes: 2 ** 20, name: "MiB" } as const);
  const format = (value: number): string =>
    unit.name === "GiB" && value > 0 ? (value / unit.bytes).toFixed(1) : String(Math.round(value / unit.bytes));
  return `${format(used)}/${format(all)} ${unit.name}`;
}

/** While a cluster is upgraded: which nodes are still to be. */
export function olderNodes(nodes: readonly NodeInfo[]): string[] {
  // A head of version 1 does not say it.
  const versionOf = ({ wireVersion = 1 }: Partial<NodeInfo>): number => wireVersion;
  const living = nodes.filter(({ state }) => state !== "dead");
  const newest = Math.max(...living.map(versionOf));
  const older = living.filter((node) => versionOf(node) < newest);
  if (older.length === 0) return [];
  const names = older.map(({ name }) => name).sort();
  const versions = [...new Set(older.map(versionOf))].join(", ");
  return [
    `of an older release (wire version ${versions} instead of ${newest}): ${names.join(", ")}; upgrade ${names.length === 1 ? "it" : "them"} before the next one`,
  ];
}

/** One node by itself, in a line for each of its resources. */
export function nodeLines({ name, state, resources, available, objectStore }: NodeInfo, since: string): string[] {
  const format = (what: string, value: number): string => (what === "memory" ? size(value) : String(value));
  const { usedBytes, capacityBytes, spilledBytes } = objectStore;
  return [
    `${name}: ${state}, ${since}`,
    ...Object.entries(resources).map(
      ([what, all]) => `  ${what}: ${format(what, available[what] ?? 0)} of ${format(what, all)} free`,
    ),
    `  object store: ${size(usedBytes)} of ${size(capacityBytes)} used, ${size(spilledBytes)} on disk`,
  ];
}

/** Whether the kernel keeps tasks and actors of this machine to what they have asked for. */
export function limitsLines(limits: LimitsInfo | undefined, columns = 80): string[] {
  if (!limits) return [];
  if ("place" in limits) {
    const { controllers, place } = limits;
    return [`limits: ${controllers.join(" and ")}, by cgroup, in ${place}`];
  }
  const { why, advice } = limits;
  return wrap(`limits: memory and CPUs are not enforced: ${why}${advice === "" ? "" : `; ${advice}`}`, columns);
}

export function actorLines(actors: readonly ActorInfo[]): string[] {
  const living = actors.filter(({ state }) => state !== "dead");
  if (living.length === 0) return ["  no actors"];
  return [
    "  actors:",
    ...living.map(({ className, name, namespace, state, pid, restarts }) => {
      const called = name === null ? "" : ` "${name}" in ${namespace}`;
      return `    ${className}${called}: ${state}${pid === null ? "" : `, pid ${pid}`}, ${restarts} restarts`;
    }),
  ];
}

/** What waits for resources; nothing when nothing does. What no node can take comes first. */
export function waitingLines(waiting: readonly WaitingDemand[], columns = 80): string[] {
  if (waiting.length === 0) return [];
  const sorted = [...waiting].sort((a, b) => Number(b.isInfeasible) - Number(a.isInfeasible));
  const rows = sorted.map(({ kind, name, count, wish, isInfeasible, why }) => [
    count.toLocaleString("en-US"),
    cut(kind === "actor" ? `actor ${name}` : name, 24),
    // The words for what cannot be had say what is wanted.
    isInfeasible ? why : `${wish}: ${why}`,
  ]);
  return ["", ...table([["WAITING", "FOR", "WHY"], ...rows], columns)];
}
