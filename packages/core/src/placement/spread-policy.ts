/** Spread: round robin over the nodes that have room, beginning with the asking node. */
import { lastResort, type Policy } from "./policy.ts";

export const spreadPolicy: Policy = (view, { shape, from }, selector) => {
  const asking = from === undefined ? undefined : view.node(from);
  const pool = view.pool(shape, selector, shape.wantsGpu ? "gpu" : "all");
  const node = pool.next(shape, asking);
  return node ? { node, selector, why: { kind: "round-robin" }, turnOf: pool } : lastResort(shape, asking, selector);
};
