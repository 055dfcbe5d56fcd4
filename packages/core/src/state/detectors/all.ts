/** All detectors. */
import { ActorBacklog } from "./actor-backlog.ts";
import { DeadlockedWaits } from "./deadlocked-waits.ts";
import { InfeasibleDemand, StarvedDemand } from "./demands.ts";
import type { Detector } from "./detector.ts";
import { ClosureBloat, HotCallSite, HotPuts } from "./hot-functions.ts";
import { LeakingRefs } from "./leaking-refs.ts";
import { OverloadedNodes } from "./overloaded-nodes.ts";
import { SkewedNodes } from "./skewed-nodes.ts";
import { SpillStorm, StorePressure } from "./store.ts";
import { Stragglers } from "./stragglers.ts";

export const allDetectors = (): readonly Detector[] => [
  new DeadlockedWaits(),
  new ActorBacklog(),
  new InfeasibleDemand(),
  new StarvedDemand(),
  new SkewedNodes(),
  new OverloadedNodes(),
  new Stragglers(),
  new LeakingRefs(),
  new StorePressure(),
  new SpillStorm(),
  new HotCallSite(),
  new HotPuts(),
  new ClosureBloat(),
];
