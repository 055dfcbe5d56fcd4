/** Tasks and calls: those that have ended, from what nodes have sent. */
import { wallMs } from "../base/clock.ts";
import type { JobId } from "../base/ids.ts";
import { AttemptStore } from "./attempts.ts";
import type { Listed, ListQuery, Overview, TaskGraph, TaskRow, TaskSummaryRow } from "./rows.ts";

export class Tasks {
  private readonly ended = new AttemptStore();
  /** Nodes whose batches cannot be read. */
  private readonly unreadable = new Map<string, string>();

  /** Batches of events of a node. */
  add(nodeId: string, batches: readonly Uint8Array[]): void {
    for (const batch of batches) {
      try {
        this.ended.add(batch, wallMs());
      } catch (error) {
        this.unreadable.set(nodeId, `node ${nodeId}: ${(error as Error).message}`);
      }
    }
  }

  /** @throws InvalidOptionError */
  list(query: ListQuery): Listed<TaskRow> {
    return { ...this.ended.list(query, wallMs()), partial: [...this.unreadable.values()] };
  }

  /** All attempts of a task, the first one first. */
  find(taskId: string): readonly TaskRow[] {
    return this.ended.find(taskId);
  }

  summary(): readonly TaskSummaryRow[] {
    return this.ended.summary();
  }

  graph(job: string): TaskGraph {
    return this.ended.graph(job as JobId) ?? { nodes: [], edges: [] };
  }

  /** For the overview. */
  totals(): Pick<Overview, "tasks" | "throughput"> {
    return { tasks: this.ended.totals(), throughput: [...this.ended.throughput(wallMs())] };
  }
}
