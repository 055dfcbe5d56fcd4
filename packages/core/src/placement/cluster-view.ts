/**
 * What is known of the cluster's nodes, for decisions. It is brought up to date by deltas, and what was decided is taken
 * off at once, before the node itself says so:
 *
 * - `take` is for what the node will have started before its next report: that report ends it.
 * - `hold` is for what takes longer, as a bundle that is being reserved or a lease that was asked for: it outlives
 *   reports until it is let go.
 * - `keep` is for one placement group that is to have room there: for all others it is not free, also while it is in use.
 */
import type { NodeId } from "../base/ids.ts";
import type { ResourceUnits } from "../base/resources.ts";
import { type Free, freeOf, takeFrom } from "./amounts.ts";
import { Journal } from "./journal.ts";
import { ANY_NODE, type Labels, type Selector } from "./labels.ts";
import { NodeIndex } from "./node-index.ts";
import { NodePool } from "./node-pool.ts";
import {
  NO_STORE,
  type Node,
  type NodeState,
  type NodeStatus,
  nodeState,
  type StoreUse,
  withFree,
} from "./node-state.ts";
import type { PoolKind, Shape } from "./shape.ts";

export type NodeDelta =
  | {
      readonly kind: "node-joined";
      readonly nodeId: NodeId;
      readonly name: string;
      readonly total: ResourceUnits;
      readonly labels?: Labels;
      readonly store?: StoreUse;
    }
  | {
      readonly kind: "node-reported";
      readonly nodeId: NodeId;
      readonly free?: ResourceUnits;
      /** Free units of each GPU; without it, whole devices are assumed. */
      readonly gpus?: readonly number[];
      readonly lasting?: ResourceUnits;
      readonly store?: StoreUse;
      /** The number of the last `take` that the report knows of; without it, it knows of all. */
      readonly seen?: number;
    }
  | {
      readonly kind: "node-changed";
      readonly nodeId: NodeId;
      readonly labels?: Labels;
      readonly total?: ResourceUnits;
    }
  | { readonly kind: "node-draining"; readonly nodeId: NodeId }
  | { readonly kind: "node-died"; readonly nodeId: NodeId }
  /** It has been dead for long enough. */
  | { readonly kind: "node-forgotten"; readonly nodeId: NodeId };

export interface ClusterViewOptions {
  /** How many changes are kept for explanations. */
  readonly journalMax?: number;
  /** Searches are kept for so many different selectors. */
  readonly poolsMax?: number;
}

const JOURNAL_MAX = 65_536;
const POOLS_MAX = 128;

/** Taken off a node: by number until a report has seen it, or until it is let go. */
interface Claim {
  readonly number: number;
  readonly entry: Entry;
  readonly units: ResourceUnits;
  count: number;
  isHold: boolean;
  readonly isKept: boolean;
}

interface Entry extends Node {
  reported: Free;
  readonly claims: Map<number, Claim>;
  readonly pools: Set<NodePool>;
}

export class ClusterView {
  readonly journal: Journal;
  /** Grows when something may fit that did not before, or what was asked for somewhere is to go elsewhere. */
  roomVersion = 0;
  /** Grows when what could ever fit may have changed. */
  membersVersion = 0;
  private readonly entries = new Map<NodeId, Entry>();
  private readonly index = new NodeIndex<Entry>();
  private readonly holds = new Map<number, Claim>();
  private readonly pools = new Map<string, NodePool>();
  private readonly poolsMax: number;
  private poolsVersion = 0;
  private readonly found = new WeakMap<Shape, { version: number; pools: (NodePool | undefined)[] }>();
  private lastNumber = 0;

  constructor(options: ClusterViewOptions = {}) {
    this.journal = new Journal(options.journalMax ?? JOURNAL_MAX);
    this.poolsMax = options.poolsMax ?? POOLS_MAX;
  }

  node(id: NodeId): Node | undefined {
    return this.entries.get(id);
  }

  nodes(): IterableIterator<Node> {
    return this.entries.values();
  }

  get size(): number {
    return this.entries.size;
  }

  // ── what nodes say ─────────────────────────────────────────────────────────────────────────────────────────────────

  /** The same delta twice changes nothing, but for what was decided in between. */
  apply(delta: NodeDelta): void {
    const entry = this.entries.get(delta.nodeId);
    if (delta.kind === "node-joined") {
      if (entry) this.reshape(entry, delta);
      else this.join(delta);
      return;
    }
    if (!entry) return;
    switch (delta.kind) {
      case "node-reported":
        this.report(entry, delta);
        return;
      case "node-changed":
        this.reshape(entry, delta);
        return;
      case "node-draining":
        if (entry.state.status === "alive") this.setStatus(entry, "draining");
        return;
      case "node-died":
        if (entry.state.status !== "dead") this.setStatus(entry, "dead");
        return;
      case "node-forgotten":
        for (const pool of entry.pools) pool.drop(entry);
        for (const claim of entry.claims.values()) this.holds.delete(claim.number);
        this.index.remove(entry, entry.state);
        this.entries.delete(entry.id);
        this.membersVersion++;
        return;
    }
  }

  private join(delta: NodeDelta & { kind: "node-joined" }): void {
    const free = freeOf(delta.total);
    const state = nodeState({
      status: "alive",
      total: delta.total,
      labels: delta.labels ?? {},
      free,
      lasting: {},
      kept: {},
      store: delta.store ?? NO_STORE,
    });
    const entry: Entry = {
      id: delta.nodeId,
      name: delta.name,
      state,
      reported: free,
      claims: new Map(),
      pools: new Set(),
    };
    this.entries.set(entry.id, entry);
    this.index.add(entry);
    this.journal.add(entry, undefined);
    this.consider(entry);
  }

  private report(entry: Entry, delta: NodeDelta & { kind: "node-reported" }): void {
    const { state } = entry;
    if (delta.free) {
      entry.reported = freeOf(delta.free, delta.gpus);
      const seen = delta.seen ?? this.lastNumber;
      for (const claim of entry.claims.values()) {
        if (!claim.isHold && claim.number <= seen) entry.claims.delete(claim.number);
      }
    }
    this.replace(
      entry,
      nodeState({
        ...state,
        free: this.lessClaims(entry),
        lasting: delta.lasting ?? state.lasting,
        store: delta.store ?? state.store,
      }),
    );
  }

  private reshape(entry: Entry, delta: { readonly labels?: Labels; readonly total?: ResourceUnits }): void {
    const { state } = entry;
    const { capacity: _old, ...facts } = state;
    const total = delta.total ?? state.total;
    if (delta.total) entry.reported = withTotal(entry.reported, state.total, total);
    this.index.remove(entry, state);
    const labels = delta.labels ?? state.labels;
    this.replace(entry, nodeState({ ...facts, total, labels, free: this.lessClaims(entry) }));
    this.index.add(entry);
    this.consider(entry);
  }

  private setStatus(entry: Entry, status: NodeStatus): void {
    this.replace(entry, { ...entry.state, status });
    this.consider(entry);
  }

  private consider(entry: Entry): void {
    this.membersVersion++;
    this.roomVersion++;
    for (const pool of this.pools.values()) {
      if (pool.consider(entry)) entry.pools.add(pool);
      else entry.pools.delete(pool);
    }
  }

  // ── what was decided ───────────────────────────────────────────────────────────────────────────────────────────────

  /** Taken off until the node's next report. Returns a number, for `seen` of that report. */
  take(node: Node, units: ResourceUnits, count = 1): number {
    return this.claim(node, units, count, false);
  }

  /** Taken off until it is let go. */
  hold(node: Node, units: ResourceUnits, count = 1): number {
    return this.claim(node, units, count, true);
  }

  /** What is asked for there and not granted is not to be; for whom it is kept, see {@link freeBeside}. Let go as a hold is. */
  keep(node: Node, units: ResourceUnits): number {
    this.roomVersion++;
    return this.claim(node, units, 1, true, true);
  }

  /** What is free at the node for whom this is kept. */
  freeBeside(kept: number): Free | undefined {
    const claim = this.holds.get(kept);
    return claim && this.lessClaims(claim.entry, claim);
  }

  /** The node uses none of it. */
  release(hold: number): void {
    const claim = this.holds.get(hold);
    if (!claim) return;
    this.holds.delete(hold);
    claim.entry.claims.delete(hold);
    const { entry, units, count } = claim;
    // Which devices others have follows from the order in which they were taken.
    const free = units.gpu ? this.lessClaims(entry) : takeFrom(entry.state.free, units, -count);
    this.replace(entry, claim.isKept ? withKept(entry, free) : withFree(entry.state, free));
  }

  /** The node has it now, and will say so with its next report. */
  settle(hold: number): void {
    const claim = this.holds.get(hold);
    if (!claim) return;
    this.holds.delete(hold);
    claim.isHold = false;
  }

  private claim(node: Node, units: ResourceUnits, count: number, isHold: boolean, isKept = false): number {
    const number = ++this.lastNumber;
    const entry = this.entries.get(node.id);
    if (!entry) return number;
    const claim: Claim = { number, entry, units, count, isHold, isKept };
    entry.claims.set(number, claim);
    if (isHold) this.holds.set(number, claim);
    const free = takeFrom(entry.state.free, units, count);
    this.replace(entry, isKept ? withKept(entry, free) : withFree(entry.state, free));
    return number;
  }

  private lessClaims(entry: Entry, but?: Claim): Free {
    let free = entry.reported;
    for (const claim of entry.claims.values()) if (claim !== but) free = takeFrom(free, claim.units, claim.count);
    return free;
  }

  private replace(entry: Entry, state: NodeState): void {
    const before = entry.state;
    this.journal.add(entry, before);
    entry.state = state;
    // Devices that are kept are taken off as they come free, so that the sum does not say so.
    if (hasMore(state.free.units, before.free.units) || state.kept.gpu) this.roomVersion++;
    for (const pool of entry.pools) pool.touch(entry);
  }

  // ── searches ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The nodes among which the shape is placed by its `selector`th selector. */
  pool(shape: Shape, selector: number, kind: PoolKind): NodePool {
    let found = this.found.get(shape);
    if (found?.version !== this.poolsVersion) {
      found = { version: this.poolsVersion, pools: [] };
      this.found.set(shape, found);
    }
    const at = 3 * selector + (kind === "plain" ? 0 : kind === "gpu" ? 1 : 2);
    const known = found.pools[at];
    if (known) return known;
    const pool = this.findPool(kind, shape.selectors[selector] ?? ANY_NODE, shape.customs);
    // Finding it may have thrown others out, so what was found before need not be true.
    if (found.version === this.poolsVersion) found.pools[at] = pool;
    return pool;
  }

  private findPool(kind: PoolKind, selector: Selector, customs: readonly string[]): NodePool {
    const key = JSON.stringify([kind, selector.key, customs]);
    const known = this.pools.get(key);
    if (known) {
      this.pools.delete(key);
      this.pools.set(key, known);
      return known;
    }
    for (const [oldKey, old] of this.pools) {
      if (this.pools.size < this.poolsMax) break;
      this.pools.delete(oldKey);
      for (const node of old.nodes()) this.entries.get(node.id)?.pools.delete(old);
      this.poolsVersion++;
    }
    const pool = new NodePool(kind, selector, customs);
    this.pools.set(key, pool);
    for (const entry of this.index.candidates(selector, customs) ?? this.entries.values()) {
      if (pool.consider(entry)) entry.pools.add(pool);
    }
    return pool;
  }
}

function withKept({ state, claims }: Entry, free: Free): NodeState {
  const kept: Record<string, number> = {};
  for (const { isKept, units } of claims.values()) {
    if (isKept) for (const name in units) kept[name] = (kept[name] ?? 0) + (units[name] ?? 0);
  }
  return nodeState({ ...state, free, kept });
}

function hasMore(units: ResourceUnits, before: ResourceUnits): boolean {
  for (const name in units) if ((units[name] ?? 0) > (before[name] ?? 0)) return true;
  return false;
}

/** What is in use stays in use when a node turns out to have more or less. */
function withTotal(free: Free, before: ResourceUnits, total: ResourceUnits): Free {
  const units: Record<string, number> = {};
  for (const name in total) units[name] = (total[name] ?? 0) - ((before[name] ?? 0) - (free.units[name] ?? 0));
  return freeOf(units, total.gpu === before.gpu ? free.gpus : undefined);
}
