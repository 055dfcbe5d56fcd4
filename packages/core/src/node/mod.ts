export {
  type LogLevel,
  logLevel,
  MEMORY_MONITOR_DEFAULTS,
  type MemoryMonitorConfig,
  type NodeConfig,
} from "./config.ts";
export { EventRing } from "./event-ring.ts";
export { type LaunchedNode, type LaunchOptions, launchNode, type NodeExit } from "./launch.ts";
export { describeMachine, type Machine } from "./machine.ts";
export { runNode } from "./main.ts";
export { baseFolder, removeSession, sweepSessions } from "./session-folder.ts";
export {
  findStandingNode,
  requireStandingNode,
  type StandingNode,
  startStandingNode,
  stopStandingNode,
} from "./standing.ts";
