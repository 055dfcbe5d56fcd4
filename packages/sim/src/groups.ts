/**
 * Programs that ask for placement groups: make them, have them for a while, and remove them, each by its own node or, with the handle
 * that it was given, by another; and whether what they are told is so.
 */
import { nodeTagOf, type ResourceUnits } from "../../core/src/base/mod.ts";
import type { HeadRuntime } from "../../core/src/head/runtime.ts";
import type { Answer } from "../../core/src/wire/mod.ts";
import type { GroupRequest } from "../../core/src/wire/queries.ts";
import { BUNDLE_RESOURCE } from "./bundles.ts";
import type { SimNode } from "./node.ts";
import type { SimProcess } from "./process.ts";
import type { World } from "./world.ts";

interface Wish {
  readonly request: GroupRequest;
  /** With its job the group ends, unless it is detached. */
  readonly driver: SimProcess;
  /** Who asks: at first who has made it, and nobody when there is no process. */
  by: SimProcess | undefined;
  isMakers: boolean;
  /** That has placed it by itself. */
  placedBy: SimNode | undefined;
  /** A program was told that all of it is reserved. */
  isReady: boolean;
  isUnwanted: boolean;
  /** Told that it was removed, by way of this node; or that there will never be one. */
  isOver: boolean;
  remover: SimNode | undefined;
  /** Counts the questions. */
  turn: number;
}

/** For how long groups are wanted, at most: some are removed as soon as they are there, some when control may not know of them yet. */
const LIVES_MS = [6, 600, 8_000, 8_000, 8_000] as const;
/** What is not answered by then was lost with who asked or was asked. */
const ANSWER_MS = 7_000;
const AGAIN_MS = 400;
const LOOK_MS = 500;
/** By then a node that is lost is known to be dead, and what that led to is done. */
const SOON_MS = 6_500;
/** A node says of what it has prepared for so long that it hears nothing, and is told to give it back: so it is no longer. */
const SETTLED_MS = 3_000;
/** Asked for while nothing fails, so that a part which stays can be told from one that must. */
const LATE = 6;
const LATE_MS = 3_000;
const STRATEGIES = ["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] as const;
/** Those that most nodes have room for, and may place by themselves. */
const SMALL = 0.6;
const DETACHED = 0.2;
/** Of groups, those that take from what tasks run on. */
const WITH_CPU = 0.3;
const CPU_UNITS = 2_500;
/** Of wishes, those that another process removes that has the handle. */
const PASSED_ON = 0.4;

export class SimGroups {
  private readonly world: World;
  private readonly wishes = new Map<string, Wish>();
  /** Groups that were ready, in the whole run; and those that nodes have placed by themselves. */
  ready = 0;
  local = 0;
  /** It is yet to be seen whether parts of groups stay. */
  isWatching = false;

  constructor(world: World) {
    this.world = world;
    this.look();
  }

  create(): void {
    const { prng, clock } = this.world;
    const found = this.creator();
    if (!found) return;
    const isSmall = prng.chance(SMALL);
    const cpu = prng.chance(WITH_CPU) ? { cpu: CPU_UNITS } : {};
    const bundle = (): ResourceUnits => ({
      [BUNDLE_RESOURCE]: isSmall ? prng.between(1, 2) * 3_000 : prng.between(1, 3) * 10_000,
      ...cpu,
    });
    const request: GroupRequest = {
      groupId: prng.hex(16),
      bundles: Array.from({ length: prng.between(1, isSmall ? 2 : 4) }, bundle),
      strategy: isSmall ? "PACK" : (prng.pick(STRATEGIES) ?? "PACK"),
      selectors: [],
      jobId: found.driver.jobId,
      namespace: "",
      lifetime: prng.chance(DETACHED) ? "detached" : "owner",
    };
    const wish: Wish = {
      ...{ request, ...found, isMakers: true, placedBy: undefined, remover: undefined },
      ...{ isReady: false, isUnwanted: false, isOver: false, turn: 0 },
    };
    this.wishes.set(request.groupId, wish);
    this.ask(wish);
    clock.schedule(prng.float() * (prng.pick(LIVES_MS) ?? 0), () => this.remove(wish));
  }

  /** A driver, or a worker that does something for one. */
  private creator(): { readonly by: SimProcess; readonly driver: SimProcess } | undefined {
    const all = this.processes();
    const drivers = new Map(all.flatMap((one) => (one.isDriver ? [[one.jobId, one] as const] : [])));
    const able = all.flatMap((by) => {
      const driver = by.worksFor && drivers.get(by.worksFor);
      return driver ? [{ by, driver }] : [];
    });
    return this.world.prng.pick(able);
  }

  private processes(): SimProcess[] {
    return [...this.world.processes.values()].filter(
      ({ isAlive, hasJoined, deputyOf }) => isAlive && hasJoined && !deputyOf,
    );
  }

  private nodes(): SimNode[] {
    return [...this.world.nodes.values()].filter(({ isOver }) => !isOver);
  }

  placedBy(node: SimNode, groupId: string): void {
    const wish = this.wishes.get(groupId);
    if (!wish) return;
    this.local++;
    wish.placedBy = node;
  }

  private remove(wish: Wish): void {
    wish.isUnwanted = true;
    if (this.world.prng.chance(PASSED_ON)) this.passOn(wish);
    this.ask(wish);
  }

  removeAll(): void {
    for (const wish of this.wishes.values()) if (!wish.isUnwanted) this.remove(wish);
  }

  /** Another process has the handle, and who has made it none any more. */
  private passOn(wish: Wish): void {
    wish.by = this.world.prng.pick(this.processes());
    wish.isMakers = false;
  }

  // ── questions ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** What is not answered, or answered with no, is asked again: control may have been away. */
  private ask(wish: Wish): void {
    const { world } = this;
    if (wish.isOver || this.hasEnded(wish)) return;
    if (wish.by?.isAlive !== true) this.passOn(wish);
    const turn = ++wish.turn;
    const again = (ms: number): void => {
      world.clock.schedule(ms, () => {
        if (wish.turn === turn) this.ask(wish);
      });
    };
    again(ANSWER_MS);
    const { request, by, isUnwanted, isMakers, isReady } = wish;
    const { groupId } = request;
    // Nobody is left to ask a node but the node.
    const node = by?.node ?? world.prng.pick(this.nodes());
    const answered = (answer: Answer): void => {
      if (isUnwanted && answer.result === true) {
        wish.isOver = true;
        wish.remover = node;
      } else if (answer.error) this.failed(wish, answer.error.code);
      else if (answer.result === true && !wish.isReady) {
        this.ready++;
        wish.isReady = true;
      }
      again(world.prng.float() * AGAIN_MS);
    };
    const method = isUnwanted ? "remove-group" : isMakers && !isReady ? "create-group" : "await-group";
    const params = method === "create-group" ? request : { groupId };
    if (by) by.ask(method, params, answered);
    else if (node) {
      world.wake();
      void node.groups.answer({ t: "query", id: 0, method, params }).then(answered);
    }
  }

  private failed(wish: Wish, code: string): void {
    const { world } = this;
    const { request, placedBy, isReady, isMakers } = wish;
    const { groupId } = request;
    if (code === "CONNECTION_LOST" || code === "INFEASIBLE" || wish.isUnwanted || this.hasEnded(wish)) return;
    // What a node has placed in its last moments is lost with it, and so are those who have made it.
    const isLost = placedBy?.isOver === true && placedBy.groups.unwritten.has(groupId);
    if (isReady && !isLost)
      world.failSoon("what was acknowledged is there after a restart", `group ${groupId}, which was ready: ${code}`);
    // It could not be written down.
    if (isMakers) wish.isOver = true;
  }

  /** What a node had removed by itself is placed again when the node is lost before control has heard of that. */
  private look(): void {
    const { clock } = this.world;
    for (const [groupId, wish] of this.wishes) {
      if (!wish.isOver || wish.remover?.isOver !== true) continue;
      if (!wish.remover.groups.unwrittenRemovals.has(groupId)) continue;
      wish.isOver = false;
      wish.remover = undefined;
      this.ask(wish);
    }
    clock.schedule(LOOK_MS, () => this.look());
  }

  // ── what must be so ────────────────────────────────────────────────────────────────────────────────────────────────

  /** The job is over, and with it the group. */
  private hasEnded({ request, driver }: Wish): boolean {
    return request.lifetime === "owner" && (!driver.isAlive || this.world.lostTags.has(nodeTagOf(driver.id)));
  }

  /** One that is to be gone and is not. */
  get left(): string | undefined {
    const nodes = this.nodes();
    for (const [groupId, wish] of this.wishes) {
      if (!wish.isOver && !this.hasEnded(wish)) return `${groupId} is not removed`;
      const node = nodes.find(({ groups }) => groups.bundles.isReserved(groupId));
      if (node) return `${groupId} has something of ${node.nodeId}`;
    }
    return undefined;
  }

  /** The head says so: each bundle is at a node that has it, or had it and has ended since, or is to end. */
  checkReady(groupId: string, { members }: HeadRuntime): void {
    const wish = this.wishes.get(groupId);
    if (!wish || wish.isUnwanted || this.hasEnded(wish)) return;
    this.world.note("groups", `${groupId} is ready`);
    const nodes = [...this.world.nodes.values()];
    const isGone = ({ nodeId, isOver }: SimNode): boolean => isOver || members.get(nodeId)?.state !== "alive";
    wish.request.bundles.forEach((_, index) => {
      const isThere = nodes.some(
        (node) =>
          node.groups.bundles.isCommitted(groupId, index) ||
          (node.groups.bundles.wasCommitted(groupId, index) && isGone(node)),
      );
      if (!isThere)
        this.world.failSoon("a group is ready only when all of it is reserved", `${groupId}, bundle ${index}`);
    });
  }

  /** Attempts of groups of which nodes have a part, and not the whole. */
  private halves(): Map<string, string> {
    const found = new Map<string, { readonly groupId: string; readonly indexes: number[] }>();
    for (const node of this.nodes()) {
      for (const { groupId, indexes } of node.groups.bundles.reserved.values()) {
        const one = found.get(groupId) ?? { groupId, indexes: [] };
        one.indexes.push(...indexes);
        found.set(groupId, one);
      }
    }
    const halves = new Map<string, string>();
    for (const { groupId, indexes } of found.values()) {
      const wish = this.wishes.get(groupId);
      const count = wish && !wish.isOver && !this.hasEnded(wish) ? wish.request.bundles.length : 0;
      const isWhole = indexes.length === count && new Set(indexes).size === count;
      if (!isWhole)
        halves.set(`${groupId} ${indexes.join(", ")}`, `${groupId} has bundles ${indexes.join(", ")} of ${count}`);
    }
    return halves;
  }

  /** Faults are over: soon no group has a part of what it needs. */
  watchHalves(): void {
    this.isWatching = true;
    const { clock, prng } = this.world;
    for (let count = 0; count < LATE; count++) clock.schedule(SOON_MS - prng.float() * LATE_MS, () => this.create());
    clock.schedule(SOON_MS, () => {
      const before = this.halves();
      clock.schedule(SETTLED_MS, () => {
        this.isWatching = false;
        for (const [half, detail] of this.halves()) {
          if (before.has(half)) this.world.fail("a group is reserved whole or not at all", detail);
        }
      });
    });
  }

  checkWhole(): void {
    for (const detail of this.halves().values()) this.world.fail("a group is reserved whole or not at all", detail);
  }
}
