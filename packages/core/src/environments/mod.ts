export type { ReadyEnvironment } from "./builder.ts";
export { Environments } from "./environments.ts";
export { refusedNodeOption } from "./node-options.ts";
export { planNpm } from "./npm-plan.ts";
export { type PackageName, Packages } from "./packages.ts";
export { filesOfFolder, type ProgramFile, withFilesOfArchive } from "./program-files.ts";
export { Zip, type ZipEntry } from "./zip.ts";
