/**
 * How many leases of a shape an owner asks for at which node: for the broker of the owner's node.
 *
 * 1. What is granted stays where it is.
 * 2. What was asked for and not granted stays where it is while the node has room for it, else it goes to where there is
 *    room, by the policy.
 * 3. What has room nowhere waits at the nodes that could ever take it, by their size, the asking node first: each node is
 *    fair among those who wait there. It may be more than fits, since a lease that waits gives its CPUs back.
 *
 * The division is asked for again and again, whenever a number or the view has changed, and moves only what step 2 says.
 */

import type { NodeId } from "../base/ids.ts";
import { sum } from "../base/sum.ts";
import { fits, slots } from "./amounts.ts";
import type { ClusterView } from "./cluster-view.ts";
import { type Explained, explainNow, explainOutcome } from "./explain.ts";
import type { Node } from "./node-state.ts";
import { type Outcome, outcomeOf } from "./outcome.ts";
import { type Choice, couldEverFit, type PlacementRequest } from "./policy.ts";

export interface LeaseRequest extends PlacementRequest {
  /** Leases in all that the owner could use, those it holds included. */
  readonly wanted: number;
  /** Those it holds. */
  readonly granted: ReadonlyMap<NodeId, number>;
}

export type Division =
  /** In all at each node, with what is granted there; the numbers add up to what is wanted. */
  | { readonly kind: "divided"; readonly at: ReadonlyMap<NodeId, number> }
  /** What is granted may go on. */
  | { readonly kind: "refused"; readonly code: "INFEASIBLE" | "NODE_NOT_FOUND"; readonly message: string };

/** What has room nowhere waits at no more nodes than this, besides those where the owner holds leases. */
const WAITING_NODES_MAX = 64;
const NODES_TOLD_MAX = 8;

/** What one owner was told last about one shape. */
interface Ask {
  request: LeaseRequest;
  readonly at: Map<NodeId, number>;
  /** Asked for and not granted: it is kept off the view, or all who divide would count on the same room. */
  readonly holds: Map<NodeId, number[]>;
  /** So many of it, at nodes that have room. */
  readonly withRoom: Map<NodeId, number>;
  /** The last step of the division. */
  last: Outcome | undefined;
  /** Why each node was asked, as far as it was asked by the policy. */
  readonly steps: Map<NodeId, Step>;
}

interface Step {
  readonly request: PlacementRequest;
  readonly outcome: Outcome;
  /** Of the view before it. */
  readonly version: number;
}

/** So many owners' demands are remembered that are over. */
const PAST_MAX = 1_000;

export class LeaseDivider {
  private readonly view: ClusterView;
  private readonly asks = new Map<string, Ask>();
  private readonly past = new Map<string, Ask>();

  constructor(view: ClusterView) {
    this.view = view;
  }

  /** @param key names the owner and the shape; see {@link forget} */
  divide(key: string, request: LeaseRequest): Division {
    const { view } = this;
    const before = this.asks.get(key);
    if (before) this.letGo(before);
    // What was granted since is in use, though the node's report may not say so yet.
    if (before) this.takeNewlyGranted(before, request);
    const ask: Ask = {
      request: { ...request, granted: new Map(request.granted) },
      at: trimmed(view, request),
      holds: new Map(),
      withRoom: new Map(),
      last: undefined,
      steps: before?.steps ?? new Map(),
    };
    this.asks.set(key, ask);
    let missing = request.wanted - sum(ask.at);
    if (missing > 0 && before) missing -= this.keepWhereRoom(ask, before, request, missing);
    while (missing > 0) {
      const { version } = view.journal;
      const outcome = outcomeOf(view, request);
      ask.last = outcome;
      if (outcome.kind === "refused") return outcome;
      if (outcome.kind === "placed") {
        ask.steps.set(outcome.choice.node.id, { request, outcome, version });
        missing -= this.place(ask, outcome.choice, request, missing);
      } else {
        this.wait(ask, before, request, outcome, missing);
        break;
      }
    }
    return { kind: "divided", at: ask.at };
  }

  /** Of what is asked for and not granted, what has room. */
  withRoom(key: string): ReadonlyMap<NodeId, number> {
    return this.asks.get(key)?.withRoom ?? new Map();
  }

  /** Why some of it waits, by what is known now; undefined when nothing was asked for under the key. */
  explain(key: string): Explained | undefined {
    const ask = this.asks.get(key);
    if (!ask) return undefined;
    const { view } = this;
    const { request, last, at } = ask;
    const parts = [...at].map(([nodeId, count]) => {
      const granted = request.granted.get(nodeId) ?? 0;
      const name = view.node(nodeId)?.name ?? nodeId;
      return `${count} at ${name}${granted > 0 ? ` (${granted} granted)` : ""}`;
    });
    const shown = parts.slice(0, NODES_TOLD_MAX).join(", ") + (parts.length > NODES_TOLD_MAX ? ", ..." : "");
    const opening = `${request.shape.name} could use ${request.wanted} leases; asked for ${at.size === 1 ? "at 1 node" : `at ${at.size} nodes`}: ${shown}.`;
    if (!last) return { sentences: [opening], considered: [] };
    const about = explainNow(view, request);
    // Of what is refused nothing is asked for.
    return at.size === 0 ? about : { ...about, sentences: [opening, ...about.sentences] };
  }

  /** Why this node was asked, also when the owner has ended since; undefined when it was not, or that is forgotten. */
  explainAt(key: string, nodeId: NodeId): Explained | undefined {
    const step = (this.asks.get(key) ?? this.past.get(key))?.steps.get(nodeId);
    return step && explainOutcome({ ...step, view: this.view, changed: this.view.journal.statesAt(step.version) });
  }

  /** The owner is gone, or will not ask again. */
  forget(key: string): void {
    const ask = this.asks.get(key);
    if (!ask) return;
    this.letGo(ask);
    this.asks.delete(key);
    if (ask.steps.size === 0) return;
    this.past.set(key, ask);
    const [oldest] = this.past.keys();
    if (this.past.size > PAST_MAX && oldest !== undefined) this.past.delete(oldest);
  }

  /** So many are granted there now, and are in use. Nothing is divided anew for that. */
  granted(key: string, nodeId: NodeId, count: number): void {
    const ask = this.asks.get(key);
    const node = this.view.node(nodeId);
    const { shape, granted } = ask?.request ?? {};
    const since = count - (granted?.get(nodeId) ?? 0);
    if (!ask || !node || !shape || !granted || since <= 0) return;
    for (const hold of ask.holds.get(nodeId) ?? []) this.view.release(hold);
    ask.holds.delete(nodeId);
    ask.withRoom.delete(nodeId);
    this.view.take(node, shape.units, since);
    ask.request = { ...ask.request, granted: new Map(granted).set(nodeId, count) };
    this.hold(ask, node, (ask.at.get(nodeId) ?? 0) - count);
  }

  private letGo(ask: Ask): void {
    for (const holds of ask.holds.values()) for (const hold of holds) this.view.release(hold);
  }

  private takeNewlyGranted(before: Ask, { shape, granted }: LeaseRequest): void {
    for (const [nodeId, count] of granted) {
      const node = this.view.node(nodeId);
      const since = count - (before.request.granted.get(nodeId) ?? 0);
      if (node && since > 0) this.view.take(node, shape.units, since);
    }
  }

  private keepWhereRoom(ask: Ask, before: Ask, request: LeaseRequest, missing: number): number {
    let kept = 0;
    for (const [nodeId, asked] of before.at) {
      const node = this.view.node(nodeId);
      const pending = Math.min(asked - (ask.at.get(nodeId) ?? 0), missing - kept);
      if (!node || pending <= 0 || !this.mayAskAt(node, request)) continue;
      const count = Math.min(pending, slots(node.state.free, request.shape.units));
      kept += this.ask(ask, node, count);
    }
    return kept;
  }

  private place(ask: Ask, choice: Choice, request: LeaseRequest, missing: number): number {
    const { node, why, turnOf } = choice;
    turnOf?.turnTo(node);
    const isOneNode = why.kind === "locality" || why.kind === "affinity";
    // One at a time when there are few. When there are many, so many at once that the number of steps stays within a few
    // times that of the nodes, and a node gets no more than its part of what is left.
    const part = why.kind === "asking-node" ? 1 : Math.ceil(missing / (4 * this.view.size));
    return this.ask(ask, node, Math.min(slots(node.state.free, request.shape.units), isOneNode ? missing : part));
  }

  /** What has room nowhere: it stays where it waited, or waits by the nodes' sizes. */
  private wait(
    ask: Ask,
    before: Ask | undefined,
    request: LeaseRequest,
    { nodeId: firstId, selector }: Outcome & { kind: "waits" },
    missing: number,
  ): void {
    let left = missing;
    for (const [nodeId, asked] of before?.at ?? []) {
      const node = this.view.node(nodeId);
      const count = Math.min(left, asked - (ask.at.get(nodeId) ?? 0));
      if (node && count > 0 && this.mayAskAt(node, request)) left -= this.ask(ask, node, count);
    }
    if (left === 0) return;
    const first = this.view.node(firstId);
    const nodes = this.waitingNodes(ask, request, first, selector);
    const weights = nodes.map((node) =>
      Math.max(1, Math.min(slots(node.state.capacity, request.shape.units), CPUS_MAX)),
    );
    for (const [index, count] of shares(left, weights).entries()) {
      const node = nodes[index];
      if (node) this.ask(ask, node, count);
    }
  }

  private waitingNodes(ask: Ask, request: LeaseRequest, first: Node | undefined, selector: number): Node[] {
    const { view } = this;
    const nodes = new Set<Node>(first ? [first] : []);
    if (typeof request.strategy === "object" && first?.id === request.strategy.nodeId) return [...nodes];
    for (const nodeId of ask.at.keys()) {
      const node = view.node(nodeId);
      if (node && couldEverFit(node, request.shape, selector)) nodes.add(node);
    }
    let others = 0;
    for (const node of view.pool(request.shape, selector, request.shape.wantsGpu ? "gpu" : "all").around(first)) {
      if (others >= WAITING_NODES_MAX) break;
      if (nodes.has(node) || !fits(node.state.capacity, request.shape.units)) continue;
      nodes.add(node);
      others++;
    }
    return [...nodes];
  }

  /** Whether what waits at the node may stay there. */
  private mayAskAt(node: Node, { shape, strategy }: LeaseRequest): boolean {
    if (typeof strategy === "object" && !strategy.soft && strategy.nodeId !== node.id) return false;
    return shape.selectors.some((_, selector) => couldEverFit(node, shape, selector));
  }

  private ask(ask: Ask, node: Node, count: number): number {
    if (count <= 0) return 0;
    ask.at.set(node.id, (ask.at.get(node.id) ?? 0) + count);
    this.hold(ask, node, count);
    return count;
  }

  private hold(ask: Ask, node: Node, count: number): void {
    const { shape } = ask.request;
    // What waits without room takes none.
    const room = Math.min(count, slots(node.state.free, shape.units));
    if (room <= 0) return;
    ask.withRoom.set(node.id, (ask.withRoom.get(node.id) ?? 0) + room);
    if (shape.isEmpty) return;
    const hold = this.view.hold(node, shape.units, room);
    const holds = ask.holds.get(node.id);
    if (holds) holds.push(hold);
    else ask.holds.set(node.id, [hold]);
  }
}

/** The weight of a node for demands of nothing. */
const CPUS_MAX = 1_000_000;

/** What is granted, on nodes that live; when less is wanted, that of other nodes is given up first. */
function trimmed(view: ClusterView, { granted, wanted, from }: LeaseRequest): Map<NodeId, number> {
  const at = new Map<NodeId, number>();
  let left = wanted;
  const entries = [...granted].sort(([a], [b]) => Number(b === from) - Number(a === from));
  for (const [nodeId, count] of entries) {
    if (view.node(nodeId)?.state.status === "dead") continue;
    const kept = Math.min(count, left);
    if (kept > 0) at.set(nodeId, kept);
    left -= kept;
  }
  return at;
}

/** Whole numbers that add up to `total`, in proportion to the weights; the first get what is left over. */
function shares(total: number, weights: readonly number[]): number[] {
  const all = weights.reduce((a, b) => a + b, 0);
  const counts = weights.map((weight) => Math.floor((total * weight) / all));
  let left = total - counts.reduce((a, b) => a + b, 0);
  for (let index = 0; left > 0; index = (index + 1) % counts.length) {
    counts[index] = (counts[index] ?? 0) + 1;
    left--;
  }
  return counts;
}
