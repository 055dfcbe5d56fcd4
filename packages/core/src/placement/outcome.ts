/** Where one demand goes: the policy of its strategy, its selectors in order, and what is said when nothing has room. */
import type { NodeId } from "../base/ids.ts";
import { fits } from "./amounts.ts";
import type { ClusterView } from "./cluster-view.ts";
import { defaultPolicy } from "./default-policy.ts";
import { infeasibleMessage } from "./infeasible.ts";
import { type Choice, couldEverFit, hasRoom, isEligible, type PlacementRequest } from "./policy.ts";
import { spreadPolicy } from "./spread-policy.ts";

export type Outcome =
  | { readonly kind: "placed"; readonly choice: Choice }
  /** It fits some day; until then it may wait at this node. */
  | { readonly kind: "waits"; readonly nodeId: NodeId; readonly selector: number }
  | { readonly kind: "refused"; readonly code: "INFEASIBLE" | "NODE_NOT_FOUND"; readonly message: string };

export function outcomeOf(view: ClusterView, request: PlacementRequest): Outcome {
  const { strategy } = request;
  if (typeof strategy === "object") {
    const fixed = affinity(view, request, strategy.nodeId, strategy.soft);
    if (fixed) return fixed;
  }
  const policy = strategy === "spread" ? spreadPolicy : defaultPolicy;
  for (let selector = 0; selector < request.shape.selectors.length; selector++) {
    const choice = policy(view, request, selector);
    if (choice) return { kind: "placed", choice };
  }
  return withoutRoom(view, request);
}

/** The node that is asked for; undefined when a soft wish cannot be met. */
function affinity(view: ClusterView, { shape }: PlacementRequest, nodeId: NodeId, soft: boolean): Outcome | undefined {
  const node = view.node(nodeId);
  for (let selector = 0; selector < shape.selectors.length; selector++) {
    if (hasRoom(node, shape, selector)) {
      return { kind: "placed", choice: { node, selector, why: { kind: "affinity" } } };
    }
  }
  for (let selector = 0; selector < shape.selectors.length; selector++) {
    if (couldEverFit(node, shape, selector)) return { kind: "waits", nodeId, selector };
  }
  if (soft) return undefined;
  if (!node) {
    const message = `${shape.name} is to run on node ${nodeId}, and there is no such node; see nodes()`;
    return { kind: "refused", code: "NODE_NOT_FOUND", message };
  }
  return { kind: "refused", code: "INFEASIBLE", message: infeasibleMessage(view, shape, node) };
}

function withoutRoom(view: ClusterView, request: PlacementRequest): Outcome {
  const { shape } = request;
  const asking = request.from === undefined ? undefined : view.node(request.from);
  for (let selector = 0; selector < shape.selectors.length; selector++) {
    const kind = shape.wantsGpu ? "gpu" : "all";
    const pool = view.pool(shape, selector, kind);
    const isHome = isEligible(asking, shape, selector) && pool.has(asking) && fits(asking.state.capacity, shape.units);
    const node = isHome ? asking : pool.feasible(shape, asking);
    if (node) return { kind: "waits", nodeId: node.id, selector };
  }
  return { kind: "refused", code: "INFEASIBLE", message: infeasibleMessage(view, shape, undefined) };
}
