export { CodeCache } from "./cache.ts";
export { ownPackage } from "./own-package.ts";
export { Programs, type ProgramsOptions } from "./programs.ts";
export { filesSeenHere } from "./same-files.ts";
