/** What the API answers: the state service's own types, of which nothing but the list of states is left after the build. */
export type {
  ActorRow,
  ActorSummaryRow,
  BarRow,
  EventRow,
  GroupRow,
  History,
  JobProgress,
  JobRow,
  Listed,
  LogRow,
  NodeRow,
  ObjectRow,
  ObjectSummaryRow,
  Overview,
  Progress,
  RowKind,
  TaskRow,
  TaskSummaryRow,
  WorkerRow,
} from "../../core/src/state/rows.ts";

export { TASK_STATES as taskStates, type TaskState } from "../../core/src/state/task-states.ts";

import type { TaskState } from "../../core/src/state/task-states.ts";

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
