/** Mobula's side of the benchmark: an ordinary program that uses the public API and nothing else. */
import { shutdown } from "mobula";
import { serve } from "../harness/protocol.ts";
import { actorWorkloads } from "./actors.ts";
import { clusterWorkloads } from "./cluster.ts";
import { objectWorkloads } from "./objects.ts";
import { openMobula } from "./runtime.ts";
import { scaleWorkloads } from "./scale.ts";
import { taskWorkloads } from "./tasks.ts";

await serve({
  open: openMobula,
  close: shutdown,
  workloads: { ...taskWorkloads, ...scaleWorkloads, ...actorWorkloads, ...objectWorkloads, ...clusterWorkloads },
});
