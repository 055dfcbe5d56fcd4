/** A demand as the placement engine takes it. */
import type { ResourceUnits } from "../base/resources.ts";
import { type PlacementRequest, parseSelector, Shape } from "../placement/mod.ts";
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
