export { askHead, type HeadAddress } from "./ask.ts";
export { type HeadOptions, type LaunchedHead, launchHead } from "./launch.ts";
export { type StandingHead, startStandingHead, stopStandingHead } from "./standing.ts";
export { defaultStateFolder, replicatedStateFolder } from "./state-folder.ts";
