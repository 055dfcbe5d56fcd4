/**
 * What a worker's leases say, as limits that the kernel keeps: each worker has a cgroup of its own.
 *
 * 1. `memory` is a hard limit, beside what a worker needs for itself. What goes beyond it is ended by the kernel, with all that it
 *    has started, and its cgroup says so. Pages of the object store are the node's, see `ownsPages` of the store.
 * 2. `cpu` is a weight: who asks for three CPUs gets three times as much as who asks for one while there are too few, and idle
 *    ones are for whoever can use them.
 * 3. A job with a quota has a cgroup around its workers: no more CPUs and memory than the quota, whatever they have asked for.
 */
import { writeFile } from "node:fs";
import { join } from "node:path";
import { InvalidOptionError } from "../base/errors.ts";
import type { JobId, WorkerId } from "../base/ids.ts";
import { type ResourceUnits, UNITS_PER_ONE } from "../base/resources.ts";
import type { LimitsInfo } from "../wire/queries.ts";
import { type CgroupPlace, findPlace, NODE_GROUP, NoPlaceError, processesIn, readText } from "./cgroup-place.ts";
import { codeOf, enable, enter, killAll, leave, makeGroup, move, tryRemove, write } from "./cgroup-tree.ts";
import { cpuCount, type NodeConfig } from "./config.ts";
import { formatBytes } from "./death.ts";
import { keepCgroup } from "./session-folder.ts";

/**
 * What a worker needs for itself: 50 MiB for Node.js and this runtime, and the garbage that V8 lets grow, since it knows no limit. With
 * programs that held some 20 MiB of objects, buffers or strings and made new ones all the time, 240 to 300 MiB in all were seen.
 */
export const RUNTIME_BYTES = 256 * 2 ** 20;
/** The kernel's weights: one CPU has its default. */
const WEIGHT_PER_CPU = 100;
const WEIGHT_MAX = 10_000;
/** Of the node beside all of its workers: as much as they, for what runs there are the program too, and what everything waits for. */
const NODE_CPUS_MIN = 2;
/** The kernel's default, in microseconds. */
const PERIOD_US = 100_000;
/** A process that was killed is gone soon, and its cgroup can be removed then. */
const REMOVE_EVERY_MS = 20;
const REMOVE_TRIES_MAX = 100;

export interface OpenedLimits {
  readonly info: LimitsInfo;
  readonly limits?: WorkerLimits;
}

/** @throws InvalidOptionError when limits are demanded and cannot be. */
export async function openLimits(
  config: Pick<NodeConfig, "cgroup" | "sessionDir" | "resources">,
  log: (message: string) => void,
  find: () => Promise<CgroupPlace> = findPlace,
): Promise<OpenedLimits> {
  const { cgroup = "off" } = config;
  if (cgroup === "off") return { info: { controllers: [], why: "it was started with --cgroup off", advice: "" } };
  try {
    const place = await find();
    const folder = enter(place);
    keepCgroup(config.sessionDir, folder);
    const limits = new WorkerLimits(place, folder, log);
    limits.shareCpus(cpuCount(config));
    return { info: { controllers: place.controllers, place: place.folder }, limits };
  } catch (error) {
    const { message } = error as Error;
    const advice = error instanceof NoPlaceError ? error.advice : "";
    if (cgroup === "on") throw new InvalidOptionError(`limits by cgroup cannot be enforced: ${message}; ${advice}`);
    return { info: { controllers: [], why: message, advice } };
  }
}

interface Limited {
  readonly workerId: WorkerId;
  readonly pid: number;
  folder: string;
  /** Its process is known to be in the folder. */
  isInside: boolean;
  job: JobId | undefined;
  /** By lease or request. */
  readonly holds: Map<number | "lease", ResourceUnits>;
  /** Memory that it had before it held anything. */
  baseBytes: number;
  /** What its holders have asked for together; undefined: there is no limit. */
  memoryBytes: number | undefined;
  weight: number;
  /** What was written last, by file. */
  readonly written: Map<string, string>;
}

interface LimitedJob {
  readonly folder: string;
  quota: ResourceUnits;
  readonly workers: Set<Limited>;
  /** Of its own limit, that were told. */
  kills: number;
  readonly written: Map<string, string>;
}

/** How the kernel's killer has ended a worker. */
export interface KernelKill {
  /** The words when it was for a limit of the worker or of its job; otherwise all of the machine or container had no more memory. */
  readonly words?: string;
}

export class WorkerLimits {
  private readonly place: CgroupPlace;
  private readonly folder: string;
  private readonly log: (message: string) => void;
  private readonly workers = new Map<WorkerId, Limited>();
  private readonly requests = new Map<number, Limited>();
  private readonly jobs = new Map<JobId, LimitedJob>();
  private quotas: ReadonlyMap<JobId, ResourceUnits> = new Map();
  private readonly removals = new Set<NodeJS.Timeout>();
  private readonly problems = new Set<string>();

  constructor(place: CgroupPlace, folder: string, log: (message: string) => void) {
    this.place = place;
    this.folder = folder;
    this.log = log;
  }

  /** Whether {@link ended} says what the kernel's killer has done. */
  get seesKills(): boolean {
    return this.has("memory");
  }

  /** The cgroup around all that the node runs, if it counts memory. */
  get memoryFolder(): string | undefined {
    return this.has("memory") ? this.place.folder : undefined;
  }

  private has(controller: "memory" | "cpu"): boolean {
    return this.place.controllers.includes(controller);
  }

  /** Between the node and all of its workers. */
  shareCpus(cpus: number): void {
    if (!this.has("cpu")) return;
    const weight = weightOf(Math.max(cpus, NODE_CPUS_MIN) * UNITS_PER_ONE);
    for (const folder of [join(this.place.folder, NODE_GROUP), this.folder]) {
      this.attempt(() => write(join(folder, "cpu.weight"), String(weight)));
    }
  }

  /** Its process has just begun, and is not connected yet. */
  started(workerId: WorkerId, pid: number): void {
    const worker: Limited = {
      workerId,
      pid,
      folder: join(this.folder, `worker-${workerId}`),
      isInside: false,
      job: undefined,
      holds: new Map(),
      baseBytes: RUNTIME_BYTES,
      memoryBytes: undefined,
      weight: WEIGHT_PER_CPU,
      written: new Map(),
    };
    const isMade = this.attempt(() => this.make(worker.folder));
    if (!isMade) return;
    this.workers.set(workerId, worker);
    const { folder } = worker;
    // A process changes its cgroup when the kernel has seen to all processors, which takes milliseconds at times: it has longer to start.
    writeFile(join(folder, "cgroup.procs"), String(pid), { flag: "r+" }, (error) => {
      if (error) return;
      worker.isInside = true;
      if (worker.folder !== folder) this.attempt(() => move(pid, worker.folder));
    });
  }

  leased(workerId: WorkerId, jobId: JobId, resources: ResourceUnits): void {
    const worker = this.workers.get(workerId);
    if (!worker) return;
    worker.holds.clear();
    this.holds(worker, "lease", jobId, resources);
  }

  /** For an actor, beside others that the worker may have. */
  requested(requestId: number, workerId: WorkerId, jobId: JobId, resources: ResourceUnits): void {
    const worker = this.workers.get(workerId);
    if (!worker) return;
    this.requests.set(requestId, worker);
    this.holds(worker, requestId, jobId, resources);
  }

  released(requestId: number): void {
    const worker = this.requests.get(requestId);
    if (!worker) return;
    this.requests.delete(requestId);
    worker.holds.delete(requestId);
    // One that holds nothing keeps what it had until it ends or holds something else.
    if (worker.holds.size > 0) this.apply(worker);
  }

  /** Of jobs with a quota: no more than that in all, on this node. */
  limitJobs(quotas: ReadonlyMap<JobId, ResourceUnits>): void {
    this.quotas = quotas;
    for (const [id, job] of this.jobs) {
      job.quota = quotas.get(id) ?? {};
      this.applyJob(job);
    }
    for (const worker of this.workers.values()) if (worker.job) this.settle(worker, worker.job);
  }

  /** Its process has ended. Returns whether, and why, that was the kernel's killer; call it once. */
  ended(workerId: WorkerId): KernelKill | undefined {
    const worker = this.workers.get(workerId);
    if (!worker) return undefined;
    this.workers.delete(workerId);
    for (const requestId of worker.holds.keys()) if (requestId !== "lease") this.requests.delete(requestId);
    const job = worker.job && this.jobs.get(worker.job);
    const kill = this.killOf(worker, job);
    this.remove(worker.folder);
    if (job && worker.job) this.leaveJob(worker, worker.job, job);
    return kill;
  }

  /** @param keepsPlace the node begins anew. */
  close(keepsPlace: boolean): void {
    for (const timer of this.removals) clearTimeout(timer);
    this.removals.clear();
    this.attempt(() => leave(this.folder, keepsPlace));
  }

  private make(folder: string): void {
    makeGroup(folder);
    if (this.has("memory")) write(join(folder, "memory.oom.group"), "1");
  }

  private holds(worker: Limited, key: number | "lease", jobId: JobId, resources: ResourceUnits): void {
    // Usually it is, for long.
    if (!worker.isInside) worker.isInside = this.attempt(() => move(worker.pid, worker.folder));
    this.settle(worker, jobId);
    // Garbage of what ran before must not be the end of what begins now. It is asked to give that up when it is idle.
    if (worker.holds.size === 0 && this.has("memory") && resources.memory !== undefined) {
      const usedBytes = Number(readText(join(worker.folder, "memory.current")) ?? 0);
      worker.baseBytes = Math.max(RUNTIME_BYTES, usedBytes);
    }
    worker.holds.set(key, resources);
    this.apply(worker);
  }

  /** Into its job's cgroup, if that has one. A worker serves one job for life. */
  private settle(worker: Limited, jobId: JobId): void {
    worker.job = jobId;
    const quota = this.quotas.get(jobId);
    if (!quota) return;
    let job = this.jobs.get(jobId);
    if (!job) {
      job = { folder: join(this.folder, `job-${jobId}`), quota, workers: new Set(), kills: 0, written: new Map() };
      const { folder } = job;
      const isMade = this.attempt(() => {
        makeGroup(folder);
        enable(folder, this.place.controllers);
      });
      if (!isMade) return;
      this.jobs.set(jobId, job);
    }
    if (job.workers.has(worker)) return;
    const folder = join(job.folder, `worker-${worker.workerId}`);
    const before = worker.folder;
    const isMoved = this.attempt(() => {
      this.make(folder);
      for (const pid of new Set([worker.pid, ...processesIn(before)])) move(pid, folder);
    });
    if (!isMoved) return;
    worker.folder = folder;
    worker.written.clear();
    this.remove(before, false);
    job.workers.add(worker);
    this.apply(worker);
    this.applyJob(job);
  }

  private leaveJob(worker: Limited, jobId: JobId, job: LimitedJob): void {
    job.workers.delete(worker);
    if (job.workers.size > 0) this.applyJob(job);
    else {
      this.jobs.delete(jobId);
      this.remove(job.folder);
    }
  }

  private apply(worker: Limited): void {
    const held = [...worker.holds.values()];
    worker.weight = weightOf(held.reduce((sum, { cpu = 0 }) => sum + cpu, 0));
    // Of several actors in a worker one without a limit must not be ended for those that have one.
    const isLimited = held.length > 0 && held.every(({ memory }) => memory !== undefined);
    worker.memoryBytes = isLimited ? held.reduce((sum, { memory = 0 }) => sum + memory, 0) / UNITS_PER_ONE : undefined;
    this.set(worker, "cpu.weight", String(worker.weight));
    this.setMemory(worker, worker.memoryBytes === undefined ? undefined : worker.baseBytes + worker.memoryBytes);
    const job = worker.job && this.jobs.get(worker.job);
    if (job?.workers.has(worker)) this.applyJob(job);
  }

  private applyJob(job: LimitedJob): void {
    const { cpu, memory } = job.quota;
    const weight = [...job.workers].reduce((sum, worker) => sum + worker.weight, 0);
    this.set(job, "cpu.weight", String(Math.min(WEIGHT_MAX, Math.max(1, weight))));
    this.set(
      job,
      "cpu.max",
      cpu === undefined ? "max" : `${Math.ceil((cpu / UNITS_PER_ONE) * PERIOD_US)} ${PERIOD_US}`,
    );
    this.setMemory(job, memory === undefined ? undefined : memory / UNITS_PER_ONE + job.workers.size * RUNTIME_BYTES);
  }

  private setMemory(of: Limited | LimitedJob, bytes: number | undefined): void {
    // With swap a limit would slow down instead of ending anything, and the machine with it.
    this.set(of, "memory.swap.max", bytes === undefined ? "max" : "0", true);
    this.set(of, "memory.max", bytes === undefined ? "max" : String(Math.ceil(bytes)));
  }

  /** @param isOptional not every kernel has the file. */
  private set({ folder, written }: Limited | LimitedJob, file: string, value: string, isOptional = false): void {
    const [controller] = file.split(".");
    if (controller !== "memory" && controller !== "cpu") return;
    if (!this.has(controller) || (written.get(file) ?? DEFAULTS[file]) === value) return;
    written.set(file, value);
    this.attempt(() => {
      try {
        write(join(folder, file), value);
      } catch (error) {
        if (!isOptional || codeOf(error) !== "ENOENT") throw error;
      }
    });
  }

  private killOf(worker: Limited, job: LimitedJob | undefined): KernelKill | undefined {
    if (!this.seesKills) return undefined;
    const events = join(worker.folder, "memory.events");
    if ((readField(events, "oom_kill") ?? 0) === 0) return undefined;
    if ((readField(events, "oom") ?? 0) > 0 && worker.memoryBytes !== undefined) {
      const own = `${formatBytes(worker.baseBytes)} that a worker has for itself`;
      return {
        words: `worker ${worker.pid} was ended by the kernel because it used more than the ${formatBytes(worker.memoryBytes)} of memory that it had asked for, beside ${own}. Use less memory at a time, or ask for more with memory: <bytes>`,
      };
    }
    const ofJob = job && (readField(join(job.folder, "memory.events.local"), "oom") ?? 0);
    if (!job || ofJob === undefined || ofJob <= job.kills) return {};
    job.kills = ofJob;
    const { memory = 0 } = job.quota;
    return {
      words: `worker ${worker.pid} was ended by the kernel because job ${worker.job} used more on this node than its quota of ${formatBytes(memory / UNITS_PER_ONE)} of memory, beside ${formatBytes(RUNTIME_BYTES)} for each worker. Use less memory at a time, or see \`mobula quota\``,
    };
  }

  /** @param kills what a worker had started may be in no process group of it. */
  private remove(folder: string, kills = true, tries = 0): void {
    this.attempt(() => {
      if (tryRemove(folder) || tries >= REMOVE_TRIES_MAX) return;
      if (kills) killAll(folder);
      const timer = setTimeout(() => {
        this.removals.delete(timer);
        this.remove(folder, kills, tries + 1);
      }, REMOVE_EVERY_MS);
      this.removals.add(timer.unref());
    });
  }

  /** What fails leaves a worker without its limit, and is said once. */
  private attempt(act: () => unknown): boolean {
    try {
      act();
      return true;
    } catch (error) {
      const code = codeOf(error);
      // Who is gone needs no limits.
      if (code === "ENOENT" || code === "ENODEV" || code === "ESRCH") return false;
      if (!this.problems.has(code)) this.log(`a limit by cgroup cannot be set: ${(error as Error).message}`);
      this.problems.add(code);
      return false;
    }
  }
}

/** What asks for no CPU counts as one: actors do, by default, and must not wait for all others. */
const weightOf = (cpu: ResourceUnits[string]): number =>
  Math.min(WEIGHT_MAX, Math.max(1, Math.round(((cpu || UNITS_PER_ONE) / UNITS_PER_ONE) * WEIGHT_PER_CPU)));

/** Of a cgroup that has just been made. */
const DEFAULTS: Readonly<Record<string, string>> = {
  "cpu.weight": String(WEIGHT_PER_CPU),
  "cpu.max": "max",
  "memory.max": "max",
  "memory.swap.max": "max",
};

function readField(path: string, key: string): number | undefined {
  const line = readText(path)
    ?.split("\n")
    .find((candidate) => candidate.startsWith(`${key} `));
  return line === undefined ? undefined : Number(line.slice(key.length + 1));
}
