/** What can never run is named at once, with the best node there is. */
import type { ResourceUnits } from "../base/resources.ts";
import { describeResources, describeUnits } from "./amounts.ts";
import type { ClusterView } from "./cluster-view.ts";
import { ANY_NODE, admits, mismatch } from "./labels.ts";
import type { Node } from "./node-state.ts";
import type { Shape } from "./shape.ts";

/** @param only the one node on which it may run */
export function infeasibleMessage(view: ClusterView, shape: Shape, only: Node | undefined): string {
  const needs = `${shape.name} needs ${describeResources(shape.units)}${describeSelectors(shape)}`;
  if (only) {
    return `${needs} on node ${only.name}, which ${whyNot(only, shape)}. Name another node, or let it be soft`;
  }
  const best = bestNode(view, shape);
  if (!best) return `${needs}, and there is no node that takes work. Start one with mobula start`;
  return (
    `${needs}, and no node can ever offer that; the best is ${best.name} with ${describeResources(best.state.total)}, ` +
    `which ${whyNot(best, shape)}. Ask for less, or add a node`
  );
}

/** Follows the node's name. */
function whyNot({ state }: Node, shape: Shape): string {
  if (state.status === "dead") return "is dead";
  if (state.status === "draining") return "is draining and takes nothing new";
  const words = missing(state.total, shape.units).map((name) => {
    const has = state.total[name] ?? 0;
    if (has === 0) return `has no ${name}`;
    return `has ${describeUnits(name, has)} ${name}, not ${describeUnits(name, shape.units[name] ?? 0)}`;
  });
  const label = mismatchOfAll(shape, state.labels);
  if (label) words.push(label);
  return words.join(" and ") || "cannot hold it on one GPU";
}

function missing(total: ResourceUnits, units: ResourceUnits): string[] {
  return Object.keys(units).filter((name) => (units[name] ?? 0) > (total[name] ?? 0));
}

/** Why none of the selectors admits the node; undefined when one does. */
function mismatchOfAll(shape: Shape, labels: Node["state"]["labels"]): string | undefined {
  if (shape.selectors.some((selector) => admits(selector, labels))) return undefined;
  return mismatch(shape.selectors[0] ?? ANY_NODE, labels);
}

/** The node that takes work and of whose kinds of resources the fewest are short, by the smallest share. */
function bestNode(view: ClusterView, shape: Shape): Node | undefined {
  let best: Node | undefined;
  let bestLack = Number.POSITIVE_INFINITY;
  for (const node of view.nodes()) {
    const { state } = node;
    if (state.status !== "alive") continue;
    let lack = mismatchOfAll(shape, state.labels) ? 1 : 0;
    for (const name of missing(state.total, shape.units)) {
      lack += 2 - (state.total[name] ?? 0) / (shape.units[name] ?? 1);
    }
    if (lack < bestLack) {
      best = node;
      bestLack = lack;
    }
  }
  return best;
}

export function describeSelectors(shape: Shape): string {
  const words = shape.selectors.filter(({ requirements }) => requirements.length > 0).map(describeSelector);
  if (words.length === 0) return "";
  const last = words.length < shape.selectors.length ? " or any labels" : "";
  return ` and a node with ${words.join(", or else ")}${last}`;
}

function describeSelector({ requirements }: Shape["selectors"][number]): string {
  return requirements
    .map(({ key, values, isNegated }) => `${key} ${isNegated ? "not " : ""}${values.join(" or ")}`)
    .join(" and ");
}
