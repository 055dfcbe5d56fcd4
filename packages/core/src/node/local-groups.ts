/**
 * Placement groups that this node places on itself, whole, and control hears of afterwards. Pure: what it does to the world is a
 * call of its effects.
 *
 * 1. What fits here now, and what control would put here too by the default policy, is reserved at once, in one step of the lease
 *    engine; everything else is control's to place.
 * 2. Control is told within {@link TELL_MS}, and before anything else that this node says, so it has heard of a group before it is
 *    asked about it. From then on it has the say, as over all groups: it may have bundles returned, or moved.
 * 3. Until control has written a group down this node states it again whenever it joins again. A removal too, until control has
 *    forgotten the group.
 * 4. A group that is removed here is gone when its bundles are free. One that was gone before control was told costs it a name.
 */
import { isError } from "../base/errors.ts";
import type { JobId } from "../base/ids.ts";
import { type ResourceUnits, sumOfUnits, UNITS_PER_ONE } from "../base/resources.ts";
import { admits, type GroupId, OWN_ATTEMPT, PACK_BELOW, parseSelector } from "../placement/mod.ts";
import type { ResourcePool, SchedulerEvent } from "../scheduler/mod.ts";
import type { BundlesAnswer, BundlesOrder, GroupsNoted, GroupsPlaced } from "../wire/cluster-messages.ts";
import type { GroupRequest } from "../wire/queries.ts";

export interface LocalGroupsEffects {
  readonly labels: Readonly<Record<string, string>>;
  /** What no group has reserved. */
  readonly pool: Pick<ResourcePool, "total" | "freeOf">;
  /** Control has heard of groups that nodes place, and this node is to take something new. */
  mayPlace(): boolean;
  /** The job has a quota, so that control decides. */
  isLimited(job: JobId): boolean;
  /** To the lease engine, which answers by {@link LocalGroups.take}. */
  feed(event: SchedulerEvent): void;
  /** Nothing is kept until there is a connection again. */
  isConnected(): boolean;
  /** How things are here; `isAll`: all of it, as if nothing had been said. */
  report(isAll: boolean): void;
  say(message: GroupsPlaced): void;
  later(ms: number, run: () => void): () => void;
  nowMs(): number;
}

/** What lives for less than this burdens nobody else. */
const TELL_MS = 2;
/** A removal that takes longer is asked about again. */
const REMOVE_MS = 2_000;
/** So many names are remembered of groups that were passed on to control, or that were gone before it was told. */
const NAMES_MAX = 10_000;

interface Placed {
  readonly request: GroupRequest;
  readonly placedAtMs: number;
  /** Control was told. */
  isTold: boolean;
  /** Control has written it down. */
  isNoted: boolean;
  /** Those that wait until what it had is free; undefined while it is not removed. */
  removals: (() => void)[] | undefined;
}

export class LocalGroups {
  private readonly effects: LocalGroupsEffects;
  private readonly placed = new Map<GroupId, Placed>();
  /** Removed, and control, which was told of them, may not know. */
  private readonly removed = new Set<GroupId>();
  /** Control has been asked to place them, and may do so yet. */
  private readonly passedOn = new Set<GroupId>();
  /** What is to be said. */
  private readonly untold = new Set<GroupId>();
  private readonly untoldRemoved = new Set<GroupId>();
  private readonly over = new Set<GroupId>();
  /** That the engine is asked for just now. */
  private asked: { readonly groupId: GroupId; isReserved: boolean } | undefined;
  private cancelTelling: (() => void) | undefined;
  private isMember = false;

  constructor(effects: LocalGroupsEffects) {
    this.effects = effects;
  }

  // ── programs ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Whether all of it is reserved. @param askControl what is not placed here. */
  async create(request: GroupRequest, askControl: () => Promise<boolean>): Promise<boolean> {
    const { groupId } = request;
    if (this.placed.has(groupId)) return true;
    if (this.place(request)) return true;
    keep(this.passedOn, groupId);
    try {
      const isReady = await askControl();
      if (isReady) this.passedOn.delete(groupId);
      return isReady;
    } catch (error) {
      // It may have heard it, and go on.
      if (!isError(error, "CONNECTION_LOST")) this.passedOn.delete(groupId);
      throw error;
    }
  }

  /** It is here, and whole. */
  has(groupId: GroupId): boolean {
    const group = this.placed.get(groupId);
    return group !== undefined && !group.removals;
  }

  /** Resolves when what it had is free, to false when that takes long; undefined when it is control's to remove. */
  remove(groupId: GroupId): Promise<boolean> | undefined {
    const group = this.placed.get(groupId);
    if (!group) return undefined;
    if (!group.removals) {
      group.removals = [];
      this.effects.feed({ kind: "return-bundles", groupId, attempt: OWN_ATTEMPT });
      if (!this.placed.has(groupId)) return Promise.resolve(true);
    }
    const { removals } = group;
    return new Promise((resolve) => {
      const cancel = this.effects.later(REMOVE_MS, () => resolve(false));
      removals.push(() => {
        cancel();
        resolve(true);
      });
    });
  }

  private place(request: GroupRequest): boolean {
    const { groupId, bundles } = request;
    if (this.passedOn.has(groupId) || this.asked || !this.suits(request)) return false;
    const asked = { groupId, isReserved: false };
    this.asked = asked;
    const at = { groupId, attempt: OWN_ATTEMPT, commit: true, isOwn: true } as const;
    this.effects.feed({ kind: "prepare-bundles", ...at, bundles: bundles.map((units, index) => ({ index, units })) });
    this.asked = undefined;
    if (!asked.isReserved) return false;
    const placedAtMs = this.effects.nowMs();
    this.placed.set(groupId, { request, placedAtMs, isTold: false, isNoted: false, removals: undefined });
    this.untold.add(groupId);
    this.tellSoon();
    return true;
  }

  /** Control would put it here, or might. */
  private suits({ bundles, strategy, selectors, topology, name, jobId, lifetime }: GroupRequest): boolean {
    const { effects } = this;
    // Names are given out once for all; what is detached is to outlive what a node alone knows.
    if (name !== undefined || topology !== undefined || lifetime !== "owner") return false;
    const isTogether = bundles.length === 1 || strategy === "PACK" || strategy === "STRICT_PACK";
    if (!isTogether || bundles.length === 0 || !effects.mayPlace() || effects.isLimited(jobId)) return false;
    const [selector] = selectors;
    if (selector && !admits(parseSelector(selector), effects.labels)) return false;
    return isPacked(sumOfUnits(bundles), effects.pool);
  }

  // ── the lease engine ───────────────────────────────────────────────────────────────────────────────────────────────

  /** False when it is an answer for control. */
  take(answer: BundlesAnswer): boolean {
    if (!("attempt" in answer) || answer.attempt !== OWN_ATTEMPT) return false;
    const { t, groupId } = answer;
    if (this.asked?.groupId === groupId) {
      this.asked.isReserved = t === "bundles-committed";
      return true;
    }
    const group = this.placed.get(groupId);
    if (!group || t !== "bundles-returned") return false;
    this.placed.delete(groupId);
    this.untold.delete(groupId);
    for (const done of group.removals ?? []) done();
    if (!group.isTold) keep(this.over, groupId);
    else {
      this.removed.add(groupId);
      this.untoldRemoved.add(groupId);
      this.tellSoon();
    }
    return true;
  }

  // ── control ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Before the lease engine hears it. */
  order(order: BundlesOrder): void {
    if (order.t !== "return-bundles" || order.attempt !== OWN_ATTEMPT) return;
    const { groupId } = order;
    // It has another place, or none: control has the say, and is told what it asks for. Of what is removed it is told anyway.
    if (!this.placed.get(groupId)?.removals) this.placed.delete(groupId);
  }

  noted({ placed, removed }: GroupsNoted): void {
    for (const groupId of placed) {
      const group = this.placed.get(groupId);
      if (group) group.isNoted = true;
    }
    for (const groupId of removed) this.removed.delete(groupId);
  }

  /** Control has taken this node in, and knows what it has written down. */
  welcomed(): void {
    this.isMember = true;
    for (const [groupId, { isNoted }] of this.placed) if (!isNoted) this.untold.add(groupId);
    for (const groupId of this.removed) this.untoldRemoved.add(groupId);
    const isStated = this.untold.size > 0;
    this.tell();
    // What is free in them was said when control did not know them.
    if (isStated) this.effects.report(true);
  }

  /** What was said and not answered may be lost. */
  lost(): void {
    this.isMember = false;
  }

  /** Before anything else is said to control: what it has not heard. */
  tell(): void {
    const { placed, removed, over } = this.takeUntold();
    if (placed.length + removed.length + over.length === 0) return;
    // Control goes by what the node has left, so it hears that first.
    if (placed.length + removed.length > 0) this.effects.report(false);
    this.effects.say({ t: "groups-placed", placed, removed, over });
  }

  private tellSoon(ms = TELL_MS): void {
    this.cancelTelling ??= this.effects.later(ms, () => {
      this.cancelTelling = undefined;
      const [oldest] = this.untold;
      const group = oldest === undefined ? undefined : this.placed.get(oldest);
      const ageMs = group ? this.effects.nowMs() - group.placedAtMs : 0;
      if (this.untoldRemoved.size === 0 && ageMs < TELL_MS) {
        if (group) this.tellSoon(TELL_MS - ageMs);
      } else if (this.effects.isConnected()) this.tell();
    });
  }

  private takeUntold(): Omit<GroupsPlaced, "t"> {
    if (!this.isMember) return NOTHING;
    const placed: GroupRequest[] = [];
    for (const groupId of this.untold) {
      const group = this.placed.get(groupId);
      if (!group) continue;
      group.isTold = true;
      placed.push(group.request);
    }
    const told = { placed, removed: [...this.untoldRemoved], over: [...this.over] };
    this.untold.clear();
    this.untoldRemoved.clear();
    this.over.clear();
    return told;
  }

  close(): void {
    this.cancelTelling?.();
  }
}

const NOTHING: Omit<GroupsPlaced, "t"> = { placed: [], removed: [], over: [] };

/** As the default policy has it: here while less than half is in use, and machines with GPUs are kept for what wants some. */
function isPacked(units: ResourceUnits, pool: LocalGroupsEffects["pool"]): boolean {
  const { total } = pool;
  const wantsGpu = (units.gpu ?? 0) > 0;
  if (!wantsGpu && (total.gpu ?? 0) >= UNITS_PER_ONE) return false;
  const measured = wantsGpu ? ["cpu", "memory", "gpu"] : ["cpu", "memory"];
  // What uses nothing of it goes round.
  if (!measured.some((name) => (units[name] ?? 0) > 0)) return false;
  return measured.every((name) => {
    const all = total[name] ?? 0;
    return all === 0 || (all - pool.freeOf(name)) / all < PACK_BELOW;
  });
}

function keep(names: Set<GroupId>, name: GroupId): void {
  names.add(name);
  if (names.size <= NAMES_MAX) return;
  const [oldest] = names;
  if (oldest !== undefined) names.delete(oldest);
}
