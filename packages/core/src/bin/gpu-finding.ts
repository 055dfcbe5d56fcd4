/** What `mobula doctor` says of GPUs. */
import { execFileSync } from "node:child_process";
import { askNvml, gpuDriverIsThere } from "../node/mod.ts";
import type { Finding } from "./doctor-checks.ts";
import { bytesText } from "./row-table.ts";

const WHAT = "GPUs";
const SMI_TIMEOUT_MS = 10_000;

export interface GpuSource {
  isThere(): boolean;
  askNvml(): ReturnType<typeof askNvml>;
  /** Names of GPUs, one a line. @throws Error */
  askSmi(): string;
}

const MACHINE: GpuSource = {
  isThere: gpuDriverIsThere,
  askNvml,
  askSmi: () =>
    execFileSync("nvidia-smi", ["--query-gpu=name", "--format=csv,noheader"], {
      encoding: "utf8",
      timeout: SMI_TIMEOUT_MS,
      stdio: ["ignore", "pipe", "ignore"],
    }),
};

export function gpuFinding({ isThere, askNvml: ask, askSmi }: GpuSource = MACHINE): Finding {
  if (!isThere()) return { what: WHAT, is: "good", says: "there is no NVIDIA driver, so none are offered" };
  const answer = ask();
  if ("gpus" in answer) return seen(answer.gpus);
  const { unusable } = answer;
  try {
    const names = askSmi().trim().split("\n").join(", ");
    const says = `${names}; NVML, the driver's library, cannot be used (${unusable}), so nvidia-smi is asked instead`;
    return { what: WHAT, is: "note", says, advice: remedyOf(unusable) };
  } catch (error) {
    const [words] = (error as Error).message.split("\n");
    const says = `the driver does not answer: NVML: ${unusable}; nvidia-smi: ${words}`;
    return { what: WHAT, is: "bad", says, advice: remedyOf(unusable) };
  }
}

function seen(gpus: readonly Readings[]): Finding {
  const bad = gpus.filter(({ problem }) => problem !== null);
  const [first] = bad;
  if (first)
    return {
      what: WHAT,
      is: "bad",
      says: bad.map(({ id, problem }) => `nothing can be known of GPU ${id} of ${gpus.length}: ${problem}`).join("; "),
      advice: `the kernel's log says why (dmesg | grep -i xid); reset it (nvidia-smi --gpu-reset -i ${first.id}) or restart the machine; until then MOBULA_GPUS names the others`,
    };
  const names = gpus.map(
    ({ name, memoryUsedBytes, memoryTotalBytes }) =>
      `${name} (${memoryUsedBytes === null ? "" : `${bytesText(memoryUsedBytes)} of `}${bytesText(memoryTotalBytes)} used)`,
  );
  return { what: WHAT, is: "good", says: names.length === 0 ? "the driver knows none" : names.join(", ") };
}
type Readings = Extract<ReturnType<typeof askNvml>, { readonly gpus: unknown }>["gpus"][number];

function remedyOf(words: string): string {
  if (/load shared library|cannot open shared object/i.test(words))
    return "install libnvidia-ml.so.1 of the driver's version (Debian: libnvidia-ml1; Ubuntu: libnvidia-compute-…); a container needs NVIDIA_DRIVER_CAPABILITIES=compute,utility";
  if (/mismatch/i.test(words))
    return "the driver was updated while its kernel module runs: restart the machine, or load the module anew";
  if (/not loaded/i.test(words)) return "load the driver's kernel module: modprobe nvidia";
  return "nvidia-smi says more; MOBULA_GPUS names those to offer";
}
