/**
 * The default policy.
 *
 * 1. The node with the most bytes of the large arguments that has room.
 * 2. The asking node while it is under 50 % utilised.
 * 3. The least utilised node.
 *
 * In 2 and 3, machines with GPUs come last for demands that want none. A demand that changes no utilisation goes round, or
 * all of them would go to one node.
 */
import { type Choice, hasRoom, isKept, lastResort, PACK_BELOW, type Policy, utilisationFor } from "./policy.ts";

export const defaultPolicy: Policy = (view, request, selector) => {
  const { shape, locality } = request;
  const asking = request.from === undefined ? undefined : view.node(request.from);
  if (locality && locality.length > 0) {
    for (const { nodeId, bytes } of mostFirst(locality)) {
      const node = view.node(nodeId);
      if (bytes > 0 && hasRoom(node, shape, selector)) return { node, selector, why: { kind: "locality", bytes } };
    }
  }
  const asksHere: Choice | undefined =
    !shape.isWeightless && hasRoom(asking, shape, selector) && utilisationFor(asking, shape) < PACK_BELOW
      ? { node: asking, selector, why: { kind: "asking-node", utilisation: utilisationFor(asking, shape) } }
      : undefined;
  if (shape.wantsGpu) return asksHere ?? best("gpu");
  if (asksHere && !isKept(asksHere.node, shape)) return asksHere;
  return best("plain") ?? asksHere ?? best("all") ?? lastResort(shape, asking, selector);

  function best(kind: "plain" | "gpu" | "all"): Choice | undefined {
    const pool = view.pool(shape, selector, kind);
    const node = shape.isWeightless ? pool.next(shape, asking) : pool.least(shape, asking);
    if (!node) return undefined;
    if (shape.isWeightless) return { node, selector, why: { kind: "round-robin" }, turnOf: pool };
    return { node, selector, why: { kind: "least-utilised", utilisation: utilisationFor(node, shape) } };
  }
};

function mostFirst<T extends { readonly bytes: number }>(locality: readonly T[]): readonly T[] {
  return locality.length < 2 ? locality : [...locality].sort((a, b) => b.bytes - a.bytes);
}
