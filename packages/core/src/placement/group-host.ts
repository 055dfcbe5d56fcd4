/**
 * Hosts the group engine: what programs ask for comes in, orders to nodes go out, and what must last is written down before the
 * orders that follow from it are given. Whoever has the say over nodes has one: the head of a cluster, and a node by itself.
 */

import type { ErrorKind, MobulaError } from "../base/errors.ts";
import type { JobId, NodeId } from "../base/ids.ts";
import { addTo, removeFrom } from "../base/index-of-sets.ts";
import { Recent } from "../base/recent.ts";
import type { ResourceUnits } from "../base/resources.ts";
import type { BundlesAnswer, BundlesOrder, BundleUse, GroupsNoted, GroupsPlaced } from "../wire/cluster-messages.ts";
import type { Explanation } from "../wire/explanation.ts";
import type { BundleChoice } from "../wire/messages.ts";
import { pack, unpack } from "../wire/mod.ts";
import type { GroupDetails, GroupRequest } from "../wire/queries.ts";
import { freeOf, slots } from "./amounts.ts";
import { type BundleAt, BundleRooms } from "./bundle-rooms.ts";
import type { ClusterView } from "./cluster-view.ts";
import { GroupEngine, type GroupEngineOptions } from "./group-engine.ts";
import {
  type GroupCommand,
  type GroupEvent,
  type GroupId,
  type GroupRecord,
  type GroupSpec,
  OWN_ATTEMPT,
} from "./group-protocol.ts";
import { GroupRecords } from "./group-records.ts";
import { GroupRemovals } from "./group-removals.ts";
import { parseSelector } from "./labels.ts";

export interface GroupHostEffects {
  nowMs(): number;
  /** Since 1970. */
  wallMs(): number;
  send(node: NodeId, order: BundlesOrder): void;
  /** What of {@link GroupHost.nodePlaced} need not be said again. */
  noted(node: NodeId, noted: GroupsNoted): void;
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
  | ({ readonly kind: "refused" } & Pick<Refusal, "code" | "message">);

/** Why there is no such group, or never will be. */
export interface Refusal {
  readonly code: string;
  readonly errorKind: ErrorKind;
  readonly message: string;
}
/** @param refusal undefined when it is as it was asked. */
type Done = (refusal: Refusal | undefined) => void;

/** It is not control that was asked for it. */
const PLACED = Symbol("placed by a node");
const INFEASIBLE_MS = 10_000;
/** What runs in a group may be heard of before the group, which another process has created. */
const UNKNOWN_MS = 2_000;
/** After so long without a word its node would be dead (control/members.ts). */
const UNKNOWN_JOB_MS = 4_000;
/** So many refusals are remembered, for what runs in those groups. */
const REFUSED_MAX = 10_000;
const ATTEMPTS_PER_EPOCH = 2 ** 30;
/** A group without room is written down after so long, should nobody hear of it before. */
const SAVED_AFTER_MS = 20;
/** What comes late of jobs that have ended ends too; of so many that is known. */
const ENDED_JOBS_MAX = 1_000;
/** Records that could not be written are tried again so often. */
const RETRY_MS = 1_000;

interface Saved {
  readonly request: GroupRequest;
  readonly createdMs: number;
  readonly reservations: GroupRecord["reservations"];
}

export class GroupHost {
  private readonly effects: GroupHostEffects;
  private readonly engine: GroupEngine;
  private readonly rooms = new BundleRooms();
  private readonly requests = new Map<GroupId, GroupRequest>();
  private readonly records: GroupRecords;
  private readonly refused = new Recent<GroupId, Refusal>(REFUSED_MAX);
  /** All of its bundles are reserved, and that is written down. */
  private readonly ready = new Set<GroupId>();
  /** All of them are, as the engine has said last, and that is being written down. */
  private readonly becomingReady = new Map<GroupId, GroupCommand>();
  /** A place of all of it is written down, or was. */
  private readonly placed = new Set<GroupId>();
  private readonly awaited = new Map<GroupId, Set<Done>>();
  private readonly infeasible = new Map<GroupId, string>();
  private readonly unknown = new Map<GroupId, number>();
  /** Those that were given up as unknown: they may be created yet. */
  private readonly tooEarly = new Recent<GroupId, Refusal>(REFUSED_MAX);
  private readonly removals = new Map<GroupId, (() => void)[]>();
  /** The node that has asked for each group, and would ask again; none of what a node has placed. */
  private readonly askers = new Map<GroupId, NodeId | undefined | typeof PLACED>();
  /** Removed by way of another node than that one. */
  private readonly removedElsewhere = new Set<GroupId>();
  private readonly removalRecords: GroupRemovals;
  /** Groups that nodes have placed, and which are not written down. */
  private readonly adopted = new Map<GroupId, NodeId>();
  /** What nodes are told of such groups at the end of this turn. */
  private readonly noted = new Map<NodeId, { readonly placed: GroupId[]; readonly removed: GroupId[] }>();
  private readonly endedJobs = new Recent<JobId, true>(ENDED_JOBS_MAX);
  private areJobsKnown = false;
  private readonly events: GroupEvent[] = [];
  private isStepping = false;
  private retriedAtMs = 0;

  constructor(
    view: ClusterView,
    epoch: number,
    effects: GroupHostEffects,
    options: Omit<GroupEngineOptions, "infeasibleTimeoutMs" | "firstAttempt"> = {},
  ) {
    this.effects = effects;
    this.engine = new GroupEngine(view, {
      infeasibleTimeoutMs: INFEASIBLE_MS,
      firstAttempt: epoch * ATTEMPTS_PER_EPOCH + 1,
      ...options,
    });
    const { nowMs, persist, news } = effects;
    this.removalRecords = new GroupRemovals({ nowMs, persist });
    this.records = new GroupRecords({
      persist,
      news,
      began: (groupId) => {
        const nodeId = this.adopted.get(groupId);
        this.adopted.delete(groupId);
        if (nodeId) this.note(nodeId).placed.push(groupId);
      },
      gaveUp: (groupId, { code, kind, message }) => {
        const why = `placement group ${groupId} cannot be written down: ${message}`;
        this.refuse(groupId, { code, errorKind: kind, message: why });
        this.feed({ kind: "group-removed", groupId });
      },
    });
  }

  /** What was written down, before nodes are heard; returns those on which groups have bundles. */
  restore(
    entries: readonly { readonly value: Uint8Array }[],
    removals: readonly { readonly key: string }[] = [],
  ): ReadonlySet<NodeId> {
    this.removalRecords.restore(removals);
    const nodes = new Set<NodeId>();
    for (const { value } of entries) {
      const { request, ...rest } = unpack(value) as Saved;
      this.requests.set(request.groupId, request);
      if (rest.reservations.length > 0) this.placed.add(request.groupId);
      this.feed({ kind: "group-restored", record: { spec: specOf(request), ...rest } });
      for (const { nodeId } of rest.reservations) nodes.add(nodeId);
    }
    return nodes;
  }

  // ── programs ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Said again it changes nothing; see {@link whenReady} for what came of it. @param by the node that asks, and would again. */
  create(request: GroupRequest, by?: NodeId): void {
    const { groupId } = request;
    if (!this.requests.has(groupId) && this.isRefused(request)) return;
    this.askers.set(groupId, by);
    if (this.requests.has(groupId)) return;
    this.requests.set(groupId, { ...request, createdAtMs: request.createdAtMs ?? this.effects.wallMs() });
    this.unknown.delete(groupId);
    this.records.begin(groupId);
    this.feed({ kind: "group-created", spec: specOf(request) });
    this.removeUnwanted(groupId);
  }

  /** What was removed before it was heard of. */
  private removeUnwanted(groupId: GroupId): void {
    if (this.removals.has(groupId)) this.feed({ kind: "group-removed", groupId });
  }

  private isRefused({ groupId, jobId, lifetime }: GroupRequest): boolean {
    // What runs in it was heard of long before.
    if (this.refused.get(groupId) === this.tooEarly.get(groupId)) this.refused.delete(groupId);
    const isOver = lifetime === "owner" && this.endedJobs.has(jobId);
    if (isOver || this.removalRecords.has(groupId)) this.refuse(groupId, removed(groupId));
    return this.refused.has(groupId);
  }

  /** `done` is called when all of it is reserved, or will never be. Returns what ends the wait. */
  whenReady(groupId: GroupId, done: Done): () => void {
    const refusal = this.refusalOf(groupId);
    if (refusal || this.ready.has(groupId)) {
      done(refusal);
      return () => {};
    }
    if (!this.requests.has(groupId)) this.mention(groupId);
    addTo(this.awaited, groupId, done);
    return () => void removeFrom(this.awaited, groupId, done);
  }

  private refusalOf(groupId: GroupId): Refusal | undefined {
    const message = this.infeasible.get(groupId);
    return (
      this.refused.get(groupId) ??
      (message === undefined ? undefined : { code: "INFEASIBLE", errorKind: "invalid", message })
    );
  }

  private tellWaiting(groupId: GroupId): void {
    const waiting = this.awaited.get(groupId);
    this.awaited.delete(groupId);
    for (const done of waiting ?? []) done(this.refusalOf(groupId));
  }

  /** `done` is called when what it had is free, and no control after this one will make it anew. */
  remove(groupId: GroupId, done: () => void, by?: NodeId): void {
    this.whenRemoved(groupId, done);
    const asker = this.askers.get(groupId);
    // Who asked for it by way of the same node is answered before. What a node has placed it gives back itself.
    const isKnown = this.askers.has(groupId) && (asker === by || asker === PLACED);
    if (!isKnown) this.removedElsewhere.add(groupId);
    this.tooEarly.delete(groupId);
    // A node that has placed it may be about to say so. Were that answered now, the next control would know nothing of it.
    if (!this.requests.has(groupId) && !this.refused.has(groupId)) this.mention(groupId);
    else this.feed({ kind: "group-removed", groupId });
  }

  private whenRemoved(groupId: GroupId, done: () => void): void {
    const waiting = this.removals.get(groupId);
    if (waiting) waiting.push(done);
    else this.removals.set(groupId, [done]);
  }

  find(namespace: string, name: string): GroupRequest | undefined {
    const groupId = this.engine.find(namespace, name);
    return groupId === undefined ? undefined : this.requests.get(groupId);
  }

  jobEnded(jobId: JobId): void {
    this.endedJobs.set(jobId, true);
    this.feed({ kind: "job-ended", jobId });
  }

  /**
   * Of jobs before this control began only these go on: others have ended when none was there to hear of it. What they have left behind
   * may ask for groups still; the driver of a job of which nothing was written down may need a moment to be heard of.
   */
  jobsKnown(jobs: ReadonlySet<JobId>): void {
    const createdUntilMs = this.areJobsKnown ? this.effects.wallMs() - UNKNOWN_JOB_MS : Number.POSITIVE_INFINITY;
    this.areJobsKnown = true;
    const ended = new Set<JobId>();
    for (const { jobId, lifetime, createdAtMs = 0 } of this.requests.values()) {
      if (lifetime === "owner" && !jobs.has(jobId) && createdAtMs <= createdUntilMs) ended.add(jobId);
    }
    for (const jobId of ended) this.jobEnded(jobId);
  }

  /** Where a demand may run that is to run in the group. */
  placesFor(groupId: GroupId, index: number | undefined, units: ResourceUnits): GroupPlaces {
    const refused = this.refused.get(groupId);
    if (refused) return { kind: "refused", code: refused.code, message: refused.message };
    if (!this.requests.has(groupId) && this.mention(groupId) < UNKNOWN_MS) return { kind: "waits" };
    const answer = this.engine.bundlesFor(groupId, index, units);
    if (answer.kind === "refused") return answer;
    const message = this.infeasible.get(groupId);
    if (answer.kind === "waits") {
      return message === undefined ? answer : { kind: "refused", code: "INFEASIBLE", message };
    }
    // A control that knows nothing of the place would have it returned, with what runs there.
    if (!this.placed.has(groupId)) return { kind: "waits" };
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

  /** For how long a group is asked for that nobody has created. */
  private mention(groupId: GroupId): number {
    const nowMs = this.effects.nowMs();
    const sinceMs = this.unknown.get(groupId) ?? nowMs;
    this.unknown.set(groupId, sinceMs);
    return nowMs - sinceMs;
  }

  /** All that are known, with where their bundles are. */
  details(): readonly GroupDetails[] {
    return [...this.requests.values()].map((request) => {
      const { groupId } = request;
      const nodes = this.engine.nodesOf(groupId);
      const isWhole = nodes.length > 0 && nodes.every((node) => node !== null);
      const state = this.removals.has(groupId)
        ? "removed"
        : this.infeasible.has(groupId)
          ? "infeasible"
          : isWhole
            ? "created"
            : this.placed.has(groupId)
              ? "rescheduling"
              : "pending";
      return { request, state, nodes };
    });
  }

  /** Undefined when nothing is known of it. */
  explain(groupId: GroupId): Explanation | undefined {
    const now = this.effects.wallMs();
    const refusal = this.refused.get(groupId);
    const explained = this.engine.explain(groupId, this.effects.nowMs());
    if (!explained) {
      return refusal && { state: "failed", since: now, sentences: [`${refusal.message}.`], waitsFor: [] };
    }
    const { sinceMs, ...rest } = explained;
    return { ...rest, since: Math.round(now - (this.effects.nowMs() - sinceMs)), waitsFor: [] };
  }

  // ── nodes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  hear(nodeId: NodeId, { t: kind, ...answer }: BundlesAnswer): void {
    this.feed({ kind, nodeId, ...answer } as GroupEvent); // They differ in the name of the kind only.
  }

  /** What the node has placed on itself, and removed, since it last said so, or all that it was not told to be written down. */
  nodePlaced(nodeId: NodeId, { placed, removed: gone, over }: GroupsPlaced): void {
    for (const groupId of over) if (!this.requests.has(groupId)) this.refuse(groupId, removed(groupId));
    for (const groupId of gone) {
      this.whenRemoved(groupId, () => this.note(nodeId).removed.push(groupId));
      this.feed({ kind: "group-removed", groupId, by: nodeId });
    }
    for (const request of placed) this.adopt(nodeId, request);
  }

  private adopt(nodeId: NodeId, request: GroupRequest): void {
    const { groupId } = request;
    if (!this.requests.has(groupId)) {
      if (this.isRefused(request)) {
        this.effects.send(nodeId, { t: "return-bundles", groupId, attempt: OWN_ATTEMPT });
        return;
      }
      this.requests.set(groupId, request);
      this.unknown.delete(groupId);
      this.adopted.set(groupId, nodeId);
      this.askers.set(groupId, PLACED);
      this.records.begin(groupId, true);
    } else if (!this.adopted.has(groupId)) this.note(nodeId).placed.push(groupId);
    this.feed({ kind: "group-adopted", spec: specOf(request), nodeId });
    this.removeUnwanted(groupId);
  }

  private note(nodeId: NodeId): { readonly placed: GroupId[]; readonly removed: GroupId[] } {
    let noted = this.noted.get(nodeId);
    if (!noted) {
      noted = { placed: [], removed: [] };
      if (this.noted.size === 0) queueMicrotask(() => this.tellNoted());
      this.noted.set(nodeId, noted);
    }
    return noted;
  }

  private tellNoted(): void {
    const all = [...this.noted];
    this.noted.clear();
    for (const [nodeId, noted] of all) this.effects.noted(nodeId, { t: "groups-noted", ...noted });
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

  quotasChanged(): void {
    if (this.requests.size > 0) this.feed({ kind: "quotas-changed" });
  }

  /** Nothing is known of any group, and nothing waits for one. */
  get isIdle(): boolean {
    return this.requests.size === 0 && this.unknown.size === 0 && this.removalRecords.isEmpty;
  }

  /** Call it several times a second. */
  tick(): void {
    const nowMs = this.effects.nowMs();
    for (const [groupId, sinceMs] of this.unknown) {
      if (nowMs - sinceMs < UNKNOWN_MS) continue;
      this.unknown.delete(groupId);
      const refusal = removed(groupId);
      if (!this.removals.has(groupId)) this.tooEarly.set(groupId, refusal);
      this.refuse(groupId, refusal);
      this.removeUnwanted(groupId);
    }
    this.records.saveDue(nowMs);
    this.removalRecords.forgetDue();
    if (nowMs - this.retriedAtMs >= RETRY_MS) {
      this.retriedAtMs = nowMs;
      this.records.retry();
      this.removalRecords.retry();
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
        for (const command of this.engine.step(next, this.effects.nowMs())) this.obey(command);
      }
    } finally {
      this.isStepping = false;
    }
  }

  private obey(command: GroupCommand): void {
    const { groupId } = command;
    switch (command.kind) {
      case "save-group": {
        const { spec, ...rest } = command.record;
        const request = this.requests.get(spec.groupId);
        if (!request) return;
        const record = (): Uint8Array => pack({ request, ...rest } satisfies Saved);
        // Most have their room at once, and are written down with it; and a node has what it has placed, and may remove it soon.
        const isSafe = this.adopted.has(groupId) && rest.reservations.every(({ attempt }) => attempt === OWN_ATTEMPT);
        if (rest.reservations.length === 0 || isSafe)
          this.records.saveLater(groupId, record, this.effects.nowMs() + SAVED_AFTER_MS);
        else this.records.save(groupId, record());
        return;
      }
      case "forget-group":
        this.records.save(groupId, null);
        return;
      case "prepare-bundles":
      case "return-bundles":
        // Whoever holds what no record names is told to return it, and who has nothing of what one names says so.
        if (this.records.isUpToDate(groupId)) this.carryOut(command);
        else this.records.after(groupId, () => this.carryOut(command));
        return;
      case "group-ready":
        this.becomingReady.set(groupId, command);
        break;
      case "group-lost-bundles":
      case "group-removed":
        this.becomingReady.delete(groupId);
        break;
    }
    this.records.after(groupId, () => this.carryOut(command));
  }

  private carryOut(command: Exclude<GroupCommand, { readonly kind: "save-group" | "forget-group" }>): void {
    const { effects } = this;
    const { groupId } = command;
    switch (command.kind) {
      case "group-ready":
        // While it was written down bundles may have been lost.
        if (this.becomingReady.get(groupId) !== command) return;
        this.becomingReady.delete(groupId);
        this.infeasible.delete(groupId);
        this.ready.add(groupId);
        this.placed.add(groupId);
        this.tellWaiting(groupId);
        effects.changed();
        return;
      case "group-lost-bundles":
        this.ready.delete(groupId);
        effects.changed();
        return;
      case "group-infeasible":
        this.infeasible.set(groupId, command.message);
        this.tellWaiting(groupId);
        effects.changed();
        return;
      case "group-refused":
        this.requests.delete(groupId);
        this.askers.delete(groupId);
        this.refuse(groupId, { code: command.code, errorKind: "invalid", message: command.message });
        return;
      case "group-removed":
        this.requests.delete(groupId);
        this.adopted.delete(groupId);
        this.infeasible.delete(groupId);
        this.ready.delete(groupId);
        this.placed.delete(groupId);
        this.rooms.forget(groupId);
        this.askers.delete(groupId);
        if (!this.refused.has(groupId)) this.refuse(groupId, removed(groupId));
        if (!this.removedElsewhere.delete(groupId)) this.tellRemoved(groupId);
        else this.removalRecords.note(groupId, () => this.tellRemoved(groupId));
        return;
      default: {
        const { nodeId, kind: t, ...order } = command;
        effects.send(nodeId, { t, ...order } as BundlesOrder); // They differ in the name of the kind only.
        if (t === "return-bundles") effects.changed();
      }
    }
  }

  private tellRemoved(groupId: GroupId): void {
    const waiting = this.removals.get(groupId);
    this.removals.delete(groupId);
    for (const done of waiting ?? []) done();
  }

  private refuse(groupId: GroupId, refusal: Refusal): void {
    this.refused.set(groupId, refusal);
    this.tellWaiting(groupId);
    this.effects.changed();
  }
}

const removed = (groupId: GroupId): Refusal => ({
  code: "GROUP_REMOVED",
  errorKind: "lost",
  message: `placement group ${groupId} was removed`,
});

function specOf({ bundles, selectors, name, topology, priority = 0, ...rest }: GroupRequest): GroupSpec {
  const parsed = selectors.map(parseSelector);
  return {
    ...rest,
    priority,
    bundles: bundles.map((units) => ({ units, selectors: parsed })),
    ...(name !== undefined && { name }),
    ...(topology !== undefined && { topology }),
  };
}
