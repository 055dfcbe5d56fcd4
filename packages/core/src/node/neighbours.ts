/**
 * The other nodes of the cluster, by the tag that their processes have. Pure. Only control's word says whether a node lives:
 *
 * 1. News of a node that joins may come later than what that node says itself, or than refs of its processes. So what comes
 *    from a node of which control has said nothing, and what is for it, waits, and control is asked.
 * 2. One that control does not know was given up, perhaps before this node joined: it counts as dead.
 * 3. A welcome names all that live. Deaths may have been told while control could not be heard: who is not named is dead.
 * 4. What is said to a home that is dead and has an heir is for the heir, which may hear of the death later than others.
 */
import { type NodeId, nodeTag } from "../base/ids.ts";
import type { Home } from "../control/mod.ts";
import type {
  AboutCode,
  AboutCopies,
  BetweenHomes,
  BetweenNodes,
  ForHeir,
  NodeStanding,
} from "../wire/cluster-messages.ts";

/** What is said to a home that may be unknown here. */
type ToHome = BetweenHomes | AboutCopies | AboutCode | ForHeir;

export interface NeighboursEffects {
  send(to: NodeId, message: ToHome): void;
  hear(from: NodeId, message: BetweenNodes): void;
  /** Control is asked which node has this tag: {@link Neighbours.found}, unless a welcome comes first. */
  find(tag: Home): void;
  /** With the news that control has given, before anything that waited for it. */
  changed(node: NodeStanding): void;
  /**
   * It is dead, or control knows none of this tag; `node` undefined when this node never knew it either.
   *
   * @param homes whose objects had been its own or inherited: `resolve` says whose they are now.
   */
  died(tag: Home, node: NodeStanding | undefined, homes: readonly Home[]): void;
  /** Control has named another heir for this node. */
  heirNamed?(heir: Home | undefined): void;
}

interface Unknown {
  readonly heard: { readonly from: NodeId; readonly message: BetweenNodes }[];
  readonly said: ToHome[];
}

/** Dead ones that are remembered, so that control need not be asked again. */
const DEAD_MAX = 10_000;

export class Neighbours {
  private readonly here: Home;
  private readonly effects: NeighboursEffects;
  private readonly living = new Map<Home, NodeStanding>();
  private readonly unknown = new Map<Home, Unknown>();
  private readonly dead = new Set<Home>();
  /** Of dead ones, who has the say over their objects now. */
  private readonly heirs = new Map<Home, Home>();
  private heir: Home | undefined;

  constructor(here: NodeId, effects: NeighboursEffects) {
    this.here = nodeTag(here);
    this.effects = effects;
  }

  get size(): number {
    return this.living.size;
  }

  get(tag: Home): NodeStanding | undefined {
    return this.living.get(tag);
  }

  all(): Iterable<readonly [Home, NodeStanding]> {
    return this.living;
  }

  isDead(tag: Home): boolean {
    return this.dead.has(tag);
  }

  /** The home itself, or who has inherited it. */
  resolve(home: Home): Home {
    return this.heirs.size === 0 ? home : (this.heirs.get(home) ?? home);
  }

  // ── what control says ──────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * @param nodes all that are not dead, and this one.
   * @param dead those that have an heir.
   */
  welcomed(nodes: readonly NodeStanding[], dead: readonly NodeStanding[] = []): void {
    const named = new Set(nodes.map(({ nodeId }) => nodeTag(nodeId)));
    const ended = new Map(dead.map((node) => [nodeTag(node.nodeId), node]));
    for (const [tag, { heir: _heir, ...node }] of [...this.living])
      if (!named.has(tag)) this.end(tag, ended.get(tag) ?? { ...node, state: "dead" });
    for (const [tag, node] of ended) if (!named.has(tag)) this.endLate(tag, node);
    // One that has spoken may have joined since control wrote this; and the question for it may have been lost.
    for (const tag of this.unknown.keys()) if (!named.has(tag)) this.effects.find(tag);
    this.heardOf(nodes);
  }

  heardOf(nodes: readonly NodeStanding[]): void {
    for (const node of nodes) {
      const tag = nodeTag(node.nodeId);
      if (tag === this.here) {
        const heir = tagOf(node.heir);
        if (heir !== this.heir) this.effects.heirNamed?.(heir);
        this.heir = heir;
        continue;
      }
      if (node.state === "dead") {
        // Not that of another one, which has the tag by now.
        if ((this.living.get(tag)?.nodeId ?? node.nodeId) === node.nodeId) this.end(tag, node);
        continue;
      }
      this.living.set(tag, node);
      this.dead.delete(tag);
      // Of one that had the tag long ago.
      this.heirs.delete(tag);
      this.effects.changed(node);
      this.settle(tag, node);
    }
  }

  found(tag: Home, node: NodeStanding | null): void {
    if (node) this.heardOf([node]);
    else if (this.unknown.has(tag)) this.end(tag, undefined);
  }

  // ── what nodes say ─────────────────────────────────────────────────────────────────────────────────────────────────

  fromNode(from: NodeId, message: BetweenNodes): void {
    const tag = nodeTag(from);
    const node = this.living.get(tag);
    // Not from one that had the tag before, which is dead.
    if (node) {
      if (node.nodeId === from) this.effects.hear(from, message);
    } else if (!this.dead.has(tag)) this.waiting(tag).heard.push({ from, message });
  }

  toHome(home: Home, said: ToHome): void {
    // What a machine had on its disk is gone with it.
    const tag = isAboutCode(said) ? home : this.resolve(home);
    const isFor = tag === home || said.t === "for-heir" || isAboutCode(said);
    const message: ToHome = isFor ? said : { t: "for-heir", of: home, message: said };
    const node = this.living.get(tag);
    if (node) this.effects.send(node.nodeId, message);
    else if (!this.dead.has(tag)) this.waiting(tag).said.push(message);
  }

  private waiting(tag: Home): Unknown {
    let unknown = this.unknown.get(tag);
    if (!unknown) {
      unknown = { heard: [], said: [] };
      this.unknown.set(tag, unknown);
      this.effects.find(tag);
    }
    return unknown;
  }

  private settle(tag: Home, node: NodeStanding): void {
    const unknown = this.unknown.get(tag);
    if (!unknown) return;
    this.unknown.delete(tag);
    for (const message of unknown.said) this.effects.send(node.nodeId, message);
    for (const { from, message } of unknown.heard) if (from === node.nodeId) this.effects.hear(from, message);
  }

  /** It may have joined and died while control could not be heard. Its heir waits for the word of this node as well. */
  private endLate(tag: Home, node: NodeStanding): void {
    if (this.dead.has(tag) && this.heirs.get(tag) === tagOf(node.heir)) return;
    if (this.unknown.has(tag)) this.heardOf([{ ...node, state: "alive" }]);
    this.end(tag, node);
  }

  private inherit(tag: Home, to: Home | undefined): readonly Home[] {
    const homes = [tag, ...[...this.heirs].flatMap(([home, had]) => (had === tag ? [home] : []))];
    for (const home of homes) {
      if (to === undefined || this.dead.has(to)) this.heirs.delete(home);
      else this.heirs.set(home, to);
    }
    return homes;
  }

  private end(tag: Home, node: NodeStanding | undefined): void {
    const homes = this.inherit(tag, tagOf(node?.heir));
    this.living.delete(tag);
    this.unknown.delete(tag);
    this.dead.add(tag);
    if (this.dead.size > DEAD_MAX)
      for (const oldest of [...this.dead].slice(0, DEAD_MAX / 10)) this.dead.delete(oldest);
    this.effects.died(tag, node, homes);
  }
}

const tagOf = (node: NodeId | undefined): Home | undefined => node && nodeTag(node);
const isAboutCode = (message: ToHome): message is AboutCode => message.t.startsWith("code-");
