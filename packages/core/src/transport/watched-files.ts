/** Notices that files have changed, by looking when they are about to be used: no watcher that could miss what a mount does. */
import { statSync } from "node:fs";

export class WatchedFiles {
  private readonly paths: readonly string[];
  private seen: string | undefined;

  constructor(paths: readonly string[]) {
    this.paths = paths;
    this.seen = this.look();
  }

  /** True once for each change. Those that are gone have not changed: they are being replaced, or this run is ending. */
  haveChanged(): boolean {
    const now = this.look();
    if (now === this.seen || now === undefined) return false;
    this.seen = now;
    return true;
  }

  private look(): string | undefined {
    const looks: string[] = [];
    for (const path of this.paths) {
      const status = statSync(path, { throwIfNoEntry: false });
      if (!status) return undefined;
      looks.push(`${status.ino} ${status.size} ${status.mtimeMs}`);
    }
    return looks.join();
  }
}
