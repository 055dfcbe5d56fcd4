/**
 * Which nodes there are, and which of them live. Pure: the time comes with each event, in milliseconds of a clock that
 * never goes back.
 *
 * 1. A node joins: it is written down, then welcomed, and the others are told.
 * 2. It reports each second. Without a word for SUSPECT_MS it is suspected, for DEAD_MS it is dead: that is written down
 *    first, then said to all. Dead is final; a node that was given up is refused when it comes back, so that work which
 *    was started elsewhere is not done twice.
 * 3. A connection that breaks says nothing: the node may be on its way back.
 *
 * Whoever was not listening knows nothing of the others' silence. So a control that begins to lead, or that finds that
 * it was stopped itself, gives every node the whole time again.
 */
import { fromUnits, type MobulaError, type NodeId, nodeTag } from "../base/mod.ts";
import type {
  NodeDescription,
  NodeDrain,
  NodeFound,
  NodeJoin,
  NodeRefused,
  NodeStanding,
  NodeState,
  NodesChanged,
  NodeUse,
  NodeWelcome,
} from "../wire/cluster-messages.ts";
import { pack, unpack } from "../wire/mod.ts";
import type { NodeInfo } from "../wire/queries.ts";
import type { StateChange } from "./kv.ts";

export const NODE_PREFIX = "node/";
const SUSPECT_MS = 2_000;
const DEAD_MS = 4_000;
/** A gap between two ticks that is longer than this was our own: the clock of all nodes begins anew. */
const OWN_PAUSE_MS = 1_000;
/** Dead nodes are listed, and refused by name, for so long; and as long as an heir has something of them. */
const REMEMBERED_MS = 10 * 60_000;

export interface Member {
  readonly description: NodeDescription;
  readonly state: NodeState;
  readonly use: NodeUse;
  /** Nothing was heard of it for a while. */
  readonly isSuspected: boolean;
  /** Why it is dead, for people. */
  readonly ending: string | undefined;
  /** Who has the say over the objects of its processes when it is dead. */
  readonly heir: NodeId | undefined;
  /** How long it has until its end, while it is draining. */
  readonly drainMs: number;
}

export interface MembersEffects {
  /** To a node that is connected; nothing happens when it is not. */
  send(to: NodeId, message: NodeWelcome | NodesChanged | NodeDrain | NodeFound): void;
  /** Answers a {@link NodeJoin}, and ends the connection it came on. */
  refuse(to: NodeId, message: NodeRefused): void;
  persist(changes: readonly StateChange[], done: (error: MobulaError | undefined) => void): void;
  joined(member: Member): void;
  /** Its resources, its state or what is in use have changed. */
  changed(member: Member): void;
  /** It is dead, and nothing that it says counts any more. */
  died(member: Member): void;
  /** Nothing is remembered of a dead one any more. */
  forgotten?(nodeId: NodeId): void;
}

/** As `nodes()` lists it. */
export function nodeInfo(description: NodeDescription, state: NodeState, use: NodeUse): NodeInfo {
  const { nodeId, name, address, total, labels, objectStoreBytes: capacityBytes, wireVersion = 1 } = description;
  return {
    nodeId,
    name,
    state,
    address,
    resources: fromUnits(total),
    available: state === "dead" ? {} : fromUnits(use.available),
    labels,
    objectStore: { usedBytes: use.storeUsedBytes, spilledBytes: use.storeSpilledBytes, capacityBytes },
    wireVersion,
    events: use.events,
  };
}

interface MutableMember {
  description: NodeDescription;
  state: NodeState;
  use: NodeUse;
  isSuspected: boolean;
  ending: string | undefined;
  /** How long it has for that, while it is draining. */
  drainMs: number;
  /** Joined and not written down yet: nobody else has heard of it. */
  isNew: boolean;
  heardAtMs: number;
  diedAtMs: number;
  heir: NodeId | undefined;
}

export interface Members {
  join(message: NodeJoin, nowMs: number): void;
  /** @param use undefined: what it said last. */
  report(nodeId: NodeId, use: NodeUse | undefined, nowMs: number): void;
  /** It has ended in order. */
  left(nodeId: NodeId, nowMs: number): void;
  /** It takes nothing new, and has so long to end what it does. Said again, when it joins again. */
  drain(nodeId: NodeId, deadlineMs: number): void;
  /** A node asks which one has this tag. */
  find(asking: NodeId, tag: string): void;
  tick(nowMs: number): void;
  /** What a state store remembers, before the first node joins. */
  restore(entries: readonly { readonly key: string; readonly value: Uint8Array }[], nowMs: number): void;
  get(nodeId: NodeId): Member | undefined;
  all(): Iterable<Member>;
}

const NO_USE: NodeUse = {
  available: {},
  storeUsedBytes: 0,
  storeSpilledBytes: 0,
  events: { keptBytes: 0, droppedBatches: 0 },
};

interface SavedNode {
  readonly description: NodeDescription;
  readonly state: NodeState;
  readonly ending: string | null;
  /** Absent before version 0.2, and while it is not draining. */
  readonly drainMs?: number;
  /** Of a dead one. */
  readonly heir?: NodeId;
}

export interface MembersOptions {
  readonly epoch: number;
  /** Each node has an heir, as soon as another can be one. */
  readonly hasHeirs?: boolean;
}

export function createMembers(effects: MembersEffects, { epoch, hasHeirs = false }: MembersOptions): Members {
  const members = new Map<NodeId, MutableMember>();
  /** Of those that are not known to be dead, or have an heir: what is said to these goes there. */
  const byTag = new Map<string, NodeId>();
  /** Dead ones of which that is not written down yet: for everybody else they live. */
  const dying = new Set<MutableMember>();
  /** Of these, those that could not be written: a full disk. It is tried again at each tick. */
  const unwritten = new Set<MutableMember>();
  let tickedAtMs: number | undefined;

  const standing = (member: MutableMember): NodeStanding => {
    const { nodeId, name, address } = member.description;
    const { heir } = member;
    return { nodeId, name, address, state: dying.has(member) ? "alive" : member.state, ...(heir && { heir }) };
  };

  const saved = (member: MutableMember): StateChange => ({
    key: NODE_PREFIX + member.description.nodeId,
    value: pack({
      description: member.description,
      state: member.state,
      ending: member.ending ?? null,
      ...(member.state === "draining" && { drainMs: member.drainMs }),
      ...(member.state === "dead" && member.heir && { heir: member.heir }),
    } satisfies SavedNode),
  });

  function tell(about: MutableMember, isFor: (other: MutableMember) => boolean): void {
    const message: NodesChanged = { t: "nodes-changed", nodes: [standing(about)] };
    for (const [nodeId, other] of members) {
      if (other.state !== "dead" && !other.isNew && isFor(other)) effects.send(nodeId, message);
    }
  }
  const tellOthers = (member: MutableMember): void => tell(member, (other) => other !== member);

  // ── heirs ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  const canInherit = (id: NodeId | undefined): boolean => {
    const member = id === undefined ? undefined : members.get(id);
    return member?.state === "alive" && !member.isNew && member.description.address !== null;
  };

  /** The next one in the order of ids, so that many nodes have many heirs. */
  function heirFor({ description: { nodeId } }: MutableMember): NodeId | undefined {
    const able = [...members.keys()].filter((id) => id !== nodeId && canInherit(id)).sort();
    return able.find((id) => id > nodeId) ?? able[0];
  }

  /** Gives an heir to those whose own is not one any more; all hear of it, for it counts when they die. */
  function appointHeirs(): void {
    if (!hasHeirs) return;
    for (const member of members.values()) {
      if (member.state === "dead" || member.isNew || canInherit(member.heir)) continue;
      const heir = heirFor(member);
      if (heir === member.heir) continue;
      member.heir = heir;
      tell(member, () => true);
    }
  }

  /** What it had inherited goes on to its own heir. */
  function passOn(dead: MutableMember): void {
    for (const member of members.values()) {
      if (member.state !== "dead" || member.heir !== dead.description.nodeId) continue;
      member.heir = dead.heir;
      effects.persist([saved(member)], () => {});
    }
  }

  /** Some heir still has objects of it. */
  const isInherited = ({ description: { nodeId } }: MutableMember): boolean => {
    const tag = nodeTag(nodeId);
    for (const { state, use } of members.values()) if (state !== "dead" && use.inherited?.includes(tag)) return true;
    return false;
  };

  function welcome(nodeId: NodeId): void {
    const all = [...members.values()].filter(({ isNew }) => !isNew).map(standing);
    const nodes = all.filter(({ state }) => state !== "dead");
    const dead = all.filter(({ state, heir }) => state === "dead" && heir !== undefined);
    effects.send(nodeId, { t: "node-welcome", epoch, nodes, ...(dead.length > 0 && { dead }) });
    const member = members.get(nodeId);
    if (member?.state === "draining") effects.send(nodeId, { t: "node-drain", deadlineMs: member.drainMs });
  }

  function refuse(nodeId: NodeId, code: string, message: string): void {
    effects.refuse(nodeId, { t: "node-refused", code, kind: "invalid", message });
  }

  function die(member: MutableMember, ending: string, nowMs: number): void {
    if (member.state === "dead") return;
    member.state = "dead";
    member.ending = ending;
    member.diedAtMs = nowMs;
    dying.add(member);
    // Of two that died together another may have something, that was to be the heir before: it hands that on.
    if (member.heir !== undefined && !canInherit(member.heir)) member.heir = heirFor(member);
    writeDeath(member);
  }

  /** Until it is written nobody may act on it: the next control would know nothing of it, and let the node in again. */
  function writeDeath(member: MutableMember): void {
    unwritten.delete(member);
    effects.persist([saved(member)], (error) => {
      if (error) {
        unwritten.add(member);
        return;
      }
      dying.delete(member);
      if (member.heir === undefined) byTag.delete(nodeTag(member.description.nodeId));
      tellOthers(member);
      effects.died(member);
      passOn(member);
      appointHeirs();
    });
  }

  function heard(member: MutableMember, use: NodeUse, nowMs: number): void {
    member.heardAtMs = nowMs;
    member.isSuspected = false;
    member.use = use;
    if (!member.isNew) effects.changed(member);
  }

  function joinAgain(member: MutableMember, message: NodeJoin, nowMs: number): void {
    const { nodeId, name } = message.node;
    if (member.state === "dead") {
      refuse(nodeId, "NODE_DEAD", `node ${name} was given up (${member.ending}): it must join under a new id`);
      return;
    }
    member.description = message.node;
    heard(member, message.use, nowMs);
    if (member.isNew) return;
    effects.persist([saved(member)], () => {});
    welcome(nodeId);
    tellOthers(member);
  }

  return {
    join(message, nowMs) {
      const { node, use, memberSince } = message;
      // The first look at the time may be the one after a pause.
      tickedAtMs ??= nowMs;
      const { nodeId, name } = node;
      const known = members.get(nodeId);
      if (known) {
        joinAgain(known, message, nowMs);
        return;
      }
      if (memberSince !== undefined) {
        refuse(nodeId, "NODE_DEAD", `nothing is known of node ${name} here: it must join under a new id`);
        return;
      }
      const holder = byTag.get(nodeTag(nodeId));
      if (holder !== undefined) {
        refuse(nodeId, "NODE_TAG_TAKEN", `the id of node ${name} begins like that of ${holder}: it must take another`);
        return;
      }
      const member: MutableMember = {
        description: node,
        state: "alive",
        use,
        isSuspected: false,
        ending: undefined,
        drainMs: 0,
        isNew: true,
        heardAtMs: nowMs,
        diedAtMs: 0,
        heir: undefined,
      };
      members.set(nodeId, member);
      byTag.set(nodeTag(nodeId), nodeId);
      effects.persist([saved(member)], (error) => {
        if (member.state === "dead") return;
        if (error) {
          members.delete(nodeId);
          byTag.delete(nodeTag(nodeId));
          effects.refuse(nodeId, { t: "node-refused", code: error.code, kind: error.kind, message: error.message });
          return;
        }
        member.isNew = false;
        welcome(nodeId);
        tellOthers(member);
        effects.joined(member);
        appointHeirs();
      });
    },

    report(nodeId, use, nowMs) {
      const member = members.get(nodeId);
      if (member && member.state !== "dead") heard(member, use ?? member.use, nowMs);
    },

    left(nodeId, nowMs) {
      const member = members.get(nodeId);
      if (member) die(member, member.state === "draining" ? "it was drained" : "it has left", nowMs);
    },

    drain(nodeId, deadlineMs) {
      const member = members.get(nodeId);
      if (!member || member.isNew || member.state === "dead") return;
      member.state = "draining";
      member.drainMs = deadlineMs;
      effects.persist([saved(member)], () => {});
      effects.send(nodeId, { t: "node-drain", deadlineMs });
      tellOthers(member);
      effects.changed(member);
      appointHeirs();
    },

    find(asking, tag) {
      const nodeId = byTag.get(tag);
      const member = nodeId === undefined ? undefined : members.get(nodeId);
      effects.send(asking, { t: "node-found", tag, node: member && !member.isNew ? standing(member) : null });
    },

    tick(nowMs) {
      const wasPaused = tickedAtMs !== undefined && nowMs - tickedAtMs > OWN_PAUSE_MS;
      tickedAtMs = nowMs;
      for (const member of [...unwritten]) writeDeath(member);
      const forgotten: StateChange[] = [];
      for (const [nodeId, member] of members) {
        if (member.state === "dead") {
          if (nowMs - member.diedAtMs < REMEMBERED_MS || dying.has(member) || isInherited(member)) continue;
          members.delete(nodeId);
          if (byTag.get(nodeTag(nodeId)) === nodeId) byTag.delete(nodeTag(nodeId));
          effects.forgotten?.(nodeId);
          forgotten.push({ key: NODE_PREFIX + nodeId, value: null });
          continue;
        }
        if (wasPaused) member.heardAtMs = nowMs;
        const silentMs = nowMs - member.heardAtMs;
        member.isSuspected = silentMs >= SUSPECT_MS;
        if (silentMs >= DEAD_MS) die(member, `nothing was heard of it for ${(silentMs / 1000).toFixed(1)} s`, nowMs);
      }
      if (forgotten.length > 0) effects.persist(forgotten, () => {});
    },

    restore(entries, nowMs) {
      // It may be stopped before it looks at the time for the first time.
      tickedAtMs ??= nowMs;
      for (const { key, value } of entries) {
        if (!key.startsWith(NODE_PREFIX)) continue;
        // Our own bytes, under the schema version that the store has checked.
        const { description, state, ending, drainMs = 0, heir } = unpack(value) as SavedNode;
        members.set(description.nodeId, {
          description,
          state,
          use: NO_USE,
          isSuspected: false,
          ending: ending ?? undefined,
          drainMs,
          isNew: false,
          heardAtMs: nowMs,
          diedAtMs: nowMs,
          heir,
        });
        if (state !== "dead" || heir !== undefined) byTag.set(nodeTag(description.nodeId), description.nodeId);
      }
      appointHeirs();
    },

    get: (nodeId) => members.get(nodeId),
    *all() {
      for (const member of members.values()) if (!member.isNew) yield member;
    },
  };
}
