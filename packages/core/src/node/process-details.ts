/** What a node says of its processes to people: what each does, since when, and what it uses. */
import { type CpuInfo, cpus } from "node:os";
import { wallMs } from "../base/clock.ts";
import type { JobId, NodeId, ProcessId, WorkerId } from "../base/ids.ts";
import type { Hello } from "../wire/messages.ts";
import type { JobDetails, WorkerDetails } from "../wire/queries.ts";
import type { NodeSample } from "../wire/state-messages.ts";
import { MemorySampler, ownBytes } from "./memory-sample.ts";
import { procStat } from "./proc-stat.ts";
import type { WorkerRecord } from "./worker-pool.ts";

/** What a worker was given to do. */
export interface Duty {
  readonly label: string;
  readonly sinceMs: number;
  readonly isRetriable: boolean;
  readonly jobId: JobId;
  /** An actor lives in it. */
  readonly isActor: boolean;
}

export interface DriverProcess {
  readonly processId: ProcessId;
  readonly pid: number;
  readonly joinedAtMs: number;
  readonly job: Hello["job"];
}

export interface ProcessDetailsOptions {
  nodeId(): NodeId;
  workers(): readonly WorkerRecord[];
  dutyOf(workerId: WorkerId): Duty | undefined;
  drivers(): readonly DriverProcess[];
}

const totalOf = (times: CpuInfo["times"]): number => times.user + times.nice + times.sys + times.idle + times.irq;

/** Of `procStat`: the state of the main thread; processor time in user and in system mode, in hundredths of a second. */
const STATE = 0;
const UTIME = 11;
const STIME = 12;
const TICKS_PER_S = 100;

export class ProcessDetails {
  private readonly options: ProcessDetailsOptions;
  /** Processor time of each, when it was last looked at. */
  private readonly seen = new Map<number, { readonly ticks: number; readonly atMs: number }>();

  /** Made when it is first wanted: it reads files. */
  private memory: MemorySampler | undefined;
  /** Milliseconds of all cores, when they were last looked at. */
  private cpu = { idle: 0, all: 0 };

  constructor(options: ProcessDetailsOptions) {
    this.options = options;
  }

  workers(): readonly WorkerDetails[] {
    const { workers, dutyOf, drivers } = this.options;
    const nowMs = wallMs();
    const all: WorkerDetails[] = [];
    for (const { workerId, pid, processId, startedAtMs } of workers()) {
      const duty = dutyOf(workerId);
      const state = !processId ? "starting" : !duty ? "idle" : duty.isActor ? "actor" : "busy";
      all.push({
        ...{ workerId, kind: "worker", state, pid, startedAtMs },
        jobId: duty?.jobId ?? null,
        task: duty?.label || null,
        runningForMs: duty ? nowMs - duty.sinceMs : null,
        ...this.usageOf(pid, nowMs),
      });
    }
    for (const { processId, pid, job, joinedAtMs } of drivers())
      all.push({
        ...{ workerId: processId, kind: "driver", state: "busy", pid, startedAtMs: joinedAtMs },
        ...{ jobId: job?.jobId ?? null, task: job?.name ?? null, runningForMs: nowMs - joinedAtMs },
        ...this.usageOf(pid, nowMs),
      });
    const pids = new Set(all.map(({ pid }) => pid));
    for (const pid of this.seen.keys()) if (!pids.has(pid)) this.seen.delete(pid);
    return all;
  }

  /** Workers and drivers by their pids. */
  *pids(): Generator<readonly [pid: number, id: WorkerId | ProcessId]> {
    for (const { pid, workerId } of this.options.workers()) yield [pid, workerId];
    for (const { pid, processId } of this.options.drivers()) yield [pid, processId];
  }

  /** Of the machine. */
  sample(): Omit<NodeSample, "t"> {
    this.memory ??= new MemorySampler();
    const { usedBytes, totalBytes } = this.memory.sample();
    const workers = this.options.workers();
    const cores = cpus();
    const now = cores.reduce((sum, { times }) => ({ idle: sum.idle + times.idle, all: sum.all + totalOf(times) }), {
      idle: 0,
      all: 0,
    });
    const spent = now.all - this.cpu.all;
    const cpuPercent = spent > 0 ? 100 * (1 - (now.idle - this.cpu.idle) / spent) : null;
    this.cpu = now;
    return {
      atMs: wallMs(),
      cpuPercent,
      memoryUsedBytes: usedBytes,
      memoryTotalBytes: totalBytes,
      workers: workers.length,
      cores: cores.length,
      runnableWorkers: workers.filter(({ pid }) => procStat(pid)?.[STATE] === "R").length,
    };
  }

  jobs(): readonly JobDetails[] {
    const nodeId = this.options.nodeId();
    return this.options.drivers().flatMap(({ job, pid, joinedAtMs }) => {
      if (!job) return [];
      const { jobId, name, namespace, metadata } = job;
      return { jobId, name, namespace, metadata, nodeId, driverPid: pid, sinceMs: joinedAtMs };
    });
  }

  private usageOf(pid: number, atMs: number): Pick<WorkerDetails, "memoryBytes" | "cpuPercent"> {
    const stat = procStat(pid);
    if (!stat) return { memoryBytes: null, cpuPercent: null };
    const ticks = Number(stat[UTIME]) + Number(stat[STIME]);
    const before = this.seen.get(pid);
    this.seen.set(pid, { ticks, atMs });
    const cpuPercent =
      before && atMs > before.atMs
        ? ((ticks - before.ticks) / TICKS_PER_S / ((atMs - before.atMs) / 1000)) * 100
        : null;
    return { memoryBytes: ownBytes(pid) ?? null, cpuPercent };
  }
}
