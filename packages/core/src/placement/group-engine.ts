/**
 * Placement groups, pure: events and the time in, commands out.
 *
 * 1. A group that is created waits for room, by priority, then age.
 * 2. When there is room for all of it, each node is asked to prepare its bundles; what is asked for is held off the view.
 * 3. When all have prepared, that is saved, and the group is ready: what a new group has of a node is usable there at once, and
 *    nobody is told of it before. Where something of the group may wait already, or a node that has died is made good, it would
 *    begin in bundles that are given up again when another node refuses: there all are told to commit when all have prepared.
 * 4. A refusal or a death before that returns everything, and the group waits again. So a gang that does not fit holds
 *    nothing.
 * 5. When a node dies later, its bundles go through 1 to 3 again, and the others stay. When a node drains, its bundles get
 *    another place first, and are returned then.
 */
import { unreachable } from "../base/assert.ts";
import type { NodeId } from "../base/ids.ts";
import type { ResourceUnits } from "../base/resources.ts";
import { fits, freeOf } from "./amounts.ts";
import type { BundleAt } from "./bundle-rooms.ts";
import type { ClusterView } from "./cluster-view.ts";
import { Earmark, notNow } from "./earmark.ts";
import { kindsOf } from "./gang-kinds.ts";
import { explainGroup, type GroupExplained } from "./group-explain.ts";
import {
  isLeaving,
  type Placing,
  placeByEnding,
  placeNow,
  placeWithoutLeases,
  REFUSED_MS,
  whyInfeasible,
} from "./group-placing.ts";
import {
  type GroupCommand,
  type GroupEvent,
  type GroupId,
  type GroupRecord,
  type GroupSpec,
  OWN_ATTEMPT,
} from "./group-protocol.ts";
import {
  type Attempt,
  coverNow,
  coverOf,
  type Group,
  nameOf,
  newGroup,
  type Reservation,
  recordOf,
  reservationKey,
  setPhase,
} from "./group-state.ts";
import { GroupTable } from "./group-table.ts";
import type { Victim } from "./preempt.ts";

export interface GroupEngineOptions {
  readonly infeasibleTimeoutMs: number;
  /** Above all attempts of engines before this one: attempts of an earlier leader are known by their lower numbers. */
  readonly firstAttempt: number;
  /** What has waited so long has nodes earmarked; default 10 s. */
  readonly earmarkAfterMs?: number | undefined;
  /** Left out: jobs have none. */
  readonly quotas?: GroupQuotas;
  /** Left out: nothing ends for groups. */
  readonly preemption?: GroupPreemption;
}

/** What ends for groups that have waited long. */
export interface GroupPreemption {
  /** How long that is. */
  afterMs(spec: GroupSpec): number;
  /** What may end for it, as far as is known. */
  victimsFor(spec: GroupSpec): readonly Victim[];
}

/** What the job of a group may have. */
export interface GroupQuotas {
  /** If not, it waits for that until it has {@link left}. */
  allows(spec: GroupSpec): boolean;
  left(spec: GroupSpec): void;
  /** It has all its bundles from now on, or none any more. */
  charge(spec: GroupSpec, count: 1 | -1): void;
  /** Words for one that is not allowed. */
  describe(spec: GroupSpec): string;
}

/** What something that runs in a group is told. */
export type BundleAnswer =
  /** The bundles that could hold it if nothing else ran there, in order. */
  | { readonly kind: "bundles"; readonly bundles: readonly BundleAt[] }
  /** The group, or the bundle, has no place yet. */
  | { readonly kind: "waits" }
  | {
      readonly kind: "refused";
      readonly code: "GROUP_REMOVED" | "INVALID_OPTION" | "INFEASIBLE";
      readonly message: string;
    };

type AdoptEvent = Extract<GroupEvent, { readonly kind: "group-adopted" }>;
type BundleEvent = Extract<GroupEvent, { readonly attempt: number }>;

/** While groups wait, they are looked at this often. */
const REVIEW_MS = 100;
const RESUME_MS = 10;
/** Looking at nodes for groups that turn out not to fit is bounded: so many at once, and so many a second. */
const LOOKS_MAX = 100_000;
const LOOKS_PER_SECOND = 500_000;
const EARMARK_AFTER_MS = 10_000;
/** A group is looked at this often for whether others' work might end for it. */
const ENDING_LOOK_MS = 1_000;
/** So many times the nodes are looked at for that, or a few more. */
const PLANS_OF_ENDING = 10;

export class GroupEngine {
  private readonly view: ClusterView;
  private readonly options: GroupEngineOptions;
  private readonly table = new GroupTable();
  private readonly earmark: Earmark;
  private nextAttempt: number;
  private nextNumber = 1;
  /** Of the view, when the round began. */
  private roomVersion = -1;
  /** Grows when groups that did not fit may fit. */
  private round = 1;
  /** Something waits that was not looked at in this round. */
  private isDirty = false;
  /** The pass before ended at this place of the queue: who is behind has its turn too when rounds are short. */
  private resumeAt = 0;
  private looks = LOOKS_MAX;
  private earmarkLookMs = 0;
  private endingLookMs = 0;
  private lastMs = 0;
  /** Groups that are not equal to themselves a little later. */
  private readonly refused = new Set<Group>();
  private readonly infeasible = new Set<Group>();

  constructor(view: ClusterView, options: GroupEngineOptions) {
    this.view = view;
    this.options = options;
    this.nextAttempt = options.firstAttempt;
    this.earmark = new Earmark(view, options.earmarkAfterMs ?? EARMARK_AFTER_MS);
  }

  step(event: GroupEvent, nowMs: number): GroupCommand[] {
    const out: GroupCommand[] = [];
    this.apply(event, nowMs, out);
    this.pass(nowMs, out);
    return out;
  }

  /** When a `tick` is due though nothing happens, or undefined. */
  nextTickMs(nowMs: number): number | undefined {
    if (this.table.waiting.length === 0) return undefined;
    return nowMs + (this.isDirty ? RESUME_MS : REVIEW_MS);
  }

  /** The group with this name, unless it is being removed. */
  find(namespace: string, name: string): GroupId | undefined {
    return this.table.named(namespace, name)?.spec.groupId;
  }

  spec(groupId: GroupId): GroupSpec | undefined {
    return this.table.groups.get(groupId)?.spec;
  }

  /** Where a demand may run in the group. `index` undefined: in any bundle. */
  bundlesFor(groupId: GroupId, index: number | undefined, units: ResourceUnits): BundleAnswer {
    const group = this.table.groups.get(groupId);
    if (!group || group.isRemoving) {
      return { kind: "refused", code: "GROUP_REMOVED", message: `placement group ${groupId} was removed` };
    }
    const { bundles } = group.spec;
    if (index !== undefined && !(index in bundles)) {
      const message = `bundleIndex is ${index}; ${nameOf(group.spec)} has ${bundles.length} bundles, from 0`;
      return { kind: "refused", code: "INVALID_OPTION", message };
    }
    const asked = index === undefined ? [...bundles.keys()] : [index];
    const able = asked.filter((at) => {
      const bundle = bundles[at];
      return bundle && fits(freeOf(bundle.units), units);
    });
    if (able.length === 0) {
      const message = `no bundle of ${nameOf(group.spec)} is large enough; ask for less, or for larger bundles`;
      return { kind: "refused", code: "INFEASIBLE", message };
    }
    const cover = coverNow(group);
    const placed = able.flatMap((at) => {
      const reservation = cover[at];
      const bundle = bundles[at];
      if (!bundle || reservation?.phase !== "committed") return [];
      const { attempt, nodeId } = reservation;
      return [{ groupId, index: at, attempt: attempt.number, nodeId, units: bundle.units }];
    });
    return placed.length > 0 ? { kind: "bundles", bundles: placed } : { kind: "waits" };
  }

  /** A bundle that is reserved at the node by this attempt. */
  bundleAt(groupId: GroupId, index: number, attempt: number, nodeId: NodeId): BundleAt | undefined {
    const group = this.table.groups.get(groupId);
    const units = group?.spec.bundles[index]?.units;
    if (!units || !group.reservations.has(reservationKey(attempt, nodeId))) return undefined;
    return { groupId, index, attempt, nodeId, units };
  }

  /** Where each bundle of a group is reserved; null: nowhere. Empty when there is no such group. */
  nodesOf(groupId: GroupId): readonly (NodeId | null)[] {
    const group = this.table.groups.get(groupId);
    const nodes: (NodeId | null)[] = Array.from({ length: group?.spec.bundles.length ?? 0 }, () => null);
    for (const { nodeId, indexes, phase } of group?.reservations.values() ?? [])
      if (phase === "committed") for (const index of indexes) nodes[index] = nodeId;
    return nodes;
  }

  /** Why it waits, or where it is, in sentences; undefined when there is no such group. */
  explain(groupId: GroupId, nowMs: number): GroupExplained | undefined {
    const group = this.table.groups.get(groupId);
    if (!group) return undefined;
    const { view, table, earmark } = this;
    const explained = explainGroup({ view, group, ahead: table.waiting.indexOf(group), earmark, nowMs });
    const quota = group.isOverQuota && this.options.quotas?.describe(group.spec);
    return quota ? { ...explained, sentences: [quota], considered: [] } : explained;
  }

  // ── events ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  private apply(event: GroupEvent, nowMs: number, out: GroupCommand[]): void {
    const { table } = this;
    switch (event.kind) {
      case "group-created":
        this.create(event.spec, nowMs, out);
        return;
      case "group-restored":
        this.restore(event.record, nowMs, out);
        return;
      case "group-adopted":
        this.adopt(event, nowMs, out);
        return;
      case "group-removed": {
        const group = table.groups.get(event.groupId);
        if (group) this.remove(group, out, event.by);
        else out.push({ kind: "group-removed", groupId: event.groupId });
        return;
      }
      case "job-ended":
        for (const group of [...table.groups.values()]) {
          if (group.spec.jobId === event.jobId && group.spec.lifetime === "owner") this.remove(group, out);
        }
        return;
      case "node-joined":
        for (const group of table.at(event.nodeId)) this.orderAgain(group, event.nodeId, out);
        return;
      case "node-died":
        for (const group of table.at(event.nodeId)) this.lose(group, event.nodeId, nowMs, out);
        return;
      case "node-draining":
        for (const group of table.at(event.nodeId))
          if (!group.isRemoving && group.underWay === 0) this.wait(group, nowMs);
        return;
      case "earmark-answered": {
        const { holder } = this.earmark;
        if (holder?.spec.groupId !== event.groupId) return;
        if (event.canEnd) this.earmark.agreed(holder, event.nodeId, nowMs, out);
        else if (!this.earmark.isDecided) {
          notNow(holder, nowMs);
          if (this.earmark.end(holder, out)) this.nextRound();
        }
        return;
      }
      case "quotas-changed":
        this.nextRound();
        return;
      case "view-changed":
      case "tick":
        return;
      case "bundles-prepared":
      case "bundles-refused":
      case "bundles-committed":
      case "bundles-returned":
      case "bundles-reported":
        this.answer(event, nowMs, out);
        return;
      default:
        unreachable(event);
    }
  }

  private create(spec: GroupSpec, nowMs: number, out: GroupCommand[]): void {
    const { table } = this;
    if (table.groups.has(spec.groupId)) return;
    const { groupId, name, namespace } = spec;
    if (spec.bundles.length === 0) {
      const message = "a placement group needs at least one bundle";
      out.push({ kind: "group-refused", groupId, code: "INVALID_OPTION", message });
      return;
    }
    if (name !== undefined && table.named(namespace, name)) {
      const message = `a placement group named ${name} lives in the namespace ${namespace}`;
      out.push({ kind: "group-refused", groupId, code: "NAME_TAKEN", message });
      return;
    }
    const group = newGroup(spec, nowMs, this.nextNumber++);
    table.add(group);
    out.push(saved(group));
    this.wait(group, nowMs);
  }

  private restore(record: GroupRecord, nowMs: number, out: GroupCommand[]): void {
    if (this.table.groups.has(record.spec.groupId)) return;
    const group = newGroup(record.spec, record.createdMs, this.nextNumber++);
    this.table.add(group);
    for (const { attempt, nodeId, indexes } of record.reservations) {
      this.nextAttempt = Math.max(this.nextAttempt, attempt + 1);
      const of = { number: attempt, unprepared: 0, isOnePhase: false };
      group.wasPlaced = true;
      this.reserve(group, { attempt: of, nodeId, indexes, phase: "committing", holds: [] });
      out.push({ kind: "commit-bundles", groupId: record.spec.groupId, attempt, nodeId });
    }
    if (group.underWay === 0) this.wait(group, nowMs);
  }

  /** It counts from now on as if it had been decided here, unless it was. */
  private adopt({ spec, nodeId }: AdoptEvent, nowMs: number, out: GroupCommand[]): void {
    const { groupId } = spec;
    const attempt = OWN_ATTEMPT;
    if (!this.table.groups.has(groupId)) {
      const group = newGroup(spec, nowMs, this.nextNumber++);
      this.table.add(group);
      const of = { number: attempt, unprepared: 1, isOnePhase: true };
      // The node has said what it has left before it said this.
      this.reserve(group, { attempt: of, nodeId, indexes: [...spec.bundles.keys()], phase: "preparing", holds: [] });
    }
    this.answer({ kind: "bundles-committed", groupId, nodeId, attempt }, nowMs, out);
  }

  /** @param by the node that has removed it, and has nothing any more of what it had placed itself. */
  private remove(group: Group, out: GroupCommand[], by?: NodeId): void {
    const returned = by && group.reservations.get(reservationKey(OWN_ATTEMPT, by));
    if (returned) {
      this.drop(group, returned);
      this.endIfRemoved(group, out);
    }
    if (group.isRemoving) return;
    group.isRemoving = true;
    this.table.dequeue(group);
    this.table.freeName(group);
    this.infeasible.delete(group);
    this.refused.delete(group);
    if (group.reservations.size === 0) this.options.quotas?.left(group.spec);
    if (this.earmark.end(group, out)) this.nextRound();
    // A control after this one need not know it: nodes that report bundles of a group that is not known return them.
    out.push({ kind: "forget-group", groupId: group.spec.groupId });
    for (const reservation of [...group.reservations.values()]) this.giveBack(group, reservation, out);
    this.endIfRemoved(group, out);
  }

  private endIfRemoved(group: Group, out: GroupCommand[]): void {
    if (!group.isRemoving || group.reservations.size > 0) return;
    this.table.delete(group);
    out.push({ kind: "group-removed", groupId: group.spec.groupId });
  }

  private answer(event: BundleEvent, nowMs: number, out: GroupCommand[]): void {
    const { groupId, attempt, nodeId } = event;
    const group = this.table.groups.get(groupId);
    const reservation = group?.reservations.get(reservationKey(attempt, nodeId));
    if (!group || !reservation) {
      // Of an attempt that was given up, or of a leader before: nobody is to hold anything for it.
      const holds = event.kind !== "bundles-returned" && event.kind !== "bundles-refused";
      if (holds) out.push({ kind: "return-bundles", groupId, attempt, nodeId });
      return;
    }
    switch (event.kind) {
      case "bundles-prepared":
        if (reservation.phase === "preparing") this.prepared(group, reservation, out);
        return;
      case "bundles-committed":
        this.committed(group, reservation, nowMs, out);
        return;
      case "bundles-reported":
        if (reservation.phase === "returning") out.push(this.order("return-bundles", group, reservation));
        else if (event.isCommitted) this.committed(group, reservation, nowMs, out);
        else if (reservation.phase === "preparing") this.prepared(group, reservation, out);
        else if (reservation.phase !== "prepared") out.push({ kind: "commit-bundles", groupId, attempt, nodeId });
        return;
      case "bundles-refused":
        if (reservation.phase === "preparing") {
          group.refusedBy.set(nodeId, { atMs: nowMs, reason: event.reason });
          this.refused.add(group);
          this.drop(group, reservation);
          this.giveUp(group, reservation.attempt, nowMs, out);
        } else if (reservation.phase === "returning") {
          this.drop(group, reservation);
          this.endIfRemoved(group, out);
        }
        return;
      case "bundles-returned":
        if (reservation.phase === "returning") {
          this.drop(group, reservation);
          this.endIfRemoved(group, out);
          // It has nothing of what is written down: it was removed, and a control before this one did not get as far as to forget it.
        } else if (reservation.phase === "committing") this.lose(group, nodeId, nowMs, out);
        return;
    }
  }

  private prepared(group: Group, reservation: Reservation, out: GroupCommand[]): void {
    setPhase(group, reservation, "prepared");
    if (--reservation.attempt.unprepared > 0) return;
    const all = this.reservationsOf(group, reservation.attempt);
    for (const one of all) setPhase(group, one, "committing");
    out.push(saved(group));
    for (const one of all) out.push(this.order("commit-bundles", group, one));
  }

  private committed(group: Group, reservation: Reservation, nowMs: number, out: GroupCommand[]): void {
    const { phase, attempt } = reservation;
    const isOnePhase = phase === "preparing" && attempt.isOnePhase;
    if (phase !== "committing" && !isOnePhase) return;
    for (const hold of reservation.holds) this.view.settle(hold);
    if (isOnePhase) {
      setPhase(group, reservation, "prepared");
      if (--attempt.unprepared > 0) return;
      for (const one of this.reservationsOf(group, attempt)) setPhase(group, one, "committed");
      group.wasPlaced = true;
      out.push(saved(group));
    } else setPhase(group, reservation, "committed");
    if (group.underWay > 0) return;
    const staying = coverOf(group, (nodeId) => isLeaving(this.view, nodeId));
    const isSettled = staying.every((one) => one);
    // On a node that began to drain meanwhile it is ready all the same, and moves.
    const cover = isSettled ? staying : coverNow(group);
    if (!isSettled) this.wait(group, nowMs);
    if (cover.some((one) => !one)) return;
    const used = new Set(cover);
    const old = [...group.reservations.values()].filter((one) => one.phase === "committed" && !used.has(one));
    group.isReady = true;
    group.isToldInfeasible = false;
    if (isSettled) group.waitingSinceMs = undefined;
    if (this.earmark.end(group, out)) this.nextRound();
    out.push({ kind: "group-ready", groupId: group.spec.groupId, nodes: cover.flatMap((one) => one?.nodeId ?? []) });
    // What moved away from a node that drains.
    for (const one of old) this.giveBack(group, one, out, isLeaving(this.view, one.nodeId));
    if (old.length > 0) out.push(saved(group));
  }

  /** The attempt cannot be completed: everything goes back, and the group waits. */
  private giveUp(group: Group, attempt: Attempt, nowMs: number, out: GroupCommand[]): void {
    for (const one of this.reservationsOf(group, attempt)) this.giveBack(group, one, out);
    this.wait(group, nowMs);
  }

  private giveBack(group: Group, reservation: Reservation, out: GroupCommand[], hasMoved = false): void {
    // What has moved may go on where it was, but not when the group is removed.
    if (reservation.phase === "returning" && (hasMoved || !reservation.hasMoved)) return;
    setPhase(group, reservation, "returning");
    reservation.hasMoved = hasMoved;
    out.push(this.order("return-bundles", group, reservation));
  }

  private reservationsOf(group: Group, attempt: Attempt): Reservation[] {
    return [...group.reservations.values()].filter((one) => one.attempt === attempt);
  }

  private order(
    kind: "commit-bundles" | "return-bundles",
    { spec }: Group,
    { attempt, nodeId, hasMoved }: Reservation,
  ): GroupCommand {
    const at = { groupId: spec.groupId, attempt: attempt.number, nodeId };
    return kind === "return-bundles" && hasMoved ? { kind, ...at, moved: true } : { kind, ...at };
  }

  private orderToPrepare({ spec }: Group, { attempt, nodeId, indexes }: Reservation): GroupCommand {
    return {
      kind: "prepare-bundles",
      groupId: spec.groupId,
      attempt: attempt.number,
      nodeId,
      bundles: indexes.map((index) => ({ index, units: spec.bundles[index]?.units ?? {} })),
      commit: attempt.isOnePhase,
    };
  }

  /** What the node has not answered. */
  private orderAgain(group: Group, nodeId: NodeId, out: GroupCommand[]): void {
    for (const one of group.reservations.values()) {
      if (one.nodeId !== nodeId) continue;
      if (one.phase === "preparing") out.push(this.orderToPrepare(group, one));
      else if (one.phase === "committing") out.push(this.order("commit-bundles", group, one));
      else if (one.phase === "returning") out.push(this.order("return-bundles", group, one));
    }
  }

  private reserve(group: Group, reservation: Reservation): void {
    if (group.reservations.size === 0) {
      this.options.quotas?.left(group.spec);
      this.options.quotas?.charge(group.spec, 1);
    }
    this.table.reserve(group, reservation);
  }

  private drop(group: Group, reservation: Reservation): void {
    for (const hold of reservation.holds) this.view.release(hold);
    this.table.drop(group, reservation);
    if (group.reservations.size === 0) this.options.quotas?.charge(group.spec, -1);
  }

  private lose(group: Group, nodeId: NodeId, nowMs: number, out: GroupCommand[]): void {
    const before = coverNow(group);
    const isLost = new Set<number>();
    const broken = new Set<Attempt>();
    for (const one of [...group.reservations.values()]) {
      if (one.nodeId !== nodeId) continue;
      this.drop(group, one);
      if (one.phase === "preparing" || one.phase === "prepared") broken.add(one.attempt);
      else if (one.phase !== "returning") for (const index of one.indexes) isLost.add(index);
    }
    if (group.isRemoving) {
      this.endIfRemoved(group, out);
      return;
    }
    for (const attempt of broken) this.giveUp(group, attempt, nowMs, out);
    if (isLost.size === 0) return;
    const lost = [...isLost].filter((index) => before[index]?.nodeId === nodeId).sort((a, b) => a - b);
    const { groupId } = group.spec;
    out.push(saved(group));
    if (group.isReady && lost.length > 0) out.push({ kind: "group-lost-bundles", groupId, indexes: lost });
    group.isReady = false;
    if (group.underWay === 0) this.wait(group, nowMs);
  }

  private wait(group: Group, nowMs: number): void {
    if (group.isRemoving || !this.table.enqueue(group)) return;
    group.waitingSinceMs ??= nowMs;
    group.triedInRound = 0;
    this.isDirty = true;
  }

  private nextRound(): void {
    this.round++;
    this.isDirty = this.table.waiting.length > 0;
  }

  // ── decisions ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Places what has room, in the order of the queue. What does not fit lets smaller ones behind it go first for a while. */
  private pass(nowMs: number, out: GroupCommand[]): void {
    const { view, table, earmark } = this;
    this.looks = Math.min(LOOKS_MAX, this.looks + ((nowMs - this.lastMs) * LOOKS_PER_SECOND) / 1000);
    this.lastMs = nowMs;
    for (const group of this.refused) {
      for (const [nodeId, { atMs }] of group.refusedBy) {
        if (nowMs - atMs < REFUSED_MS) continue;
        group.refusedBy.delete(nodeId);
        group.triedInRound = 0;
        this.isDirty = true;
      }
      if (group.refusedBy.size === 0) this.refused.delete(group);
    }
    if (earmark.expire(nowMs)) this.nextRound();
    if (this.roomVersion !== view.roomVersion) {
      this.roomVersion = view.roomVersion;
      this.nextRound();
    }
    if (table.waiting.length === 0) return;
    if (this.isDirty) this.placeWaiting(nowMs, out);
    this.tellInfeasible(nowMs, out);
    this.beginEnding(nowMs, out);
    this.beginEarmark(nowMs, out);
  }

  private placeWaiting(nowMs: number, out: GroupCommand[]): void {
    const { view, table, earmark, round } = this;
    const failed = new Set<string>();
    const order = [...table.waiting.slice(this.resumeAt), ...table.waiting.slice(0, this.resumeAt)];
    this.resumeAt = 0;
    this.isDirty = false;
    for (const group of order) {
      if (group.triedInRound === round || group.infeasible?.membersVersion === view.membersVersion) continue;
      // One that is new is looked at in any case.
      if (this.looks <= 0 && group.triedInRound > 0) {
        if (!this.isDirty) this.resumeAt = Math.max(0, table.waiting.indexOf(group));
        this.isDirty = true;
        continue;
      }
      group.isOverQuota = group.reservations.size === 0 && this.options.quotas?.allows(group.spec) === false;
      if (group.isOverQuota) {
        group.triedInRound = round;
        continue;
      }
      // Who has room kept finds more than others.
      const isLikeFailed =
        group.signature !== undefined && failed.has(group.signature) && isPlain(group) && !earmark.isFor(group);
      const placing = isLikeFailed ? undefined : placeNow(view, group, earmark);
      if (placing?.plan) {
        table.dequeue(group);
        this.prepare(group, placing, placing.plan, out);
        continue;
      }
      group.triedInRound = round;
      if (placing) this.looks -= group.single && !earmark.isActive ? 1 : view.size;
      if (group.signature !== undefined && isPlain(group) && !earmark.isFor(group)) failed.add(group.signature);
      this.judge(group, nowMs);
    }
  }

  /** Whether it could ever fit; that changes only with the members of the cluster. */
  private judge(group: Group, nowMs: number): void {
    const { membersVersion } = this.view;
    if (group.feasibleVersion === membersVersion) return;
    this.looks -= this.view.size;
    const message = whyInfeasible(this.view, group);
    if (message === undefined) {
      group.feasibleVersion = membersVersion;
      group.infeasible = undefined;
      this.infeasible.delete(group);
    } else {
      group.infeasible = { membersVersion, sinceMs: group.infeasible?.sinceMs ?? nowMs, message };
      this.infeasible.add(group);
    }
  }

  private prepare(group: Group, { indexes }: Placing, plan: NonNullable<Placing["plan"]>, out: GroupCommand[]): void {
    const { bundles } = group.spec;
    const attempt = this.nextAttempt++;
    group.infeasible = undefined;
    group.isNotEnough = false;
    this.infeasible.delete(group);
    group.decidedAtVersion = this.view.journal.version;
    const onNode = new Map<NodeId, number[]>();
    for (const [at, node] of plan.entries()) {
      const index = indexes[at] ?? 0;
      const list = onNode.get(node.id);
      if (list) list.push(index);
      else onNode.set(node.id, [index]);
    }
    const isOnePhase = onNode.size === 1 || !group.wasPlaced;
    const of = { number: attempt, unprepared: onNode.size, isOnePhase };
    for (const [nodeId, list] of onNode) {
      const node = this.view.node(nodeId);
      const kinds = kindsOf(list.flatMap((index) => bundles[index] ?? []));
      const holds = node ? kinds.map((kind) => this.view.hold(node, kind.units, kind.indexes.length)) : [];
      const reservation: Reservation = { attempt: of, nodeId, indexes: list, phase: "preparing", holds };
      this.reserve(group, reservation);
      out.push(this.orderToPrepare(group, reservation));
    }
  }

  private tellInfeasible(nowMs: number, out: GroupCommand[]): void {
    for (const group of this.infeasible) {
      const { infeasible } = group;
      if (!infeasible || group.isToldInfeasible || group.isReady) continue;
      if (nowMs - infeasible.sinceMs < this.options.infeasibleTimeoutMs) continue;
      group.isToldInfeasible = true;
      out.push({ kind: "group-infeasible", groupId: group.spec.groupId, message: infeasible.message });
    }
  }

  /** For the first that has waited so long that work of lower priority in other jobs ends for it, and for which enough might. */
  private beginEnding(nowMs: number, out: GroupCommand[]): void {
    const { earmark, view } = this;
    const { preemption } = this.options;
    if (!preemption || earmark.isDecided || nowMs < this.endingLookMs) return;
    this.endingLookMs = nowMs + REVIEW_MS;
    for (const group of this.table.waiting) {
      // What is kept for a group before it, or for itself, has its time.
      if (earmark.isFor(group) || earmark.isBefore(group)) return;
      const waitsMs = nowMs - (group.waitingSinceMs ?? nowMs);
      if (group.infeasible || group.isOverQuota || nowMs < group.endingAgainMs) continue;
      if (waitsMs < preemption.afterMs(group.spec) || this.looks <= 0) continue;
      group.endingAgainMs = nowMs + ENDING_LOOK_MS;
      const victims = preemption.victimsFor(group.spec);
      if (victims.length === 0) continue;
      this.looks -= PLANS_OF_ENDING * view.size;
      const { indexes, plan } = placeByEnding(view, group, earmark, victims);
      group.isNotEnough = !plan;
      if (!plan) continue;
      const { jobId, priority, bundles } = group.spec;
      const { holder } = earmark;
      if (holder) earmark.end(holder, out);
      const by = `${nameOf(group.spec)} of job ${jobId}, whose priority is ${priority}`;
      const units = indexes.map((index) => bundles[index]?.units ?? {});
      earmark.begin(group, plan, units, nowMs, out, { job: jobId, priority, by, isDecided: false });
      return;
    }
  }

  private beginEarmark(nowMs: number, out: GroupCommand[]): void {
    if (nowMs < this.earmarkLookMs) return;
    this.earmarkLookMs = nowMs + REVIEW_MS;
    const first = this.table.waiting.find(
      (group) => !group.infeasible && !group.isOverQuota && this.earmark.mayBegin(group, nowMs),
    );
    if (!first) return;
    const { indexes, plan } = placeWithoutLeases(this.view, first);
    if (!plan) {
      this.earmark.postpone(nowMs);
      return;
    }
    const units = indexes.map((index) => first.spec.bundles[index]?.units ?? {});
    this.earmark.begin(first, plan, units, nowMs, out);
  }
}

const saved = (group: Group): GroupCommand => ({
  kind: "save-group",
  groupId: group.spec.groupId,
  record: recordOf(group),
});

/** All of it is to be placed, and on any node: it fits when another like it fits. */
const isPlain = (group: Group): boolean => group.reservations.size === 0 && group.refusedBy.size === 0;
