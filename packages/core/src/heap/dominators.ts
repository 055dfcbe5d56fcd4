/**
 * Which node keeps which alive: the immediate dominators of a heap, and with them how much would be freed without each node.
 *
 * @source Cooper, Harvey and Kennedy 2001, "A simple, fast dominance algorithm": nodes in reverse postorder, until nothing changes.
 */
import type { HeapGraph } from "./graph.ts";

export interface Dominators {
  /** The nodes that can be reached, each after those that it dominates; the root last. */
  readonly postorder: Uint32Array;
  /** Of each node; the root's is itself, and that of what cannot be reached too. */
  readonly dominator: Uint32Array;
  /** Bytes of each node and of all that it dominates. */
  readonly retained: Float64Array;
}

const ROOT = 0;
const NONE = 0xff_ff_ff_ff;
/** The table of a WeakMap has an edge to each value, which is there as long as its key is. */
const IN_WEAK_MAP = / part of key .* in WeakMap/;

export function dominatorsOf(graph: HeapGraph): Dominators {
  const keeps = retainingEdges(graph);
  const { firstEdge, to, selfSize } = graph.columns;
  const { postorder, number } = inPostorder(graph, keeps);
  const { first, retainers } = retainersOf(graph, keeps, number);
  // By the numbers of the postorder, which is what the algorithm compares.
  const count = postorder.length;
  const above = new Uint32Array(count).fill(NONE);
  above[count - 1] = count - 1;
  for (let hasChanged = true; hasChanged; ) {
    hasChanged = false;
    for (let place = count - 2; place >= 0; place--) {
      let best = NONE;
      const node = postorder[place] as number; // It is below the count.
      for (let at = first[node] as number; at < (first[node + 1] as number); at++) {
        const other = number[retainers[at] as number] as number;
        if (above[other] === NONE) continue;
        best = best === NONE ? other : meet(above, best, other);
      }
      if (above[place] === best) continue;
      above[place] = best;
      hasChanged = true;
    }
  }
  const dominator = new Uint32Array(graph.nodes);
  for (let node = 0; node < graph.nodes; node++) dominator[node] = node;
  const retained = Float64Array.from(selfSize);
  for (let place = 0; place < count - 1; place++) {
    const node = postorder[place] as number;
    const over = postorder[above[place] as number] as number;
    dominator[node] = over;
    retained[over] = (retained[over] as number) + (retained[node] as number);
  }
  return { postorder, dominator, retained };

  function inPostorder({ nodes }: HeapGraph, kept: Uint8Array) {
    const order = new Uint32Array(nodes);
    const numbers = new Uint32Array(nodes).fill(NONE);
    const next = firstEdge.slice();
    const stack = new Uint32Array(nodes);
    const seen = new Uint8Array(nodes);
    let depth = 0;
    let done = 0;
    stack[depth++] = ROOT;
    seen[ROOT] = 1;
    while (depth > 0) {
      const node = stack[depth - 1] as number;
      const edge = next[node] as number;
      if (edge === (firstEdge[node + 1] as number)) {
        depth--;
        numbers[node] = done;
        order[done++] = node;
        continue;
      }
      next[node] = edge + 1;
      const child = to[edge] as number;
      if (kept[edge] === 0 || seen[child] === 1) continue;
      seen[child] = 1;
      stack[depth++] = child;
    }
    return { postorder: order.subarray(0, done), number: numbers };
  }
}

function meet(above: Uint32Array, a: number, b: number): number {
  let [one, other] = [a, b];
  while (one !== other) {
    while (one < other) one = above[one] as number;
    while (other < one) other = above[other] as number;
  }
  return one;
}

/** As DevTools has it: of each edge, whether it keeps alive what it leads to. */
function retainingEdges(graph: HeapGraph): Uint8Array {
  const { edgeTypes, edgeType, edgeName, strings, firstEdge, to } = graph.columns;
  const [weak, shortcut, internal] = ["weak", "shortcut", "internal"].map((type) => edgeTypes.indexOf(type));
  const ofTables = new Set<number>();
  for (const [index, text] of strings.entries()) if (IN_WEAK_MAP.test(text)) ofTables.add(index);
  const keeps = new Uint8Array(graph.edges);
  const rootEnd = firstEdge[ROOT + 1] as number; // There is one more than nodes.
  for (let node = 0; node < graph.nodes; node++) {
    const tableId = graph.idOf(node);
    for (let edge = firstEdge[node] as number; edge < (firstEdge[node + 1] as number); edge++) {
      const type = edgeType[edge];
      if (type === weak || to[edge] === node) continue;
      if (type === shortcut && edge >= rootEnd) continue;
      const name = edgeName[edge] as number;
      if (type === internal && ofTables.has(name) && (strings[name] ?? "").includes(`(table @${tableId})`)) continue;
      keeps[edge] = 1;
    }
  }
  return keeps;
}

function retainersOf(graph: HeapGraph, keeps: Uint8Array, number: Uint32Array) {
  const { firstEdge, to } = graph.columns;
  const first = new Uint32Array(graph.nodes + 1);
  const each = (visit: (node: number, child: number) => void): void => {
    for (let node = 0; node < graph.nodes; node++) {
      if (number[node] === NONE) continue;
      for (let edge = firstEdge[node] as number; edge < (firstEdge[node + 1] as number); edge++)
        if (keeps[edge] === 1) visit(node, to[edge] as number);
    }
  };
  each((_, child) => {
    first[child + 1] = (first[child + 1] as number) + 1;
  });
  for (let node = 0; node < graph.nodes; node++)
    first[node + 1] = (first[node + 1] as number) + (first[node] as number);
  const next = first.slice();
  const retainers = new Uint32Array(first[graph.nodes] as number);
  each((node, child) => {
    const place = next[child] as number;
    next[child] = place + 1;
    retainers[place] = node;
  });
  return { first, retainers };
}
