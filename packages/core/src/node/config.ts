/** What a node is told at its start, as JSON in the environment variable MOBULA_NODE. */
import { availableParallelism } from "node:os";
import { InvalidOptionError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import type { Resources } from "../base/resources.ts";
import type { AccessFiles } from "../wire/mod.ts";

export type LogLevel = "error" | "warn" | "info" | "debug";

export interface NodeConfig {
  readonly nodeId: NodeId;
  /** For people: in messages and in `nodes()`. */
  readonly name: string;
  /** A folder of mode 0700 for this node alone; it is removed at the end. */
  readonly sessionDir: string;
  /** The socket on which every process reaches the node. */
  readonly nodeSocket: string;
  /** Whoever connects must know it. */
  readonly token: string;
  /** Overrides what the machine has: `{ cpu, gpu, memory, [custom] }`; memory in bytes. */
  readonly resources: Resources;
  /** Default 30 % of the machine's memory. */
  readonly objectStoreBytes?: number;
  /** Default: a folder in the session's. */
  readonly spillDirectory?: string;
  /** Bytes on disk; default unlimited. 0 turns spilling off. */
  readonly spillBytesMax?: number;
  readonly memoryMonitor: MemoryMonitorConfig;
  readonly infeasibleTimeoutMs: number;
  readonly putTimeoutMs: number;
  /** It ends with this process: an embedded node always, a standing one if it is set. */
  readonly driverPid?: number;
  /** True: several drivers come and go, and actors may outlive them. */
  readonly standing: boolean;
  readonly logLevel: LogLevel;
  /** CPUs and memory of leases as limits that the kernel keeps: `auto` where that is allowed; default `off`. */
  readonly cgroup?: "auto" | "on" | "off";
  /** On which it says over HTTP whether it lives and is ready; default nowhere. */
  readonly healthPort?: number;
  /** Of a node without a cluster: where the state service answers over HTTP; left out: nowhere. */
  readonly dashboard?: { readonly host: string; readonly ports: string } | null;
  /** Options of Node.js for every worker: export conditions and loaders of the driver. */
  readonly workerExecArgv: readonly string[];
  /** The cluster that it is a node of; left out, it is one by itself. */
  readonly cluster?: ClusterConfig;
  /** Of environments that are kept for later, on this machine; default MOBULA_ENV_CACHE_BYTES, or 10 GiB. */
  readonly envCacheBytes?: number;
  /** How often its cluster has given it up and it has begun anew, see `anew.ts`. */
  readonly restarts?: number;
  /** Workers that are started before anything else; default 1. The others follow when the node is ready. */
  readonly firstWorkers?: number;
}

export interface ClusterConfig {
  /** Of control, `host:port`; left out, the launcher says it on the lifeline, for control begins at the same time. */
  readonly address?: string;
  readonly access: AccessFiles;
  readonly labels: Readonly<Record<string, string>>;
  /** An address of this machine, on which the node and its workers listen for others; left out, they only dial out. */
  readonly host?: string | undefined;
  /** Their ports: a range that is tried in order, or 0 for any. */
  readonly ports: number | string;
  /** The host by which others reach them, if not `host`. */
  readonly advertise?: string;
}

export interface MemoryMonitorConfig {
  /** Part of the memory in use past which a worker is ended; default 0.95. */
  readonly threshold: number;
  /** Default 250; sooner while memory is about to run out. */
  readonly intervalMs: number;
  /** Counts only this node's workers against so many bytes, instead of everything against the machine's memory. */
  readonly limitBytes?: number;
}

/** Ray's port, or the next ones. */
export const DASHBOARD_PORTS = "8265-8364";
/** Unless MOBULA_DASHBOARD says `off`. */
export const defaultDashboard = (): NodeConfig["dashboard"] | undefined =>
  process.env.MOBULA_DASHBOARD === "off" ? undefined : { host: "127.0.0.1", ports: DASHBOARD_PORTS };

export const NODE_VARIABLE = "MOBULA_NODE";
export const WORKER_VARIABLE = "MOBULA_WORKER";

export const MEMORY_MONITOR_DEFAULTS: MemoryMonitorConfig = { threshold: 0.95, intervalMs: 250 };

/** Whether it goes on when the process that has started it is gone. */
export const outlivesLauncher = ({ standing, driverPid }: Pick<NodeConfig, "standing" | "driverPid">): boolean =>
  standing && driverPid === undefined;

/** The level that MOBULA_LOG asks for, default "warn". */
export function logLevel(text = process.env.MOBULA_LOG): LogLevel {
  if (text === undefined || text === "") return "warn";
  if (text === "error" || text === "warn" || text === "info" || text === "debug") return text;
  throw new InvalidOptionError(`MOBULA_LOG is "${text}"; it may be error, warn, info or debug`);
}

export function readNodeConfig(text = process.env[NODE_VARIABLE]): NodeConfig {
  if (text === undefined) {
    throw new InvalidOptionError(`${NODE_VARIABLE} is not set; nodes are started by init() or by \`mobula start\``);
  }
  return JSON.parse(text) as NodeConfig; // Written by launch.ts of the same package.
}

/** CPUs of the configuration or the machine. */
export const cpuCount = ({ resources }: Pick<NodeConfig, "resources">): number =>
  Math.ceil(resources.cpu ?? availableParallelism());
