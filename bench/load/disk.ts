/** A disk of its own for a cluster: a small file system in memory, which can be full without harm to the machine. */
import { execFileSync } from "node:child_process";
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";

/** What stores move to disk, states and logs of a run need less. */
const DISK_MIB = 1_024;
/** Who was refused something is told, at the latest, so long after there was room again. */
const TOLD_MS = 20_000;

export class SmallDisk {
  private readonly folder: string;
  private readonly filler: string;
  private fullUntilMs = Number.NEGATIVE_INFINITY;

  private constructor(folder: string) {
    this.folder = folder;
    this.filler = join(folder, "filler");
  }

  /** It goes with this process. Undefined where nothing may be mounted. */
  static at(folder: string): SmallDisk | undefined {
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", `size=${DISK_MIB}m`, "tmpfs", folder], { stdio: "ignore" });
    } catch {
      return undefined;
    }
    const disk = new SmallDisk(folder);
    process.once("exit", () => disk.remove());
    return disk;
  }

  /** It is full, or was a moment ago. */
  get wasFull(): boolean {
    return performance.now() - this.fullUntilMs < TOLD_MS;
  }

  /** Nothing more can be written to it, whatever others remove meanwhile. */
  fill(): void {
    this.fullUntilMs = Number.POSITIVE_INFINITY;
    const piece = new Uint8Array(2 ** 20);
    const file = openSync(this.filler, "w");
    try {
      for (;;) writeSync(file, piece);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    } finally {
      closeSync(file);
    }
  }

  empty(): void {
    rmSync(this.filler);
    this.fullUntilMs = performance.now();
  }

  private remove(): void {
    execFileSync("umount", ["-l", this.folder], { stdio: "ignore" });
    rmSync(this.folder, { recursive: true, force: true });
  }
}
