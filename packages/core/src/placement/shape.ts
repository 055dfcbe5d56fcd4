/** A demand made ready for many decisions: who places the same again and again keeps one. */
import { type ResourceUnits, UNITS_PER_ONE } from "../base/resources.ts";
import { wholeGpus } from "./amounts.ts";
import { ANY_NODE, type Selector } from "./labels.ts";
import type { NodeState } from "./node-state.ts";

/** Which nodes a search is among: those without GPUs, those with, or both. */
export type PoolKind = "plain" | "gpu" | "all";

/** A dimension that the demand does not name: less than any node has, and more than an empty place of a tree. */
const ANY = -Number.MAX_VALUE;

export class Shape {
  /** For people: the function or class. */
  readonly name: string;
  readonly units: ResourceUnits;
  /** Tried in order; at least one. */
  readonly selectors: readonly Selector[];
  /** Names besides cpu, memory and gpu: only nodes that offer them are searched. */
  readonly customs: readonly string[];
  readonly wantsGpu: boolean;
  readonly isEmpty: boolean;
  /** It takes nothing of what utilisation is measured by, so the least utilised node would get all of its kind. */
  readonly isWeightless: boolean;
  /** What a place of a pool's tree must have, see {@link amountsOf}. */
  readonly needs: Float64Array;
  /** The same, on a device of which a part is taken already; only for a fraction of a GPU. */
  readonly needsBrokenGpu: Float64Array | undefined;

  constructor(name: string, units: ResourceUnits, selectors: readonly Selector[] = []) {
    this.name = name;
    this.units = units;
    this.selectors = selectors.length > 0 ? selectors : [ANY_NODE];
    this.customs = Object.keys(units)
      .filter((one) => (units[one] ?? 0) > 0 && one !== "cpu" && one !== "memory" && one !== "gpu")
      .sort();
    const gpu = units.gpu ?? 0;
    this.wantsGpu = gpu > 0;
    this.isEmpty = !Object.values(units).some((value) => value > 0);
    this.isWeightless = !this.wantsGpu && !units.cpu && !units.memory;
    const needs = [units.cpu || ANY, units.memory || ANY];
    if (this.wantsGpu) needs.push(...(gpu < UNITS_PER_ONE ? [ANY, gpu, ANY] : [gpu, ANY, ANY]));
    const customs = this.customs.map((one) => units[one] ?? 0);
    this.needs = Float64Array.from([...needs, ...customs]);
    if (this.wantsGpu && gpu < UNITS_PER_ONE) {
      this.needsBrokenGpu = Float64Array.from([...needs.slice(0, 4), gpu, ...customs]);
    }
  }
}

export const dimensionsOf = (kind: PoolKind, customs: readonly string[]): number =>
  (kind === "gpu" ? 5 : 2) + customs.length;

/** Writes what a node has into `out`, in the order of {@link Shape.needs}. */
export function amountsOf(
  { units, gpus }: NodeState["free"],
  kind: PoolKind,
  customs: readonly string[],
  out: Float64Array,
): void {
  out[0] = units.cpu ?? 0;
  out[1] = units.memory ?? 0;
  let at = 2;
  if (kind === "gpu") {
    let most = 0;
    let mostBroken = 0;
    for (const device of gpus) {
      if (device > most) most = device;
      if (device > mostBroken && device < UNITS_PER_ONE) mostBroken = device;
    }
    out[2] = wholeGpus(gpus) * UNITS_PER_ONE;
    out[3] = most;
    out[4] = mostBroken;
    at = 5;
  }
  for (const name of customs) out[at++] = units[name] ?? 0;
}
