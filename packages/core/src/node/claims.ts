/**
 * Shared memory for the workers' claim words: one page for each worker, in one file that has no name any more, so that
 * nothing is left of it when its processes are gone. Workers and owners open it through the node's `/proc/<pid>/fd`.
 */

import { closeSync, existsSync, ftruncateSync, openSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { randomBytes } from "../base/random.ts";
import type { ClaimsInfo } from "../wire/messages.ts";

const CLAIM_PAGE_BYTES = 4096;
/** The file is sparse: only pages that are used take memory. */
const PAGES = 16_384;

export class ClaimPages {
  private readonly fd: number;
  private readonly path: string;
  private nextPage = 0;
  private readonly free: number[] = [];

  constructor(sessionDir: string) {
    const opened = openUnlinked(sessionDir);
    this.fd = opened.fd;
    this.path = opened.path;
    ftruncateSync(this.fd, PAGES * CLAIM_PAGE_BYTES);
  }

  /** A zeroed page, or undefined when all are taken: the wire works without claim words. */
  take(): ClaimsInfo | undefined {
    // New pages before used ones: an owner that has not yet heard of a worker's death may still look at its page.
    const page = this.nextPage < PAGES ? this.nextPage++ : this.free.shift();
    if (page === undefined) return undefined;
    const offset = page * CLAIM_PAGE_BYTES;
    if (this.nextPage >= PAGES) writeSync(this.fd, Buffer.alloc(CLAIM_PAGE_BYTES), 0, CLAIM_PAGE_BYTES, offset);
    return { path: this.path, offset, bytes: CLAIM_PAGE_BYTES };
  }

  giveBack(claims: ClaimsInfo): void {
    this.free.push(claims.offset / CLAIM_PAGE_BYTES);
  }

  close(): void {
    closeSync(this.fd);
  }
}

function openUnlinked(sessionDir: string): { fd: number; path: string } {
  const name = `mobula-claims-${process.pid}-${randomBytes(4).toString("hex")}`;
  const hasProc = existsSync(`/proc/${process.pid}/fd`);
  // Memory first; where there is none, a file in the session's folder costs some writing in the background.
  for (const folder of ["/dev/shm", sessionDir]) {
    const path = join(folder, name);
    let fd: number;
    try {
      fd = openSync(path, "wx+", 0o600);
    } catch (error) {
      if (folder === sessionDir) throw error;
      continue;
    }
    if (!hasProc) {
      if (folder === sessionDir) return { fd, path };
      closeSync(fd);
      unlinkSync(path);
      continue;
    }
    unlinkSync(path);
    return { fd, path: `/proc/${process.pid}/fd/${fd}` };
  }
  throw new Error("unreachable: the session's folder either gave a file or threw");
}
