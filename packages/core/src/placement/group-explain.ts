/** Why a group waits, or where it is, in sentences with numbers. */
import { describeResources } from "./amounts.ts";
import type { ClusterView } from "./cluster-view.ts";
import type { Earmark } from "./earmark.ts";
import { explainOutcome } from "./explain.ts";
import { shortagesOf } from "./gang.ts";
import { kindsOf } from "./gang-kinds.ts";
import { missingOf } from "./group-placing.ts";
import { type Group, nameOf, type Reservation } from "./group-state.ts";
import { Shape } from "./shape.ts";

const NAMED_MAX = 5;
const KINDS_MAX = 3;

export function explainGroup(about: {
  readonly view: ClusterView;
  readonly group: Group;
  /** How many wait before it; below 0 when it does not wait. */
  readonly ahead: number;
  readonly earmark: Earmark;
  readonly nowMs: number;
}): { sentences: string[]; sinceMs: number } {
  const { view, group, ahead, earmark, nowMs } = about;
  const name = nameOf(group.spec);
  const count = (number: number): string => number.toLocaleString("en-US");
  const total = count(group.spec.bundles.length);
  const sinceMs = group.waitingSinceMs ?? group.createdMs;
  const seconds = ((nowMs - sinceMs) / 1000).toFixed(1);
  const sentences: string[] = [];
  const nodesIn = (...phases: Reservation["phase"][]): string => {
    const nodes = [...group.reservations.values()]
      .filter(({ phase }) => phases.includes(phase))
      .map(({ nodeId }) => nodeId);
    const names = [...new Set(nodes)].map((id) => view.node(id)?.name ?? id);
    const more = names.length > NAMED_MAX ? ` and ${count(names.length - NAMED_MAX)} more` : "";
    return names.slice(0, NAMED_MAX).join(", ") + more;
  };
  if (group.isRemoving) {
    sentences.push(`${name} is being removed; it waits until ${nodesIn("returning")} have returned its bundles.`);
    return { sentences, sinceMs };
  }
  if (ahead < 0) {
    if (nodesIn("preparing")) sentences.push(`${name} waits until ${nodesIn("preparing")} have prepared its bundles.`);
    else if (nodesIn("committing"))
      sentences.push(`${name} waits until ${nodesIn("committing")} have committed its bundles.`);
    else sentences.push(`${name} is ready: its ${total} bundles are on ${nodesIn("committed")}.`);
    return { sentences, sinceMs };
  }
  const { indexes, placed } = missingOf(view, group);
  const part = placed.length > 0 ? `${count(indexes.length)} of its ${total} bundles` : `its ${total} bundles`;
  sentences.push(`${name} waits for room for ${part}, as ${group.spec.strategy}, since ${seconds} s.`);
  if (group.infeasible) {
    sentences.push(`${group.infeasible.message}.`);
    return { sentences, sinceMs };
  }
  const bundles = indexes.flatMap((index) => group.spec.bundles[index] ?? []);
  const short = shortagesOf(view.nodes(), {
    bundles,
    strategy: group.spec.strategy,
    freeOn: ({ state }) => state.free,
  });
  for (const { kind, fits } of short.slice(0, KINDS_MAX)) {
    sentences.push(
      `There is room for ${count(fits)} of its ${count(kind.indexes.length)} bundles of ${describeResources(kind.units)}.`,
    );
  }
  if (short.length === 0) {
    sentences.push(
      `There is room for each kind of its bundles, but not for all of them as ${group.spec.strategy} wants.`,
    );
  }
  const kind = short[0]?.kind ?? kindsOf(bundles)[0];
  if (kind) {
    const shape = new Shape("a bundle", kind.units, kind.selectors);
    const request = { shape, strategy: "default" } as const;
    const outcome = { kind: "waits", nodeId: view.nodes().next().value?.id ?? ("" as never), selector: 0 } as const;
    sentences.push(...explainOutcome({ view, request, outcome, changed: new Map() }).sentences.slice(1));
  }
  for (const [nodeId, { reason }] of group.refusedBy) {
    sentences.push(`${view.node(nodeId)?.name ?? nodeId} has just refused: ${reason}.`);
  }
  if (ahead > 0) sentences.push(`${count(ahead)} other groups go first, by priority or because they are older.`);
  if (earmark.isFor(group)) sentences.push("Nodes keep new work away for it for a while.");
  else if (earmark.isActive) sentences.push("Nodes keep new work away for another group for a while.");
  return { sentences, sinceMs };
}
