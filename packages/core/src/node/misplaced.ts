/** What asks to be somewhere in particular, on a node by itself: it has no labels, and no other beside it. */
import type { NodeId } from "../base/ids.ts";
import { admits, parseSelector } from "../placement/mod.ts";
import type { Demand, LeaseRefused } from "../wire/messages.ts";

/** Why the node will not do; undefined when it will. */
export function misplacedOn(
  { nodeId, name }: { readonly nodeId: NodeId; readonly name: string },
  { placement, name: what }: Demand,
): Pick<LeaseRefused, "code" | "message"> | undefined {
  const { strategy, selectors } = placement ?? {};
  if (typeof strategy === "object" && !strategy.soft && strategy.nodeId !== nodeId) {
    const message = `${what} is to run on node ${strategy.nodeId}, and ${name} (${nodeId}) is a node by itself; see nodes()`;
    return { code: "NODE_NOT_FOUND", message };
  }
  if (!selectors || selectors.some((selector) => admits(parseSelector(selector), {}))) return undefined;
  const message = `${what} has a labelSelector, and node ${name}, which is one by itself, has no labels; join a cluster whose nodes have some (mobula start --label key=value)`;
  return { code: "INFEASIBLE", message };
}
