/** How much memory is used and how much there is: of the machine, of its cgroup (v1 or v2), of a process. */
import { readFileSync } from "node:fs";
import { freemem, totalmem } from "node:os";

export interface MemorySample {
  readonly usedBytes: number;
  readonly totalBytes: number;
}

const PAGE_BYTES = 4096;
/** cgroup v1 says "no limit" by a number near 2^63. */
const UNLIMITED_BYTES = 2 ** 60;

interface CgroupFiles {
  readonly usage: string;
  readonly limit: string;
  readonly stat: string;
  readonly inactiveKey: string;
  readonly kills: string;
}

/** The files of this process's memory cgroup, or of `place`, or undefined when it has none. */
function findCgroup(place: string | undefined): CgroupFiles | undefined {
  if (place !== undefined) return filesOf(place);
  const lines = readText("/proc/self/cgroup")?.split("\n") ?? [];
  const v1 = lines.find((line) => /^\d+:([^:]*,)?memory(,[^:]*)?:/.test(line));
  if (v1) {
    const own = v1.slice(v1.indexOf(":", v1.indexOf(":") + 1) + 1);
    // Inside a container the path is the host's, and the container's own group is mounted as the root.
    for (const folder of [`/sys/fs/cgroup/memory${own}`, "/sys/fs/cgroup/memory"]) {
      if (readText(`${folder}/memory.usage_in_bytes`) === undefined) continue;
      return {
        usage: `${folder}/memory.usage_in_bytes`,
        limit: `${folder}/memory.limit_in_bytes`,
        stat: `${folder}/memory.stat`,
        inactiveKey: "total_inactive_file",
        kills: `${folder}/memory.oom_control`,
      };
    }
  }
  const v2 = lines.find((line) => line.startsWith("0::"))?.slice(3);
  for (const folder of v2 === undefined ? [] : [`/sys/fs/cgroup${v2}`.replace(/\/$/, ""), "/sys/fs/cgroup"]) {
    const files = filesOf(folder);
    if (files) return files;
  }
  return undefined;
}

function filesOf(folder: string): CgroupFiles | undefined {
  if (readText(`${folder}/memory.current`) === undefined) return undefined;
  return {
    usage: `${folder}/memory.current`,
    limit: `${folder}/memory.max`,
    stat: `${folder}/memory.stat`,
    inactiveKey: "inactive_file",
    kills: `${folder}/memory.events`,
  };
}

export class MemorySampler {
  private readonly cgroup: CgroupFiles | undefined;
  private readonly hasLimit: boolean;
  private lastKills: number;

  /** @param place the cgroup (version 2) that counts, if it is not the one that this process is in. */
  constructor(place?: string) {
    this.cgroup = findCgroup(place);
    this.hasLimit = this.limitBytes() !== undefined;
    this.lastKills = this.kernelKillsTotal();
  }

  /** What counts against the smaller of the machine's memory and the cgroup's limit. */
  sample(): MemorySample {
    const machine = machineMemory();
    const limit = this.hasLimit ? this.limitBytes() : undefined;
    if (!this.cgroup || limit === undefined || limit >= machine.totalBytes) return machine;
    const used = Number(readText(this.cgroup.usage) ?? 0);
    // Pages of files that nobody uses now are given up first: they are not in the way of anyone.
    const inactive = readField(this.cgroup.stat, this.cgroup.inactiveKey) ?? 0;
    return { usedBytes: Math.max(0, used - inactive), totalBytes: limit };
  }

  /** How often the kernel's killer has struck since the last call. */
  kernelKills(): number {
    const total = this.kernelKillsTotal();
    const since = Math.max(0, total - this.lastKills);
    this.lastKills = total;
    return since;
  }

  private kernelKillsTotal(): number {
    const ofGroup = this.cgroup && readField(this.cgroup.kills, "oom_kill");
    return ofGroup ?? readField("/proc/vmstat", "oom_kill") ?? 0;
  }

  private limitBytes(): number | undefined {
    const limit = this.cgroup && Number(readText(this.cgroup.limit));
    return limit !== undefined && Number.isFinite(limit) && limit < UNLIMITED_BYTES ? limit : undefined;
  }
}

function machineMemory(): MemorySample {
  const text = readText("/proc/meminfo");
  const field = (name: string): number | undefined => {
    const match = text && new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text);
    return match ? Number(match[1]) * 1024 : undefined;
  };
  const total = field("MemTotal");
  const available = field("MemAvailable");
  if (total === undefined || available === undefined)
    return { usedBytes: totalmem() - freemem(), totalBytes: totalmem() };
  return { usedBytes: total - available, totalBytes: total };
}

/** Memory that a process alone uses: what it shares with others (the object store) is not its own. */
export function ownBytes(pid: number): number | undefined {
  const fields = readText(`/proc/${pid}/statm`)?.split(" ");
  if (!fields) return undefined;
  return Math.max(0, Number(fields[1]) - Number(fields[2])) * PAGE_BYTES;
}

function readField(path: string, key: string): number | undefined {
  const line = readText(path)
    ?.split("\n")
    .find((candidate) => candidate.startsWith(`${key} `));
  return line === undefined ? undefined : Number(line.slice(key.length + 1));
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined; // Not this kind of system, or the process is gone; both mean "unknown".
  }
}
