/** Small and large clusters for tests and for the benchmark. */
import type { NodeId } from "../base/ids.ts";
import { type Resources, toUnits } from "../base/resources.ts";
import { ClusterView, type ClusterViewOptions } from "./cluster-view.ts";
import { type Labels, parseSelector } from "./labels.ts";
import { Shape } from "./shape.ts";

export const nodeId = (name: string): NodeId => name as NodeId;

export interface NodeSpec {
  readonly resources: Resources;
  readonly labels?: Labels;
}

/** Nodes n1, n2, ... */
export function clusterOf(nodes: readonly (Resources | NodeSpec)[], options?: ClusterViewOptions): ClusterView {
  const view = new ClusterView(options);
  for (const [index, spec] of nodes.entries()) join(view, `n${index + 1}`, spec);
  return view;
}

export function join(view: ClusterView, name: string, spec: Resources | NodeSpec): void {
  const { resources, labels } = isSpec(spec) ? spec : { resources: spec, labels: {} };
  view.apply({ kind: "node-joined", nodeId: nodeId(name), name, total: toUnits(resources), labels: labels ?? {} });
}

const isSpec = (spec: Resources | NodeSpec): spec is NodeSpec => typeof spec.resources === "object";

export function report(view: ClusterView, name: string, free: Resources, gpus?: readonly number[]): void {
  const devices = gpus && { gpus: gpus.map((amount) => amount * 10_000) };
  view.apply({ kind: "node-reported", nodeId: nodeId(name), free: toUnits(free), ...devices });
}

export const shapeOf = (resources: Resources, ...selectors: readonly Labels[]): Shape =>
  new Shape("f", toUnits(resources), selectors.map(parseSelector));

export const freeCpus = (view: ClusterView): Record<string, number> =>
  Object.fromEntries([...view.nodes()].map((node) => [node.name, (node.state.free.units.cpu ?? 0) / 10_000]));
