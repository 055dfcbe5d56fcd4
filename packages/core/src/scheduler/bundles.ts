/**
 * What placement groups have reserved on this node. Each bundle is a pool of its own, taken out of the node's: what runs in a
 * group is granted from its bundles, and nothing else is.
 *
 * A reservation is (group, attempt), as control numbers them, and goes through these states:
 * *pending* (leases that nothing runs on are called back for it, for a moment) → *prepared* → *committed* (usable) →
 * *returning* (what runs in it ends) → gone.
 */
import { fromUnits, type ResourceUnits, sumOfUnits } from "../base/resources.ts";
import type { BundleUse, Ending } from "../wire/cluster-messages.ts";
import type { SchedulerCommand, SchedulerEvent } from "./protocol.ts";
import { type Allocation, ResourcePool } from "./resource-pool.ts";
import { isSpare } from "./revoke-pass.ts";
import type { Ask, Holding } from "./state.ts";
import type { Tables } from "./tables.ts";
import { stop } from "./workers.ts";

/** An idle lease comes back within milliseconds; control looks for other nodes after that. */
const PENDING_MS = 1_000;
/** Control has forgotten a reservation, or its answer was lost, when it is prepared for so long. */
const REPORT_MS = 5_000;

type PrepareEvent = SchedulerEvent & { kind: "prepare-bundles" };
type AtEvent = SchedulerEvent & { kind: "commit-bundles" };
type ReturnEvent = SchedulerEvent & { kind: "return-bundles" };
type EarmarkEvent = SchedulerEvent & { kind: "earmark" };

type EngineState = Readonly<Record<"isDraining" | "isContended", boolean>>;

interface Bundle {
  readonly index: number;
  readonly allocation: Allocation;
  readonly pool: ResourcePool;
  /** Of the pool, when control was told last what is free; 0: that all is. */
  toldVersion: number;
}

export interface Earmark {
  readonly groupId: string;
  readonly units: ResourceUnits;
  readonly untilMs: number;
  readonly ending: Ending | undefined;
  /** What control was told last. */
  answered: boolean | undefined;
}

interface Reservation {
  readonly groupId: string;
  readonly attempt: number;
  readonly wanted: PrepareEvent["bundles"];
  readonly commit: boolean;
  state: "pending" | "prepared" | "committed" | "returning";
  /** Returning: what runs in it ends by itself. */
  hasMoved: boolean;
  /** In the order of their indexes. */
  bundles: readonly Bundle[];
  /** Pending: when it is given up. Prepared: when control is told again. */
  dueMs: number;
}

export class Bundles {
  readonly node: ResourcePool;
  private readonly onNode: readonly [ResourcePool];
  private readonly tables: Tables;
  private readonly reservations = new Map<string, Reservation>();
  /** Those that something is due of: all but the committed ones, of which a node may have thousands. */
  private readonly unsettled = new Set<Reservation>();
  private readonly earmarks = new Map<string, Earmark>();

  constructor(node: ResourcePool, tables: Tables) {
    this.node = node;
    this.onNode = [node];
    this.tables = tables;
  }

  /** Where an ask may be granted from. Of a group that is not here, nowhere. */
  poolsOf({ bundle }: Pick<Ask, "bundle">): readonly ResourcePool[] {
    if (!bundle) return this.onNode;
    const pools: ResourcePool[] = [];
    for (const { groupId, state, bundles } of this.reservations.values()) {
      if (groupId !== bundle.groupId || state !== "committed") continue;
      for (const { index, pool } of bundles) {
        if (bundle.index === undefined || bundle.index === index) pools.push(pool);
      }
    }
    return pools;
  }

  isIn(pool: ResourcePool, { bundle }: Pick<Ask, "bundle">): boolean {
    if (!bundle) return pool === this.node;
    for (const { groupId, bundles } of this.reservations.values()) {
      for (const one of bundles) {
        if (one.pool === pool) return groupId === bundle.groupId && (bundle.index ?? one.index) === one.index;
      }
    }
    return false;
  }

  /** All pools, the node's first. */
  *pools(): Generator<ResourcePool> {
    yield this.node;
    for (const { bundles } of this.reservations.values()) for (const { pool } of bundles) yield pool;
  }

  /** What is reserved here or asked to be, for control that does not know. */
  *reserved(): Generator<{ readonly groupId: string; readonly attempt: number; readonly isCommitted: boolean }> {
    for (const { groupId, attempt, state } of this.reservations.values()) {
      // What is pending or ends is answered anyway.
      if (state === "prepared" || state === "committed") yield { groupId, attempt, isCommitted: state === "committed" };
    }
  }

  reservedUnits(): Record<string, number> {
    const sum: Record<string, number> = {};
    for (const { bundles } of this.reservations.values()) {
      for (const { allocation } of bundles) {
        for (const [name, units] of Object.entries(allocation.units)) sum[name] = (sum[name] ?? 0) + units;
      }
    }
    return sum;
  }

  /** How many bundles the reservation has here. */
  countOf(of: { readonly groupId: string; readonly attempt: number }): number {
    return this.reservations.get(nameOf(of))?.bundles.length ?? 0;
  }

  /** What is free in bundles in which that has changed since the last time; or, for control that knows nothing, ever. */
  use(isAll: boolean): BundleUse[] {
    const uses: BundleUse[] = [];
    for (const { groupId, attempt, bundles } of this.reservations.values()) {
      const free: BundleUse["free"][number][] = [];
      for (const bundle of bundles) {
        const { index, pool } = bundle;
        if (pool.version === (isAll ? 0 : bundle.toldVersion)) continue;
        bundle.toldVersion = pool.version;
        const gpus = pool.freeDevices();
        const units = pool.available();
        free.push(gpus.length > 0 ? [index, units, gpus] : [index, units]);
      }
      if (free.length > 0) uses.push({ groupId, attempt, free });
    }
    return uses;
  }

  // ── events ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  prepare(event: PrepareEvent, nowMs: number, engine: EngineState, out: SchedulerCommand[]): void {
    const { groupId, attempt, commit, isOwn } = event;
    const known = this.reservations.get(nameOf(event));
    if (known) {
      // It has not heard the answer.
      if (known.state === "prepared") out.push({ kind: "bundles-prepared", groupId, attempt });
      else if (known.state === "committed") out.push({ kind: "bundles-committed", groupId, attempt });
      return;
    }
    const wanted = [...event.bundles].sort((a, b) => a.index - b.index);
    const dueMs = nowMs + PENDING_MS;
    const reservation: Reservation = {
      groupId,
      attempt,
      wanted,
      commit,
      state: "pending",
      hasMoved: false,
      bundles: [],
      dueMs,
    };
    // Control, which sees all that waits, may put others first.
    if (engine.isDraining || (isOwn && (engine.isContended || this.isKept(event)))) {
      this.refuse(reservation, out, engine.isDraining);
      return;
    }
    this.reservations.set(nameOf(event), reservation);
    this.unsettled.add(reservation);
    if (this.take(reservation, nowMs, out)) return;
    const spare = isOwn ? undefined : this.spareFor(reservation);
    if (spare) for (const lease of spare) callBack(lease, out);
    else this.refuse(reservation, out);
  }

  /** Not all of it is free, or some of it is for others. */
  private isKept({ bundles }: PrepareEvent): boolean {
    return this.node.lacks(sumOfUnits(bundles.map(({ units }) => units)), this.heldBack()).length > 0;
  }

  commit(event: AtEvent, out: SchedulerCommand[]): void {
    const { groupId, attempt } = event;
    const reservation = this.reservations.get(nameOf(event));
    if (!reservation) out.push({ kind: "bundles-returned", groupId, attempt });
    else if (reservation.state === "prepared" || reservation.state === "committed") {
      reservation.state = "committed";
      this.unsettled.delete(reservation);
      out.push({ kind: "bundles-committed", groupId, attempt });
    }
  }

  giveBack({ groupId, attempt, moved }: ReturnEvent, out: SchedulerCommand[]): void {
    const hasMoved = moved === true;
    const reservation = this.reservations.get(nameOf({ groupId, attempt }));
    if (!reservation) {
      out.push({ kind: "bundles-returned", groupId, attempt });
      return;
    }
    // What has moved may be removed yet.
    if (reservation.state === "returning" && (hasMoved || !reservation.hasMoved)) return;
    reservation.state = "returning";
    this.unsettled.add(reservation);
    reservation.hasMoved = hasMoved;
    for (const holding of [...this.holdingsOf(reservation)]) {
      if (!hasMoved) stop(holding.worker, "group-removed", out);
      else if (!holding.isRevoked) callBack(holding, out);
    }
  }

  setEarmark({ groupId, units, forMs, ending }: EarmarkEvent, nowMs: number): void {
    this.earmarks.set(groupId, { groupId, units, untilMs: nowMs + forMs, ending, answered: undefined });
  }

  clearEarmark(groupId: string): void {
    this.earmarks.delete(groupId);
  }

  // ── decisions ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Before anything is granted: what has become possible, or is over. */
  pass(nowMs: number, isDraining: boolean, out: SchedulerCommand[]): void {
    for (const [groupId, { untilMs }] of this.earmarks) if (untilMs <= nowMs) this.earmarks.delete(groupId);
    for (const reservation of this.unsettled) {
      const { groupId, attempt, state, dueMs } = reservation;
      if (state === "returning") this.end(reservation, out);
      else if (state === "pending") {
        if (isDraining || (!this.take(reservation, nowMs, out) && dueMs <= nowMs)) {
          this.refuse(reservation, out, isDraining);
        }
      } else if (state === "prepared" && dueMs <= nowMs) {
        reservation.dueMs = nowMs + REPORT_MS;
        out.push({ kind: "bundles-reported", groupId, attempt, isCommitted: false });
      }
    }
  }

  /** Of the node's pool, what nobody else gets. */
  heldBack(): Map<string, number> {
    const heldBack = new Map<string, number>();
    const add = (units: ResourceUnits): void => {
      for (const [name, amount] of Object.entries(units)) heldBack.set(name, (heldBack.get(name) ?? 0) + amount);
    };
    for (const { state, wanted } of this.unsettled) {
      if (state === "pending") for (const { units } of wanted) add(units);
    }
    for (const { units } of this.earmarks.values()) add(units);
    return heldBack;
  }

  /** For what leases are called back as what runs there ends by itself. */
  *earmarked(): Generator<ResourceUnits> {
    for (const { units, ending } of this.earmarks.values()) if (!ending) yield units;
  }

  /** For what leases end, or might. */
  *endings(): Generator<Earmark> {
    for (const earmark of this.earmarks.values()) if (earmark.ending) yield earmark;
  }

  nextDeadlineMs(): number | undefined {
    let next: number | undefined;
    for (const { state, dueMs } of this.unsettled) {
      if (state === "pending" || state === "prepared") next = Math.min(next ?? dueMs, dueMs);
    }
    for (const { untilMs } of this.earmarks.values()) next = Math.min(next ?? untilMs, untilMs);
    return next;
  }

  private take(reservation: Reservation, nowMs: number, out: SchedulerCommand[]): boolean {
    const { node } = this;
    const taken = allocateAll(node, reservation);
    if (!taken) return false;
    const { groupId, attempt, commit } = reservation;
    reservation.bundles = [...taken]
      .map(([index, allocation]) => ({ index, allocation, pool: ResourcePool.from(allocation), toldVersion: 0 }))
      .sort((a, b) => a.index - b.index);
    reservation.state = commit ? "committed" : "prepared";
    if (commit) this.unsettled.delete(reservation);
    reservation.dueMs = nowMs + REPORT_MS;
    out.push({ kind: commit ? "bundles-committed" : "bundles-prepared", groupId, attempt });
    return true;
  }

  /** Leases that nothing runs on, with which there would be room; undefined when there would be none all the same. */
  private spareFor(reservation: Reservation): Holding[] | undefined {
    const { node } = this;
    const coming = node.clone();
    const spare: Holding[] = [];
    for (const lease of this.tables.leases.values()) {
      if (lease.pool !== node || !isSpare(lease)) continue;
      coming.release(lease.allocation);
      if (!lease.isRevoked) spare.push(lease);
      if (allocateAll(coming.clone(), reservation)) return spare;
    }
    return undefined;
  }

  private refuse(reservation: Reservation, out: SchedulerCommand[], isDraining = false): void {
    const { groupId, attempt, wanted } = reservation;
    this.drop(reservation);
    const sum = sumOfUnits(wanted.map(({ units }) => units));
    const { node } = this;
    const amount = (name: string, units: number): number => fromUnits({ [name]: Math.max(0, units) })[name] ?? 0;
    const lacking = node.lacks(sum).map((name) => {
      return `of ${name} ${amount(name, node.freeOf(name))} are free, not ${amount(name, sum[name] ?? 0)}`;
    });
    const reason = isDraining ? "it is being drained" : lacking.join("; ") || "its free devices are split";
    out.push({ kind: "bundles-refused", groupId, attempt, reason });
  }

  private end(reservation: Reservation, out: SchedulerCommand[]): void {
    for (const _holding of this.holdingsOf(reservation)) return;
    const { groupId, attempt, bundles } = reservation;
    const { node } = this;
    for (const { allocation } of bundles) node.release(allocation);
    this.drop(reservation);
    out.push({ kind: "bundles-returned", groupId, attempt });
  }

  private drop(reservation: Reservation): void {
    this.reservations.delete(nameOf(reservation));
    this.unsettled.delete(reservation);
  }

  private *holdingsOf({ bundles }: Reservation): Generator<Holding> {
    const pools = new Set(bundles.map(({ pool }) => pool));
    for (const lease of this.tables.leases.values()) if (pools.has(lease.pool)) yield lease;
    for (const { holding } of this.tables.requests.values()) if (holding && pools.has(holding.pool)) yield holding;
  }
}

/** The order to give a lease back, and if nothing runs there to its worker too: the owner may be busy for long. */
export function callBack(lease: Holding, out: SchedulerCommand[]): void {
  const { id } = lease.ask.client;
  lease.isRevoked = true;
  if (id === undefined || lease.leaseId === undefined) return;
  out.push({ kind: "revoke-lease", clientId: id, leaseId: lease.leaseId });
  if (lease.isIdle) out.push({ kind: "end-lease", workerId: lease.worker.id, leaseId: lease.leaseId });
}

/** Takes all bundles out of the pool, or nothing. Whole devices first: fractions fit between. */
function allocateAll(pool: ResourcePool, { wanted }: Reservation): Map<number, Allocation> | undefined {
  const taken = new Map<number, Allocation>();
  for (const { index, units } of [...wanted].sort((a, b) => (b.units.gpu ?? 0) - (a.units.gpu ?? 0))) {
    const allocation = pool.allocate(units);
    if (!allocation) {
      for (const one of taken.values()) pool.release(one);
      return undefined;
    }
    taken.set(index, allocation);
  }
  return taken;
}

const nameOf = ({ groupId, attempt }: { readonly groupId: string; readonly attempt: number }): string =>
  `${groupId} ${attempt}`;
