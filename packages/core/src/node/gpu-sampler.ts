/**
 * The process that asks NVML, of a node that has GPUs. It is one of its own because the library is NVIDIA's: a call may take as long
 * as the driver likes, or never come back, and a fault in it ends whoever has called. It writes a line of JSON each second, or why it
 * cannot, and ends with its standard input.
 */
import type { GpuReading } from "../wire/state-messages.ts";
import { loadNvml, Nvml } from "./nvml.ts";

/** A line: what was read, or why nothing can be. */
export type SamplerLine = { readonly gpus: readonly GpuReading[] } | { readonly unusable: string };

/** undefined: it is none of the sampler's. */
export function samplerLine(text: string): SamplerLine | undefined {
  try {
    return JSON.parse(text) as SamplerLine; // Of the same package.
  } catch {
    return undefined;
  }
}

/** Even a slow driver is left alone for so long. */
const PAUSE_MS_MIN = 200;

/** Its arguments: how often, in milliseconds, and the ids of GPUs; without any, all of them. */
export function runGpuSampler(): void {
  const [everyMs, ...given] = process.argv.slice(2);
  const say = (line: SamplerLine): boolean => process.stdout.write(`${JSON.stringify(line)}\n`);
  // The node has ended.
  process.stdin.on("end", () => process.exit()).resume();
  process.stdout.on("error", () => process.exit());
  try {
    const nvml = new Nvml(loadNvml());
    const ids = given.length > 0 ? given : nvml.devices().map(({ index }) => index);
    const sample = (): void => {
      const startedMs = performance.now();
      try {
        say({ gpus: nvml.readAll(ids) });
      } catch (error) {
        giveUp(error as Error);
        return;
      }
      setTimeout(sample, Math.max(PAUSE_MS_MIN, Number(everyMs) - (performance.now() - startedMs)));
    };
    sample();
  } catch (error) {
    giveUp(error as Error);
  }
  function giveUp({ message }: Error): void {
    say({ unusable: message });
    process.exit();
  }
}
