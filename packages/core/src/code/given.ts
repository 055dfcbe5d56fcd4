/** Lists of files that processes of this user have packed for other machines: their nodes give them to whoever knows the hash. */
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { onDisk } from "./cache.ts";
import type { Hash } from "./manifest.ts";

const FOLDER = "packages";
const NAMES_MAX = 256;

/** @param cacheFolder of the files. */
export const isGiven = (cacheFolder: string, list: Hash): boolean => existsSync(join(cacheFolder, FOLDER, list));

/** From now on, as long as it is in the cache. @throws OutOfDiskError. */
export function give(cacheFolder: string, list: Hash): void {
  const folder = join(cacheFolder, FOLDER);
  const name = join(folder, list);
  onDisk(folder, 0, () => {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (existsSync(name)) utimesSync(name, new Date(), new Date());
    else writeFileSync(name, "", { mode: 0o600 });
  });
  const names = readdirSync(folder);
  if (names.length <= NAMES_MAX) return;
  const byAge = names
    .map((one) => ({ one, atMs: statSync(join(folder, one), { throwIfNoEntry: false })?.mtimeMs ?? 0 }))
    .sort((a, b) => b.atMs - a.atMs);
  for (const { one } of byAge.slice(NAMES_MAX / 2)) rmSync(join(folder, one), { force: true });
}
