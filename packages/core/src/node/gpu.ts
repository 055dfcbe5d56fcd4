/**
 * Which GPUs this node may use. In this order: MOBULA_GPUS ("2" or "0,1,3"), a declared `resources.gpu`, the driver's
 * library (NVML), `nvidia-smi`. Devices hidden by CUDA_VISIBLE_DEVICES are not offered. Also who asks the driver how they are used.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { InvalidOptionError } from "../base/errors.ts";
import { processCommand } from "../bin/entries.ts";
import { type SamplerLine, samplerLine } from "./gpu-sampler.ts";
import { GpuWatch } from "./gpu-watch.ts";
import { type GpuDevice, loadNvml, NVML, Nvml } from "./nvml.ts";

const DRIVER_TIMEOUT_MS = 10_000;

export interface GpuSources {
  readonly declared: number | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: (message: string) => void;
  /** Whether asking the driver is worth its time; default: its device file is there. */
  readonly hasDriver?: boolean;
  /** NVIDIA's management library; another name in tests. */
  readonly library?: string;
}

/** The ids as CUDA_VISIBLE_DEVICES takes them: indexes, or UUIDs where the machine's own setting uses them. */
export function findGpus({ declared, env, log, hasDriver = gpuDriverIsThere(), library = NVML }: GpuSources): string[] {
  const visible = parseList(env.CUDA_VISIBLE_DEVICES);
  if (env.MOBULA_GPUS !== undefined && env.MOBULA_GPUS !== "") return parseGpus(env.MOBULA_GPUS);
  if (declared !== undefined) {
    if (!Number.isInteger(declared) || declared < 0) {
      throw new InvalidOptionError(`resources.gpu is ${declared}; a machine has a whole number of GPUs`);
    }
    return Array.from({ length: declared }, (_, index) => visible?.[index] ?? String(index));
  }
  if (!hasDriver) return [];
  const devices = fromNvml(library, log) ?? fromNvidiaSmi(log) ?? [];
  if (!visible) return devices.map(({ index }) => index);
  // "-1" and other ids that no device has hide everything after them, as for CUDA itself.
  const end = visible.findIndex((id) => !devices.some(({ index, uuid }) => id === index || uuid.startsWith(id)));
  return end < 0 ? visible : visible.slice(0, end);
}

/**
 * MOBULA_GPU_SAMPLING says otherwise: `off`, or `nvidia-smi` without the library. Nothing is asked before somebody wants to know.
 *
 * @throws InvalidOptionError when it says something else.
 */
export function watchGpus(
  ids: readonly string[],
  { MOBULA_GPU_SAMPLING: how = "" }: Readonly<Record<string, string | undefined>>,
  log: (message: string) => void,
): GpuWatch | undefined {
  if (how !== "" && how !== "auto" && how !== "off" && how !== "nvidia-smi")
    throw new InvalidOptionError(`MOBULA_GPU_SAMPLING is "${how}"; it may be auto, nvidia-smi or off`);
  const isWanted = how === "nvidia-smi" || (how !== "off" && gpuDriverIsThere());
  return ids.length > 0 && isWanted ? new GpuWatch({ ids, log, onlySmi: how === "nvidia-smi" }) : undefined;
}

export const gpuDriverIsThere = (): boolean => existsSync("/dev/nvidiactl") || existsSync("/dev/dxg");

/** What the library says of all GPUs now, or why it does not. It is asked by another process, since it may never answer. */
export function askNvml(): SamplerLine {
  const { execPath, args } = processCommand("gpu-sampler");
  const how = { input: "", encoding: "utf8", timeout: DRIVER_TIMEOUT_MS, killSignal: "SIGKILL" } as const;
  const { stdout, status, signal } = spawnSync(execPath, [...args, "1000"], how);
  const line = samplerLine(stdout.split("\n")[0] ?? "");
  if (line) return line;
  return {
    unusable:
      signal === "SIGKILL"
        ? `it did not answer within ${DRIVER_TIMEOUT_MS / 1_000} s`
        : `the process that asked it ended by ${signal ?? `code ${status}`}`,
  };
}

function parseGpus(text: string): string[] {
  if (/^\d+$/.test(text)) return Array.from({ length: Number(text) }, (_, index) => String(index));
  const ids = parseList(text) ?? [];
  if (ids.length > 0 && new Set(ids).size === ids.length) return ids;
  throw new InvalidOptionError(`MOBULA_GPUS is "${text}"; it may be a number of GPUs or a list of their ids`);
}

function parseList(text: string | undefined): string[] | undefined {
  if (text === undefined) return undefined;
  return text
    .split(",")
    .map((id) => id.trim())
    .filter((id) => id !== "");
}

function fromNvml(library: string, log: (message: string) => void): GpuDevice[] | undefined {
  try {
    const nvml = new Nvml(loadNvml(library));
    try {
      return nvml.devices();
    } finally {
      nvml[Symbol.dispose]();
    }
  } catch (error) {
    log(`NVML cannot be used (${(error as Error).message}); nvidia-smi is asked instead`);
    return undefined;
  }
}

function fromNvidiaSmi(log: (message: string) => void): GpuDevice[] | undefined {
  try {
    const text = execFileSync("nvidia-smi", ["--query-gpu=index,uuid", "--format=csv,noheader"], {
      encoding: "utf8",
      timeout: DRIVER_TIMEOUT_MS,
      stdio: ["ignore", "pipe", "ignore"],
    });
    return text
      .split("\n")
      .filter((line) => line.trim() !== "")
      .map((line) => {
        const [index = "", uuid = ""] = line.split(",").map((part) => part.trim());
        return { index, uuid };
      });
  } catch (error) {
    log(
      `there seem to be GPUs, but nvidia-smi failed too (${(error as Error).message}); declare them with resources.gpu`,
    );
    return undefined;
  }
}
