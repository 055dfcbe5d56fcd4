/** Nodes by label and by what they offer, so that a pool of few nodes is made without looking at all. */
import { addTo, removeFrom } from "../base/index-of-sets.ts";
import type { Selector } from "./labels.ts";
import type { Node, NodeState } from "./node-state.ts";

export class NodeIndex<N extends Node> {
  private readonly sets = new Map<string, Set<N>>();

  add(node: N): void {
    for (const key of keysOf(node.state)) addTo(this.sets, key, node);
  }

  /** @param state what it was added with */
  remove(node: N, state: NodeState): void {
    for (const key of keysOf(state)) removeFrom(this.sets, key, node);
  }

  /** All nodes that may be meant are among these; undefined: no less than all. */
  candidates(selector: Selector, customs: readonly string[]): Iterable<N> | undefined {
    const choices = customs.map((name) => [`r ${name}`]);
    for (const { key, values, isNegated } of selector.requirements) {
      if (!isNegated) choices.push(values.map((value) => `l ${key} ${value}`));
    }
    let best: N[] | undefined;
    for (const keys of choices) {
      const size = keys.reduce((sum, key) => sum + (this.sets.get(key)?.size ?? 0), 0);
      if (!best || size < best.length) best = keys.flatMap((key) => [...(this.sets.get(key) ?? [])]);
    }
    return best;
  }
}

function* keysOf({ labels, total }: NodeState): IterableIterator<string> {
  for (const key in labels) yield `l ${key} ${labels[key]}`;
  for (const name in total) if (name !== "cpu" && name !== "memory") yield `r ${name}`;
}
