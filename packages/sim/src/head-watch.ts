/** What must not happen to nodes, as one head that leads sees it. */
import { type ActorId, type NodeId, nodeTag } from "../../core/src/base/mod.ts";
import type { Gate } from "../../core/src/head/gate.ts";
import type { HeadRuntime } from "../../core/src/head/runtime.ts";
import type { FromControl, ToControl } from "../../core/src/wire/cluster-messages.ts";
import type { SimHead } from "./head.ts";
import type { SimNode } from "./node.ts";

/** A node is declared dead when nothing was heard of it for so long; less is a false death. */
const SILENCE_MS = 3_900;
/** A shorter one it need not notice. */
const OWN_PAUSE_MS = 1_300;
/** A node that reaches the head that leads, and is heard by it, is heard within so long. */
const REACHED_MS = 4_000;

export class HeadWatch {
  private readonly head: SimHead;
  private readonly runtime: HeadRuntime;
  private readonly gate: Gate;
  /** Groups that nodes have asked about, by who asked and the number of the question. */
  private readonly askedGroups = new Map<string, string>();
  private readonly heardAtMs = new Map<NodeId, number>();
  private readonly beganAtMs: number;
  private resumedAtMs = Number.NEGATIVE_INFINITY;

  constructor(head: SimHead, runtime: HeadRuntime, gate: Gate) {
    this.head = head;
    this.runtime = runtime;
    this.gate = gate;
    const { world, heads } = head;
    this.beganAtMs = world.clock.nowMs;
    const { members, actors } = runtime;
    // The head is told by none of these what comes of them, so they are looked at before and after.
    const tick = members.tick.bind(members);
    members.tick = (nowMs) => {
      const before = [...members.all()].filter(({ state }) => state !== "dead");
      tick(nowMs);
      for (const { description, state, ending } of before) {
        if (state === "dead" && ending !== "it has left") this.givesUp(description.nodeId);
      }
    };
    const nodeDied = actors.nodeDied.bind(actors);
    actors.nodeDied = (nodeId, name, heir) => {
      heads.declaredDead.add(nodeId);
      world.lostTags.add(nodeTag(nodeId));
      nodeDied(nodeId, name, heir);
    };
    const nodeJoined = actors.nodeJoined.bind(actors);
    actors.nodeJoined = (nodeId) => {
      this.joined(nodeId);
      nodeJoined(nodeId);
    };
  }

  resumed(stoppedAtMs: number): void {
    const { nowMs } = this.head.world.clock;
    if (nowMs - Math.max(stoppedAtMs, this.beganAtMs) > OWN_PAUSE_MS) this.resumedAtMs = nowMs;
  }

  hears({ nodeId }: SimNode, message: ToControl): void {
    const { world } = this.head;
    if (message.t === "node-report" || message.t === "node-join") this.heardAtMs.set(nodeId, world.clock.nowMs);
    if (message.t === "query" && (message.method === "create-group" || message.method === "await-group")) {
      const { groupId } = message.params as { readonly groupId: string };
      this.askedGroups.set(`${nodeId} ${message.id}`, groupId);
    }
    if (message.t !== "relay" || message.message.t !== "actor-create") return;
    if (!world.isBorn(message.message.actorId)) world.born(message.message.actorId as ActorId);
  }

  says(to: NodeId, message: object): void {
    const { head, runtime } = this;
    const { heads, world } = head;
    const said = message as FromControl;
    // What orders nothing may be said while it is suspended.
    if (said.t === "known-heads") return;
    heads.checkAlone(head);
    if (!this.gate.isLeading())
      world.failSoon("one head leads at a time", `${head.place.name} speaks, and does not lead`);
    if (said.t === "answer") {
      const groupId = this.askedGroups.get(`${to} ${said.id}`);
      if (groupId !== undefined && said.result === true) world.groups?.checkReady(groupId, runtime);
    }
    if (said.t === "node-welcome" && heads.declaredDead.has(to))
      world.failSoon("a node that was declared dead is never believed again", to);
    if (said.t !== "node-refused" || said.code !== "NODE_DEAD" || heads.declaredDead.has(to)) return;
    if (runtime.members.get(to)?.state === "dead") return;
    world.failSoon("what was acknowledged is there after a restart", `${to}, which had been welcomed, is refused`);
  }

  /** Of those that control is about to give up nothing may have come lately. */
  private givesUp(nodeId: NodeId): void {
    const { world, place } = this.head;
    const { nowMs } = world.clock;
    const heardMs = this.heardAtMs.get(nodeId) ?? Number.NEGATIVE_INFINITY;
    // Who was stopped itself could not hear.
    if (nowMs - Math.max(heardMs, this.resumedAtMs) < SILENCE_MS) {
      const detail = `${nodeId}, ${(nowMs - heardMs).toFixed()} ms after it was heard`;
      world.failSoon("a node of which something was heard is not declared dead", detail);
    }
    const node = world.nodes.get(nodeId);
    if (!node || node.isOver) return;
    const sinceMs = Math.max(this.beganAtMs, node.reachableSinceMs(place.machine), this.resumedAtMs);
    if (nowMs - sinceMs > REACHED_MS)
      world.failSoon("a node that reaches the head that leads is not declared dead", `${nodeId} at ${node.place.name}`);
  }

  private joined(nodeId: NodeId): void {
    const { world } = this.head;
    for (const { description, state } of this.runtime.members.all()) {
      const { nodeId: other } = description;
      if (state !== "dead" && other !== nodeId && nodeTag(other) === nodeTag(nodeId))
        world.failSoon("no two living nodes have one tag", `${nodeId} and ${other}`);
    }
  }
}
