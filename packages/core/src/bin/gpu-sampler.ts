/** The process that asks the driver of GPUs each second; started by a node that has some. */
import { runGpuSampler } from "../node/gpu-sampler.ts";
import { runEntry } from "./entries.ts";

runEntry(() => runGpuSampler());
