export { Asks, answerTo } from "./asks.ts";
export { AuditNotes } from "./audit-notes.ts";
export { isAboutBundles } from "./bundles.ts";
export { DASHBOARD_PORTS, type LogLevel, logLevel, outlivesLauncher } from "./config.ts";
export { EventRing } from "./event-ring.ts";
export { keyOf } from "./explanations.ts";
export { askNvml, gpuDriverIsThere } from "./gpu.ts";
export { startHealth } from "./health.ts";
export { type ClusterOptions, type LaunchedNode, type LaunchOptions, launchNode } from "./launch.ts";
export { follow, type LaunchedProcess } from "./launched-process.ts";
export { LeaseLoop } from "./lease-loop.ts";
export { Ending, endProcess, Lifeline } from "./lifeline.ts";
export { localAddressOf, localAddressTowards } from "./local-address.ts";
export { byTime, type LogRecord, lineAsText, parseLogLine, timeOfLine } from "./log-record.ts";
export { describeMachine, type Machine } from "./machine.ts";
export { runNode } from "./main.ts";
export { misplacedOn } from "./misplaced.ts";
export { NodeLog } from "./node-log.ts";
export { OwnGroups, ownGroupsClock } from "./own-groups.ts";
export { type EngineKind, Recording } from "./recording.ts";
export { endProcessOf, isRunning, type RunningProcess, readAddressFile, writeAddressFile } from "./running-process.ts";
export {
  baseFolder,
  claimSession,
  createSession,
  dashboardsIn,
  keepDashboard,
  logFolderOf,
  namesIn,
  nodeOf,
  openStderr,
  processStart,
  removeBrokenSession,
  removeSession,
  socketPathOf,
  workersOf,
} from "./session-folder.ts";
export {
  findStandingNode,
  requireStandingNode,
  type StandingNode,
  type Started,
  startStandingNode,
  stopStandingNode,
  whyNoNode,
} from "./standing.ts";
export type { ControlPlace, ParentWord, ServiceWord, StateServiceConfig } from "./state-service.ts";
export { StateService } from "./state-service.ts";
export { tlsFilesFrom } from "./tls-options.ts";
