import { actorSessions } from "./actors.ts";
import { clusterSessions } from "./cluster.ts";
import { objectSessions } from "./objects.ts";
import type { Session } from "./plan.ts";
import { taskSessions } from "./tasks.ts";

export type { Session } from "./plan.ts";

export const allSessions: readonly Session[] = [
  ...taskSessions,
  ...actorSessions,
  ...objectSessions,
  ...clusterSessions,
];
