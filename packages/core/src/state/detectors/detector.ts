/** What a detector is: it says what looks wrong now; for how long it must look so before people are told is the alarms' to see. */
import type { LiveTask, WaitingDemand } from "../../wire/queries.ts";
import type { ActorTable } from "../actor-table.ts";
import type { EventRow, GroupRow, NodeRow, ObjectSummaryRow, TaskSummaryRow } from "../rows.ts";

/** How often something is looked at: what control knows; what owners say of tasks; what nodes say of objects. */
export type Pace = "control" | "tasks" | "objects";

/** What is known when detectors look. */
export interface Observation {
  readonly atMs: number;
  readonly nodes: readonly NodeRow[];
  /** By node, since it began: bytes that its store has written to disk and read back. */
  readonly diskTraffic: ReadonlyMap<string, DiskTraffic>;
  /** By node: what was measured of it in the last second. */
  readonly machines: ReadonlyMap<string, MachineSeen>;
  readonly waiting: readonly WaitingDemand[];
  readonly groups: readonly GroupRow[];
  readonly actors: Pick<ActorTable, "all" | "get">;
  readonly live: LiveSeen;
  /** Exact counts of attempts that ended, by function. */
  readonly functions: readonly FunctionSum[];
  /** By function, since the cluster began: how often it was packed with large values, and their bytes. */
  readonly packed: ReadonlyMap<string, Packed>;
  /** By place in a program, since the cluster began: how many small values were put there, and their bytes; from a sample. */
  readonly puts: ReadonlyMap<string, Packed>;
  /** Stored objects by the place in the program that made them. */
  readonly sites: readonly SiteSeen[];
  /** By party, `task:<key>` or `actor:<id>`: on which others it waits, or `group:<id>`; only of those that were asked about. */
  readonly waits: ReadonlyMap<string, readonly string[]>;
  /** Of functions, with p95 of run times: looks at all attempts, so only for who needs it. */
  runTimes(): readonly TaskSummaryRow[];
}

export interface DiskTraffic {
  readonly spilledBytes: number;
  readonly restoredBytes: number;
}
export interface MachineSeen {
  /** Of all cores, 0 to 100. */
  readonly cpuPercent: number;
  readonly cores: number;
  /** That run on a core or wait for one. */
  readonly runnableWorkers: number;
}
export interface Packed {
  readonly times: number;
  readonly bytes: number;
}
export interface LiveSeen {
  /** What runs first; not all of many. */
  readonly tasks: readonly LiveTask[];
  readonly counts: readonly { readonly name: string; readonly state: LiveTask["state"]; readonly count: number }[];
  /** By actor: calls that have not begun. */
  readonly backlogs: ReadonlyMap<string, number>;
  /** Every owner has answered. */
  readonly isWhole: boolean;
}
export interface FunctionSum {
  readonly name: string;
  readonly kind: TaskSummaryRow["kind"];
  readonly finished: number;
  /** Those that failed too. */
  readonly ended: number;
  readonly runMs: number;
}
export interface SiteSeen extends ObjectSummaryRow {
  /** Besides: of what nobody has a ref of any more, and which is there because it is read. */
  readonly freedBytes: number;
  /** Processes that own most of the largest of them. */
  readonly ownerPids: readonly number[];
}

export interface Finding {
  /** Tells it from others of its detector. */
  readonly key: string;
  readonly severity: Exclude<EventRow["severity"], "info">;
  /** With numbers. */
  readonly message: string;
  readonly remedy: string;
  /** Ids, names of functions and call sites that it is about. */
  readonly subjects: readonly string[];
}

export interface Detector {
  readonly kind: string;
  readonly pace: Pace;
  /** It must have looked so at each look for so long. */
  readonly raiseAfterMs: number;
  /** It is over when it has not looked so for so long. */
  readonly clearAfterMs: number;
  look(observation: Observation): Iterable<Finding>;
}
