/** Tells when nodes come, go and drain. */
import type { EventLog } from "./event-log.ts";
import type { NodeRow } from "./rows.ts";

export class NodeWatch {
  private readonly note: (event: Parameters<EventLog["add"]>[0]) => void;
  private known: Map<string, NodeRow["state"]> | undefined;

  constructor(note: NodeWatch["note"]) {
    this.note = note;
  }

  seen(nodes: readonly NodeRow[], nowMs: number): void {
    const { known } = this;
    this.known = new Map(nodes.map(({ nodeId, state }) => [nodeId, state]));
    // The first look tells what was, not what has happened.
    if (!known) return;
    for (const { nodeId, name, state, workers } of nodes) {
      const before = known.get(nodeId);
      if (before === state) continue;
      const about = { atMs: nowMs, subjects: [nodeId] };
      if (state === "dead") {
        const message = `node ${name} is dead; it had ${workers} workers`;
        const remedy =
          "what ran there is tried again elsewhere where that is allowed; look at the node's own log for why it ended";
        this.note({ ...about, severity: "error", kind: "node-died", message, remedy });
      } else if (state === "draining")
        this.note({ ...about, severity: "info", kind: "node-draining", message: `node ${name} is drained` });
      else if (before === undefined)
        this.note({ ...about, severity: "info", kind: "node-joined", message: `node ${name} has joined` });
    }
  }
}
