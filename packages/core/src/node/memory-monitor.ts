/** Looks at the memory again and again and ends workers before the kernel ends something at random. */
import { monotonicMs } from "../base/clock.ts";
import type { WorkerId } from "../base/ids.ts";
import type { MemoryMonitorConfig } from "./config.ts";
import { formatBytes } from "./death.ts";
import { type Candidate, chooseVictim, excessBytes, isOver, nextLookMs } from "./memory-policy.ts";
import { type MemorySample, MemorySampler, ownBytes } from "./memory-sample.ts";

export interface MonitoredWorker {
  readonly workerId: WorkerId;
  readonly pid: number;
  readonly isIdle: boolean;
  readonly isRetriable: boolean;
  readonly sinceMs: number;
  /** What it does, for the message: a task's or actor's name. */
  readonly label: string;
}

export interface MemoryMonitorOptions {
  readonly config: MemoryMonitorConfig;
  /** Around all that the node runs, see worker-limits.ts; default the one that it is in itself. */
  readonly cgroup?: string | undefined;
  workers(): Iterable<MonitoredWorker>;
  /** Ends a worker at once; `words` become the error's message. */
  end(workerId: WorkerId, words: string): void;
  /** Memory is getting short: processes may have garbage to give up. */
  onPressure(): void;
}

/** Part of the threshold from which each worker's size is noted, for the case that the kernel is faster. */
const NOTE_SIZES_FROM = 0.7;
/** Part of the threshold from which processes are asked to collect garbage, at most this often: it costs them time. */
const PRESSURE_FROM = 0.9;
const PRESSURE_EVERY_MS = 5_000;
const RANKED_MAX = 3;

export class MemoryMonitor implements Disposable {
  private readonly options: MemoryMonitorOptions;
  private readonly sampler: MemorySampler;
  private readonly sizes = new Map<WorkerId, number>();
  private readonly ended = new Set<WorkerId>();
  private askedAtMs = Number.NEGATIVE_INFINITY;
  private previous: MemorySample;
  private previousAtMs = monotonicMs();
  private timer: NodeJS.Timeout | undefined;

  constructor(options: MemoryMonitorOptions) {
    this.options = options;
    this.sampler = new MemorySampler(options.cgroup);
    this.previous = this.sample();
    this.schedule(options.config.intervalMs);
  }

  /** What a worker used when it was last looked at. */
  lastBytes(workerId: WorkerId): number | undefined {
    return this.sizes.get(workerId);
  }

  kernelKills(): number {
    return this.sampler.kernelKills();
  }

  forget(workerId: WorkerId): void {
    this.sizes.delete(workerId);
    this.ended.delete(workerId);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private schedule(inMs: number): void {
    this.timer = setTimeout(() => this.look(), inMs);
    this.timer.unref();
  }

  private look(): void {
    const { threshold, intervalMs } = this.options.config;
    const now = monotonicMs();
    const sample = this.sample();
    if (sample.usedBytes > sample.totalBytes * threshold * NOTE_SIZES_FROM) this.noteSizes();
    if (isOver(sample, threshold * PRESSURE_FROM) && now - this.askedAtMs >= PRESSURE_EVERY_MS) {
      this.askedAtMs = now;
      this.options.onPressure();
    }
    if (isOver(sample, threshold)) this.relieve(sample, threshold);
    const next = nextLookMs(this.previous, sample, now - this.previousAtMs, threshold, intervalMs);
    this.previous = sample;
    this.previousAtMs = now;
    this.schedule(next);
  }

  private relieve(sample: MemorySample, threshold: number): void {
    const workers = new Map([...this.options.workers()].map((worker) => [worker.workerId, worker]));
    let candidates: Candidate[] = [];
    let excess = excessBytes(sample, threshold);
    for (const worker of workers.values()) {
      const bytes = ownBytes(worker.pid) ?? 0;
      this.sizes.set(worker.workerId, bytes);
      // What was ended a moment ago is still counted; its memory is on the way.
      if (this.ended.has(worker.workerId)) excess -= bytes;
      else candidates.push({ ...worker, bytes });
    }
    while (excess > 0) {
      const victim = chooseVictim(candidates);
      if (!victim) return;
      const ranked = [...candidates].sort((a, b) => b.bytes - a.bytes).slice(0, RANKED_MAX);
      const ranking = ranked.map(({ pid, bytes, workerId }) => {
        const label = workers.get(workerId)?.label ?? "";
        return `${pid}${label === "" ? "" : ` (${label})`} ${formatBytes(bytes)}`;
      });
      this.ended.add(victim.workerId);
      this.options.end(
        victim.workerId,
        `worker ${victim.pid} used ${formatBytes(victim.bytes)} and was ended because ${formatBytes(sample.usedBytes)} of ` +
          `${formatBytes(sample.totalBytes)} memory were in use, past the threshold of ${threshold}; ` +
          `the largest workers: ${ranking.join(", ")}. Use less memory at a time, or run fewer at once by giving tasks memory: <bytes>`,
      );
      candidates = candidates.filter((candidate) => candidate !== victim);
      excess -= victim.bytes;
      // One that works is enough until its memory is back: the next look decides on another.
      if (!victim.isIdle) return;
    }
  }

  private sample(): MemorySample {
    const { limitBytes } = this.options.config;
    if (limitBytes === undefined) return this.sampler.sample();
    let usedBytes = 0;
    for (const { workerId, pid } of this.options.workers()) {
      const bytes = ownBytes(pid) ?? 0;
      this.sizes.set(workerId, bytes);
      usedBytes += bytes;
    }
    return { usedBytes, totalBytes: limitBytes };
  }

  private noteSizes(): void {
    for (const { workerId, pid } of this.options.workers()) {
      const bytes = ownBytes(pid);
      if (bytes !== undefined) this.sizes.set(workerId, bytes);
    }
  }
}
