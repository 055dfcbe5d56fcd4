/** Notices that files have changed, by looking when they are about to be used: no watcher that could miss what a mount does. */
import { statSync } from "node:fs";

export class WatchedFiles {
  private readonly paths: readonly string[];
  private seen: string;

  constructor(paths: readonly string[]) {
    this.paths = paths;
    this.seen = this.look();
  }

  /** True once for each change. */
  haveChanged(): boolean {
    const now = this.look();
    if (now === this.seen) return false;
    this.seen = now;
    return true;
  }

  private look(): string {
    return this.paths
      .map((path) => {
        const status = statSync(path, { throwIfNoEntry: false });
        return status ? `${status.ino} ${status.size} ${status.mtimeMs}` : "";
      })
      .join(",");
  }
}
