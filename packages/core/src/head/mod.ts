export { askHead, type HeadAddress } from "./ask.ts";
export { takeBackup } from "./backup.ts";
export { type HeadOptions, type LaunchedHead, launchHead } from "./launch.ts";
export { restoreFolder, restoreReplicated } from "./restore.ts";
export { beginStandingHead, findStandingHead, type StandingHead, stopStandingHead } from "./standing.ts";
export { defaultStateFolder, replicatedStateFolder } from "./state-folder.ts";
