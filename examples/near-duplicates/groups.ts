/** From similar pairs to groups: the connected components, largest waste first. */
import type { FileEntry } from "./files.ts";

export interface Group {
  /** In the order of their paths. */
  readonly files: readonly FileEntry[];
  /** What would be saved by keeping only the largest file. */
  readonly wastedBytes: number;
  /** The lowest similarity of the pairs that hold the group together. */
  readonly similarity: number;
}

export interface SimilarPair {
  readonly a: number;
  readonly b: number;
  readonly similarity: number;
}

/** Disjoint sets with path halving; the smallest number stands for its set. */
export class UnionFind {
  readonly #parents: Uint32Array;

  constructor(size: number) {
    this.#parents = Uint32Array.from({ length: size }, (_, index) => index);
  }

  find(item: number): number {
    const parents = this.#parents;
    let at = item;
    for (let parent = parents[at] ?? at; parent !== at; parent = parents[at] ?? at) {
      parents[at] = parents[parent] ?? parent;
      at = parents[at] ?? at;
    }
    return at;
  }

  union(a: number, b: number): void {
    const left = this.find(a);
    const right = this.find(b);
    this.#parents[Math.max(left, right)] = Math.min(left, right);
  }
}

export function makeGroups(files: readonly FileEntry[], pairs: Iterable<SimilarPair>): Group[] {
  const sets = new UnionFind(files.length);
  const kept = [...pairs];
  for (const { a, b } of kept) sets.union(a, b);
  const lowest = new Map<number, number>();
  for (const { a, similarity } of kept) {
    const root = sets.find(a);
    lowest.set(root, Math.min(lowest.get(root) ?? 1, similarity));
  }
  const members = new Map<number, FileEntry[]>();
  for (const [index, file] of files.entries()) {
    const root = sets.find(index);
    if (!lowest.has(root)) continue;
    const group = members.get(root);
    if (group === undefined) members.set(root, [file]);
    else group.push(file);
  }
  const groups = [...members].map(([root, group]) => ({
    files: group,
    wastedBytes: sum(group) - Math.max(...group.map((file) => file.bytes)),
    similarity: lowest.get(root) ?? 1,
  }));
  return groups.sort((x, y) => y.wastedBytes - x.wastedBytes || compareFirst(x, y));
}

function sum(files: readonly FileEntry[]): number {
  return files.reduce((total, file) => total + file.bytes, 0);
}

function compareFirst(x: Group, y: Group): number {
  return (x.files[0]?.path ?? "") < (y.files[0]?.path ?? "") ? -1 : 1;
}
