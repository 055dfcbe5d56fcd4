export type { ReadyEnvironment } from "./builder.ts";
export { Environments } from "./environments.ts";
export { refusedNodeOption } from "./node-options.ts";
export { planNpm } from "./npm-plan.ts";
export { Packages } from "./packages.ts";
export { filesOfArchive, filesOfFolder, type ProgramFile } from "./program-files.ts";
