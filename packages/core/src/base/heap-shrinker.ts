/**
 * Gives memory back that V8 keeps after a burst of work. The young generation of a process that was busy for a moment
 * stays as large as it grew, tens of megabytes, until some later major collection, which an idle process never makes.
 *
 * For threads that run nobody's program, or nothing at the moment: when nothing has happened for a while, one collection
 * that also shrinks the heap, at most once in half a minute, and only of a heap small enough for it to be short.
 */
import { monotonicMs } from "./clock.ts";

const IDLE_MS = 1_000;
const SHRINK_EVERY_MS = 30_000;
/** Less than this is not worth a collection. */
const SLACK_BYTES_MIN = 6 * 2 ** 20;
/** A larger heap would stand still for too long. */
const USED_BYTES_MAX = 128 * 2 ** 20;

interface HeapState {
  /** Without the young generation, whose contents are mostly garbage. */
  readonly usedBytes: number;
  /** What V8 holds beyond that. */
  readonly slackBytes: number;
}

interface HeapShrinkerOptions {
  /** Gives back what is free outside V8's heap, also when V8's own is not worth a collection. Default: nothing. */
  readonly trim?: () => void;
  /** Defaults: V8's, and the clock's. */
  readonly heap?: () => HeapState;
  readonly shrink?: () => void;
  readonly nowMs?: () => number;
}

export class HeapShrinker {
  private readonly heap: () => HeapState;
  private readonly shrink: () => void;
  private readonly trim: (() => void) | undefined;
  private readonly nowMs: () => number;
  private timer: NodeJS.Timeout | undefined;
  private wasActive = false;
  private shrunkAtMs = Number.NEGATIVE_INFINITY;

  constructor({ heap = heapState, shrink = shrinkNow, trim, nowMs = monotonicMs }: HeapShrinkerOptions = {}) {
    this.heap = heap;
    this.shrink = shrink;
    this.trim = trim;
    this.nowMs = nowMs;
  }

  /** Something happened. Cheap. */
  active(): void {
    this.wasActive = true;
    this.timer ??= this.look(IDLE_MS);
  }

  close(): void {
    clearTimeout(this.timer);
  }

  private look(afterMs: number): NodeJS.Timeout {
    return setTimeout(() => {
      this.timer = undefined;
      if (this.wasActive) {
        this.wasActive = false;
        this.timer = this.look(IDLE_MS);
        return;
      }
      const { usedBytes, slackBytes } = this.heap();
      const isWorthIt = slackBytes >= SLACK_BYTES_MIN && usedBytes <= USED_BYTES_MAX;
      if (!isWorthIt && this.trim === undefined) return;
      const waitMs = this.shrunkAtMs + SHRINK_EVERY_MS - this.nowMs();
      if (waitMs > 0) {
        this.timer = this.look(waitMs);
        return;
      }
      if (isWorthIt) this.shrink();
      this.trim?.();
      this.shrunkAtMs = this.nowMs();
    }, afterMs).unref();
  }
}

// Loaded when first needed: a process that starts has no time for them.
function heapState(): HeapState {
  const { getHeapStatistics, getHeapSpaceStatistics } = process.getBuiltinModule("node:v8");
  const { total_heap_size: total, used_heap_size: used } = getHeapStatistics();
  const young = getHeapSpaceStatistics().find(({ space_name: name }) => name === "new_space");
  const usedBytes = used - (young?.space_used_size ?? 0);
  return { usedBytes, slackBytes: total - usedBytes };
}

function shrinkNow(): void {
  process.getBuiltinModule("node:v8").setFlagsFromString("--expose-gc");
  const gc: unknown = process.getBuiltinModule("node:vm").runInNewContext("gc");
  // The kind of collection that V8 makes before it gives up is the one that shrinks every part of the heap.
  if (typeof gc === "function") gc({ type: "major", execution: "sync", flavor: "last-resort" });
}
