/** What `nvidia-smi` prints again and again, where its library cannot be loaded: one program for GPUs, one for what uses them. */
import type { GpuReading } from "../wire/state-messages.ts";

const MIB = 2 ** 20;
/** The name is last: nobody promises that it has no comma. */
const GPU_FIELDS = "index,uuid,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw,power.limit,name";
const FORMAT = "--format=csv,noheader,nounits";

export const gpuArguments = (everyMs: number): readonly string[] => [
  `--query-gpu=${GPU_FIELDS}`,
  FORMAT,
  `-lms`,
  String(everyMs),
];
export const processArguments = (everyMs: number): readonly string[] => [
  "--query-compute-apps=gpu_uuid,pid,used_gpu_memory",
  FORMAT,
  "-lms",
  String(everyMs),
];

export type SmiGpu = Omit<GpuReading, "id" | "processes" | "problem"> & { readonly uuid: string };

/** undefined: the line is something else, such as a complaint. `[N/A]`, `[Not Supported]` and other words are null. */
export function parseGpuLine(line: string): SmiGpu | undefined {
  const parts = line.split(",").map((part) => part.trim());
  const [index = "", uuid = "", used, memoryUsed, memoryTotal, temperature, power, limit, ...name] = parts;
  if (name.length === 0 || !/^\d+$/.test(index) || !/^(GPU|MIG)-/.test(uuid)) return undefined;
  return {
    index: Number(index),
    uuid,
    name: name.join(", "),
    utilisationPercent: numberOf(used),
    memoryUsedBytes: mebibytes(memoryUsed),
    memoryTotalBytes: mebibytes(memoryTotal),
    temperatureCelsius: numberOf(temperature),
    powerWatts: numberOf(power),
    powerLimitWatts: numberOf(limit),
  };
}

export function parseProcessLine(
  line: string,
): { readonly uuid: string; readonly pid: number; readonly memoryBytes: number | null } | undefined {
  const [uuid = "", pid = "", memory] = line.split(",").map((part) => part.trim());
  if (!/^\d+$/.test(pid) || !/^(GPU|MIG)-/.test(uuid)) return undefined;
  return { uuid, pid: Number(pid), memoryBytes: mebibytes(memory) };
}

const numberOf = (text: string | undefined): number | null =>
  text !== undefined && /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : null;

function mebibytes(text: string | undefined): number | null {
  const value = numberOf(text);
  return value === null ? null : value * MIB;
}
