/** What `explain` answers. */
import type { NodeId } from "../base/ids.ts";

/** Why something waits, failed or was slow, in sentences with numbers. */
export interface Explanation {
  /** `"queued"`, `"running"` and so on; docs/debugging.md has the list. */
  readonly state: string;
  /** Since when: milliseconds since the epoch. */
  readonly since: number;
  readonly sentences: readonly string[];
  /** Ids of the objects, tasks or actors that it waits for. */
  readonly waitsFor: readonly string[];
  /** In which process the task runs or is queued, or the actor lives; left out when it is in none. */
  readonly process?: { readonly nodeId: NodeId; readonly pid: number };
  /** What each node says to the demand: the chosen one first, then those that came closest; at most 64. */
  readonly considered?: readonly ConsideredNode[];
  /** Of more than 8 nodes all, by what is said of them. */
  readonly verdicts?: readonly VerdictCount[];
}

/** A node that was considered, and why it was chosen or not: `${name} ${verdict}` is a sentence. */
export interface ConsideredNode {
  readonly nodeId: NodeId;
  readonly name: string;
  /** Where other nodes reach it, `host:port`; null for one that only dials out. */
  readonly address?: string | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly verdict: string;
}

/** So many nodes of which the same is said; the names are examples. */
export interface VerdictCount {
  readonly count: number;
  readonly verdict: string;
  readonly names: readonly string[];
}
