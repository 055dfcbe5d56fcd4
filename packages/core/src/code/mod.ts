export { CodeCache, onDisk } from "./cache.ts";
export { give } from "./given.ts";
export { hashFile } from "./hash-file.ts";
export { KnownFiles } from "./known-files.ts";
export {
  decodeManifest,
  type Entry,
  encodeManifest,
  type FileEntry,
  hashOf,
  isFile,
  type Manifest,
} from "./manifest.ts";
export { ownPackage } from "./own-package.ts";
export { Programs, type ProgramsOptions } from "./programs.ts";
export { filesSeenHere } from "./same-files.ts";
export { Slices } from "./slices.ts";
