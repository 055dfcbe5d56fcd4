/**
 * Gives memory that nobody uses back to the system.
 *
 * Node.js reads every socket and pipe into buffers of 64 KiB and keeps what arrived of them, so the C library's heap of
 * a process with many connections becomes full of holes, which it keeps: a node grew by 100 MB in ten minutes of mixed
 * load with nothing alive in them.
 */
import { trimHeap } from "../store/mod.ts";

const LOOK_MS = 10_000;
/** Growth since the last time that is worth some milliseconds of the node's time. */
const GROWN_BYTES = 16 * 2 ** 20;

/** V8 frees the memory of buffers on a thread of its own after a collection. */
const SWEPT_MS = 1_000;

/** For a process that has nothing to do. */
export function trimHeapSoon(): void {
  setTimeout(trimHeap, SWEPT_MS).unref();
}

/** For one that always has: looks every ten seconds; returns what ends it. */
export function trimHeapWhenGrown(): () => void {
  let leastBytes = process.memoryUsage.rss();
  const timer = setInterval(() => {
    const bytes = process.memoryUsage.rss();
    if (bytes > leastBytes + GROWN_BYTES) {
      trimHeap();
      leastBytes = process.memoryUsage.rss();
    } else leastBytes = Math.min(leastBytes, bytes);
  }, LOOK_MS).unref();
  return () => clearInterval(timer);
}
