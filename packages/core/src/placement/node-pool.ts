/** The nodes that a selector admits, that may take work, and that have what is asked for by name; with an index. */
import { FitTree } from "./fit-tree.ts";
import { admits, type Selector } from "./labels.ts";
import { hasGpu, type Node, offersNothing, scoreOf } from "./node-state.ts";
import { amountsOf, dimensionsOf, type PoolKind, type Shape } from "./shape.ts";

export class NodePool {
  readonly kind: PoolKind;
  /** Whose turn was last in the round robin. */
  private cursor = -1;
  private readonly selector: Selector;
  private readonly customs: readonly string[];
  private readonly members: (Node | undefined)[] = [];
  private readonly positions = new Map<Node, number>();
  private readonly unused: number[] = [];
  /** What is free now, and what there is in all. */
  private readonly free: FitTree;
  private readonly capacity: FitTree;
  /** Nodes that changed since the last search; most pools are not searched between two changes of a node. */
  private readonly stale = new Set<Node>();
  private readonly scratch: Float64Array;

  constructor(kind: PoolKind, selector: Selector, customs: readonly string[]) {
    this.kind = kind;
    this.selector = selector;
    this.customs = customs;
    const dimensions = dimensionsOf(kind, customs);
    this.free = new FitTree(dimensions);
    this.capacity = new FitTree(dimensions);
    this.scratch = new Float64Array(dimensions);
  }

  get size(): number {
    return this.positions.size;
  }

  nodes(): IterableIterator<Node> {
    return this.positions.keys();
  }

  has(node: Node): boolean {
    return this.positions.has(node);
  }

  /** The node with the least utilisation that has room now; of equal ones the first from `near` on, around. */
  least(shape: Shape, near: Node | undefined): Node | undefined {
    this.refresh();
    const from = this.startAt(near);
    if (shape.needsBrokenGpu) {
      const broken = this.members[this.free.least(shape.needsBrokenGpu, from)];
      if (broken) return broken;
    }
    return this.members[this.free.least(shape.needs, from)];
  }

  /** The next node of the round that has room now; the first round begins with `near`. It stays the next one. */
  next(shape: Shape, near: Node | undefined): Node | undefined {
    this.refresh();
    const from = this.cursor < 0 ? this.startAt(near) : (this.cursor + 1) % Math.max(1, this.members.length);
    return this.members[this.free.next(shape.needs, from)];
  }

  /** The node had its turn. */
  turnTo(node: Node): void {
    this.cursor = this.positions.get(node) ?? this.cursor;
  }

  /** A node that could take it if nothing else ran: the first from `near` on, around. */
  feasible(shape: Shape, near: Node | undefined): Node | undefined {
    this.refresh();
    return this.members[this.capacity.next(shape.needs, this.startAt(near))];
  }

  /** The members from the one after `near` on, around. */
  *around(near: Node | undefined): IterableIterator<Node> {
    const from = this.startAt(near);
    for (let index = 0; index < this.members.length; index++) {
      const node = this.members[(from + index) % this.members.length];
      if (node) yield node;
    }
  }

  private startAt(near: Node | undefined): number {
    return (near && this.positions.get(near)) ?? 0;
  }

  // ── for the view ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** The amounts that are free have changed. */
  touch(node: Node): void {
    this.stale.add(node);
  }

  /** Its labels, totals or status may have changed, or it is new. True when it is a member now. */
  consider(node: Node): boolean {
    const position = this.positions.get(node);
    if (!this.wants(node)) {
      if (position !== undefined) this.remove(node, position);
      return false;
    }
    const at = position ?? this.unused.pop() ?? this.members.length;
    this.members[at] = node;
    this.positions.set(node, at);
    this.free.grow(this.members.length);
    this.capacity.grow(this.members.length);
    amountsOf(node.state.capacity, this.kind, this.customs, this.scratch);
    this.capacity.set(at, this.scratch, 0);
    this.stale.add(node);
    return true;
  }

  drop(node: Node): void {
    const position = this.positions.get(node);
    if (position !== undefined) this.remove(node, position);
  }

  private wants({ state }: Node): boolean {
    if (state.status !== "alive" || offersNothing(state)) return false;
    if (this.kind !== "all" && hasGpu(state) !== (this.kind === "gpu")) return false;
    for (const name of this.customs) if (!(name in state.total)) return false;
    return admits(this.selector, state.labels);
  }

  private remove(node: Node, position: number): void {
    this.members[position] = undefined;
    this.positions.delete(node);
    this.stale.delete(node);
    this.unused.push(position);
    this.free.clear(position);
    this.capacity.clear(position);
  }

  private refresh(): void {
    if (this.stale.size === 0) return;
    for (const node of this.stale) {
      const position = this.positions.get(node);
      if (position === undefined) continue;
      amountsOf(node.state.free, this.kind, this.customs, this.scratch);
      this.free.set(position, this.scratch, scoreOf(node.state, this.kind === "gpu"));
    }
    this.stale.clear();
  }
}
