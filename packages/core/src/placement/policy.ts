/** What a policy is asked, and what it answers. A policy reads the view and changes nothing. */
import type { NodeId } from "../base/ids.ts";
import { fits } from "./amounts.ts";
import type { ClusterView } from "./cluster-view.ts";
import { ANY_NODE, admits } from "./labels.ts";
import type { NodePool } from "./node-pool.ts";
import { hasGpu, type Node } from "./node-state.ts";
import type { Shape } from "./shape.ts";

/** `soft` prefers the node while it is alive and could ever fit the demand. */
export type PlacementStrategy = "default" | "spread" | { readonly nodeId: NodeId; readonly soft: boolean };

/** How many bytes of the large arguments a node has. */
export interface LocalBytes {
  readonly nodeId: NodeId;
  readonly bytes: number;
}

export interface PlacementRequest {
  readonly shape: Shape;
  readonly strategy: PlacementStrategy;
  /** The node that asks; undefined when nobody's node does, as for an actor that is restarted. */
  readonly from?: NodeId | undefined;
  readonly locality?: readonly LocalBytes[] | undefined;
}

export type Why =
  | { readonly kind: "locality"; readonly bytes: number }
  | { readonly kind: "asking-node"; readonly utilisation: number }
  | { readonly kind: "least-utilised"; readonly utilisation: number }
  | { readonly kind: "round-robin" }
  | { readonly kind: "affinity" };

export interface Choice {
  readonly node: Node;
  readonly why: Why;
  /** By which of the shape's selectors. */
  readonly selector: number;
  /** Of a round robin: told when the choice is carried out. */
  readonly turnOf?: NodePool;
}

export type Policy = (view: ClusterView, request: PlacementRequest, selector: number) => Choice | undefined;

/** Up to here the asking node is filled before work is spread; measured before the placement. */
export const PACK_BELOW = 0.5;

/** Whether the node takes new work and is admitted. */
export const isEligible = (node: Node | undefined, shape: Shape, selector: number): node is Node =>
  node !== undefined &&
  node.state.status === "alive" &&
  admits(shape.selectors[selector] ?? ANY_NODE, node.state.labels);

export const hasRoom = (node: Node | undefined, shape: Shape, selector: number): node is Node =>
  isEligible(node, shape, selector) && fits(node.state.free, shape.units);

export const couldEverFit = (node: Node | undefined, shape: Shape, selector: number): node is Node =>
  isEligible(node, shape, selector) && fits(node.state.capacity, shape.units);

export const utilisationFor = ({ state }: Node, shape: Shape): number =>
  shape.wantsGpu ? state.gpuUtilisation : state.utilisation;

/** A machine with GPUs is kept for demands that want GPUs while anything else has room. */
export const isKept = (node: Node, shape: Shape): boolean => !shape.wantsGpu && hasGpu(node.state);

/** Where nobody offers anything, what wants nothing runs on the node that asks. */
export function lastResort(shape: Shape, asking: Node | undefined, selector: number): Choice | undefined {
  if (!shape.isEmpty || !hasRoom(asking, shape, selector)) return undefined;
  return { node: asking, selector, why: { kind: "asking-node", utilisation: utilisationFor(asking, shape) } };
}
