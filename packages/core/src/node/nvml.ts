/**
 * NVIDIA's management library: what it says of a GPU. Structures are read from buffers, at the offsets of nvml.h; handles are
 * numbers. What a GPU or an old driver does not know is null; what is wrong with a GPU is said in the library's words.
 */
import { koffi } from "../store/mod.ts";
import type { GpuReading } from "../wire/state-messages.ts";

/** By name: their parameters. All give a code. */
const FUNCTIONS = {
  nvmlInit_v2: "",
  nvmlShutdown: "",
  nvmlDeviceGetCount_v2: "void *count",
  nvmlDeviceGetHandleByIndex_v2: "unsigned int index, void *device",
  nvmlDeviceGetHandleByUUID: "const char *uuid, void *device",
  nvmlDeviceGetIndex: "uint64_t device, void *index",
  nvmlDeviceGetUUID: "uint64_t device, void *uuid, unsigned int length",
  nvmlDeviceGetName: "uint64_t device, void *name, unsigned int length",
  nvmlDeviceGetUtilizationRates: "uint64_t device, void *utilization",
  nvmlDeviceGetMemoryInfo: "uint64_t device, void *memory",
  nvmlDeviceGetMemoryInfo_v2: "uint64_t device, void *memory",
  nvmlDeviceGetTemperature: "uint64_t device, unsigned int sensor, void *celsius",
  nvmlDeviceGetPowerUsage: "uint64_t device, void *milliwatts",
  nvmlDeviceGetEnforcedPowerLimit: "uint64_t device, void *milliwatts",
  nvmlDeviceGetComputeRunningProcesses_v3: "uint64_t device, void *count, void *infos",
  nvmlDeviceGetGraphicsRunningProcesses_v3: "uint64_t device, void *count, void *infos",
  nvmlDeviceGetMPSComputeRunningProcesses_v3: "uint64_t device, void *count, void *infos",
  nvmlDeviceGetComputeRunningProcesses_v2: "uint64_t device, void *count, void *infos",
} as const;
export type NvmlFunction = keyof typeof FUNCTIONS;

/** The library, or what stands for it in tests. */
export interface NvmlLibrary {
  call(name: NvmlFunction, ...args: readonly (number | bigint | string | Buffer)[]): number;
  wordsOf(code: number): string;
}

export interface GpuDevice {
  readonly index: string;
  readonly uuid: string;
}

export const NVML = "libnvidia-ml.so.1";

const SUCCESS = 0;
const INSUFFICIENT_SIZE = 7;
const FUNCTION_NOT_FOUND = 13;
/** Not supported, no permission, not found, no such function, another version of a structure: this GPU or driver does not say. */
const UNSAID: ReadonlySet<number> = new Set([3, 4, 6, FUNCTION_NOT_FOUND, 25]);
const NOT_AVAILABLE = 2n ** 64n - 1n;

const NAME_BYTES = 96;
const MEMORY_V2_BYTES = 40;
const MEMORY_V2_VERSION = MEMORY_V2_BYTES | (2 << 24);
const PROCESS_BYTES = 24;
/** A GPU with more processes is read again with more room. */
const PROCESSES_FIRST = 64;
const PROCESSES_MAX = 4_096;
const PROCESS_LISTS = [
  "nvmlDeviceGetComputeRunningProcesses_v3",
  "nvmlDeviceGetGraphicsRunningProcesses_v3",
  "nvmlDeviceGetMPSComputeRunningProcesses_v3",
] as const;
/** A GPU that was lost is there again after a reset, for who asks for it anew. */
const REOPEN_AFTER = 60;

export class Nvml implements Disposable {
  private readonly library: NvmlLibrary;
  private readonly handles = new Map<string, bigint>();
  private problems = 0;

  /** @throws Error when the library cannot be used, in its words. */
  constructor(library: NvmlLibrary) {
    this.library = library;
    const code = library.call("nvmlInit_v2");
    if (code !== SUCCESS) throw new Error(this.words("nvmlInit", code));
  }

  [Symbol.dispose](): void {
    this.library.call("nvmlShutdown");
  }

  /** @throws Error when it does not say of one. */
  devices(): GpuDevice[] {
    const must = (name: NvmlFunction, ...args: readonly (number | bigint | Buffer)[]): void => {
      const code = this.library.call(name, ...args);
      if (code !== SUCCESS) throw new Error(this.words(name, code));
    };
    const count = Buffer.alloc(4);
    must("nvmlDeviceGetCount_v2", count);
    return Array.from({ length: count.readUInt32LE() }, (_, index) => {
      const device = Buffer.alloc(8);
      const uuid = Buffer.alloc(NAME_BYTES);
      must("nvmlDeviceGetHandleByIndex_v2", index, device);
      must("nvmlDeviceGetUUID", device.readBigUInt64LE(), uuid, NAME_BYTES);
      return { index: String(index), uuid: textOf(uuid) };
    });
  }

  /** @throws Error when the library cannot be used any more. */
  readAll(ids: readonly string[]): readonly GpuReading[] {
    if (this.problems >= REOPEN_AFTER) {
      this.problems = 0;
      this.handles.clear();
      this.library.call("nvmlShutdown");
      const code = this.library.call("nvmlInit_v2");
      if (code !== SUCCESS) throw new Error(this.words("nvmlInit", code));
    }
    const readings = ids.map((id) => this.read(id));
    this.problems = readings.some(({ problem }) => problem !== null) ? this.problems + 1 : 0;
    return readings;
  }

  private read(id: string): GpuReading {
    const problems: string[] = [];
    /** Whether it has answered. */
    const ask = (name: NvmlFunction, ...args: readonly (number | bigint | string | Buffer)[]): boolean => {
      const code = this.library.call(name, ...args);
      if (code !== SUCCESS && !UNSAID.has(code)) problems.push(this.words(name, code));
      return code === SUCCESS;
    };
    const handle = this.handles.get(id) ?? this.find(id, ask);
    if (handle === undefined) return unknownGpu(id, problems[0] ?? "the driver knows no such GPU");
    this.handles.set(id, handle);
    const number = (name: NvmlFunction, ...before: readonly number[]): number | null => {
      const buffer = Buffer.alloc(4);
      return ask(name, handle, ...before, buffer) ? buffer.readUInt32LE() : null;
    };
    const text = (name: NvmlFunction): string | null => {
      const buffer = Buffer.alloc(NAME_BYTES);
      return ask(name, handle, buffer, NAME_BYTES) ? textOf(buffer) : null;
    };
    const watts = (name: NvmlFunction): number | null => {
      const milliwatts = number(name);
      return milliwatts === null ? null : milliwatts / 1_000;
    };
    const utilisation = Buffer.alloc(8);
    const reading = {
      id,
      index: number("nvmlDeviceGetIndex"),
      uuid: text("nvmlDeviceGetUUID"),
      name: text("nvmlDeviceGetName"),
      utilisationPercent: ask("nvmlDeviceGetUtilizationRates", handle, utilisation) ? utilisation.readUInt32LE() : null,
      ...this.memoryOf(handle, ask),
      temperatureCelsius: number("nvmlDeviceGetTemperature", 0),
      powerWatts: watts("nvmlDeviceGetPowerUsage"),
      powerLimitWatts: watts("nvmlDeviceGetEnforcedPowerLimit"),
      processes: this.processesOf(handle),
    };
    const [problem = null] = problems;
    if (problem !== null) this.handles.delete(id);
    return { ...reading, problem };
  }

  private find(id: string, ask: (name: NvmlFunction, ...args: readonly (number | string | Buffer)[]) => boolean) {
    const device = Buffer.alloc(8);
    const found = (): bigint => device.readBigUInt64LE();
    if (/^\d+$/.test(id)) return ask("nvmlDeviceGetHandleByIndex_v2", Number(id), device) ? found() : undefined;
    if (this.library.call("nvmlDeviceGetHandleByUUID", id, device) === SUCCESS) return found();
    // The beginning of a UUID will do for CUDA. One GPU that is lost must not hide the others.
    const count = Buffer.alloc(4);
    if (!ask("nvmlDeviceGetCount_v2", count)) return undefined;
    const uuid = Buffer.alloc(NAME_BYTES);
    const { library } = this;
    for (let index = 0; index < count.readUInt32LE(); index++)
      if (
        library.call("nvmlDeviceGetHandleByIndex_v2", index, device) === SUCCESS &&
        library.call("nvmlDeviceGetUUID", found(), uuid, NAME_BYTES) === SUCCESS &&
        textOf(uuid).startsWith(id)
      )
        return found();
    return undefined;
  }

  private memoryOf(handle: bigint, ask: (name: NvmlFunction, ...args: readonly (bigint | Buffer)[]) => boolean) {
    // Version 1 counts what the driver keeps for itself as used.
    const memory = Buffer.alloc(MEMORY_V2_BYTES);
    memory.writeUInt32LE(MEMORY_V2_VERSION);
    if (this.library.call("nvmlDeviceGetMemoryInfo_v2", handle, memory) === SUCCESS)
      return { memoryTotalBytes: numberAt(memory, 8), memoryUsedBytes: numberAt(memory, 32) };
    return ask("nvmlDeviceGetMemoryInfo", handle, memory)
      ? { memoryTotalBytes: numberAt(memory, 0), memoryUsedBytes: numberAt(memory, 16) }
      : { memoryTotalBytes: null, memoryUsedBytes: null };
  }

  /** Those that compute and those that draw; one may do both. */
  private processesOf(handle: bigint): GpuReading["processes"] {
    const found = new Map<number, number | null>();
    for (const name of PROCESS_LISTS) {
      let [code, list] = this.list(name, handle);
      if (code === FUNCTION_NOT_FOUND && name === PROCESS_LISTS[0])
        [code, list] = this.list("nvmlDeviceGetComputeRunningProcesses_v2", handle);
      if (code === SUCCESS)
        for (const [pid, bytes] of list) found.set(pid, Math.max(bytes ?? 0, found.get(pid) ?? 0) || null);
    }
    return [...found].map(([pid, memoryBytes]) => ({ pid, memoryBytes }));
  }

  private list(name: NvmlFunction, handle: bigint): [code: number, (readonly [pid: number, bytes: number | null])[]] {
    for (let room = PROCESSES_FIRST; ; room *= 4) {
      const count = Buffer.alloc(4);
      count.writeUInt32LE(room);
      const infos = Buffer.alloc(room * PROCESS_BYTES);
      const code = this.library.call(name, handle, count, infos);
      if (code === INSUFFICIENT_SIZE && room < PROCESSES_MAX) continue;
      if (code !== SUCCESS) return [code, []];
      return [
        code,
        Array.from({ length: Math.min(room, count.readUInt32LE()) }, (_, index) => {
          const bytes = infos.readBigUInt64LE(index * PROCESS_BYTES + 8);
          return [infos.readUInt32LE(index * PROCESS_BYTES), bytes === NOT_AVAILABLE ? null : Number(bytes)];
        }),
      ];
    }
  }

  private words(name: string, code: number): string {
    return `${this.library.wordsOf(code)} (${name} gave ${code})`;
  }
}

const numberAt = (buffer: Buffer, at: number): number => Number(buffer.readBigUInt64LE(at));
const textOf = (buffer: Buffer): string => buffer.toString("latin1").replace(/\0.*$/s, "");

export function unknownGpu(id: string, problem: string | null): GpuReading {
  return {
    ...{ id, index: /^\d+$/.test(id) ? Number(id) : null, uuid: null, name: null, utilisationPercent: null },
    ...{ memoryUsedBytes: null, memoryTotalBytes: null, temperatureCelsius: null },
    ...{ powerWatts: null, powerLimitWatts: null, processes: [], problem },
  };
}

/** @throws Error when there is no such library. */
export function loadNvml(path = NVML): NvmlLibrary {
  const library = koffi().load(path);
  const loaded = new Map<NvmlFunction, ((...args: unknown[]) => number) | undefined>();
  const find = (name: NvmlFunction) => {
    try {
      // koffi types every foreign function as returning any; the declaration is the proof of this one's type.
      return library.func(`int ${name}(${FUNCTIONS[name]})`) as (...args: unknown[]) => number;
    } catch {
      return undefined; // An older driver's library does not have all of them.
    }
  };
  const wordsOf = library.func("const char *nvmlErrorString(int code)") as (code: number) => string;
  return {
    wordsOf,
    call(name, ...args) {
      if (!loaded.has(name)) loaded.set(name, find(name));
      return loaded.get(name)?.(...args) ?? FUNCTION_NOT_FOUND;
    },
  };
}
