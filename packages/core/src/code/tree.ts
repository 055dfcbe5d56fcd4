/**
 * A program's files in a folder, each at the path that it has on the machine where the program runs, below the folder: so
 * modules find each other, their packages, and files beside them, and Node.js needs to be told nothing.
 *
 * A folder is never changed once it is there. When a program turns out to need more, another one is laid out that has the new
 * files, and links to what is in the one before; Node.js knows modules by their real paths, so each is loaded once.
 */
import { createHash, randomBytes } from "node:crypto";
import { existsSync, lstatSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { CodeCache } from "./cache.ts";
import { onDisk } from "./cache.ts";
import { type Entry, type FileEntry, type Hash, isFile } from "./manifest.ts";
import { Slices } from "./slices.ts";

export interface TreeOptions {
  readonly cache: CodeCache;
  /** Where trees of this node lie. */
  readonly folder: string;
  /** This package, on this machine. */
  readonly runtime: string;
  /** New files are got again when what is kept of one is damaged. */
  again(entries: readonly FileEntry[]): Promise<void>;
}

/** Names the tree: what is in it, and what it stands on. */
export function treeName(manifest: Hash, base: string | undefined): string {
  return createHash("sha256")
    .update(`${manifest}\0${base ?? ""}`)
    .digest("hex")
    .slice(0, 24);
}

/** @param base the folder of the tree on which it stands. @returns its folder. */
export async function layOut(
  name: string,
  entries: readonly Entry[],
  base: string | undefined,
  options: TreeOptions,
): Promise<string> {
  const { cache, folder, runtime } = options;
  const root = join(folder, name);
  if (existsSync(root)) return root;
  // Two programs may have the same files, and need them at the same time.
  const making = `${root}.${randomBytes(6).toString("hex")}.tmp`;
  const slices = new Slices();
  const folders = new Set<string>();
  const makeFolder = (path: string): void => {
    if (folders.has(path)) return;
    if (path !== "/") makeFolder(dirname(path));
    folders.add(path);
    onDisk(folder, 0, () => mkdirSync(join(making, path), { recursive: true, mode: 0o700 }));
  };
  try {
    makeFolder("/");
    const damaged: FileEntry[] = [];
    const place = (entry: FileEntry): Promise<boolean> =>
      cache.place(entry.hash, entry.size, entry.isExecutable, join(making, entry.path));
    for (const entry of entries) {
      makeFolder(dirname(entry.path));
      if (!isFile(entry)) {
        const target = "target" in entry ? join(root, entry.target) : runtime;
        onDisk(folder, 0, () => symlinkSync(target, join(making, entry.path)));
      } else if (!(await place(entry))) damaged.push(entry);
      await slices.breathe();
    }
    if (damaged.length > 0) {
      await options.again(damaged);
      for (const entry of damaged) {
        if (!(await place(entry)))
          throw new Error(`${entry.path} is damaged whenever it is written to ${cache.folder}`);
      }
    }
    if (base !== undefined) standOn(base, making, folders);
    const scope = join(making, "package.json");
    // What lies above this folder is not the program's.
    if (!existsSync(scope)) onDisk(folder, 0, () => writeFileSync(scope, "{}\n", { mode: 0o400 }));
    if (!existsSync(root)) renameSync(making, root);
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
  return root;
}

/** Links to everything in `base` beside what is new. */
function standOn(base: string, making: string, folders: ReadonlySet<string>): void {
  for (const path of folders) {
    const below = join(base, path);
    if (!existsSync(below)) continue;
    for (const name of readdirSync(below)) {
      const to = join(making, path, name);
      if (!folders.has(join(path, name)) && !lstatSync(to, { throwIfNoEntry: false }))
        onDisk(base, 0, () => symlinkSync(join(below, name), to));
    }
  }
}
