/**
 * A little world around the engine for tests: workers become ready after a while, leases run tasks of a given length,
 * owners give leases back when asked or when nothing is left. Virtual time; no randomness of its own.
 */
import { type JobId, type LeaseId, type ProcessId, toUnits, type WorkerId } from "../base/mod.ts";
import type { BundleChoice, Demand } from "../wire/messages.ts";
import { LeaseEngine, type LeaseEngineOptions } from "./lease-engine.ts";
import type { SchedulerCommand, SchedulerEvent } from "./protocol.ts";

export const demandOf = (resources: Record<string, number>, more: Partial<Demand> = {}): Demand => ({
  key: JSON.stringify(resources),
  resources: toUnits(resources),
  priority: 0,
  name: "f",
  ...more,
});

export const inBundle = (bundle: BundleChoice): Partial<Demand> => ({ placement: { bundle } });

export const job = (name: string): JobId => name as JobId;
export const client = (name: string): ProcessId => name as ProcessId;
export const workerId = (name: string): WorkerId => name as WorkerId;
export const leaseId = (number: number): LeaseId => number as LeaseId;

export function engineWith(resources: Record<string, number>, more: Partial<LeaseEngineOptions> = {}): LeaseEngine {
  let next = 1;
  const gpus = Math.round(resources.gpu ?? 0);
  return new LeaseEngine({
    total: toUnits(resources),
    gpuIds: Array.from({ length: gpus }, (_, index) => String(index)),
    infeasibleTimeoutMs: 10_000,
    newWorkerId: () => workerId(`w${next++}`),
    nodeName: "n1",
    ...more,
  });
}

interface Work {
  readonly clientId: ProcessId;
  readonly shape: number;
  readonly taskMs: number;
  readonly cpu: number;
  tasks: number;
  done: number;
}

interface RunningLease {
  readonly work: Work;
  isRevoked: boolean;
}

export class World {
  nowMs = 0;
  readonly engine: LeaseEngine;
  /** CPU-milliseconds of finished work by client, as [time, client, amount]. */
  readonly finished: { readonly atMs: number; readonly clientId: ProcessId; readonly cpuMs: number }[] = [];
  readonly commands: SchedulerCommand[] = [];
  readonly running = new Map<LeaseId, RunningLease>();
  private readonly work = new Map<string, Work>();
  private readonly timers: { readonly atMs: number; readonly run: () => void }[] = [];
  private readonly startMs: number;
  /** For an environment to be made ready. */
  prepareMs = 500;
  onStep: (() => void) | undefined;

  constructor(engine: LeaseEngine, startMs = 40) {
    this.engine = engine;
    this.startMs = startMs;
  }

  send(event: SchedulerEvent): SchedulerCommand[] {
    const commands = this.engine.step(event, this.nowMs);
    this.commands.push(...commands);
    this.onStep?.();
    for (const command of commands) this.obey(command);
    return commands;
  }

  /** `tasks` tasks of `taskMs` each, submitted at once. */
  submit(clientId: ProcessId, shape: number, demand: Demand, tasks: number, taskMs: number): Work {
    const cpu = (demand.resources.cpu ?? 0) / 10_000;
    const work = { clientId, shape, taskMs, cpu, tasks, done: 0 };
    this.work.set(`${clientId} ${shape}`, work);
    this.send({ kind: "demand-changed", clientId, shape, demand, wanted: tasks });
    return work;
  }

  after(ms: number, run: () => void): void {
    this.timers.push({ atMs: this.nowMs + ms, run });
  }

  /** Lets time pass until `untilMs`, or until nothing is left to happen. */
  run(untilMs: number): void {
    for (;;) {
      let index = -1;
      for (const [at, timer] of this.timers.entries()) {
        if (index < 0 || timer.atMs < (this.timers[index]?.atMs ?? 0)) index = at;
      }
      const timer = this.timers[index];
      const tickAt = this.engine.nextTickMs(this.nowMs) ?? Number.POSITIVE_INFINITY;
      const nextAt = Math.min(timer?.atMs ?? Number.POSITIVE_INFINITY, tickAt);
      if (nextAt > untilMs) {
        this.nowMs = untilMs;
        return;
      }
      this.nowMs = Math.max(this.nowMs, nextAt);
      if (timer && timer.atMs <= tickAt) {
        this.timers.splice(index, 1);
        timer.run();
      } else this.send({ kind: "tick" });
    }
  }

  private obey(command: SchedulerCommand): void {
    switch (command.kind) {
      case "start-worker": {
        const id = command.workerId;
        this.after(this.startMs, () => this.send({ kind: "worker-ready", workerId: id, clientId: client(`p-${id}`) }));
        return;
      }
      case "stop-worker": {
        const id = command.workerId;
        this.after(1, () => this.send({ kind: "worker-died", workerId: id, detail: "stopped" }));
        return;
      }
      case "prepare-environment": {
        const { envKey } = command;
        // One that nobody has waited for meanwhile is released: then this is old news.
        this.after(this.prepareMs, () => this.send({ kind: "environment-ready", envKey }));
        return;
      }
      case "grant-lease": {
        const work = this.work.get(`${command.clientId} ${command.shape}`);
        if (!work) return;
        const lease = { work, isRevoked: false };
        this.running.set(command.leaseId, lease);
        this.next(command.leaseId, lease);
        return;
      }
      case "revoke-lease": {
        const lease = this.running.get(command.leaseId);
        if (lease) lease.isRevoked = true;
        return;
      }
      default:
        return;
    }
  }

  private next(leaseId: LeaseId, lease: RunningLease): void {
    const { work } = lease;
    const { clientId, shape } = work;
    if (lease.isRevoked || work.tasks === 0) {
      this.running.delete(leaseId);
      this.announce(work);
      this.send({ kind: "lease-returned", clientId, leaseId, retire: false });
      return;
    }
    work.tasks--;
    this.after(work.taskMs, () => {
      work.done++;
      this.finished.push({ atMs: this.nowMs, clientId, cpuMs: work.taskMs * work.cpu });
      this.next(leaseId, lease);
    });
    if (this.work.get(`${clientId} ${shape}`) === work) this.announce(work);
  }

  /** What an owner says: one lease for each task that waits or runs. */
  private announce(work: Work): void {
    const running = [...this.running.values()].filter((other) => other.work === work).length;
    const { clientId, shape, tasks } = work;
    const { preemptAfterMs } = this.engine.tables.clients.get(clientId)?.asks.get(shape) ?? {};
    this.send({ kind: "demand-changed", clientId, shape, wanted: tasks + running, preemptAfterMs });
  }
}
