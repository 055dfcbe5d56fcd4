/**
 * The file behind the arena, in order of preference: a memfd (nothing is left of it whatever happens, and a
 * container's small /dev/shm does not matter), a file in /dev/shm unlinked at once, an ordinary file in the session's
 * folder. Other processes open it through `/proc/<pid>/fd/<n>`, which the kernel allows to the same user only.
 */

import { closeSync, ftruncateSync, openSync, readdirSync, statfsSync, statSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { InvalidOptionError, MobulaError, randomBytes } from "../base/mod.ts";
import { describeBytes } from "./holders.ts";
import { createMemfd } from "./memory.ts";
import { isProcessAlive } from "./process-alive.ts";

export type Backing = "memfd" | "shm" | "file";
const ORDER: readonly Backing[] = ["memfd", "shm", "file"];

export interface SharedFile {
  readonly fd: number;
  /** Where processes of the same user open it, as long as this one lives. */
  readonly path: string;
  close(): void;
}

export interface Arena extends SharedFile {
  readonly backing: Backing;
}

export interface ArenaOptions {
  readonly bytes: number;
  /** The session's folder, for the last resort. */
  readonly directory: string;
  readonly log: (message: string) => void;
  /** Skips the backings before this one; default: the environment's MOBULA_STORE_BACKING, else "memfd". */
  readonly backing?: Backing;
  /** Default /dev/shm. */
  readonly shmDirectory?: string;
}

export function openArena(options: ArenaOptions): Arena {
  const first = options.backing ?? backingFromEnvironment() ?? "memfd";
  const failures: string[] = [];
  for (const backing of ORDER.slice(ORDER.indexOf(first))) {
    try {
      const file = open(backing, options);
      if (failures.length > 0) options.log(`${costOf(backing)} Tried before: ${failures.join("; ")}.`);
      else if (backing !== "memfd") options.log(`${costOf(backing)} MOBULA_STORE_BACKING asks for it.`);
      return { backing, ...file };
    } catch (error) {
      failures.push(`${backing}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw new MobulaError(
    "STORE_UNAVAILABLE",
    "unavailable",
    `the object store found no memory to share: ${failures.join("; ")}; give init a smaller objectStoreBytes, or TMPDIR a folder that can be written`,
  );
}

function backingFromEnvironment(): Backing | undefined {
  const named = process.env.MOBULA_STORE_BACKING;
  if (named === undefined || named === "") return undefined;
  const backing = ORDER.find((known) => known === named);
  if (!backing)
    throw new InvalidOptionError(`MOBULA_STORE_BACKING is ${JSON.stringify(named)}; it can be ${ORDER.join(", ")}`);
  return backing;
}

function costOf(backing: Backing): string {
  return backing === "shm"
    ? "The object store lies in /dev/shm: objects are as fast as ever, but the space is shared with whoever else uses it."
    : "The object store lies in an ordinary file: the system may write every object to disk, so that puts run at disk speed.";
}

function open(backing: Backing, options: ArenaOptions): SharedFile {
  switch (backing) {
    case "memfd": {
      const fd = createMemfd("mobula-store");
      return sized(fd, options.bytes);
    }
    case "shm": {
      const directory = options.shmDirectory ?? "/dev/shm";
      const { bavail, bsize } = statfsSync(directory);
      if (bavail * bsize < options.bytes) {
        throw new Error(
          `${directory} has ${describeBytes(bavail * bsize)} free, less than ${describeBytes(options.bytes)}`,
        );
      }
      return createUnlinked(directory, options.bytes);
    }
    case "file":
      return createUnlinked(options.directory, options.bytes);
  }
}

const FILE_PREFIX = "mobula-store-";

/** A file that has no name any more, so that the system takes it back when its last user ends, however that happens. */
export function createUnlinked(directory: string, bytes: number): SharedFile {
  const path = join(directory, `${FILE_PREFIX}${process.pid}-${randomBytes(6).toString("hex")}`);
  const fd = openSync(path, "wx+", 0o600);
  // Without /proc others need the name, and it goes when the store closes; `sweepFiles` takes what a kill leaves.
  if (process.platform === "linux") {
    unlinkSync(path);
    return sized(fd, bytes);
  }
  const file = sized(fd, bytes);
  return {
    fd,
    path,
    close() {
      unlinkSync(path);
      file.close();
    },
  };
}

function sized(fd: number, bytes: number): SharedFile {
  try {
    ftruncateSync(fd, bytes);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return { fd, path: `/proc/${process.pid}/fd/${fd}`, close: () => closeSync(fd) };
}

/** Removes store files of this user whose process is dead: a kill between open and unlink, or a system without /proc. */
export function sweepFiles(directory: string): number {
  let removed = 0;
  for (const name of readdirSync(directory)) {
    const pid = Number.parseInt(/^mobula-store-(\d+)-/.exec(name)?.[1] ?? "", 10);
    if (Number.isNaN(pid) || isProcessAlive(pid)) continue;
    const path = join(directory, name);
    try {
      if (statSync(path).uid !== process.getuid?.()) continue;
      unlinkSync(path);
      removed++;
    } catch (error) {
      // Another sweep of the same user may have been faster.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  return removed;
}
