/** A demand as the placement engine takes it. */
import type { NodeId } from "../base/ids.ts";
import { LARGE_ARGUMENTS_BYTES } from "../base/limits.ts";
import type { ResourceUnits } from "../base/resources.ts";
import { type LocalBytes, type PlacementRequest, parseSelector, Shape } from "../placement/mod.ts";
import type { Demand } from "../wire/messages.ts";

/**
 * @param units what is looked for, if not what the demand takes itself.
 * @throws InvalidOptionError when a label selector is none.
 */
export function placementOf(
  { name, resources, placement = {} }: Demand,
  units: ResourceUnits = resources,
): Pick<PlacementRequest, "shape" | "strategy"> {
  const { strategy = "default", selectors = [] } = placement;
  return { shape: new Shape(name, units, selectors.map(parseSelector)), strategy };
}

/** Where its large arguments lie. @param nodeTagged the node with a tag. */
export function localityOf(
  { near }: Demand,
  nodeTagged: (tag: string) => NodeId | undefined,
): readonly LocalBytes[] | undefined {
  const nodeId = near === undefined ? undefined : nodeTagged(near);
  return nodeId && [{ nodeId, bytes: LARGE_ARGUMENTS_BYTES }];
}
