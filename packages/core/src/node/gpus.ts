/** The GPUs that a node offers: how they are used, which workers have leased them, and which processes are really on them. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { ProcessId, WorkerId } from "../base/ids.ts";
import { UNITS_PER_ONE } from "../base/resources.ts";
import type { GpuHolding } from "../scheduler/mod.ts";
import type { GpuProcess, GpuReading, GpuSample } from "../wire/state-messages.ts";
import type { GpuWatch } from "./gpu-watch.ts";
import { unknownGpu } from "./nvml.ts";
import { procStat } from "./proc-stat.ts";

export interface NodeGpusOptions {
  /** Whether pids are those that a driver knows: not in a container. Default: as it is. */
  readonly hasAllPids?: boolean;
  /** As the lease engine names them, in its order. */
  readonly ids: readonly string[];
  /** undefined: there is no driver to ask, or nobody is to ask it. */
  readonly watch: Pick<GpuWatch, "latest"> | undefined;
  /** Units of each that nobody has. */
  free(): readonly number[];
  holdings(): Iterable<GpuHolding>;
  /** Workers and drivers of this node. */
  processes(): Iterable<readonly [pid: number, id: WorkerId | ProcessId]>;
}

/** Those with the most memory are told of. */
const PROCESSES_MAX = 64;
const ANCESTORS_MAX = 32;
/** Of `procStat`. */
const PARENT = 1;

export class NodeGpus {
  private readonly options: NodeGpusOptions;
  private readonly hasAllPids: boolean;

  constructor(options: NodeGpusOptions) {
    this.options = options;
    this.hasAllPids = options.hasAllPids ?? isInFirstNamespace();
  }

  /** undefined: there are none. */
  sample(): readonly GpuSample[] | undefined {
    const { ids, watch, free, holdings, processes } = this.options;
    if (ids.length === 0) return undefined;
    const readings: readonly GpuReading[] = watch?.latest() ?? ids.map((id) => unknownGpu(id, null));
    const left = free();
    const ours = new Map(processes());
    const pids = new Map([...ours].map(([pid, id]) => [id, pid]));
    const held = Map.groupBy(holdings(), ({ device }) => device);
    return readings.map((reading, index) => ({
      ...reading,
      leasedShare: 1 - (left[index] ?? UNITS_PER_ONE) / UNITS_PER_ONE,
      holders: (held.get(reading.id) ?? []).map(({ workerId, units, jobId, name }) => ({
        ...{ workerId, jobId, name },
        pid: pids.get(workerId) ?? null,
        share: units / UNITS_PER_ONE,
      })),
      processes: reading.processes
        .toSorted((a, b) => (b.memoryBytes ?? 0) - (a.memoryBytes ?? 0))
        .slice(0, PROCESSES_MAX)
        .map((one) => describe(one, ours, this.hasAllPids)),
    }));
  }
}

function describe(
  { pid, memoryBytes }: GpuReading["processes"][number],
  ours: ReadonlyMap<number, WorkerId | ProcessId>,
  hasAllPids: boolean,
): GpuProcess {
  if (!hasAllPids && !hasDevice(pid)) return { pid, name: null, memoryBytes, workerId: null, isOurs: null };
  const workerId = ownerOf(pid, ours);
  return { pid, name: commandOf(pid), memoryBytes, workerId, isOurs: workerId !== null };
}

/** Of the first namespace of a machine, by whose pids its drivers go: a constant of Linux. */
const FIRST_PID_NAMESPACE = "pid:[4026531836]";
export function isInFirstNamespace(): boolean {
  try {
    return readlinkSync("/proc/self/ns/pid") === FIRST_PID_NAMESPACE;
  } catch {
    return false; // No Linux.
  }
}

/** In a container a pid of the driver's may be another process here, most likely one that does not use a GPU. */
function hasDevice(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith("/dev/nvidia"));
  } catch {
    return false; // There is none, it has closed one meanwhile, or it is somebody else's.
  }
}

/** Itself, or who has started it, or whoever has started that. */
function ownerOf(pid: number, ours: ReadonlyMap<number, WorkerId | ProcessId>): WorkerId | ProcessId | null {
  for (let at = pid, steps = 0; at > 1 && steps < ANCESTORS_MAX; steps++) {
    const id = ours.get(at);
    if (id !== undefined) return id;
    at = Number(procStat(at)?.[PARENT] ?? 0);
  }
  return null;
}

function commandOf(pid: number): string | null {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trimEnd();
  } catch {
    return null; // It has ended, is in another container, or this system has no /proc.
  }
}
