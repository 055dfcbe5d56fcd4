/** What a heap consists of, by constructor: how many, how large they are, and what is there only because of them. */
import { dominatorsOf } from "./dominators.ts";
import type { HeapGraph } from "./graph.ts";

export interface ConstructorSize {
  /** `Array`, `Order`; of what has none its kind in parentheses, as DevTools has it: `(string)`, `(compiled code)`. */
  readonly name: string;
  readonly count: number;
  readonly shallowBytes: number;
  /** Of all of them together; nothing is counted twice. */
  readonly retainedBytes: number;
}

export interface HeapSummary {
  readonly nodes: number;
  readonly edges: number;
  readonly totalBytes: number;
  /** The largest first, by what they retain. */
  readonly constructors: readonly ConstructorSize[];
}

const KINDS: Readonly<Record<string, string>> = {
  hidden: "(system)",
  code: "(compiled code)",
  closure: "Function",
  regexp: "RegExp",
  synthetic: "(roots)",
  "concatenated string": "(string)",
  "sliced string": "(string)",
};
const NAMED = new Set(["object", "native"]);

export function summaryOf(graph: HeapGraph): HeapSummary {
  const { postorder, dominator, retained } = dominatorsOf(graph);
  const { selfSize } = graph.columns;
  const names: string[] = [];
  const kindOf = kindsOf(graph, names);
  const count = new Float64Array(names.length);
  const shallow = new Float64Array(names.length);
  const kept = new Float64Array(names.length);
  let totalBytes = 0;
  // Children of each in the tree of dominators, as lists through the nodes.
  const firstChild = new Int32Array(graph.nodes).fill(-1);
  const nextSibling = new Int32Array(graph.nodes).fill(-1);
  for (const node of postorder) {
    const kind = kindOf[node] as number; // It is a node.
    const bytes = selfSize[node] as number;
    count[kind] = (count[kind] as number) + 1;
    shallow[kind] = (shallow[kind] as number) + bytes;
    totalBytes += bytes;
    const over = dominator[node] as number;
    if (over === node) continue;
    nextSibling[node] = firstChild[over] as number;
    firstChild[over] = node;
  }
  // Down the tree: what stands below one of its own kind is already in that one's size.
  const depth = new Uint32Array(names.length);
  const root = postorder.at(-1) ?? 0;
  for (let node = root, isDown = true; ; ) {
    const kind = kindOf[node] as number;
    if (isDown) {
      if (depth[kind] === 0) kept[kind] = (kept[kind] as number) + (retained[node] as number);
      depth[kind] = (depth[kind] as number) + 1;
      const child = firstChild[node] as number;
      if (child >= 0) {
        node = child;
        continue;
      }
    }
    depth[kind] = (depth[kind] as number) - 1;
    if (node === root) break;
    const sibling = nextSibling[node] as number;
    isDown = sibling >= 0;
    node = isDown ? sibling : (dominator[node] as number);
  }
  const constructors = names
    .map((name, kind) => ({
      name,
      count: count[kind] as number,
      shallowBytes: shallow[kind] as number,
      retainedBytes: kept[kind] as number,
    }))
    .filter((one) => one.count > 0)
    .sort((a, b) => b.retainedBytes - a.retainedBytes);
  return { nodes: graph.nodes, edges: graph.edges, totalBytes, constructors };
}

/** Of each node the number of its kind, whose name is put into `names`. */
function kindsOf(graph: HeapGraph, names: string[]): Uint32Array {
  const { type, name, nodeTypes, strings } = graph.columns;
  const numbers = new Map<string, number>();
  const numberOf = (kind: string): number => {
    let number = numbers.get(kind);
    if (number === undefined) {
      number = names.push(kind) - 1;
      numbers.set(kind, number);
    }
    return number;
  };
  const ofType = nodeTypes.map((one) => (NAMED.has(one) ? undefined : (KINDS[one] ?? `(${one})`)));
  const kinds = new Uint32Array(graph.nodes);
  const byName = new Map<number, number>();
  for (let node = 0; node < graph.nodes; node++) {
    const fixed = ofType[type[node] as number];
    const text = name[node] as number; // It is a node.
    let kind = fixed === undefined ? byName.get(text) : numberOf(fixed);
    if (kind === undefined) {
      kind = numberOf(strings[text] || "(anonymous)");
      byName.set(text, kind);
    }
    kinds[node] = kind;
  }
  return kinds;
}
