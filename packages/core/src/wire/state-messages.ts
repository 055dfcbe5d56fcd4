/** What a node and the state service say to each other; the node dials. What is said may be lost with the connection. */
import type { NodeId } from "../base/ids.ts";
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

/** What is measured of a node and its machine, each second. */
export interface NodeSample {
  readonly t: "sample";
  readonly atMs: number;
  /** Of all cores, 0 to 100; null where the system does not say. */
  readonly cpuPercent: number | null;
  readonly memoryUsedBytes: number;
  readonly memoryTotalBytes: number;
  readonly workers: number;
  /** Since the node began: what its store has written to disk, and read back. Older nodes do not say. */
  readonly spilledBytesTotal?: number;
  readonly restoredBytesTotal?: number;
}

export type ToStateService = NodeLinked | EventsReported | CountsReported | NodeSample | Answer;

/** It has them up to the number before `next`: of these the node is not asked again. */
export interface EventsTaken {
  readonly t: "events-taken";
  readonly next: number;
}

export type FromStateService = EventsTaken | Query;
