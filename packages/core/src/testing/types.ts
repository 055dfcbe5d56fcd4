/** What programs that use the test kit write and get back. */
import type { NodeId } from "../base/ids.ts";
import type { Resources } from "../base/resources.ts";

/** One machine of a {@link LocalCluster}, as it is to be. */
export interface NodeSpec {
  /** Default `"node-1"`, `"node-2"` and so on. */
  readonly name?: string;
  /** What it offers; a resource that is not named is 0, also `cpu`. */
  readonly resources?: Resources;
  /** Bytes of memory for objects. Default: 512 MiB. Memory is taken as it is filled. */
  readonly objectStoreBytes?: number;
  /** Where objects go that do not fit into memory. Default: a folder of the node's own. */
  readonly spillDirectory?: string;
  /** Bytes on disk; 0 turns spilling off. Default: no limit but the disk's. */
  readonly spillBytesMax?: number;
  /** By which tasks can choose it. */
  readonly labels?: Readonly<Record<string, string>>;
}

/** Options of `LocalCluster.start`. */
export interface LocalClusterOptions {
  /** How many nodes of one CPU each, or what each of them is. */
  readonly nodes: number | readonly NodeSpec[];
  /**
   * Where control keeps its state. Default `"sqlite"`, a file of the head. `"nats"` or `"etcd"`: in three servers of that,
   * with a second head that stands by. They are started too, from the `nats-server` or `etcd` on the PATH or the one that
   * MOBULA_NATS_SERVER or MOBULA_ETCD_SERVER names.
   */
  readonly control?: "sqlite" | "nats" | "etcd";
  /** What the head's own machine offers. Default: nothing. */
  readonly head?: NodeSpec;
  /**
   * `"controlled"`: what goes between machines passes through a thread of this process, which can cut and delay it. Default.
   * `"direct"`: it does not, for measurements; `partition` and `delay` are refused.
   */
  readonly network?: "controlled" | "direct";
  /** Starts its state service, which answers over HTTP at `dashboardUrl`. Default: false. */
  readonly dashboard?: boolean;
}

/** An end of a link: a machine, the head's, or that of the drivers: this process's, and of programs that join with `env`. */
export type ClusterMember = ClusterNode | ClusterServer | "head" | "driver";

/** A server of replicated state. */
export interface ClusterServer {
  readonly name: string;
  /** `host:port` */
  readonly address: string;
  /** Its processes at this moment. */
  pids(): number[];
}

/** One machine of a {@link LocalCluster}, as it is. */
export interface ClusterNode {
  /** As `nodes()` and `runtimeContext()` name it. */
  readonly id: NodeId;
  readonly name: string;
  /** Its own processes, its workers and what those have started, at this moment. */
  pids(): number[];
  /** Its workers at this moment. */
  workers(): WorkerProcess[];
  /** Whether its process runs, whatever its cluster believes. */
  alive(): boolean;
}

/** A worker of a {@link ClusterNode}. */
export interface WorkerProcess {
  readonly pid: number;
}
