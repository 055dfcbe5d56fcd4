/**
 * When to collect garbage for the store's sake. V8 knows nothing of the bytes behind a ref or a view, and finalisers
 * run only after a major collection: a loop that drops one 1 MiB result a turn would fill the store with dead ones.
 * Every process counts the bytes behind its unreleased refs and views, and collects
 *   - when they have grown by a share of the store since the last collection,
 *   - when the node asks (memory is short) and it holds any,
 *   - once when it has become idle while holding any,
 * and never spends more than a tenth of its time on it.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { monotonicMs } from "../base/mod.ts";

/** Half of the tenth of the store that may be dead: finalisers need a turn to run, and a few processes share it. */
const GROWTH_SHARE = 0.05;
const TIME_SHARE = 0.1;
const IDLE_MS = 300;

export type GcCause = "growth" | "asked" | "idle";

/** The policy, without clock or collector. Times in milliseconds of one clock. */
export interface GcPolicy {
  /** Bytes behind refs and views have grown, or shrunk; `areInUse`: of views, of which the newest is alive. */
  changed(bytes: number, areInUse?: boolean): void;
  asked(): void;
  /** Something of the program ran: it may have let go of what it held. */
  active(nowMs: number): void;
  /** Why to collect now, if at all. */
  due(nowMs: number): GcCause | undefined;
  collected(startMs: number, endMs: number): void;
  /** The finalisers of the last collection have run: what is left is alive, as far as one can know. */
  settled(): void;
  /** When to ask again though nothing changes; Infinity for never. */
  nextCheckMs(nowMs: number): number;
  readonly heldBytes: number;
}

export function createGcPolicy(capacityBytes: number): GcPolicy {
  let heldBytes = 0;
  /** What was held after the last collection. */
  let floorBytes = 0;
  /** The last that came into use, while it may be: to collect because of it alone would find nothing. */
  let newestBytes = 0;
  let wanted = false;
  let lastActiveMs = Number.NEGATIVE_INFINITY;
  /** Whether anything was taken hold of since the last collection in idleness. */
  let idleCollectDue = false;
  let allowedFromMs = Number.NEGATIVE_INFINITY;

  const growthMax = capacityBytes * GROWTH_SHARE;
  const hasGrown = (): boolean => heldBytes - newestBytes - floorBytes > growthMax;

  return {
    changed(bytes, areInUse = false) {
      heldBytes += bytes;
      if (bytes > 0) idleCollectDue = true;
      if (areInUse) newestBytes = bytes > 0 ? bytes : Math.max(0, newestBytes + bytes);
      if (heldBytes === 0) idleCollectDue = false;
      floorBytes = Math.min(floorBytes, heldBytes);
    },
    asked() {
      wanted = true;
    },
    active(nowMs) {
      lastActiveMs = nowMs;
      if (heldBytes > 0) idleCollectDue = true;
    },
    due(nowMs) {
      if (heldBytes === 0) {
        wanted = false;
        return undefined;
      }
      if (nowMs < allowedFromMs) return undefined;
      if (wanted) return "asked";
      if (hasGrown()) return "growth";
      if (!idleCollectDue || nowMs - lastActiveMs < IDLE_MS) return undefined;
      idleCollectDue = false;
      return "idle";
    },
    collected(startMs, endMs) {
      // One that growth or the node caused may have come while what is dead by now was still in use: that in idleness
      // is still due.
      wanted = false;
      floorBytes = heldBytes;
      allowedFromMs = endMs + (endMs - startMs) * (1 / TIME_SHARE - 1);
    },
    settled() {
      floorBytes = heldBytes;
    },
    nextCheckMs(nowMs) {
      if (heldBytes === 0) return Number.POSITIVE_INFINITY;
      if (wanted || hasGrown()) return Math.max(nowMs, allowedFromMs);
      if (idleCollectDue) return Math.max(allowedFromMs, lastActiveMs + IDLE_MS);
      return Number.POSITIVE_INFINITY;
    },
    get heldBytes() {
      return heldBytes;
    },
  };
}

export interface GcPressureOptions {
  readonly capacityBytes: number;
  /** Milliseconds; default the monotonic clock. */
  readonly now?: () => number;
  /** Runs a major collection; default V8's. */
  readonly collect?: () => void;
  /** After the finalisers of a collection had their turn; a process gives back its slab here when asked. */
  readonly onCollected?: (cause: GcCause, tookMs: number) => void;
}

export interface GcPressure {
  /** Bytes behind refs and views have grown (positive) or shrunk. Cheap; may collect, at once, when they have grown. */
  changed(bytes: number, areInUse?: boolean): void;
  /** The node sent `Collect`. */
  asked(): void;
  /** Something of the program ran, and may have let go of what it held. Cheap. */
  active(): void;
  readonly heldBytes: number;
  /** Milliseconds spent in collections that this made. */
  readonly spentMs: number;
  readonly collections: number;
  close(): void;
}

export function createGcPressure(options: GcPressureOptions): GcPressure {
  const now = options.now ?? monotonicMs;
  // Made with the first collection: until then most processes never need it.
  const collect = options.collect ?? (() => majorCollector()());
  const policy = createGcPolicy(options.capacityBytes);
  let timer: NodeJS.Timeout | undefined;
  let timerAtMs = Number.POSITIVE_INFINITY;
  let settling = false;
  let closed = false;
  let spentMs = 0;
  let collections = 0;

  function check(): void {
    if (closed || settling) return;
    const startMs = now();
    const cause = policy.due(startMs);
    if (!cause) {
      plan(startMs);
      return;
    }
    collect();
    const endMs = now();
    spentMs += endMs - startMs;
    collections++;
    policy.collected(startMs, endMs);
    settling = true;
    // Finalisers are tasks of their own after this turn; two turns later they have run.
    setImmediate(() =>
      setImmediate(() => {
        settling = false;
        policy.settled();
        options.onCollected?.(cause, endMs - startMs);
        plan(now());
      }),
    );
  }

  function plan(nowMs: number): void {
    if (closed) return;
    const atMs = policy.nextCheckMs(nowMs);
    if (atMs >= timerAtMs && timer) return;
    clearTimeout(timer);
    timer = undefined;
    timerAtMs = Number.POSITIVE_INFINITY;
    if (atMs === Number.POSITIVE_INFINITY) return;
    timerAtMs = atMs;
    timer = setTimeout(
      () => {
        timer = undefined;
        timerAtMs = Number.POSITIVE_INFINITY;
        check();
      },
      Math.max(1, atMs - nowMs),
    );
    // It must not keep a program alive that has nothing else to do.
    timer.unref();
  }

  return {
    changed(bytes, areInUse) {
      policy.changed(bytes, areInUse);
      if (bytes <= 0) return;
      const nowMs = now();
      policy.active(nowMs);
      // A view is being made: whoever waits for it need not wait for a collection too, which can free nothing before
      // the turn ends.
      if (!areInUse) check();
      else if (!settling) plan(nowMs);
    },
    asked() {
      policy.asked();
      check();
    },
    active() {
      if (policy.heldBytes === 0) return;
      const nowMs = now();
      policy.active(nowMs);
      // While a timer runs it only has to be remembered: the timer looks at it.
      if (!timer && !settling) plan(nowMs);
    },
    get heldBytes() {
      return policy.heldBytes;
    },
    get spentMs() {
      return spentMs;
    },
    get collections() {
      return collections;
    },
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}

let collector: (() => void) | undefined;

/** V8's major collection, made reachable without asking the user for a flag. */
export function majorCollector(): () => void {
  if (!collector) {
    setFlagsFromString("--expose-gc");
    const gc: unknown = runInNewContext("gc");
    if (typeof gc !== "function") throw new Error("V8 does not offer gc()");
    collector = () => {
      gc();
    };
  }
  return collector;
}
