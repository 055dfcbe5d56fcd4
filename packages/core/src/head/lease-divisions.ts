/**
 * How many leases of a shape each node is asked for: what nodes' brokers want, divided over the cluster by the placement
 * engine, and divided anew when there is room that was not there.
 */
import { type NodeId, nodeTag } from "../base/ids.ts";
import { LARGE_ARGUMENTS_BYTES } from "../base/limits.ts";
import {
  ClusterView,
  type Explained,
  explainNow,
  explainPacked,
  GroupDivider,
  type GroupRoom,
  LeaseDivider,
  type LocalBytes,
  type PlacementStrategy,
  type Shape,
} from "../placement/mod.ts";
import type { DivideLeases, LeasesDivided } from "../wire/cluster-messages.ts";
import type { Demand, Placement } from "../wire/messages.ts";
import { placementOf } from "./demand.ts";

interface Ask {
  readonly node: NodeId;
  readonly key: string;
  readonly shape: Shape;
  readonly strategy: PlacementStrategy;
  readonly locality: readonly LocalBytes[] | undefined;
  readonly bundle: Placement["bundle"];
  wanted: number;
  granted: ReadonlyMap<NodeId, number>;
  /** What the node was told last. */
  told: string;
}

export class LeaseDivisions {
  readonly view = new ClusterView();
  private readonly divider = new LeaseDivider(this.view);
  private readonly asks = new Map<NodeId, Map<string, Ask>>();
  private readonly send: (to: NodeId, message: LeasesDivided) => void;
  private roomVersion = 0;
  private haveGroupsChanged = false;
  /** Of what runs in placement groups. */
  private groupDivider: GroupDivider | undefined;

  constructor(send: (to: NodeId, message: LeasesDivided) => void) {
    this.send = send;
  }

  /** Who says where there is room in placement groups. */
  set groups(room: GroupRoom) {
    this.groupDivider = new GroupDivider(room);
  }

  divide(node: NodeId, { key, wanted, granted, demand }: DivideLeases): void {
    let asks = this.asks.get(node);
    if (!asks) {
      asks = new Map();
      this.asks.set(node, asks);
    }
    let ask = asks.get(key);
    if (!ask) {
      if (!demand) return;
      ask = {
        node,
        key,
        ...placementOf(demand),
        locality: this.nearTo(demand),
        bundle: demand.placement?.bundle,
        wanted,
        granted: new Map(),
        told: "",
      };
      asks.set(key, ask);
    }
    ask.wanted = wanted;
    ask.granted = new Map(granted);
    ask.told = "";
    this.tell(ask);
  }

  forget(node: NodeId, key: string): void {
    this.divider.forget(nameOf(node, key));
    this.groupDivider?.forget(nameOf(node, key));
    this.asks.get(node)?.delete(key);
  }

  nodeGone(node: NodeId): void {
    for (const key of [...(this.asks.get(node)?.keys() ?? [])]) this.forget(node, key);
    this.asks.delete(node);
  }

  /** Things may run elsewhere in their groups than before. */
  groupsChanged(): void {
    this.haveGroupsChanged = true;
  }

  /** Call it several times a second. */
  tick(): void {
    if (this.haveGroupsChanged) {
      this.haveGroupsChanged = false;
      for (const asks of this.asks.values()) for (const ask of asks.values()) if (ask.bundle) this.tell(ask);
    }
    if (this.view.roomVersion === this.roomVersion) return;
    this.roomVersion = this.view.roomVersion;
    for (const asks of this.asks.values()) {
      for (const ask of asks.values()) if (!ask.bundle && ask.wanted > sum(ask.granted)) this.tell(ask);
    }
    // What was let go of and held again while dividing is no new room.
    this.roomVersion = this.view.roomVersion;
  }

  /**
   * Why leases of a node's demand wait, or why the node `at` was chosen for one: control decided it, or the node by itself, since
   * it was less than half in use.
   */
  explain(node: NodeId, key: string, demand: Demand, at: NodeId | undefined): Explained {
    const { view, divider } = this;
    const name = nameOf(node, key);
    const request = { ...placementOf(demand), from: node, locality: this.nearTo(demand) };
    if (at === undefined) return divider.explain(name) ?? explainNow(view, request);
    const decided = divider.explainAt(name, at);
    if (decided) return decided;
    const there = view.node(at);
    if (there && at === node && !demand.placement && demand.near === undefined)
      return explainPacked(view, request, there);
    const sentence = `Why ${there?.name ?? `node ${at}`} was chosen is not remembered.`;
    return { sentences: [sentence], considered: [] };
  }

  private nearTo({ near }: Demand): readonly LocalBytes[] | undefined {
    if (near === undefined) return undefined;
    for (const { id } of this.view.nodes())
      if (nodeTag(id) === near) return [{ nodeId: id, bytes: LARGE_ARGUMENTS_BYTES }];
    return undefined;
  }

  private tell(ask: Ask): void {
    const { node, key, shape, strategy, locality, wanted, granted, bundle } = ask;
    const inGroup =
      bundle && this.groupDivider?.divide(nameOf(node, key), { bundle, units: shape.units, wanted, granted });
    const division =
      inGroup ??
      this.divider.divide(nameOf(node, key), {
        shape,
        strategy,
        locality,
        from: node,
        wanted,
        granted,
      });
    const message: LeasesDivided =
      division.kind === "divided"
        ? { t: "leases-divided", key, at: [...division.at] }
        : { t: "leases-divided", key, at: [], refused: { code: division.code, message: division.message } };
    const told = JSON.stringify([message.at, message.refused ?? null]);
    if (told === ask.told) return;
    ask.told = told;
    this.send(node, message);
  }
}

const nameOf = (node: NodeId, key: string): string => `${node}/${key}`;

const sum = (numbers: ReadonlyMap<unknown, number>): number => {
  let total = 0;
  for (const number of numbers.values()) total += number;
  return total;
};
