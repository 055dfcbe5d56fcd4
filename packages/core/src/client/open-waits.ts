/**
 * Waits under way, for whoever asks why a program hangs: asynchronous code that waits has no stack. Each is noted with
 * when it began, and, for as many as that costs nothing, with where in the program.
 */
import type { Execution } from "./execution.ts";

/** What is waited for, as it is when somebody asks. */
export interface Waited {
  readonly call: "get" | "wait" | "stream";
  readonly refs: number;
  missing(): number;
  /** Ids of the first of those that are missing. */
  ids(max: number): readonly string[];
}

export interface OpenWait {
  readonly waited: Waited;
  readonly sinceMs: number;
  readonly execution: Execution | undefined;
  /** Its `stack` is formatted when it is read. */
  readonly site: { readonly stack?: unknown } | undefined;
}

/**
 * To note a place takes 3.6 µs, so a program that waits all the time has it done for some of its waits: this is 0.1 % of
 * its time. Of one that hangs they are noted as a rule, for it waits seldom.
 */
const SITES_MAX = 16;
const SITES_PER_MS = 50;
const FRAMES_MAX = 30;

let windowAtMs = 0;
let sitesLeft = SITES_MAX;

export class OpenWaits {
  private readonly open = new Set<OpenWait>();

  begin(waited: Waited, execution: Execution | undefined): OpenWait {
    const sinceMs = Date.now();
    const wait = { waited, sinceMs, execution, site: siteAt(sinceMs) };
    this.open.add(wait);
    return wait;
  }

  end(wait: OpenWait): void {
    this.open.delete(wait);
  }

  get size(): number {
    return this.open.size;
  }

  [Symbol.iterator](): Iterator<OpenWait> {
    return this.open.values();
  }
}

function siteAt(nowMs: number): OpenWait["site"] {
  if (nowMs - windowAtMs >= SITES_PER_MS || nowMs < windowAtMs) {
    windowAtMs = nowMs;
    sitesLeft = SITES_MAX;
  }
  if (sitesLeft === 0) return undefined;
  sitesLeft--;
  const site = {};
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = FRAMES_MAX;
  Error.captureStackTrace(site, siteAt);
  Error.stackTraceLimit = limit;
  return site;
}
