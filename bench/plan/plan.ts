/** What a benchmark consists of. Data only: the harness runs it, the sides know how. */
import type { Sizes } from "../harness/protocol.ts";

export type SideName = "mobula" | "ray" | "piscina";

/** What was seen of one run of a workload. */
export interface Observation {
  readonly seconds: number;
  readonly count: number;
  readonly bytes: number;
  /** Every process of the side, seen while the workload's results were alive; only with `observe: "processes"`. */
  readonly pssBeforeBytes: number;
  readonly pssAfterBytes: number;
  /** Private memory of the driver, highest during the run; only with `observe: "driver"`. */
  readonly driverBeforeBytes: number;
  readonly driverPeakBytes: number;
}

export type Goal =
  /** At least `min` times better than Ray. */
  | { readonly kind: "ratio"; readonly min: number }
  /** At least this share of the limit's rate. */
  | { readonly kind: "limit"; readonly share: number }
  /** At most (unit "lower is better") this value, in the row's unit. */
  | { readonly kind: "most"; readonly value: number };

export interface Row {
  readonly name: string;
  readonly unit: "1/s" | "GB/s" | "s" | "ms" | "MB" | "bytes";
  readonly better: "higher" | "lower";
  readonly read: (seen: Observation) => number;
  /** What this machine could do at best, a workload of the limits side that is read the same way. */
  readonly limit?: string;
  readonly goals: readonly Goal[];
}

export interface PlannedWorkload {
  /** The workload's name on every side. */
  readonly name: string;
  readonly full: Sizes;
  /** Small inputs, for the test suite: the figures mean nothing then. */
  readonly quick: Sizes;
  readonly rows: readonly Row[];
  readonly on: readonly SideName[];
  readonly observe?: "processes" | "driver";
  /** Fewer rounds than asked for, where one takes a minute. */
  readonly roundsMax?: number;
  readonly timeoutMs?: number;
}

/** Workloads that share one process and one start of the runtime. Each round starts anew. */
export interface Session {
  readonly name: string;
  readonly workloads: readonly PlannedWorkload[];
  /** False where the workload itself starts the runtime. Default true. */
  readonly opens?: boolean;
}

export const sizes = (some: Partial<Sizes>): Sizes => ({ seconds: 0, count: 0, bytes: 0, ...some });

type RowParts = Pick<Row, "name" | "goals"> & { readonly limit?: string };

/** Operations a second. */
export const rate = (row: RowParts): Row => ({
  ...row,
  unit: "1/s",
  better: "higher",
  read: (seen) => seen.count / seen.seconds,
});

/** Payload bytes a second, in 10^9. */
export const bandwidth = (row: RowParts): Row => ({
  ...row,
  unit: "GB/s",
  better: "higher",
  read: (seen) => seen.bytes / seen.seconds / 1e9,
});

export const duration = (row: RowParts): Row => ({
  ...row,
  unit: "s",
  better: "lower",
  read: (seen) => seen.seconds,
});

/** For what takes less than a second. */
export const latency = (row: RowParts): Row => ({
  ...row,
  unit: "ms",
  better: "lower",
  read: (seen) => seen.seconds * 1000,
});

/** Memory of all processes of the side together, in 10^6 bytes. */
export const totalMemory = (row: RowParts): Row => ({
  ...row,
  unit: "MB",
  better: "lower",
  read: (seen) => seen.pssAfterBytes / 1e6,
});

/** What each operation's result added to the memory of all processes. */
export const memoryEach = (row: RowParts): Row => ({
  ...row,
  unit: "MB",
  better: "lower",
  read: (seen) => (seen.pssAfterBytes - seen.pssBeforeBytes) / seen.count / 1e6,
});

/** What each operation added to the driver's own memory at its highest. */
export const driverMemoryEach = (row: RowParts): Row => ({
  ...row,
  unit: "bytes",
  better: "lower",
  read: (seen) => (seen.driverPeakBytes - seen.driverBeforeBytes) / seen.count,
});

export const ratio = (min: number): Goal => ({ kind: "ratio", min });
export const ofLimit = (share: number): Goal => ({ kind: "limit", share });
export const atMost = (value: number): Goal => ({ kind: "most", value });
