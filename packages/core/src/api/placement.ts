/** Placement groups span machines, so on one machine the call itself is refused. */
import { InvalidOptionError } from "../base/errors.ts";
import type { PlacementGroup, PlacementGroupOptions, Resources } from "./types.ts";

const refuse = (call: string): never => {
  throw new InvalidOptionError(
    `${call} needs a cluster of several machines, and this version runs on one; give each task or actor its own numCpus, numGpus and resources`,
  );
};

/**
 * Reserves resources together, on one node or several. Needs a cluster.
 *
 * @throws InvalidOptionError always, in this version.
 */
export const placementGroup: (bundles: readonly Resources[], options?: PlacementGroupOptions) => PlacementGroup = () =>
  refuse("placementGroup()");

/**
 * The placement group with this name. Needs a cluster.
 *
 * @throws InvalidOptionError always, in this version.
 */
export const getPlacementGroup: (name: string) => Promise<PlacementGroup> = () => refuse("getPlacementGroup()");
