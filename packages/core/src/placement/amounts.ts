/**
 * What a node has free, and whether and how often a demand fits into it.
 *
 * GPUs are devices, not an amount, as in the lease engine of the node: a fraction lies on one device, beside other
 * fractions while they fit, and an amount of one or more takes whole devices. Everything else is a sum.
 */
import { fromUnits, type ResourceUnits, UNITS_PER_ONE } from "../base/resources.ts";

/** Never changed: what takes from it makes another. */
export interface Free {
  /** With `gpu`, the sum over the devices. May be below zero, while more runs than fits. */
  readonly units: ResourceUnits;
  /** Free units of each GPU. */
  readonly gpus: readonly number[];
}

const NO_GPUS: readonly number[] = [];

/** @param gpus free units of each device; when it is not known, `units.gpu` is taken as whole ones and a remainder. */
export function freeOf(units: ResourceUnits, gpus?: readonly number[]): Free {
  const known = gpus ?? devicesOf(units.gpu ?? 0);
  if (known.length === 0) return { units, gpus: NO_GPUS };
  return { units: { ...units, gpu: known.reduce((sum, device) => sum + device, 0) }, gpus: known };
}

function devicesOf(units: number): readonly number[] {
  if (units <= 0) return NO_GPUS;
  const devices = new Array<number>(Math.floor(units / UNITS_PER_ONE)).fill(UNITS_PER_ONE);
  const rest = units % UNITS_PER_ONE;
  if (rest > 0) devices.push(rest);
  return devices;
}

export function fits(free: Free, units: ResourceUnits): boolean {
  for (const name in units) {
    const wanted = units[name] ?? 0;
    if (name === "gpu" ? !fitsGpu(free.gpus, wanted) : (free.units[name] ?? 0) < wanted) return false;
  }
  return true;
}

/** The name of one resource of which there is not enough; undefined when it fits. */
export function lacking(free: Free, units: ResourceUnits): string | undefined {
  for (const name in units) {
    const wanted = units[name] ?? 0;
    if (name === "gpu" ? !fitsGpu(free.gpus, wanted) : (free.units[name] ?? 0) < wanted) return name;
  }
  return undefined;
}

function fitsGpu(gpus: readonly number[], wanted: number): boolean {
  if (wanted >= UNITS_PER_ONE) return wholeGpus(gpus) * UNITS_PER_ONE >= wanted;
  for (const device of gpus) if (device >= wanted) return true;
  return wanted === 0;
}

export function wholeGpus(gpus: readonly number[]): number {
  let count = 0;
  for (const device of gpus) if (device === UNITS_PER_ONE) count++;
  return count;
}

/** How many demands of `units` fit beside each other; infinite for a demand of nothing. */
export function slots(free: Free, units: ResourceUnits): number {
  let least = Number.POSITIVE_INFINITY;
  for (const name in units) {
    const wanted = units[name] ?? 0;
    if (wanted <= 0) continue;
    let count: number;
    if (name !== "gpu") count = Math.floor((free.units[name] ?? 0) / wanted);
    else if (wanted >= UNITS_PER_ONE) count = Math.floor(wholeGpus(free.gpus) / Math.ceil(wanted / UNITS_PER_ONE));
    else {
      count = 0;
      for (const device of free.gpus) count += Math.floor(device / wanted);
    }
    if (count < least) least = count;
    if (least <= 0) return 0;
  }
  return least;
}

/**
 * What is left after `count` demands. It may be more than fits, since what a node said may be old: amounts go below
 * zero then, devices do not.
 */
export function takeFrom(free: Free, units: ResourceUnits, count = 1): Free {
  const left: Record<string, number> = { ...free.units };
  let gpus = free.gpus;
  for (const name in units) {
    const wanted = units[name] ?? 0;
    if (name !== "gpu") left[name] = (left[name] ?? 0) - wanted * count;
    else if (wanted > 0) {
      gpus = takeGpus(gpus, wanted, count);
      left.gpu = gpus.reduce((sum, device) => sum + device, 0);
    }
  }
  return { units: left, gpus };
}

/** With so much more, of GPUs whole ones and a remainder. */
export function withMore(free: Free, more: ResourceUnits): Free {
  const units: Record<string, number> = { ...free.units };
  for (const name in more) units[name] = (units[name] ?? 0) + (more[name] ?? 0);
  return { units, gpus: more.gpu ? [...free.gpus, ...devicesOf(more.gpu)] : free.gpus };
}

function takeGpus(gpus: readonly number[], wanted: number, count: number): readonly number[] {
  const devices = [...gpus];
  if (wanted >= UNITS_PER_ONE) {
    let missing = Math.ceil(wanted / UNITS_PER_ONE) * count;
    for (let index = 0; index < devices.length && missing > 0; index++) {
      if (devices[index] !== UNITS_PER_ONE) continue;
      devices[index] = 0;
      missing--;
    }
    return devices;
  }
  for (let taken = 0; taken < count; taken++) {
    // The fullest device that has room, as the node itself will choose.
    let best = -1;
    for (let index = 0; index < devices.length; index++) {
      const device = devices[index] ?? 0;
      if (device >= wanted && (best < 0 || device < (devices[best] ?? 0))) best = index;
    }
    if (best < 0) break;
    devices[best] = (devices[best] ?? 0) - wanted;
  }
  return devices;
}

/** `{ cpu: 2, gpu: 0.5 }`, in the order in which a program would write it. */
export function describeResources(units: ResourceUnits): string {
  const parts = Object.entries(fromUnits(units)).map(([name, amount]) => `${name}: ${describeAmount(name, amount)}`);
  return parts.length > 0 ? `{ ${parts.join(", ")} }` : "{ }";
}

/** An amount, not units. */
function describeAmount(name: string, amount: number): string {
  return name === "memory"
    ? `${Math.round(amount / 2 ** 20)} MiB`
    : amount.toLocaleString("en-US", { maximumFractionDigits: 4 });
}

/** The amount that units stand for, written out. */
export const describeUnits = (name: string, units: number): string => describeAmount(name, units / UNITS_PER_ONE);
