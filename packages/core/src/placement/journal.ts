/**
 * The last changes of nodes, so that what a decision saw can be seen again: a ring of (node, state before). Memory is
 * bounded by the number of entries; a state shares everything with its neighbours but the amounts that are free.
 */
import type { Node, NodeState } from "./node-state.ts";

export class Journal {
  /** Counts changes; a moment is named by how many were before it. */
  version = 0;
  private readonly nodes: (Node | undefined)[];
  private readonly states: (NodeState | undefined)[];
  private readonly entriesMax: number;

  constructor(entriesMax: number) {
    this.entriesMax = entriesMax;
    this.nodes = new Array(entriesMax);
    this.states = new Array(entriesMax);
  }

  /** @param before undefined for a node that is new. */
  add(node: Node, before: NodeState | undefined): void {
    const at = this.version % this.entriesMax;
    this.nodes[at] = node;
    this.states[at] = before;
    this.version++;
  }

  /** The states that were others at that moment; undefined when that is too long ago. A new node's is undefined. */
  statesAt(version: number): ReadonlyMap<Node, NodeState | undefined> | undefined {
    if (this.version - version > this.entriesMax) return undefined;
    const states = new Map<Node, NodeState | undefined>();
    for (let entry = this.version - 1; entry >= version; entry--) {
      const node = this.nodes[entry % this.entriesMax];
      if (node) states.set(node, this.states[entry % this.entriesMax]);
    }
    return states;
  }
}
