/** Places single demands (tasks, actors), and remembers the last decisions so that they can be explained. */
import type { NodeId } from "../base/ids.ts";
import type { ClusterView } from "./cluster-view.ts";
import { type Explained, explainNow, explainOutcome } from "./explain.ts";
import { type Outcome, outcomeOf } from "./outcome.ts";
import type { PlacementRequest } from "./policy.ts";

export type Decision =
  | {
      readonly kind: "placed";
      readonly id: number;
      readonly nodeId: NodeId;
      /** What the node's next report may name as seen, or what is let go of: see `ClusterView.take` and `hold`. */
      readonly taken: number;
    }
  | { readonly kind: "waits"; readonly id: number; readonly nodeId: NodeId }
  | {
      readonly kind: "refused";
      readonly id: number;
      readonly code: "INFEASIBLE" | "NODE_NOT_FOUND";
      readonly message: string;
    };

interface Remembered {
  readonly id: number;
  readonly request: PlacementRequest;
  readonly outcome: Outcome;
  /** Of the view before the decision. */
  readonly version: number;
}

/** How many decisions are remembered. */
const DECISIONS_MAX = 10_000;

export class Placer {
  private readonly view: ClusterView;
  private readonly decisionsMax: number;
  private readonly remembered: (Remembered | undefined)[] = [];
  private lastId = 0;

  constructor(view: ClusterView, options: { readonly decisionsMax?: number } = {}) {
    this.view = view;
    this.decisionsMax = options.decisionsMax ?? DECISIONS_MAX;
  }

  /** What is placed is taken off the node at once: until its next report, or, as a `hold`, until it is let go. */
  decide(request: PlacementRequest, claim: "take" | "hold" = "take"): Decision {
    const id = ++this.lastId;
    const { version } = this.view.journal;
    const outcome = outcomeOf(this.view, request);
    this.remembered[id % this.decisionsMax] = { id, request, outcome, version };
    switch (outcome.kind) {
      case "placed": {
        const { node, turnOf } = outcome.choice;
        turnOf?.turnTo(node);
        return { kind: "placed", id, nodeId: node.id, taken: this.view[claim](node, request.shape.units) };
      }
      case "waits":
        return { kind: "waits", id, nodeId: outcome.nodeId };
      case "refused":
        return { kind: "refused", id, code: outcome.code, message: outcome.message };
    }
  }

  /** Which nodes were considered, and why each was not chosen; undefined when it is forgotten. */
  explain(id: number): Explained | undefined {
    const one = this.remembered[id % this.decisionsMax];
    if (one?.id !== id) return undefined;
    return explainOutcome({
      view: this.view,
      request: one.request,
      outcome: one.outcome,
      changed: this.view.journal.statesAt(one.version),
    });
  }

  /** See {@link explainNow}. */
  explainNow(request: PlacementRequest): Explained {
    return explainNow(this.view, request);
  }
}
