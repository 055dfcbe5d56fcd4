/** What the API answers: the state service's own types, of which nothing is left after the build. */
export type {
  ActorRow,
  ActorSummaryRow,
  EventRow,
  GroupRow,
  JobRow,
  Listed,
  LogRow,
  NodeRow,
  ObjectRow,
  ObjectSummaryRow,
  Overview,
  RowKind,
  TaskRow,
  TaskSummaryRow,
  WorkerRow,
} from "../../core/src/state/rows.ts";

import type { TASK_STATES } from "../../core/src/state/rows.ts";

export type TaskState = (typeof TASK_STATES)[number];
/** In the order of a life, as in the contract, which is imported as types only. */
export const taskStates: readonly TaskState[] = [
  "waiting",
  "queued",
  "running",
  "finished",
  "failed",
  "lost",
  "preempted",
  "cancelled",
];

/** Why something waits, failed or was slow (`GET /api/v1/why/{id}`). */
export interface Explanation {
  readonly state: string;
  readonly since: number;
  readonly sentences: readonly string[];
  readonly waitsFor: readonly string[];
  readonly considered?: readonly { readonly nodeId: string; readonly name: string; readonly verdict: string }[];
  readonly verdicts?: readonly {
    readonly count: number;
    readonly verdict: string;
    readonly names: readonly string[];
  }[];
}

/** Functions of a job and who called whom (`GET /api/v1/graph`). */
export interface CallGraph {
  readonly nodes: readonly CallGraphNode[];
  readonly edges: readonly CallGraphEdge[];
}
export interface CallGraphNode {
  readonly name: string;
  readonly kind: string;
  readonly counts: Readonly<Partial<Record<TaskState, number>>>;
}
export interface CallGraphEdge {
  readonly from: string;
  readonly to: string;
  readonly count: number;
}
