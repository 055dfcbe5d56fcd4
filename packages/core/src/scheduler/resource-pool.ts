/**
 * What one node has and what of it is free, in whole steps of 1/10,000.
 *
 * GPUs are devices, not an amount: a fraction lies on one device, beside other fractions while they fit, and an amount
 * of one or more takes whole devices. Everything else is a sum. Only a task that goes on after it had given its CPUs
 * back may take more than there is, see {@link ResourcePool.retakeCpu}.
 */
import { assert } from "../base/assert.ts";
import { type ResourceUnits, UNITS_PER_ONE } from "../base/resources.ts";

export interface GpuShare {
  readonly device: string;
  readonly units: number;
}

/** What somebody holds; give the same object back. */
export interface Allocation {
  readonly units: ResourceUnits;
  readonly gpus: readonly GpuShare[];
}

interface Device {
  readonly id: string;
  /** As much of it as is in this pool. */
  readonly size: number;
  free: number;
}

export class ResourcePool {
  readonly total: ResourceUnits;
  /** Grows when what is free has changed. */
  version = 0;
  private readonly free = new Map<string, number>();
  private readonly devices: Device[];

  /** @param gpus the devices, or the shares of them, that are in the pool; `total.gpu` is counted from them. */
  constructor(total: ResourceUnits, gpus: readonly (string | GpuShare)[]) {
    const { gpu: _counted, ...others } = total;
    const shares = gpus.map((gpu) => (typeof gpu === "string" ? { device: gpu, units: UNITS_PER_ONE } : gpu));
    const gpu = shares.reduce((sum, { units }) => sum + units, 0);
    this.total = gpus.length > 0 ? { ...others, gpu } : others;
    for (const [name, units] of Object.entries(others)) this.free.set(name, units);
    this.devices = shares.map(({ device, units }) => ({ id: device, size: units, free: units }));
  }

  /** A pool of what was taken out of another one. */
  static from({ units, gpus }: Allocation): ResourcePool {
    return new ResourcePool(units, gpus);
  }

  /** A copy to try things on. */
  clone(): ResourcePool {
    const copy = new ResourcePool(
      this.total,
      this.devices.map(({ id, size }) => ({ device: id, units: size })),
    );
    for (const [name, units] of this.free) copy.free.set(name, units);
    for (const [index, device] of this.devices.entries()) {
      const target = copy.devices[index];
      if (target) target.free = device.free;
    }
    return copy;
  }

  /** Free units; below zero while more runs than fits. */
  available(): ResourceUnits {
    const units: Record<string, number> = Object.fromEntries(this.free);
    if (this.devices.length > 0) units.gpu = this.devices.reduce((sum, device) => sum + device.free, 0);
    return units;
  }

  /** Free units of each device, in a fixed order. */
  freeDevices(): number[] {
    return this.devices.map(({ free }) => free);
  }

  freeOf(name: string): number {
    if (name !== "gpu") return this.free.get(name) ?? 0;
    return this.devices.reduce((sum, device) => sum + device.free, 0);
  }

  /** The names of what is missing even when nothing else runs. Empty: it fits some day. */
  neverFits(units: ResourceUnits): string[] {
    return Object.entries(units)
      .filter(([name, wanted]) => wanted > (this.total[name] ?? 0))
      .map(([name]) => name);
  }

  /** The names of what is missing now, `heldBack` being kept for somebody else. Empty: it fits. */
  lacks(units: ResourceUnits, heldBack: ReadonlyMap<string, number> = NOTHING): string[] {
    const names: string[] = [];
    for (const name in units) {
      const wanted = units[name] ?? 0;
      const kept = heldBack.get(name) ?? 0;
      const isShort =
        name === "gpu"
          ? !this.findDevices(wanted) || this.freeOf("gpu") - kept < wanted
          : (this.free.get(name) ?? 0) - kept < wanted;
      if (isShort) names.push(name);
    }
    return names;
  }

  /** Takes `units`, or nothing at all when they do not fit. */
  allocate(units: ResourceUnits): Allocation | undefined {
    if (this.lacks(units).length > 0) return undefined;
    const gpus: GpuShare[] = [];
    for (const [name, wanted] of Object.entries(units)) {
      this.version++;
      if (name === "gpu") {
        for (const device of this.findDevices(wanted) ?? []) {
          const share = Math.min(wanted, UNITS_PER_ONE);
          device.free -= share;
          gpus.push({ device: device.id, units: share });
        }
      } else this.free.set(name, (this.free.get(name) ?? 0) - wanted);
    }
    return { units, gpus };
  }

  release(allocation: Allocation): void {
    for (const [name, units] of Object.entries(allocation.units)) {
      this.version++;
      if (name !== "gpu") this.give(name, units);
    }
    for (const share of allocation.gpus) {
      const device = this.devices.find(({ id }) => id === share.device);
      assert(device, `unknown device ${share.device}`);
      device.free += share.units;
      assert(device.free <= device.size, `device ${share.device} was released twice`);
    }
  }

  /** What runs waits: others may have its CPUs. Returns what it still holds. */
  releaseCpu(allocation: Allocation): Allocation {
    const { cpu = 0, ...rest } = allocation.units;
    this.version++;
    this.give("cpu", cpu);
    return { units: rest, gpus: allocation.gpus };
  }

  /** It goes on: its CPUs are taken at once, whether or not they are free; nothing new fits until they are. */
  retakeCpu(cpu: number): void {
    if (cpu === 0) return;
    this.version++;
    this.free.set("cpu", (this.free.get("cpu") ?? 0) - cpu);
  }

  private give(name: string, units: number): void {
    const free = (this.free.get(name) ?? 0) + units;
    assert(free <= (this.total[name] ?? 0), `${name} was released twice`);
    this.free.set(name, free);
  }

  /** Devices for this amount: the fullest one that still has room for a fraction, or whole free ones. */
  private findDevices(units: number): Device[] | undefined {
    if (units < UNITS_PER_ONE) {
      let best: Device | undefined;
      for (const device of this.devices) {
        if (device.free >= units && (!best || device.free < best.free)) best = device;
      }
      return best && [best];
    }
    const whole = this.devices.filter((device) => device.free === UNITS_PER_ONE);
    const count = Math.ceil(units / UNITS_PER_ONE);
    return whole.length >= count ? whole.slice(0, count) : undefined;
  }
}

const NOTHING: ReadonlyMap<string, number> = new Map();
