/** What a node and the state service say to each other; the node dials. What is said may be lost with the connection. */
import type { JobId, NodeId, ProcessId, WorkerId } from "../base/ids.ts";
import type { Answer, Query } from "./messages.ts";

/** The first message of a node on a connection. */
export interface NodeLinked {
  readonly t: "linked";
  readonly nodeId: NodeId;
  readonly name: string;
  /** Tells this run of the node from another one, whose batches are numbered anew. */
  readonly run: string;
  /** The number of the oldest batch that the node still has. */
  readonly oldest: number;
}

/** Batches of events in the order of their numbers, the first of which is `first`. */
export interface EventsReported {
  readonly t: "events";
  readonly first: number;
  readonly batches: readonly Uint8Array[];
}

/** What became of the attempts in batches that the node does not have any more, those before `next`; before all others. */
export interface CountsReported {
  readonly t: "counts";
  readonly next: number;
  readonly batches: readonly Uint8Array[];
}

/** A GPU that a node offers; null: its driver does not say, or there is none. */
export interface GpuReading {
  /** As CUDA_VISIBLE_DEVICES names it: an index, or a UUID. */
  readonly id: string;
  /** As the driver counts. */
  readonly index: number | null;
  readonly uuid: string | null;
  readonly name: string | null;
  readonly utilisationPercent: number | null;
  readonly memoryUsedBytes: number | null;
  readonly memoryTotalBytes: number | null;
  readonly temperatureCelsius: number | null;
  readonly powerWatts: number | null;
  readonly powerLimitWatts: number | null;
  readonly processes: readonly { readonly pid: number; readonly memoryBytes: number | null }[];
  /** Why nothing is known of it now, in the driver's words. */
  readonly problem: string | null;
}

/** A worker that has leased a GPU or a part of it, for as long as it has the lease; an actor, as long as it lives. */
export interface GpuHolder {
  readonly workerId: WorkerId;
  readonly pid: number | null;
  /** 0 to 1. */
  readonly share: number;
  readonly jobId: JobId;
  /** The function or class that it was leased for. */
  readonly name: string;
}

/** With memory of a GPU, of Mobula or not. */
export interface GpuProcess {
  readonly pid: number;
  /** The command's; null: the system does not show the process. */
  readonly name: string | null;
  readonly memoryBytes: number | null;
  /** The worker or driver that it is, or that has started it. */
  readonly workerId: WorkerId | ProcessId | null;
  /** Whether there is such a worker or driver; null: the node is in a container, and the driver counts processes outside of it. */
  readonly isOurs: boolean | null;
}

export interface GpuSample extends Omit<GpuReading, "processes"> {
  /** 0 to 1: what is leased or reserved of it. */
  readonly leasedShare: number;
  readonly holders: readonly GpuHolder[];
  readonly processes: readonly GpuProcess[];
}

/** What is measured of a node and its machine, each second. */
export interface NodeSample {
  readonly t: "sample";
  readonly atMs: number;
  /** Of all cores, 0 to 100; null where the system does not say. */
  readonly cpuPercent: number | null;
  readonly memoryUsedBytes: number;
  readonly memoryTotalBytes: number;
  readonly workers: number;
  /** Processors of the machine, and workers that run on one or wait for one in this moment. Older nodes do not say. */
  readonly cores?: number;
  readonly runnableWorkers?: number;
  /** Since the node began: what its store has written to disk, and read back. Older nodes do not say. */
  readonly spilledBytesTotal?: number;
  readonly restoredBytesTotal?: number;
  /** Those that it offers; older nodes do not say. */
  readonly gpus?: readonly GpuSample[];
}

export type ToStateService = NodeLinked | EventsReported | CountsReported | NodeSample | Answer;

/** It has them up to the number before `next`: of these the node is not asked again. */
export interface EventsTaken {
  readonly t: "events-taken";
  readonly next: number;
}

export type FromStateService = EventsTaken | Query;
