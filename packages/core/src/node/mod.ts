export { EventRing } from "./event-ring.ts";
export { type LaunchedNode, type LaunchOptions, launchNode } from "./launch.ts";
export { LeaseLoop } from "./lease-loop.ts";
export { describeMachine, type Machine } from "./machine.ts";
export { runNode } from "./main.ts";
export { removeSession } from "./session-folder.ts";
export {
  findStandingNode,
  requireStandingNode,
  type StandingNode,
  startStandingNode,
  stopStandingNode,
} from "./standing.ts";
