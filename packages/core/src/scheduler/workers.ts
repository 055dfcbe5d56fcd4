/**
 * How many worker processes there should be, which of them serves a demand, and when one has to go.
 *
 * - As many as there are free CPUs wait ready, before anybody asks: a first task starts at once.
 * - While tasks wait for tasks of their own, a few more are started ahead, one fewer than there are CPUs: each level of
 *   nesting finds one, and at the last level few were started for nothing.
 * - Idle ones beyond that are ended after {@link IDLE_WORKER_MS}.
 * - Few start at a time: starting is work for a CPU, and more at once only makes all of them late.
 */
import type { WorkerId } from "../base/ids.ts";
import { UNITS_PER_ONE } from "../base/resources.ts";
import type { RuntimeEnv } from "../wire/messages.ts";
import type { SchedulerCommand } from "./protocol.ts";
import type { Ask, Job, Worker } from "./state.ts";

const IDLE_WORKER_MS = 10_000;
/** One with an environment of its own is of use to few, and keeps what was made ready for it from being thrown away. */
const IDLE_ENVIRONMENT_MS = 60_000;
/** After so many workers in a row that died before they were ready, what waits for one is refused. */
const START_FAILURES_MAX = 3;
const START_BACKOFF_MS = 100;
const START_BACKOFF_MS_MAX = 5_000;

interface StartFailures {
  count: number;
  notBeforeMs: number;
  detail: string;
}

export interface WorkerNeeds {
  readonly runtimeEnv: RuntimeEnv | undefined;
  count: number;
}

export class WorkerPlan {
  private readonly workers: Map<WorkerId, Worker>;
  private readonly newWorkerId: () => WorkerId;
  private readonly cpus: number;
  private readonly startingMax: number;
  /** Several drivers come and go: keep unused workers ready, not only those of the jobs that run. */
  private readonly isShared: boolean;
  private readonly failures = new Map<string, StartFailures>();

  constructor(options: {
    workers: Map<WorkerId, Worker>;
    newWorkerId: () => WorkerId;
    cpuUnits: number;
    isShared: boolean;
  }) {
    this.workers = options.workers;
    this.newWorkerId = options.newWorkerId;
    this.cpus = Math.ceil(options.cpuUnits / UNITS_PER_ONE);
    this.startingMax = Math.max(2, this.cpus + 1);
    this.isShared = options.isShared;
  }

  /** A ready worker for this ask: one of its job if there is one, the most recently used first. */
  take(ask: Ask): Worker | undefined {
    let best: Worker | undefined;
    for (const worker of this.workers.values()) {
      if (worker.state !== "idle" || worker.envKey !== ask.envKey) continue;
      if (worker.job !== undefined && (worker.job !== ask.client.job || ask.target === "fresh")) continue;
      if (!best || preference(worker) > preference(best)) best = worker;
    }
    return best;
  }

  add(id: WorkerId, envKey: string, runtimeEnv: RuntimeEnv | undefined, nowMs: number): void {
    this.workers.set(id, {
      id,
      envKey,
      runtimeEnv,
      state: "starting",
      clientId: undefined,
      job: undefined,
      lease: undefined,
      requests: new Set(),
      hasUsedGpu: false,
      sinceMs: nowMs,
    });
  }

  startSucceeded(worker: Worker): void {
    this.failures.delete(worker.envKey);
  }

  startFailed(worker: Worker, detail: string, nowMs: number): void {
    const failures = this.failures.get(worker.envKey) ?? { count: 0, notBeforeMs: 0, detail };
    failures.count++;
    failures.detail = detail;
    failures.notBeforeMs = nowMs + Math.min(START_BACKOFF_MS * 2 ** (failures.count - 1), START_BACKOFF_MS_MAX);
    this.failures.set(worker.envKey, failures);
  }

  /** The words why workers of this environment cannot start, once that is certain and until it is tried again. */
  startProblem(envKey: string, nowMs: number): string | undefined {
    const failures = this.failures.get(envKey);
    if (!failures || failures.count < START_FAILURES_MAX || nowMs >= failures.notBeforeMs) return undefined;
    return `${failures.count} worker processes in a row ended before they were ready; the last: ${failures.detail}`;
  }

  /** Orders the processes that `needs` and the warm pool call for. */
  start(
    needs: ReadonlyMap<string, WorkerNeeds>,
    freeCpuUnits: number,
    blocked: number,
    nowMs: number,
    out: SchedulerCommand[],
  ): void {
    const starting = new Map<string, number>();
    let startingTotal = 0;
    let ready = 0;
    for (const worker of this.workers.values()) {
      if (worker.state === "starting") {
        starting.set(worker.envKey, (starting.get(worker.envKey) ?? 0) + 1);
        startingTotal++;
      } else if (worker.state === "idle" && worker.envKey === "" && this.isSpare(worker)) ready++;
    }
    const order = (envKey: string, runtimeEnv: RuntimeEnv | undefined, count: number): void => {
      if ((this.failures.get(envKey)?.notBeforeMs ?? 0) > nowMs) return;
      for (let index = 0; index < count && startingTotal < this.startingMax; index++) {
        const workerId = this.newWorkerId();
        this.add(workerId, envKey, runtimeEnv, nowMs);
        out.push({ kind: "start-worker", workerId, runtimeEnv });
        startingTotal++;
        starting.set(envKey, (starting.get(envKey) ?? 0) + 1);
      }
    };
    for (const [envKey, need] of needs) order(envKey, need.runtimeEnv, need.count - (starting.get(envKey) ?? 0));
    // What is needed takes the plain ones that start now; the pool wants its own beside them.
    const spoken = needs.get("")?.count ?? 0;
    order(
      "",
      undefined,
      this.spareTarget(freeCpuUnits, blocked) - ready - Math.max(0, (starting.get("") ?? 0) - spoken),
    );
  }

  /** Ends those that nobody will use: of jobs that are over, and idle ones too many for too long. */
  end(
    isOver: (job: Job) => boolean,
    freeCpuUnits: number,
    blocked: number,
    nowMs: number,
    out: SchedulerCommand[],
  ): void {
    const idle: Worker[] = [];
    for (const worker of this.workers.values()) {
      if (worker.state !== "idle") continue;
      if (worker.job && isOver(worker.job)) stop(worker, "job-ended", out);
      else if (worker.envKey !== "" && nowMs - worker.sinceMs >= IDLE_ENVIRONMENT_MS) stop(worker, "idle", out);
      else idle.push(worker);
    }
    let tooMany = idle.length - Math.max(this.cpus, this.spareTarget(freeCpuUnits, blocked));
    if (tooMany <= 0) return;
    idle.sort((a, b) => a.sinceMs - b.sinceMs);
    for (const worker of idle) {
      if (tooMany <= 0 || nowMs - worker.sinceMs < IDLE_WORKER_MS) return;
      stop(worker, "idle", out);
      tooMany--;
    }
  }

  /** When something here is due without any event, or undefined. */
  nextDeadlineMs(nowMs: number): number | undefined {
    let next: number | undefined;
    let idle = 0;
    let oldest = Number.POSITIVE_INFINITY;
    for (const worker of this.workers.values()) {
      if (worker.state !== "idle") continue;
      idle++;
      if (worker.envKey !== "") next = Math.min(next ?? Number.POSITIVE_INFINITY, worker.sinceMs + IDLE_ENVIRONMENT_MS);
      oldest = Math.min(oldest, worker.sinceMs);
    }
    if (idle > this.cpus) next = Math.min(next ?? Number.POSITIVE_INFINITY, oldest + IDLE_WORKER_MS);
    for (const { notBeforeMs } of this.failures.values()) {
      if (notBeforeMs > nowMs) next = Math.min(next ?? notBeforeMs, notBeforeMs);
    }
    return next;
  }

  private isSpare(worker: Worker): boolean {
    return worker.job === undefined || !this.isShared;
  }

  private spareTarget(freeCpuUnits: number, blocked: number): number {
    const free = Math.min(this.cpus, Math.ceil(Math.max(0, freeCpuUnits) / UNITS_PER_ONE));
    return free + Math.min(blocked, Math.max(1, this.cpus - 1));
  }
}

export function stop(
  worker: Worker,
  reason: (SchedulerCommand & { kind: "stop-worker" })["reason"],
  out: SchedulerCommand[],
): void {
  if (worker.state === "stopping") return;
  worker.state = "stopping";
  out.push({ kind: "stop-worker", workerId: worker.id, reason });
}

/** Workers of the job itself first, then the one that was used last: its caches are warm and the others may end. */
const preference = (worker: Worker): number => (worker.job ? Number.MAX_SAFE_INTEGER / 2 : 0) + worker.sinceMs;
