/**
 * Whom to end when memory runs out, pure.
 *
 * 1. Idle workers, the largest first: nobody loses anything. Only if one is worth it.
 * 2. A worker that is out of proportion (more than half of what all workers use, and at least twice the next one): it
 *    is the reason, and the others would only die beside it.
 * 3. Otherwise what can be made again, the newest first: it has done the least. What cannot be made again comes last.
 */
import type { WorkerId } from "../base/ids.ts";
import type { MemorySample } from "./memory-sample.ts";

export interface Candidate {
  readonly workerId: WorkerId;
  readonly pid: number;
  readonly bytes: number;
  readonly isIdle: boolean;
  readonly isRetriable: boolean;
  /** When its present work began. */
  readonly sinceMs: number;
}

/** Ending an idle worker smaller than this frees next to nothing. */
const IDLE_BYTES_MIN = 64 * 2 ** 20;
/** Memory kept free below the threshold once something has been ended, so that one victim is enough. */
const BUFFER_PART = 0.05;
const BUFFER_BYTES_MAX = 3 * 2 ** 30;

export const isOver = (sample: MemorySample, threshold: number): boolean =>
  sample.usedBytes > sample.totalBytes * threshold;

/** Bytes that have to go once the threshold is passed. */
export function excessBytes(sample: MemorySample, threshold: number): number {
  const buffer = Math.min(sample.totalBytes * BUFFER_PART, BUFFER_BYTES_MAX);
  return Math.max(0, sample.usedBytes - sample.totalBytes * threshold + buffer);
}

export function chooseVictim(candidates: readonly Candidate[]): Candidate | undefined {
  const idle = candidates.filter(({ isIdle, bytes }) => isIdle && bytes >= IDLE_BYTES_MIN);
  if (idle.length > 0) return largest(idle);
  const busy = candidates.filter(({ isIdle }) => !isIdle);
  const biggest = largest(busy);
  if (biggest) {
    const others = busy.filter((candidate) => candidate !== biggest);
    const rest = others.reduce((sum, { bytes }) => sum + bytes, 0);
    if (biggest.bytes > rest && biggest.bytes >= 2 * (largest(others)?.bytes ?? 0)) return biggest;
  }
  const retriable = busy.filter(({ isRetriable }) => isRetriable);
  const newest = (list: readonly Candidate[]): Candidate | undefined =>
    list.reduce<Candidate | undefined>((best, one) => (!best || one.sinceMs > best.sinceMs ? one : best), undefined);
  return newest(retriable) ?? newest(busy);
}

const largest = (list: readonly Candidate[]): Candidate | undefined =>
  list.reduce<Candidate | undefined>((best, one) => (!best || one.bytes > best.bytes ? one : best), undefined);

/** The nearest time at which a fast consumer is still caught between two looks. */
const FASTEST_LOOK_MS = 20;
/** How many looks there should be before the threshold at the present rate of growth. */
const LOOKS_AHEAD = 4;

/**
 * When to look again: at the interval, or sooner when memory grows so fast that it would pass the threshold within a
 * few intervals. Buffers can grow by a gigabyte a second.
 */
export function nextLookMs(
  previous: MemorySample,
  now: MemorySample,
  elapsedMs: number,
  threshold: number,
  intervalMs: number,
): number {
  const room = now.totalBytes * threshold - now.usedBytes;
  const growthPerMs = (now.usedBytes - previous.usedBytes) / Math.max(1, elapsedMs);
  if (room <= 0) return FASTEST_LOOK_MS;
  if (growthPerMs <= 0) return intervalMs;
  return Math.max(FASTEST_LOOK_MS, Math.min(intervalMs, room / growthPerMs / LOOKS_AHEAD));
}
