/**
 * Hosts the group engine: what programs ask for comes in, orders to nodes go out, and what must last is written down before the
 * orders that follow from it are given. Whoever has the say over nodes has one: the head of a cluster, and a node by itself.
 */
import { errorFromCode, type MobulaError } from "../base/errors.ts";
import type { JobId, NodeId } from "../base/ids.ts";
import type { ResourceUnits } from "../base/resources.ts";
import type { BundlesAnswer, BundlesOrder, BundleUse } from "../wire/cluster-messages.ts";
import type { BundleChoice } from "../wire/messages.ts";
import { pack, unpack } from "../wire/mod.ts";
import type { GroupRequest } from "../wire/queries.ts";
import { freeOf, slots } from "./amounts.ts";
import { type BundleAt, BundleRooms } from "./bundle-rooms.ts";
import type { ClusterView } from "./cluster-view.ts";
import { GroupEngine } from "./group-engine.ts";
import type { GroupCommand, GroupEvent, GroupId, GroupRecord, GroupSpec } from "./group-protocol.ts";
import { parseSelector } from "./labels.ts";

export interface GroupHostEffects {
  nowMs(): number;
  send(node: NodeId, order: BundlesOrder): void;
  persist(
    changes: readonly { readonly key: string; readonly value: Uint8Array | null }[],
    done: (error: MobulaError | undefined) => void,
  ): void;
  /** Where something may run in a group is another now. */
  changed(): void;
  /** For the log. */
  news(message: string): void;
}

export interface GroupPlace {
  readonly nodeId: NodeId;
  /** So many of the demand fit in the bundles on this node when nothing else runs in them. */
  readonly slots: number;
  /** So many fit there now, beside what is held. */
  readonly room: number;
}

/** What is decided by: where there is room in groups, and what of it is held. */
export type GroupRoom = Pick<GroupHost, "placesFor" | "hold" | "isGood" | "release" | "settle">;

export type GroupPlaces =
  | { readonly kind: "places"; readonly places: readonly GroupPlace[] }
  | { readonly kind: "waits" }
  | { readonly kind: "refused"; readonly code: RefusalCode; readonly message: string };

type RefusalCode = "GROUP_REMOVED" | "INVALID_OPTION" | "INFEASIBLE" | "NAME_TAKEN";

export const GROUP_PREFIX = "group/";
const INFEASIBLE_MS = 10_000;
/** What runs in a group may be heard of before the group, which another process has created. */
const UNKNOWN_MS = 2_000;
/** So many refusals are remembered, for what runs in those groups. */
const REFUSED_MAX = 10_000;
const ATTEMPTS_PER_EPOCH = 2 ** 30;

interface Saved {
  readonly request: GroupRequest;
  readonly createdMs: number;
  readonly isRemoving: boolean;
  readonly reservations: GroupRecord["reservations"];
}

export class GroupHost {
  private readonly effects: GroupHostEffects;
  private readonly engine: GroupEngine;
  private readonly rooms = new BundleRooms();
  private readonly requests = new Map<GroupId, GroupRequest>();
  private readonly refused = new Map<GroupId, { readonly code: RefusalCode; readonly message: string }>();
  private readonly infeasible = new Map<GroupId, string>();
  private readonly unknown = new Map<GroupId, number>();
  private readonly removals = new Map<GroupId, (() => void)[]>();
  private readonly events: GroupEvent[] = [];
  private readonly commands: GroupCommand[] = [];
  private isStepping = false;
  private isSaving = false;

  constructor(view: ClusterView, epoch: number, effects: GroupHostEffects) {
    this.effects = effects;
    this.engine = new GroupEngine(view, {
      infeasibleTimeoutMs: INFEASIBLE_MS,
      firstAttempt: epoch * ATTEMPTS_PER_EPOCH + 1,
    });
  }

  /** What was written down, before nodes are heard. */
  restore(entries: readonly { readonly value: Uint8Array }[]): void {
    for (const { value } of entries) {
      const { request, ...rest } = unpack(value) as Saved;
      this.requests.set(request.groupId, request);
      this.feed({ kind: "group-restored", record: { spec: specOf(request), ...rest } });
    }
  }

  // ── programs ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** @throws MobulaError when its name is taken, or it is none. */
  create(request: GroupRequest): void {
    const { groupId } = request;
    if (!this.requests.has(groupId)) {
      const spec = specOf(request);
      this.requests.set(groupId, request);
      this.unknown.delete(groupId);
      this.feed({ kind: "group-created", spec });
    }
    const refused = this.refused.get(groupId);
    if (refused) throw errorFromCode(refused.code, "invalid", refused.message);
  }

  /** `done` is called when what it had is free. */
  remove(groupId: GroupId, done: () => void): void {
    const waiting = this.removals.get(groupId);
    if (waiting) waiting.push(done);
    else this.removals.set(groupId, [done]);
    this.feed({ kind: "group-removed", groupId });
  }

  find(namespace: string, name: string): GroupRequest | undefined {
    const groupId = this.engine.find(namespace, name);
    return groupId === undefined ? undefined : this.requests.get(groupId);
  }

  jobEnded(jobId: JobId): void {
    this.feed({ kind: "job-ended", jobId });
  }

  /** Where a demand may run that is to run in the group. */
  placesFor(groupId: GroupId, index: number | undefined, units: ResourceUnits): GroupPlaces {
    const refused = this.refused.get(groupId);
    if (refused) return { kind: "refused", ...refused };
    if (!this.requests.has(groupId)) {
      const nowMs = this.effects.nowMs();
      const sinceMs = this.unknown.get(groupId) ?? nowMs;
      this.unknown.set(groupId, sinceMs);
      if (nowMs - sinceMs < UNKNOWN_MS) return { kind: "waits" };
    }
    const answer = this.engine.bundlesFor(groupId, index, units);
    if (answer.kind === "refused") return answer;
    const message = this.infeasible.get(groupId);
    if (answer.kind === "waits") {
      return message === undefined ? answer : { kind: "refused", code: "INFEASIBLE", message };
    }
    const places = new Map<NodeId, { slots: number; room: number }>();
    for (const bundle of answer.bundles) {
      const place = places.get(bundle.nodeId) ?? { slots: 0, room: 0 };
      place.slots += slots(freeOf(bundle.units), units);
      place.room += slots(this.rooms.freeOf(bundle), units);
      places.set(bundle.nodeId, place);
    }
    return { kind: "places", places: [...places].map(([nodeId, place]) => ({ nodeId, ...place })) };
  }

  /** So many demands are asked for in the group at the node: nobody else is to count on the room. */
  hold(at: BundleChoice & { readonly nodeId: NodeId }, units: ResourceUnits, count: number): number {
    const answer = this.engine.bundlesFor(at.groupId, at.index, units);
    const bundles: readonly BundleAt[] = answer.kind === "bundles" ? answer.bundles : [];
    return this.rooms.hold(
      bundles.filter(({ nodeId }) => nodeId === at.nodeId),
      units,
      count,
    );
  }

  /** There is still room for what is held, by what nodes have said since. */
  isGood(hold: number): boolean {
    return this.rooms.isGood(hold);
  }

  /** They are not asked for any more. */
  release(hold: number): void {
    this.rooms.release(hold);
  }

  /** They are granted, and the node will say so. */
  settle(hold: number): void {
    this.rooms.settle(hold);
  }

  explain(groupId: GroupId): readonly string[] {
    return this.engine.explain(groupId, this.effects.nowMs())?.sentences ?? [];
  }

  // ── nodes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  hear(nodeId: NodeId, { t: kind, ...answer }: BundlesAnswer): void {
    this.feed({ kind, nodeId, ...answer } as GroupEvent); // They differ in the name of the kind only.
  }

  /** What is free in bundles at the node: in all of them, or in those in which that has changed. */
  nodeReported(nodeId: NodeId, uses: readonly BundleUse[], isAll: boolean): void {
    const known = uses.flatMap(({ groupId, attempt, free }) =>
      free.flatMap(([index, units, gpus]) => {
        const bundle = this.engine.bundleAt(groupId, index, attempt, nodeId);
        return bundle ? [{ bundle, free: freeOf(units, gpus) }] : [];
      }),
    );
    this.rooms.report(nodeId, known, isAll);
    if (known.length > 0 || isAll) this.effects.changed();
  }

  nodeJoined(nodeId: NodeId): void {
    this.feed({ kind: "node-joined", nodeId });
  }

  nodeDied(nodeId: NodeId): void {
    this.rooms.nodeGone(nodeId);
    this.feed({ kind: "node-died", nodeId });
  }

  nodeDraining(nodeId: NodeId): void {
    this.feed({ kind: "node-draining", nodeId });
  }

  /** Nothing is known of any group, and nothing waits for one. */
  get isIdle(): boolean {
    return this.requests.size === 0 && this.unknown.size === 0;
  }

  /** Call it several times a second. */
  tick(): void {
    const nowMs = this.effects.nowMs();
    for (const [groupId, sinceMs] of this.unknown) {
      if (nowMs - sinceMs < UNKNOWN_MS) continue;
      this.unknown.delete(groupId);
      const message = `placement group ${groupId} was removed`;
      remember(this.refused, groupId, { code: "GROUP_REMOVED", message });
      this.effects.changed();
    }
    if (this.engine.nextTickMs(nowMs) !== undefined) this.feed({ kind: "tick" });
  }

  // ── the engine ─────────────────────────────────────────────────────────────────────────────────────────────────────

  private feed(event: GroupEvent): void {
    this.events.push(event);
    if (this.isStepping) return;
    this.isStepping = true;
    try {
      for (let next = this.events.shift(); next; next = this.events.shift()) {
        this.commands.push(...this.engine.step(next, this.effects.nowMs()));
        this.obeyAll();
      }
    } finally {
      this.isStepping = false;
    }
  }

  private obeyAll(): void {
    while (!this.isSaving) {
      const command = this.commands.shift();
      if (!command) return;
      this.obey(command);
    }
  }

  private save(key: GroupId, value: Uint8Array | null): void {
    this.isSaving = true;
    this.effects.persist([{ key: GROUP_PREFIX + key, value }], (error) => {
      // Without it the next leader would know less than nodes were told; what they hold for it they are told to return.
      if (error) this.effects.news(`placement group ${key} could not be written down: ${error.message}`);
      this.isSaving = false;
      this.obeyAll();
    });
  }

  private obey(command: GroupCommand): void {
    const { effects } = this;
    switch (command.kind) {
      case "save-group": {
        const { spec, ...rest } = command.record;
        const request = this.requests.get(spec.groupId);
        if (request) this.save(spec.groupId, pack({ request, ...rest } satisfies Saved));
        return;
      }
      case "forget-group":
        this.save(command.groupId, null);
        return;
      case "group-ready":
        this.infeasible.delete(command.groupId);
        effects.changed();
        return;
      case "group-lost-bundles":
        effects.changed();
        return;
      case "group-infeasible":
        this.infeasible.set(command.groupId, command.message);
        effects.changed();
        return;
      case "group-refused": {
        const { groupId, code, message } = command;
        this.requests.delete(groupId);
        remember(this.refused, groupId, { code, message });
        effects.changed();
        return;
      }
      case "group-removed": {
        const { groupId } = command;
        this.requests.delete(groupId);
        this.infeasible.delete(groupId);
        this.rooms.forget(groupId);
        remember(this.refused, groupId, {
          code: "GROUP_REMOVED",
          message: `placement group ${groupId} was removed`,
        });
        for (const done of this.removals.get(groupId) ?? []) done();
        this.removals.delete(groupId);
        effects.changed();
        return;
      }
      default: {
        const { nodeId, kind: t, ...order } = command;
        effects.send(nodeId, { t, ...order } as BundlesOrder); // They differ in the name of the kind only.
        if (t === "return-bundles") effects.changed();
      }
    }
  }
}

function remember<V>(map: Map<GroupId, V>, groupId: GroupId, value: V): void {
  map.set(groupId, value);
  const [oldest] = map.keys();
  if (map.size > REFUSED_MAX && oldest !== undefined) map.delete(oldest);
}

function specOf({ bundles, selectors, name, topology, ...rest }: GroupRequest): GroupSpec {
  const parsed = selectors.map(parseSelector);
  return {
    ...rest,
    priority: 0,
    bundles: bundles.map((units) => ({ units, selectors: parsed })),
    ...(name !== undefined && { name }),
    ...(topology !== undefined && { topology }),
  };
}
